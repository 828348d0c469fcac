// SPDX-License-Identifier: CDDL-1.0
//! portolan(8). What it does is in the library of this package.

fn main() -> std::process::ExitCode {
    portolan::run::main(std::env::args_os())
}
