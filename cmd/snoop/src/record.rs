// SPDX-License-Identifier: CDDL-1.0
//! A capture to a file while the program does something else.

use crate::file::{self, Counts, Interface, Writer};
use crate::source::{self, Feed, Source};
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Why packets are not in the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// They do not come.
    #[error("{0}")]
    Source(#[from] source::Error),
    /// They cannot be written.
    #[error("{0}")]
    File(#[from] file::Error),
}

/// A running capture. One that is dropped goes on until the program ends.
#[derive(Debug)]
pub struct Recording {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, Error>>,
}

impl Recording {
    /// Writes the packets of a source to a file from now on, in the format that its name calls for.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn start(source: Box<dyn Source>, path: &Path) -> Result<Recording, Error> {
        let to = BufWriter::new(File::create(path).map_err(file::Error::from)?);
        let writer = Writer::new(to, path, 0);
        let stop = Arc::new(AtomicBool::new(false));
        let feed = Feed::start(vec![source], stop.clone());
        Ok(Recording { stop, thread: std::thread::spawn(move || write(feed, writer)) })
    }

    /// Ends it; how many packets there were.
    ///
    /// # Errors
    /// The source failed, or the file could not be written.
    pub fn stop(self) -> Result<u64, Error> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn write(mut feed: Feed, mut writer: Writer<BufWriter<File>>) -> Result<u64, Error> {
    let mut packets = 0;
    while let Some((from, packet)) = feed.packet()? {
        let progress = &feed.progress()[from];
        let interface = Interface { name: progress.name.clone(), link: packet.link };
        writer.packet(&interface, &packet, progress.dropped().unwrap_or(0))?;
        packets += 1;
    }
    let count = |p: &Arc<source::Progress>| {
        let interface = Interface { name: p.name.clone(), link: p.link? };
        Some((interface, Counts { packets, dropped: p.dropped() }))
    };
    let counts: Vec<_> = feed.progress().iter().filter_map(count).collect();
    writer.end(&counts)?;
    Ok(packets)
}
