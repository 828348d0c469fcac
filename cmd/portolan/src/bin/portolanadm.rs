// SPDX-License-Identifier: CDDL-1.0
//! portolanadm(8). What it does is in the library of this package.

fn main() -> std::process::ExitCode {
    portolan::adm::main(std::env::args_os())
}
