// SPDX-License-Identifier: CDDL-1.0
//! Who sees what from which zone (spec/ipnet.md 1).
use crate::common::*;
use fakekernel::inet::ip::{Interface, UNKNOWN_ZONE};
use fakekernel::inet::netstack::{IpType, set_labeled, zone_boot, zone_halt};
use overlay_abi::errno::Errno;
use std::net::Ipv4Addr;

const ZONE: i32 = 5;
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

#[test]
fn a_shared_zone_sees_its_interfaces_and_its_packets() {
    let rig = Rig::boot();
    zone_boot(ZONE, "web", IpType::Shared).unwrap();
    let net0 = rig.net0();
    let net1 = Interface::new(0, "net1", false).unwrap();
    net1.up(Ipv4Addr::new(10, 0, 1, 1).into(), 24, 0).unwrap();
    net0.up(THEIRS.into(), 24, ZONE).unwrap();
    settle();
    assert_eq!(rig.open_as("/dev/ipnet/net1", ZONE).err(), Some(Errno::ENOENT));
    let tap = rig.open_as("/dev/ipnet/net0", ZONE).unwrap();
    tap.bind(0);
    tap.on(PHYS);
    show(&net0, incoming(0), &packet(FAR, MINE, 64, 1));
    show(&net0, incoming(ZONE), &packet(FAR, THEIRS, 64, 2));
    show(&net0, TRANSIT, &packet(FAR, Ipv4Addr::new(10, 0, 0, 77), 64, 3));
    show(&net0, TRANSIT, &packet(FAR, Ipv4Addr::new(10, 0, 0, 255), 64, 4));
    show(&net0, outgoing(ZONE), &packet(THEIRS, FAR, 64, 5));
    show(&net0, outgoing(0), &packet(MINE, FAR, 64, 6));
    let seen: Vec<u32> = (0..3).map(|_| number(&tap.packet().unwrap())).collect();
    assert_eq!(seen, [2, 4, 5]);
    tap.silent();
    drop((tap, net0, net1));
    zone_halt(ZONE).unwrap();
    rig.end();
}

#[test]
fn a_shared_zone_that_loses_its_last_address_is_hung_up() {
    let rig = Rig::boot();
    zone_boot(ZONE, "web", IpType::Shared).unwrap();
    let net0 = rig.net0();
    net0.up(THEIRS.into(), 24, ZONE).unwrap();
    settle();
    let theirs = rig.open_as("/dev/ipnet/net0", ZONE).unwrap();
    let ours = rig.snoop("/dev/ipnet/net0");
    net0.down(THEIRS.into()).unwrap();
    theirs.hung_up();
    show(&net0, incoming(0), &echo(1));
    assert_eq!(number(&ours.packet().unwrap()), 1);
    drop((theirs, ours, net0));
    zone_halt(ZONE).unwrap();
    rig.end();
}

#[test]
fn w22_an_address_of_all_zones_shows_the_interface_to_each() {
    let rig = Rig::boot();
    zone_boot(ZONE, "web", IpType::Shared).unwrap();
    let net0 = rig.net0();
    net0.up(THEIRS.into(), 24, UNKNOWN_ZONE).unwrap();
    settle();
    let tap = rig.open_as("/dev/ipnet/net0", ZONE).unwrap();
    tap.bind(4);
    show(&net0, incoming(ZONE), &packet(FAR, THEIRS, 64, 1));
    assert_eq!(number(&tap.packet().unwrap()), 1);
    drop((tap, net0));
    zone_halt(ZONE).unwrap();
    rig.end();
}

#[test]
fn an_exclusive_zone_sees_its_own_stack_and_no_other() {
    let rig = Rig::boot();
    let net0 = rig.net0();
    zone_boot(ZONE, "db", IpType::Exclusive).unwrap();
    let vnic = Interface::new(ZONE, "vnic0", false).unwrap();
    vnic.up(THEIRS.into(), 24, ZONE).unwrap();
    settle();
    assert_eq!(rig.open_as("/dev/ipnet/net0", ZONE).err(), Some(Errno::ENOENT));
    assert_eq!(rig.open_as("/dev/ipnet/vnic0", 0).err(), Some(Errno::ENOENT));
    let theirs = rig.open_as("/dev/ipnet/vnic0", ZONE).unwrap();
    let (lo, our_lo) = (rig.open_as("/dev/lo0", ZONE).unwrap(), rig.open("/dev/lo0"));
    for tap in [&theirs, &lo, &our_lo] {
        tap.bind(0);
    }
    show(&vnic, incoming(ZONE), &packet(FAR, THEIRS, 64, 1));
    show(&vnic, local(ZONE, ZONE), &packet(THEIRS, THEIRS, 64, 2));
    assert_eq!(number(&theirs.packet().unwrap()), 1);
    assert_eq!(number(&lo.packet().unwrap()), 2);
    our_lo.silent();
    assert_eq!(stats(0)["acceptOk"], 0);
    assert_eq!(stats(ZONE)["acceptOk"], 3);
    drop((theirs, lo, our_lo, vnic, net0));
    zone_halt(ZONE).unwrap();
    rig.end();
}

#[test]
fn w07_a_zone_halts_when_its_last_stream_is_closed() {
    let rig = Rig::boot();
    for _ in 0..20 {
        zone_boot(ZONE, "db", IpType::Exclusive).unwrap();
        let vnic = Interface::new(ZONE, "vnic0", false).unwrap();
        vnic.up(THEIRS.into(), 24, ZONE).unwrap();
        settle();
        let tap = rig.open_as("/dev/ipnet/vnic0", ZONE).unwrap();
        tap.bind(0);
        std::thread::scope(|scope| {
            // Packets come until the last moment.
            scope.spawn(|| (0..200).for_each(|n| show(&vnic, incoming(ZONE), &echo(n))));
            scope.spawn(|| drop(tap));
        });
        drop(vnic);
        zone_halt(ZONE).unwrap();
        assert!(stats(ZONE).is_empty(), "its statistics are gone");
    }
    rig.end();
}

#[test]
fn on_a_labeled_system_only_the_global_zone_looks() {
    let rig = Rig::boot();
    zone_boot(ZONE, "db", IpType::Exclusive).unwrap();
    let vnic = Interface::new(ZONE, "vnic0", false).unwrap();
    vnic.up(THEIRS.into(), 24, ZONE).unwrap();
    settle();
    set_labeled(true);
    assert_eq!(rig.open_as("/dev/lo0", ZONE).err(), Some(Errno::EACCES));
    assert_eq!(rig.open_as("/dev/ipnet/vnic0", ZONE).err(), Some(Errno::ENOENT));
    drop(rig.open("/dev/lo0"));
    set_labeled(false);
    drop((rig.open_as("/dev/lo0", ZONE), rig.open_as("/dev/ipnet/vnic0", ZONE).unwrap()));
    drop(vnic);
    zone_halt(ZONE).unwrap();
    rig.end();
}
