// SPDX-License-Identifier: CDDL-1.0
//! What was wrong with the original (spec/ipnet.md 8), by number. Some are with what they belong to:
//! w01, w06 in `stream`, w03, w07, w08, w13, w23 in `bpf`, w07, w22 in `zones`, and those that need no
//! kernel in `tests/pure`.
use crate::common::*;
use crate::modules::{ipnet_allmulti, ipnet_unbound};
use fakekernel::host::fail_nth_allocb;
use fakekernel::inet::ip::{Family, Interface};
use fakekernel::inet::netstack::{IpType, zone_boot, zone_halt};
use fakekernel::kstat;
use overlay_abi::errno::Errno;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Lets multicasts be joined.
fn opted_in() -> Rig {
    let rig = Rig::boot();
    ipnet_allmulti().store(1, Ordering::SeqCst);
    rig
}

fn members(i: &Interface) -> [u32; 2] {
    [i.allmulti(Family::V4), i.allmulti(Family::V6)]
}

#[test]
fn w02_a_shared_zone_lists_while_its_addresses_change() {
    const ZONE: i32 = 5;
    let theirs = Ipv4Addr::new(10, 0, 0, 5);
    let rig = Rig::boot();
    zone_boot(ZONE, "web", IpType::Shared).unwrap();
    let net0 = rig.net0();
    let done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (net0, rig) = (&net0, &rig);
        scope.spawn(move || {
            for _ in 0..500 {
                net0.up(theirs.into(), 24, ZONE).unwrap();
                net0.down(theirs.into()).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        while !done.load(Ordering::SeqCst) {
            // Looks the name up, and opens what it finds.
            match rig.open_as("/dev/ipnet/net0", ZONE) {
                Ok(tap) => drop(tap),
                Err(e) => assert!([Errno::ENOENT, Errno::ENODEV].contains(&e), "{e:?}"),
            }
        }
    });
    drop(net0);
    zone_halt(ZONE).unwrap();
    rig.end();
}

#[test]
fn w04_an_interface_with_another_index_is_still_the_same() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let tap = rig.snoop("/dev/ipnet/net0");
    let was = net0.index();
    net0.set_index(was + 40).unwrap();
    settle();
    eventually("packets of the new index are seen", || {
        show(&net0, TRANSIT, &packet(FAR, Ipv4Addr::new(10, 0, 0, 50), 64, 1));
        stats(0)["acceptOk"] > 0
    });
    assert_eq!(number(&tap.packet().unwrap()), 1);
    tap.drain();
    // The old index and the old name go to others.
    drop(net0);
    tap.hung_up();
    let again = rig.net0();
    again.set_index(was).unwrap();
    settle();
    let new = rig.snoop("/dev/ipnet/net0");
    eventually("packets of the old index are the new one's", || {
        show(&again, TRANSIT, &packet(FAR, Ipv4Addr::new(10, 0, 0, 50), 64, 2));
        stream_stats().iter().any(|[accepted, ..]| *accepted == 1)
    });
    assert_eq!(number(&new.packet().unwrap()), 2);
    drop((tap, new, again));
    rig.end();
}

#[test]
fn w06_a_packet_that_ends_in_its_header_is_nobodys() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let tap = rig.snoop("/dev/ipnet/net0");
    let (four, six) = (echo(1), packet6(FAR6, MINE6));
    for len in 1..20 {
        net0.observe(Family::V4, incoming(0), &four[..len]);
    }
    for len in 1..40 {
        net0.observe(Family::V6, incoming(0), &six[..len]);
    }
    tap.silent();
    assert_eq!(stats(0)["acceptFail"], 19 + 39);
    drop((tap, net0));
    rig.end();
}

#[test]
fn w06_a_header_may_lie_in_many_blocks() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let tap = rig.snoop("/dev/ipnet/net0");
    let whole = echo(5);
    // SAFETY: blocks of ours, linked and freed here.
    unsafe {
        let first = fakekernel::mblk::from_slice(&whole[..1], 0);
        for piece in whole[1..].chunks(3) {
            illumos_sys_hdrs::linkb(first, fakekernel::mblk::from_slice(piece, 0));
        }
        net0.observe_message(Family::V4, incoming(0), first);
        illumos_sys_hdrs::freemsg(first);
    }
    assert_eq!(tap.packet().unwrap(), whole);
    drop((tap, net0));
    rig.end();
}

#[test]
fn w10_a_flush_empties_the_drivers_queue_too() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let tap = rig.snoop("/dev/ipnet/net0");
    // More than the stream head takes, so that some wait below.
    for n in 0..200 {
        show(&net0, incoming(0), &packet(FAR, MINE, 1400, n));
    }
    assert_eq!(stats(0)["dispatchPutDrop"] + stats(0)["dispatchDeliver"], 200);
    // A service procedure may be between the two queues: what it holds is of before, too.
    eventually("all is flushed", || {
        tap.ioctl(I_FLUSH, FLUSHR).unwrap();
        tap.drain() == 0
    });
    show(&net0, incoming(0), &echo(1000));
    assert_eq!(number(&tap.packet().unwrap()), 1000);
    drop((tap, net0));
    rig.end();
}

#[test]
fn w11_a_level_turned_on_twice_is_left_once() {
    let rig = opted_in();
    let net0 = rig.net0();
    let tap = rig.open("/dev/ipnet/net0");
    for _ in 0..3 {
        tap.on(PHYS);
        tap.on(MULTI);
    }
    assert_eq!(members(&net0), [1, 1]);
    tap.off(PHYS);
    assert_eq!(members(&net0), [1, 1], "MULTI is on");
    tap.off(MULTI);
    assert_eq!(members(&net0), [0, 0]);
    tap.on(PHYS);
    tap.on(PHYS);
    drop(tap);
    assert_eq!(members(&net0), [0, 0]);
    drop(net0);
    rig.end();
}

#[test]
fn w12_a_refused_join_is_an_error_and_leaves_nothing() {
    let rig = opted_in();
    let net0 = Interface::new(0, "net0", false).unwrap();
    // IPv6 only: that was the case.
    net0.up(MINE6.into(), 64, 0).unwrap();
    settle();
    let tap = rig.open("/dev/ipnet/net0");
    net0.refuse_join(Errno::ENETDOWN);
    let error = [5, PROMISCON, 4, Errno::ENETDOWN.0 as u32];
    assert_eq!(tap.ask(&[PROMISCON, PHYS]), error);
    assert_eq!(members(&net0), [0, 0]);
    assert_eq!(tap.ask(&[PROMISCOFF, PHYS]), [5, PROMISCOFF, 0x14, 0], "it is not on");
    tap.on(PHYS);
    assert_eq!(members(&net0), [0, 1]);
    drop((tap, net0));
    rig.end();
}

#[test]
fn w15_the_counters_have_their_names() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let found = kstat::read(Some("ipnet"), Some(0), Some("ipnet_stats"));
    let names: Vec<&str> = found[0].data.iter().map(|(name, _)| &**name).collect();
    let all = [
        "duplicationFail",
        "dispatchOk",
        "dispatchFail",
        "dispatchHeaderDrop",
        "dispatchDupDrop",
        "dispatchPutDrop",
        "dispatchDeliver",
        "acceptOk",
        "acceptFail",
    ];
    assert_eq!((found[0].class.as_str(), names.as_slice()), ("misc", all.as_slice()));
    let tap = rig.snoop("/dev/ipnet/net0");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            // Two of three are for somebody else, elsewhere.
            scope.spawn(|| {
                let net1 = packet(FAR, Ipv4Addr::new(10, 0, 0, 50), 64, 0);
                for n in 0..100 {
                    show(&net0, incoming(0), &echo(n));
                    show(&net0, TRANSIT, &net1);
                }
            });
        }
        let reader = scope.spawn(|| (0..800).for_each(|_| drop(tap.packet().unwrap())));
        reader.join().unwrap();
    });
    let stats = stats(0);
    assert_eq!((stats["acceptOk"], stats["acceptFail"]), (800, 0));
    assert_eq!((stats["dispatchDeliver"], stats["dispatchOk"]), (800, 800));
    drop((tap, net0));
    rig.end();
}

#[test]
fn w16_an_info_ack_has_no_bytes_of_others() {
    let rig = Rig::boot();
    let tap = rig.open("/dev/lo0");
    for state in [0u32, 3] {
        // A long request of ones, in whose block the answer may lie.
        let mut request = vec![0xff; 120];
        request[..4].fill(0);
        let answer = tap.ask_bytes(&request);
        assert_eq!(answer.len(), 78);
        assert_eq!(answer[76..], [0, 0]);
        assert_eq!(answer[24..28], state.to_ne_bytes());
        tap.bind(0);
    }
    drop(tap);
    rig.end();
}

#[test]
fn w17_an_event_without_memory_is_made_up_for() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let tap = rig.snoop("/dev/ipnet/net0");
    // No task for what happens now.
    fakekernel::host::fail_random(7, 1000);
    let net1 = Interface::new(0, "net1", false).unwrap();
    net1.up(Ipv4Addr::new(10, 0, 1, 1).into(), 24, 0).unwrap();
    drop(net0);
    settle();
    fakekernel::host::fail_random(0, 0);
    assert_eq!(rig.open_as("/dev/ipnet/net0", 0).err(), Some(Errno::ENOENT));
    drop(rig.open("/dev/ipnet/net1"));
    tap.hung_up();
    drop((tap, net1));
    rig.end();
}

#[test]
fn w17_a_storm_of_events_is_one_look() {
    let rig = Rig::boot();
    let all: Vec<Interface> = (0..100)
        .map(|n| {
            let i = Interface::new(0, &format!("net{n}"), false).unwrap();
            i.up(Ipv4Addr::new(10, 1, n, 1).into(), 24, 0).unwrap();
            i
        })
        .collect();
    for i in &all[..90] {
        i.unplumb(Family::V4);
    }
    settle();
    let listed = fakekernel::dev::nodes();
    let listed: Vec<_> = listed.iter().filter(|n| n.starts_with("/dev/ipnet/")).collect();
    assert_eq!(listed.len(), 10);
    drop(all);
    rig.end();
}

#[test]
fn w18_packets_keep_their_order() {
    const PACKETS: u32 = 20_000;
    let rig = Rig::boot();
    let net0 = rig.net0();
    let tap = rig.snoop("/dev/ipnet/net0");
    std::thread::scope(|scope| {
        scope.spawn(|| (0..=PACKETS).for_each(|n| show(&net0, incoming(0), &echo(n))));
        let mut last = None;
        // Some are dropped; none comes before one that was shown earlier.
        while last < Some(PACKETS) && stats(0)["dispatchPutDrop"] < u64::from(PACKETS) {
            match tap.stream().getmsg(Some(A_WHILE)).unwrap() {
                fakekernel::streams::Got::Message(m) => {
                    let n = number(&m.data.unwrap());
                    assert!(last < Some(n), "{n} after {last:?}");
                    last = Some(n);
                }
                _ => break,
            }
        }
        assert!(last.is_some());
    });
    drop((tap, net0));
    rig.end();
}

#[test]
fn w20_an_unbound_stream_sees_nothing_and_sap_0_everything() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let (tap, lo) = (rig.open("/dev/ipnet/net0"), rig.open("/dev/lo0"));
    let both = |n| {
        show(&net0, incoming(0), &echo(n));
        show(&net0, incoming(0), &packet6(FAR6, MINE6));
        show(&net0, local(0, 0), &packet(MINE, MINE, 64, n));
    };
    both(1);
    tap.silent();
    lo.silent();
    tap.bind(0);
    lo.bind(0);
    both(2);
    assert_eq!(number(&tap.packet().unwrap()), 2);
    assert_eq!(tap.packet().unwrap()[0] >> 4, 6);
    assert_eq!(number(&lo.packet().unwrap()), 2);
    tap.drain();
    tap.bind(6);
    both(3);
    assert_eq!(tap.packet().unwrap()[0] >> 4, 6);
    tap.silent();
    tap.on(SAP);
    both(4);
    assert_eq!(number(&tap.packet().unwrap()), 4);
    assert_eq!(tap.ask(&[2]), [6, 2]);
    tap.drain();
    both(5);
    tap.silent();
    drop((tap, lo, net0));
    rig.end();
}

#[test]
fn w20_programs_that_do_not_bind_can_be_had() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let (tap, lo) = (rig.open("/dev/ipnet/net0"), rig.open("/dev/lo0"));
    ipnet_unbound().store(1, Ordering::SeqCst);
    show(&net0, local(0, 0), &packet(MINE, MINE, 64, 1));
    assert_eq!(number(&lo.packet().unwrap()), 1);
    assert_eq!(number(&tap.packet().unwrap()), 1);
    // Who binds gets what it binds to.
    lo.bind(6);
    show(&net0, local(0, 0), &packet(MINE, MINE, 64, 2));
    lo.silent();
    ipnet_unbound().store(0, Ordering::SeqCst);
    drop((tap, lo, net0));
    rig.end();
}

#[test]
fn w21_multi_asks_for_what_the_host_did_not_join() {
    let rig = opted_in();
    let net0 = rig.net0();
    let tap = rig.open("/dev/ipnet/net0");
    tap.bind(0);
    let group = packet(FAR, Ipv4Addr::new(224, 0, 0, 251), 64, 1);
    show(&net0, TRANSIT, &group);
    assert_eq!(number(&tap.packet().unwrap()), 1, "those that come are seen anyway");
    tap.on(MULTI);
    assert_eq!(members(&net0), [1, 1]);
    show(&net0, TRANSIT, &packet(FAR, Ipv4Addr::new(10, 0, 0, 50), 64, 2));
    show(&net0, TRANSIT, &group);
    assert_eq!(number(&tap.packet().unwrap()), 1, "and still nobody else's");
    drop((tap, net0));
    rig.end();
}

#[test]
fn w24_loading_and_unloading_leaves_nothing() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    for _ in 0..5 {
        drop(rig.open("/dev/lo0"));
        rig.kernel.modunload("drv/ipnet").unwrap();
        rig.kernel.modload("drv/ipnet").unwrap();
        // What was there before is known at once.
        let tap = rig.snoop("/dev/ipnet/net0");
        show(&net0, incoming(0), &echo(1));
        assert_eq!(number(&tap.packet().unwrap()), 1);
        assert!(rig.kernel.modunload("drv/ipnet").is_err(), "somebody looks");
    }
    drop(net0);
    rig.end();
}

/// The module comes and goes while interfaces do, zones do, packets are shown and nodes are opened: a
/// lock that is taken before it is initialised, or after it was destroyed, is a violation.
#[test]
fn w24_every_lock_is_there_before_it_is_used_and_as_long() {
    const ZONE: i32 = 5;
    let rig = Rig::boot();
    let net0 = rig.net0();
    let done = &AtomicBool::new(false);
    let opened = &AtomicU32::new(0);
    std::thread::scope(|scope| {
        let (net0, rig) = (&net0, &rig);
        let again = move || !done.load(Ordering::SeqCst);
        scope.spawn(move || {
            while again() {
                let net1 = Interface::new(0, "net1", false).unwrap();
                net1.up(Ipv4Addr::new(10, 0, 1, 1).into(), 24, 0).unwrap();
                show(net0, incoming(0), &echo(1));
            }
        });
        scope.spawn(move || {
            while again() {
                zone_boot(ZONE, "db", IpType::Exclusive).unwrap();
                let theirs = Interface::new(ZONE, "net0", false).unwrap();
                theirs.up(MINE.into(), 24, ZONE).unwrap();
                drop(rig.open_as("/dev/ipnet/zone/db/net0", 0));
                drop(theirs);
                zone_halt(ZONE).unwrap();
            }
        });
        scope.spawn(move || {
            while again() {
                for path in ["/dev/lo0", "/dev/ipnet/net0", "/dev/ipnet/net1"] {
                    if let Ok(tap) = rig.open_as(path, 0) {
                        opened.fetch_add(1, Ordering::SeqCst);
                        show(net0, local(0, 0), &echo(2));
                        drop(tap);
                    }
                }
                // On a busy machine it would be stopped while it looks, mostly.
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        for _ in 0..20 {
            // Not while somebody looks.
            while rig.kernel.modunload("drv/ipnet").is_err() {
                std::thread::sleep(Duration::from_micros(100));
            }
            rig.kernel.modload("drv/ipnet").unwrap();
            std::thread::sleep(Duration::from_millis(3));
        }
        done.store(true, Ordering::SeqCst);
    });
    assert!(opened.load(Ordering::SeqCst) > 0);
    drop(net0);
    rig.end();
}

#[test]
fn w25_a_close_leaves_nothing_of_another_interface() {
    let rig = opted_in();
    let net0 = rig.net0();
    let index = net0.index();
    settle();
    let tap = rig.open("/dev/ipnet/net0");
    tap.on(PHYS);
    drop(net0);
    tap.hung_up();
    // The index is another interface's, on which somebody else has joined.
    let net1 = Interface::new(0, "net1", false).unwrap();
    net1.up(MINE.into(), 24, 0).unwrap();
    net1.set_index(index).unwrap();
    settle();
    let other = rig.open("/dev/ipnet/net1");
    other.on(PHYS);
    assert_eq!(members(&net1), [1, 0]);
    drop(tap);
    assert_eq!(members(&net1), [1, 0]);
    // A family that comes, or goes and comes back, is joined.
    net1.plumb(Family::V6);
    eventually("IPv6 is joined", || members(&net1) == [1, 1]);
    net1.unplumb(Family::V4);
    net1.plumb(Family::V4);
    eventually("IPv4 is joined again", || members(&net1) == [1, 1]);
    drop((other, net1));
    rig.end();
}

#[test]
fn w26_the_global_zone_looks_into_the_directory_of_another() {
    const ZONE: i32 = 5;
    let rig = Rig::boot();
    let ours = rig.net0();
    zone_boot(ZONE, "db", IpType::Exclusive).unwrap();
    let theirs = Interface::new(ZONE, "net0", false).unwrap();
    theirs.up(MINE.into(), 24, ZONE).unwrap();
    settle();
    let tap = rig.snoop("/dev/ipnet/zone/db/net0");
    show(&ours, incoming(0), &echo(1));
    show(&theirs, incoming(ZONE), &echo(2));
    assert_eq!(number(&tap.packet().unwrap()), 2);
    tap.silent();
    assert_eq!(rig.open_as("/dev/ipnet/zone/db/net0", ZONE).err(), Some(Errno::ENOENT));
    drop((tap, ours, theirs));
    zone_halt(ZONE).unwrap();
    rig.end();
}

#[test]
fn w28_looking_changes_nothing_unless_asked_for() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let tap = rig.snoop("/dev/ipnet/net0");
    tap.on(MULTI);
    assert_eq!(members(&net0), [0, 0]);
    // Asked for, from the next level on.
    ipnet_allmulti().store(1, Ordering::SeqCst);
    assert_eq!(members(&net0), [0, 0]);
    tap.on(PHYS);
    assert_eq!(members(&net0), [1, 1]);
    // And what was joined is left, whatever is asked for by then.
    ipnet_allmulti().store(0, Ordering::SeqCst);
    tap.off(PHYS);
    tap.off(MULTI);
    assert_eq!(members(&net0), [0, 0]);
    drop((tap, net0));
    rig.end();
}

#[test]
fn w29_what_a_stream_lost_is_counted_for_it() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let tap = rig.snoop("/dev/ipnet/net0");
    tap.info(1).unwrap();
    assert_eq!(stream_stats(), [[0, 0, 0]]);
    let lost = |nth, counter| {
        let message = fakekernel::mblk::from_slice(&echo(1), 0);
        let before = stats(0)[counter];
        // IP's own block is the first of all.
        fail_nth_allocb(nth);
        // SAFETY: a message of ours.
        unsafe {
            net0.observe_message(Family::V4, incoming(0), message);
            fail_nth_allocb(0);
            illumos_sys_hdrs::freemsg(message);
        }
        assert_eq!(stats(0)[counter], before + 1, "{counter}");
    };
    lost(2, "dispatchDupDrop");
    tap.silent();
    assert_eq!(stream_stats(), [[1, 0, 1]]);
    assert_eq!(stats(0)["dispatchFail"], 1);
    // Two share the copy, so that the second has its header in a block of its own: after the copy
    // and the second name for it.
    let other = rig.snoop("/dev/ipnet/net0");
    other.info(1).unwrap();
    lost(4, "dispatchHeaderDrop");
    let mut all = stream_stats();
    all.sort_unstable();
    assert_eq!(all, [[1, 1, 0], [2, 0, 2]]);
    drop((tap, other, net0));
    rig.end();
}

#[test]
fn w29_what_ip_could_not_show_is_counted_by_ip() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    let tap = rig.snoop("/dev/ipnet/net0");
    let message = fakekernel::mblk::from_slice(&echo(1), 0);
    fail_nth_allocb(1);
    // SAFETY: a message of ours.
    unsafe {
        net0.observe_message(Family::V4, incoming(0), message);
        fail_nth_allocb(0);
        illumos_sys_hdrs::freemsg(message);
    }
    tap.silent();
    assert_eq!((net0.unseen(), stream_stats()), (1, vec![[0, 0, 0]]));
    drop((tap, net0));
    rig.end();
}

/// Record, header, packet: the driver's own words, whenever they are read.
#[test]
fn w29_a_packet_says_when_it_was_seen_and_what_was_lost_before() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let rig = Rig::boot();
    let net0 = rig.net0();
    // The last that is opened is the first that is shown.
    let (plain, tap) = (rig.snoop("/dev/ipnet/net0"), rig.snoop("/dev/ipnet/net0"));
    assert_eq!((tap.info(2), plain.info(1)), (Ok(2), Ok(1)));
    let before = now();
    show(&net0, incoming(0), &echo(1));
    let after = now();
    // No memory to copy this one, after the block of IP.
    fail_nth_allocb(2);
    show(&net0, incoming(0), &echo(2));
    fail_nth_allocb(0);
    show(&net0, incoming(0), &echo(3));
    // Much later.
    std::thread::sleep(Duration::from_millis(50));
    for (n, drops) in [(1, 0), (3, 1)] {
        let seen = tap.packet().unwrap();
        let (words, _) = seen[..24].as_chunks::<4>();
        let words: Vec<u32> = words.iter().map(|w| u32::from_ne_bytes(*w)).collect();
        assert_eq!(words[..4], [64 + 24, 64 + 24, 64 + 48, drops]);
        let time = Duration::new(words[4].into(), words[5] * 1000);
        if n == 1 {
            let micro = Duration::from_micros(1);
            assert!(before <= time + micro && time <= after, "{before:?} {time:?} {after:?}");
        }
        assert_eq!((seen[24], seen[48..].to_vec()), (1, echo(n)));
    }
    for n in 1..4 {
        assert_eq!(plain.packet().unwrap()[24..], echo(n), "the other lost nothing");
    }
    drop((tap, plain, net0));
    rig.end();
}
