// SPDX-License-Identifier: CDDL-1.0
//! The route cache under pressure: full, scanned, with packets that wait, and while networks are attached
//! and taken apart.
use crate::common::*;
use crate::routed::*;
use fakekernel::host::{Fault, UserMem};
use overlay_abi::errno::Errno;
use overlay_abi::target::v2::{self, About};
use overlay_abi::target::*;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use zerocopy::{FromZeros, IntoBytes};

/// Those in use stay while others are tried once each, as long as they are fewer than the share that is
/// kept for them.
#[test]
fn a_scan_leaves_the_routes_in_use_however_many() {
    // Each of the 64 parts of the cache has its own share, which chance fills unevenly.
    for (hot, may_go) in [(512u32, 0.01), (700, 0.1)] {
        let s = Scene::dynamic();
        let v2 = V2::speak(&s.varpd);
        v2.router();
        s.rig.set(LINK, "route_cache_size", &1024u64.to_ne_bytes()).unwrap();
        let address = |net: u8, n: u32| format!("10.{net}.{}.{}", n >> 8, n & 0xff);
        fill(&s, &v2, (0..hot).map(|n| (A.to_string(), address(1, n))));
        for n in 0..hot {
            s.guest.send(&outgoing(A, &address(1, n), 1));
            s.peer.recv();
        }
        let mut gone = 0;
        for n in 0..4096u32 {
            s.guest.send(&outgoing(A, &address(1, n % hot), n as u16));
            if stats(LINK)["lookups_outstanding"] != 0 {
                gone += 1;
                v2.answer(v2.asked().0, HOP, s.peer.at()).unwrap();
            }
            s.peer.recv();
            s.guest.send(&outgoing(A, &address(200, n), n as u16));
            v2.answer(v2.asked().0, HOP, s.peer.at()).unwrap();
            s.peer.recv();
        }
        let k = stats(LINK);
        println!("{hot} of 1024 routes in use, 4096 others tried: {gone} of 4096 uses asked again");
        assert_eq!(k["route_entries"], 1024);
        assert!(f64::from(gone) <= 4096.0 * may_go, "{gone} of 4096 packets found no route");
        s.end();
    }
}

/// Nobody answers, and a guest makes up destinations.
#[test]
fn routes_that_are_asked_for_are_bounded_in_number_and_bytes() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    s.rig.set(LINK, "route_cache_size", &256u64.to_ne_bytes()).unwrap();
    for n in 0..300 {
        s.guest.send(&outgoing(A, &format!("10.9.{}.{}", n / 200, n % 200 + 1), n));
    }
    let k = stats(LINK);
    assert_eq!(
        (k["route_entries"], k["lookups_outstanding"], k["queued_packets"]),
        (256, 256, 256)
    );
    assert_eq!((k["drop_tx_cache_full"], k["route_evictions"]), (44, 0));
    s.rig.set(LINK, "route_cache_size", &1024u64.to_ne_bytes()).unwrap();
    let mut long = packet(A, B, 64, 1);
    long.resize(1400, 0);
    long[2..4].copy_from_slice(&1400u16.to_be_bytes());
    let size = 1414u64;
    let (each, room) = (128 * 1024 / size, 64 * 1024 * 1024 - k["queued_bytes"]);
    let mut sent = 0;
    'all: for n in 0..=255u8 {
        for m in 0..4 {
            (long[18], long[19]) = (m, n);
            for _ in 0..each {
                s.guest.send(&ether(ROUTER, GUEST, None, &long));
                sent += size;
                if sent > room + 20 * size {
                    break 'all;
                }
            }
        }
    }
    let k = stats(LINK);
    assert_eq!(k["drop_tx_pending_full"], 21);
    assert_eq!(k["drop_tx_queue_full"], 0);
    assert!(k["queued_bytes"] <= 64 * 1024 * 1024);
    s.varpd.disassociate(LINK).unwrap();
    assert_eq!(stats(LINK)["drop_target_gone"], k["queued_packets"]);
    s.end();
}

/// What was asked before all was forgotten is asked anew: its answer may be one that just went.
#[test]
fn a_flush_and_a_removal_ask_anew_what_is_being_asked() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    for remove in [false, true] {
        s.guest.send(&frame(FAR, GUEST, 1, 60));
        let old = v2.lookup().unwrap().otl_reqid;
        if remove {
            assert_eq!(v2.remove(0, FAR), Err(Errno::ENOENT), "nothing is known of it");
        } else {
            s.varpd.cache_flush_v2(LINK);
        }
        assert_eq!(v2.answer(old, HOP, s.peer.at()), Err(Errno::EINVAL));
        s.peer.nothing();
        v2.answer(v2.lookup().unwrap().otl_reqid, HOP, s.peer.at()).unwrap();
        assert_eq!(s.peer.frame(VNET), frame(FAR, GUEST, 1, 60));
        v2.remove(0, FAR).unwrap();
    }
    v2.router();
    s.guest.send(&outgoing(A, B, 1));
    let old = v2.asked().0;
    s.varpd.cache_flush_v2(LINK);
    assert_eq!(v2.answer(old, HOP, s.peer.at()), Err(Errno::EINVAL));
    v2.answer(v2.asked().0, HOP, s.peer.at()).unwrap();
    assert_eq!(s.peer.frame(OTHER), routed(A, B, 1));
    s.end();
}

/// Networks are attached and taken apart all the time, here by leading to another one each time, while
/// guests send and answers are under way. A packet that is sent when that is over goes by the new route.
#[test]
fn no_packet_goes_by_a_route_that_went() {
    let seconds = std::env::var("SOAK_SECONDS").map_or(3, |s| s.parse().unwrap());
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    const FIRST: u64 = 1000;
    // What the directory says, and what nobody may go below any more.
    let (now, floor, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let none: SocketAddr = "[::]:0".parse().unwrap();
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seen = 0;
    std::thread::scope(|scope| {
        let send = |host: u8| {
            let mut n = 0u8;
            while !stop.load(SeqCst) {
                n = n.wrapping_add(1);
                let mut ip =
                    packet(&format!("10.0.1.{host}"), &format!("10.0.2.{}", n % 20 + 1), 64, 1);
                ip[20..28].copy_from_slice(&floor.load(SeqCst).to_be_bytes());
                s.guest.send(&ether(ROUTER, GUEST, None, &ip));
                if n.is_multiple_of(16) {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        };
        let answer = |seed: u64| {
            let mut n = seed;
            while !stop.load(SeqCst) {
                let Ok(q) = v2.lookup() else { continue };
                let vnet = FIRST + now.load(SeqCst);
                n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                std::thread::sleep(Duration::from_micros(n >> 54));
                let to = if q.about() == About::L3(l3(&q)) { s.peer.at() } else { none };
                // Too late, or not.
                let _ = v2.answer(q.otl_reqid, Hop { vnet, ..HOP }, to);
            }
        };
        let attach = || {
            while Instant::now() < end {
                now.fetch_add(1, SeqCst);
                if now.load(SeqCst).is_multiple_of(3) {
                    s.varpd.cache_flush_v2(LINK);
                } else {
                    v2.remove_net(0, ("10.0.1.0", 120), ("10.0.2.0", 120)).unwrap();
                }
                floor.store(now.load(SeqCst), SeqCst);
                std::thread::sleep(Duration::from_millis(4));
            }
            stop.store(true, SeqCst);
        };
        for n in 0..2 {
            scope.spawn(move || send(n + 5));
        }
        for n in 0..3 {
            scope.spawn(move || answer(n));
        }
        scope.spawn(attach);
        let mut buf = [0; 2048];
        s.peer.0.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        loop {
            let Ok(n) = s.peer.0.recv(&mut buf) else {
                if stop.load(SeqCst) {
                    break;
                }
                continue;
            };
            assert_eq!(n, 8 + 14 + 40);
            let vnet = u64::from(u32::from_be_bytes([0, buf[4], buf[5], buf[6]]));
            let least = u64::from_be_bytes(buf[8 + 14 + 20..][..8].try_into().unwrap());
            assert!(vnet >= FIRST + least, "sent after {least}, by a route of {}", vnet - FIRST);
            seen += 1;
        }
    });
    let times = now.load(SeqCst);
    println!("{seen} packets over {times} changes");
    assert!(seen > 100 && times > 10, "{seen} packets, {times} changes");
    s.end();
}

fn l3(q: &v2::overlay_targ_lookup_t) -> v2::overlay_targ_l3_t {
    match q.about() {
        About::L3(l3) => l3,
        About::L2(_) => FromZeros::new_zeroed(),
    }
}

/// Memory of a program of 32 bits, which ends behind the argument.
struct Low(Mutex<Vec<u8>>);

const LOW: u64 = 0x8000_0000;

impl Low {
    fn slice<R>(&self, addr: u64, len: usize, f: impl FnOnce(&mut [u8]) -> R) -> Result<R, Fault> {
        let at = usize::try_from(addr.wrapping_sub(LOW)).map_err(|_| Fault)?;
        let mut all = self.0.lock().unwrap();
        let end = at.checked_add(len).ok_or(Fault)?;
        all.get_mut(at..end).map(f).ok_or(Fault)
    }
}

impl UserMem for Low {
    fn copyin(&self, addr: u64, buf: &mut [u8]) -> Result<(), Fault> {
        self.slice(addr, buf.len(), |bytes| buf.copy_from_slice(bytes))
    }

    fn copyout(&self, addr: u64, buf: &[u8]) -> Result<(), Fault> {
        self.slice(addr, buf.len(), |bytes| bytes.copy_from_slice(buf))
    }
}

/// Defective: the form of PKT, INJECT and RESEND of a program of 32 bits is not packed any more.
#[test]
fn s10_pkt_of_a_program_of_32_bits_has_28_bytes() {
    let s = Scene::dynamic();
    let v2 = V2::speak(&s.varpd);
    v2.router();
    let asked = outgoing(A, B, 1);
    s.guest.send(&asked);
    let (reqid, ..) = v2.asked();
    let call = |cmd: u32, linkid: u64, bytes: &[u8]| {
        let mut a = overlay_targ_pkt32_t::new_zeroed();
        (a.otp_linkid, a.otp_reqid) = (linkid.into(), reqid.into());
        (a.otp_size, a.otp_buf) = ((bytes.len() as u64).into(), LOW as u32);
        let memory = Low(Mutex::new([bytes, a.as_bytes()].concat()));
        s.varpd.raw32(cmd, LOW + bytes.len() as u64, &memory).unwrap();
        memory.0.into_inner().unwrap()
    };
    let got = call(OVERLAY_TARG_PKT, 0, &vec![0; asked.len() + 10]);
    assert_eq!(got[..asked.len()], asked);
    assert_eq!(got[asked.len()..][..10], [0; 10]);
    assert_eq!(got[asked.len() + 10 + 16..][..8], (asked.len() as u64).to_ne_bytes());
    let for_guest = frame(GUEST, FAR, 2, 60);
    call(OVERLAY_TARG_INJECT, u64::MAX, &for_guest);
    assert_eq!(s.guest.recv(), for_guest);
    v2.set((0, FAR), 0, Some(s.peer.at())).unwrap();
    call(OVERLAY_TARG_RESEND, LINK.into(), &frame(FAR, GUEST, 3, 60));
    assert_eq!(s.peer.frame(VNET), frame(FAR, GUEST, 3, 60));
    v2.refuse(reqid).unwrap();
    s.end();
}
