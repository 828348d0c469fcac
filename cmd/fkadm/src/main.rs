// SPDX-License-Identifier: CDDL-1.0
//! The fkadm program.

use std::process::ExitCode;

fn main() -> ExitCode {
    fkadm::main(std::env::args_os())
}
