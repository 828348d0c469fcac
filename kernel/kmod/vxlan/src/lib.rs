// SPDX-License-Identifier: CDDL-1.0
//! The driver [`vxlan`] as a kernel module.
#![no_std]

start::entry!(vxlan::module);
