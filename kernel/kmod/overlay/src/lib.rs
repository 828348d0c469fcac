// SPDX-License-Identifier: CDDL-1.0
//! The driver [`overlay`] as a kernel module.
#![no_std]

start::entry!(overlay::module);
