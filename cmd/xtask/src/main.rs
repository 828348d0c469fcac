// SPDX-License-Identifier: CDDL-1.0
//! Build and test tasks of this project.

fn main() {}
