// SPDX-License-Identifier: CDDL-1.0
//! Segmentation, checksums and joining against an implementation that makes each packet by itself,
//! word by word.

use crate::provider;
use fakekernel::net::client::{Client, Frame, Offload, Partial};
use overlay_abi::vnic::*;
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use zerocopy::FromZeros;

const A: [u8; 6] = [2, 8, 0x20, 0, 0, 0xa];
const B: [u8; 6] = [2, 8, 0x20, 0, 0, 0xb];
const FAR: [u8; 6] = [2, 8, 0x20, 0, 0, 0xff];

/// RFC 1071, as it is written there.
fn rfc1071(parts: &[&[u8]]) -> u16 {
    let all = parts.concat();
    let mut s = 0u32;
    for w in all.chunks(2) {
        s += u32::from(u16::from_be_bytes([w[0], *w.get(1).unwrap_or(&0)]));
        s = (s & 0xffff) + (s >> 16);
    }
    !(s as u16)
}

/// A TCP connection's packet, described.
#[derive(Clone, Debug)]
struct Packet {
    dst: [u8; 6],
    tag: Option<u16>,
    v6: bool,
    extension: bool,
    id: u16,
    seq: u32,
    flags: u8,
    window: u16,
    options: Vec<u8>,
    payload: Vec<u8>,
}

impl Packet {
    fn l3(&self) -> usize {
        if self.tag.is_some() { 18 } else { 14 }
    }
    fn l4(&self) -> usize {
        self.l3()
            + if !self.v6 {
                20
            } else if self.extension {
                48
            } else {
                40
            }
    }
    fn headers(&self) -> usize {
        self.l4() + 20 + self.options.len()
    }

    /// The frame with every field right.
    fn frame(&self) -> Vec<u8> {
        let mut f = [self.dst, A].concat();
        if let Some(t) = self.tag {
            f.extend_from_slice(&[0x81, 0]);
            f.extend_from_slice(&t.to_be_bytes());
        }
        let mut tcp = vec![0x12, 0x34, 0x56, 0x78];
        tcp.extend_from_slice(&self.seq.to_be_bytes());
        tcp.extend_from_slice(&[9, 8, 7, 6]);
        tcp.push(((20 + self.options.len()) as u8 / 4) << 4);
        tcp.push(self.flags);
        tcp.extend_from_slice(&self.window.to_be_bytes());
        tcp.extend_from_slice(&[0; 4]);
        tcp.extend_from_slice(&self.options);
        tcp.extend_from_slice(&self.payload);
        let len = tcp.len() as u16;
        let (addresses, ip) = if self.v6 {
            let addresses: Vec<u8> = (0..32).map(|i| i * 7).collect();
            let mut ip = vec![0x6a, 0xbc, 0xde, 0xf0];
            let ext = if self.extension { 8 } else { 0 };
            ip.extend_from_slice(&(len + ext).to_be_bytes());
            ip.extend_from_slice(&[if ext == 0 { 6 } else { 60 }, 64]);
            ip.extend_from_slice(&addresses);
            if self.extension {
                ip.extend_from_slice(&[6, 0, 1, 4, 0, 0, 0, 0]);
            }
            f.extend_from_slice(&[0x86, 0xdd]);
            (addresses, ip)
        } else {
            let addresses = vec![10, 1, 2, 3, 192, 168, 200, 201];
            let mut ip = vec![0x45, 0x10];
            ip.extend_from_slice(&(len + 20).to_be_bytes());
            ip.extend_from_slice(&self.id.to_be_bytes());
            ip.extend_from_slice(&[0x40, 0, 63, 6, 0, 0]);
            ip.extend_from_slice(&addresses);
            let sum = rfc1071(&[&ip]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            f.extend_from_slice(&[8, 0]);
            (addresses, ip)
        };
        let pseudo = [&u32::from(len).to_be_bytes()[..], &[0, 0, 0, 6]].concat();
        let sum = rfc1071(&[&addresses, &pseudo, &tcp]);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        f.extend_from_slice(&ip);
        f.extend_from_slice(&tcp);
        f
    }

    /// What a sender that leaves the sum to others stores there: that of the pseudo-header.
    fn unfinished(&self) -> Vec<u8> {
        let mut f = self.frame();
        let (l3, l4) = (self.l3(), self.l4());
        let len = (f.len() - l4) as u32;
        let pseudo = [&len.to_be_bytes()[..], &[0, 0, 0, 6]].concat();
        let addresses = if self.v6 { &f[l3 + 8..l3 + 40] } else { &f[l3 + 12..l3 + 20] };
        let sum = !rfc1071(&[addresses, &pseudo]);
        f[l4 + 16..l4 + 18].copy_from_slice(&sum.to_be_bytes());
        f
    }

    /// The packets that a sender without offload would make of it.
    fn cut(&self, mss: usize) -> Vec<Vec<u8>> {
        let parts: Vec<&[u8]> =
            if self.payload.is_empty() { vec![&[]] } else { self.payload.chunks(mss).collect() };
        let last = parts.len() - 1;
        let of = |(i, part): (usize, &&[u8])| {
            let mut p = self.clone();
            p.payload = part.to_vec();
            p.id = self.id.wrapping_add(i as u16);
            p.seq = self.seq.wrapping_add((i * mss) as u32);
            if i != last {
                p.flags &= !0x09;
            }
            if i != 0 {
                p.flags &= !0x80;
            }
            p.frame()
        };
        parts.iter().enumerate().map(of).collect()
    }

    fn offload(&self, mss: Option<u16>) -> Offload {
        Offload { checksum: Some(Partial { start: self.l4() as u16, offset: 16 }), mss }
    }
}

fn packet(max: usize) -> impl Strategy<Value = Packet> {
    let shape = (any::<bool>(), any::<bool>(), prop::option::of(1u16..4095), 0usize..=10);
    let values = (any::<u16>(), any::<u32>(), any::<u8>());
    (shape, values, prop::collection::vec(any::<u8>(), 0..max)).prop_map(
        |((v6, extension, tag, options), (id, seq, flags), payload)| Packet {
            dst: FAR,
            tag,
            v6,
            extension: v6 && extension,
            id,
            seq,
            flags: flags & !0x06 | 0x10,
            window: 0x2001,
            options: (0..options * 4).map(|i| i as u8 | 1).collect(),
            payload,
        },
    )
}

/// A kernel with two VNICs over the test's wire, for one test.
struct Bench {
    kernel: Option<fakekernel::host::Kernel>,
    clients: Vec<Client>,
}

impl Bench {
    fn new() -> Bench {
        let kernel = Some(provider::boot());
        provider::plumb();
        let open = |(id, addr): (u32, [u8; 6])| {
            let mut c = vnic_ioc_create_t::new_zeroed();
            (c.vc_vnic_id, c.vc_link_id, c.vc_mac_len) = (id, provider::LINK, 6);
            c.vc_mac_addr[..6].copy_from_slice(&addr);
            provider::ioctl(&provider::dld(), VNIC_IOC_CREATE, &mut c).unwrap();
            Client::open(id).unwrap()
        };
        Bench { kernel, clients: [(20, A), (21, B)].map(open).into() }
    }

    fn sent(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *provider::SENT.lock().unwrap())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.clients.clear();
        for vd_vnic_id in [20, 21] {
            let mut d = vnic_ioc_delete_t { vd_vnic_id };
            provider::ioctl(&provider::dld(), VNIC_IOC_DELETE, &mut d).unwrap();
        }
        provider::unplumb();
        if let Some(k) = self.kernel.take() {
            k.shutdown().unwrap();
        }
    }
}

fn run<S: Strategy>(cases: u32, s: S, f: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = ProptestConfig { cases, failure_persistence: None, ..Default::default() };
    proptest::test_runner::TestRunner::new(config).run(&s, f).unwrap();
}

#[test]
fn software_segmentation_makes_the_packets_a_plain_sender_would() {
    let b = Bench::new();
    run(150, (packet(20_000), 1u16..1300), |(p, mss)| {
        let mut f = Frame::from_slice(&p.unfinished()).unwrap();
        f.set_offload(&p.offload(Some(mss))).unwrap();
        b.clients[0].tx(f).ok().unwrap();
        prop_assert_eq!(b.sent(), p.cut(mss.into()));
        Ok(())
    });
    assert!(provider::HEADROOM.load(std::sync::atomic::Ordering::SeqCst) >= 64);
}

#[test]
fn software_checksums_are_right() {
    let b = Bench::new();
    run(500, packet(1200), |p| {
        let mut f = Frame::from_slice(&p.unfinished()).unwrap();
        f.set_offload(&p.offload(None)).unwrap();
        b.clients[0].tx(f).ok().unwrap();
        prop_assert_eq!(b.sent(), vec![p.frame()]);
        Ok(())
    });
}

/// UDP's zero means "none": a sum of zero goes out as all ones.
#[test]
fn a_udp_sum_is_never_zero() {
    let b = Bench::new();
    let mut f = [FAR, A].concat();
    f.extend_from_slice(&[
        8, 0, 0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ]);
    f.extend_from_slice(&[0, 1, 0, 2, 0, 10, 0, 0, 0, 0]);
    // The payload makes up for the rest: all words together are 0xffff.
    let rest = rfc1071(&[&f[34..]]);
    f[42..44].copy_from_slice(&rest.to_be_bytes());
    let mut frame = Frame::from_slice(&f).unwrap();
    let checksum = Some(Partial { start: 34, offset: 6 });
    frame.set_offload(&Offload { checksum, mss: None }).unwrap();
    b.clients[0].tx(frame).ok().unwrap();
    assert_eq!(b.sent()[0][40..42], [0xff, 0xff]);
}

#[test]
fn nonsense_with_marks_is_refused_and_harms_nobody() {
    let b = Bench::new();
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    let marks = (any::<u16>(), any::<u16>(), any::<u16>());
    let ethertype = prop::sample::select(vec![0x0800u16, 0x86dd, 0x8100, 0x1234]);
    let known = any::<bool>();
    run(3000, (noise, marks, ethertype, known), |(mut bytes, (start, offset, mss), ty, known)| {
        if known && bytes.len() > 14 {
            bytes[..6].copy_from_slice(&B);
            bytes[12..14].copy_from_slice(&ty.to_be_bytes());
        }
        for m in [None, Some(mss), Some(mss % 64)] {
            let mut f = Frame::from_slice(&bytes).unwrap();
            let checksum = Some(Partial { start: start % 256, offset: offset % 256 });
            if f.set_offload(&Offload { checksum, mss: m }).is_ok() {
                b.clients[0].tx(f).ok().unwrap();
            }
        }
        b.sent();
        Ok(())
    });
}

type Heard = Arc<Mutex<Vec<(Vec<u8>, Offload, usize)>>>;

fn hear(c: &Client) -> Heard {
    let heard = Heard::default();
    let h = heard.clone();
    c.set_rx(Arc::new(move |batch| {
        for f in batch {
            h.lock().unwrap().push((f.bytes().into_owned(), f.offload(), f.header_len()));
        }
    }));
    heard
}

/// A sibling that takes unfinished frames gets them as they are; one that does not gets what the
/// wire would.
#[test]
fn loopback_between_vnics_keeps_or_finishes_marks() {
    let b = Bench::new();
    let heard = hear(&b.clients[1]);
    // With all headers a segment stays within 1400 bytes, which is what a port of the bench carries.
    run(200, (packet(9000), 100u16..1290), |(mut p, mss)| {
        p.dst = B;
        for takes in [false, true] {
            b.clients[1].set_takes_offload(takes);
            let mut f = Frame::from_slice(&p.unfinished()).unwrap();
            f.set_offload(&p.offload(Some(mss))).unwrap();
            b.clients[0].tx(f).ok().unwrap();
            let got = std::mem::take(&mut *heard.lock().unwrap());
            if takes {
                let whole = (p.unfinished(), p.offload(Some(mss)), p.headers());
                prop_assert_eq!(got, vec![whole]);
            } else {
                let got: Vec<_> = got.into_iter().map(|g| g.0).collect();
                prop_assert_eq!(got, p.cut(mss.into()));
            }
        }
        Ok(())
    });
    assert!(b.sent().is_empty());
}

/// Joining is the inverse of cutting: a batch of segments becomes the frame that they were cut
/// from.
#[test]
fn segments_of_a_batch_are_joined_into_what_they_were_cut_from() {
    let b = Bench::new();
    let heard = hear(&b.clients[1]);
    b.clients[1].set_takes_offload(true);
    b.clients[1].set_coalesce(true);
    run(100, (packet(40_000), 400u16..1300), |(mut p, mss)| {
        p.dst = B;
        p.flags = p.flags & 0x08 | 0x10;
        p.extension = false;
        let cut = p.cut(mss.into());
        provider::wire(&cut.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let got = std::mem::take(&mut *heard.lock().unwrap());
        if cut.len() == 1 {
            prop_assert_eq!(got.len(), 1);
            prop_assert_eq!((&got[0].0, got[0].1), (&cut[0], Offload::default()));
        } else {
            prop_assert_eq!(got, vec![(p.unfinished(), p.offload(Some(mss)), p.headers())]);
        }
        Ok(())
    });
}

/// What differs in a batch: everything that must keep two segments apart.
#[derive(Clone, Debug)]
enum Change {
    None,
    Fin,
    OtherFlow,
    Corrupt,
    Gap,
    Window,
    Padding,
    Empty,
}

/// Whatever a batch holds, cutting what joining made gives the batch again, each flow in order.
#[test]
fn joining_loses_and_reorders_nothing() {
    use Change::*;
    let b = Bench::new();
    let heard = hear(&b.clients[1]);
    b.clients[1].set_takes_offload(true);
    b.clients[1].set_coalesce(true);
    let change = prop::sample::select(vec![
        None, None, None, None, None, None, Fin, OtherFlow, Corrupt, Gap, Window, Padding, Empty,
    ]);
    let batch = prop::collection::vec((change, 1usize..1200), 1..60);
    run(400, (packet(1), batch), |(start, batch)| {
        let mut at = Packet { dst: B, flags: 0x10, extension: false, ..start };
        let frames: Vec<Vec<u8>> = batch
            .iter()
            .enumerate()
            .map(|(i, (change, len))| {
                // Runs of equal length, as they come.
                let len = if i % 7 == 0 { *len } else { 600 };
                at.payload = vec![i as u8; if matches!(change, Empty) { 0 } else { len }];
                at.flags = if matches!(change, Fin) { 0x11 } else { 0x10 };
                if matches!(change, Window) {
                    at.window -= 1;
                }
                if matches!(change, Gap) {
                    at.seq = at.seq.wrapping_add(1);
                }
                let mut f = at.frame();
                let l4 = at.l4();
                match change {
                    OtherFlow => f[l4] ^= 1,
                    Corrupt => *f.last_mut().unwrap() ^= 0x40,
                    Padding => f.extend_from_slice(&[0; 3]),
                    _ => {}
                }
                at.seq = at.seq.wrapping_add(at.payload.len() as u32);
                at.id = at.id.wrapping_add(1);
                f
            })
            .collect();
        provider::wire(&frames.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let got = std::mem::take(&mut *heard.lock().unwrap());
        // Cut it all again, through the other VNIC's software segmentation.
        let mut back = Vec::new();
        for (bytes, offload, _) in got {
            let mut bytes = bytes;
            bytes[..6].copy_from_slice(&FAR);
            let mut f = Frame::from_slice(&bytes).unwrap();
            f.set_offload(&offload).unwrap();
            b.clients[0].tx(f).ok().unwrap();
            for mut f in b.sent() {
                f[..6].copy_from_slice(&B);
                back.push(f);
            }
        }
        let port = at.l4();
        let flow = |v: &[Vec<u8>], odd: bool| -> Vec<Vec<u8>> {
            v.iter().filter(|f| (f[port] & 1 != 0) == odd).cloned().collect()
        };
        for odd in [false, true] {
            prop_assert_eq!(flow(&back, odd), flow(&frames, odd));
        }
        Ok(())
    });
}
