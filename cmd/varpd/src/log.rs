// SPDX-License-Identifier: CDDL-1.0
//! The log: bunyan records on standard error, a line each. One that cannot be written is lost.
use slog::{Drain, Logger, OwnedKVList, Record, o};
use std::io;
use std::sync::{Mutex, PoisonError};

/// Writes records for one process.
type Json = Box<dyn Drain<Ok = (), Err = io::Error> + Send>;

/// Records name the process that writes them, which after a fork is another: slog-bunyan learns it
/// once. With the writer, the process it is for.
struct Records(Mutex<(u32, Json)>);

/// The log of varpd.
pub fn logger() -> Logger {
    Logger::root(Records(Mutex::new(writer())).ignore_res(), o!())
}

/// A record is one write: plugins write theirs to the same place.
fn writer() -> (u32, Json) {
    let lines = io::LineWriter::with_capacity(1 << 16, io::stderr());
    let json = slog_bunyan::with_name("varpd", lines).build();
    (std::process::id(), Box::new(json))
}

impl Drain for Records {
    type Ok = ();
    type Err = io::Error;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> io::Result<()> {
        let mut writer_of = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if writer_of.0 != std::process::id() {
            *writer_of = writer();
        }
        writer_of.1.log(record, values)
    }
}
