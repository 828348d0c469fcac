// SPDX-License-Identifier: CDDL-1.0
//! Where a message begins and ends in a stream, and whether it arrived whole.

use crate::bytes::{Reader, put};
use crate::types::{Id, Op, Refusal, Version};

/// Bytes of a header.
pub const HEADER: usize = 16;

/// The largest payload accepted, bytes. The largest real message is a LOG_ACK of a little over 1 KiB.
pub const MAX_PAYLOAD: u32 = 64 * 1024;

/// The crc field's place in a header.
const CRC: std::ops::Range<usize> = 12..16;
/// The size field's place in a header.
const SIZE: std::ops::Range<usize> = 4..8;

/// A header whose operation, version and size were found possible together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// As received. 1 or 2, except in PING, where it is any but 0, and PONG, where it is judged by
    /// the client.
    pub version: u16,
    /// What the message is.
    pub op: Op,
    /// Payload, bytes.
    pub size: u32,
    /// To be echoed.
    pub id: Id,
    /// As received, not yet compared.
    pub crc: u32,
}

impl Header {
    /// Judges the first 16 bytes of a message.
    pub fn decode(bytes: &[u8; HEADER]) -> Result<Header, Refusal> {
        let mut r = Reader(bytes);
        let mut fields = || Some((r.u16()?, r.u16()?, r.u32()?, r.array()?, r.u32()?));
        let (version, op, size, id, crc) =
            fields().ok_or(Refusal::Truncated { have: bytes.len() })?;
        let op = Op::from_wire(op).ok_or(Refusal::UnknownOp(op))?;
        let spoken = match op {
            Op::Ping => Version::negotiate(version),
            _ => Version::exact(version),
        };
        let spoken = spoken.ok_or(Refusal::UnknownVersion { op, version })?;
        if op.needs_v2() && spoken == Version::V1 {
            return Err(Refusal::NeedsV2(op));
        }
        if !op.sizes().contains(&size) {
            return Err(Refusal::Size { op, size });
        }
        Ok(Header { version, op, size, id: Id(id), crc })
    }

    /// The version to answer with.
    pub fn spoken(&self) -> Version {
        Version::negotiate(self.version).unwrap_or(Version::V1)
    }
}

/// A message that arrived whole: judged header, and a payload that fits the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: Header,
    /// `header.size` bytes.
    pub payload: &'a [u8],
}

/// CRC-32 (IEEE 802.3) of a message with the crc field taken as zero.
fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(header.get(..CRC.start).unwrap_or_default());
    crc.update(&[0; 4]);
    crc.update(payload);
    crc.finalize()
}

/// The first message in `bytes`, and how many bytes it takes. `None`: more are needed.
pub fn first(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Refusal> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let header = Header::decode(head)?;
    let Some(payload) = rest.get(..header.size as usize) else { return Ok(None) };
    let want = checksum(head, payload);
    if want != header.crc {
        return Err(Refusal::Crc { op: header.op, got: header.crc, want });
    }
    Ok(Some((Frame { header, payload }, HEADER.saturating_add(payload.len()))))
}

/// Appends one message: header, what `payload` appends, then size and checksum into the header.
pub fn append(out: &mut Vec<u8>, version: u16, op: Op, id: Id, payload: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    put!(out, version, op as u16, 0u32);
    out.extend_from_slice(&id.0);
    put!(out, 0u32);
    payload(out);
    let Some((head, body)) = out.get_mut(at..).and_then(|m| m.split_first_chunk_mut::<HEADER>())
    else {
        return;
    };
    let set = |head: &mut [u8; HEADER], place, value: u32| {
        if let Some(field) = head.get_mut::<std::ops::Range<usize>>(place) {
            field.copy_from_slice(&value.to_be_bytes());
        }
    };
    set(head, SIZE, u32::try_from(body.len()).unwrap_or(u32::MAX));
    let crc = checksum(head, body);
    set(head, CRC, crc);
}

/// Collects a stream, split at any offset, into messages.
///
/// ```
/// use svp::{Body, Framer, Id, Message};
/// let mut bytes = Vec::new();
/// Message { version: 1, id: Id::from(1), body: Body::Ping }.encode(&mut bytes);
/// let mut framer = Framer::default();
/// framer.buffer().extend_from_slice(&bytes[..7]);
/// assert_eq!(framer.next(), Ok(None));
/// framer.buffer().extend_from_slice(&bytes[7..]);
/// assert!(framer.next().unwrap().is_some());
/// ```
#[derive(Debug, Default)]
pub struct Framer {
    buf: Vec<u8>,
    /// Bytes at the front that were handed out.
    used: usize,
}

impl Framer {
    /// Where received bytes are appended. What was handed out is let go of here, so the buffer
    /// holds no more than one incomplete message and what was appended since.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.used >= self.buf.len() {
            self.buf.clear();
        } else if self.used > 0 {
            self.buf.drain(..self.used);
        }
        self.used = 0;
        &mut self.buf
    }

    /// The next whole message, `None` if more bytes are needed. After a refusal nothing further
    /// can be had from this stream: the same refusal comes again.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, Refusal> {
        let rest = self.buf.get(self.used..).unwrap_or_default();
        let Some((frame, len)) = first(rest)? else { return Ok(None) };
        self.used = self.used.saturating_add(len);
        Ok(Some(frame))
    }

    /// Bytes received and not handed out.
    pub fn pending(&self) -> usize {
        self.buf.len().saturating_sub(self.used)
    }

    /// What the end of the stream means: an error in the middle of a message.
    pub fn end(&self) -> Result<(), Refusal> {
        match self.pending() {
            0 => Ok(()),
            have => Err(Refusal::Truncated { have }),
        }
    }
}
