// SPDX-License-Identifier: CDDL-1.0
//! The plugin's object by itself: values, saving and restoring.
use libvarpd as _; // The functions the plugin binds to.
use nvpair::{List, Value};
use overlay_abi::errno::Errno;
use overlay_abi::target::*;
use std::ptr::null_mut;
use varpd_direct::Direct;
use varpd_plugin::{NvList, Plugin, Point, Provider};

const VXLAN: u32 = OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT;

fn direct(dest: u32) -> Result<Direct, Errno> {
    Direct::create(Provider::from_raw(null_mut()), dest)
}

fn nvlist(list: &mut List) -> NvList<'_> {
    // SAFETY: the result borrows the list.
    unsafe { NvList::from_raw(std::ptr::from_mut(list).cast()) }
}

fn restore(list: &mut List, dest: u32) -> Result<Direct, Errno> {
    Direct::restore(&nvlist(list), Provider::from_raw(null_mut()), dest)
}

fn get(direct: &Direct, name: &str) -> Vec<u8> {
    let mut buf = [0; 256];
    let size = direct.getprop(name, &mut buf).unwrap();
    buf[..size as usize].to_vec()
}

fn v6(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>().unwrap().octets()
}

fn port(n: u64) -> [u8; 8] {
    n.to_ne_bytes()
}

#[test]
fn destinations_it_can_give() {
    for dest in [OVERLAY_PLUGIN_D_IP, OVERLAY_PLUGIN_D_PORT, VXLAN] {
        assert!(direct(dest).is_ok(), "{dest}");
    }
    for dest in [0, OVERLAY_PLUGIN_D_ETHERNET, OVERLAY_PLUGIN_D_MASK, 8, VXLAN | 8] {
        assert_eq!(direct(dest).unwrap_err(), Errno::ENOTSUP, "{dest}");
    }
}

#[test]
fn values_that_are_refused() {
    let d = direct(VXLAN).unwrap();
    for ip in ["::1.2.3.4", "::2", "2002::1", "2002:ffff::"] {
        assert_eq!(d.setprop("direct/dest_ip", &v6(ip)), Err(Errno::EINVAL), "{ip}");
    }
    for ip in ["::", "::1", "ff02::1", "::ffff:10.0.0.1", "2001:db8::1"] {
        assert_eq!(d.setprop("direct/dest_ip", &v6(ip)), Ok(()), "{ip}");
    }
    assert_eq!(d.setprop("direct/dest_ip", &[1; 15]), Err(Errno::EOVERFLOW));
    assert_eq!(d.setprop("direct/dest_port", &[1; 7]), Err(Errno::EOVERFLOW));
    for n in [0, 65536, u64::MAX] {
        assert_eq!(d.setprop("direct/dest_port", &port(n)), Err(Errno::EINVAL), "{n}");
    }
    assert_eq!(d.setprop("direct/port", &port(1)), Err(Errno::EINVAL));
    assert_eq!(d.getprop("direct/port", &mut [0; 256]), Err(Errno::EINVAL));
    assert_eq!(d.getprop("direct/dest_ip", &mut [0; 15]), Err(Errno::EOVERFLOW));
    d.setprop("direct/dest_port", &port(65535)).unwrap();
    assert_eq!(d.getprop("direct/dest_port", &mut [0; 7]), Err(Errno::EOVERFLOW));
    assert_eq!(get(&d, "direct/dest_port"), port(65535));
}

#[test]
fn without_port_bit_there_is_no_port() {
    let d = direct(OVERLAY_PLUGIN_D_IP).unwrap();
    assert_eq!(d.nprops(), 1);
    assert_eq!(d.setprop("direct/dest_port", &port(1)), Err(Errno::EINVAL));
    assert_eq!(d.getprop("direct/dest_port", &mut [0; 8]), Err(Errno::EINVAL));
    d.setprop("direct/dest_ip", &v6("::ffff:10.0.0.1")).unwrap();
    assert_eq!(d.start(), Ok(()));
}

/// The original asked for the port if destinations had an IP address.
#[test]
fn start_wants_what_is_required() {
    let d = direct(VXLAN).unwrap();
    assert_eq!(d.start(), Err(Errno::EAGAIN));
    d.setprop("direct/dest_ip", &v6("2001:db8::1")).unwrap();
    assert_eq!(d.start(), Err(Errno::EAGAIN));
    d.setprop("direct/dest_port", &port(4789)).unwrap();
    assert_eq!(d.start(), Ok(()));
    let point = d.destination().unwrap();
    assert_eq!((point.otp_ip, point.otp_port), (v6("2001:db8::1"), 4789));
    assert_eq!(point.otp_mac, [0; 6]);
    let only_port = direct(OVERLAY_PLUGIN_D_PORT).unwrap();
    only_port.setprop("direct/dest_port", &port(1)).unwrap();
    assert_eq!(only_port.start(), Err(Errno::EAGAIN), "an address is always required");
}

#[test]
fn while_it_works_its_destination_stays() {
    let d = direct(OVERLAY_PLUGIN_D_IP).unwrap();
    d.setprop("direct/dest_ip", &v6("2001:db8::1")).unwrap();
    d.start().unwrap();
    assert_eq!(d.setprop("direct/dest_ip", &v6("2001:db8::2")), Err(Errno::EBUSY));
    assert_eq!(get(&d, "direct/dest_ip"), v6("2001:db8::1"));
    d.stop();
    assert_eq!(d.setprop("direct/dest_ip", &v6("2001:db8::2")), Ok(()));
}

#[test]
fn it_saves_what_the_original_saved() {
    let d = direct(VXLAN).unwrap();
    let mut list = List::new();
    d.save(&mut nvlist(&mut list)).unwrap();
    assert_eq!(list, List::new());
    d.setprop("direct/dest_ip", &v6("::ffff:10.88.88.70")).unwrap();
    d.setprop("direct/dest_port", &port(4789)).unwrap();
    d.save(&mut nvlist(&mut list)).unwrap();
    let pairs: Vec<_> = list.iter().collect();
    let text = Value::String(c"::ffff:10.88.88.70".to_owned());
    assert_eq!(
        pairs,
        [
            (&c"direct/dest_port".to_owned(), &Value::Uint16(4789)),
            (&c"direct/dest_ip".to_owned(), &text),
        ]
    );
}

/// Spec 7.1: the original's restored object did not know its destination bits nor that it had an
/// address.
#[test]
fn a_restored_object_is_what_was_saved() {
    let d = direct(VXLAN).unwrap();
    d.setprop("direct/dest_ip", &v6("2001:db8::7")).unwrap();
    d.setprop("direct/dest_port", &port(1)).unwrap();
    let mut list = List::new();
    d.save(&mut nvlist(&mut list)).unwrap();
    let again = restore(&mut list, VXLAN).unwrap();
    assert_eq!(again.nprops(), 2, "destination bits");
    assert_eq!(get(&again, "direct/dest_ip"), v6("2001:db8::7"));
    assert_eq!(get(&again, "direct/dest_port"), port(1));
    assert_eq!(again.start(), Ok(()));

    let empty = restore(&mut List::new(), VXLAN).unwrap();
    assert!(get(&empty, "direct/dest_ip").is_empty());
    assert_eq!(empty.start(), Err(Errno::EAGAIN));
    assert_eq!(restore(&mut list, 0).unwrap_err(), Errno::ENOTSUP);
    for bad in [c"10.88.88.70", c"", c"::ffff:10.88.88.70x", c"2002::1", c"::1.2.3.4"] {
        list.add(c"direct/dest_ip".to_owned(), Value::String(bad.to_owned()));
        assert_eq!(restore(&mut list, VXLAN).unwrap_err(), Errno::EINVAL, "{bad:?}");
    }
    list.add(c"direct/dest_ip".to_owned(), Value::String(c"::1".to_owned()));
    list.add(c"direct/dest_port".to_owned(), Value::Uint16(0));
    assert_eq!(restore(&mut list, VXLAN).unwrap_err(), Errno::EINVAL);
}
