// SPDX-License-Identifier: CDDL-1.0
//! Instances from creation to destruction, and their properties.
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, MacAddr, UnderlayAddr, VarpdId};
use overlay_abi::props::*;
use overlay_abi::target::*;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use varpd_harness::*;

fn v6(text: &str) -> [u8; 16] {
    UnderlayAddr::new(text.parse().unwrap(), 0).ip
}

fn set(host: &Host, id: VarpdId, name: &str, value: &[u8]) -> Result<(), Errno> {
    let mut prop = host.client.prop_handle(id);
    prop.info_fill_by_name(name)?;
    prop.set(value)
}

fn get(host: &Host, id: VarpdId, name: &str) -> Result<Vec<u8>, Errno> {
    let mut prop = host.client.prop_handle(id);
    prop.info_fill_by_name(name)?;
    prop.get()
}

#[test]
fn direct_from_create_to_destroy() {
    let host = Host::with_direct();
    let id = host.instance(5, "direct");
    assert_eq!(id, VarpdId(1));
    assert_eq!(host.client.instance_lookup(LinkId(5)), Ok(id));
    assert_eq!(host.client.instance_target_mode(id), Ok((VXLAN, OVERLAY_TARGET_POINT)));
    assert_eq!(host.client.instance_activate(id), Err(Errno::EAGAIN));
    set(&host, id, "direct/dest_ip", &v6("192.0.2.9")).unwrap();
    set(&host, id, "direct/dest_port", &4789u64.to_ne_bytes()).unwrap();
    host.client.instance_activate(id).unwrap();
    assert_eq!(host.client.instance_activate(id), Err(Errno::EEXIST));
    let associated = host.kernel.state().links[&5].associated.unwrap();
    assert_eq!((associated.ota_mode, associated.ota_id), (OVERLAY_TARGET_POINT, 1));
    assert_eq!(associated.ota_provides, VXLAN);
    assert_eq!(associated.ota_point.underlay().to_string(), "192.0.2.9:4789");
    host.client.instance_destroy(id).unwrap();
    assert!(host.kernel.state().links[&5].associated.is_none());
    assert_eq!(host.client.instance_lookup(LinkId(5)), Err(Errno::ENOENT));
    assert_eq!(host.client.instance_destroy(id), Err(Errno::ENOENT));
    assert_eq!(host.client.instance_create(LinkId(5), "direct"), Ok(VarpdId(2)), "next fit");
}

#[test]
fn create_wants_a_plugin_and_an_overlay() {
    let host = Host::with_direct();
    host.kernel.add_link(1, VXLAN);
    host.kernel.add_link(2, OVERLAY_PLUGIN_D_MASK);
    let create = |link, plugin| host.client.instance_create(LinkId(link), plugin);
    assert_eq!(create(1, "files"), Err(Errno::ENOENT));
    assert_eq!(create(1, ""), Err(Errno::ENOENT));
    assert_eq!(create(3, "direct"), Err(Errno::ENOENT));
    assert_eq!(create(2, "direct"), Err(Errno::ENOTSUP), "the plugin's own error");
    assert_eq!(create(2, "direct"), Err(Errno::ENOTSUP), "and the link is free again");
    assert_eq!(host.client.instance_lookup(LinkId(2)), Err(Errno::ENOENT));
}

#[test]
fn every_command_wants_an_instance() {
    let host = Host::with_direct();
    let (c, id, mac) = (&host.client, VarpdId(1), MacAddr([2; 6]));
    let none = Err(Errno::ENOENT);
    assert_eq!(c.instance_activate(id), none);
    assert_eq!(c.instance_destroy(id), none);
    assert_eq!(c.instance_target_mode(id), Err(Errno::ENOENT));
    assert_eq!(c.prop_nprops(id), Err(Errno::ENOENT));
    assert_eq!(c.prop_handle(id).info_fill(0), none);
    assert_eq!(c.cache_flush(id), none);
    assert_eq!(c.cache_delete(id, mac), none);
    assert_eq!(c.cache_get(id, mac), Err(Errno::ENOENT));
    assert_eq!(c.cache_set(id, mac, &libvarpd_client::CacheEntry::Drop), none);
    assert_eq!(c.cache_walk(id, |_, _| true), none);
}

/// The original gave up, and with it every instance.
#[test]
fn defect_30_a_second_instance_for_a_link_is_refused() {
    let host = Host::with_direct();
    let id = host.instance(5, "direct");
    for _ in 0..3 {
        assert_eq!(host.client.instance_create(LinkId(5), "direct"), Err(Errno::EEXIST));
    }
    assert_eq!(host.client.instance_lookup(LinkId(5)), Ok(id));
    host.client.instance_destroy(id).unwrap();
    assert!(host.client.instance_create(LinkId(5), "direct").is_ok());
    // At the same time too, exactly one is made.
    host.kernel.add_link(6, VXLAN);
    let made = AtomicU32::new(0);
    std::thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| match host.client.instance_create(LinkId(6), "direct") {
                Ok(_) => made.fetch_add(1, Ordering::SeqCst),
                Err(e) => {
                    assert_eq!(e, Errno::EEXIST);
                    0
                }
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
}

#[test]
fn defect_31_destroy_waits_for_lookups_and_happens_once() {
    let host = Host::with_c_plugins(&[&["SLOW=2000"]]);
    for round in 0..20 {
        let id = host.instance(round, "test");
        host.client.instance_activate(id).unwrap();
        let requests: Vec<_> =
            (0..20).map(|n| host.kernel.ask(round, id.0, [2, 0, 0, 0, 0, n])).collect();
        std::thread::sleep(Duration::from_millis(u64::from(round % 5)));
        let destroyed = AtomicU32::new(0);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| match host.client.instance_destroy(id) {
                    Ok(()) => destroyed.fetch_add(1, Ordering::SeqCst),
                    Err(e) => {
                        assert_eq!(e, Errno::ENOENT);
                        0
                    }
                });
            }
        });
        assert_eq!(destroyed.into_inner(), 1);
        for request in requests {
            host.kernel.answer(request);
        }
    }
    let calls = host.calls(0);
    assert_eq!((calls.create, calls.start, calls.stop, calls.destroy), (20, 20, 20, 20));
    assert_eq!(calls.wrong, 0, "the plugin was called before start or after stop: {calls:?}");
    assert!(calls.running > 0);
}

#[test]
fn defect_31_answers_after_destroy_are_harmless() {
    let host = Host::with_c_plugins(&[&["LATER=300000"]]);
    let id = host.instance(1, "test");
    host.client.instance_activate(id).unwrap();
    let requests: Vec<_> = (0..10).map(|n| host.kernel.ask(1, id.0, [2, 0, 0, 0, 0, n])).collect();
    while host.calls(0).running < 10 {
        std::thread::sleep(Duration::from_millis(1));
    }
    host.client.instance_destroy(id).unwrap();
    for request in requests {
        host.kernel.answer(request);
    }
}

#[test]
fn defect_31_properties_race_with_destroy() {
    let host = Host::with_c_plugins(&[&[]]);
    for link in 0..30 {
        let id = host.instance(link, "test");
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    for _ in 0..20 {
                        let a = set(&host, id, "test/text", b"x\0");
                        let b = get(&host, id, "test/text");
                        assert!(matches!(a, Ok(()) | Err(Errno::ENOENT)), "{a:?}");
                        assert!(matches!(b, Ok(_) | Err(Errno::ENOENT)), "{b:?}");
                    }
                });
            }
            s.spawn(|| host.client.instance_destroy(id).unwrap());
            s.spawn(|| host.client.instance_activate(id));
        });
    }
    let calls = host.calls(0);
    assert_eq!((calls.destroy, calls.start), (30, calls.stop));
    assert_eq!(calls.wrong, 0);
}

/// The original took only active instances apart, and never told the kernel.
#[test]
fn defect_32_destroy_undoes_what_was_done_and_no_more() {
    let host = Host::with_c_plugins(&[&["NAME=\"good\""], &["NAME=\"bad\"", "START=EAGAIN"]]);
    let never_active = host.instance(1, "good");
    host.client.instance_destroy(never_active).unwrap();
    let calls = host.calls(0);
    assert_eq!((calls.create, calls.start, calls.stop, calls.destroy), (1, 0, 0, 1));

    let not_started = host.instance(2, "bad");
    assert_eq!(host.client.instance_activate(not_started), Err(Errno::EAGAIN));
    host.client.instance_destroy(not_started).unwrap();
    let calls = host.calls(1);
    assert_eq!((calls.create, calls.start, calls.stop, calls.destroy), (1, 1, 0, 1));

    let not_associated = host.instance(3, "good");
    host.kernel.state().fail_associate = Some(Errno::EINVAL);
    for _ in 0..2 {
        assert_eq!(host.client.instance_activate(not_associated), Err(Errno::EINVAL));
    }
    let calls = host.calls(0);
    assert_eq!(
        (calls.start, calls.stop, calls.destroy),
        (2, 2, 1),
        "stopped, so it can be tried again"
    );
    let request = host.kernel.ask(3, not_associated.0, [2; 6]);
    assert!(host.kernel.answer(request).is_none(), "it is not asked");
    host.kernel.state().fail_associate = None;
    host.client.instance_activate(not_associated).unwrap();
    assert!(host.kernel.state().links[&3].associated.is_some());
    host.client.instance_destroy(not_associated).unwrap();
    assert!(host.kernel.state().links[&3].associated.is_none());
    // A link that dladm has deleted already.
    let deleted = host.instance(4, "good");
    host.client.instance_activate(deleted).unwrap();
    host.kernel.state().links.remove(&4);
    host.client.instance_destroy(deleted).unwrap();
    let calls = host.calls(0);
    assert_eq!((calls.create, calls.destroy, calls.start), (3, 3, calls.stop));
    assert_eq!(calls.wrong, 0);
    assert!(!host.log.text().contains("cannot disassociate"), "{}", host.log.text());
}

#[test]
fn a_point_plugin_without_destination_fails_the_activation() {
    let host = Host::with_c_plugins(&[&["MODE=1", "ANSWER=VARPD_LOOKUP_DROP"]]);
    let id = host.instance(1, "test");
    assert_eq!(host.client.instance_activate(id), Err(Errno(-1)));
    assert!(host.kernel.state().links[&1].associated.is_none());
    assert_eq!((host.calls(0).start, host.calls(0).stop), (1, 1));
}

#[test]
fn search_is_property_0() {
    let host = Host::with_c_plugins(&[&["NAME=\"zeta\""], &["NAME=\"alpha\""]]);
    let id = host.instance(1, "zeta");
    assert_eq!(host.client.prop_nprops(id), Ok(2));
    let mut prop = host.client.prop_handle(id);
    prop.info_fill(0).unwrap();
    let info = prop.info().unwrap();
    assert_eq!(info.name, "search");
    assert_eq!((info.kind, info.prot), (OVERLAY_PROP_T_STRING, OVERLAY_PROP_PERM_READ));
    assert!(info.default.is_empty());
    let Ok(Values::Texts(texts)) = parse_possible(&info.possible) else { panic!("no texts") };
    assert_eq!(texts.collect::<Vec<_>>(), ["alpha", "zeta"]);
    assert_eq!(prop.get().unwrap(), b"zeta\0");
    assert_eq!(prop.set(b"alpha\0"), Err(Errno::EPERM));
    assert_eq!(prop.info_fill_by_name("nothing"), Err(Errno::ENOENT));
    for id in [2, 3, u32::MAX - 1] {
        assert_eq!(prop.info_fill(id), Err(Errno::EINVAL), "{id}");
    }
}

#[test]
fn properties_of_direct() {
    let host = Host::with_direct();
    let id = host.instance(1, "direct");
    assert_eq!(host.client.prop_nprops(id), Ok(3));
    let mut prop = host.client.prop_handle(id);
    prop.info_fill(1).unwrap();
    let info = prop.info().unwrap().clone();
    assert_eq!((info.name.as_str(), info.kind), ("direct/dest_ip", OVERLAY_PROP_T_IP));
    assert_eq!((info.prot, info.default.len()), (OVERLAY_PROP_PERM_RRW, 0));
    assert!(matches!(parse_possible(&info.possible), Ok(Values::Any)));
    assert!(prop.get().unwrap().is_empty(), "not set");
    prop.set(&v6("2001:db8::1")).unwrap();
    assert_eq!(prop.get().unwrap(), v6("2001:db8::1"));
    prop.info_fill(2).unwrap();
    let info = prop.info().unwrap();
    assert_eq!((info.name.as_str(), info.kind), ("direct/dest_port", OVERLAY_PROP_T_UINT));
    let Ok(Values::Ranges(ranges)) = parse_possible(&info.possible) else { panic!("no ranges") };
    assert_eq!(ranges.collect::<Vec<_>>(), [(1, 65535)]);
    assert_eq!(prop.set(&65536u64.to_ne_bytes()), Err(Errno::EINVAL));
    assert_eq!(prop.set(&[1]), Err(Errno::EOVERFLOW));
    // Only the address where the encapsulation needs no port.
    host.kernel.add_link(2, OVERLAY_PLUGIN_D_IP);
    let id = host.client.instance_create(LinkId(2), "direct").unwrap();
    assert_eq!(host.client.prop_nprops(id), Ok(2));
    assert_eq!(set(&host, id, "direct/dest_port", &[0; 8]), Err(Errno::ENOENT));
}

/// The original handed an uninitialized size to the plugin and reported success whatever happened.
#[test]
fn defect_34_getprop_has_a_size_and_an_error() {
    let host = Host::with_c_plugins(&[
        &["NAME=\"good\""],
        &["NAME=\"liar\"", "SIZE=257"],
        &["NAME=\"nameless\"", "NAMELESS"],
    ]);
    let good = host.instance(1, "good");
    assert_eq!(get(&host, good, "good/text"), Ok(vec![]));
    assert_eq!(set(&host, good, "good/text", &[b'x'; 5]), Err(Errno::EINVAL), "no NUL");
    let long = [[b'x'; 64].as_slice(), &[0]].concat();
    assert_eq!(set(&host, good, "good/text", &long), Err(Errno::EOVERFLOW));
    set(&host, good, "good/text", b"hello\0").unwrap();
    assert_eq!(get(&host, good, "good/text").unwrap(), b"hello\0");
    let mut prop = host.client.prop_handle(good);
    prop.info_fill(1).unwrap();
    assert_eq!(prop.info().unwrap().default, b"one\0");
    let liar = host.instance(2, "liar");
    assert_eq!(get(&host, liar, "liar/text"), Err(Errno::EOVERFLOW));
    let nameless = host.instance(3, "nameless");
    assert_eq!(host.client.prop_handle(nameless).info_fill(1), Err(Errno::EINVAL));
    assert_eq!(host.calls(0).wrong, 0);
}

#[test]
fn the_next_varpd_answers_what_the_last_one_left() {
    let mut host = Host::with_c_plugins(&[&["LATER=60000000"]]);
    let id = host.instance(1, "test");
    host.client.instance_activate(id).unwrap();
    let request = host.kernel.ask(1, id.0, [2; 6]);
    host.kernel.wait("the plugin has it", |s| s.outstanding.len() == 1);
    drop(host.door.take());
    host.varpd.quiesce();
    let log = slog::Logger::root(host.log.clone(), slog::o!());
    assert!(libvarpd::Varpd::new(&host.root, log.clone()).is_err(), "one at a time");
    // The lookup threads have their own references until they have returned.
    let old = std::mem::replace(&mut host.varpd, {
        let other = Host::bare();
        std::sync::Arc::clone(&other.varpd)
    });
    while std::sync::Arc::strong_count(&old) > 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(old);
    let next = libvarpd::Varpd::new(&host.root, log).unwrap();
    let run = std::sync::Arc::clone(&next);
    std::thread::spawn(move || run.run_lookups());
    // It knows no such instance yet, and says so rather than let the packet wait for ever.
    assert!(host.kernel.answer(request).is_none());
    next.quiesce();
}

#[test]
fn what_passes_is_tried_again() {
    let host = Host::with_c_plugins(&[&[]]);
    let id = host.instance(1, "test");
    host.client.instance_activate(id).unwrap();
    {
        let mut state = host.kernel.state();
        state.fail_lookups = vec![Errno::EINTR, Errno::ETIME, Errno::EAGAIN, Errno::ENOMEM];
        state.fail_answers = vec![Errno::EINTR; 3];
    }
    assert!(host.kernel.answer(host.kernel.ask(1, id.0, [2; 6])).is_some());
    host.kernel.wait("all failures were met", |s| s.fail_lookups.is_empty());
    assert!(host.kernel.answer(host.kernel.ask(1, id.0, [2; 6])).is_some());
}

#[test]
fn what_does_not_pass_ends_lookups() {
    let host = Host::bare();
    for e in [Errno::EPERM, Errno::ENXIO, Errno::EFAULT] {
        let before = host.kernel.state().fail_lookups.len();
        assert_eq!(before, 0);
        host.kernel.state().fail_lookups = vec![e; 4];
        // The host's own three threads meet it too.
        assert_eq!(host.varpd.run_lookups(), Err(e));
        host.kernel.state().fail_lookups.clear();
    }
}

#[test]
fn when_the_kernel_goes_lookups_end_with_an_error() {
    let mut host = Host::bare();
    let varpd = std::sync::Arc::clone(&host.varpd);
    let thread = std::thread::spawn(move || varpd.run_lookups());
    std::thread::sleep(Duration::from_millis(50));
    drop(host.server.take());
    assert_eq!(thread.join().unwrap(), Err(Errno::EIO));
    host.varpd.quiesce();
    assert_eq!(host.varpd.run_lookups(), Ok(()), "after quiescing nothing is asked");
}
