// SPDX-License-Identifier: CDDL-1.0
//! Many records from a file, a batch at a time, with progress.
//!
//! Each batch is made whole or not at all. An import that was broken off can be repeated: records that are
//! there already change nothing.

use super::args::{Format, Import};
use super::client::Client;
use super::output::Output;
use crate::change::{Change, Changes};
use crate::moray;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufReader, IsTerminal, Read};
use std::path::Path;
use std::time::{Duration, Instant};

pub fn run(client: &Client, out: &Output, import: &Import) -> Result<()> {
    let mut file: Box<dyn Read> = match import.file.as_path() {
        path if path == Path::new("-") => Box::new(std::io::stdin().lock()),
        path => Box::new(std::fs::File::open(path).with_context(|| path.display().to_string())?),
    };
    let mut sender = Sender {
        client,
        batch: Vec::new(),
        size: import.batch.max(1),
        restore: !import.tell,
        progress: Progress::new(import.quiet),
    };
    let values = serde_json::Deserializer::from_reader(BufReader::new(&mut file));
    for (n, value) in values.into_iter::<Value>().enumerate() {
        let read = |value| match import.format {
            Format::Jsonl => Ok(vec![serde_json::from_value(value)?]),
            Format::Moray => objects(value),
        };
        let changes = value.map_err(anyhow::Error::from).and_then(read);
        let changes = changes.with_context(|| {
            let done = sender.progress.done;
            format!("record {}; {done} records are in, the import can be repeated", n + 1)
        })?;
        for change in changes {
            sender.put(change)?;
        }
    }
    sender.flush()?;
    let Progress { done, written, began, .. } = sender.progress;
    out.imported(done, written, began.elapsed())
}

/// The changes of a value in either form of buckets.
fn objects(value: Value) -> Result<Vec<Change>> {
    if let (Some(bucket), Some(key)) = (value["bucket"].as_str(), value["key"].as_str()) {
        return Ok(vec![moray::read(bucket, key, &value["value"])?]);
    }
    let Value::Object(buckets) = &value else { bail!("neither an object nor buckets of objects") };
    let mut changes = Vec::new();
    for (bucket, objects) in buckets {
        let objects = objects.as_object().with_context(|| format!("bucket {bucket}"))?;
        for (key, value) in objects {
            changes.push(moray::read(bucket, key, value)?);
        }
    }
    Ok(changes)
}

struct Sender<'a> {
    client: &'a Client,
    batch: Vec<Change>,
    size: usize,
    restore: bool,
    progress: Progress,
}

impl Sender<'_> {
    fn put(&mut self, change: Change) -> Result<()> {
        self.batch.push(change);
        if self.batch.len() >= self.size { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let changes = std::mem::take(&mut self.batch);
        let count = changes.len();
        let body = Changes { restore: self.restore, changes };
        let done = self.client.post("/api/v1/changes", &body).with_context(|| {
            format!("records after the first {} were not taken", self.progress.done)
        })?;
        self.progress.step(count, done["written"].as_u64().unwrap_or(0));
        Ok(())
    }
}

struct Progress {
    shown: bool,
    last: Instant,
    began: Instant,
    done: usize,
    written: u64,
}

impl Progress {
    fn new(quiet: bool) -> Progress {
        let now = Instant::now();
        Progress {
            shown: !quiet && std::io::stderr().is_terminal(),
            last: now,
            began: now,
            done: 0,
            written: 0,
        }
    }

    fn step(&mut self, count: usize, written: u64) {
        self.done += count;
        self.written += written;
        if self.shown && self.last.elapsed() > Duration::from_millis(200) {
            self.last = Instant::now();
            let rate = self.done as f64 / self.began.elapsed().as_secs_f64().max(0.001);
            eprint!("\r{} records, {rate:.0} a second ", self.done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown && self.done > 0 {
            eprint!("\r{:40}\r", "");
        }
    }
}
