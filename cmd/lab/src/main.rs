// SPDX-License-Identifier: CDDL-1.0
//! Overlay networks of many hosts on one machine, in one command.

fn main() {}
