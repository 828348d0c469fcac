// SPDX-License-Identifier: CDDL-1.0
//! The virtual ARP daemon.

fn main() {}
