// SPDX-License-Identifier: CDDL-1.0
//! Without memory.
use crate::common::*;
use fakekernel::host::fail_random;
use fakekernel::inet::ip::Interface;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Whatever fails, each look is counted once, and nothing is leaked.
#[test]
fn every_packet_is_accounted_for_when_memory_is_short() {
    const PACKETS: u64 = 3000;
    let rig = Rig::boot();
    let net0 = rig.net0();
    let taps: Vec<Tap> = (0..3).map(|_| rig.snoop("/dev/ipnet/net0")).collect();
    taps[0].info(1).unwrap();
    taps[2].info(1).unwrap();
    fail_random(42, 200);
    let mut read = 0;
    for n in 0..PACKETS {
        show(&net0, incoming(0), &echo(n as u32));
        if n % 100 == 99 {
            read += taps.iter().map(|t| t.read_for(Duration::ZERO) as u64).sum::<u64>();
        }
    }
    fail_random(0, 0);
    let stats = stats(0);
    eventually("what was delivered is read", || {
        read += taps.iter().map(|t| t.read_for(Duration::ZERO) as u64).sum::<u64>();
        read == stats["dispatchDeliver"]
    });
    taps.iter().for_each(Tap::silent);
    let lost: u64 = ["dispatchDupDrop", "duplicationFail", "dispatchHeaderDrop", "dispatchPutDrop"]
        .iter()
        .map(|name| stats[*name])
        .sum();
    let shown = PACKETS - net0.unseen();
    assert_eq!(stats["acceptOk"], 3 * shown);
    assert_eq!(stats["dispatchDeliver"] + lost, 3 * shown);
    assert_eq!(stats["dispatchOk"] + stats["dispatchFail"], shown);
    for name in ["dispatchDupDrop", "duplicationFail", "dispatchHeaderDrop"] {
        assert!(stats[name] > 0, "{name} never happened");
    }
    drop((taps, net0));
    rig.end();
}

#[test]
fn opens_and_interfaces_when_memory_is_short() {
    let rig = Rig::boot();
    fail_random(43, 300);
    let mut opened = 0;
    for n in 0..50 {
        let i = Interface::new(0, &format!("net{n}"), false).unwrap();
        i.up(Ipv4Addr::new(10, 0, n, 1).into(), 24, 0).unwrap();
        settle();
        if let Ok(tap) = rig.open_as(&format!("/dev/ipnet/net{n}"), 0) {
            opened += 1;
            drop(i);
            drop(tap);
        }
    }
    fail_random(0, 0);
    assert!(opened > 25, "{opened} opens of 50");
    rig.end();
}
