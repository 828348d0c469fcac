// SPDX-License-Identifier: CDDL-1.0
//! Packets of a file.

use super::{Error, Next, Source, Why};
use crate::file::Reader;
use crate::packet::LinkType;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A file, or another stream in the format of one.
pub(super) struct Packets<R> {
    name: String,
    reader: Reader<R>,
}

impl<R: Read> Packets<R> {
    pub(super) fn new(name: String, from: R) -> Packets<R> {
        Packets { name, reader: Reader::new(from) }
    }

    /// What they are read from.
    #[cfg(not(target_os = "illumos"))]
    pub(super) fn from(&self) -> &R {
        self.reader.from()
    }
}

impl<R: Read + Send> Source for Packets<R> {
    fn name(&self) -> &str {
        &self.name
    }

    fn link(&self) -> Option<LinkType> {
        None
    }

    fn next(&mut self) -> Result<Next, Why> {
        Ok(self.reader.packet()?.map_or(Next::End, Next::Packet))
    }

    fn dropped(&mut self) -> Option<u64> {
        self.reader.dropped()
    }
}

/// The packets of a file; `-` is standard input.
///
/// # Errors
/// It cannot be opened.
pub fn file(path: &Path) -> Result<Box<dyn Source>, Error> {
    let name = path.display().to_string();
    if name == "-" {
        return Ok(Box::new(Packets::new(name, io::stdin())));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(Packets::new(name, file))),
        Err(e) => Err(Error { name, why: e.into() }),
    }
}
