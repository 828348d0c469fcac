// SPDX-License-Identifier: CDDL-1.0
//! The whole life of a link, with each allocation that may fail failing once: errors and drops,
//! nothing worse.
use crate::common::*;
use fakekernel::fault;
use fakekernel::host::{self, FaultPlan};
use overlay_abi::target::*;

/// Whether something was made to fail.
fn life(plan: FaultPlan) -> bool {
    let rig = Rig::boot_with(host::Config { fail: plan, ..Default::default() });
    let (at, peer, varpd) = (addr(1), Peer::bind(addr(2)), rig.varpd());
    peer.0.set_read_timeout(Some(A_WHILE)).unwrap();
    rig.listen(LINK, VNET, at);
    varpd.dynamic(LINK).unwrap();
    rig.activate(LINK).unwrap();
    rig.vnic(LINK, VNIC, GUEST).unwrap();
    let guest = Guest::open(VNIC);
    let mac = |n: u8| [2, 8, 0x20, 0xee, 0, n];
    for n in 0..3 {
        guest.send(&frame(mac(n), GUEST, 1, 60));
        guest.send(&frame(mac(n), GUEST, 2, 60));
    }
    // Answered, refused, and never answered. A packet that could not be queued is not asked for.
    let queued = stats(LINK)["lookups_outstanding"];
    for n in 0..queued.min(2) {
        let l = varpd.lookup().unwrap();
        let _ = varpd.packet(l.otl_reqid, 100);
        let _ = varpd.inject(u64::MAX, l.otl_reqid, &frame(GUEST, FAR, 1, 60));
        let _ = match n {
            0 => varpd.respond(l.otl_reqid, peer.at()),
            _ => varpd.refuse(l.otl_reqid),
        };
    }
    for n in 10..80 {
        let _ = varpd.cache_set(LINK, mac(n), peer.at());
    }
    let _ = varpd.resend(LINK.into(), 0, &frame(mac(10), GUEST, 1, 60));
    guest.send(&frame(mac(11), GUEST, 1, 60));
    // Shared with a sibling: the header needs a block of its own.
    let _ = varpd.cache_set(LINK, [0xff; 6], peer.at());
    rig.vnic(LINK, 71, FAR).unwrap();
    let sibling = Guest::open(71);
    guest.send(&frame([0xff; 6], GUEST, 1, 60));
    let before = stats(LINK)["ipackets"];
    peer.send(at, VNET, &frame(GUEST, FAR, 1, 60));
    eventually("received or dropped", || {
        let k = stats(LINK);
        k["ipackets"] > before || k["drop_rx_no_memory"] > 0 || fault::failures() > 0
    });
    let _ = varpd.cache_walk(LINK, 7);
    let _ = varpd.cache_flush(LINK);
    varpd.disassociate(LINK).unwrap();
    let k = stats(LINK);
    assert_eq!((k["queued_packets"], k["queued_bytes"], k["lookups_outstanding"]), (0, 0, 0));
    varpd.associate(LINK, 1, OVERLAY_TARGET_DYNAMIC, None).unwrap();
    guest.send(&frame(mac(1), GUEST, 1, 60));
    drop((guest, sibling));
    rig.delete_vnic(71).unwrap();
    rig.delete_vnic(VNIC).unwrap();
    rig.delete(LINK).unwrap();
    drop(varpd);
    let failed = fault::failures() > 0;
    rig.end();
    failed
}

#[test]
fn each_message_block_may_be_missing() {
    let mut n = 1;
    while life(FaultPlan { nth_allocb: Some(n), ..Default::default() }) {
        n += 1;
    }
    assert!(n > 3, "allocb failed {n} times");
}

#[test]
fn each_piece_of_memory_may_be_missing() {
    let mut n = 1;
    // The nodes of the cache are like one another: not every one of them.
    while life(FaultPlan { nth_nosleep: Some(n), ..Default::default() }) {
        n += if n < 12 { 1 } else { 9 };
    }
    assert!(n > 12, "{n}");
}

#[test]
fn any_of_them_at_random() {
    for seed in 0..12 {
        life(FaultPlan { random: Some((seed, 150)), ..Default::default() });
    }
}
