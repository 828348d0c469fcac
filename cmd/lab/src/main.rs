// SPDX-License-Identifier: CDDL-1.0
//! The `lab` program; all of it is in the library, so that the tests can be the same program.

fn main() -> std::process::ExitCode {
    lab::main()
}
