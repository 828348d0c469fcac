// SPDX-License-Identifier: CDDL-1.0
//! Checksums and TCP segmentation in software, for what a provider or a receiver does not do
//! itself.

use super::ether::{ETHERTYPE_IPV6, IPPROTO_TCP, Ip, Link, be16};
use super::mac::Capabilities;
use super::msg::{Chain, Marks, Msg};
use illumos_sys_hdrs::HCK_PARTIALCKSUM;

/// The marks of a frame do not fit its headers: it cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offload marks that do not fit the frame's headers")]
pub struct Malformed;

/// Free bytes kept in front of frames: room for IPv6, UDP, VXLAN and a tag, so that encapsulation
/// is in place.
pub const HEADROOM: usize = 96;

/// Appends `msg` to `out`, with everything done that its marks ask for and `caps` lack.
pub fn finish(mut msg: Msg, caps: &Capabilities, out: &mut Chain) -> Result<(), Malformed> {
    let marks = msg.marks();
    if marks.flags == 0 {
        out.push(msg);
        return Ok(());
    }
    if marks.wants_lso() {
        let link = Link::parse(msg.head()).ok_or(Malformed)?;
        let max = caps.lso[usize::from(link.ethertype == ETHERTYPE_IPV6)] as usize;
        if msg.len() <= max {
            out.push(msg);
            return Ok(());
        }
    } else if !marks.wants_checksum() || caps.hcksum & HCK_PARTIALCKSUM != 0 {
        out.push(msg);
        return Ok(());
    }
    if !msg.is_contiguous() || !msg.is_unshared() {
        // No memory means that the frame is lost, as on any queue that is full.
        let Some(flat) = msg.flatten(HEADROOM) else { return Ok(()) };
        msg = flat;
    }
    if marks.wants_lso() {
        return segment(msg.head(), marks.mss as usize, out);
    }
    let l3 = Link::parse(msg.head()).ok_or(Malformed)?.len;
    checksum(msg.head_mut(), l3 + marks.start as usize, l3 + marks.stuff as usize)?;
    msg.set_marks(Marks::default());
    out.push(msg);
    Ok(())
}

/// Completes a partial checksum over `frame[start..]`, stored at `stuff`, where the pseudo-header
/// sum stands.
pub fn checksum(frame: &mut [u8], start: usize, stuff: usize) -> Result<(), Malformed> {
    if stuff < start || stuff + 2 > frame.len() {
        return Err(Malformed);
    }
    let mut sum = !fold(sum(&frame[start..]));
    // In UDP zero would mean that there is no checksum.
    if sum == 0 && stuff - start == 6 {
        sum = 0xffff;
    }
    frame[stuff..stuff + 2].copy_from_slice(&sum.to_ne_bytes());
    Ok(())
}

/// Sum of 16-bit words in memory order, not folded. An odd last byte counts as if a zero followed.
pub fn sum(data: &[u8]) -> u64 {
    let mut lanes = [0u64; 4];
    let blocks = data.chunks_exact(32);
    let rest = blocks.remainder();
    for b in blocks {
        for (lane, w) in lanes.iter_mut().zip(b.chunks_exact(8)) {
            let w = u64::from_ne_bytes(w.try_into().unwrap_or_default());
            *lane += (w & 0xffff_ffff) + (w >> 32);
        }
    }
    let mut total: u64 = lanes.iter().sum();
    let words = rest.chunks_exact(2);
    let odd = words.remainder();
    total += words.map(|w| u64::from(u16::from_ne_bytes([w[0], w[1]]))).sum::<u64>();
    if let [b] = odd {
        total += u64::from(u16::from_ne_bytes([*b, 0]));
    }
    total
}

/// Folds a sum to 16 bits, in memory order.
pub fn fold(mut s: u64) -> u16 {
    while s > 0xffff {
        s = (s & 0xffff) + (s >> 16);
    }
    s as u16
}

/// Pseudo-header sum of a TCP or UDP packet with `len` bytes from the transport header on.
pub fn pseudo(frame: &[u8], ip: &Ip, len: usize) -> u64 {
    let len = (len as u32).to_be_bytes();
    sum(ip.addresses(frame)) + sum(&len) + sum(&[0, ip.proto])
}

/// Header bytes of a TCP packet that can be cut or joined: `None` for anything else, fragments, or
/// a truncated one.
pub fn tcp_header_end(frame: &[u8], ip: &Ip) -> Option<usize> {
    if ip.proto != IPPROTO_TCP || ip.fragment || ip.l4 + 20 > ip.end {
        return None;
    }
    let size = usize::from(frame[ip.l4 + 12] >> 4) * 4;
    (size >= 20 && ip.l4 + size <= ip.end).then_some(ip.l4 + size)
}

const FIN_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// Cuts a TCP frame into segments of `mss` bytes of payload. A segment there is no memory for is
/// lost.
///
/// IP lengths, the IPv4 id and header checksum, sequence numbers and the TCP checksum are those of
/// separate packets. FIN and PSH stay on the last segment, CWR on the first (RFC 3168, 6.1.2).
pub fn segment(frame: &[u8], mss: usize, out: &mut Chain) -> Result<(), Malformed> {
    let link = Link::parse(frame).ok_or(Malformed)?;
    let mut ip = Ip::parse(frame, &link).ok_or(Malformed)?;
    // The length fields of a frame to be cut need not be right, they have 16 bits: what counts is
    // what is there.
    ip.end = frame.len();
    let head = tcp_header_end(frame, &ip).ok_or(Malformed)?;
    if mss == 0 {
        return Err(Malformed);
    }
    let (header, payload) = frame.split_at(head);
    let id = be16(frame, ip.l3 + 4).unwrap_or(0);
    let seq = u32::from_be_bytes(frame[ip.l4 + 4..ip.l4 + 8].try_into().unwrap_or_default());
    let count = payload.len().div_ceil(mss).max(1);
    for i in 0..count {
        let at = i * mss;
        let part = &payload[at..payload.len().min(at + mss)];
        let Some(mut m) = Msg::alloc(HEADROOM, head + part.len()) else { continue };
        m.append(header);
        m.append(part);
        let f = m.head_mut();
        let (l3, l4) = (ip.l3, ip.l4);
        let l3len = f.len() - l3;
        if ip.v6 {
            f[l3 + 4..l3 + 6].copy_from_slice(&((l3len - 40) as u16).to_be_bytes());
        } else {
            f[l3 + 2..l3 + 4].copy_from_slice(&(l3len as u16).to_be_bytes());
            f[l3 + 4..l3 + 6].copy_from_slice(&id.wrapping_add(i as u16).to_be_bytes());
            f[l3 + 10..l3 + 12].fill(0);
            let s = !fold(sum(&f[l3..l4]));
            f[l3 + 10..l3 + 12].copy_from_slice(&s.to_ne_bytes());
        }
        f[l4 + 4..l4 + 8].copy_from_slice(&seq.wrapping_add(at as u32).to_be_bytes());
        if i + 1 != count {
            f[l4 + 13] &= !FIN_PSH;
        }
        if i != 0 {
            f[l4 + 13] &= !CWR;
        }
        f[l4 + 16..l4 + 18].fill(0);
        let s = !fold(pseudo(f, &ip, f.len() - l4) + sum(&f[l4..]));
        f[l4 + 16..l4 + 18].copy_from_slice(&s.to_ne_bytes());
        out.push(m);
    }
    Ok(())
}
