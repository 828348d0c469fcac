// SPDX-License-Identifier: CDDL-1.0
//! Hosts that keep every answer about routes until their log says otherwise, in a small world where everything
//! changes all the time: after each change and what was logged for it, what a host has of routes from its
//! guests is what it would be answered now.

use portolan::change::{Change, Side};
use portolan::index::Index;
use portolan::net::{Mac, Subnet, octets};
use portolan::plan::Plan;
use portolan::record::{Host, Port, Route, RouteKey, Write};
use proptest::prelude::*;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use svp::log::Entry;
use svp::message::{RouteAck, RouteReq};
use svp::{MacAddr, Uuid};

const VNETS: std::ops::Range<u32> = 7..9;
const VLANS: std::ops::Range<u16> = 0..2;
const ADDRESSES: std::ops::Range<u8> = 0..3;
const HOSTS: std::ops::Range<u8> = 1..4;

fn id(n: u8) -> Uuid {
    Uuid::from_bytes([n; 16])
}

/// Every network has the same ones.
fn address(n: u8) -> IpAddr {
    let [a, b] = [n / 2, 1 + n % 2];
    [10, 0, a, b].into()
}

fn addresses() -> impl Iterator<Item = Ipv6Addr> {
    ADDRESSES.map(|n| octets(address(n)).into())
}

fn subnet() -> impl Strategy<Value = Subnet> {
    let all = ["0.0.0.0/0", "10.0.0.0/23", "10.0.0.0/24", "10.0.1.0/24", "10.0.0.1/32"];
    prop::sample::select(all.map(|text| text.parse().unwrap()).to_vec())
}

fn mac() -> impl Strategy<Value = Mac> {
    (1..4u8).prop_map(|n| Mac(MacAddr([2, 8, 0x20, 0, 0, n])))
}

fn port() -> impl Strategy<Value = Port> {
    let who = (VNETS, ADDRESSES, mac(), HOSTS);
    (who, VLANS, prop::bool::weighted(0.2), prop::bool::weighted(0.1)).prop_map(
        |((vnet, n, mac, host), vlan, router, deleted)| Port {
            vnet,
            ip: address(n),
            mac,
            host: id(host),
            vlan,
            router,
            deleted,
            modified: 0,
        },
    )
}

fn key() -> impl Strategy<Value = RouteKey> {
    (VNETS, VLANS, subnet(), subnet()).prop_map(|(vnet, vlan, subnet, r_subnet)| RouteKey {
        vnet,
        vlan,
        subnet,
        r_subnet,
    })
}

fn route() -> impl Strategy<Value = Route> {
    (key(), VNETS, VLANS, mac(), 0..2u32, prop::bool::weighted(0.1)).prop_map(
        |(key, r_vnet, r_vlan, r_send_mac, r_dcid, deleted)| Route {
            vnet: key.vnet,
            vlan: key.vlan,
            subnet: key.subnet,
            r_subnet: key.r_subnet,
            r_dcid,
            r_vnet,
            r_vlan,
            r_send_mac,
            net_uuid: None,
            r_net_uuid: None,
            deleted,
            modified: 0,
        },
    )
}

fn side() -> impl Strategy<Value = Side> {
    (VNETS, subnet(), 0..2u32).prop_map(|(vnet, subnet, dcid)| Side { vnet, subnet, dcid })
}

fn change() -> impl Strategy<Value = Change> {
    let host = (HOSTS, 0..2u8).prop_map(|(n, other)| {
        Change::Host(Host { id: id(n), ip: [192, 0, other, n].into(), port: 4789 })
    });
    prop_oneof![
        1 => host,
        4 => port().prop_map(Change::Port),
        2 => (VNETS, ADDRESSES).prop_map(|(vnet, n)| Change::DeletePort { vnet, ip: address(n) }),
        3 => (VNETS, ADDRESSES, HOSTS).prop_map(|(vnet, n, host)| {
            Change::Move { vnet, ip: Some(address(n)), mac: None, host: id(host) }
        }),
        3 => (VNETS, mac(), HOSTS).prop_map(|(vnet, mac, host)| {
            Change::Move { vnet, ip: None, mac: Some(mac), host: id(host) }
        }),
        5 => route().prop_map(Change::Route),
        2 => key().prop_map(Change::DeleteRoute),
        2 => (side(), side()).prop_map(|(a, b)| Change::Attach { a, b }),
        1 => (side(), side()).prop_map(|(a, b)| Change::Detach { a: a.key(), b: b.key() }),
    ]
}

/// What a host knows: by host, and by what it asked.
type Known = HashMap<(Uuid, u32, u16, Ipv6Addr, Ipv6Addr), RouteAck>;

/// Guests on each host: network, tag, address.
fn guests(index: &Index) -> Vec<(Uuid, u32, u16, Ipv6Addr)> {
    let on = HOSTS.flat_map(|n| index.ports_on(id(n)));
    on.filter(Port::is_guest).map(|p| (p.host, p.vnet, p.vlan, octets(p.ip).into())).collect()
}

fn ask(index: &Index, vnet: u32, vlan: u16, src: Ipv6Addr, dst: Ipv6Addr) -> Option<RouteAck> {
    index.route(&RouteReq { vnet, vlan, src, dst }).ok()
}

/// A host acts on its log, and the log is emptied.
fn act(index: &mut Index, known: &mut Known, host: Uuid) {
    let log: Vec<_> = index.host_log(host).collect();
    for (seq, named) in log {
        if let Entry::Route(r) = named.entry {
            let (from, to) =
                (Subnet::from_v6(r.src, r.src_prefix), Subnet::from_v6(r.dst, r.dst_prefix));
            known.retain(|(of, vnet, vlan, src, dst), _| {
                let flow = (*of, *vnet, *vlan) == (host, r.src_vnet, r.src_vlan);
                !(flow && from.contains(*src) && to.contains(*dst))
            });
        }
        index.apply(&Write::Log(host, seq, None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_hosts_know_of_routes_is_true_once_their_log_is_heard(
        all in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..40),
    ) {
        let mut index = Index::default();
        for n in HOSTS {
            let host = Host { id: id(n), ip: [192, 0, 2, n].into(), port: 4789 };
            index.apply(&Write::Host(id(n), Some(host)));
        }
        let mut known = Known::new();
        for (revision, changes) in all.iter().enumerate() {
            // Everybody asks for everything, and keeps it.
            for (host, vnet, vlan, src) in guests(&index) {
                for dst in addresses() {
                    if let Some(ack) = ask(&index, vnet, vlan, src, dst) {
                        known.insert((host, vnet, vlan, src, dst), ack);
                    }
                }
            }
            let mut plan = Plan::new(&index, revision as u64 + 1);
            let made = plan.make(changes, false);
            let writes = plan.writes();
            if made.is_err() {
                continue;
            }
            writes.iter().for_each(|write| index.apply(write));
            HOSTS.for_each(|n| act(&mut index, &mut known, id(n)));
            for (host, vnet, vlan, src) in guests(&index) {
                for dst in addresses() {
                    if let Some(ack) = known.get(&(host, vnet, vlan, src, dst)) {
                        let now = ask(&index, vnet, vlan, src, dst);
                        prop_assert_eq!(Some(*ack), now, "{} {} {} {}", host, vnet, src, dst);
                    }
                }
            }
        }
    }
}
