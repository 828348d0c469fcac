// SPDX-License-Identifier: CDDL-1.0
//! The driver [`ipnet`] as a kernel module.
#![no_std]

start::entry!(ipnet::module);
