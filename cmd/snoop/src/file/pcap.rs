// SPDX-License-Identifier: CDDL-1.0
//! pcap and pcapng. Reading is the crate pcap-parser's; the four kinds of blocks that are written are
//! made here, in this machine's byte order, which readers find out from the magic number. fakekerneld
//! makes the captures that it offers of them too.

use super::{Counts, Error, Interface, LONGEST, Step};
use crate::packet::{LinkType, Packet};
use pcap_parser::nom::Err as NomErr;
use pcap_parser::{Block, PcapError, PcapHeader, PcapNGOption};
use std::time::Duration;

/// Option of a packet: how many its interface has lost since the packet before.
const EPB_DROPCOUNT: u16 = 4;
/// Options of statistics: packets received, and those lost, both since the beginning.
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// What pcap-parser says where it cannot go on; `None` if it needs more bytes.
fn wrong(e: NomErr<PcapError<&[u8]>>) -> Result<Step, Error> {
    match e {
        NomErr::Incomplete(_) => Ok(Step::More),
        NomErr::Error(e) | NomErr::Failure(e) => {
            let why = match e {
                PcapError::NomError(_, kind) => format!("{kind:?}"),
                e => e.to_string(),
            };
            Err(Error::Damaged(why))
        }
    }
}

/// A pcap file as read so far.
#[derive(Debug)]
pub struct Pcap {
    header: PcapHeader,
    link: LinkType,
}

impl Pcap {
    /// Bytes before a packet in a record.
    const HEADER: usize = 16;

    /// Reads the header; `None` if there are too few bytes. Answers its length too.
    pub(super) fn begin(bytes: &[u8]) -> Result<Option<(Pcap, usize)>, Error> {
        match pcap_parser::parse_pcap_header(bytes) {
            Ok((rest, header)) => {
                // The upper half may say how long checksums are.
                let link = header.network.0 as u32 & 0xffff;
                let link = LinkType::from_pcap(link).ok_or(Error::LinkType(link))?;
                Ok(Some((Pcap { header, link }, bytes.len() - rest.len())))
            }
            Err(NomErr::Incomplete(_)) => Ok(None),
            Err(_) => Err(Error::Unknown),
        }
    }

    pub(super) fn step(&self, bytes: &[u8]) -> Result<Step, Error> {
        if bytes.len() < Self::HEADER {
            return Ok(Step::More);
        }
        let parsed = match (self.header.is_modified_format(), self.header.is_bigendian()) {
            (true, _) => pcap_parser::parse_pcap_frame_modified(bytes),
            (_, true) => pcap_parser::parse_pcap_frame_be(bytes),
            (_, false) => pcap_parser::parse_pcap_frame(bytes),
        };
        let (rest, frame) = match parsed {
            Ok(parsed) => parsed,
            Err(e) => return wrong(e),
        };
        let fraction = match self.header.is_nanosecond_precision() {
            true => Duration::from_nanos(frame.ts_usec.into()),
            false => Duration::from_micros(frame.ts_usec.into()),
        };
        let packet = Packet {
            time: Duration::from_secs(frame.ts_sec.into()) + fraction,
            link: self.link,
            bytes: frame.data.to_vec(),
            length: frame.origlen as usize,
        };
        Ok(Step::Packet(bytes.len() - rest.len(), packet))
    }
}

/// An interface of a pcapng section.
#[derive(Debug)]
struct Described {
    link: u32,
    /// Units of a second that times are counted in.
    resolution: u64,
    /// Seconds to add to a time.
    offset: i64,
    /// Packets that the file says were lost.
    dropped: Option<u64>,
}

impl Described {
    fn time(&self, units: u64) -> Duration {
        let nanos = u128::from(units % self.resolution) * 1_000_000_000;
        let seconds = (units / self.resolution).saturating_add_signed(self.offset);
        Duration::new(seconds, (nanos / u128::from(self.resolution)) as u32)
    }
}

/// A pcapng file as read so far.
#[derive(Debug, Default)]
pub struct PcapNg {
    big_endian: bool,
    /// Of the section.
    interfaces: Vec<Described>,
}

impl PcapNg {
    /// Most interfaces of a section.
    const MOST: usize = 1 << 16;

    pub(super) fn step(&mut self, bytes: &[u8]) -> Result<Step, Error> {
        if bytes.len() < 12 {
            return Ok(Step::More);
        }
        // It is looked at before the block is waited for.
        let length = self.length(bytes);
        if length.is_some_and(|n| n > LONGEST) {
            return Err(Error::Damaged(format!("a block of more than {LONGEST} bytes")));
        }
        let parsed = match self.big_endian {
            true => pcap_parser::parse_block_be(bytes),
            false => pcap_parser::parse_block_le(bytes),
        };
        let (rest, block) = match parsed {
            Ok(parsed) => parsed,
            Err(e) => return wrong(e),
        };
        let used = bytes.len() - rest.len();
        let none = |id| Error::Damaged(format!("a packet of interface {id}, which is not there"));
        match block {
            Block::SectionHeader(header) => {
                *self = PcapNg { big_endian: header.big_endian(), interfaces: Vec::new() };
            }
            Block::InterfaceDescription(i) if self.interfaces.len() < Self::MOST => {
                let link = i.linktype.0 as u32;
                let resolution = resolution(i.if_tsresol);
                self.interfaces.push(Described {
                    link,
                    resolution,
                    offset: i.if_tsoffset,
                    dropped: None,
                });
            }
            Block::EnhancedPacket(p) => {
                let lost = number(&p.options, EPB_DROPCOUNT, self.big_endian);
                let from =
                    self.interfaces.get_mut(p.if_id as usize).ok_or_else(|| none(p.if_id))?;
                if let Some(lost) = lost {
                    from.dropped = Some(from.dropped.unwrap_or(0).saturating_add(lost));
                }
                let units = u64::from(p.ts_high) << 32 | u64::from(p.ts_low);
                // What is behind are the bytes that pad it.
                let data = p.data.get(..p.caplen as usize).unwrap_or(p.data);
                return Ok(Step::Packet(used, from.packet(units, data, p.origlen)?));
            }
            Block::SimplePacket(p) => {
                let from = self.interfaces.first().ok_or_else(|| none(0))?;
                let data = p.data.get(..p.origlen as usize).unwrap_or(p.data);
                return Ok(Step::Packet(used, from.packet(0, data, p.origlen)?));
            }
            Block::InterfaceStatistics(s) => {
                if let Some(from) = self.interfaces.get_mut(s.if_id as usize)
                    && let Some(all) = number(&s.options, ISB_IFDROP, self.big_endian)
                {
                    from.dropped = Some(all);
                }
            }
            _ => {}
        }
        Ok(Step::Skip(used))
    }

    /// Packets that its interfaces lost so far; `None` if it does not tell.
    pub(super) fn dropped(&self) -> Option<u64> {
        let told = self.interfaces.iter().filter_map(|i| i.dropped);
        told.reduce(u64::saturating_add)
    }

    /// Of the block at the front, unless it begins a section, whose byte order is still to come.
    fn length(&self, bytes: &[u8]) -> Option<usize> {
        let (kind, rest) = bytes.split_first_chunk::<4>()?;
        let length = rest.first_chunk::<4>()?;
        if *kind == [0x0a, 0x0d, 0x0d, 0x0a] {
            return None;
        }
        let length = match self.big_endian {
            true => u32::from_be_bytes(*length),
            false => u32::from_le_bytes(*length),
        };
        Some(length as usize)
    }
}

impl Described {
    fn packet(&self, units: u64, data: &[u8], length: u32) -> Result<Packet, Error> {
        let link = LinkType::from_pcap(self.link).ok_or(Error::LinkType(self.link))?;
        let bytes = data.to_vec();
        Ok(Packet { time: self.time(units), link, bytes, length: length as usize })
    }
}

/// The value of an option that is a number of 64 bits.
fn number(options: &[PcapNGOption<'_>], code: u16, big_endian: bool) -> Option<u64> {
    let value = options.iter().find(|o| o.code.0 == code)?.value().first_chunk()?;
    Some(if big_endian { u64::from_be_bytes(*value) } else { u64::from_le_bytes(*value) })
}

/// `if_tsresol`: a negative power of 10, or of 2 if the highest bit is set.
fn resolution(code: u8) -> u64 {
    let power = u32::from(code & 0x7f);
    let units = if code & 0x80 == 0 { 10u64.checked_pow(power) } else { 1u64.checked_shl(power) };
    // Finer than a u64 of units can tell: no second is ever full.
    units.unwrap_or(u64::MAX)
}

/// A block: its type, and its length before and behind what it holds.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let length = (padded + 12) as u32;
    let mut block = [kind.to_ne_bytes(), length.to_ne_bytes()].concat();
    block.extend_from_slice(body);
    block.resize(8 + padded, 0);
    block.extend_from_slice(&length.to_ne_bytes());
    block
}

/// Appends an option.
fn option(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    to.extend_from_slice(&code.to_ne_bytes());
    to.extend_from_slice(&(value.len() as u16).to_ne_bytes());
    to.extend_from_slice(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// The beginning of a file.
#[must_use]
pub fn section() -> Vec<u8> {
    let mut body = 0x1a2b_3c4d_u32.to_ne_bytes().to_vec();
    body.extend_from_slice(&1u16.to_ne_bytes());
    body.extend_from_slice(&0u16.to_ne_bytes());
    // How long it gets is not known.
    body.extend_from_slice(&u64::MAX.to_ne_bytes());
    block(0x0a0d_0d0a, &body)
}

/// An interface; the first has number 0.
#[must_use]
pub fn interface(i: &Interface, snaplen: u32) -> Vec<u8> {
    let mut body = i.link.to_pcap().to_ne_bytes().to_vec();
    body.extend_from_slice(&[0; 2]);
    body.extend_from_slice(&snaplen.to_ne_bytes());
    // if_name, if_tsresol in nanoseconds, the end.
    let name: String = i.name.chars().take(255).collect();
    option(&mut body, 2, name.as_bytes());
    option(&mut body, 9, &[9]);
    option(&mut body, 0, &[]);
    block(1, &body)
}

fn time(t: Duration) -> [u8; 8] {
    let nanos = u64::try_from(t.as_nanos()).unwrap_or(u64::MAX);
    let [high, low] = [(nanos >> 32) as u32, nanos as u32].map(u32::to_ne_bytes);
    let mut both = [0; 8];
    both[..4].copy_from_slice(&high);
    both[4..].copy_from_slice(&low);
    both
}

/// A packet of an interface, which has lost so many since the one before.
#[must_use]
pub fn packet(interface: u32, p: &Packet, lost: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(20 + p.bytes.len());
    body.extend_from_slice(&interface.to_ne_bytes());
    body.extend_from_slice(&time(p.time));
    body.extend_from_slice(&(p.bytes.len() as u32).to_ne_bytes());
    body.extend_from_slice(&(p.length as u32).to_ne_bytes());
    body.extend_from_slice(&p.bytes);
    if lost > 0 {
        body.resize(body.len().next_multiple_of(4), 0);
        option(&mut body, EPB_DROPCOUNT, &lost.to_ne_bytes());
        option(&mut body, 0, &[]);
    }
    block(6, &body)
}

/// What became of the packets of an interface.
#[must_use]
pub fn statistics(interface: u32, counts: &Counts) -> Vec<u8> {
    let mut body = interface.to_ne_bytes().to_vec();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    body.extend_from_slice(&time(now.unwrap_or_default()));
    option(&mut body, ISB_IFRECV, &counts.packets.to_ne_bytes());
    if let Some(dropped) = counts.dropped {
        option(&mut body, ISB_IFDROP, &dropped.to_ne_bytes());
    }
    option(&mut body, 0, &[]);
    block(5, &body)
}
