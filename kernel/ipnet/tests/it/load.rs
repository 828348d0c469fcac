// SPDX-License-Identifier: CDDL-1.0
//! Many packets, slow readers, and interfaces that come and go meanwhile.
use crate::common::*;
use fakekernel::host::{self, Checks};
use fakekernel::inet::ip::{Family, Interface};
use fakekernel::streams::Got;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long, `SOAK_SECONDS`, three by default.
fn soak() -> Duration {
    let seconds = std::env::var("SOAK_SECONDS").ok().map(|s| s.parse().unwrap());
    Duration::from_secs(seconds.unwrap_or(3))
}

/// Each packet that was shown was delivered or counted, and each that was delivered is read.
#[test]
fn w09_a_million_packets_and_a_slow_reader() {
    const PACKETS: u64 = 1_000_000;
    const LEN: usize = 200;
    let rig = Rig::boot_with(host::Config { checks: Checks::Off, ..Default::default() });
    let net0 = rig.net0();
    let (slow, other) = (rig.snoop("/dev/ipnet/net0"), rig.open("/dev/ipnet/net0"));
    other.bind(6);
    let packet = packet(FAR, MINE, LEN, 0);
    let done = AtomicBool::new(false);
    let shown_six = AtomicU64::new(0);
    let read = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..PACKETS / 2).for_each(|_| show(&net0, incoming(0), &packet)));
        }
        // The other stream is not disturbed: it gets all of its own.
        let six = scope.spawn(|| {
            for _ in 0..1000 {
                show(&net0, incoming(0), &packet6(FAR6, MINE6));
                shown_six.fetch_add(1, Relaxed);
                assert_eq!(other.packet().unwrap()[0] >> 4, 6);
            }
        });
        let reader = scope.spawn(|| {
            let mut read = 0_u64;
            while !done.load(Relaxed) {
                if let Got::Message(_) = slow.stream().getmsg(Some(A_WHILE)).unwrap() {
                    read += 1;
                }
                if read.is_multiple_of(64) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            read
        });
        eventually_within(Duration::from_secs(300), "all are shown", || {
            let stats = stats(0);
            stats["acceptOk"] + stats["acceptFail"] >= PACKETS * 2 + 2000
        });
        six.join().unwrap();
        done.store(true, Relaxed);
        reader.join().unwrap()
    });
    let stats = stats(0);
    let [_, delivered, dropped] =
        stream_stats().into_iter().find(|[accepted, ..]| *accepted == PACKETS + 1000).unwrap();
    assert_eq!(delivered + dropped, PACKETS + 1000);
    let mut at_rest = 0;
    eventually("what was delivered is read", || {
        at_rest += slow.read_for(Duration::ZERO) as u64;
        read + at_rest == delivered
    });
    slow.silent();
    assert!(dropped > 0, "the reader was slow");
    assert_eq!(stats["dispatchPutDrop"], dropped);
    assert_eq!(stats["dispatchDeliver"], delivered + 1000);
    // The queue holds its room, and a packet of each thread; the stream head what that takes.
    let waiting = at_rest as usize * LEN;
    assert!(waiting < ipnet::ROOM + (128 << 10), "{waiting} bytes were waiting");
    eprintln!("{delivered} delivered, {dropped} dropped, {at_rest} were waiting");
    drop((slow, other, net0));
    rig.end();
}

fn eventually_within(limit: Duration, what: &str, mut f: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !f() {
        assert!(begin.elapsed() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Interfaces are plumbed and unplumbed, addresses come and go, streams are opened, set up, read
/// and closed, all at once.
#[test]
fn interfaces_come_and_go_under_load() {
    let rig = Rig::boot();
    let end = Instant::now() + soak();
    let lives = AtomicU64::new(0);
    let packets = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for n in 0..3_u8 {
            let lives = &lives;
            scope.spawn(move || {
                let address = Ipv4Addr::new(10, 0, n, 1);
                let packet = packet(FAR, address, 100, 0);
                while Instant::now() < end {
                    let i = Interface::new(0, &format!("net{n}"), false).unwrap();
                    i.up(address.into(), 24, 0).unwrap();
                    for round in 0..40 {
                        show(&i, incoming(0), &packet);
                        show(&i, local(0, 0), &packet);
                        if round == 20 {
                            i.down(address.into()).unwrap();
                            i.plumb(Family::V6);
                            i.up(address.into(), 24, 0).unwrap();
                        }
                    }
                    drop(i);
                    lives.fetch_add(1, Relaxed);
                }
            });
        }
        for n in 0..3 {
            let (rig, packets) = (&rig, &packets);
            scope.spawn(move || {
                let path = format!("/dev/ipnet/net{n}");
                while Instant::now() < end {
                    for path in [path.as_str(), "/dev/lo0"] {
                        let Ok(tap) = rig.open_as(path, 0) else { continue };
                        // It may be hung up any time: then requests fail, or have no answer.
                        for request in [[BIND, 0, 0, 0, 0], [PROMISCON, PHYS, 0, 0, 0]] {
                            let bytes: Vec<u8> =
                                request.iter().flat_map(|w: &u32| w.to_ne_bytes()).collect();
                            let control = Some(bytes);
                            let m = fakekernel::streams::Message { control, ..Default::default() };
                            let _ = tap.stream().putmsg(&m);
                        }
                        for _ in 0..20 {
                            match tap.stream().getmsg(Some(Duration::from_millis(5))) {
                                Ok(Got::Message(_)) => packets.fetch_add(1, Relaxed),
                                _ => break,
                            };
                        }
                    }
                }
            });
        }
    });
    let (lives, packets) = (lives.into_inner(), packets.into_inner());
    eprintln!("{lives} lives of interfaces, {packets} messages read");
    assert!(lives > 10 && packets > 10);
    rig.end();
}

/// Streams are closed while packets come for them.
#[test]
fn w19_a_close_is_not_kept_waiting_by_packets() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    show(&net0, incoming(0), &echo(1));
                }
            });
        }
        for _ in 0..100 {
            let taps = [rig.snoop("/dev/ipnet/net0"), rig.open("/dev/lo0")];
            drop(taps);
        }
        done.store(true, Relaxed);
    });
    drop(net0);
    rig.end();
}
