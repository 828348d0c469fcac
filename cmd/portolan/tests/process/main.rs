// SPDX-License-Identifier: CDDL-1.0
//! Tests of the programs: portolan as a process, portolanadm and raw connections against it.

mod api;
mod browser;
mod clock;
mod common;
mod crash;
mod load;
mod page;
mod store;
mod tls;
