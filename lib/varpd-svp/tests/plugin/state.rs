// SPDX-License-Identifier: CDDL-1.0
//! The plugin's object by itself: its properties, saving and restoring.
use nvpair::{List, Value};
use overlay_abi::errno::Errno;
use overlay_abi::target::*;
use std::ffi::CStr;
use std::ptr::null_mut;
use varpd_plugin::{NvList, Plugin, Provider};
use varpd_svp::{Config, Svp};

const VXLAN: u32 = OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT;

fn svp(dest: u32) -> Result<Svp, Errno> {
    Svp::create(Provider::from_raw(null_mut()), dest)
}

fn nvlist(list: &mut List) -> NvList<'_> {
    // SAFETY: the result borrows the list.
    unsafe { NvList::from_raw(std::ptr::from_mut(list).cast()) }
}

fn restore(list: &mut List) -> Result<Svp, Errno> {
    Svp::restore(&nvlist(list), Provider::from_raw(null_mut()), VXLAN)
}

fn get(svp: &Svp, name: &str) -> Vec<u8> {
    let mut buf = [0; 256];
    let size = svp.getprop(name, &mut buf).unwrap();
    buf[..size as usize].to_vec()
}

fn text(s: &str) -> Vec<u8> {
    [s.as_bytes(), b"\0"].concat()
}

fn number(n: u64) -> Vec<u8> {
    n.to_ne_bytes().to_vec()
}

fn ip(s: &str) -> Vec<u8> {
    overlay_abi::ids::mapped(s.parse().unwrap()).to_vec()
}

#[test]
fn destinations_are_an_address_and_a_port() {
    assert!(svp(VXLAN).is_ok());
    for dest in 0..16 {
        assert_eq!(svp(dest).is_ok(), dest == VXLAN, "{dest}");
    }
    assert_eq!(svp(OVERLAY_PLUGIN_D_IP).unwrap_err(), Errno::ENOTSUP);
}

/// The getter of one original had its size test inverted, and that of another told one property's value by another's.
#[test]
fn b27_each_property_is_told_as_it_was_set() {
    let svp = svp(VXLAN).unwrap();
    let unset = [
        "svp/host",
        "svp/underlay_ip",
        "svp/dcid",
        "svp/router_oui",
        "svp/tls_ca",
        "svp/tls_cert",
        "svp/tls_key",
    ];
    for name in unset {
        assert!(get(&svp, name).is_empty(), "{name}");
    }
    assert_eq!(get(&svp, "svp/port"), number(1296));
    assert_eq!(get(&svp, "svp/underlay_port"), number(1339));
    for (name, value) in [
        ("svp/dcid", number(0xffff_fffe)),
        ("svp/host", text("portolan.example.com")),
        ("svp/underlay_ip", ip("192.0.2.7")),
        ("svp/port", number(65535)),
        ("svp/underlay_port", number(4789)),
        ("svp/tls_ca", text("/etc/svp/ca.pem")),
        ("svp/router_oui", vec![2, 8, 0x20, 0, 0, 0]),
        // A shorter one takes the place of a longer one: its memory was freed by its length once.
        ("svp/host", text("p")),
    ] {
        svp.setprop(name, &value).unwrap();
        assert_eq!(get(&svp, name), value, "{name}");
        // Exactly enough room will do, and less does not.
        let mut buf = vec![0; value.len()];
        assert_eq!(svp.getprop(name, &mut buf), Ok(value.len() as u32), "{name}");
        buf.pop();
        assert_eq!(svp.getprop(name, &mut buf), Err(Errno::EOVERFLOW), "{name}");
    }
    // None of them changed another.
    assert_eq!(get(&svp, "svp/dcid"), number(0xffff_fffe));
    assert_eq!(get(&svp, "svp/port"), number(65535));
    assert_eq!(svp.nprops(), 9);
}

#[test]
fn values_that_cannot_be_are_refused_and_change_nothing() {
    let svp = svp(VXLAN).unwrap();
    let long = "x".repeat(256);
    for (name, value, errno) in [
        ("svp/port", number(0), Errno::EINVAL),
        ("svp/port", number(65536), Errno::EINVAL),
        ("svp/port", vec![0; 7], Errno::EOVERFLOW),
        ("svp/underlay_port", number(0), Errno::EINVAL),
        ("svp/dcid", number(0), Errno::EINVAL),
        ("svp/dcid", number(0xffff_ffff), Errno::EINVAL),
        ("svp/dcid", number(0x1_0000_0001), Errno::EINVAL),
        ("svp/underlay_ip", vec![0xfd; 15], Errno::EOVERFLOW),
        ("svp/underlay_ip", ip("::"), Errno::EINVAL),
        ("svp/underlay_ip", ip("::1"), Errno::EINVAL),
        ("svp/underlay_ip", ip("::192.0.2.1"), Errno::EINVAL),
        ("svp/underlay_ip", ip("0.0.0.0"), Errno::EINVAL),
        ("svp/underlay_ip", ip("224.0.0.1"), Errno::EINVAL),
        ("svp/underlay_ip", ip("ff02::1"), Errno::EINVAL),
        ("svp/underlay_ip", ip("2002:c000:201::1"), Errno::EINVAL),
        ("svp/host", text(""), Errno::EINVAL),
        ("svp/host", text("a b"), Errno::EINVAL),
        ("svp/host", text("a\nb"), Errno::EINVAL),
        ("svp/host", text(&long), Errno::EINVAL),
        ("svp/host", b"no end".to_vec(), Errno::EINVAL),
        ("svp/host", b"\xff\0".to_vec(), Errno::EINVAL),
        ("svp/router_oui", text("3:8:20:0:0:0"), Errno::EINVAL),
        ("svp/router_oui", text("0:0:0:1:2:3"), Errno::EINVAL),
        ("svp/router_oui", text("2:8:20"), Errno::EINVAL),
        ("svp/router_oui", vec![3, 8, 0x20, 0, 0, 0], Errno::EINVAL),
        ("svp/router_oui", vec![0, 0, 0, 1, 2, 3], Errno::EINVAL),
        ("svp/router_oui", vec![2, 8, 0x20, 0, 0], Errno::EINVAL),
        ("svp/tls_ca", text("ca.pem"), Errno::EINVAL),
        ("svp/nothing", text("x"), Errno::EINVAL),
    ] {
        let before = get_all(&svp);
        assert_eq!(svp.setprop(name, &value), Err(errno), "{name} {value:?}");
        assert_eq!(get_all(&svp), before, "{name} {value:?}");
    }
    assert_eq!(svp.getprop("svp/nothing", &mut [0; 256]), Err(Errno::EINVAL));
}

/// Its last three bytes are the virtual network's. It may be set as an Ethernet address or as text, and is told in the
/// form that the interface has.
#[test]
fn a_routers_oui_is_an_ethernet_address_or_text() {
    for value in [vec![2, 8, 0x20, 10, 11, 12], text("2:8:20:a:b:c")] {
        let mut config = Config::default();
        config.set("svp/router_oui", &value).unwrap();
        assert_eq!(config.router_oui(), Some([2, 8, 0x20]));
        let mut buf = [0; 32];
        assert_eq!(config.get("svp/router_oui", &mut buf, true), Ok(6));
        assert_eq!(buf[..6], [2, 8, 0x20, 0, 0, 0]);
        let told = text("2:8:20:0:0:0");
        assert_eq!(config.get("svp/router_oui", &mut buf, false), Ok(told.len() as u32));
        assert_eq!(buf[..told.len()], told);
    }
}

fn get_all(svp: &Svp) -> Vec<Vec<u8>> {
    ["host", "port", "underlay_ip", "underlay_port", "dcid", "router_oui", "tls_ca"]
        .map(|name| get(svp, &format!("svp/{name}")))
        .to_vec()
}

#[test]
fn it_saves_what_the_original_saved_and_restores_it() {
    let svp = svp(VXLAN).unwrap();
    let mut list = List::new();
    svp.save(&mut nvlist(&mut list)).unwrap();
    // Nothing but what has a default.
    let again = restore(&mut list).unwrap();
    assert_eq!(get_all(&again), get_all(&svp));

    let set = [
        ("svp/host", text("portolan")),
        ("svp/port", number(1297)),
        ("svp/underlay_ip", ip("192.0.2.7")),
        ("svp/underlay_port", number(4789)),
        ("svp/dcid", number(7)),
        ("svp/router_oui", vec![2, 8, 0x20, 0, 0, 0]),
        ("svp/tls_ca", text("/ca.pem")),
    ];
    for (name, value) in &set {
        svp.setprop(name, value).unwrap();
    }
    let mut list = List::new();
    svp.save(&mut nvlist(&mut list)).unwrap();
    let string = |s: &CStr| Value::String(s.to_owned());
    let mut expected = List::new();
    for (name, value) in [
        (c"svp/host", string(c"portolan")),
        (c"svp/port", Value::Uint16(1297)),
        (c"svp/underlay_ip", string(c"::ffff:192.0.2.7")),
        (c"svp/underlay_port", Value::Uint16(4789)),
        (c"svp/dcid", Value::Uint32(7)),
        (c"svp/router_oui", string(c"2:8:20:0:0:0")),
        (c"svp/tls_ca", string(c"/ca.pem")),
    ] {
        expected.add(name.to_owned(), value);
    }
    assert_eq!(list, expected);
    assert_eq!(get_all(&restore(&mut list).unwrap()), get_all(&svp));
}

#[test]
fn what_cannot_have_been_saved_is_not_restored() {
    let string = |s: &CStr| Value::String(s.to_owned());
    for (name, value) in [
        (c"svp/port", Value::Uint16(0)),
        (c"svp/underlay_port", Value::Uint16(0)),
        (c"svp/underlay_ip", string(c"ff02::1")),
        (c"svp/underlay_ip", string(c"here")),
        (c"svp/dcid", Value::Uint32(0)),
        (c"svp/router_oui", string(c"2:8")),
        (c"svp/host", string(c"")),
        (c"svp/tls_key", string(c"key.pem")),
    ] {
        let mut list = List::new();
        list.add(name.to_owned(), value);
        assert_eq!(restore(&mut list).unwrap_err(), Errno::EINVAL, "{name:?}");
    }
}

#[test]
fn it_does_not_start_without_what_is_required() {
    let svp = svp(VXLAN).unwrap();
    assert_eq!(svp.start(), Err(Errno::EAGAIN));
    svp.setprop("svp/host", &text("127.0.0.1")).unwrap();
    assert_eq!(svp.start(), Err(Errno::EAGAIN));
    svp.setprop("svp/underlay_ip", &ip("192.0.2.7")).unwrap();
    // Half of TLS is a mistake, not a plain connection.
    svp.setprop("svp/tls_cert", &text("/nowhere/cert.pem")).unwrap();
    assert_eq!(svp.start(), Err(Errno::EAGAIN));
    svp.setprop("svp/tls_key", &text("/nowhere/key.pem")).unwrap();
    assert_eq!(svp.start(), Err(Errno::EAGAIN));
    svp.setprop("svp/tls_ca", &text("/nowhere/ca.pem")).unwrap();
    assert_eq!(svp.start(), Err(Errno::EINVAL), "no such files");
}
