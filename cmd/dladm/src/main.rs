// SPDX-License-Identifier: CDDL-1.0
//! Administer data links: overlays and VNICs.

fn main() {}
