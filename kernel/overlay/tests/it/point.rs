// SPDX-License-Identifier: CDDL-1.0
//! A link to one place: frames out and in.

use crate::common::*;
use std::net::{Ipv6Addr, UdpSocket};

#[test]
fn frames_go_out_and_come_in() {
    let s = Scene::point();
    for (n, len) in [(1, 14), (2, 60), (3, 64), (4, 1400), (5, 1414)] {
        let out = frame(FAR, GUEST, n, len);
        s.guest.send(&out);
        assert_eq!(s.peer.frame(VNET), out, "{len} bytes out");
        let back = frame(GUEST, FAR, n, len);
        s.peer.send(s.at, VNET, &back);
        assert_eq!(s.guest.recv(), back, "{len} bytes in");
    }
    let k = stats(LINK);
    assert_eq!((k["opackets"], k["ipackets"]), (5, 5));
    assert_eq!((k["obytes"], k["ibytes"]), (2952, 2952));
    s.end();
}

#[test]
fn the_underlay_may_be_ipv6() {
    let rig = Rig::boot();
    let varpd = rig.varpd();
    let peer = UdpSocket::bind("[::1]:0").unwrap();
    peer.set_read_timeout(Some(SOON)).unwrap();
    // A port nobody has: one that was given out a moment ago.
    let port = UdpSocket::bind("[::1]:0").unwrap().local_addr().unwrap().port();
    rig.create(LINK, VNET).unwrap();
    rig.set(LINK, "vxlan/listen_ip", &Ipv6Addr::LOCALHOST.octets()).unwrap();
    rig.set(LINK, "vxlan/listen_port", &u64::from(port).to_ne_bytes()).unwrap();
    varpd.point(LINK, peer.local_addr().unwrap()).unwrap();
    rig.activate(LINK).unwrap();
    rig.vnic(LINK, VNIC, GUEST).unwrap();
    let guest = Guest::open(VNIC);
    let (out, back) = (frame(FAR, GUEST, 1, 100), frame(GUEST, FAR, 2, 100));
    guest.send(&out);
    let mut buf = [0; 200];
    let n = peer.recv(&mut buf).unwrap();
    assert_eq!(buf[..n], [&header(VNET)[..], &out].concat());
    peer.send_to(&[&header(VNET)[..], &back].concat(), (Ipv6Addr::LOCALHOST, port)).unwrap();
    assert_eq!(guest.recv(), back);
    drop(guest);
    rig.delete_vnic(VNIC).unwrap();
    rig.delete(LINK).unwrap();
    drop(varpd);
    rig.end();
}

/// illumos' udp_send loses such a message with its memory: seen on a kernel of July 2021.
#[test]
fn a_socket_is_not_asked_to_reach_the_other_family() {
    let rig = Rig::boot();
    let varpd = rig.varpd();
    let port = UdpSocket::bind("[::1]:0").unwrap().local_addr().unwrap().port();
    rig.create(LINK, VNET).unwrap();
    rig.set(LINK, "vxlan/listen_ip", &Ipv6Addr::LOCALHOST.octets()).unwrap();
    rig.set(LINK, "vxlan/listen_port", &u64::from(port).to_ne_bytes()).unwrap();
    varpd.point(LINK, "127.0.0.1:4789".parse().unwrap()).unwrap();
    rig.activate(LINK).unwrap();
    rig.vnic(LINK, VNIC, GUEST).unwrap();
    let guest = Guest::open(VNIC);
    guest.send(&frame(FAR, GUEST, 1, 100));
    assert_eq!((stats(LINK)["drop_tx_send"], stats(LINK)["opackets"]), (1, 0));
    for socket in fakekernel::kstat::read(Some("udp"), None, None) {
        for (name, value) in socket.data.iter().filter(|(n, _)| n.starts_with("out")) {
            assert_eq!(value.to_string(), "0", "{name}: the socket was asked");
        }
    }
    drop(guest);
    rig.delete_vnic(VNIC).unwrap();
    rig.delete(LINK).unwrap();
    drop(varpd);
    rig.end();
}

#[test]
fn a_burst_arrives_whole_and_in_order() {
    let s = Scene::point();
    // What a socket has room for that root did not enlarge, should its reader get no time.
    let n = 60;
    std::thread::scope(|t| {
        t.spawn(|| {
            for i in 0..n {
                s.guest.send(&frame(FAR, GUEST, i, 500));
                s.peer.send(s.at, VNET, &frame(GUEST, FAR, i, 500));
            }
        });
        for i in 0..n {
            assert_eq!(s.peer.frame(VNET), frame(FAR, GUEST, i, 500));
            assert_eq!(s.guest.recv(), frame(GUEST, FAR, i, 500));
        }
    });
    s.end();
}
