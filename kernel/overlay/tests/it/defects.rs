// SPDX-License-Identifier: CDDL-1.0
//! One test for each defect of the C driver (spec/varpd.md 9.9), named after its number. Each says
//! by what it fails where the defect is.
use crate::common::*;
use crate::tcap;
use fakekernel::fm;
use fakekernel::host;
use fakekernel::net::client::{Client, Frame, Frames};
use fakekernel::net::links;
use overlay_abi::dld::*;
use overlay_abi::errno::Errno;
use overlay_abi::target::*;
use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::{Duration, Instant};

fn mac(n: u16) -> [u8; 6] {
    let [a, b] = n.to_be_bytes();
    [2, 8, 0x20, 0xdd, a, b]
}

fn degraded() -> Vec<i32> {
    fm::impact().into_iter().map(|i| i.impact).collect()
}

const DEGRADED: i32 = -16;
const RESTORED: i32 = 16;

/// Runs `f` on a thread of its own and fails if it takes longer than an operator would wait.
fn in_time<R: Send>(what: &str, f: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|t| {
        let thread = t.spawn(f);
        let begin = Instant::now();
        while !thread.is_finished() {
            // Not a panic: the scope would wait for the thread that hangs.
            if begin.elapsed() > SOON {
                eprintln!("{what} hangs");
                std::process::exit(1);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        thread.join().unwrap()
    })
}

/// Defective: delete waits for the answer of a varpd that will never give it, with the device's
/// lock held.
#[test]
fn defect_01_delete_does_not_wait_for_a_dead_varpd() {
    let s = Scene::dynamic();
    for n in 0..4 {
        s.guest.send(&frame(mac(n), GUEST, 1, 60));
    }
    let l = s.varpd.lookup().unwrap();
    let Scene { rig, varpd, guest, .. } = s;
    drop(guest);
    rig.delete_vnic(VNIC).unwrap();
    in_time("delete", || rig.delete(LINK)).unwrap();
    assert_eq!(varpd.refuse(l.otl_reqid), Err(Errno::EINVAL), "nobody waits for it any more");
    assert_eq!(varpd.info(LINK).err(), Some(Errno::ENOENT));
    assert_eq!(varpd.lookup().err(), Some(Errno::ETIME), "its queued lookups went too");
    // Failing deletes leave the link usable: the C driver takes its lock twice there.
    rig.listen(LINK, VNET, addr(1));
    varpd.dynamic(LINK).unwrap();
    rig.activate(LINK).unwrap();
    rig.vnic(LINK, VNIC, GUEST).unwrap();
    assert_eq!(in_time("delete", || rig.delete(LINK)), Err(Errno::EBUSY));
    assert!(varpd.info(LINK).is_ok());
    rig.delete_vnic(VNIC).unwrap();
    rig.delete(LINK).unwrap();
    drop(varpd);
    rig.end();
}

/// Defective: a hold taken between the check and the removal uses freed memory, which the kernel's
/// checks see.
#[test]
fn defect_02_no_new_hold_while_deleting() {
    let rig = Rig::boot();
    let varpd = rig.varpd();
    let stop = AtomicBool::new(false);
    std::thread::scope(|t| {
        for _ in 0..2 {
            t.spawn(|| {
                while !stop.load(Relaxed) {
                    let _ = varpd.info(LINK);
                    let _ = varpd.cache_get(LINK, FAR);
                    let _ = varpd.cache_set(LINK, FAR, SocketAddr::from(addr(2)));
                    let _ = rig.get(LINK, "mtu");
                }
            });
        }
        for _ in 0..40 {
            rig.create(LINK, VNET).unwrap();
            let _ = varpd.dynamic(LINK);
            // Ioctls under way are waited for: no spurious EBUSY either.
            in_time("delete", || rig.delete(LINK)).unwrap();
        }
        stop.store(true, Relaxed);
    });
    drop(varpd);
    rig.end();
}

/// Defective: each inject or resend by link id leaks a hold, so that delete says EBUSY for ever.
#[test]
fn defect_03_inject_and_resend_give_their_hold_back() {
    let s = Scene::dynamic();
    for n in 0..10 {
        s.varpd.inject(LINK.into(), 0, &frame([0xff; 6], FAR, n, 60)).unwrap();
        s.varpd.resend(LINK.into(), 0, &frame(FAR, GUEST, n, 60)).unwrap();
        assert_eq!(s.varpd.inject(LINK.into(), 0, &[0; 13]), Err(Errno::EINVAL));
    }
    // `end` deletes the link.
    s.end();
}

/// Defective: the id behind the last one reads past the plugin's list of names.
#[test]
fn defect_04_property_ids_are_checked() {
    let rig = Rig::boot();
    rig.create(LINK, VNET).unwrap();
    let mut n = overlay_ioc_nprops_t { oipn_linkid: LINK, oipn_nprops: 0 };
    rig.dld(OVERLAY_IOC_NPROPS, &mut n).unwrap();
    assert_eq!(n.oipn_nprops, 11);
    for id in ["11", "12", "2147483647", "-2", "-2147483648"] {
        assert_eq!(rig.get(LINK, id), Err(Errno::EINVAL), "get {id}");
        assert_eq!(rig.set(LINK, id, &[0; 8]), Err(Errno::EINVAL), "set {id}");
        assert_eq!(rig.propinfo(LINK, id).err(), Some(Errno::EINVAL), "info {id}");
    }
    assert!(rig.get(LINK, "10").is_ok());
    rig.delete(LINK).unwrap();
    rig.end();
}

/// Defective: setting a property of an active link leaks a hold, so that delete says EBUSY.
#[test]
fn defect_05_a_refused_setprop_gives_its_hold_back() {
    let rig = Rig::boot();
    let varpd = rig.varpd();
    rig.listen(LINK, VNET, addr(1));
    varpd.dynamic(LINK).unwrap();
    rig.activate(LINK).unwrap();
    for name in ["mtu", "vnetid", "vxlan/listen_port", "nothing"] {
        assert_eq!(rig.set(LINK, name, &1000u64.to_ne_bytes()), Err(Errno::ENOTSUP));
    }
    rig.delete(LINK).unwrap();
    drop(varpd);
    rig.end();
}

/// Defective: a plugin's property is never found by its name.
#[test]
fn defect_06_plugin_properties_have_names() {
    let rig = Rig::boot();
    rig.create(LINK, VNET).unwrap();
    rig.set(LINK, "vxlan/listen_port", &8472u64.to_ne_bytes()).unwrap();
    assert_eq!(rig.get(LINK, "vxlan/listen_port").unwrap(), 8472u64.to_ne_bytes());
    assert_eq!(rig.get(LINK, "10").unwrap(), 8472u64.to_ne_bytes());
    assert_eq!(rig.propinfo(LINK, "vxlan/listen_port").unwrap().oipi_id, 10);
    assert_eq!(rig.get(LINK, "vxlan/listen_ip").unwrap(), b"", "not set");
    assert_eq!(rig.get(LINK, "vxlan/listen").err(), Some(Errno::ENOENT));
    rig.delete(LINK).unwrap();
    rig.end();
}

/// Defective: the largest id is refused, and one that another link has is not.
#[test]
fn defect_07_vnet_ids_are_checked() {
    let rig = Rig::boot();
    const MAX: u64 = 0xff_ffff;
    rig.create(LINK, MAX).unwrap();
    assert_eq!(rig.create(8, MAX), Err(Errno::EEXIST));
    assert_eq!(rig.create(8, MAX + 1), Err(Errno::EINVAL));
    rig.create(8, 1).unwrap();
    assert_eq!(rig.set(8, "vnetid", &MAX.to_ne_bytes()), Err(Errno::EEXIST));
    assert_eq!(rig.set(8, "vnetid", &(MAX + 1).to_ne_bytes()), Err(Errno::EINVAL));
    assert_eq!(rig.set(8, "vnetid", &[1, 0, 0, 0]), Err(Errno::EINVAL));
    rig.set(8, "vnetid", &1u64.to_ne_bytes()).unwrap();
    rig.delete(LINK).unwrap();
    rig.set(8, "vnetid", &MAX.to_ne_bytes()).unwrap();
    assert_eq!(rig.get(8, "vnetid").unwrap(), MAX.to_ne_bytes());
    assert_eq!(rig.create(9, MAX), Err(Errno::EEXIST), "the new id counts");
    rig.create(9, 1).unwrap();
    rig.delete(8).unwrap();
    rig.delete(9).unwrap();
    rig.end();
}

/// Defective: a change of the id of a started link takes it for not started from then on: no packet
/// passes any more.
#[test]
fn defect_08_a_started_link_keeps_its_vnet_id_and_works() {
    let s = Scene::point();
    assert_eq!(s.rig.set(LINK, "vnetid", &5u64.to_ne_bytes()), Err(Errno::ENOTSUP));
    let f = frame(FAR, GUEST, 1, 60);
    s.guest.send(&f);
    assert_eq!(s.peer.frame(VNET), f);
    s.peer.send(s.at, VNET, &frame(GUEST, FAR, 2, 60));
    s.guest.recv();
    s.end();
}

/// Defective: the count of degraded links stays, so the service is never restored. (And its lock
/// was never initialised, which the kernel's checks see.)
#[test]
fn defect_09_deleting_a_degraded_link_restores_the_service() {
    let rig = Rig::boot();
    let varpd = rig.varpd();
    rig.create(LINK, 1).unwrap();
    rig.create(8, 2).unwrap();
    let mut text = [0; 256];
    text[..4].copy_from_slice(b"why?");
    varpd.degrade(LINK, &text).unwrap();
    varpd.degrade(LINK, &text).unwrap();
    varpd.degrade(8, &text).unwrap();
    assert_eq!(degraded(), [DEGRADED], "the first one counts");
    assert_eq!(rig.status(LINK), (1, "why?".into()));
    assert_eq!(varpd.info(LINK).unwrap().oti_flags, OVERLAY_TARG_INFO_F_DEGRADED);
    rig.delete(LINK).unwrap();
    assert_eq!(degraded(), [DEGRADED], "one is left");
    rig.delete(8).unwrap();
    assert_eq!(degraded(), [DEGRADED, RESTORED]);
    rig.create(LINK, 1).unwrap();
    assert_eq!(rig.status(LINK), (0, String::new()));
    varpd.degrade(LINK, &text).unwrap();
    varpd.restore(LINK).unwrap();
    varpd.restore(LINK).unwrap();
    assert_eq!(degraded(), [DEGRADED, RESTORED, DEGRADED, RESTORED]);
    rig.delete(LINK).unwrap();
    drop(varpd);
    rig.end();
}

/// Defective: the MAC of a deleted link stays registered: the shutdown finds it, and its memory
/// points to a freed link.
#[test]
fn defect_10_delete_unregisters_the_mac() {
    let rig = Rig::boot();
    for _ in 0..5 {
        rig.create(LINK, VNET).unwrap();
        assert_eq!(links().len(), 1);
        rig.delete(LINK).unwrap();
        assert_eq!(links(), []);
        assert!(Client::open(LINK).is_err());
    }
    rig.end();
}

/// Defective: EEXIST leaks memory, a plugin's own error becomes EINVAL, and fini is called without
/// init.
#[test]
fn defect_11_a_failed_create_leaves_nothing() {
    let rig = Rig::boot();
    tcap::register().unwrap();
    rig.create(LINK, VNET).unwrap();
    assert_eq!(rig.create(LINK, 1), Err(Errno::EEXIST));
    assert_eq!(rig.create(8, VNET), Err(Errno::EEXIST));
    rig.create_encap(8, VNET, &tcap::encap_name()).unwrap();
    assert_eq!(rig.create_encap(8, 9, &tcap::encap_name()), Err(Errno::EEXIST));
    tcap::INIT_ERROR.store(Errno::ENODEV.0, SeqCst);
    assert_eq!(rig.create_encap(9, 9, &tcap::encap_name()), Err(Errno::ENODEV));
    rig.delete(8).unwrap();
    assert_eq!((tcap::INITS.load(SeqCst), tcap::FINIS.load(SeqCst)), (2, 2));
    // Nothing of it holds the plugin.
    tcap::unregister(tcap::NAME).unwrap();
    rig.delete(LINK).unwrap();
    rig.end();
}

/// Defective: encap gets the MAC handle, decap NULL.
#[test]
fn defect_12_a_plugin_gets_its_own_private_data() {
    let rig = Rig::boot();
    tcap::register().unwrap();
    let (at, peer, varpd) = (addr(1), Peer::bind(addr(2)), rig.varpd());
    *tcap::AT.lock().unwrap() = Some(at);
    rig.create_encap(LINK, 77, &tcap::encap_name()).unwrap();
    varpd.point(LINK, peer.at()).unwrap();
    rig.activate(LINK).unwrap();
    rig.vnic(LINK, VNIC, GUEST).unwrap();
    let guest = Guest::open(VNIC);
    let f = frame(FAR, GUEST, 1, 60);
    guest.send(&f);
    assert_eq!(peer.recv(), [&b"TCAP\0\0\0M"[..], &f].concat());
    assert_eq!(*tcap::SEEN.lock().unwrap(), *tcap::GIVEN.lock().unwrap(), "encap");
    tcap::SEEN.lock().unwrap().clear();
    peer.send_raw(at, &[&b"TCAP\0\0\0M"[..], &frame(GUEST, FAR, 2, 60)].concat());
    assert_eq!(guest.recv(), frame(GUEST, FAR, 2, 60));
    assert_eq!(*tcap::SEEN.lock().unwrap(), *tcap::GIVEN.lock().unwrap(), "decap");
    drop(guest);
    rig.delete_vnic(VNIC).unwrap();
    assert_eq!(tcap::unregister(tcap::NAME), Err(Errno::EBUSY));
    rig.delete(LINK).unwrap();
    tcap::unregister(tcap::NAME).unwrap();
    drop(varpd);
    rig.end();
}

fn ip(args: &str) -> bool {
    let run = std::process::Command::new("ip").args(args.split(' ')).status();
    run.is_ok_and(|s| s.success())
}

/// A network where what is sent stays with the socket: its one neighbour does not answer. Needs
/// root.
fn silent_network() -> bool {
    // SAFETY: moves this thread only.
    let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
    moved
        && ip("link add v0 type veth peer name v1")
        && ip("addr add 10.9.9.1/24 dev v0")
        && ip("link set v0 up")
        && ip("link set v1 up")
}

/// Defective: what the socket has no room for is lost, and all behind it.
#[test]
fn defect_13_what_cannot_be_sent_goes_back_to_mac() {
    if !silent_network() {
        test_skip::skip("needs root and ip(8)");
        return;
    }
    let rig = Rig::boot();
    tcap::register().unwrap();
    let varpd = rig.varpd();
    *tcap::AT.lock().unwrap() = Some("10.9.9.1:4789".parse().unwrap());
    tcap::SNDBUF.store(20_000, SeqCst);
    rig.create_encap(LINK, 77, &tcap::encap_name()).unwrap();
    varpd.point(LINK, "10.9.9.2:4789".parse().unwrap()).unwrap();
    rig.activate(LINK).unwrap();
    rig.vnic(LINK, VNIC, GUEST).unwrap();
    let client = Client::open(VNIC).unwrap();
    let n = 1000;
    let all: Frames =
        (0..n).map(|i| Frame::from_slice(&frame(FAR, GUEST, i, 1000)).unwrap()).collect();
    let left = client.tx(all).expect_err("a full socket");
    let k = stats(LINK);
    assert_eq!(k["opackets"] + left.len() as u64, u64::from(n), "each was sent or came back");
    assert!(k["opackets"] > 0 && left.len() > 500 && k["oblocked"] > 0, "{k:?}");
    assert_eq!(k["drop_tx_send"], 0);
    // MAC hears of it when it is worth a try.
    assert!(client.wait_tx(SOON));
    let left = client.tx(left).expect_err("still full");
    // A neighbour appears: the rest leaves, as it was.
    let out = std::process::Command::new("ip").args(["-o", "link", "show", "v1"]).output();
    let text = String::from_utf8(out.unwrap().stdout).unwrap();
    let lladdr = text.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(ip(&format!("neigh replace 10.9.9.2 lladdr {lladdr} dev v0")));
    assert!(client.tx_all(left, SOON));
    let k = stats(LINK);
    assert_eq!((k["opackets"], k["obytes"]), (n.into(), u64::from(n) * 1000));
    drop(client);
    rig.delete_vnic(VNIC).unwrap();
    rig.delete(LINK).unwrap();
    tcap::unregister(tcap::NAME).unwrap();
    drop(varpd);
    rig.end();
}

/// Defective: detach answers with an errno, which the kernel's checks see; a refused one must leave
/// all as it was.
#[test]
fn defect_14_detach_is_refused_while_in_use() {
    let rig = Rig::boot();
    rig.create(LINK, VNET).unwrap();
    assert_eq!(rig.kernel.modunload("drv/overlay"), Err(Errno::EBUSY));
    assert!(rig.get(LINK, "mtu").is_ok(), "its ioctls are there still");
    rig.delete(LINK).unwrap();
    let varpd = rig.varpd();
    assert_eq!(rig.kernel.modunload("drv/overlay"), Err(Errno::EBUSY));
    assert_eq!(varpd.list(4).unwrap().0, 0);
    drop(varpd);
    rig.kernel.modunload("overlay/vxlan").unwrap();
    rig.kernel.modunload("drv/overlay").unwrap();
    rig.kernel.modload("drv/overlay").unwrap();
    rig.create(LINK, VNET).unwrap();
    rig.delete(LINK).unwrap();
    rig.end();
}

/// Defective: teardown frees entries it is about to step from, which the kernel's checks see.
#[test]
fn defect_15_teardown_frees_every_entry_once() {
    let s = Scene::dynamic();
    for n in 0..500 {
        s.varpd.cache_set(LINK, mac(n), s.peer.at()).unwrap();
    }
    for n in 500..700 {
        s.guest.send(&frame(mac(n), GUEST, 1, 60));
        s.guest.send(&frame(mac(n), GUEST, 2, 60));
    }
    for _ in 0..50 {
        s.varpd.lookup().unwrap();
    }
    let k = stats(LINK);
    assert_eq!((k["cache_entries"], k["queued_packets"]), (700, 400));
    s.end();
}

/// Defective: cache ioctls lock target then entry, transmit entry then target; the kernel's checks
/// see the inversion whether or not it comes to a deadlock.
#[test]
fn defect_16_one_lock_order() {
    let s = Scene::dynamic();
    for n in 0..20 {
        s.guest.send(&frame(mac(n), GUEST, 1, 60));
        let _ = s.varpd.cache_set(LINK, mac(n), s.peer.at());
        let _ = s.varpd.cache_drop(LINK, mac(n + 1));
        let _ = s.varpd.cache_walk(LINK, 3);
        let _ = s.varpd.cache_remove(LINK, mac(n));
        s.guest.send(&frame(mac(n), GUEST, 2, 60));
        let l = s.varpd.lookup().unwrap();
        if n % 2 == 0 {
            s.varpd.respond(l.otl_reqid, s.peer.at()).unwrap();
        } else {
            s.varpd.refuse(l.otl_reqid).unwrap();
        }
        s.varpd.cache_flush(LINK).unwrap();
    }
    s.end();
}

/// Defective: a lookup whose entry was set meanwhile is dropped without being counted down: the
/// address is never looked up again, and delete hangs. Likewise for packets without a readable
/// header.
#[test]
fn defect_17_lookups_that_need_no_answer_end() {
    let s = Scene::dynamic();
    let f = frame(FAR, GUEST, 1, 60);
    s.guest.send(&f);
    s.varpd.cache_set(LINK, FAR, s.peer.at()).unwrap();
    assert_eq!(s.peer.frame(VNET), f, "what waited is sent");
    assert_eq!(stats(LINK)["lookups_outstanding"], 0);
    s.varpd.cache_remove(LINK, FAR).unwrap();
    s.guest.send(&f);
    let l = in_time("a second lookup", || s.varpd.lookup()).unwrap();
    assert_eq!(l.otl_dstaddr, FAR);
    // Set while an answer is on its way: the answer is for nobody.
    s.varpd.cache_set(LINK, FAR, s.peer.at()).unwrap();
    assert_eq!(s.varpd.respond(l.otl_reqid, s.peer.at()), Err(Errno::EINVAL));
    s.peer.frame(VNET);

    // A frame that ends within its VLAN tag, and a good one for the same address.
    let other = mac(1);
    s.varpd.resend(LINK.into(), 0, &[&other[..], &GUEST, &[0x81, 0, 0]].concat()).unwrap();
    assert_eq!(s.varpd.lookup().err(), Some(Errno::ETIME));
    let k = stats(LINK);
    assert_eq!((k["drop_lookup_undecodable"], k["lookups_outstanding"]), (1, 0));
    s.guest.send(&frame(other, GUEST, 2, 60));
    assert_eq!(s.varpd.lookup().unwrap().otl_dstaddr, other);
    s.end();
}

/// Defective: a walk of a point link follows pointers in the bytes of its IPv6 address.
#[test]
fn defect_18_a_walk_of_a_point_link_has_one_entry() {
    let rig = Rig::boot();
    let varpd = rig.varpd();
    rig.create(LINK, VNET).unwrap();
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xfff9);
    for to in [SocketAddr::new(v6.into(), 4789), "192.0.2.9:4789".parse().unwrap()] {
        varpd.point(LINK, to).unwrap();
        let all = varpd.cache_walk(LINK, 10).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].otce_mac, all[0].otce_flags), ([0; 6], 0));
        assert_eq!(all[0].otce_dest.underlay(), to.into());
        let one = varpd.cache_get(LINK, FAR).unwrap();
        assert_eq!(one.otce_dest.underlay(), to.into(), "for every address");
        assert_eq!(varpd.cache_set(LINK, FAR, to), Err(Errno::ENOTSUP));
        assert_eq!(varpd.cache_remove(LINK, FAR), Err(Errno::ENOTSUP));
        assert_eq!(varpd.cache_flush(LINK), Err(Errno::ENOTSUP));
        varpd.disassociate(LINK).unwrap();
    }
    rig.delete(LINK).unwrap();
    drop(varpd);
    rig.end();
}

/// Defective: frames are given to MAC or to a socket that is not there, and read before their first
/// byte.
#[test]
fn defect_19_inject_and_resend_check_link_and_size() {
    let rig = Rig::boot();
    let varpd = rig.varpd();
    let f = frame([0xff; 6], FAR, 1, 60);
    rig.listen(LINK, VNET, addr(1));
    assert_eq!(varpd.inject(LINK.into(), 0, &f), Err(Errno::EBUSY), "created");
    assert_eq!(varpd.resend(LINK.into(), 0, &f), Err(Errno::EBUSY), "created");
    varpd.dynamic(LINK).unwrap();
    rig.activate(LINK).unwrap();
    assert_eq!(varpd.inject(LINK.into(), 0, &f), Err(Errno::EBUSY), "active");
    rig.vnic(LINK, VNIC, GUEST).unwrap();
    varpd.inject(LINK.into(), 0, &f).unwrap();
    for size in [0, 1, 13] {
        assert_eq!(varpd.inject(LINK.into(), 0, &f[..size]), Err(Errno::EINVAL));
        assert_eq!(varpd.resend(LINK.into(), 0, &f[..size]), Err(Errno::EINVAL));
    }
    varpd.inject(LINK.into(), 0, &f[..14]).unwrap();
    rig.delete_vnic(VNIC).unwrap();
    assert_eq!(varpd.inject(LINK.into(), 0, &f), Err(Errno::EBUSY), "stopped");
    assert_eq!(varpd.resend(LINK.into(), 0, &f), Err(Errno::EBUSY), "stopped");
    rig.delete(LINK).unwrap();
    drop(varpd);
    rig.end();
}

/// Defective: a message without NUL makes STATUS show what lies behind it.
#[test]
fn defect_20_a_message_without_nul_is_cut() {
    let rig = Rig::boot();
    let varpd = rig.varpd();
    rig.create(LINK, VNET).unwrap();
    varpd.degrade(LINK, &[b'x'; 256]).unwrap();
    assert_eq!(rig.status(LINK), (1, "x".repeat(255)));
    let mut text = [b'y'; 256];
    text[3] = 0;
    varpd.degrade(LINK, &text).unwrap();
    let mut a: overlay_ioc_status_t = zerocopy::FromZeros::new_zeroed();
    a.ois_linkid = LINK;
    rig.dld(OVERLAY_IOC_STATUS, &mut a).unwrap();
    assert_eq!(a.ois_message[..4], *b"yyy\0");
    assert!(a.ois_message[4..].iter().all(|b| *b == 0), "nothing behind the NUL");
    rig.delete(LINK).unwrap();
    drop(varpd);
    rig.end();
}

/// Defective: the old target stays and the next one overwrites it: its entries leak, which the
/// kernel's checks see, its packets are stuck, and answers for it land in the new one.
#[test]
fn defect_21_disassociate_ends_the_target() {
    let s = Scene::dynamic();
    s.varpd.cache_set(LINK, mac(1), s.peer.at()).unwrap();
    s.guest.send(&frame(FAR, GUEST, 1, 60));
    let l = s.varpd.lookup().unwrap();
    s.guest.send(&frame(mac(2), GUEST, 1, 60));
    s.varpd.disassociate(LINK).unwrap();
    assert_eq!(stats(LINK)["drop_target_gone"], 2);
    assert_eq!(s.varpd.cache_get(LINK, mac(1)).err(), Some(Errno::ENXIO));
    assert_eq!(s.rig.get(LINK, "varpd/id").unwrap(), b"");
    assert_eq!(degraded(), [DEGRADED], "a link that was in use is degraded");
    assert_eq!(s.rig.status(LINK).0, 1);
    s.guest.send(&frame(mac(1), GUEST, 1, 60));
    assert_eq!(stats(LINK)["drop_tx_no_target"], 1);

    s.varpd.associate(LINK, 2, OVERLAY_TARGET_DYNAMIC, None).unwrap();
    assert_eq!(degraded(), [DEGRADED, RESTORED], "until it has a target again");
    assert_eq!(s.rig.get(LINK, "varpd/id").unwrap(), 2u64.to_ne_bytes());
    assert_eq!(s.varpd.respond(l.otl_reqid, s.peer.at()), Err(Errno::EINVAL));
    assert_eq!(s.varpd.cache_get(LINK, FAR).err(), Some(Errno::ENOENT));
    assert_eq!(s.varpd.cache_get(LINK, mac(1)).err(), Some(Errno::ENOENT));
    s.guest.send(&frame(FAR, GUEST, 2, 60));
    let l = s.varpd.lookup().unwrap();
    assert_eq!((l.otl_dstaddr, l.otl_varpdid), (FAR, 2), "the first lookup is of the new target");
    s.peer.nothing();

    // Under traffic: transmit reads the target while it goes, which the kernel's checks see.
    let stop = AtomicBool::new(false);
    std::thread::scope(|t| {
        t.spawn(|| {
            for n in (0u16..).take_while(|_| !stop.load(Relaxed)) {
                s.guest.send(&frame(mac(n % 40), GUEST, 1, 60));
            }
        });
        for n in 0..30 {
            s.varpd.disassociate(LINK).unwrap();
            match n % 2 {
                0 => s.varpd.dynamic(LINK).unwrap(),
                _ => s.varpd.point(LINK, s.peer.at()).unwrap(),
            }
        }
        stop.store(true, Relaxed);
    });
    // Lookups that nobody asked for end too, instead of piling up while varpd is away.
    let _ = s.varpd.disassociate(LINK);
    let mut before = None;
    for round in 0..30 {
        s.varpd.dynamic(LINK).unwrap();
        (0..40).for_each(|n| s.guest.send(&frame(mac(n), GUEST, 1, 60)));
        s.varpd.disassociate(LINK).unwrap();
        let now = fakekernel::kmem::in_use();
        assert!(round < 2 || *before.get_or_insert(now) == now, "memory grows");
    }
    s.varpd.dynamic(LINK).unwrap();
    // A degradation by somebody else is not ended by an association.
    s.varpd.degrade(LINK, &[b'x'; 256]).unwrap();
    s.varpd.disassociate(LINK).unwrap();
    s.varpd.dynamic(LINK).unwrap();
    assert_eq!(s.rig.status(LINK), (1, "x".repeat(255)));
    s.end();
}

/// Defective: the table made for an association that is refused leaks, which the shutdown finds.
#[test]
fn defect_22_a_refused_association_leaves_the_old_one() {
    let s = Scene::dynamic();
    s.varpd.cache_set(LINK, FAR, s.peer.at()).unwrap();
    for _ in 0..3 {
        assert_eq!(s.varpd.dynamic(LINK), Err(Errno::EEXIST));
        assert_eq!(s.varpd.point(LINK, addr(3).into()), Err(Errno::EEXIST));
    }
    let f = frame(FAR, GUEST, 1, 60);
    s.guest.send(&f);
    assert_eq!(s.peer.frame(VNET), f);
    s.end();
}

/// Defective: drop wins over a later destination, and does not end what waits.
#[test]
fn defect_23_the_last_cache_set_counts() {
    let s = Scene::dynamic();
    let f = frame(FAR, GUEST, 1, 60);
    s.varpd.cache_set(LINK, FAR, s.peer.at()).unwrap();
    s.varpd.cache_drop(LINK, FAR).unwrap();
    s.guest.send(&f);
    assert_eq!(stats(LINK)["drop_tx_target_drop"], 1);
    assert_eq!(s.varpd.cache_get(LINK, FAR).unwrap().otce_flags, OVERLAY_TARGET_CACHE_DROP);
    s.varpd.cache_set(LINK, FAR, s.peer.at()).unwrap();
    s.guest.send(&f);
    assert_eq!(s.peer.frame(VNET), f);
    assert_eq!(s.varpd.cache_get(LINK, FAR).unwrap().otce_flags, 0);
    // A queue is emptied, and its lookup is over.
    s.varpd.cache_remove(LINK, FAR).unwrap();
    s.guest.send(&f);
    s.guest.send(&f);
    s.varpd.cache_drop(LINK, FAR).unwrap();
    let k = stats(LINK);
    assert_eq!(
        (k["drop_tx_target_drop"], k["queued_packets"], k["lookups_outstanding"]),
        (3, 0, 0)
    );
    s.varpd.cache_remove(LINK, FAR).unwrap();
    s.guest.send(&f);
    assert_eq!(s.varpd.lookup().unwrap().otl_dstaddr, FAR);
    // Flags there are none of.
    for flags in [2, 3, 0x8000] {
        assert_eq!(s.varpd.cache_flags(LINK, FAR, flags), Err(Errno::EINVAL));
    }
    s.end();
}

/// Defective: the destination of a drop entry is whatever the stack held.
#[test]
fn defect_24_a_drop_entry_has_no_destination() {
    let s = Scene::dynamic();
    s.varpd.cache_set(LINK, FAR, s.peer.at()).unwrap();
    s.varpd.cache_drop(LINK, FAR).unwrap();
    let all = s.varpd.cache_walk(LINK, 10).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].otce_dest, zerocopy::FromZeros::new_zeroed());
    assert_eq!(s.varpd.cache_get(LINK, FAR).unwrap(), all[0]);
    s.end();
}

/// Defective: the cache grows with every address a guest makes up.
#[test]
fn defect_25_the_cache_is_bounded() {
    let s = Scene::dynamic();
    crate::modules::overlay_target_max().store(100, SeqCst);
    s.varpd.cache_set(LINK, FAR, s.peer.at()).unwrap();
    for n in 0..300 {
        s.varpd.cache_set(LINK, mac(n), s.peer.at()).unwrap();
        s.guest.send(&frame(FAR, GUEST, n.into(), 60));
        s.peer.frame(VNET);
    }
    let k = stats(LINK);
    assert_eq!((k["cache_entries"], k["cache_evictions"]), (100, 201));
    assert!(s.varpd.cache_get(LINK, FAR).is_ok(), "the one in use stays");
    // Pending entries stay, whatever comes.
    for n in 1000..1100 {
        s.guest.send(&frame(mac(n), GUEST, 1, 60));
    }
    let k = stats(LINK);
    assert_eq!((k["cache_entries"], k["queued_packets"], k["drop_tx_cache_full"]), (100, 100, 0));
    s.guest.send(&frame(mac(1100), GUEST, 1, 60));
    assert_eq!(stats(LINK)["drop_tx_cache_full"], 1);
    assert_eq!(s.varpd.cache_set(LINK, FAR, s.peer.at()), Err(Errno::ENOMEM));
    let l = s.varpd.lookup().unwrap();
    s.varpd.respond(l.otl_reqid, s.peer.at()).unwrap();
    s.varpd.cache_set(LINK, FAR, s.peer.at()).unwrap();
    assert_eq!(stats(LINK)["cache_entries"], 100);
    s.end();
}

/// Defective: an answer without destination is taken, 40 bytes are read of an answer of 36, and a
/// reader may take lookups away from varpd.
#[test]
fn defect_26_answers_and_their_askers_are_checked() {
    let s = Scene::dynamic();
    let bad: [SocketAddr; 5] = [
        "[::]:4789".parse().unwrap(),
        "0.0.0.0:4789".parse().unwrap(),
        "[::192.0.2.1]:4789".parse().unwrap(),
        "192.0.2.1:0".parse().unwrap(),
        "[2001:db8::1]:0".parse().unwrap(),
    ];
    for to in bad {
        s.guest.send(&frame(FAR, GUEST, 1, 60));
        let l = s.varpd.lookup().unwrap();
        assert_eq!(s.varpd.respond(l.otl_reqid, to), Err(Errno::EINVAL), "{to}");
        assert_eq!(s.varpd.cache_get(LINK, FAR).err(), Some(Errno::ENOENT));
        assert_eq!(s.varpd.cache_set(LINK, FAR, to), Err(Errno::EINVAL), "{to}");
        // It counts as a refusal: the address is not stuck.
        assert_eq!(stats(LINK)["lookups_outstanding"], 0);
    }
    let reader = s.rig.open_overlay(FREAD).unwrap();
    s.guest.send(&frame(FAR, GUEST, 2, 60));
    assert_eq!(reader.lookup().err(), Some(Errno::EBADF));
    drop(reader);

    // 36 bytes at the very end of a page, with nothing behind.
    let page = Page::new();
    let l = s.varpd.lookup().unwrap();
    let mut a: ilp32::overlay_targ_resp_t = zerocopy::FromZeros::new_zeroed();
    a.otr_reqid = l.otl_reqid.into();
    a.otr_answer = overlay_abi::ids::UnderlayAddr::from(s.peer.at()).into();
    let at = page.put(zerocopy::IntoBytes::as_bytes(&a));
    s.varpd.raw32(OVERLAY_TARG_RESPOND, at, &fakekernel::host::SelfMem).unwrap();
    assert_eq!(s.peer.frame(VNET), frame(FAR, GUEST, 2, 60));
    s.end();
}

/// Defective: the socket of another plugin, or one that cannot be opened, leaves the mux lock held:
/// the next start hangs.
#[test]
fn defect_27_a_failed_start_leaves_no_lock() {
    let s = Scene::point();
    tcap::register().unwrap();
    *tcap::AT.lock().unwrap() = Some(s.at);
    s.rig.create_encap(8, 1, &tcap::encap_name()).unwrap();
    s.varpd.point(8, s.peer.at()).unwrap();
    s.rig.activate(8).unwrap();
    assert_eq!(in_time("start", || s.rig.vnic(8, 80, GUEST)), Err(Errno::EEXIST));
    // An address of nobody here, and one that is taken.
    *tcap::AT.lock().unwrap() = Some("192.0.2.77:4789".parse().unwrap());
    assert_eq!(in_time("start", || s.rig.vnic(8, 80, GUEST)), Err(Errno::EADDRNOTAVAIL));
    let SocketAddr::V4(taken) = s.peer.at() else { panic!("IPv4") };
    *tcap::AT.lock().unwrap() = Some(taken);
    assert_eq!(in_time("start", || s.rig.vnic(8, 80, GUEST)), Err(Errno::EADDRINUSE));
    *tcap::AT.lock().unwrap() = None;
    assert_eq!(in_time("start", || s.rig.vnic(8, 80, GUEST)), Err(Errno::EINVAL));
    *tcap::AT.lock().unwrap() = Some(addr(3));
    in_time("start", || s.rig.vnic(8, 80, GUEST)).unwrap();
    s.rig.delete_vnic(80).unwrap();
    s.rig.delete(8).unwrap();
    tcap::unregister(tcap::NAME).unwrap();
    s.end();
}

/// Defective: a property name that is too long releases a lock that is not held, which the kernel's
/// checks see. (And the mux lock is never destroyed.)
#[test]
fn defect_28_a_bad_registration_is_refused() {
    let rig = Rig::boot();
    static LONG: tcap::Names = tcap::Names(&[
        c"tcap/1234567890123456789012345678901234567890123456789012345678901234".as_ptr(),
        std::ptr::null(),
    ]);
    static FITS: tcap::Names = tcap::Names(&[
        c"tcap/1234567890123456789012345678901234567890123456789012345678".as_ptr(),
        std::ptr::null(),
    ]);
    for _ in 0..2 {
        assert_eq!(tcap::register_as(|r| r.ovep_props = LONG.0.as_ptr()), Err(Errno::EINVAL));
    }
    tcap::register_as(|r| r.ovep_props = FITS.0.as_ptr()).unwrap();
    assert_eq!(tcap::register(), Err(Errno::EEXIST));
    tcap::unregister(tcap::NAME).unwrap();
    tcap::register().unwrap();
    tcap::unregister(tcap::NAME).unwrap();
    rig.end();
}

/// Defective: of two ways to build the outer header one hashes garbage, so that a flow changes its
/// source port. Here the two ways are ours: in place, and in a block of its own because somebody
/// else reads the frame too.
#[test]
fn defect_29_a_flow_keeps_its_source_port() {
    let s = Scene::point();
    let ports = |n: u16, guest: &Guest| {
        let mut src = GUEST;
        src[5] = 1;
        // Broadcast IPv4 and UDP: with a second VNIC the frame is shared between that and the link.
        let mut f = frame([0xff; 6], src, 0, 14);
        f[12..14].copy_from_slice(&0x0800u16.to_be_bytes());
        f.extend([0x45, 0, 0, 48, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        f.extend(n.to_be_bytes());
        f.extend([0, 7, 0, 28, 0, 0]);
        f.resize(62, 0x5a);
        let mut seen = BTreeSet::new();
        for _ in 0..5 {
            guest.send(&f);
            let mut buf = [0; 100];
            let (_, from) = s.peer.0.recv_from(&mut buf).unwrap();
            seen.insert(from.port());
        }
        assert_eq!(seen.len(), 1, "flow {n}: {seen:?}");
        seen.pop_first().unwrap()
    };
    let alone: Vec<_> = (0..32).map(|n| ports(n, &s.guest)).collect();
    s.rig.vnic(LINK, 71, FAR).unwrap();
    let sibling = Guest::open(71);
    let shared: Vec<_> = (0..32).map(|n| ports(n, &s.guest)).collect();
    assert_eq!(alone, shared);
    assert!(alone.iter().collect::<BTreeSet<_>>().len() > 2, "flows are spread: {alone:?}");
    drop(sibling);
    s.rig.delete_vnic(71).unwrap();
    s.end();
}

/// The scenes above with all checks on end with a shutdown; this makes sure that it would have
/// found something.
#[test]
fn the_checks_see_what_is_left() {
    let kernel = host::boot(host::Config::default());
    ddi::mem::KBox::new(5u64).into_raw();
    assert!(kernel.shutdown().is_err());
}
