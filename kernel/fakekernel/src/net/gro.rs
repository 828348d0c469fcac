// SPDX-License-Identifier: CDDL-1.0
//! Joining consecutive TCP segments of a batch into one frame that is marked to be segmented again.
//!
//! A guest's stack handles one frame of 60 KiB for about the price of one of 1400 bytes. Only what
//! segmentation would undo exactly is joined: same headers but for lengths, checksums, the IPv4 id
//! and the sequence number; checksums are verified first, because the receiver takes those of a
//! marked frame for granted. The payload is not copied: the blocks are linked behind the first
//! segment's.

use super::ether::{Ip, Link, be16};
use super::msg::{Chain, Marks, Msg};
use super::offload::{fold, pseudo, sum, tcp_header_end};
use illumos_sys_hdrs::{HCK_PARTIALCKSUM, HW_LSO};

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
/// Flows that can be open in a batch at a time; more lose some joining, nothing else.
const FLOWS: usize = 16;
/// Largest IP packet.
const MAX_PACKET: usize = 65535;

/// Where the parts of a TCP frame lie, and what changes from segment to segment.
#[derive(Clone, Copy)]
struct Tcp {
    ip: Ip,
    /// First byte of payload.
    data: usize,
    len: usize,
    seq: u32,
    id: u16,
    flags: u8,
}

impl Tcp {
    fn parse(f: &[u8]) -> Option<Tcp> {
        let ip = Ip::parse(f, &Link::parse(f)?)?;
        let data = tcp_header_end(f, &ip)?;
        let seq = u32::from_be_bytes(f.get(ip.l4 + 4..ip.l4 + 8)?.try_into().ok()?);
        let id = be16(f, ip.l3 + 4)?;
        Some(Tcp { ip, data, len: ip.end - data, seq, id, flags: f[ip.l4 + 13] })
    }

    /// Whether it may be part of a joined frame: plain data, nothing behind the packet, no IP
    /// options, sums right.
    fn joinable(&self, f: &[u8]) -> bool {
        let header = if self.ip.v6 { 40 } else { 20 };
        self.len > 0
            && self.flags & !PSH == ACK
            && self.ip.end == f.len()
            && self.ip.l4 == self.ip.l3 + header
            && (self.ip.v6 || fold(sum(&f[self.ip.l3..self.ip.l4])) == 0xffff)
            && fold(pseudo(f, &self.ip, f.len() - self.ip.l4) + sum(&f[self.ip.l4..])) == 0xffff
    }

    /// Whether `other` is of the same connection and link.
    fn same_flow(&self, f: &[u8], other: &Tcp, g: &[u8]) -> bool {
        let (l3, l4) = (self.ip.l3, self.ip.l4);
        (l3, l4) == (other.ip.l3, other.ip.l4)
            && f[..l3] == g[..l3]
            && self.ip.addresses(f) == other.ip.addresses(g)
            && f[l4..l4 + 4] == g[l4..l4 + 4]
    }

    /// Whether the headers differ only in what segmentation makes differ.
    fn same_header(&self, f: &[u8], other: &Tcp, g: &[u8]) -> bool {
        let (l3, l4) = (self.ip.l3, self.ip.l4);
        let same = |a: usize, b: usize| f[a..b] == g[a..b];
        let network = if self.ip.v6 {
            same(l3, l3 + 4) && same(l3 + 6, l3 + 8)
        } else {
            same(l3, l3 + 2) && same(l3 + 6, l3 + 10)
        };
        network
            && self.data == other.data
            && same(l4 + 8, l4 + 13)
            && same(l4 + 14, l4 + 16)
            && same(l4 + 18, self.data)
    }
}

/// Segments that become one frame.
struct Joined {
    /// The first one's frame, and what it looks like.
    head: Msg,
    tcp: Tcp,
    /// The frames behind it, headers trimmed off.
    rest: Vec<Msg>,
    /// Payload so far.
    len: usize,
    /// Takes more.
    open: bool,
    psh: bool,
}

impl Joined {
    /// Whether the segment comes next.
    fn takes(&self, t: &Tcp, f: &[u8]) -> bool {
        let count = self.rest.len() as u16 + 1;
        let dont_fragment = be16(self.head.head(), self.tcp.ip.l3 + 6).unwrap_or(0) & 0x4000 != 0;
        let id = t.id == self.tcp.id.wrapping_add(count) || dont_fragment && t.id == self.tcp.id;
        self.open
            && self.tcp.seq.wrapping_add(self.len as u32) == t.seq
            && t.len <= self.tcp.len
            && (t.ip.v6 || id)
            && self.tcp.data - self.tcp.ip.l3 + self.len + t.len <= MAX_PACKET
            && self.tcp.same_header(self.head.head(), t, f)
    }

    fn push(&mut self, mut m: Msg, t: &Tcp) {
        m.trim_front(t.data);
        self.len += t.len;
        self.psh |= t.flags & PSH != 0;
        self.open = t.len == self.tcp.len && !self.psh;
        self.rest.push(m);
    }

    /// The frame: as it came when it stayed alone.
    fn finish(mut self) -> Msg {
        let Some(mut tail) = self.rest.pop() else { return self.head };
        while let Some(mut m) = self.rest.pop() {
            m.link(tail);
            tail = m;
        }
        let ip = self.tcp.ip;
        let (l3, l4) = (ip.l3, ip.l4);
        let end = self.tcp.data + self.len;
        let transport = pseudo(self.head.head(), &ip, end - l4);
        let f = self.head.head_mut();
        if ip.v6 {
            f[l3 + 4..l3 + 6].copy_from_slice(&((end - l4) as u16).to_be_bytes());
        } else {
            f[l3 + 2..l3 + 4].copy_from_slice(&((end - l3) as u16).to_be_bytes());
            f[l3 + 10..l3 + 12].fill(0);
            let s = !fold(sum(&f[l3..l4]));
            f[l3 + 10..l3 + 12].copy_from_slice(&s.to_ne_bytes());
        }
        if self.psh {
            f[l4 + 13] |= PSH;
        }
        f[l4 + 16..l4 + 18].copy_from_slice(&fold(transport).to_ne_bytes());
        let start = (l4 - l3) as u32;
        self.head.link(tail);
        self.head.set_marks(Marks {
            start,
            stuff: start + 16,
            flags: HCK_PARTIALCKSUM | HW_LSO,
            mss: self.tcp.len as u32,
        });
        self.head
    }
}

/// A frame on its way through a batch.
enum Slot {
    Alone(Msg),
    Open(Joined),
}

impl Slot {
    /// The joined frame, if the segment is of its flow.
    fn of_flow(&mut self, t: &Tcp, f: &[u8]) -> Option<&mut Joined> {
        match self {
            Slot::Open(j) if j.tcp.same_flow(j.head.head(), t, f) => Some(j),
            _ => None,
        }
    }
}

/// Joins what can be joined. The order within each flow stays.
pub fn coalesce(mut chain: Chain) -> Chain {
    let mut out: Vec<Slot> = Vec::with_capacity(chain.count());
    // Where in `out` the open flows are.
    let mut flows: Vec<usize> = Vec::with_capacity(FLOWS);
    while let Some(m) = chain.pop() {
        let plain = m.is_contiguous() && m.is_unshared() && m.marks().flags == 0;
        let Some(t) = plain.then(|| Tcp::parse(m.head())).flatten() else {
            out.push(Slot::Alone(m));
            continue;
        };
        let f = m.head();
        let joinable = t.joinable(f);
        let known = flows.iter().position(|i| out[*i].of_flow(&t, f).is_some());
        if let Some(at) = known {
            match out[flows[at]].of_flow(&t, f) {
                Some(j) if joinable && j.takes(&t, f) => {
                    j.push(m, &t);
                    continue;
                }
                // Whatever it is, later segments must not get in front of it.
                _ => {
                    flows.swap_remove(at);
                }
            }
        }
        if !joinable || t.flags & PSH != 0 {
            out.push(Slot::Alone(m));
            continue;
        }
        if flows.len() == FLOWS {
            flows.remove(0);
        }
        flows.push(out.len());
        let (len, rest) = (t.len, Vec::new());
        out.push(Slot::Open(Joined { head: m, tcp: t, rest, len, open: true, psh: false }));
    }
    out.into_iter()
        .map(|s| match s {
            Slot::Alone(m) => m,
            Slot::Open(j) => j.finish(),
        })
        .collect()
}
