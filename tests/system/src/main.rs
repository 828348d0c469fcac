// SPDX-License-Identifier: CDDL-1.0
//! The lab and its programs, built for the tests of this crate.

fn main() -> std::process::ExitCode {
    lab::main()
}
