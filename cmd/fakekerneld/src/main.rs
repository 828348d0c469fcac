// SPDX-License-Identifier: CDDL-1.0
//! The illumos overlay kernel modules running in a process.

fn main() {}
