// SPDX-License-Identifier: CDDL-1.0
//! Plugins that load, plugins that do not, and what they may do to varpd.
use libvarpd::cabi;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, VarpdId};
use overlay_abi::props::{Values, parse_possible};
use overlay_abi::provider::VARPD_CURRENT_VERSION;
use overlay_abi::target::*;
use std::ptr::{null, null_mut};
use varpd_harness::*;

#[test]
fn the_direct_plugin_loads() {
    let host = Host::with_direct();
    assert_eq!(host.varpd.plugins(), ["direct"], "{}", host.log.text());
}

#[test]
fn a_plugin_written_in_c_loads_and_answers() {
    let host = Host::with_c_plugins(&[&[]]);
    assert_eq!(host.varpd.plugins(), ["test"], "{}", host.log.text());
    let id = host.instance(7, "test");
    host.client.instance_activate(id).unwrap();
    for last in 1..20 {
        let request = host.kernel.ask(7, id.0, [2, 0, 0, 0, 0, last]);
        let point = host.kernel.answer(request).expect("a destination");
        assert_eq!(point.underlay().to_string(), format!("192.0.2.{last}:4789"));
    }
    assert_eq!(host.calls(0).running, 19);
    assert_eq!(host.calls(0).wrong, 0);
}

#[test]
fn answers_may_come_later_from_other_threads() {
    let host = Host::with_c_plugins(&[&["LATER=20000"]]);
    let id = host.instance(7, "test");
    host.client.instance_activate(id).unwrap();
    let requests: Vec<_> =
        (0..200).map(|n| (n, host.kernel.ask(7, id.0, [2, 0, 0, 0, 0, n]))).collect();
    for (n, request) in requests {
        assert_eq!(host.kernel.answer(request).unwrap().otp_ip[15], n);
    }
    let state = host.kernel.state();
    assert_eq!((state.answers.len(), state.outstanding.len()), (200, 0));
}

#[test]
fn a_directory_64_is_preferred_and_a_missing_one_is_an_error() {
    let host = Host::bare();
    let dir = host.dir.path();
    compile(&dir.join("outside.so"), &["NAME=\"outside\""]);
    std::fs::create_dir(dir.join("64")).unwrap();
    compile(&dir.join("64/inside.so"), &["NAME=\"inside\""]);
    host.varpd.load_plugins(dir).unwrap();
    assert_eq!(host.varpd.plugins(), ["inside"]);
    let e = host.varpd.load_plugins(&dir.join("none")).unwrap_err();
    assert!(e.to_string().contains("none"), "{e}");
}

#[test]
fn files_that_are_no_plugins_do_not_stop_the_others() {
    let host = Host::bare();
    let dir = host.dir.path();
    write(&dir.join("a-text.so"), b"not a shared object");
    write(&dir.join("b-empty.so"), b"");
    compile(&dir.join("c-silent.so"), &["SILENT"]);
    compile(&dir.join("d-unknown.so"), &["UNKNOWN"]);
    std::fs::create_dir(dir.join("e-directory.so")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.join("f-dangling.so")).unwrap();
    compile(&dir.join("z-good.so"), &[]);
    host.varpd.load_plugins(dir).unwrap();
    assert_eq!(host.varpd.plugins(), ["test"]);
    let log = host.log.text();
    for (file, what) in [
        ("a-text.so", "dlopen failed"),
        ("b-empty.so", "dlopen failed"),
        ("c-silent.so", "registered no plugin"),
        ("d-unknown.so", "dlopen failed"),
        ("e-directory.so", "dlopen failed"),
        ("f-dangling.so", "dlopen failed"),
        ("z-good.so", "loaded test"),
    ] {
        assert!(log.lines().any(|l| l.contains(file) && l.contains(what)), "{file}: {log}");
    }
    assert!(log.contains("libvarpd_no_such_function"), "{log}");
}

/// Loads plugins that must all be refused with `EINVAL`.
fn refused(bad: &[&[&str]]) {
    let host = Host::with_c_plugins(bad);
    assert!(host.varpd.plugins().is_empty(), "{}", host.log.text());
    for (n, defines) in bad.iter().enumerate() {
        assert_eq!(host.calls(n).register, Errno::EINVAL.to_host(), "{defines:?}");
    }
    let refused = host.log.text().matches("registration refused").count();
    assert_eq!(refused, bad.len(), "{}", host.log.text());
}

/// The original checked the version and the name's uniqueness, and nothing else.
#[test]
fn defect_39_registrations_are_validated() {
    let name = |len| format!("NAME=\"{}\"", "x".repeat(len));
    refused(&[
        &["VERSION=3"],
        &["NO_NAME"],
        &["NAME=\"\""],
        &["NAME=\"a/b\""],
        &[&name(64)],
        &["NAME=\"\\xff\""],
        &["NO_OPS"],
        &["CALLBACKS=1"],
    ]);
    let host = Host::with_c_plugins(&[&["MODE=1", &name(63)]]);
    assert_eq!(host.varpd.plugins(), ["x".repeat(63)], "63 bytes are allowed");
}

#[test]
fn defect_39_functions_must_fit_the_mode() {
    refused(&[
        &["MODE=0", "BOTH"],
        &["MODE=3", "BOTH"],
        &["MODE=1", "BOTH"],
        &["MODE=2", "BOTH"],
        &["MODE=1", "NULLED=40"],
        &["MODE=2", "NULLED=48"],
    ]);
}

#[test]
fn defect_39_no_function_may_be_missing() {
    let missing = [1, 2, 3, 4, 7, 8, 9, 10, 11, 12].map(|member| format!("NULLED={}", 8 * member));
    let missing: Vec<[&str; 1]> = missing.iter().map(|m| [m.as_str()]).collect();
    refused(&missing.iter().map(<[&str; 1]>::as_slice).collect::<Vec<_>>());
}

#[test]
fn defect_39_allocation_outside_of_a_load_and_of_unknown_versions() {
    let mut err = 0;
    // SAFETY: valid out pointers, and registrations from alloc, freed once.
    unsafe {
        for version in [0, 3, u32::MAX] {
            assert!(cabi::libvarpd_plugin_alloc(version, &mut err).is_null());
            assert_eq!(err, Errno::EINVAL.to_host());
            assert!(cabi::libvarpd_plugin_alloc(version, null_mut()).is_null());
        }
        let registration = cabi::libvarpd_plugin_alloc(VARPD_CURRENT_VERSION, &mut err);
        assert_eq!((*registration).vpr_version, VARPD_CURRENT_VERSION);
        assert!((*registration).vpr_name.is_null() && (*registration).vpr_ops.is_null());
        let outside = cabi::libvarpd_plugin_register(registration);
        assert_eq!(outside, Errno::EINVAL.to_host());
        cabi::libvarpd_plugin_free(registration);
        cabi::libvarpd_plugin_free(null_mut());
        assert_eq!(cabi::libvarpd_plugin_register(null_mut()), Errno::EINVAL.to_host());
    }
}

#[test]
fn a_name_is_registered_once() {
    let host = Host::with_c_plugins(&[&["TWICE"], &["MODE=1"], &["NAME=\"other\""]]);
    assert_eq!(host.varpd.plugins(), ["other", "test"]);
    assert_eq!(host.calls(0).register, Errno::EEXIST.to_host());
    assert_eq!(host.calls(1).register, Errno::EEXIST.to_host());
    let refused = host.log.text().matches("there is a plugin \"test\" already").count();
    assert_eq!(refused, 2, "{}", host.log.text());
    // The first one stays: dynamic, not point.
    let id = host.instance(1, "test");
    assert_eq!(host.client.instance_target_mode(id), Ok((VXLAN, OVERLAY_TARGET_DYNAMIC)));
}

#[test]
fn each_query_is_answered_once_whatever_the_plugin_does() {
    let host = Host::with_c_plugins(&[
        &["NAME=\"twice\"", "ANSWERS=2"],
        &["NAME=\"nonsense\"", "ANSWER=17"],
        &["NAME=\"drop\"", "ANSWER=VARPD_LOOKUP_DROP"],
        &["NAME=\"point\"", "MODE=1"],
    ]);
    let ask = |link: u32, plugin: &str| {
        let id = host.instance(link, plugin);
        host.client.instance_activate(id).unwrap();
        host.kernel.answer(host.kernel.ask(link, id.0, [2, 0, 0, 0, 0, 1]))
    };
    assert!(ask(1, "twice").is_some());
    assert!(ask(2, "nonsense").is_none());
    assert!(ask(3, "drop").is_none());
    assert!(ask(5, "point").is_none(), "a lookup for a point instance");
    assert!(host.kernel.answer(host.kernel.ask(6, 4711, [2; 6])).is_none(), "no such instance");
    let other = host.client.instance_lookup(LinkId(1)).unwrap();
    assert!(host.kernel.answer(host.kernel.ask(2, other.0, [2; 6])).is_none(), "of another link");
    let idle = host.instance(7, "twice");
    let request = host.kernel.ask(7, idle.0, [2; 6]);
    assert!(host.kernel.answer(request).is_none(), "not started");
    let log = host.log.text();
    for what in ["of another link", "or was answered before", "nonsense"] {
        assert!(log.contains(what), "{what}: {log}");
    }
    assert_eq!(host.kernel.state().outstanding.len(), 0);
}

#[test]
fn an_answer_the_kernel_refuses_drops_the_frame() {
    // Without the port bit a plugin may leave the port 0; this kernel wants one, and must not wait
    // for ever.
    let host = Host::with_direct();
    compile(&host.dir.path().join("zero.so"), &["NAME=\"zero\"", "ZERO"]);
    host.varpd.load_plugin(&host.dir.path().join("zero.so"));
    let id = host.instance(1, "zero");
    host.client.instance_activate(id).unwrap();
    assert!(host.kernel.answer(host.kernel.ask(1, id.0, [2; 6])).is_none());
}

#[test]
fn callbacks_reach_the_link_of_the_instance() {
    let host = Host::with_c_plugins(&[&[]]);
    let id = host.instance(9, "test");
    host.client.instance_activate(id).unwrap();
    let broadcast = [0xff; 6];
    let entry = overlay_targ_cache_entry_t {
        otce_mac: broadcast,
        otce_flags: 0,
        otce_dest: "10.0.0.1:1".parse::<std::net::SocketAddr>().map(underlay).unwrap(),
    };
    host.kernel.state().links.get_mut(&9).unwrap().cache.insert(broadcast, entry);
    let request = host.kernel.ask(9, id.0, broadcast);
    assert!(host.kernel.answer(request).is_some());
    let state = host.kernel.state();
    let link = &state.links[&9];
    assert_eq!(link.degraded.as_deref(), Some("told by a broadcast"));
    assert!(link.cache.is_empty(), "inject_varp without a point removes");
    let [(9, frame)] = state.injected.as_slice() else { panic!("{:?}", state.injected) };
    assert_eq!(frame.len(), 46);
    assert_eq!(frame[12..18], [0x81, 0, 0, 5, 8, 6]);
    assert_eq!(frame[32..36], [10, 1, 0, 9]);
}

/// What a plugin tells of its instances is shown if it is JSON and not endless.
#[test]
fn what_plugins_tell_of_instances() {
    let name = ["a", "b", "c", "d", "e", "f"].map(|n| format!("NAME=\"{n}\""));
    let long = format!("REPORT=\"[{}1]\"", "1,".repeat(5000));
    let [a, b, c, d, e, f] = name.each_ref().map(String::as_str);
    let host = Host::with_c_plugins(&[
        &[a, "REPORT=\"{\\\"n\\\": 1}\""],
        // More than there is room for at first.
        &[b, &long],
        &[c, "REPORT=\"[2     ]\"", "REPORTS=100000000"],
        &[d, "REPORT=\"{\""],
        &[e, "REPORT=\"3\"", "REPORT_SIZE=5000"],
        &[f],
    ]);
    for (n, plugin) in ["a", "b", "c", "d", "e", "f"].iter().enumerate() {
        host.instance(n as u32 + 1, plugin);
    }
    let told: Vec<_> = host.varpd.status().instances.into_iter().map(|i| i.told).collect();
    let long = serde_json::json!(vec![1; 5001]);
    assert_eq!(told, [Some(serde_json::json!({"n": 1})), Some(long), None, None, None, None]);
    host.client.instance_destroy(VarpdId(1)).unwrap();
    assert_eq!(host.varpd.status().instances.len(), 5);
}

fn underlay(addr: std::net::SocketAddr) -> overlay_target_point_t {
    overlay_abi::ids::UnderlayAddr::from(addr).into()
}

#[test]
fn unknown_handles_are_ignored_and_logged() {
    let host = Host::with_c_plugins(&[&[]]);
    let id = host.instance(1, "test");
    host.client.instance_destroy(id).unwrap();
    // SAFETY: handles may be anything; other pointers are NULL or C strings.
    unsafe {
        for handle in [0usize, 1, usize::MAX] {
            let p = std::ptr::without_provenance_mut(handle);
            assert_eq!(cabi::libvarpd_plugin_vnetid(p), 0);
            cabi::libvarpd_fma_degrade(p, c"x".as_ptr());
            cabi::libvarpd_fma_restore(p);
            cabi::libvarpd_inject_varp(p, [0; 6].as_ptr(), null());
            cabi::libvarpd_inject_arp(p, 0, null(), null(), null());
            cabi::libvarpd_inject_ndp(p, 0, null(), null());
            cabi::libvarpd_inject_ndp(p, 0, [0; 6].as_ptr(), &[0; 16]);
            cabi::libvarpd_plugin_reporter(None);
            let q = std::ptr::without_provenance_mut(handle);
            cabi::libvarpd_plugin_query_unknown(q);
            cabi::libvarpd_plugin_proxy_arp(p, q, null());
            cabi::libvarpd_plugin_proxy_ndp(p, q, null());
            cabi::libvarpd_plugin_proxy_dhcp(p, q, null());
            cabi::libvarpd_plugin_arp_reply(std::ptr::without_provenance_mut(handle), 0);
            cabi::libvarpd_plugin_dhcp_reply(std::ptr::without_provenance_mut(handle), 0);
            let prop = std::ptr::without_provenance_mut(handle);
            cabi::libvarpd_prop_set_name(prop, c"x".as_ptr());
            cabi::libvarpd_prop_set_name(prop, null());
            cabi::libvarpd_prop_set_range_str(prop, null());
            cabi::libvarpd_prop_set_nodefault(prop);
            let einval = Errno::EINVAL.to_host();
            assert_eq!(cabi::libvarpd_prop_set_default(prop, null_mut(), 3), einval);
        }
    }
    assert!(host.log.text().contains("with the handle of no instance"), "{}", host.log.text());
    assert_eq!(host.client.instance_lookup(LinkId(1)), Err(Errno::ENOENT));
}

/// What is asked of a plugin fails as the plugin says, and nothing else does.
#[test]
fn a_plugin_may_fail_in_each_of_its_functions() {
    let fail = |function: &str, mode: &str| {
        let define = format!("FAIL=\"{function}\"");
        Host::with_c_plugins(&[&[mode, &define]])
    };
    let (point, dynamic) = ("MODE=1", "MODE=2");
    let enxio = Errno::ENXIO;

    let host = fail("vpo_create", dynamic);
    host.kernel.add_link(1, VXLAN);
    for _ in 0..2 {
        assert_eq!(host.client.instance_create(LinkId(1), "test"), Err(enxio));
    }
    assert_eq!(host.client.instance_lookup(LinkId(1)), Err(Errno::ENOENT));
    assert_eq!((host.calls(0).create, host.calls(0).destroy), (0, 0));

    for (function, mode, error) in
        [("vpo_start", dynamic, enxio), ("vpo_default", point, Errno(-1))]
    {
        let host = fail(function, mode);
        let id = host.instance(1, "test");
        for _ in 0..2 {
            assert_eq!(host.client.instance_activate(id), Err(error), "{function}");
        }
        assert!(host.kernel.state().links[&1].associated.is_none());
        host.client.instance_destroy(id).unwrap();
        let calls = host.calls(0);
        assert_eq!((calls.start, calls.stop), if mode == point { (2, 2) } else { (0, 0) });
        assert_eq!((calls.destroy, calls.wrong), (1, 0));
    }

    for function in ["vpo_nprops", "vpo_propinfo", "vpo_getprop", "vpo_setprop"] {
        let host = fail(function, dynamic);
        let id = host.instance(1, "test");
        let c = &host.client;
        let fails = |f: &str| if f == function { Err(enxio) } else { Ok(()) };
        assert_eq!(c.prop_nprops(id).map(drop), fails("vpo_nprops"));
        assert_eq!(c.prop_info(id, 1).map(drop), fails("vpo_propinfo"));
        // By name they are counted and described first.
        let by_name = fails("vpo_nprops").and(fails("vpo_propinfo"));
        assert_eq!(c.prop_info_by_name(id, "test/text").map(drop), by_name);
        let (get, set) = (fails("vpo_getprop"), fails("vpo_setprop"));
        assert_eq!(c.prop_get(id, 1).map(drop), fails("vpo_propinfo").and(get));
        assert_eq!(c.prop_set(id, 1, b"two\0"), fails("vpo_propinfo").and(set));
        // It works nevertheless.
        c.instance_activate(id).unwrap();
        assert!(host.kernel.answer(host.kernel.ask(1, id.0, [2; 6])).is_some());
        c.instance_destroy(id).unwrap();
        assert_eq!((host.calls(0).destroy, host.calls(0).wrong), (1, 0));
    }
}

/// The original left out names without a word.
#[test]
fn defect_42_plugins_that_search_cannot_show_work_and_are_told() {
    let names: Vec<String> = (0..4).map(|n| format!("{n}{}", "x".repeat(62))).collect();
    let defines: Vec<String> = names.iter().map(|n| format!("NAME=\"{n}\"")).collect();
    let defines: Vec<[&str; 1]> = defines.iter().map(|d| [d.as_str()]).collect();
    let host = Host::with_c_plugins(&defines.iter().map(<[&str; 1]>::as_slice).collect::<Vec<_>>());
    assert_eq!(host.varpd.plugins(), names);
    assert!(host.log.text().contains("have no room for the names of all plugins"));
    let id = host.instance(1, &names[3]);
    let info = host.client.prop_info(id, 0).unwrap();
    let Ok(Values::Texts(shown)) = parse_possible(&info.possible) else { panic!("no texts") };
    assert_eq!(shown.collect::<Vec<_>>(), names[..3]);
    assert_eq!(host.client.prop_get(id, 0).unwrap(), format!("{}\0", names[3]).as_bytes());
}

/// The original declares the function and does not have it, so that such a plugin cannot be loaded.
#[test]
fn a_plugin_that_asks_for_a_logger_loads_where_there_is_no_libbunyan() {
    let host = Host::with_c_plugins(&[&["BUNYAN"]]);
    let id = host.instance(1, "test");
    assert_eq!(host.client.instance_activate(id), Err(Errno::ENOTSUP), "there is one after all?");
    assert!(host.log.text().contains("no logger for plugins"), "{}", host.log.text());
}

/// Stands for libbunyan: what it was asked for can be looked at.
const BUNYAN: &str = r#"
    struct { int inits, level; const void *stream; long fd; char name[16]; } asked;
    static int logger;
    int bunyan_init(const char *name, void **out) {
        asked.inits++;
        __builtin_strncpy(asked.name, name, 15);
        *out = &logger;
        return (0);
    }
    int bunyan_stream_fd(void *list, const char *text, void *arg) { return (0); }
    int bunyan_stream_add(void *log, const char *name, int level, void *stream, void *arg) {
        asked.level = level;
        asked.stream = stream;
        asked.fd = (long)arg;
        return (log == &logger ? 0 : 22);
    }
"#;

#[test]
fn a_plugin_that_asks_for_a_logger_gets_one_of_libbunyan() {
    let host = Host::with_c_plugins(&[&["BUNYAN"], &["BUNYAN", "NAME=\"other\""]]);
    let dir = host.dir.path();
    std::fs::write(dir.join("bunyan.c"), BUNYAN).unwrap();
    let so = dir.join("libbunyan.so.1");
    let mut cc = std::process::Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wl,-soname,libbunyan.so.1", "-o"]).arg(&so);
    assert!(cc.arg(dir.join("bunyan.c")).status().unwrap().success());
    // Under that name it is found from now on.
    // SAFETY: it has no initialization.
    let library = unsafe { libloading::Library::new(&so) }.unwrap();
    for (link, name) in [(1, "test"), (2, "other")] {
        let id = host.instance(link, name);
        host.client.instance_activate(id).unwrap();
    }
    #[repr(C)]
    struct Asked {
        inits: i32,
        level: i32,
        stream: *const (),
        fd: i64,
        name: [u8; 16],
    }
    // SAFETY: the objects are of these types.
    let (asked, fd) = unsafe {
        let asked = library.get::<*const Asked>(b"asked\0").unwrap().read();
        (asked, *library.get::<*const ()>(b"bunyan_stream_fd\0").unwrap())
    };
    assert_eq!((asked.inits, asked.level, asked.fd), (1, 30, 2), "one for all plugins, to stderr");
    assert_eq!(asked.stream, fd);
    assert_eq!(&asked.name[..6], b"varpd\0");
}
