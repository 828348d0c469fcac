// SPDX-License-Identifier: CDDL-1.0
//! The varpdadm program.

fn main() -> std::process::ExitCode {
    varpdadm::main(std::env::args_os())
}
