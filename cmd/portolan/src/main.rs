// SPDX-License-Identifier: CDDL-1.0
//! portolan(8). What it does is in the library of this package.

use clap::Parser;
use portolan::args::Args;
use portolan::run::{RunError, run};
use slog::{Drain, Level, LevelFilter, Logger, error, o};
use std::process::ExitCode;
use std::sync::Mutex;

fn main() -> ExitCode {
    let args = Args::parse();
    let level = if args.verbose { Level::Debug } else { Level::Info };
    let drain = slog_bunyan::with_name("portolan", std::io::stdout()).build();
    let drain = Mutex::new(LevelFilter::new(drain, level)).fuse();
    let log = Logger::root(drain, o!());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return end(&log, &RunError::System(format!("no threads: {e}"))),
    };
    let result = runtime.block_on(run(args, log.clone()));
    // Whoever did not end within the time to drain does not keep us.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => end(&log, &e),
    }
}

/// Where a person looks, and where a log collector does.
fn end(log: &Logger, e: &RunError) -> ExitCode {
    eprintln!("portolan: {e}");
    error!(log, "{}", e);
    ExitCode::from(e.exit_code())
}
