// SPDX-License-Identifier: CDDL-1.0
//! Two hosts inside the process with a cable between them, a good one or a bad one.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use fakekerneld::guest::smol::{Guest, Inlet, Settings, Wire};
use fkadm::proto::{Ping, TcpSend};

/// One direction of a cable.
#[derive(Default)]
struct Cable {
    to: OnceLock<Inlet>,
    frames: AtomicU64,
    /// Loses a frame of so many; 0 loses none.
    lose: u64,
    /// Turns a bit over at the end of a frame of so many; 0 of none.
    corrupt: u64,
    /// Takes at most so many frames at once; 0 takes all.
    narrow: usize,
    kept: Mutex<Vec<Vec<u8>>>,
}

impl Wire for Cable {
    fn send(&self, frames: &mut VecDeque<Vec<u8>>) -> bool {
        let n = if self.narrow == 0 { frames.len() } else { self.narrow.min(frames.len()) };
        let mut out = Vec::new();
        for mut frame in frames.drain(..n) {
            let count = self.frames.fetch_add(1, Ordering::Relaxed) + 1;
            let hit = |of: u64| of != 0 && count.is_multiple_of(of);
            if hit(self.lose) {
                continue;
            }
            if hit(self.corrupt) {
                *frame.last_mut().unwrap() ^= 1;
            }
            let mut kept = self.kept.lock().unwrap();
            if kept.len() < 40 {
                kept.push(frame.clone());
            }
            out.push(frame);
        }
        if let Some(to) = self.to.get() {
            to.deliver(out);
        }
        frames.is_empty()
    }
}

const MTU: usize = 1400;

fn settings(n: u8, routers: &[&str]) -> Settings {
    let addresses = [(ip(&format!("10.1.0.{n}")), 24), (ip(&format!("fd00::{n}")), 64)].to_vec();
    let routers = routers.iter().map(|r| ip(r)).collect();
    Settings { mac: [2, 8, 0x20, 0xaa, 0, n], mtu: MTU, addresses, routers }
}

fn guest(n: u8, wire: &Arc<Cable>) -> Guest {
    Guest::start(settings(n, &[]), Arc::clone(wire) as Arc<dyn Wire>).unwrap()
}

/// Guests 1 and 2; `there` carries what 1 sends.
fn pair(there: Cable, back: Cable) -> (Guest, Guest, Arc<Cable>, Arc<Cable>) {
    let (there, back) = (Arc::new(there), Arc::new(back));
    let (a, b) = (guest(1, &there), guest(2, &back));
    there.to.set(b.inlet()).unwrap();
    back.to.set(a.inlet()).unwrap();
    (a, b, there, back)
}

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn quick(to: &str, count: u32, size: u16) -> Ping {
    Ping { count, size, interval_ms: 0, timeout_ms: 500, ..Ping::new("", ip(to)) }
}

#[test]
fn pings_of_every_kind_of_size_are_answered() {
    let (a, b, ..) = pair(Cable::default(), Cable::default());
    for (to, headers) in [("10.1.0.2", 28), ("fd00::2", 48), ("fe80::8:20ff:feaa:2", 48)] {
        let full = (MTU - headers) as u16;
        for size in [0, 1, 56, 777, full - 1, full] {
            let r = a.ping(quick(to, 5, size)).unwrap();
            assert_eq!((r.sent, r.received, r.corrupted), (5, 5, 0), "{to}, {size} bytes");
            assert!(
                0.0 < r.rtt_us.min && r.rtt_us.min <= r.rtt_us.avg && r.rtt_us.avg <= r.rtt_us.max
            );
        }
        assert!(a.ping(quick(to, 1, full + 1)).unwrap_err().contains("fragments"));
    }
    assert_eq!(b.ping(quick("10.1.0.1", 3, 56)).unwrap().received, 3);
}

#[test]
fn what_is_on_no_network_goes_to_the_router() {
    let (there, back) = (Arc::new(Cable::default()), Arc::new(Cable::default()));
    let start = |settings, wire: &Arc<Cable>| {
        Guest::start(settings, Arc::clone(wire) as Arc<dyn Wire>).unwrap()
    };
    let a = start(settings(1, &["10.1.0.2", "fd00::2"]), &there);
    // The router has the addresses that are asked for.
    let mut router = settings(2, &[]);
    router.addresses.extend([(ip("10.2.0.9"), 24), (ip("fd02::9"), 64)]);
    let b = start(router, &back);
    there.to.set(b.inlet()).unwrap();
    back.to.set(a.inlet()).unwrap();
    for to in ["10.2.0.9", "fd02::9"] {
        let r = a.ping(Ping { ttl: 1, ..quick(to, 5, 56) }).unwrap();
        assert_eq!((r.sent, r.received), (5, 5), "{to}");
    }
    assert!(a.ping(Ping { ttl: 0, ..quick("10.2.0.9", 1, 56) }).unwrap_err().contains("TTL"));
    assert!(b.ping(quick("10.9.0.1", 1, 56)).unwrap_err().contains("none of the guest's networks"));
    for (routers, why) in [
        (&["10.2.0.1"][..], "router 10.2.0.1 is on none"),
        (&["10.1.0.2", "fd00::2", "10.1.0.3"], "router 10.1.0.3 is the second"),
    ] {
        let wire: Arc<dyn Wire> = there.clone();
        assert!(Guest::start(settings(3, routers), wire).unwrap_err().contains(why), "{why}");
    }
}

#[test]
fn pings_say_when_they_were_made() {
    let (a, _b, there, _) = pair(Cable::default(), Cable::default());
    let time = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let before = time();
    a.ping(quick("10.1.0.2", 1, 56)).unwrap();
    let kept = there.kept.lock().unwrap();
    let ping = kept.iter().find(|f| f[12..14] == [8, 0]).unwrap();
    let stamp = u64::from_be_bytes(*ping[ping.len() - 56..].first_chunk().unwrap());
    assert!((before..time()).contains(&stamp.into()), "{stamp}");
}

#[test]
fn a_new_mtu_holds_at_once() {
    let (a, b, ..) = pair(Cable::default(), Cable::default());
    b.serve(3).unwrap();
    for mtu in [576, 1300, 8900] {
        a.inlet().set_mtu(mtu);
        b.inlet().set_mtu(mtu);
        let full = mtu as u16 - 28;
        assert_eq!(a.ping(quick("10.1.0.2", 2, full)).unwrap().received, 2);
        assert!(a.ping(quick("10.1.0.2", 1, full + 1)).is_err());
        a.send(TcpSend::new("", "10.1.0.2:3".parse().unwrap(), 100_000)).unwrap();
    }
}

#[test]
fn pings_keep_their_interval() {
    let (a, _b, ..) = pair(Cable::default(), Cable::default());
    let start = Instant::now();
    let r = a.ping(Ping { interval_ms: 50, ..quick("10.1.0.2", 5, 56) }).unwrap();
    assert_eq!(r.received, 5);
    assert!((200..500).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
}

#[test]
fn lost_and_damaged_answers_are_counted_as_such() {
    let (a, _b, ..) = pair(Cable::default(), Cable { lose: 4, ..Cable::default() });
    a.ping(quick("10.1.0.2", 1, 56)).unwrap();
    let r = a.ping(Ping { timeout_ms: 50, ..quick("10.1.0.2", 20, 56) }).unwrap();
    assert_eq!(r.sent, 20);
    assert_eq!(r.received, 15, "every fourth answer is lost");
    let (a, _b, ..) = pair(Cable::default(), Cable { corrupt: 5, ..Cable::default() });
    a.ping(quick("10.1.0.2", 1, 56)).unwrap();
    let r = a.ping(Ping { timeout_ms: 50, ..quick("10.1.0.2", 20, 56) }).unwrap();
    assert_eq!(r.received, 16, "the ICMP checksum is wrong in every fifth");
}

#[test]
fn nobody_there() {
    let (a, b, ..) = pair(Cable::default(), Cable::default());
    drop(b);
    let r = a.ping(Ping { timeout_ms: 50, ..quick("10.1.0.2", 2, 56) }).unwrap();
    assert_eq!((r.sent, r.received), (2, 0));
    assert_eq!(r.rtt_us, Default::default());
    let send = TcpSend { stall_ms: 100, ..TcpSend::new("", "10.1.0.2:5001".parse().unwrap(), 10) };
    assert!(a.send(send).unwrap_err().contains("does not answer"));
    let e = a.ping(quick("192.0.2.1", 1, 56)).unwrap_err();
    assert!(e.contains("none of the guest's networks") && e.contains("10.1.0.1/24"), "{e}");
}

#[test]
fn streams_arrive_whole() {
    let (a, b, ..) = pair(Cable::default(), Cable::default());
    b.serve(5001).unwrap();
    b.serve(5001).unwrap();
    const BYTES: u64 = 64 << 20;
    let r = a.send(TcpSend::new("", "10.1.0.2:5001".parse().unwrap(), BYTES)).unwrap();
    assert_eq!(r.bytes, BYTES);
    println!("{:.2} Gb/s", r.gbps);
    let mut sums = vec![r.checksum];
    for (seed, bytes) in [(1, 0), (2, 1), (3, 1_000_003)] {
        let to = "[fd00::2]:5001".parse().unwrap();
        sums.push(a.send(TcpSend { seed, ..TcpSend::new("", to, bytes) }).unwrap().checksum);
    }
    sums.dedup();
    assert_eq!(sums.len(), 4);
    let s = b.streams();
    assert_eq!((s.intact, s.bad, s.bytes), (4, 0, BYTES + 1_000_004));
}

#[test]
fn many_streams_at_once_both_ways() {
    let (a, b, ..) = pair(Cable::default(), Cable::default());
    a.serve(7).unwrap();
    b.serve(7).unwrap();
    std::thread::scope(|s| {
        for seed in 0..6 {
            let (from, to) = if seed % 2 == 0 { (&a, "10.1.0.2:7") } else { (&b, "[fd00::1]:7") };
            let to = to.parse().unwrap();
            s.spawn(move || from.send(TcpSend { seed, ..TcpSend::new("", to, 1 << 20) }).unwrap());
        }
    });
    assert_eq!((a.streams().intact, b.streams().intact), (3, 3));
}

#[test]
fn streams_survive_loss_damage_and_back_pressure() {
    let cable = || Cable { lose: 97, corrupt: 89, narrow: 3, ..Cable::default() };
    let (a, b, ..) = pair(cable(), cable());
    b.serve(9).unwrap();
    let r = a.send(TcpSend::new("", "10.1.0.2:9".parse().unwrap(), 300_000)).unwrap();
    assert_eq!(r.bytes, 300_000);
}

#[test]
fn a_closed_port_refuses() {
    let (a, _b, ..) = pair(Cable::default(), Cable::default());
    let e = a.send(TcpSend::new("", "10.1.0.2:80".parse().unwrap(), 10)).unwrap_err();
    assert!(e.contains("refused"), "{e}");
}

#[test]
fn detaching_fails_what_is_in_progress() {
    let (a, _b, ..) = pair(Cable::default(), Cable::default());
    std::thread::scope(|s| {
        let ping =
            s.spawn(|| a.ping(Ping { count: 100, interval_ms: 1000, ..quick("10.1.0.2", 1, 1) }));
        std::thread::sleep(Duration::from_millis(50));
        a.stop();
        assert!(ping.join().unwrap().unwrap_err().contains("detached"));
    });
    assert!(a.ping(quick("10.1.0.2", 1, 1)).is_err(), "nor does it take more");
}

#[test]
fn garbage_frames_are_ignored() {
    let (a, b, there, _) = pair(Cable::default(), Cable::default());
    b.serve(1).unwrap();
    a.ping(quick("10.1.0.2", 3, 100)).unwrap();
    a.ping(quick("fd00::2", 3, 100)).unwrap();
    a.send(TcpSend::new("", "10.1.0.2:1".parse().unwrap(), 20_000)).unwrap();
    let seen = there.kept.lock().unwrap().clone();
    let inlet = b.inlet();
    inlet.deliver([vec![], vec![0; 13], vec![0xff; 14], vec![0; 100_000]]);
    for frame in &seen {
        for cut in 0..frame.len() {
            inlet.deliver([frame[..cut].to_vec()]);
        }
        // A changed sender in ARP would be believed, and rightly so.
        let arp = frame[12..14] == [8, 6];
        for at in (0..frame.len().min(80)).filter(|at| !arp || !(22..32).contains(at)) {
            for bit in [0x01, 0x80, 0xff] {
                let mut bad = frame.clone();
                bad[at] ^= bit;
                inlet.deliver([bad]);
            }
        }
        // No faster than it is taken: a full inbox would drop what comes next.
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(a.ping(quick("10.1.0.2", 2, 100)).unwrap().received, 2);
    a.send(TcpSend::new("", "10.1.0.2:1".parse().unwrap(), 20_000)).unwrap();
}

#[test]
fn too_many_addresses_are_refused() {
    let addresses = (1..10).map(|n| (IpAddr::from([10, 0, 0, n]), 24)).collect();
    let settings = Settings { mac: [2, 0, 0, 0, 0, 1], mtu: MTU, addresses, routers: vec![] };
    let wire: Arc<dyn Wire> = Arc::new(Cable::default());
    assert!(Guest::start(settings, wire).unwrap_err().contains("too many addresses"));
}
