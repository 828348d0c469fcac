// SPDX-License-Identifier: CDDL-1.0
//! A pseudo-random byte stream that tells whether it arrived whole. Without I/O.
//!
//! ```text
//!   sender:    "OVLSTRM1"  seed(u64)  length(u64)  data[length]  crc(u32)
//!   receiver:  length(u64)  crc(u32)  whole(u32)           its verdict, when all of it is there
//! ```
//!
//! Integers are little-endian. The CRC is CRC-32 (IEEE) of the data. The sender takes the verdict
//! for good only if its own length and CRC are in it; the receiver calls the stream whole only if
//! the sender's CRC is its own.

use crc32fast::Hasher;

const MAGIC: [u8; 8] = *b"OVLSTRM1";
const HEADER: u64 = 24;
const TRAILER: u64 = 4;

/// Bytes of a verdict.
pub const VERDICT: usize = 16;

/// Word `index` of stream `seed`: splitmix64, which needs no state between words.
fn word(seed: u64, index: u64) -> [u8; 8] {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()
}

/// Bytes of stream `seed` from `at` on.
fn generate(seed: u64, at: u64, buf: &mut [u8]) {
    let skip = (at % 8) as usize;
    let (head, rest) = buf.split_at_mut(if skip == 0 { 0 } else { buf.len().min(8 - skip) });
    head.copy_from_slice(&word(seed, at / 8)[skip..][..head.len()]);
    let first = at.div_ceil(8);
    for (i, bytes) in rest.chunks_mut(8).enumerate() {
        bytes.copy_from_slice(&word(seed, first + i as u64)[..bytes.len()]);
    }
}

/// The sender's end.
#[derive(Debug)]
pub struct Source {
    seed: u64,
    len: u64,
    /// Bytes given out, with those of the header and the trailer.
    at: u64,
    crc: Hasher,
}

impl Source {
    /// Stream `seed`, `len` bytes of it.
    pub fn new(seed: u64, len: u64) -> Source {
        // A length near 2^64 would never end anyway; it must only not overflow.
        Source { seed, len: len.min(u64::MAX - HEADER - TRAILER), at: 0, crc: Hasher::new() }
    }

    /// Puts the next bytes into `buf` and returns how many; 0 when all are out.
    pub fn fill(&mut self, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let n = self.part(&mut buf[done..]);
            if n == 0 {
                break;
            }
            self.at += n as u64;
            done += n;
        }
        done
    }

    fn part(&mut self, buf: &mut [u8]) -> usize {
        if self.at < HEADER {
            let mut header = [0; HEADER as usize];
            header[..8].copy_from_slice(&MAGIC);
            header[8..16].copy_from_slice(&self.seed.to_le_bytes());
            header[16..].copy_from_slice(&self.len.to_le_bytes());
            return copy(&header[self.at as usize..], buf);
        }
        let at = self.at - HEADER;
        if at < self.len {
            let n = (self.len - at).min(buf.len() as u64) as usize;
            generate(self.seed, at, &mut buf[..n]);
            self.crc.update(&buf[..n]);
            return n;
        }
        copy(&self.checksum().to_le_bytes()[((at - self.len) as usize).min(4)..], buf)
    }

    /// Bytes given out so far, with those around the data.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// CRC of the data given out so far.
    pub fn checksum(&self) -> u32 {
        self.crc.clone().finalize()
    }

    /// Whether the receiver says that it has just what was sent. The error is a sentence.
    pub fn judge(&self, verdict: &[u8; VERDICT]) -> Result<(), String> {
        let (len, crc, whole) = split_verdict(verdict);
        if (len, crc, whole) == (self.len, self.checksum(), 1) {
            return Ok(());
        }
        Err(format!(
            "the stream did not arrive whole: sent {} bytes with CRC-32 {:08x}, received {len} \
             with {crc:08x}",
            self.len,
            self.checksum()
        ))
    }
}

fn split_verdict(v: &[u8; VERDICT]) -> (u64, u32, u32) {
    let v = u128::from_le_bytes(*v);
    (v as u64, (v >> 64) as u32, (v >> 96) as u32)
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let n = from.len().min(to.len());
    to[..n].copy_from_slice(&from[..n]);
    n
}

/// The receiver's end.
#[derive(Debug, Default)]
pub struct Sink {
    header: [u8; HEADER as usize],
    trailer: [u8; TRAILER as usize],
    at: u64,
    len: u64,
    crc: Hasher,
}

/// What came is no stream of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAStream;

impl Sink {
    /// Takes what came. The error ends the stream.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), NotAStream> {
        while !bytes.is_empty() {
            let n = self.part(bytes)?;
            self.at += n as u64;
            bytes = &bytes[n..];
            if self.at == HEADER {
                self.read_header()?;
            }
        }
        Ok(())
    }

    fn part(&mut self, bytes: &[u8]) -> Result<usize, NotAStream> {
        if self.at < HEADER {
            return Ok(copy(bytes, &mut self.header[self.at as usize..]));
        }
        let at = self.at - HEADER;
        if at < self.len {
            let n = (self.len - at).min(bytes.len() as u64) as usize;
            self.crc.update(&bytes[..n]);
            return Ok(n);
        }
        match copy(bytes, &mut self.trailer[((at - self.len) as usize).min(4)..]) {
            0 => Err(NotAStream),
            n => Ok(n),
        }
    }

    fn read_header(&mut self) -> Result<(), NotAStream> {
        let (magic, numbers) = self.header.split_at(8);
        let mut len = [0; 8];
        len.copy_from_slice(&numbers[8..]);
        self.len = u64::from_le_bytes(len);
        if magic != MAGIC || self.len > u64::MAX - HEADER - TRAILER {
            return Err(NotAStream);
        }
        Ok(())
    }

    /// Bytes of data so far.
    pub fn received(&self) -> u64 {
        self.at.saturating_sub(HEADER).min(self.len)
    }

    /// When all has come: what to answer, and whether it was whole.
    pub fn verdict(&self) -> Option<([u8; VERDICT], bool)> {
        if self.at < HEADER || self.at - HEADER < self.len + TRAILER {
            return None;
        }
        let crc = self.crc.clone().finalize();
        let whole = u32::from_le_bytes(self.trailer) == crc;
        let v = u128::from(self.len) | u128::from(crc) << 64 | u128::from(whole) << 96;
        Some((v.to_le_bytes(), whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(seed: u64, len: u64, chunk: usize) -> (Vec<u8>, Source) {
        let mut source = Source::new(seed, len);
        let mut all = Vec::new();
        let mut buf = vec![0; chunk];
        loop {
            let n = source.fill(&mut buf);
            if n == 0 {
                return (all, source);
            }
            all.extend_from_slice(&buf[..n]);
        }
    }

    #[test]
    fn whole_streams_are_whole_however_they_are_cut() {
        for len in [0u64, 1, 7, 8, 9, 1000, 10_007] {
            let (all, source) = stream(5, len, 4096);
            assert_eq!(all.len() as u64, 24 + len + 4);
            for chunk in [1, 3, 13, 1400, 100_000] {
                assert!(stream(5, len, chunk).0 == all, "generated in pieces of {chunk}");
                let mut sink = Sink::default();
                for c in all.chunks(chunk) {
                    assert!(sink.verdict().is_none());
                    sink.push(c).unwrap();
                }
                let (verdict, whole) = sink.verdict().unwrap();
                assert!(whole && sink.received() == len);
                assert_eq!(source.judge(&verdict), Ok(()));
                assert_eq!(sink.push(b"x"), Err(NotAStream), "nothing may follow");
            }
        }
    }

    #[test]
    fn streams_differ_by_seed() {
        assert!(stream(1, 100, 64).0[24..] != stream(2, 100, 64).0[24..]);
    }

    #[test]
    fn any_wrong_byte_is_found() {
        let (all, source) = stream(9, 300, 4096);
        for at in 0..all.len() {
            let mut bad = all.clone();
            bad[at] ^= 0x10;
            let mut sink = Sink::default();
            if sink.push(&bad).is_err() {
                continue;
            }
            // The seed is the sender's own business: no receiver looks at it.
            if !(8..16).contains(&at) {
                assert!(
                    sink.verdict().is_none_or(|(v, w)| !w && source.judge(&v).is_err()),
                    "byte {at}"
                );
            }
        }
    }

    #[test]
    fn a_verdict_of_another_stream_is_refused() {
        let (a, _) = stream(1, 100, 64);
        let (_, other) = stream(2, 100, 64);
        let mut sink = Sink::default();
        sink.push(&a).unwrap();
        assert!(other.judge(&sink.verdict().unwrap().0).is_err());
    }

    #[test]
    fn garbage_is_no_stream() {
        assert_eq!(Sink::default().push(&[0; 24]), Err(NotAStream));
        let mut endless = MAGIC.to_vec();
        endless.extend_from_slice(&[0xff; 16]);
        assert_eq!(Sink::default().push(&endless), Err(NotAStream));
    }
}
