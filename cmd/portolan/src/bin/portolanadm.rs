// SPDX-License-Identifier: CDDL-1.0
//! portolanadm(8). What it does is in the library of this package.

use clap::Parser;
use portolan::adm::{Args, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // A reader that has seen enough (head, less) is no failure.
            let pipe = e.downcast_ref::<std::io::Error>();
            if pipe.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) {
                return ExitCode::SUCCESS;
            }
            eprintln!("portolanadm: {e:#}");
            ExitCode::FAILURE
        }
    }
}
