// SPDX-License-Identifier: CDDL-1.0
//! Packets put together of their fragments (RFC 791, RFC 8200 section 4.5).
//!
//! A fragment may come twice; ones that do not agree with each other spoil their packet, and no more
//! is said of it. What waits is bounded: 256 packets of at most 64 KiB, none longer than a minute.

use crate::field::Fields;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Most packets that are not complete; the one that began first goes first.
const PACKETS: usize = 256;
/// How long a packet is waited for, by the times of packets (RFC 8200: 60 seconds).
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes that offsets count.
const UNIT: usize = 8;
/// Longest payload of IP, bytes.
const LONGEST: usize = 65_535;

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Of the packet.
    pub id: u32,
    /// Bytes before this one's.
    pub offset: u16,
    /// Whether there are some behind.
    pub more: bool,
}

impl Fragment {
    /// A whole packet is the one fragment of itself.
    pub(super) fn real(self) -> Option<Fragment> {
        (self.more || self.offset != 0).then_some(self)
    }

    pub(super) fn text(&self) -> String {
        let more = if self.more { ", more follow" } else { "" };
        format!("fragment of {} at {}{more}", self.id, self.offset)
    }
}

/// What a packet was put together of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    /// How many fragments, those that came twice not counted.
    pub fragments: usize,
    /// Bytes behind the IP header.
    pub length: usize,
}

impl Whole {
    pub(super) fn summary(&self) -> String {
        format!("{} bytes of {} fragments", self.length, self.fragments)
    }

    pub(super) fn fields(&self) -> Fields {
        Fields::default().with("length", self.length).with("fragments", self.fragments)
    }
}

/// Whose fragments belong together. The network id keeps those of guests apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub vnet: Option<u32>,
    pub ends: (IpAddr, IpAddr),
    /// Of IPv4; 0 in IPv6.
    pub protocol: u8,
    pub id: u32,
}

/// A packet as far as it is there.
#[derive(Debug)]
struct Pieces {
    bytes: Vec<u8>,
    /// Which units of them are there.
    have: Vec<bool>,
    /// Its length, once the last fragment is there.
    end: Option<usize>,
    /// Of the payload, by the first fragment.
    protocol: Option<u8>,
    fragments: usize,
    since: Duration,
}

/// Packets of which fragments have come.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    waiting: HashMap<Key, Pieces>,
}

impl Fragments {
    /// Takes a fragment with its payload, and that payload's protocol, at a time. If it completes
    /// its packet, the payload of that is in `whole`, and its protocol is answered.
    pub(super) fn put(
        &mut self,
        key: Key,
        (fragment, protocol): (Fragment, u8),
        payload: &[u8],
        now: Duration,
        whole: &mut Vec<u8>,
    ) -> Option<(Whole, u8)> {
        self.waiting.retain(|_, p| now.saturating_sub(p.since) < PATIENCE);
        if !self.waiting.contains_key(&key) && self.waiting.len() >= PACKETS {
            let oldest = self.waiting.iter().min_by_key(|(_, p)| p.since).map(|(k, _)| *k);
            oldest.map(|k| self.waiting.remove(&k));
        }
        let pieces = self.waiting.entry(key).or_insert_with(|| Pieces::new(now));
        let agreed = pieces.put(fragment, payload);
        if fragment.offset == 0 {
            pieces.protocol = Some(protocol);
        }
        if agreed.is_some() && !pieces.is_complete() {
            return None;
        }
        // Spoiled or complete.
        let pieces = self.waiting.remove(&key)?;
        agreed?;
        *whole = pieces.bytes;
        Some((Whole { fragments: pieces.fragments, length: whole.len() }, pieces.protocol?))
    }
}

impl Pieces {
    fn new(since: Duration) -> Pieces {
        let (bytes, have) = (Vec::new(), Vec::new());
        Pieces { bytes, have, end: None, protocol: None, fragments: 0, since }
    }

    /// Puts a fragment in its place; `None` if it does not agree with the others.
    fn put(&mut self, fragment: Fragment, payload: &[u8]) -> Option<()> {
        let from = usize::from(fragment.offset);
        let end = from.checked_add(payload.len()).filter(|end| *end <= LONGEST)?;
        match (fragment.more, self.end) {
            (true, _) if payload.is_empty() || !payload.len().is_multiple_of(UNIT) => return None,
            (true, Some(all)) if end > all => return None,
            (false, Some(all)) if end != all => return None,
            (false, None) if end < self.bytes.len() => return None,
            _ => {}
        }
        if !fragment.more {
            self.end = Some(end);
        }
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
            self.have.resize(end.div_ceil(UNIT), false);
        }
        let units = from / UNIT..end.div_ceil(UNIT);
        let (bytes, have) = (self.bytes.get_mut(from..end)?, self.have.get_mut(units)?);
        if have.iter().all(|h| !h) {
            bytes.copy_from_slice(payload);
            have.fill(true);
            self.fragments = self.fragments.saturating_add(1);
            return Some(());
        }
        // The same again is no harm.
        (have.iter().all(|h| *h) && bytes == payload).then_some(())
    }

    fn is_complete(&self) -> bool {
        self.end.is_some() && self.have.iter().all(|h| *h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key {
        vnet: None,
        ends: (
            IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        ),
        protocol: 17,
        id: 1,
    };

    fn put(
        to: &mut Fragments,
        key: Key,
        offset: u16,
        more: bool,
        payload: &[u8],
        at: u64,
    ) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        let fragment = Fragment { id: key.id, offset, more };
        let got = to.put(key, (fragment, 17), payload, Duration::from_secs(at), &mut whole);
        got.map(|(w, protocol)| {
            assert_eq!((w.length, protocol), (whole.len(), 17));
            whole
        })
    }

    #[test]
    fn fragments_make_their_packet_in_any_order_and_twice() {
        let all: Vec<u8> = (0..100).collect();
        let (first, rest) = all.split_at(40);
        let (second, third) = rest.split_at(56);
        let (a, b, c) = ((0, first), (40, second), (96, third));
        for order in [[a, b, c], [c, b, a], [b, c, a], [c, a, b]] {
            let mut fragments = Fragments::default();
            for (n, (offset, payload)) in order.into_iter().enumerate() {
                let mut one = || put(&mut fragments, KEY, offset, offset != 96, payload, 0);
                assert_eq!(one(), (n == 2).then(|| all.clone()), "{order:?}");
                if n < 2 {
                    assert_eq!(one(), None);
                }
            }
            assert!(fragments.waiting.is_empty());
        }
    }

    #[test]
    fn fragments_that_do_not_agree_spoil_their_packet() {
        let wrong: [(u16, bool, &[u8]); 6] = [
            (0, true, &[9; 16]),
            (8, true, &[0; 16]),
            (24, true, &[0; 7]),
            (24, true, &[]),
            (8, false, &[0; 4]),
            (65528, false, &[0; 8]),
        ];
        for (offset, more, payload) in wrong {
            let mut fragments = Fragments::default();
            assert_eq!(put(&mut fragments, KEY, 0, true, &[0; 16], 0), None);
            assert_eq!(put(&mut fragments, KEY, offset, more, payload, 0), None);
            assert!(fragments.waiting.is_empty(), "{offset} {more} {}", payload.len());
        }
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_time() {
        let mut fragments = Fragments::default();
        for id in 0..10_000 {
            put(&mut fragments, Key { id, ..KEY }, 65_520, true, &[0; 8], u64::from(id) / 1000);
        }
        assert_eq!(fragments.waiting.len(), PACKETS);
        put(&mut fragments, KEY, 0, true, &[0; 8], 100);
        assert_eq!(fragments.waiting.len(), 1);
        // From before: clocks of several sources differ.
        put(&mut fragments, Key { id: 2, ..KEY }, 0, true, &[0; 8], 5);
        assert_eq!(fragments.waiting.len(), 2);
    }
}
