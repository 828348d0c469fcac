// SPDX-License-Identifier: CDDL-1.0
//! Datagrams and frames that mean harm.
use crate::common::*;
use overlay::DropReason;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::collections::BTreeMap;

fn drops(link: u32) -> BTreeMap<String, u64> {
    stats(link).into_iter().filter(|(k, v)| k.starts_with("drop_") && *v != 0).collect()
}

fn one(name: &str, n: u64) -> BTreeMap<String, u64> {
    [(name.to_string(), n)].into()
}

#[test]
fn bad_datagrams_are_dropped_with_a_reason() {
    let s = Scene::point();
    let good = frame(GUEST, FAR, 1, 60);
    let mut before = (0, 0);
    let mut try_it = |datagram: &[u8], link: &str, mux: &str| {
        s.peer.send_raw(s.at, datagram);
        let (l, m) = (u64::from(!link.is_empty()), u64::from(!mux.is_empty()));
        before = (before.0 + l, before.1 + m);
        let sum = |id| drops(id).values().sum::<u64>();
        eventually("the drop is counted", || (sum(LINK), sum(0)) == before);
        if l != 0 {
            assert!(drops(LINK).contains_key(link), "{:?}", drops(LINK));
        }
        if m != 0 {
            assert!(drops(0).contains_key(mux), "{:?}", drops(0));
        }
    };
    for len in 1..8 {
        try_it(&header(VNET)[..len], "", "drop_rx_decap");
    }
    try_it(&[&[0; 4], &header(VNET)[4..], &good].concat(), "", "drop_rx_decap");
    try_it(&[&[0xf7; 4], &header(VNET)[4..], &good].concat(), "", "drop_rx_decap");
    try_it(&[&header(VNET + 1)[..], &good].concat(), "", "drop_rx_unknown_vnet");
    try_it(&[&header(0)[..], &good].concat(), "", "drop_rx_unknown_vnet");
    try_it(&header(VNET), "drop_rx_runt", "");
    try_it(&[&header(VNET)[..], &good[..13]].concat(), "drop_rx_runt", "");
    try_it(&[&header(VNET)[..], &vec![0; 20_000]].concat(), "drop_rx_oversize", "");
    try_it(&[&header(VNET)[..], &vec![0; 60_000]].concat(), "drop_rx_oversize", "");
    assert_eq!(stats(LINK)["ipackets"], 0);
    // Reserved bits mean nothing (RFC 7348 section 5).
    let mut odd = header(VNET);
    (odd[0], odd[1], odd[2], odd[3], odd[7]) = (0xff, 0xff, 0xff, 0xff, 0xff);
    s.peer.send_raw(s.at, &[&odd[..], &good].concat());
    assert_eq!(s.guest.recv(), good);
    s.guest.nothing();
    s.end();
}

#[test]
fn an_empty_datagram_is_harmless() {
    let s = Scene::point();
    s.peer.send_raw(s.at, &[]);
    s.peer.send(s.at, VNET, &frame(GUEST, FAR, 1, 60));
    s.guest.recv();
    let drops = drops(0);
    assert!(
        drops.is_empty() || drops == one("drop_rx_no_data", 1) || drops == one("drop_rx_decap", 1),
        "{drops:?}"
    );
    s.end();
}

#[test]
fn random_datagrams_are_harmless() {
    let s = Scene::point();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let bytes = proptest::collection::vec(any::<u8>(), 0..200);
    let datagram = (bytes, any::<bool>(), any::<bool>()).prop_map(|(mut d, flag, ours)| {
        // Most random ones would fail at the first byte.
        if flag && !d.is_empty() {
            d[0] |= 8;
        }
        if ours && d.len() > 8 {
            d[..8].copy_from_slice(&header(VNET));
        }
        d
    });
    for _ in 0..500 {
        let datagram = datagram.new_tree(&mut runner).unwrap().current();
        s.peer.send_raw(s.at, &datagram);
    }
    let last = frame(GUEST, FAR, 0xfeed, 100);
    s.peer.send(s.at, VNET, &last);
    while s.guest.recv() != last {}
    s.end();
}

#[test]
fn bad_frames_of_guests_are_dropped() {
    let s = Scene::dynamic();
    s.varpd.cache_set(LINK, FAR, s.peer.at()).unwrap();
    // MAC lets none of these through; the driver does not count on it. RESEND reaches it without
    // MAC.
    s.rig.set(LINK, "mtu", &576u64.to_ne_bytes()).unwrap_err();
    s.varpd.resend(LINK.into(), 0, &frame(FAR, GUEST, 1, 1418)).unwrap();
    assert_eq!(s.peer.frame(VNET).len(), 1418);
    s.end();
    // A smaller MTU, then.
    let rig = Rig::boot();
    let (varpd, peer) = (rig.varpd(), Peer::bind(addr(2)));
    rig.listen(LINK, VNET, addr(1));
    rig.set(LINK, "mtu", &576u64.to_ne_bytes()).unwrap();
    varpd.point(LINK, peer.at()).unwrap();
    rig.activate(LINK).unwrap();
    rig.vnic(LINK, VNIC, GUEST).unwrap();
    varpd.resend(LINK.into(), 0, &frame(FAR, GUEST, 1, 595)).unwrap();
    assert_eq!(drops(LINK), one("drop_tx_oversize", 1));
    varpd.resend(LINK.into(), 0, &frame(FAR, GUEST, 1, 594)).unwrap();
    assert_eq!(peer.frame(VNET).len(), 594);
    rig.delete_vnic(VNIC).unwrap();
    rig.delete(LINK).unwrap();
    drop(varpd);
    rig.end();
}

#[test]
fn links_share_a_socket_and_not_their_frames() {
    let s = Scene::point();
    s.rig.listen(8, 8, s.at);
    s.varpd.point(8, s.peer.at()).unwrap();
    s.rig.activate(8).unwrap();
    s.rig.vnic(8, 80, FAR).unwrap();
    let other = Guest::open(80);
    for n in 0..20 {
        let (link, guest, mac) =
            if n % 2 == 0 { (VNET, &s.guest, GUEST) } else { (8, &other, FAR) };
        let f = frame(mac, [2; 6], n, 60);
        s.peer.send(s.at, link, &f);
        assert_eq!(guest.recv(), f);
    }
    s.guest.nothing();
    other.nothing();
    drop(other);
    s.rig.delete_vnic(80).unwrap();
    s.peer.send(s.at, 8, &frame(FAR, GUEST, 1, 60));
    eventually("a stopped link gets nothing", || drops(0) == one("drop_rx_unknown_vnet", 1));
    let f = frame(GUEST, [2; 6], 1, 60);
    s.peer.send(s.at, VNET, &f);
    assert_eq!(s.guest.recv(), f, "the socket is still there for the other");
    s.rig.delete(8).unwrap();
    s.end();
}

#[test]
fn every_reason_has_its_kstat_and_its_probe_and_is_in_the_manual() {
    let rig = Rig::boot();
    rig.create(LINK, VNET).unwrap();
    let (link, mux) = (stats(LINK), stats(0));
    let probes = fakekernel::probes::names();
    for reason in DropReason::ALL {
        let kstat = reason.kstat().to_str().unwrap();
        assert!(link.contains_key(kstat) && mux.contains_key(kstat), "{kstat}");
        let probe = format!("overlay-{}", kstat.replacen("drop_", "drop-", 1).replace('_', "-"));
        assert!(probes.contains(&probe), "{probe}");
    }
    assert_eq!(DropReason::ALL.len(), mux.len());
    let manual = include_str!("../../../../man/overlay.7");
    for name in link.keys() {
        assert!(manual.contains(name), "{name}");
    }
    for name in ["tx", "rx", "lookup-start", "lookup-done", "route-flush"] {
        let name = format!("overlay-{name}");
        assert!(probes.contains(&name) && manual.contains(&name), "{name}");
    }
    rig.delete(LINK).unwrap();
    rig.end();
}

#[test]
fn probes_tell_what_is_dropped() {
    let s = Scene::dynamic();
    s.varpd.cache_drop(LINK, FAR).unwrap();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = seen.clone();
    let armed = fakekernel::probes::arm(
        "overlay-drop-tx-target-drop",
        std::sync::Arc::new(move |args: &[usize]| sink.lock().unwrap().push(args[..2].to_vec())),
    );
    s.guest.send(&frame(FAR, GUEST, 1, 77));
    assert_eq!(*seen.lock().unwrap(), [[LINK as usize, 77]]);
    drop(armed);
    s.end();
}
