// SPDX-License-Identifier: CDDL-1.0
//! The dladm program.

fn main() -> std::process::ExitCode {
    dladm::main(std::env::args_os())
}
