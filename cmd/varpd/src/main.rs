// SPDX-License-Identifier: CDDL-1.0
//! The varpd program.

fn main() -> std::process::ExitCode {
    varpd::main(std::env::args_os())
}
