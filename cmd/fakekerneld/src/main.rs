// SPDX-License-Identifier: CDDL-1.0
//! The fakekerneld program.

use std::process::ExitCode;

fn main() -> ExitCode {
    fakekerneld::main(std::env::args_os())
}
