// SPDX-License-Identifier: CDDL-1.0
//! Capture files: snoop's (RFC 1761), pcap and pcapng are read, snoop's and pcapng are written.
//!
//! Formats are functions of bytes ([`snoop`], [`pcap`]); [`Reader`] and [`Writer`] do the I/O.
//! A live capture of a simulated host is a pcapng file without an end, and read as one.

pub mod pcap;
pub mod snoop;

use crate::packet::{LinkType, Packet};
use std::io::{self, Read, Write};
use std::path::Path;

/// Longest block or record that is read, bytes.
const LONGEST: usize = 16 << 20;
/// How much is read at once, bytes.
const CHUNK: usize = 64 << 10;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It begins with none of the known magic numbers.
    #[error("this is no snoop, pcap or pcapng file")]
    Unknown,
    /// A snoop file of another version.
    #[error("a snoop file of version {0}; only version 2 is known")]
    Version(u32),
    /// Packets begin with something else.
    #[error("its packets are of link type {0}; Ethernet, IP and IPNET are known")]
    LinkType(u32),
    /// A length in it cannot be.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It ends too early.
    #[error("it ends in the middle of a packet")]
    Cut,
    /// What cannot be written in snoop's format.
    #[error("a snoop file cannot hold {0}; give it a name that ends in .pcapng")]
    NotForSnoop(&'static str),
}

/// What is at the front of bytes.
#[derive(Debug)]
pub enum Step {
    /// The beginning of something.
    More,
    /// So many bytes that are no packet.
    Skip(usize),
    /// So many bytes with a packet.
    Packet(usize, Packet),
}

/// A format as read so far.
#[derive(Debug)]
pub enum Format {
    /// Before the header.
    Unknown,
    /// snoop's.
    Snoop(snoop::Snoop),
    /// pcap.
    Pcap(pcap::Pcap),
    /// pcapng.
    PcapNg(pcap::PcapNg),
}

impl Format {
    /// What is at the front of `bytes`, which follow those of earlier steps.
    ///
    /// # Errors
    /// They are not as the format says.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, Error> {
        match self {
            Format::Unknown => self.begin(bytes),
            Format::Snoop(f) => f.step(bytes),
            Format::Pcap(f) => f.step(bytes),
            Format::PcapNg(f) => f.step(bytes),
        }
    }

    /// Packets that were lost, by what was read so far; `None` if the file does not tell.
    #[must_use]
    pub fn dropped(&self) -> Option<u64> {
        match self {
            Format::Unknown | Format::Pcap(_) => None,
            Format::Snoop(f) => Some(f.dropped),
            Format::PcapNg(f) => f.dropped(),
        }
    }

    fn begin(&mut self, bytes: &[u8]) -> Result<Step, Error> {
        // The longest header; all formats have at least as many bytes before the first packet,
        // except for an empty snoop file.
        let Some(magic) = bytes.first_chunk::<4>() else { return Ok(Step::More) };
        let begun = match magic {
            b"snoo" => snoop::Snoop::begin(bytes)?.map(|(f, n)| (Format::Snoop(f), n)),
            [0x0a, 0x0d, 0x0d, 0x0a] => Some((Format::PcapNg(pcap::PcapNg::default()), 0)),
            _ => pcap::Pcap::begin(bytes)?.map(|(f, n)| (Format::Pcap(f), n)),
        };
        Ok(match begun {
            None => Step::More,
            Some((format, used)) => {
                *self = format;
                Step::Skip(used)
            }
        })
    }
}

/// Reads a file, or a stream that grows.
pub struct Reader<R> {
    from: R,
    format: Format,
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that are done with.
    used: usize,
    /// What was read last.
    chunk: Box<[u8]>,
}

impl<R: Read> Reader<R> {
    /// From its beginning.
    pub fn new(from: R) -> Reader<R> {
        let chunk = vec![0; CHUNK].into_boxed_slice();
        Reader { from, format: Format::Unknown, buffer: Vec::new(), used: 0, chunk }
    }

    /// What it reads from.
    pub fn from(&self) -> &R {
        &self.from
    }

    /// The next packet; `None` at the end.
    ///
    /// # Errors
    /// Reading fails, or the file is damaged; after that there is nothing to be had from it.
    pub fn packet(&mut self) -> Result<Option<Packet>, Error> {
        loop {
            let rest = self.buffer.get(self.used..).unwrap_or_default();
            match self.format.step(rest)? {
                Step::Packet(used, packet) => {
                    self.used += used;
                    return Ok(Some(packet));
                }
                Step::Skip(used) => self.used += used,
                Step::More if !self.more()? => return self.end(),
                Step::More => {}
            }
        }
    }

    /// See [`Format::dropped`].
    pub fn dropped(&self) -> Option<u64> {
        self.format.dropped()
    }

    fn end(&self) -> Result<Option<Packet>, Error> {
        match (&self.format, self.used == self.buffer.len()) {
            (Format::Unknown, _) => Err(Error::Unknown),
            (_, true) => Ok(None),
            (_, false) => Err(Error::Cut),
        }
    }

    /// Reads on; `false` at the end.
    fn more(&mut self) -> Result<bool, Error> {
        self.buffer.drain(..self.used);
        self.used = 0;
        if self.buffer.len() > LONGEST {
            return Err(Error::Damaged(format!("something of more than {LONGEST} bytes")));
        }
        let read = loop {
            match self.from.read(&mut self.chunk) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => break done?,
            }
        };
        self.buffer.extend_from_slice(&self.chunk[..read]);
        Ok(read > 0)
    }
}

/// Where packets are from, as a file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What its packets begin with.
    pub link: LinkType,
}

/// What became of the packets of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Captured.
    pub packets: u64,
    /// Lost because the reader was slow; `None` where that is not told.
    pub dropped: Option<u64>,
}

/// Writes a file: pcapng if its name ends so, else snoop's format.
pub struct Writer<W> {
    to: W,
    snoop: bool,
    /// Most bytes of a packet that are kept, 0 for all.
    snaplen: u32,
    /// What the file knows of, and how many packets it says were lost there; with the first one it
    /// begins.
    interfaces: Vec<(Interface, u64)>,
}

impl<W: Write> Writer<W> {
    /// Nothing is written yet.
    pub fn new(to: W, name: &Path, snaplen: u32) -> Writer<W> {
        let snoop = name.extension().is_none_or(|e| e != "pcapng");
        Writer { to, snoop, snaplen, interfaces: Vec::new() }
    }

    /// Appends a packet of an interface; `dropped` have been lost there so far.
    ///
    /// # Errors
    /// Writing fails, or the packet is not of the link type that a snoop file has.
    pub fn packet(&mut self, from: &Interface, p: &Packet, dropped: u64) -> Result<(), Error> {
        let at = self.interface(from)?;
        let told = &mut self.interfaces[at].1;
        let lost = dropped.saturating_sub(*told);
        *told += lost;
        let record = match self.snoop {
            true => snoop::record(p, dropped),
            false => pcap::packet(at as u32, p, lost),
        };
        Ok(self.to.write_all(&record)?)
    }

    /// The number of an interface; a new one is put into the file.
    fn interface(&mut self, interface: &Interface) -> Result<usize, Error> {
        if let Some(at) = self.interfaces.iter().position(|(i, _)| i == interface) {
            return Ok(at);
        }
        match self.interfaces.first() {
            None => self.begin(interface.link)?,
            Some((first, _)) if self.snoop && first.link != interface.link => {
                return Err(Error::NotForSnoop("packets of several link types"));
            }
            Some(_) => {}
        }
        if !self.snoop {
            self.to.write_all(&pcap::interface(interface, self.snaplen))?;
        }
        self.interfaces.push((interface.clone(), 0));
        Ok(self.interfaces.len() - 1)
    }

    fn begin(&mut self, link: LinkType) -> Result<(), Error> {
        let header = if self.snoop { snoop::header(link)? } else { pcap::section() };
        Ok(self.to.write_all(&header)?)
    }

    /// Ends the file with what became of the packets of live interfaces, where the format has a
    /// place for that. Without packets it is a file too.
    ///
    /// # Errors
    /// Writing fails.
    pub fn end(mut self, counts: &[(Interface, Counts)]) -> Result<(), Error> {
        if self.interfaces.is_empty() && counts.is_empty() {
            self.begin(LinkType::Ethernet)?;
        }
        for (interface, counts) in counts {
            let at = self.interface(interface)?;
            if !self.snoop {
                self.to.write_all(&pcap::statistics(at as u32, counts))?;
            }
        }
        Ok(self.to.flush()?)
    }
}
