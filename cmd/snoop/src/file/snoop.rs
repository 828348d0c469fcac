// SPDX-License-Identifier: CDDL-1.0
//! snoop's file format, version 2 (RFC 1761), all of it big-endian.

use super::{Error, LONGEST, Step};
use crate::packet::{LinkType, Packet};
use std::time::Duration;

const MAGIC: [u8; 8] = *b"snoop\0\0\0";
const VERSION: u32 = 2;
/// Bytes before a packet in a record.
const HEADER: usize = 24;

/// A file as read so far.
#[derive(Debug)]
pub struct Snoop {
    link: LinkType,
    /// Packets that it says were lost before the one read last.
    pub(super) dropped: u64,
}

fn words<const N: usize>(bytes: &[u8]) -> Option<[u32; N]> {
    let (words, _) = bytes.as_chunks::<4>();
    words.first_chunk::<N>().map(|w| w.map(u32::from_be_bytes))
}

impl Snoop {
    /// Reads the header; `None` if there are too few bytes. Answers its length too.
    pub(super) fn begin(bytes: &[u8]) -> Result<Option<(Snoop, usize)>, Error> {
        let Some((magic, rest)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
        if *magic != MAGIC {
            return Err(Error::Unknown);
        }
        let Some([version, link]) = words(rest) else { return Ok(None) };
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let link = LinkType::from_dlpi(link).ok_or(Error::LinkType(link))?;
        Ok(Some((Snoop { link, dropped: 0 }, 16)))
    }

    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<Step, Error> {
        let Some([length, kept, record, drops, sec, usec]) = words(bytes) else {
            return Ok(Step::More);
        };
        let (kept, record) = (kept as usize, record as usize);
        if !(HEADER..=LONGEST).contains(&record) || kept > record - HEADER {
            let why = format!("a packet of {kept} bytes in a record of {record}");
            return Err(Error::Damaged(why));
        }
        if bytes.len() < record {
            return Ok(Step::More);
        }
        self.dropped = drops.into();
        let bytes = bytes.get(HEADER..HEADER + kept).unwrap_or_default().to_vec();
        let time = Duration::from_secs(sec.into()) + Duration::from_micros(usec.into());
        Ok(Step::Packet(record, Packet { time, link: self.link, bytes, length: length as usize }))
    }
}

/// The beginning of a file.
pub(super) fn header(link: LinkType) -> Result<Vec<u8>, Error> {
    let link = link.to_dlpi().ok_or(Error::NotForSnoop("IP packets without a link's header"))?;
    Ok([&MAGIC[..], &VERSION.to_be_bytes(), &link.to_be_bytes()].concat())
}

/// A packet, padded to a multiple of four bytes; `dropped` is the sum since the beginning.
pub(super) fn record(p: &Packet, dropped: u64) -> Vec<u8> {
    let kept = p.bytes.len();
    let padded = kept.next_multiple_of(4);
    let words = [
        p.length as u32,
        kept as u32,
        (HEADER + padded) as u32,
        u32::try_from(dropped).unwrap_or(u32::MAX),
        p.time.as_secs() as u32,
        p.time.subsec_micros(),
    ];
    let mut record: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
    record.extend_from_slice(&p.bytes);
    record.resize(HEADER + padded, 0);
    record
}
