// SPDX-License-Identifier: CDDL-1.0
//! Administer a fakekerneld.

fn main() {}
