// SPDX-License-Identifier: CDDL-1.0
//! A dynamic link, with the test in varpd's place.
use crate::common::*;
use overlay_abi::errno::Errno;
use overlay_abi::target::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

fn mac(n: u16) -> [u8; 6] {
    let [a, b] = n.to_be_bytes();
    [2, 8, 0x20, 0xcc, a, b]
}

#[test]
fn a_lookup_tells_all_about_its_packet() {
    let s = Scene::dynamic();
    let out = frame(FAR, GUEST, 1, 100);
    s.guest.send(&out);
    let l = s.varpd.lookup().unwrap();
    assert_eq!((l.otl_dlid, l.otl_varpdid, l.otl_vnetid), (LINK.into(), 1, VNET));
    assert_eq!((l.otl_hdrsize, l.otl_pktsize), (14, 86));
    assert_eq!((l.otl_srcaddr, l.otl_dstaddr), (GUEST, FAR));
    assert_eq!((l.otl_dsttype, l.otl_sap, l.otl_vlan), (0, 0x88b5, 0));
    assert_eq!(s.varpd.packet(l.otl_reqid, 2000).unwrap(), out, "PKT gives the packet");
    assert_eq!(s.varpd.packet(l.otl_reqid, 20).unwrap(), out[..20], "or what there is room for");
    assert_eq!(stats(LINK)["lookups_outstanding"], 1);
    s.peer.nothing();
    s.varpd.respond(l.otl_reqid, s.peer.at()).unwrap();
    assert_eq!(s.peer.frame(VNET), out);
    assert_eq!(s.varpd.respond(l.otl_reqid, s.peer.at()), Err(Errno::EINVAL), "it is over");
    assert_eq!(s.varpd.packet(l.otl_reqid, 20), Err(Errno::EINVAL));

    let again = frame(FAR, GUEST, 2, 200);
    s.guest.send(&again);
    assert_eq!(s.peer.frame(VNET), again, "from now on without varpd");
    let k = stats(LINK);
    assert_eq!((k["cache_hits"], k["cache_misses"], k["cache_entries"]), (1, 1, 1));
    assert_eq!((k["lookups_outstanding"], k["queued_packets"], k["queued_bytes"]), (0, 0, 0));
    s.end();
}

#[test]
fn broadcast_multicast_and_vlan_are_told() {
    let s = Scene::dynamic();
    let mut tagged = frame([0xff; 6], GUEST, 1, 60);
    tagged.splice(12..12, [0x81, 0, 0x20 | 0x0a, 0xbc]);
    // As varpd would: a resent frame takes the way of a guest's.
    s.varpd.resend(LINK.into(), 0, &tagged).unwrap();
    let l = s.varpd.lookup().unwrap();
    assert_eq!((l.otl_dsttype, l.otl_vlan, l.otl_sap), (2, 0xabc, 0x88b5));
    assert_eq!((l.otl_hdrsize, l.otl_pktsize), (18, 46));
    s.varpd.refuse(l.otl_reqid).unwrap();
    s.varpd.resend(LINK.into(), 0, &frame([1, 0, 0x5e, 0, 0, 1], GUEST, 1, 60)).unwrap();
    let l = s.varpd.lookup().unwrap();
    assert_eq!(l.otl_dsttype, 1);
    // 802.3: a length is no type.
    s.varpd.refuse(l.otl_reqid).unwrap();
    let mut llc = frame(FAR, GUEST, 1, 60);
    llc[12..14].copy_from_slice(&46u16.to_be_bytes());
    s.varpd.resend(LINK.into(), 0, &llc).unwrap();
    let l = s.varpd.lookup().unwrap();
    assert_eq!(l.otl_sap, 0);
    s.varpd.refuse(l.otl_reqid).unwrap();
    s.end();
}

#[test]
fn a_lookup_waits_a_second() {
    let s = Scene::dynamic();
    let begin = Instant::now();
    assert_eq!(s.varpd.lookup().err(), Some(Errno::ETIME));
    let waited = begin.elapsed().as_millis();
    assert!((900..2000).contains(&waited), "{waited} ms");
    // And ends when there is something.
    std::thread::scope(|t| {
        let waiting = t.spawn(|| s.varpd.lookup().map(|l| l.otl_reqid));
        std::thread::sleep(A_WHILE);
        s.guest.send(&frame(FAR, GUEST, 1, 60));
        assert_eq!(s.varpd.refuse(waiting.join().unwrap().unwrap()), Ok(()));
    });
    s.end();
}

#[test]
fn each_drop_costs_one_packet() {
    let s = Scene::dynamic();
    for n in 0..3 {
        s.guest.send(&frame(FAR, GUEST, n, 60));
    }
    for left in [2, 1, 0] {
        let l = s.varpd.lookup().unwrap();
        assert_eq!(s.varpd.packet(l.otl_reqid, 60).unwrap()[17], 2 - left);
        s.varpd.refuse(l.otl_reqid).unwrap();
        let k = stats(LINK);
        assert_eq!(k["queued_packets"], u64::from(left));
        assert_eq!(k["drop_lookup_drop"], u64::from(3 - left));
    }
    assert_eq!(stats(LINK)["cache_entries"], 0, "nothing is known, nothing is kept");
    s.end();
}

#[test]
fn a_queue_holds_128_kib_and_at_least_one() {
    let s = Scene::dynamic();
    let big = frame(FAR, GUEST, 1, 1414);
    for _ in 0..100 {
        s.guest.send(&big);
    }
    let (fit, k) = (128 * 1024 / 1414, stats(LINK));
    assert_eq!(k["queued_packets"], fit);
    assert_eq!(k["queued_bytes"], fit * 1414);
    assert_eq!(k["drop_tx_queue_full"], 100 - fit);
    let l = s.varpd.lookup().unwrap();
    s.varpd.respond(l.otl_reqid, s.peer.at()).unwrap();
    for _ in 0..fit {
        assert_eq!(s.peer.frame(VNET), big);
    }
    s.peer.nothing();
    s.end();
}

#[test]
fn lookups_come_in_order_and_go_back_when_varpd_dies() {
    let s = Scene::dynamic();
    for n in 0..4 {
        s.guest.send(&frame(mac(n), GUEST, n.into(), 60));
    }
    let Scene { rig, varpd, guest, peer, at } = s;
    let held: Vec<_> = (0..2).map(|_| varpd.lookup().unwrap()).collect();
    assert_eq!(held[0].otl_dstaddr, mac(0));
    assert_eq!(held[1].otl_dstaddr, mac(1));
    drop(varpd);
    assert_eq!(stats(LINK)["lookups_outstanding"], 4);

    let varpd = rig.varpd();
    let err = varpd.respond(held[0].otl_reqid, peer.at());
    assert_eq!(err, Err(Errno::EINVAL), "it is not this varpd's yet");
    let order: Vec<_> = (0..4)
        .map(|_| {
            let l = varpd.lookup().unwrap();
            varpd.respond(l.otl_reqid, peer.at()).unwrap();
            l.otl_dstaddr
        })
        .collect();
    assert_eq!(order, [mac(2), mac(3), mac(0), mac(1)], "those given back come last");
    for _ in 0..4 {
        peer.frame(VNET);
    }
    Scene { rig, varpd, guest, peer, at }.end();
}

#[test]
fn inject_reaches_guests_and_resend_the_network() {
    let s = Scene::dynamic();
    s.guest.send(&frame(FAR, GUEST, 1, 60));
    let l = s.varpd.lookup().unwrap();
    let reply = frame(GUEST, FAR, 9, 60);
    s.varpd.inject(u64::MAX, l.otl_reqid, &reply).unwrap();
    assert_eq!(s.guest.recv(), reply, "by request");
    let gratuitous = frame([0xff; 6], FAR, 10, 60);
    s.varpd.inject(LINK.into(), 0, &gratuitous).unwrap();
    assert_eq!(s.guest.recv(), gratuitous, "by link");

    s.varpd.cache_set(LINK, mac(5), s.peer.at()).unwrap();
    let changed = frame(mac(5), GUEST, 1, 60);
    s.varpd.resend(u64::MAX, l.otl_reqid, &changed).unwrap();
    assert_eq!(s.peer.frame(VNET), changed, "the request goes on");
    s.varpd.refuse(l.otl_reqid).unwrap();

    assert_eq!(s.varpd.inject(u64::MAX, l.otl_reqid, &reply), Err(Errno::ENOENT));
    assert_eq!(s.varpd.inject(999, 0, &reply), Err(Errno::ENOENT));
    assert_eq!(s.varpd.inject(1 << 40 | u64::from(LINK), 0, &reply), Err(Errno::ENOENT));
    assert_eq!(s.varpd.resend(u64::MAX, 0, &reply), Err(Errno::ENOENT));
    for call in [OVERLAY_TARG_INJECT, OVERLAY_TARG_RESEND] {
        let mut a = Varpd::pkt_arg(LINK.into(), 0, &mut [0; 60]);
        a.otp_buf = 8;
        assert_eq!(s.varpd.call(call, &mut a), Err(Errno::EFAULT));
    }
    assert_eq!(s.varpd.inject(LINK.into(), 0, &[0; 1519]), Err(Errno::EINVAL));
    s.varpd.inject(LINK.into(), 0, &frame(GUEST, FAR, 1, 1414)).unwrap();
    assert_eq!(s.guest.recv().len(), 1414);
    s.end();
}

#[test]
fn the_cache_can_be_read_and_written() {
    let s = Scene::dynamic();
    assert_eq!(s.varpd.cache_get(LINK, FAR).err(), Some(Errno::ENOENT));
    s.varpd.cache_set(LINK, FAR, s.peer.at()).unwrap();
    let e = s.varpd.cache_get(LINK, FAR).unwrap();
    assert_eq!((e.otce_mac, e.otce_flags, e.otce_dest.underlay()), (FAR, 0, s.peer.at().into()));
    s.guest.send(&frame(FAR, GUEST, 1, 60));
    assert_eq!(s.peer.frame(VNET), frame(FAR, GUEST, 1, 60));
    s.varpd.cache_remove(LINK, FAR).unwrap();
    assert_eq!(s.varpd.cache_remove(LINK, FAR), Err(Errno::ENOENT));
    assert_eq!(s.varpd.cache_get(LINK, FAR).err(), Some(Errno::ENOENT));

    // A pending entry is no answer, and a flush leaves it alone.
    s.guest.send(&frame(FAR, GUEST, 2, 60));
    assert_eq!(s.varpd.cache_get(LINK, FAR).err(), Some(Errno::ENOENT));
    assert_eq!(s.varpd.cache_remove(LINK, FAR), Err(Errno::ENOENT));
    for n in 0..200 {
        s.varpd.cache_set(LINK, mac(n), s.peer.at()).unwrap();
    }
    s.varpd.cache_flush(LINK).unwrap();
    assert_eq!(stats(LINK)["cache_entries"], 1);
    let l = s.varpd.lookup().unwrap();
    s.varpd.respond(l.otl_reqid, s.peer.at()).unwrap();
    assert_eq!(s.peer.frame(VNET), frame(FAR, GUEST, 2, 60));
    s.end();
}

#[test]
fn a_walk_is_in_order_and_exactly_once_while_others_come_and_go() {
    let s = Scene::dynamic();
    let stays: Vec<_> = (0..600).map(|n| mac(n * 7)).collect();
    for m in &stays {
        s.varpd.cache_set(LINK, *m, s.peer.at()).unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|t| {
        t.spawn(|| {
            for n in (0..).take_while(|_| !stop.load(Relaxed)) {
                let m = mac((n % 600) * 7 + 1 + n % 6);
                let _ = s.varpd.cache_set(LINK, m, s.peer.at());
                let _ = s.varpd.cache_remove(LINK, m);
            }
        });
        for n in [1, 7, 100, 500] {
            let all = s.varpd.cache_walk(LINK, n).unwrap();
            let macs: Vec<_> = all.iter().map(|e| e.otce_mac).collect();
            assert!(macs.is_sorted_by(|a, b| a < b), "ascending, and so none twice");
            let seen: Vec<_> = macs.into_iter().filter(|m| stays.contains(m)).collect();
            assert_eq!(seen, stays);
        }
        stop.store(true, Relaxed);
    });
    let e = s.varpd.cache_step(LINK, 0, 501).err();
    assert_eq!(e, Some(Errno::E2BIG));
    assert_eq!(s.varpd.cache_step(LINK, 0, 0).err(), Some(Errno::EINVAL));
    // The greatest address ends a walk as any other.
    s.varpd.cache_flush(LINK).unwrap();
    s.varpd.cache_set(LINK, [0xff; 6], s.peer.at()).unwrap();
    s.varpd.cache_set(LINK, [0; 6], s.peer.at()).unwrap();
    assert_eq!(s.varpd.cache_walk(LINK, 1).unwrap().len(), 2);
    s.end();
}

#[test]
fn frames_keep_their_order_while_an_answer_comes() {
    let s = Scene::dynamic();
    s.rig.vnic(LINK, 71, [2, 8, 0x20, 0xaa, 0, 2]).unwrap();
    let guest = Arc::new(Guest::open(71));
    for (round, to) in [(0, mac(1)), (1, mac(2))] {
        (0..3).for_each(|n| guest.send(&frame(to, GUEST, n, 60)));
        let l = s.varpd.lookup().unwrap();
        // One more in the very moment before the first that waited goes out.
        let (late, once) = (guest.clone(), AtomicBool::new(true));
        let sink = move |_: &[usize]| {
            if once.swap(false, Relaxed) {
                late.send(&frame(to, GUEST, 3, 60));
            }
        };
        let armed = fakekernel::probes::arm("overlay-tx", Arc::new(sink));
        match round {
            0 => s.varpd.respond(l.otl_reqid, s.peer.at()).unwrap(),
            _ => s.varpd.cache_set(LINK, to, s.peer.at()).unwrap(),
        }
        drop(armed);
        let got: Vec<_> = (0..4).map(|_| s.peer.frame(VNET)[17]).collect();
        assert_eq!(got, [0, 1, 2, 3]);
    }
    drop(guest);
    s.rig.delete_vnic(71).unwrap();
    s.end();
}

#[test]
fn everything_at_once() {
    let s = Scene::dynamic();
    let stop = AtomicBool::new(false);
    std::thread::scope(|t| {
        // A varpd of two threads that answers half and refuses half.
        for _ in 0..2 {
            t.spawn(|| {
                while !stop.load(Relaxed) {
                    if let Ok(l) = s.varpd.lookup() {
                        let _ = s.varpd.packet(l.otl_reqid, 100);
                        let _ = match l.otl_dstaddr[5] % 2 {
                            0 => s.varpd.respond(l.otl_reqid, s.peer.at()),
                            _ => s.varpd.refuse(l.otl_reqid),
                        };
                    }
                }
            });
        }
        // An administrator.
        t.spawn(|| {
            for n in (0u16..).take_while(|_| !stop.load(Relaxed)) {
                let m = mac(n % 50);
                let _ = s.varpd.cache_set(LINK, m, s.peer.at());
                let _ = s.varpd.cache_drop(LINK, mac(n % 31));
                let _ = s.varpd.cache_remove(LINK, mac(n % 17));
                if n % 64 == 0 {
                    let _ = s.varpd.cache_flush(LINK);
                    let _ = s.varpd.cache_walk(LINK, 10);
                    let _ = stats(LINK);
                }
            }
        });
        let begin = Instant::now();
        for n in 0u16.. {
            s.guest.send(&frame(mac(n % 50), GUEST, n.into(), 60));
            if begin.elapsed().as_millis() > 1500 {
                break;
            }
        }
        stop.store(true, Relaxed);
    });
    let k = stats(LINK);
    assert!(k["opackets"] > 0 && k["cache_hits"] > 0 && k["cache_misses"] > 0, "{k:?}");
    s.end();
}
