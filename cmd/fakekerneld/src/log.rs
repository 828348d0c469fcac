// SPDX-License-Identifier: CDDL-1.0
//! The log: bunyan records on standard error, a line each; for people when that is a terminal.
//!
//! It goes on without anybody who reads it. A kernel's panic is written before the process ends: a record is out when
//! the call returns.
use fakekernel::log::Level;
use slog::{Drain, Logger, o};
use std::io::IsTerminal;
use std::sync::Mutex;

/// The logger of a process.
pub fn logger() -> Logger {
    if std::io::stderr().is_terminal() {
        let terminal = slog_term::TermDecorator::new().stderr().build();
        let format = slog_term::CompactFormat::new(terminal).build();
        return Logger::root(Mutex::new(format).ignore_res(), o!());
    }
    let json = slog_bunyan::with_name("fakekerneld", std::io::stderr()).build();
    Logger::root(Mutex::new(json).ignore_res(), o!())
}

/// A message of the kernel.
pub fn message(log: &Logger, level: Level, text: &str) {
    match level {
        Level::Continue | Level::Note => slog::info!(log, "{text}"),
        Level::Warning => slog::warn!(log, "{text}"),
        Level::Panic => slog::crit!(log, "{text}"; "panic" => true),
    }
}
