// SPDX-License-Identifier: CDDL-1.0
//! Everything at once: links come and go while traffic flows, varpd dies and returns, allocations fail at random.
//!
//! ```text
//!   churn x2   create, associate, activate, VNICs, change targets, delete (also while in use)
//!   traffic    from whatever VNICs there are, to addresses with and without an answer
//!   varpd x3   lookups answered, refused, late or never; caches set, walked, flushed; now and then killed
//!   peer       sends every datagram back with the addresses swapped, and garbage besides
//! ```
//!
//! There is nothing to compare with: the test is that the debug kernel records no violation and no leak, that every
//! thread gets on (no deadlock), and that each kind of event did happen. `SOAK_SECONDS` says for how long.

use bench::{OverlayKernel, Varpd, at, frame, mac};
use fakekernel::host::{Checks, Config, FaultPlan};
use fakekernel::net::client::{Client, Frame, Frames};
use overlay_abi::errno::Errno;
use overlay_abi::ids::UnderlayAddr;
use overlay_abi::target::*;
use overlay_abi::vnic::*;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};
use zerocopy::FromZeros;

/// Links per churning thread; ids do not overlap.
const LINKS: u32 = 4;
const PORT: u16 = 0x4801;
const PEER: u16 = 0x4802;
/// A thread that shows no sign of life for so long is stuck.
const STUCK: Duration = Duration::from_secs(30);

/// What happened, so that a soak in which nothing did fails.
#[derive(Default)]
struct Events {
    created: AtomicU64,
    activated: AtomicU64,
    deleted: AtomicU64,
    refused_busy: AtomicU64,
    no_memory: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    delivered: Arc<AtomicU64>,
    answered: AtomicU64,
    dropped: AtomicU64,
    varpd_killed: AtomicU64,
    walked: AtomicU64,
}

struct World {
    kernel: OverlayKernel,
    /// `None` while varpd is dead.
    varpd: RwLock<Option<Arc<Varpd>>>,
    /// VNICs that exist, by link id.
    vnics: Mutex<Vec<Arc<Client>>>,
    events: Events,
    stop: AtomicBool,
    /// Each thread's last sign of life, milliseconds since the start.
    alive: Vec<AtomicU64>,
    start: Instant,
}

impl World {
    fn varpd(&self) -> Option<Arc<Varpd>> {
        self.varpd.read().unwrap().clone()
    }

    fn stopped(&self, thread: usize) -> bool {
        self.alive[thread].store(self.start.elapsed().as_millis() as u64, Relaxed);
        self.stop.load(Relaxed)
    }

    fn note(&self, result: Result<(), Errno>) -> bool {
        match result {
            Err(Errno::ENOMEM) => self.events.no_memory.fetch_add(1, Relaxed),
            Err(Errno::EBUSY) => self.events.refused_busy.fetch_add(1, Relaxed),
            _ => 0,
        };
        result.is_ok()
    }
}

/// xorshift: repeatable from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

fn peer() -> UnderlayAddr {
    at("127.0.0.1", PEER)
}

fn churn(w: &World, thread: usize, first: u32, mut r: Random) {
    let mut exists = [false; LINKS as usize];
    while !w.stopped(thread) {
        let n = r.below(u64::from(LINKS)) as usize;
        let link = first + n as u32;
        if exists[n] {
            exists[n] = !delete(w, link, &mut r);
        } else if w.note(w.kernel.create(link, u64::from(link), at("127.0.0.1", PORT))) {
            w.events.created.fetch_add(1, Relaxed);
            exists[n] = true;
            set_up(w, link, &mut r);
        }
        std::thread::sleep(Duration::from_millis(r.below(20)));
    }
    for n in (0..LINKS).filter(|n| exists[*n as usize]) {
        while !delete(w, first + n, &mut r) {
            w.stopped(thread);
        }
    }
}

/// Target, activation and VNICs of a new link; any of it may fail and is then left out.
fn set_up(w: &World, link: u32, r: &mut Random) {
    if let Some(varpd) = w.varpd() {
        let point = r.chance(20).then(peer);
        w.note(varpd.associate(link, point));
    }
    if !w.note(w.kernel.activate(link)) {
        return;
    }
    w.events.activated.fetch_add(1, Relaxed);
    for v in 0..1 + r.below(3) as u32 {
        let mut c = vnic_ioc_create_t::new_zeroed();
        c.vc_vnic_id = vnic_id(link, v);
        c.vc_link_id = link;
        c.vc_mac_addr_type = VNIC_MAC_ADDR_TYPE_FIXED;
        c.vc_mac_len = 6;
        c.vc_mac_addr[..6].copy_from_slice(&mac(c.vc_vnic_id));
        if !w.note(w.kernel.dld(VNIC_IOC_CREATE, &mut c)) {
            continue;
        }
        let Ok(client) = Client::open(vnic_id(link, v)) else { continue };
        let client = Arc::new(client);
        let delivered = w.events.delivered.clone();
        client.set_rx(Arc::new(move |batch| {
            while let Some(f) = batch.next_frame() {
                assert!(f.bytes().len() >= 14, "a frame without a header was delivered");
                delivered.fetch_add(1, Relaxed);
            }
        }));
        w.vnics.lock().unwrap().push(client);
    }
}

fn vnic_id(link: u32, n: u32) -> u32 {
    1000 + link * 10 + n
}

/// Whether the link is gone. Often it is tried while VNICs use it, which must be refused.
fn delete(w: &World, link: u32, r: &mut Random) -> bool {
    if r.chance(30) && w.note(w.kernel.delete(link)) {
        w.events.deleted.fetch_add(1, Relaxed);
        return true;
    }
    if r.chance(30)
        && let Some(varpd) = w.varpd()
    {
        // A target is changed under traffic.
        w.note(varpd.disassociate(link));
        w.note(varpd.associate(link, r.chance(50).then(peer)));
    }
    let mine = |c: &Client| (c.linkid() - 1000) / 10 == link;
    w.vnics.lock().unwrap().retain(|c| !mine(c));
    for v in 0..4 {
        // Until the traffic thread lets go of its client the VNIC is busy.
        for _ in 0..2000 {
            let mut d = vnic_ioc_delete_t { vd_vnic_id: vnic_id(link, v) };
            match w.kernel.dld(VNIC_IOC_DELETE, &mut d) {
                Err(Errno::EBUSY) => std::thread::sleep(Duration::from_millis(1)),
                _ => break,
            }
        }
    }
    let gone = w.note(w.kernel.delete(link));
    if gone {
        w.events.deleted.fetch_add(1, Relaxed);
    }
    gone
}

fn traffic(w: &World, thread: usize, mut r: Random) {
    while !w.stopped(thread) {
        let client = {
            let vnics = w.vnics.lock().unwrap();
            let at = r.below(vnics.len().max(1) as u64) as usize;
            vnics.get(at).cloned()
        };
        let Some(client) = client else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let mut frames = Frames::default();
        for _ in 0..1 + r.below(16) {
            // Some addresses many know, some that nobody does, now and then everybody's.
            let to = match r.below(10) {
                0 => [0xff; 6],
                1 => mac(0x7000_0000 + r.below(5000) as u32),
                _ => mac(r.below(50) as u32),
            };
            let len = [60, 64, 900, 1414, 1418, 1500][r.below(6) as usize];
            let mut f = frame(to, client.mac(), len);
            if r.chance(2) {
                f.truncate(r.below(20) as usize);
            }
            if let Some(f) = Frame::from_slice(&f) {
                frames.push(f);
            }
        }
        w.events.sent.fetch_add(frames.len() as u64, Relaxed);
        // What the socket does not take now is lost, as on a wire.
        let _ = client.tx(frames);
    }
}

/// One of varpd's lookup threads.
fn lookups(w: &World, thread: usize, mut r: Random) {
    while !w.stopped(thread) {
        let Some(varpd) = w.varpd() else {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let mut l = overlay_targ_lookup_t::new_zeroed();
        if !w.note(varpd.ioctl(OVERLAY_TARG_LOOKUP, &mut l)) {
            continue;
        }
        if r.chance(10) {
            std::thread::sleep(Duration::from_millis(r.below(30)));
        }
        let mut answer = overlay_targ_resp_t::new_zeroed();
        answer.otr_reqid = l.otl_reqid;
        if r.chance(20) {
            packet(&varpd, &l, &mut r);
        }
        match r.below(100) {
            0..5 => {} // Forgotten: goes back to the queue when this varpd dies.
            5..35 => {
                if w.note(varpd.ioctl(OVERLAY_TARG_DROP, &mut answer)) {
                    w.events.dropped.fetch_add(1, Relaxed);
                }
            }
            _ => {
                answer.otr_answer = peer().into();
                if w.note(varpd.ioctl(OVERLAY_TARG_RESPOND, &mut answer)) {
                    w.events.answered.fetch_add(1, Relaxed);
                }
            }
        }
    }
}

/// Reads the packet that a lookup is about and sends it somewhere, as a proxy would.
fn packet(varpd: &Varpd, l: &overlay_targ_lookup_t, r: &mut Random) {
    let mut buffer = [0u8; 1600];
    let mut p = overlay_targ_pkt_t {
        otp_linkid: OVERLAY_TARG_PKT_BY_REQUEST,
        otp_reqid: l.otl_reqid,
        otp_size: buffer.len() as u64,
        otp_buf: buffer.as_mut_ptr() as u64,
    };
    if varpd.ioctl(OVERLAY_TARG_PKT, &mut p).is_err() {
        return;
    }
    assert!(p.otp_size <= buffer.len() as u64, "PKT says {} bytes", p.otp_size);
    if r.chance(50) {
        p.otp_linkid = l.otl_dlid;
    }
    let cmd = if r.chance(50) { OVERLAY_TARG_INJECT } else { OVERLAY_TARG_RESEND };
    let _ = varpd.ioctl(cmd, &mut p);
}

/// varpd's administration: the caches of all links; and its death.
fn administer(w: &World, thread: usize, mut r: Random) {
    let mut died = Instant::now();
    while !w.stopped(thread) {
        if died.elapsed() > Duration::from_secs(3) || w.varpd().is_none() {
            died = Instant::now();
            restart_varpd(w, thread, &mut r);
        }
        let Some(varpd) = w.varpd() else { continue };
        let link = 1 + r.below(u64::from(2 * LINKS)) as u32;
        let mut c = overlay_targ_cache_t::new_zeroed();
        c.otc_linkid = link;
        c.otc_entry.otce_mac = mac(r.below(60) as u32);
        match r.below(20) {
            0 => drop(w.note(varpd.ioctl(OVERLAY_TARG_CACHE_FLUSH, &mut c))),
            1..4 => drop(w.note(varpd.ioctl(OVERLAY_TARG_CACHE_REMOVE, &mut c))),
            4..7 => drop(w.note(varpd.ioctl(OVERLAY_TARG_CACHE_GET, &mut c))),
            7..9 => walk(w, &varpd, link),
            9 => {
                let mut d = overlay_targ_degrade_t::new_zeroed();
                d.otd_linkid = link;
                d.otd_buf = [b'x' as _; 256];
                w.note(varpd.ioctl(OVERLAY_TARG_DEGRADE, &mut d));
            }
            10 => {
                w.note(
                    varpd.ioctl(OVERLAY_TARG_RESTORE, &mut overlay_targ_id_t { otid_linkid: link }),
                );
            }
            11..13 => {
                c.otc_entry.otce_flags = OVERLAY_TARGET_CACHE_DROP;
                w.note(varpd.ioctl(OVERLAY_TARG_CACHE_SET, &mut c));
            }
            _ => drop(w.note(varpd.cache_set(link, c.otc_entry.otce_mac, peer()))),
        }
    }
}

fn restart_varpd(w: &World, thread: usize, r: &mut Random) {
    if let Some(mut old) = w.varpd.write().unwrap().take() {
        // Its threads leave their lookups within a second.
        loop {
            match Arc::try_unwrap(old) {
                Ok(last) => break drop(last),
                Err(held) => old = held,
            }
            w.stopped(thread);
            std::thread::sleep(Duration::from_millis(1));
        }
        w.events.varpd_killed.fetch_add(1, Relaxed);
    }
    std::thread::sleep(Duration::from_millis(r.below(100)));
    if let Ok(new) = w.kernel.open_varpd() {
        *w.varpd.write().unwrap() = Some(Arc::new(new));
    }
}

fn walk(w: &World, varpd: &Varpd, link: u32) {
    const ROOM: usize = 7;
    #[repr(C)]
    #[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
    struct Walk {
        head: overlay_targ_cache_iter_t,
        entries: [overlay_targ_cache_entry_t; ROOM],
        pad: [u8; 4],
    }
    let mut last: Option<[u8; 6]> = None;
    let mut marker = 0;
    loop {
        let mut it = Walk::new_zeroed();
        it.head.otci_linkid = link;
        it.head.otci_marker = marker;
        it.head.otci_count = ROOM as u16;
        if !w.note(varpd.ioctl(OVERLAY_TARG_CACHE_ITER, &mut it)) || it.head.otci_count == 0 {
            break;
        }
        assert!(usize::from(it.head.otci_count) <= ROOM);
        for e in &it.entries[..usize::from(it.head.otci_count)] {
            if e.otce_mac == [0; 6] {
                // The link became one with a single destination while we walked.
                return;
            }
            assert!(last.is_none_or(|l| l < e.otce_mac), "entries out of order");
            last = Some(e.otce_mac);
        }
        marker = it.head.otci_marker;
        w.events.walked.fetch_add(1, Relaxed);
    }
}

/// Other hosts of the networks: every datagram comes back, some changed; garbage comes unasked.
fn other_hosts(w: &World, thread: usize, mut r: Random) {
    let socket = UdpSocket::bind(("127.0.0.1", PEER)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = [0u8; 2048];
    while !w.stopped(thread) {
        let home = ("127.0.0.1", PORT);
        if r.chance(5) {
            let len = r.below(80) as usize;
            for b in &mut buffer[..len] {
                *b = r.next() as u8;
            }
            if r.chance(50) {
                buffer[0] = 8;
            }
            let _ = socket.send_to(&buffer[..len], home);
        }
        let Ok((n, _)) = socket.recv_from(&mut buffer) else { continue };
        w.events.received.fetch_add(1, Relaxed);
        if n >= 22 {
            let (dst, src) = buffer[8..20].split_at_mut(6);
            dst.swap_with_slice(src);
        }
        let n = if r.chance(2) { r.below(n as u64 + 1) as usize } else { n };
        let _ = socket.send_to(&buffer[..n], home);
    }
}

#[test]
fn links_come_and_go_under_traffic_while_memory_fails() {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(20);
    let seed = std::env::var("SOAK_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5eed_u64);
    println!("soak of {seconds} s, SOAK_SEED={seed}");
    let fail = FaultPlan { random: Some((seed, 20)), ..FaultPlan::default() };
    let kernel =
        OverlayKernel::boot(Config { checks: Checks::Debug, fail, ..Config::default() }, None)
            .unwrap();
    const THREADS: usize = 9;
    let w = Arc::new(World {
        kernel,
        varpd: RwLock::new(None),
        vnics: Mutex::default(),
        events: Events::default(),
        stop: AtomicBool::new(false),
        alive: (0..THREADS).map(|_| AtomicU64::new(0)).collect(),
        start: Instant::now(),
    });
    let mut threads = Vec::new();
    for n in 0..THREADS {
        let w = w.clone();
        let r = Random(seed.wrapping_mul(0x9e37_79b9).wrapping_add(n as u64 + 1));
        threads.push(std::thread::spawn(move || match n {
            0 | 1 => churn(&w, n, 1 + n as u32 * LINKS, r),
            2 | 3 => traffic(&w, n, r),
            4..7 => lookups(&w, n, r),
            7 => administer(&w, n, r),
            _ => other_hosts(&w, n, r),
        }));
    }
    let watch = |until: &dyn Fn() -> bool| {
        while !until() {
            std::thread::sleep(Duration::from_millis(100));
            let now = w.start.elapsed().as_millis() as u64;
            for (n, (alive, thread)) in w.alive.iter().zip(&threads).enumerate() {
                let silent = now.saturating_sub(alive.load(Relaxed));
                if silent > STUCK.as_millis() as u64 && !thread.is_finished() {
                    eprintln!(
                        "thread {n} is stuck; violations: {:?}",
                        fakekernel::host::violations()
                    );
                    std::process::abort();
                }
            }
        }
    };
    watch(&|| {
        w.start.elapsed() > Duration::from_secs(seconds) || threads.iter().any(|t| t.is_finished())
    });
    w.stop.store(true, Relaxed);
    watch(&|| threads.iter().all(|t| t.is_finished()));
    for t in threads {
        t.join().unwrap();
    }
    let Ok(w) = Arc::try_unwrap(w).map_err(drop) else { panic!("a thread keeps the world") };
    let e = &w.events;
    for (name, n) in [
        ("links created", &e.created),
        ("activated", &e.activated),
        ("deleted", &e.deleted),
        ("refused as busy", &e.refused_busy),
        ("refused for memory", &e.no_memory),
        ("frames sent", &e.sent),
        ("datagrams seen by the peer", &e.received),
        ("frames delivered to guests", &e.delivered),
        ("lookups answered", &e.answered),
        ("lookups refused", &e.dropped),
        ("varpd killed", &e.varpd_killed),
        ("steps of cache walks", &e.walked),
    ] {
        let n = n.load(Relaxed);
        println!("{n:>10} {name}");
        assert!(n > 0, "no {name}: the soak did not soak");
    }
    println!("{:>10} allocations made to fail", fakekernel::fault::failures());
    drop(w.varpd.into_inner());
    drop(w.vnics.into_inner());
    w.kernel.shutdown().unwrap();
}
