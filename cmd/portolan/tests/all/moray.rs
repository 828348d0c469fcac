// SPDX-License-Identifier: CDDL-1.0
//! The routes of the original's database, read and written: whole, and in every way that they may be wrong.

use crate::common::{Faulty, run};
use portolan::change::{Change, Changes};
use portolan::moray::{self, EVENTS, PORTS, ROUTES};
use portolan::record::{Event, Route};
use portolan::serve::Limits;
use serde_json::{Value, json};

const KEY: &str = "7,3,::ffff:a00:0/120,::ffff:a01:0/120";

fn object() -> Value {
    json!({
        "net_uuid": "11111111-2222-4333-8444-000000000064",
        "vnet_id": 7,
        "vlan_id": 3,
        "subnet": "::ffff:a00:0/120",
        "r_dc_id": 9,
        "r_net_uuid": "11111111-2222-4333-8444-000000000065",
        "r_vnet_id": 8,
        "r_vlan_id": 5,
        "r_subnet": "::ffff:a01:0/120",
        "r_send_mac": 0x90b8_d0aa_bbccu64,
        "version": 1,
        "deleted": false,
    })
}

fn read(value: &Value) -> Result<Route, String> {
    match moray::read(ROUTES, KEY, value) {
        Ok(Change::Route(route)) => Ok(route),
        Ok(other) => panic!("{other:?}"),
        Err(e) => Err(e.to_string()),
    }
}

#[test]
fn a_route_is_read_and_written_as_it_was() {
    let route = read(&object()).unwrap();
    assert_eq!(route.subnet.to_string(), "10.0.0.0/24");
    assert_eq!((route.vnet, route.vlan, route.r_vnet, route.r_vlan), (7, 3, 8, 5));
    assert_eq!((route.r_dcid, route.r_send_mac.to_string()), (9, "90:b8:d0:aa:bb:cc".into()));
    let written = moray::write(&Change::Route(route.clone())).unwrap();
    assert_eq!(written, (ROUTES, KEY.to_owned(), object()));
    // In the forms in which people and other versions of its tools write subnets.
    for (field, text) in [("subnet", "10.0.0.0/24"), ("r_subnet", "::ffff:10.1.0.0/120")] {
        let mut other = object();
        other[field] = text.into();
        assert_eq!(read(&other).as_ref(), Ok(&route), "{text}");
    }
    // What it did not always write.
    let mut old = object();
    for field in ["net_uuid", "r_net_uuid", "version", "deleted"] {
        old.as_object_mut().unwrap().remove(field);
    }
    assert_eq!(read(&old), Ok(Route { net_uuid: None, r_net_uuid: None, ..route }));
}

#[test]
fn a_route_that_is_not_one_is_refused_with_its_key() {
    for field in [
        "vnet_id",
        "vlan_id",
        "subnet",
        "r_dc_id",
        "r_vnet_id",
        "r_vlan_id",
        "r_subnet",
        "r_send_mac",
    ] {
        let mut without = object();
        without.as_object_mut().unwrap().remove(field);
        let why = read(&without).unwrap_err();
        assert!(why.contains(KEY) && why.contains(field), "{why}");
    }
    for (field, value) in [
        ("vnet_id", json!(-1)),
        ("vnet_id", json!(1u64 << 32)),
        ("vlan_id", json!(65536)),
        ("vlan_id", json!("3")),
        ("subnet", json!("10.0.0.1/24")),
        ("subnet", json!("10.0.0.0/33")),
        ("subnet", json!("10.0.0.0")),
        ("subnet", json!("fd00::/129")),
        ("subnet", json!("ten/24")),
        ("r_subnet", json!(["10.1.0.0/24"])),
        ("r_dc_id", json!(1.5)),
        ("r_send_mac", json!(1u64 << 48)),
        ("r_send_mac", json!("90:b8:d0:aa:bb:cc")),
        ("r_net_uuid", json!("not a uuid")),
        ("deleted", json!("no")),
    ] {
        let mut bad = object();
        bad[field] = value.clone();
        let why = read(&bad).unwrap_err();
        assert!(why.contains(KEY), "{field} {value}: {why}");
    }
    for bad in [json!(null), json!([]), json!("route"), json!({})] {
        assert!(read(&bad).is_err(), "{bad}");
    }
}

/// Each value is fine by itself; the directory refuses what they say together, and takes none of the batch.
#[test]
fn a_route_that_cannot_be_is_refused_by_the_directory() {
    let running = run(Box::new(Faulty::default()), Limits::default());
    for (field, value, words) in [
        ("r_subnet", json!("fd00::/64"), "both must be of IPv4 or both of IPv6"),
        ("vlan_id", json!(4095), "802.1Q tags go from 0 (none) to 4094"),
        ("r_vlan_id", json!(65535), "802.1Q tags go from 0 (none) to 4094"),
        (
            "r_send_mac",
            json!(0x0100_5e00_0001u64),
            "not an Ethernet address that frames can come from",
        ),
    ] {
        let mut bad = object();
        bad[field] = value;
        let both = [object(), bad].map(|v| Change::Route(read(&v).unwrap()));
        let changes = Changes { restore: true, changes: both.to_vec() };
        let made = running.runtime.block_on(running.server.directory.change(changes));
        let why = made.unwrap_err().to_string();
        assert!(why.contains(words), "{field}: {why}");
        assert_eq!(running.server.directory.read().counts().routes, 0);
    }
    // A tombstone is taken over, and is no route.
    let mut gone = object();
    gone["deleted"] = true.into();
    running.change(true, vec![Change::Route(read(&gone).unwrap())]);
    let index = running.server.directory.read();
    let (src, dst) = ("::ffff:10.0.0.1".parse().unwrap(), "::ffff:10.1.0.1".parse().unwrap());
    let req = svp::message::RouteReq { vnet: 7, vlan: 3, src, dst };
    assert_eq!((index.counts().routes, index.route(&req)), (1, Err(svp::Status::NOTFOUND)));
}

#[test]
fn route_events_have_prefixes_of_either_form_and_no_others() {
    let id = "11111111-2222-4333-8444-000000000001";
    let event = |ip: &str, prefix: u32| {
        let value = json!({
            "cn_uuid": id, "vnet_id": 7, "version": 1,
            "record": {
                "type": "SVP_LOG_ROUTE", "src_vnet_id": 7, "dst_vnet_id": 8, "dcid": 9,
                "srcip": ip, "dstip": "::ffff:a01:0", "src_vlan_id": 3, "dst_vlan_id": 5,
                "src_prefixlen": prefix, "dst_prefixlen": 120,
            },
        });
        match moray::read(EVENTS, id, &value) {
            Ok(Change::Log(record)) => match record.event {
                Event::Route { src, .. } => Ok(src.to_string()),
                other => panic!("{other:?}"),
            },
            Ok(other) => panic!("{other:?}"),
            Err(e) => Err(e.to_string()),
        }
    };
    for (ip, prefix, want) in [
        ("::ffff:a00:0", 120, "10.0.0.0/24"),
        ("10.0.0.0", 24, "10.0.0.0/24"),
        ("::ffff:a00:7", 128, "10.0.0.7/32"),
        ("fd00::", 64, "fd00::/64"),
        ("fd00::", 24, "fd00::/24"),
    ] {
        assert_eq!(event(ip, prefix), Ok(want.to_owned()), "{ip}/{prefix}");
    }
    for (ip, prefix) in
        [("10.0.0.0", 33), ("10.0.0.0", 95), ("10.0.0.0", 129), ("fd00::", 129), ("fd00::", 256)]
    {
        assert!(event(ip, prefix).is_err(), "{ip}/{prefix}");
    }
}

/// A router record of the original names some host, which need not be there and has nothing to do with it.
#[test]
fn a_router_of_the_original_answers_for_attachments() {
    let running = run(Box::new(Faulty::default()), Limits::default());
    let router = |vnet: u32, ip: &str, mac: u64| {
        let value = json!({
            "mac": mac, "ip": ip, "cn_uuid": "11111111-2222-4333-8444-000000000009", "vnet_id": vnet,
            "version": 1, "deleted": false, "router": true,
        });
        moray::read(PORTS, &format!("{ip},{vnet}"), &value).unwrap()
    };
    let all = [
        router(7, "::ffff:a00:fe", 0x90b8_d000_00feu64),
        router(8, "::ffff:a01:fe", 0x90b8_d000_01feu64),
    ];
    running.change(true, all.to_vec());
    let side = |vnet, subnet: &str| portolan::change::Side {
        vnet,
        subnet: subnet.parse().unwrap(),
        dcid: 0,
    };
    let (a, b) = (side(7, "10.0.0.0/24"), side(8, "10.1.0.0/24"));
    running.change(false, vec![Change::Attach { a, b }]);
    assert_eq!(running.server.directory.read().counts().routes, 2);
}
