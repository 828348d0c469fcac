// SPDX-License-Identifier: CDDL-1.0
//! What a seed means: how many of everything, and how bad the times are.

use crate::host::Host;
use crate::site::Site;
use crate::truth::Universe;
use crate::wire::Late;
use crate::world::World;
use fastrand::Rng;
use portolan::change::Change;
use portolan::net::Mac;
use portolan::record::{Host as Record, Port};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use svp::message::RouteReq;
use svp::{MacAddr, Uuid};
use varpd_svp::engine::{Engine, Limits, Time};

/// Virtual networks, the same numbers at every site.
pub const VNETS: u32 = 3;
/// Guests that come, go and move, in each network.
const GUESTS: u8 = 6;
/// Hosts without an engine, which get other addresses.
pub const SILENT: u8 = 2;

#[derive(Clone, Debug)]
pub struct Plan {
    pub limits: Limits,
    /// How long it is bad.
    pub bad_times: Time,
    /// Between two things that happen, on average.
    pub pace: Duration,
    pub late: Late,
    /// One of so many of them is an evil; 0: none is.
    pub evil: u32,
}

/// The name of a host: those with engines first, then the silent ones.
pub fn host_id(n: usize) -> Uuid {
    Uuid::from_u128(0x1000 + n as u128)
}

pub fn guest_ip(n: u8) -> IpAddr {
    match n % 3 {
        2 => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n)]),
        _ => IpAddr::from([10, 0, 0, n]),
    }
}

/// What routers' Ethernet addresses begin with.
pub const OUI: [u8; 3] = [0x90, 0xb8, 0xd0];
/// That of network 1.
const ROUTER: MacAddr = MacAddr([0x90, 0xb8, 0xd0, 0, 0, 1]);

pub fn guest_mac(n: u8) -> MacAddr {
    MacAddr([2, 8, 0x20, 0, 0, n])
}

/// The guest that a host has in each network, always.
fn resident(h: usize) -> (IpAddr, MacAddr) {
    (IpAddr::from([10, 0, 1, h as u8]), MacAddr([2, 8, 0x20, 0, 1, h as u8]))
}

fn universe(hosts: usize) -> Universe {
    let residents = (0..hosts).map(resident);
    let (ips, macs): (Vec<_>, Vec<_>) =
        (0..GUESTS).map(|n| (guest_ip(n), guest_mac(n))).chain(residents).unzip();
    let mapped = |ip: [u8; 4]| Ipv4Addr::from(ip).to_ipv6_mapped();
    let v6 = |ip: IpAddr| Ipv6Addr::from(portolan::net::octets(ip));
    let packets = |vnet: u32| {
        let packet = |vlan, src, dst: IpAddr| RouteReq { vnet, vlan, src, dst: v6(dst) };
        let four = mapped([10, 0, 0, 99]);
        let six = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x99);
        [
            packet(0, four, guest_ip(0)),
            packet(1, four, guest_ip(0)),
            packet(0, four, guest_ip(1)),
            packet(0, mapped([10, 0, 9, 99]), guest_ip(3)),
            packet(0, four, resident(0).0),
            packet(0, six, guest_ip(2)),
            packet(0, six, guest_ip(5)),
        ]
    };
    let routes = (1..=VNETS).flat_map(packets).collect();
    // The router of one of them as well.
    let macs = macs.into_iter().chain([ROUTER]).collect();
    Universe { vnets: (1..=VNETS).collect(), macs, ips, routes }
}

/// Subnets of guests: each family with a wide and a narrow one, each of the latter without some guests.
pub const SUBNETS: [(Ipv6Addr, u8); 4] = [
    (Ipv4Addr::new(10, 0, 0, 0).to_ipv6_mapped(), 96 + 16),
    (Ipv4Addr::new(10, 0, 0, 0).to_ipv6_mapped(), 96 + 24),
    (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 64),
    (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 126),
];

/// The data centre of a network.
pub fn dcid(vnet: u32) -> u32 {
    1 + vnet % 2
}

/// The world that a seed stands for, at its beginning.
pub fn world(seed: u64, trace: bool) -> World {
    let mut rng = Rng::with_seed(seed);
    let hosts = rng.usize(1..=4);
    let mut limits = Limits::default();
    if rng.u8(..4) == 0 {
        limits.questions = rng.usize(2..10);
        limits.addresses = 2;
    }
    let plan = Plan {
        limits,
        bad_times: Time::from_secs(rng.u64(30..200)),
        pace: Duration::from_millis(rng.u64(50..500)),
        late: Late { again: [2, 5, 20, 100][rng.usize(..4)] },
        evil: [0, 200, 30, 10][rng.usize(..4)],
    };
    let sites = (0..rng.usize(1..=2)).map(|n| {
        let mut site = Site::new(n, rng.usize(1..=3), universe(hosts));
        let host = |n: usize| Change::Host(Record { id: host_id(n), ip: underlay(n), port: 4789 });
        let guest = |h: usize, vnet: u32| {
            let (ip, mac) = resident(h);
            let (host, mac) = (host_id(h), Mac(mac));
            Change::Port(Port {
                vnet,
                ip,
                mac,
                host,
                vlan: 0,
                router: false,
                deleted: false,
                modified: 0,
            })
        };
        let all = (0..hosts + usize::from(SILENT)).map(host);
        let guests = (0..hosts).flat_map(|h| (1..=VNETS).map(move |v| (h, v)));
        let changes = all.chain(guests.map(|(h, v)| guest(h, v))).collect();
        let made = site.change(Time::ZERO, changes);
        assert!(matches!(made, Some(Ok(_))), "{made:?}");
        site
    });
    let sites: Vec<Site> = sites.collect();
    let hosts = (0..hosts).map(|n| {
        let engine = Engine::new(plan.limits.clone(), rng.u64(..));
        let old = rng.u8(..6) == 0;
        Host::new(host_id(n), underlay(n), (1 + n as u32 % 2, old), engine)
    });
    let hosts = hosts.collect();
    World::new(plan, rng, hosts, sites, trace)
}

pub fn underlay(n: usize) -> IpAddr {
    IpAddr::from([10, 9, 0, n as u8])
}
