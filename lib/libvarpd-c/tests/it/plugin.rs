// SPDX-License-Identifier: CDDL-1.0
//! A whole plugin in C, made with nothing but the installed header.
use crate::common::plugin;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, VarpdId};
use overlay_abi::props::*;
use overlay_abi::target::OVERLAY_PLUGIN_D_ETHERNET;
use std::net::Ipv6Addr;
use varpd_harness::frames::{self, Kind};
use varpd_harness::*;

/// A host whose plugin is `table.c`, and an instance of it.
fn host() -> (Host, VarpdId) {
    let host = Host::bare();
    host.varpd.load_plugin(&plugin("table", host.dir.path()));
    assert_eq!(host.varpd.plugins(), ["table"], "{}", host.log.text());
    let id = host.instance(1, "table");
    (host, id)
}

fn set(host: &Host, id: VarpdId, name: &str, value: &[u8]) -> Result<(), Errno> {
    let info = host.client.prop_info_by_name(id, name)?;
    host.client.prop_set(id, info.id, value)
}

fn get(host: &Host, id: VarpdId, name: &str) -> Vec<u8> {
    let info = host.client.prop_info_by_name(id, name).unwrap();
    host.client.prop_get(id, info.id).unwrap()
}

fn network() -> [u8; 16] {
    "2001:db8::ff".parse::<Ipv6Addr>().unwrap().octets()
}

/// Gives it all properties and activates it.
fn start(host: &Host, id: VarpdId) {
    assert_eq!(host.client.instance_activate(id), Err(Errno::EAGAIN));
    set(host, id, "table/network", &network()).unwrap();
    set(host, id, "table/step", &(-1i64).to_ne_bytes()).unwrap();
    set(host, id, "table/port", &9u64.to_ne_bytes()).unwrap();
    set(host, id, "table/name", "grüße\0".as_bytes()).unwrap();
    host.client.instance_activate(id).unwrap();
}

/// Asks for a destination.
fn ask(host: &Host, id: VarpdId, mac: [u8; 6]) -> Option<String> {
    let request = host.kernel.ask(1, id.0, mac);
    host.kernel.answer(request).map(|p| p.underlay().to_string())
}

#[test]
fn properties_of_all_types() {
    let (host, id) = host();
    let c = &host.client;
    assert_eq!(c.prop_nprops(id), Ok(5));
    let all: Vec<_> = (1..5).map(|n| c.prop_info(id, n).unwrap()).collect();
    let kinds: Vec<_> = all.iter().map(|p| (p.name.as_str(), p.kind, p.prot)).collect();
    let (rw, rrw) = (OVERLAY_PROP_PERM_RW, OVERLAY_PROP_PERM_RRW);
    assert_eq!(
        kinds,
        [
            ("table/network", OVERLAY_PROP_T_IP, rrw),
            ("table/step", OVERLAY_PROP_T_INT, rw),
            ("table/port", OVERLAY_PROP_T_UINT, rw),
            ("table/name", OVERLAY_PROP_T_STRING, rw),
        ]
    );
    let defaults: Vec<_> = all.iter().map(|p| p.default.len()).collect();
    assert_eq!(defaults, [0, 0, 8, 0]);
    assert_eq!(uint(&all[2].default), Some(4789));
    let Ok(Values::Ranges(ranges)) = parse_possible(&all[2].possible) else { panic!("no ranges") };
    assert_eq!(ranges.collect::<Vec<_>>(), [(1, 1023), (1024, 65535)]);

    // Not set, or as they are by default.
    assert!(get(&host, id, "table/network").is_empty());
    assert_eq!(int(&get(&host, id, "table/step")), Some(0));
    assert_eq!(uint(&get(&host, id, "table/port")), Some(4789));
    assert!(get(&host, id, "table/name").is_empty());
    start(&host, id);
    assert_eq!(ip(&get(&host, id, "table/network")), Some(network()));
    assert_eq!(int(&get(&host, id, "table/step")), Some(-1));
    assert_eq!(uint(&get(&host, id, "table/port")), Some(9));
    assert_eq!(string(&get(&host, id, "table/name")), Some("grüße"));

    // Values that it does not take, and those that are as long as can be.
    let einval = Err(Errno::EINVAL);
    assert_eq!(set(&host, id, "table/port", &0u64.to_ne_bytes()), einval);
    assert_eq!(set(&host, id, "table/port", &65536u64.to_ne_bytes()), einval);
    assert_eq!(set(&host, id, "table/port", &[0; 4]), Err(Errno::EOVERFLOW));
    assert_eq!(set(&host, id, "table/network", &[0; 15]), Err(Errno::EOVERFLOW));
    assert_eq!(set(&host, id, "table/name", b"no end"), einval);
    let mut long = vec![b'x'; 256];
    assert_eq!(set(&host, id, "table/name", &long), einval);
    long[255] = 0;
    assert_eq!(set(&host, id, "table/name", &long), Ok(()));
    assert_eq!(get(&host, id, "table/name"), long);
    assert_eq!(uint(&get(&host, id, "table/port")), Some(9));
}

#[test]
fn lookups() {
    let (host, id) = host();
    start(&host, id);
    for n in [1, 2, 0x80, 0xff] {
        let wanted = format!("[2001:db8::{:x}]:9", n - 1).replace("::0]", "::]");
        assert_eq!(ask(&host, id, [2, 0, 0, 0, 0, n]), Some(wanted));
    }
    assert_eq!(ask(&host, id, [1, 0, 0x5e, 0, 0, 1]), None, "multicasts go nowhere");
    // It says what it can give.
    host.kernel.add_link(2, OVERLAY_PLUGIN_D_ETHERNET);
    assert_eq!(host.client.instance_create(LinkId(2), "table"), Err(Errno::ENOTSUP));
}

#[test]
fn arp_ndp_and_dhcp() {
    let (host, id) = host();
    start(&host, id);
    for kind in frames::KINDS {
        let question = kind.question();
        let request = host.kernel.ask_about(1, id.0, question.clone());
        assert!(
            host.kernel.answer(request).is_none(),
            "{kind:?}: the question itself goes nowhere"
        );
        let state = host.kernel.state();
        let last = match kind {
            Kind::Arp => frames::OWNER_V4.octets()[3],
            Kind::Ndp => frames::OWNER_V6.octets()[15],
            Kind::Dhcp => 0x43,
        };
        let mac = [2, 8, 0x20, 0, 0, last];
        let frame = match kind {
            // To the server, through the kernel's transmit path.
            Kind::Dhcp => {
                let (_, frame) = state.resent.last().expect("a frame that was sent again");
                assert_eq!(frame[..6], mac);
                assert_eq!(frame[6..], question[6..]);
                continue;
            }
            Kind::Arp | Kind::Ndp => &state.injected.last().expect("an answer").1,
        };
        assert_eq!(frame[..6], question[6..12], "{kind:?}: to who asked");
        assert_eq!(frame[6..12], mac, "{kind:?}: from whom it asked for");
    }
}

/// What `vpo_save` puts into a list, `vpo_restore` finds there: bytes, numbers and a text.
#[test]
fn it_is_restored_with_all_its_properties() {
    let (mut host, id) = host();
    host.persist();
    start(&host, id);
    host.restart();
    assert_eq!(host.client.instance_lookup(LinkId(1)), Ok(id));
    assert_eq!(ip(&get(&host, id, "table/network")), Some(network()));
    assert_eq!(int(&get(&host, id, "table/step")), Some(-1));
    assert_eq!(uint(&get(&host, id, "table/port")), Some(9));
    assert_eq!(string(&get(&host, id, "table/name")), Some("grüße"));
    assert_eq!(ask(&host, id, [2, 0, 0, 0, 0, 5]), Some("[2001:db8::4]:9".to_owned()));
    host.client.instance_destroy(id).unwrap();
    assert_eq!(host.files(), [""; 0]);
}
