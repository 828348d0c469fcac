// SPDX-License-Identifier: CDDL-1.0
//! The lab and its programs, built for the tests of this crate, and kernels that are older.

mod v1;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use v1::{Age, V1};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let name = args.first().and_then(|path| Path::new(path).file_name()?.to_str());
    let age = match name {
        Some("kernel-v1") => Age::Kernel,
        Some("kernel-for-v1") => Age::Varpd,
        _ => return lab::main(),
    };
    fakekerneld::main_behind(args, Arc::new(V1::new(age)))
}
