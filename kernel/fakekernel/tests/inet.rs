// SPDX-License-Identifier: CDDL-1.0
//! Zones, stacks, protocols, hooks and what IP tells through them.
use fakekernel::host::*;
use fakekernel::inet::ip::{self, Direction, Family, Interface, Seen, UNKNOWN_ZONE};
use fakekernel::inet::netstack::{IpType, zone_boot, zone_halt, zones};
use illumos_sys_hdrs::*;
use overlay_abi::errno::Errno;
use std::ffi::{CStr, c_int, c_void};
use std::net::IpAddr;
use std::ptr::null_mut;
use std::sync::Mutex;

static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn note(s: String) {
    LOG.lock().expect("no panic").push(s);
}

fn log() -> Vec<String> {
    std::mem::take(&mut *LOG.lock().expect("no panic"))
}

unsafe extern "C" fn create(id: netstackid_t, _: *mut netstack_t) -> *mut c_void {
    note(format!("create {id}"));
    (id + 100) as *mut c_void
}
unsafe extern "C" fn halt(id: netstackid_t, instance: *mut c_void) {
    note(format!("shutdown {id} {}", instance as usize));
}
unsafe extern "C" fn destroy(id: netstackid_t, instance: *mut c_void) {
    note(format!("destroy {id} {}", instance as usize));
}

#[test]
fn instances_follow_stacks() {
    let k = boot(Config::default());
    zone_boot(3, "early", IpType::Exclusive).expect("boots");
    // SAFETY: functions of the right types; holds are returned.
    unsafe {
        netstack_register(NS_IPNET, Some(create), Some(halt), Some(destroy));
        assert_eq!(log(), ["create 0", "create 3"]);
        zone_boot(4, "shared", IpType::Shared).expect("boots");
        zone_boot(5, "late", IpType::Exclusive).expect("boots");
        assert_eq!(log(), ["create 5"]);
        assert_eq!(zone_boot(5, "x", IpType::Shared), Err(Errno::EEXIST));
        assert_eq!(zone_boot(6, "late", IpType::Shared), Err(Errno::EEXIST));
        assert_eq!(zone_boot(0, "x", IpType::Shared), Err(Errno::EINVAL));
        let names: Vec<_> = zones().into_iter().map(|(id, name, _)| (id, name)).collect();
        let want = [(0, "global"), (3, "early"), (4, "shared"), (5, "late")];
        assert_eq!(names, want.map(|(id, n)| (id, n.to_string())));

        let ns = netstack_find_by_zoneid(5);
        assert_eq!((*ns).nu_modules[NS_IPNET as usize] as usize, 105);
        assert!(!(*ns).nu_modules[NS_IP as usize].is_null());
        assert_eq!((netstack_get_zoneid(ns), (*ns).netstack_stackid), (5, 5));
        netstack_rele(ns);
        let shared = netstack_find_by_zoneid(4);
        assert_eq!((*shared).netstack_stackid, 0);
        netstack_rele(shared);
        assert_eq!((zoneid_to_netstackid(4), zoneid_to_netstackid(5)), (0, 5));
        let cred = Cred { zoneid: 3, ..Cred::KERNEL };
        let of = netstack_find_by_cred(cred.as_ptr());
        assert_eq!((*of).netstack_stackid, 3);
        netstack_rele(of);
        assert!(netstack_find_by_stackid(99).is_null());
        assert!(netstack_find_by_zoneid(99).is_null());

        let mut cursor = 99;
        let mut all = Vec::new();
        netstack_next_init(&mut cursor);
        loop {
            let ns = netstack_next(&mut cursor);
            if ns.is_null() {
                break;
            }
            all.push((*ns).netstack_stackid);
            netstack_rele(ns);
        }
        netstack_next_fini(&mut cursor);
        assert_eq!(all, [0, 3, 5]);

        zone_halt(3).expect("halts");
        assert_eq!(zone_halt(3), Err(Errno::ENOENT));
        assert_eq!(zone_halt(0), Err(Errno::ENOENT));
        assert!(netstack_find_by_stackid(3).is_null());
        assert_eq!(log(), ["shutdown 3 103", "destroy 3 103"]);
        netstack_unregister(NS_IPNET);
        assert_eq!(log(), ["shutdown 0 100", "shutdown 5 105", "destroy 0 100", "destroy 5 105"]);
    }
    k.shutdown().expect("no violations");
}

#[test]
fn a_stack_waits_for_its_holders() {
    let k = boot(Config::default());
    zone_boot(7, "held", IpType::Exclusive).expect("boots");
    // SAFETY: a hold that is returned.
    unsafe {
        let ns = netstack_find_by_stackid(7) as usize;
        std::thread::scope(|s| {
            let halting = s.spawn(|| zone_halt(7));
            // It is not to be found any more, and yet there.
            loop {
                let found = netstack_find_by_stackid(7);
                if found.is_null() {
                    break;
                }
                netstack_rele(found);
                std::thread::yield_now();
            }
            assert!(!halting.is_finished());
            netstack_rele(ns as *mut netstack_t);
            assert_eq!(halting.join().expect("no panic"), Ok(()));
        });
        netstack_rele(ns as *mut netstack_t);
        let global = netstack_find_by_stackid(0);
        netstack_rele(global);
        netstack_rele(global);
    }
    let v = take_violations();
    assert_eq!(v.iter().map(|v| v.kind).collect::<Vec<_>>(), [Kind::UseAfterFree, Kind::BadFree]);
    // SAFETY: functions of the right types.
    unsafe { netstack_register(NS_IPNET, Some(create), None, None) };
    let v = k.shutdown().expect_err("left registered");
    assert!(v[0].text.contains("never unregistered"), "{v:?}");
}

/// A held protocol of a zone.
fn protocol(zone: zoneid_t, name: &CStr) -> net_handle_t {
    // SAFETY: a name.
    unsafe { net_protocol_lookup(net_zoneidtonetid(zone), name.as_ptr()) }
}

#[test]
fn interfaces_through_neti() {
    let k = boot(Config::default());
    let lo = Interface::loopback(0).expect("a zone");
    let net0 = Interface::new(0, "net0", false).expect("a zone");
    assert_eq!(Interface::new(0, "net0", false).err(), Some(Errno::EEXIST));
    assert_eq!(Interface::new(8, "net0", false).err(), Some(Errno::ENOENT));
    assert_eq!(Interface::new(0, &"x".repeat(32), false).err(), Some(Errno::EINVAL));
    let address: IpAddr = [10, 0, 0, 1].into();
    assert_eq!(net0.up(address, 24, 0), Ok(1));
    assert_eq!(net0.up([10, 0, 0, 5].into(), 24, 5), Ok(2));
    assert_eq!(net0.up(address, 24, 0), Err(Errno::EEXIST));
    assert_eq!(net0.up(address, 33, 0), Err(Errno::EINVAL));
    // SAFETY: a protocol that is held, buffers of the right sizes.
    unsafe {
        let h = protocol(0, NHF_INET);
        let h6 = protocol(0, NHF_INET6);
        assert_eq!((net_phygetnext(h, 0), net_phygetnext(h, 1), net_phygetnext(h, 2)), (1, 2, 0));
        assert_eq!((net_phygetnext(h6, 0), net_phygetnext(h6, 1)), (1, 0));
        assert_eq!((net_lifgetnext(h, 2, 0), net_lifgetnext(h, 2, 1)), (1, 2));
        assert_eq!((net_lifgetnext(h, 2, 2), net_lifgetnext(h, 9, 0)), (0, 0));
        let mut name = [9; 32];
        assert_eq!(net_getifname(h, 2, name.as_mut_ptr(), 32), 0);
        assert_eq!(CStr::from_ptr(name.as_ptr()), c"net0");
        assert_ne!(net_getifname(h6, 2, name.as_mut_ptr(), 32), 0);

        let mut out = [0u8; 48];
        let mut kinds = [NA_ADDRESS, NA_BROADCAST, NA_NETMASK];
        let r = net_getlifaddr(h, 2, 2, 3, kinds.as_mut_ptr(), out.as_mut_ptr().cast());
        assert_eq!(r, 0);
        assert_eq!(out[0..8], [2, 0, 0, 0, 10, 0, 0, 5]);
        assert_eq!(out[20..24], [10, 0, 0, 255]);
        assert_eq!(out[36..40], [255, 255, 255, 0]);
        let at = out.as_mut_ptr().cast();
        assert_ne!(net_getlifaddr(h, 2, 2, 1, [NA_PEER].as_mut_ptr(), at), 0);
        assert_ne!(net_getlifaddr(h6, 1, 1, 1, [NA_BROADCAST].as_mut_ptr(), at), 0);
        assert_eq!(net_getlifaddr(h6, 1, 1, 1, kinds.as_mut_ptr(), at), 0);
        assert_eq!((out[0], out[23]), (26, 1));

        let mut flags = 0;
        assert_eq!(net_getlifflags(h, 1, 0, &mut flags), 0);
        assert_eq!(flags & (IFF_UP | IFF_LOOPBACK | IFF_IPV4), IFF_UP | IFF_LOOPBACK | IFF_IPV4);
        let mut zone = 99;
        assert_eq!((net_getlifzone(h, 2, 2, &mut zone), zone), (0, 5));
        assert_ne!(net_getlifzone(h, 2, 3, &mut zone), 0);

        // Memberships are counted.
        let ns = netstack_find_by_zoneid(0);
        let ipst: *mut ip_stack_t = (*ns).nu_modules[NS_IP as usize].cast();
        assert_eq!(ip_join_allmulti(2, 0, ipst), 0);
        assert_eq!(net0.allmulti(Family::V4), 1);
        assert_eq!(ip_join_allmulti(2, 1, ipst), Errno::ENODEV.0);
        net0.refuse_join(Errno::ENOMEM);
        assert_eq!(ip_join_allmulti(2, 0, ipst), Errno::ENOMEM.0);
        assert_eq!(ip_leave_allmulti(2, 0, ipst), 0);
        assert_eq!(ip_leave_allmulti(2, 0, ipst), 0);
        netstack_rele(ns);
        let v = take_violations();
        assert!(matches!(&v[..], [v] if v.text.contains("more often than joined")), "{v:?}");

        assert!(net_protocol_lookup(0, NHF_INET.as_ptr()).is_null(), "a zone id is no net id");
        assert!(net_protocol_lookup(net_zoneidtonetid(0), c"NHF_ARP".as_ptr()).is_null());
        assert_eq!(net_zoneidtonetid(77), -1);
        net_protocol_release(h);
        net_protocol_release(h6);
    }
    drop((lo, net0));
    k.shutdown().expect("no violations");
}

unsafe extern "C" fn on_nic(_: hook_event_token_t, data: hook_data_t, arg: *mut c_void) -> c_int {
    // SAFETY: a hook of NH_NIC_EVENTS.
    unsafe {
        let e = &*(data as *const hook_nic_event_t);
        let name = match e.hne_datalen {
            0 => String::new(),
            _ => CStr::from_ptr(e.hne_data.cast()).to_string_lossy().into_owned(),
        };
        let (event, nic, lif) = (e.hne_event, e.hne_nic, e.hne_lif);
        note(format!("{} {event} nic {nic} lif {lif} {name}", arg as usize));
    }
    0
}

unsafe extern "C" fn on_packet(
    _: hook_event_token_t,
    data: hook_data_t,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: a hook of NH_OBSERVE.
    unsafe {
        let o = &*(data as *const hook_pkt_observe_t);
        let head = o.hpo_pkt;
        assert_eq!((*head).b_rptr as usize, data);
        assert_eq!((*head).b_wptr as usize - data, 24);
        // A copy has the pointers as well, which lie behind what it shows.
        let copy = copymsg(head);
        let there = &*(*copy).b_rptr.cast::<hook_pkt_observe_t>();
        assert!(std::ptr::eq(there.hpo_ctx, o.hpo_ctx));
        let shown = std::slice::from_raw_parts((*copy).b_rptr, 24);
        let packet = (*copy).b_cont;
        let n = (*packet).b_wptr as usize - (*packet).b_rptr as usize;
        let packet = std::slice::from_raw_parts((*packet).b_rptr, n);
        note(format!("{} {shown:02x?} {packet:x?}", arg as usize));
        freemsg(copy);
        arg as c_int - 1
    }
}

/// A hook to be registered.
fn hook(f: hook_func_t, name: &'static CStr, arg: usize) -> *mut hook_t {
    // SAFETY: a new hook.
    unsafe {
        let h = hook_alloc(HOOK_VERSION);
        (*h).h_func = Some(f);
        (*h).h_name = name.as_ptr().cast_mut();
        (*h).h_arg = arg as *mut c_void;
        h
    }
}

#[test]
fn events_are_told_in_order() {
    let k = boot(Config::default());
    let event = NH_NIC_EVENTS.as_ptr().cast_mut();
    let h = hook(on_nic, c"test", 4);
    // SAFETY: a hook and a protocol of ours.
    unsafe {
        let v4 = protocol(0, NHF_INET);
        assert_eq!(net_hook_register(v4, c"NOTHING".as_ptr().cast_mut(), h), Errno::ENXIO.0);
        assert_eq!(net_hook_register(v4, event, h), 0);
        let i = Interface::new(0, "net7", false).expect("a zone");
        i.up([10, 0, 0, 1].into(), 8, 0).expect("new");
        i.up([10, 0, 0, 2].into(), 8, 0).expect("new");
        i.down([10, 0, 0, 1].into()).expect("up");
        assert_eq!(i.down([10, 0, 0, 1].into()), Err(Errno::ENOENT));
        i.set_index(40).expect("free");
        i.plumb(Family::V6);
        drop(i);
        ip::settle();
        let want = [
            "4 1 nic 1 lif 0 net7",
            "4 6 nic 1 lif 1 ",
            "4 6 nic 1 lif 2 ",
            "4 7 nic 1 lif 1 ",
            "4 8 nic 1 lif 0 ",
            "4 7 nic 40 lif 2 ",
            "4 2 nic 40 lif 0 net7",
        ];
        assert_eq!(log(), want);
        assert_eq!(net_hook_unregister(v4, event, h), 0);
        assert_eq!(net_hook_unregister(v4, event, h), Errno::ENXIO.0);
        hook_free(h);
        net_protocol_release(v4);
    }
    k.shutdown().expect("no violations");
}

const SEEN: Seen =
    Seen { direction: Direction::Out, from_zone: 5, to_zone: UNKNOWN_ZONE, group: 0 };

#[test]
fn packets_are_shown_in_order_of_hooks() {
    let k = boot(Config::default());
    let event = NH_OBSERVE.as_ptr().cast_mut();
    let i = Interface::new(0, "net0", false).expect("a zone");
    i.plumb(Family::V4);
    assert!(!i.observed(Family::V4));
    i.observe(Family::V4, SEEN, &[0x45]);
    let all = [(c"one", 1), (c"two", 2), (c"three", 1)].map(|(n, arg)| hook(on_packet, n, arg));
    // SAFETY: hooks and a protocol of ours.
    unsafe {
        let v4 = protocol(0, NHF_INET);
        for h in all {
            assert_eq!(net_hook_register(v4, event, h), 0);
        }
        assert_eq!(net_hook_register(v4, event, all[0]), Errno::EEXIST.0);
        i.observe(Family::V4, SEEN, &[0x45, 0x10]);
        i.observe(Family::V6, SEEN, &[0x60]);
        // The second returns 1, so that the third is not called.
        let shown = "[01, 02, 00, 01, 00, 00, 00, 02, 00, 00, 00, 01, 00, 00, 00, 00, \
                     00, 00, 00, 05, ff, ff, ff, ff] [45, 10]";
        assert_eq!(log(), [format!("1 {shown}"), format!("2 {shown}")]);
        hook_free(all[1]);
        assert_eq!(take_violations()[0].kind, Kind::UseAfterFree);
        for h in all {
            assert_eq!(net_hook_unregister(v4, event, h), 0);
            hook_free(h);
        }
        assert!(!i.observed(Family::V4));
        net_protocol_release(v4);
        net_protocol_release(v4);
    }
    let v = take_violations();
    assert!(matches!(&v[..], [v] if v.kind == Kind::BadFree), "{v:?}");
    drop(i);
    k.shutdown().expect("no violations");
}

/// Unregistering waits for callbacks, and a callback that unregisters would wait for itself.
#[test]
fn unregistering_waits() {
    static BLOCK: Mutex<()> = Mutex::new(());
    unsafe extern "C" fn slow(_: hook_event_token_t, _: hook_data_t, h: *mut c_void) -> c_int {
        note("in".into());
        drop(BLOCK.lock());
        // SAFETY: wrong, and refused.
        unsafe {
            let v4 = protocol(0, NHF_INET);
            let e = net_hook_unregister(v4, NH_OBSERVE.as_ptr().cast_mut(), *h.cast());
            note(format!("out {e}"));
            net_protocol_release(v4);
        }
        0
    }
    let k = boot(Config::default());
    let i = Interface::new(0, "net0", false).expect("a zone");
    let mut h: *mut hook_t = null_mut();
    h = hook(slow, c"slow", (&raw mut h) as usize);
    let itself = h;
    // SAFETY: a hook and a protocol of ours.
    unsafe {
        (*h).h_arg = (&raw const itself).cast_mut().cast();
        let v4 = protocol(0, NHF_INET);
        let event = NH_OBSERVE.as_ptr().cast_mut();
        assert_eq!(net_hook_register(v4, event, h), 0);
        let blocked = BLOCK.lock().expect("no panic");
        std::thread::scope(|s| {
            s.spawn(|| i.observe(Family::V4, SEEN, &[0x45]));
            while LOG.lock().expect("no panic").is_empty() {
                std::thread::yield_now();
            }
            let (v4, h) = (v4 as usize, h as usize);
            let waiting = s.spawn(move || {
                let event = NH_OBSERVE.as_ptr().cast_mut();
                let r = net_hook_unregister(v4 as net_handle_t, event, h as *mut hook_t);
                note("unregistered".into());
                r
            });
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!waiting.is_finished());
            drop(blocked);
            assert_eq!(waiting.join().expect("no panic"), 0);
        });
        assert_eq!(log(), ["in", "out 6", "unregistered"]);
        hook_free(h);
        net_protocol_release(v4);
    }
    assert_eq!(take_violations()[0].kind, Kind::Recursion);
    drop(i);
    k.shutdown().expect("no violations");
}

#[test]
fn a_zone_that_halts_takes_no_hooks() {
    let k = boot(Config::default());
    zone_boot(2, "z", IpType::Exclusive).expect("boots");
    let i = Interface::new(2, "vnic0", false).expect("a zone");
    let event = NH_OBSERVE.as_ptr().cast_mut();
    let (left, late) = (hook(on_packet, c"left", 1), hook(on_packet, c"late", 1));
    // SAFETY: hooks and a protocol of ours.
    unsafe {
        let v4 = protocol(2, NHF_INET);
        assert_eq!(net_hook_register(v4, event, left), 0);
        zone_halt(2).expect("halts");
        // It says that it took it, as the real one does.
        assert_eq!(net_hook_register(v4, event, late), 0);
        assert_eq!(net_hook_unregister(v4, event, late), Errno::ENXIO.0);
        assert_eq!(net_phygetnext(v4, 0), usize::MAX);
        assert_eq!(net_lifgetnext(v4, 1, 0), -1);
        let v = take_violations();
        assert!(matches!(&v[..], [v] if v.text.contains("hook left is still on")), "{v:?}");
        hook_free(left);
        hook_free(late);
        assert!(protocol(2, NHF_INET).is_null());
        drop(i);
        net_protocol_release(v4);
    }
    k.shutdown().expect("no violations");
}

#[test]
fn a_stack_has_statistics_of_its_own() {
    let k = boot(Config::default());
    zone_boot(2, "z", IpType::Exclusive).expect("boots");
    let name = |s: &'static CStr| s.as_ptr().cast_mut();
    // SAFETY: kstat_create(9F) with the net id of a stack.
    unsafe {
        let all = [0, 2].map(|zone| {
            let id = net_zoneidtonetid(zone);
            let ks = net_kstat_create(
                id,
                name(c"ipnet"),
                0,
                name(c"ipnet_stats"),
                name(c"misc"),
                KSTAT_TYPE_NAMED,
                1,
                0,
            );
            kstat_named_init((*ks).ks_data.cast(), c"n".as_ptr(), KSTAT_DATA_UINT64);
            kstat_install(ks);
            (id, ks)
        });
        // As the ipnet of illumos does: the kernel's data are not freed through this.
        let mut own: kstat_named_t = std::mem::zeroed();
        kstat_named_init(&mut own, c"own".as_ptr(), KSTAT_DATA_UINT64);
        (*all[0].1).ks_data = (&raw mut own).cast();
        let found = fakekernel::kstat::read(Some("ipnet"), None, Some("ipnet_stats"));
        assert_eq!(found.iter().map(|k| k.instance).collect::<Vec<_>>(), [0, 2_000_000]);
        let (module, stats) = (name(c"m"), name(c"s"));
        assert!(net_kstat_create(-1, module, 0, stats, stats, KSTAT_TYPE_NAMED, 1, 0).is_null());
        for (id, ks) in all {
            net_kstat_delete(id, ks);
        }
    }
    k.shutdown().expect("no violations");
}
