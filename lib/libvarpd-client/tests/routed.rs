// SPDX-License-Identifier: CDDL-1.0
//! The calls of version 2 against servers of either version, and wrong ones.
mod common;

use common::server;
use libvarpd_client::routed::{Guest, Route};
use libvarpd_client::{CacheEntry, Client};
use overlay_abi::door::v2::*;
use overlay_abi::door::{VARPD_CLIENT_INVALID, varpd_client_eresp_t};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, MacAddr, UnderlayAddr, VarpdId, VnetId, mapped};
use overlay_abi::target::v2::*;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

const ID: VarpdId = VarpdId(9);

fn command(m: &[u8]) -> u32 {
    u32::from_ne_bytes(m[..4].try_into().unwrap())
}

fn put<T: IntoBytes + Immutable + ?Sized>(message: &mut [u8], at: usize, value: &T) {
    value.write_to_prefix(&mut message[at..]).unwrap();
}

fn error(command: u32, errno: Errno) -> Vec<u8> {
    varpd_client_eresp_t { vce_command: command, vce_errno: errno.0 as u32 }.as_bytes().to_vec()
}

/// Every call of version 2, and what came of it.
fn all(client: &Client) -> [Result<(), Errno>; 5] {
    let guest = Guest { dcid: 7, mac: MacAddr([2; 6]) };
    [
        client.guest_delete(ID, guest),
        client.guest_get(ID, guest).map(drop),
        client.guest_set(ID, guest, &CacheEntry::Router),
        client.guest_walk(ID, |_, _| true),
        client.route_walk(ID, |_| true),
    ]
}

#[test]
fn v2_client_on_v1_varpd_knows_what_it_cannot_have() {
    // As version 1 answers what is no command of its own.
    let (_dir, _server, client) = server(|m| match command(m) {
        1..=14 => m.to_vec(),
        _ => error(VARPD_CLIENT_INVALID, Errno::EINVAL),
    });
    assert_eq!(all(&client), [Err(Errno::ENOSYS); 5]);
    client.cache_flush(ID).unwrap();
    client.instance_lookup(LinkId(1)).unwrap();
}

#[test]
fn errors_of_version_2_are_what_they_are() {
    for e in [Errno::EINVAL, Errno::ENOTSUP, Errno::ENOENT, Errno::EPERM] {
        let (_dir, _server, client) = server(move |m| {
            let mut reply = m.to_vec();
            put(&mut reply, 4, &e.0);
            reply
        });
        assert_eq!(all(&client), [Err(e); 5], "{e}");
    }
    // Only of no message at all EINVAL is said without a command.
    let (_dir, _server, client) = server(|_| error(VARPD_CLIENT_INVALID, Errno::EIO));
    assert_eq!(all(&client), [Err(Errno::EIO); 5]);
}

#[test]
fn replies_that_say_more_than_they_hold_are_not_believed() {
    for len in [0, 7, 8, 20, 39] {
        let (_dir, _server, client) = server(move |m| {
            let mut reply = m.to_vec();
            reply.truncate(len);
            reply
        });
        assert_eq!(all(&client), [Err(Errno::EPROTO); 5], "{len}");
    }
    for count in [101, 1 << 32, u64::MAX] {
        let (_dir, _server, client) = server(move |m| {
            let mut reply = m.to_vec();
            let at = if command(m) == VARPD_CLIENT_ROUTE_WALK { 16 } else { 32 };
            put(&mut reply, at, &count);
            reply
        });
        assert_eq!(client.guest_walk(ID, |_, _| true), Err(Errno::EPROTO), "{count}");
        assert_eq!(client.route_walk(ID, |_| true), Err(Errno::EPROTO), "{count}");
    }
}

#[test]
fn an_entry_goes_there_and_back() {
    let (_dir, _server, client) = server(|m| {
        let (arg, _) = varpd_client_target_cache_arg_t::read_from_prefix(&m[8..]).unwrap();
        assert_eq!((m.len(), arg.vtca_id, arg.vtca_dcid, arg.vtca_key), (616, 9, 7, [2; 6]));
        let flags = arg.vtca_entry.vcp_flags;
        assert_eq!(arg.vtca_entry.vcp_port == 0, flags != 0, "{flags}");
        m.to_vec()
    });
    let guest = Guest { dcid: 7, mac: MacAddr([2; 6]) };
    let to = CacheEntry::To { mac: MacAddr([1; 6]), addr: UnderlayAddr { ip: [3; 16], port: 9 } };
    client.guest_set(ID, guest, &to).unwrap();
    for (n, entry) in [CacheEntry::Drop, CacheEntry::Router].iter().enumerate() {
        let (_dir, _server, client) = server(move |m| {
            let mut reply = m.to_vec();
            let at = 8 + std::mem::offset_of!(varpd_client_target_cache_arg_t, vtca_entry) + 6;
            put(&mut reply, at, &(1u16 << n));
            reply
        });
        assert_eq!(client.guest_get(ID, guest), Ok(*entry));
    }
    assert_eq!(guest.to_string(), "7/2:2:2:2:2:2");
    assert_eq!(Guest { dcid: 0, ..guest }.to_string(), "2:2:2:2:2:2");
}

#[test]
fn walks_go_on_until_nothing_comes() {
    let (_dir, _server, client) = server(|m| {
        let mut reply = m.to_vec();
        if command(m) == VARPD_CLIENT_CACHE_WALK_V2 {
            let (mut arg, _) = varpd_client_target_walk_arg_t::read_from_prefix(&m[8..]).unwrap();
            assert_eq!((arg.vtcw_count, m.len()), (100, walk_len(100)));
            let n = arg.vtcw_marker[1];
            arg.vtcw_count = u64::from(n < 2);
            arg.vtcw_marker = [u64::MAX, n + 1];
            put(&mut reply, 8, &arg);
            let mut entry = overlay_targ_cache_entry_t::new_zeroed();
            entry.otce_mac = overlay_target_mac_t::new(n as u32 + 1, MacAddr([2; 6]));
            entry.otce_flags = OVERLAY_TARGET_CACHE_ROUTER;
            put(&mut reply, 40, &entry);
        } else {
            let (mut arg, _) = varpd_client_route_walk_arg_t::read_from_prefix(&m[8..]).unwrap();
            assert_eq!((arg.vrw_count, m.len()), (100, route_walk_len(100)));
            let n = arg.vrw_marker.otl3_dstip[15];
            arg.vrw_count = u64::from(n < 2);
            (arg.vrw_marker.otl3_dstip[15], arg.vrw_vlan) = (n + 1, 4095);
            put(&mut reply, 8, &arg);
            let mut route = overlay_targ_route_entry_t::new_zeroed();
            route.otre_addr.otl3_srcip = mapped([10, 0, 0, n].into());
            (route.otre_vlan, route.otre_route.otr_vnet, route.otre_route.otr_vlan) = (5, 102, 6);
            route.otre_route.otr_srcmac = [4; 6];
            route.otre_mac = overlay_target_mac_t::new(7, MacAddr([3; 6]));
            if n == 0 {
                route.otre_dest = UnderlayAddr { ip: [1; 16], port: 9 }.into();
            }
            put(&mut reply, 72, &route);
        }
        reply
    });
    let mut guests = Vec::new();
    client
        .guest_walk(ID, |guest, entry| {
            assert_eq!(*entry, CacheEntry::Router);
            guests.push(guest.dcid);
            true
        })
        .unwrap();
    assert_eq!(guests, [1, 2]);
    let mut routes = Vec::new();
    let mut take = |route: &Route| {
        routes.push(*route);
        true
    };
    client.route_walk(ID, &mut take).unwrap();
    let first = Route {
        vlan: 5,
        src: [10, 0, 0, 0].into(),
        dst: "::".parse().unwrap(),
        vnet: VnetId(102),
        new_vlan: 6,
        router: MacAddr([4; 6]),
        guest: Guest { dcid: 7, mac: MacAddr([3; 6]) },
        at: Some(UnderlayAddr { ip: [1; 16], port: 9 }),
    };
    assert_eq!(routes, [first, Route { src: [10, 0, 0, 1].into(), at: None, ..first }]);
    // Until nobody wants more.
    let mut n = 0;
    client
        .guest_walk(ID, |_, _| {
            n += 1;
            false
        })
        .unwrap();
    client
        .route_walk(ID, |_| {
            n += 1;
            false
        })
        .unwrap();
    assert_eq!(n, 2);
}
