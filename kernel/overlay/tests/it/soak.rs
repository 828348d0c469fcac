// SPDX-License-Identifier: CDDL-1.0
//! Links that come and go under traffic, while varpd answers, an administrator meddles, strangers
//! send garbage and allocations fail. `SOAK_SECONDS` says for how long, three by default.
use crate::common::*;
use fakekernel::host::{self, FaultPlan};
use fakekernel::net::client::{Client, Frame, Frames};
use overlay_abi::target::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const LINKS: u32 = 5;

/// A small generator: each thread has its own, so that a seed gives each the same choices.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn mac(n: u64) -> [u8; 6] {
    let [.., a, b] = n.to_be_bytes();
    [2, 8, 0x20, 0xab, a, b]
}

/// The life of a link, over and over. Most of it may fail for want of memory; what must not is
/// going.
fn link(rig: &Rig, varpd: &Varpd, id: u32, stop: &AtomicBool, lives: &AtomicU64) {
    let mut dice = Dice(id.into());
    // The first three share a socket.
    let at = addr(if id < 13 { 1 } else { 3 });
    let to = std::net::SocketAddr::from(addr(2));
    while !stop.load(Relaxed) {
        if rig.create(id, id.into()).is_err() {
            continue;
        }
        let _ = rig.set(id, "vxlan/listen_ip", &at.ip().to_ipv6_mapped().octets());
        let dynamic = dice.roll(4) != 0;
        let associate = || if dynamic { varpd.dynamic(id) } else { varpd.point(id, to) };
        let _ = associate();
        let _ = rig.activate(id);
        let vnic = rig.vnic(id, id + 100, mac(id.into()));
        if let (Ok(()), Ok(client)) = (vnic, Client::open(id + 100)) {
            assert!(rig.delete(id).is_err(), "deleted in use");
            for n in 0..dice.roll(40) {
                let frames: Frames = (0..dice.roll(32))
                    .filter_map(|_| {
                        let len = 14 + dice.roll(1400) as usize;
                        Frame::from_slice(&frame(mac(dice.roll(300)), mac(id.into()), 1, len))
                    })
                    .collect();
                let _ = client.tx_all(frames, Duration::from_millis(20));
                match dice.roll(30) {
                    0 => varpd.disassociate(id).unwrap(),
                    1 => drop(associate()),
                    2 => varpd.degrade(id, &[b'x'; 256]).unwrap(),
                    3 => varpd.restore(id).unwrap(),
                    4 => drop(rig.set(id, "mtu", &(600 + n).to_ne_bytes())),
                    _ => {}
                }
            }
        }
        if vnic.is_ok() {
            rig.delete_vnic(id + 100).unwrap();
        }
        rig.delete(id).unwrap();
        lives.fetch_add(1, Relaxed);
    }
}

fn answer(varpd: &Varpd, seed: u64, stop: &AtomicBool) {
    let mut dice = Dice(seed);
    let to = std::net::SocketAddr::from(addr(2));
    while !stop.load(Relaxed) {
        let Ok(l) = varpd.lookup() else { continue };
        let link = l.otl_dlid;
        if dice.roll(4) == 0 {
            let _ = varpd.packet(l.otl_reqid, 1500);
            let _ = varpd.inject(u64::MAX, l.otl_reqid, &frame(l.otl_srcaddr, mac(1), 1, 60));
            let _ = varpd.inject(link, 0, &frame([0xff; 6], mac(1), 1, 60));
            let _ = varpd.resend(link, 0, &frame(mac(dice.roll(300)), mac(1), 1, 60));
        }
        let _ = match dice.roll(3) {
            0 => varpd.refuse(l.otl_reqid),
            1 => varpd.respond(l.otl_reqid, to),
            _ => varpd.cache_set(link as u32, l.otl_dstaddr, to),
        };
    }
}

fn administer(varpd: &Varpd, rig: &Rig, stop: &AtomicBool) {
    let mut dice = Dice(77);
    let to = std::net::SocketAddr::from(addr(2));
    while !stop.load(Relaxed) {
        let id = 10 + dice.roll(LINKS.into()) as u32;
        let m = mac(dice.roll(300));
        match dice.roll(8) {
            0 => drop(varpd.cache_set(id, m, to)),
            1 => drop(varpd.cache_drop(id, m)),
            2 => drop(varpd.cache_remove(id, m)),
            3 => drop(varpd.cache_get(id, m)),
            4 => drop(varpd.cache_walk(id, 50)),
            5 => drop(varpd.cache_flush(id)),
            6 => drop(varpd.info(id)),
            _ => drop((stats(id), rig.get(id, "mtu"), rig.propinfo(id, "5"), varpd.list(9))),
        }
    }
}

fn bother(peer: &Peer, stop: &AtomicBool) {
    let mut dice = Dice(5);
    while !stop.load(Relaxed) {
        for _ in 0..20 {
            let to = addr(if dice.roll(2) == 0 { 1 } else { 3 });
            let id = 10 + dice.roll(u64::from(LINKS) + 1);
            let f = frame(mac(id), mac(999), 1, dice.roll(1500) as usize);
            let mut datagram = [&header(id)[..], &f].concat();
            if dice.roll(5) == 0 {
                datagram.truncate(dice.roll(20) as usize);
            }
            let _ = peer.0.send_to(&datagram, to);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn links_come_and_go_under_fire() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(3, |s| s.parse().unwrap());
    let fail = FaultPlan { random: Some((1, 20)), ..Default::default() };
    let rig = Rig::boot_with(host::Config { fail, ..Default::default() });
    crate::modules::overlay_target_max().store(200, Relaxed);
    let (varpd, peer) = (rig.varpd(), Peer::bind(addr(2)));
    peer.0.set_nonblocking(true).unwrap();
    let (stop, lives) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|t| {
        let mut threads = Vec::new();
        for id in 10..10 + LINKS {
            let (rig, varpd, stop, lives) = (&rig, &varpd, &stop, &lives);
            threads.push(t.spawn(move || link(rig, varpd, id, stop, lives)));
        }
        for seed in [3, 4] {
            let (varpd, stop) = (&varpd, &stop);
            threads.push(t.spawn(move || answer(varpd, seed, stop)));
        }
        threads.push(t.spawn(|| administer(&varpd, &rig, &stop)));
        threads.push(t.spawn(|| bother(&peer, &stop)));
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut seen = 0;
        while Instant::now() < end && !threads.iter().any(|t| t.is_finished()) {
            std::thread::sleep(Duration::from_millis(100));
            // Somebody must get somewhere within a while, or they wait for each other.
            if Instant::now() + Duration::from_secs(1) < end || seconds > 30 {
                let stuck = Instant::now();
                while lives.load(Relaxed) == seen && stuck.elapsed() < Duration::from_secs(20) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                if lives.load(Relaxed) == seen {
                    eprintln!("no link has come or gone for 20 s");
                    std::process::abort();
                }
                seen = lives.load(Relaxed);
            }
        }
        stop.store(true, Relaxed);
    });
    assert!(lives.load(Relaxed) > 0);
    eprintln!("{} links lived", lives.load(Relaxed));
    assert_eq!(varpd.list(0).unwrap().0, 0);
    let mut a: overlay_targ_lookup_t = zerocopy::FromZeros::new_zeroed();
    assert!(varpd.call(OVERLAY_TARG_LOOKUP, &mut a).is_err(), "no lookup of a link that is gone");
    drop(varpd);
    rig.end();
}
