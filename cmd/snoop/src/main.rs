// SPDX-License-Identifier: CDDL-1.0
//! The snoop program.

fn main() -> std::process::ExitCode {
    snoop::main(std::env::args_os())
}
