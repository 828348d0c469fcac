// SPDX-License-Identifier: CDDL-1.0
//! Which packets a tap sees: the decisions of the original, and where they were wrong.
use ddi::mem::KmFlag;
use fakekernel::host;
use flate2::read::GzDecoder;
use ipnet::accept::*;
use ipnet::header::*;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;

fn v4(addr: [u8; 4], zone: i32) -> V4 {
    V4 { addr, broadcast: [10, 0, 0, 255], zone }
}

fn v6(last: u8, zone: i32) -> V6 {
    let mut addr = [0; 16];
    addr[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    addr[15] = last;
    V6 { addr, zone }
}

/// Those of the recorded decisions.
fn fixture() -> Addresses {
    addresses(&[v4([10, 0, 0, 1], 0), v4([10, 0, 0, 5], 5)], &[v6(1, 0), v6(5, 5)])
}

fn addresses(fours: &[V4], sixes: &[V6]) -> Addresses {
    let mut all = Addresses::default();
    for a in fours {
        all.v4.push(*a, KmFlag::Sleep).unwrap();
    }
    for a in sixes {
        all.v6.push(*a, KmFlag::Sleep).unwrap();
    }
    all
}

fn ends(src: &str, dst: &str) -> Ends {
    match (src.parse().unwrap(), dst.parse().unwrap()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Ends::V4 { src: src.octets(), dst: dst.octets() },
        (IpAddr::V6(src), IpAddr::V6(dst)) => Ends::V6 { src: src.octets(), dst: dst.octets() },
        _ => panic!("{src} and {dst} are of two families"),
    }
}

fn incoming(ifindex: u32, zdst: i32) -> Header {
    let (family, direction) = (AF_INET, Some(Direction::In));
    Header { family, direction, len: 64, ifindex, group: 0, zsrc: ALL_ZONES, zdst }
}

fn plain(zone: i32) -> Filter {
    Filter { zone, family: AF_INET, phys: false, sap: false }
}

#[test]
fn all_recorded_decisions_of_the_original() {
    let kernel = host::boot(host::Config::default());
    let addresses = fixture();
    let path = format!(
        "{}/../../../shared/vectors/ipnet/accept_vectors.csv.gz",
        env!("CARGO_MANIFEST_DIR")
    );
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut rows = 0;
    for line in BufReader::new(GzDecoder::new(file)).lines().skip(1) {
        let line = line.unwrap();
        let row: Vec<&str> = line.split(',').collect();
        let [kind, zone, family, phys, _multi, sap, packet, htype, ifindex, group, rest @ ..] =
            row.as_slice()
        else {
            panic!("{line}")
        };
        let [zsrc, zdst, src, dst, expected] = rest else { panic!("{line}") };
        let filter = Filter {
            zone: zone.parse().unwrap(),
            family: family.parse().unwrap(),
            phys: *phys == "1",
            sap: *sap == "1",
        };
        let place = match *kind {
            "if" => Place::On { index: 3, addresses: &addresses },
            "lo" => Place::Lo0,
            "lo_bpf" => Place::Loopback,
            other => panic!("{other}"),
        };
        let direction = match *htype {
            "0" => Direction::In,
            "1" => Direction::Out,
            "2" => Direction::Local,
            other => panic!("{other}"),
        };
        let header = Header {
            family: packet.parse().unwrap(),
            direction: Some(direction),
            len: 64,
            ifindex: ifindex.parse().unwrap(),
            group: group.parse().unwrap(),
            zsrc: zsrc.parse().unwrap(),
            zdst: zdst.parse().unwrap(),
        };
        let sees = accept(&filter, place, &header, &ends(src, dst));
        assert_eq!(sees, *expected == "1", "{line}");
        rows += 1;
    }
    assert_eq!(rows, 39_240);
    drop(addresses);
    kernel.shutdown().unwrap();
}

#[test]
fn w06_a_header_that_is_not_all_there_has_no_ends() {
    for (family, whole) in [(AF_INET, 20), (AF_INET6, 40)] {
        let packet: Vec<u8> = (0..whole as u8).collect();
        for len in 0..=whole {
            let packet = &packet[..len];
            let ends = Ends::read(family, |at, buf| {
                let Some(bytes) = packet.get(at..at + buf.len()) else { return false };
                buf.copy_from_slice(bytes);
                true
            });
            assert_eq!(ends.is_some(), len == whole, "{len} bytes of family {family}");
        }
    }
    assert_eq!(Ends::read(10, |_, _| true), None, "a family of another system");
}

#[test]
fn the_ends_are_where_the_header_has_them() {
    let read = |at: usize, buf: &mut [u8]| {
        buf.iter_mut().zip(at..).for_each(|(b, n)| *b = n as u8);
        true
    };
    let four = Ends::V4 { src: [12, 13, 14, 15], dst: [16, 17, 18, 19] };
    assert_eq!(Ends::read(AF_INET, read), Some(four));
    let from = |n: u8| std::array::from_fn(|i| n + i as u8);
    assert_eq!(Ends::read(AF_INET6, read), Some(Ends::V6 { src: from(8), dst: from(24) }));
}

#[test]
fn w22_an_address_of_all_zones_is_each_zones() {
    let kernel = host::boot(host::Config::default());
    let addresses = addresses(&[v4([10, 0, 0, 9], ALL_ZONES)], &[v6(9, ALL_ZONES)]);
    let place = Place::On { index: 3, addresses: &addresses };
    for zone in [0, 5, 6] {
        assert!(addresses.in_zone(zone));
        let packet = incoming(8, zone);
        assert!(accept(&plain(zone), place, &packet, &ends("10.0.0.99", "10.0.0.9")));
        let six = Header { family: AF_INET6, ..packet };
        let filter = Filter { family: AF_INET6, ..plain(zone) };
        let ends = ends("2001:db8::63", "2001:db8::9");
        assert!(accept(&filter, place, &six, &ends));
    }
    drop(addresses);
    kernel.shutdown().unwrap();
}

#[test]
fn w22_nobody_is_the_unspecified_address() {
    let kernel = host::boot(host::Config::default());
    let none = [V6 { addr: [0; 16], zone: 0 }];
    let addresses = addresses(&[V4 { addr: [0; 4], broadcast: [0; 4], zone: 0 }], &none);
    let place = Place::On { index: 3, addresses: &addresses };
    let packet = incoming(8, 0);
    assert!(!accept(&plain(0), place, &packet, &ends("10.0.0.99", "0.0.0.0")));
    let six = Header { family: AF_INET6, ..packet };
    let filter = Filter { family: AF_INET6, ..plain(0) };
    assert!(!accept(&filter, place, &six, &ends("2001:db8::63", "::")));
    drop(addresses);
    kernel.shutdown().unwrap();
}

#[test]
fn w22_a_zone_that_shares_its_stack_sees_its_subnets_broadcasts() {
    let kernel = host::boot(host::Config::default());
    let addresses = fixture();
    let place = Place::On { index: 3, addresses: &addresses };
    let broadcast = ends("10.0.0.99", "10.0.0.255");
    assert!(accept(&plain(5), place, &incoming(3, ALL_ZONES), &broadcast));
    assert!(!accept(&plain(6), place, &incoming(3, ALL_ZONES), &broadcast), "no address there");
    drop(addresses);
    kernel.shutdown().unwrap();
}
