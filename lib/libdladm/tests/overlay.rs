// SPDX-License-Identifier: CDDL-1.0
//! Order, unwinding and details of the overlay operations, seen from the other side of each
//! boundary.

mod fake;

use fake::Fake;
use libdladm::dlmgmt::{Class, Flags};
use libdladm::overlay::{self, Create, Entry, Guest, PropArg};
use libdladm::{Failure, Handle, Status, link, vnic};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, MacAddr, VnetId};
use overlay_abi::target::OVERLAY_TARGET_POINT;
use overlay_abi::target::v2::overlay_targ_route_entry_t;
use zerocopy::FromZeros;

fn props(text: &str) -> Vec<PropArg> {
    text.split_whitespace()
        .map(|p| {
            let (name, values) = p.split_once('=').unwrap();
            PropArg { name: name.into(), values: values.split(',').map(str::to_owned).collect() }
        })
        .collect()
}

fn try_create(h: &Handle, name: &str, search: &str, p: &str) -> Result<LinkId, Failure> {
    let props = props(p);
    let vnetid = VnetId(23);
    overlay::create(
        h,
        &Create { name, encap: "vxlan", search, vnetid, dcid: 0, props: &props, temporary: false },
    )
}

const DIRECT: &str =
    "direct/dest_port=4789 vxlan/listen_ip=192.0.2.10 direct/dest_ip=2001:db8::9 mtu=1450";

#[test]
fn create_takes_its_steps_in_order() {
    let f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    let id = try_create(&h, "o0", "direct", DIRECT).unwrap();
    assert_eq!(
        f.take_log(),
        [
            "dlmgmt CREATE",
            "dld CREATE vxlan",
            "dld PROPINFO vxlan/listen_ip",
            "dld SETPROP vxlan/listen_ip",
            "dld PROPINFO mtu",
            "dld SETPROP mtu",
            "varpd CREATE direct",
            "varpd SETPROP direct/dest_port",
            "varpd SETPROP direct/dest_ip",
            "varpd ACTIVATE",
            "dld ACTIVATE",
        ]
    );
    let s = f.state();
    let link = s.table.get(id).unwrap();
    assert_eq!((link.class, link.flags), (Class::OVERLAY, Flags::ALL));
    let ip: std::net::Ipv6Addr = "2001:db8::9".parse().unwrap();
    assert_eq!(s.instances[&1].props[1].value, ip.octets());
    assert_eq!(s.instances[&1].props[2].value, 4789u64.to_ne_bytes());
    assert_eq!(s.overlays[&id.0].props[0].value, 1450u64.to_ne_bytes());
}

/// Whatever step fails, nothing is left, and what was made is taken back in reverse.
#[test]
fn create_unwinds_each_step() {
    let full = ["varpd DESTROY", "dld DELETE", "dlmgmt DESTROY"];
    for (step, undone, details) in [
        ("dld CREATE vxlan", &full[2..], vec![]),
        ("dld PROPINFO mtu", &full[1..], vec!["failed to set property mtu"]),
        ("dld SETPROP mtu", &full[1..], vec!["failed to set property mtu"]),
        ("varpd CREATE direct", &full[1..], vec!["failed to create varpd instance: I/O error"]),
        ("varpd SETPROP direct/dest_ip", &full, vec!["failed to set varpd prop: direct/dest_ip"]),
        ("varpd ACTIVATE", &full, vec!["failed to activate varpd instance: I/O error"]),
        ("dld ACTIVATE", &full, vec!["failed to activate device: I/O error"]),
    ] {
        let f = Fake::new();
        let h = Handle::open(&f.root).unwrap();
        f.fail(step, Errno::EIO);
        let failure = try_create(&h, "o0", "direct", DIRECT).unwrap_err();
        assert_eq!(failure.status, Status::IoErr, "{step}");
        assert_eq!(failure.details, details, "{step}");
        let log = f.take_log();
        assert_eq!(log[log.len() - undone.len()..], *undone, "{step}");
        for u in full {
            let n = log.iter().filter(|l| *l == u).count();
            assert_eq!(n, usize::from(undone.contains(&u)), "{u} after {step}");
        }
        let s = f.state();
        assert!(s.overlays.is_empty() && s.instances.is_empty(), "{step}");
        assert_eq!(s.table.iter().count(), 0, "{step}");
    }
}

#[test]
fn a_device_that_stays_keeps_its_name() {
    let f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    f.fail("dld ACTIVATE", Errno::EIO);
    f.fail("dld DELETE", Errno::EBUSY);
    let failure = try_create(&h, "o0", "direct", DIRECT).unwrap_err();
    assert_eq!(failure.details.last().unwrap(), "failed to delete device: Device busy");
    f.state().fail.clear();
    let link = h.by_name("o0").unwrap();
    overlay::delete(&h, link.id).unwrap();
    assert_eq!(h.by_name("o0"), Err(Status::NotFound));
}

#[test]
fn create_refuses_what_cannot_be() {
    let f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    let status = |r: Result<LinkId, Failure>| r.unwrap_err().status;
    assert_eq!(status(try_create(&h, "bad", "direct", "")), Status::BadArg);
    try_create(&h, "o0", "direct", DIRECT).unwrap();
    assert_eq!(status(try_create(&h, "o0", "direct", DIRECT)), Status::Exist);
    assert_eq!(status(try_create(&h, "o1", "nosuch", "")), Status::NotFound);
    assert_eq!(status(try_create(&h, "o1", "direct", "nosuch=1")), Status::NotFound);
    let two = try_create(&h, "o1", "direct", "mtu=1400,1500").unwrap_err();
    assert_eq!(two.details, ["failed to set property mtu"]);
    assert_eq!(two.status, Status::BadArg);
    // The kernel has no property of another search plugin.
    assert_eq!(status(try_create(&h, "o1", "direct", "files/config=/x")), Status::NotFound);
    assert_eq!(f.state().table.iter().count(), 1);
}

#[test]
fn defect_43_setprop_returns_the_status() {
    let f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    for (errno, status) in [
        (Errno::ENOTSUP, Status::NotSup),
        (Errno::EPERM, Status::Denied),
        (Errno::EOVERFLOW, Status::Failed),
    ] {
        f.fail("dld SETPROP mtu", errno);
        assert_eq!(try_create(&h, "o0", "direct", DIRECT).unwrap_err().status, status);
    }
}

#[test]
fn defect_44_varpd_getprop_error_is_the_one_returned() {
    let f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    let id = try_create(&h, "o0", "direct", DIRECT).unwrap();
    f.fail("varpd GETPROP direct/dest_ip", Errno::ENOTSUP);
    let mut values = Vec::new();
    overlay::walk_prop(&h, id, |p| values.push((p.name.clone(), p.value.clone()))).unwrap();
    let (name, value) = &values[7];
    assert_eq!((name.as_str(), value), ("direct/dest_ip", &Err(Errno::ENOTSUP)));
    assert!(values[8].1.is_ok(), "the walk goes on");
}

/// An address of the link's own data center.
fn here(mac: MacAddr) -> Guest {
    Guest { dcid: 0, mac }
}

/// Address and destination of an entry that is no route.
fn texts(entry: &Entry) -> (String, String) {
    let Entry::Target(t) = entry else { panic!("{entry:?}") };
    (t.guest_text(), t.dest_text())
}

#[test]
fn defect_45_cache_set_reports_what_it_cannot_parse() {
    let f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    let id = try_create(&h, "o0", "direct", DIRECT).unwrap();
    let mac = here("2:8:20:aa:0:1".parse().unwrap());
    for bad in ["", "192.0.2.1", "x:1", "192.0.2.1:x", "2001:db8::9", "dropped", "192.0.2.1,4789"] {
        let failure = overlay::cache_set(&h, id, mac, bad).unwrap_err();
        assert_eq!(failure.status, Status::BadArg, "{bad}");
        assert!(f.state().cache.is_empty());
    }
    for (value, shown) in [
        ("192.0.2.1:4789", "192.0.2.1:4789"),
        ("[2001:db8::9]:4789", "[2001:db8::9]:4789"),
        ("2001:db8::9:4789", "[2001:db8::9]:4789"),
        ("DROP", "drop"),
    ] {
        overlay::cache_set(&h, id, mac, value).unwrap();
        let t = overlay::cache_get(&h, id, mac).unwrap();
        assert_eq!((t.guest_text(), t.dest_text()), ("2:8:20:aa:0:1".into(), shown.into()));
    }
    f.state().dest = 7;
    overlay::cache_set(&h, id, mac, "2:8:20:0:0:9,[::1]:80").unwrap();
    assert_eq!(overlay::cache_get(&h, id, mac).unwrap().dest_text(), "2:8:20:0:0:9,[::1]:80");
}

#[test]
fn defect_46_delete_works_without_varpd_and_create_leaves_no_link_id() {
    let mut f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    let id = try_create(&h, "o0", "direct", DIRECT).unwrap();
    f.varpd = None;
    overlay::delete(&h, id).unwrap();
    assert!(f.state().overlays.is_empty());
    assert_eq!(f.state().table.iter().count(), 0);

    let failure = try_create(&h, "o1", "direct", DIRECT).unwrap_err();
    assert_eq!(failure.details[0], "failed to create libvarpd handle: No such file or directory");
    assert!(failure.details[1].starts_with("varpd does not answer at /"), "{failure:?}");
    assert!(f.state().overlays.is_empty());
    assert_eq!(f.state().table.iter().count(), 0);
}

#[test]
fn defect_47_missing_properties_are_named_before_the_instance_goes() {
    let f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    let failure = try_create(&h, "o0", "direct", "direct/dest_ip=192.0.2.9").unwrap_err();
    assert_eq!(failure.status, Status::TryAgain);
    assert_eq!(
        failure.details,
        [
            "failed to activate varpd instance: Resource temporarily unavailable",
            "unset required property: direct/dest_port",
        ]
    );
    f.take_log();
    let failure =
        try_create(&h, "o0", "direct", "direct/dest_ip=192.0.2.9 direct/dest_port=1").unwrap_err();
    assert_eq!(failure.status, Status::BadArg);
    assert_eq!(
        failure.details,
        ["failed to activate device: Invalid argument", "unset required property: vxlan/listen_ip",]
    );
    let log = f.take_log();
    let destroyed: Vec<usize> = (0..log.len()).filter(|&i| log[i] == "varpd DESTROY").collect();
    assert_eq!(destroyed.len(), 1, "once: {log:?}");
    let asked = log.iter().rposition(|l| l.starts_with("dld GETPROP")).unwrap();
    assert!(asked < destroyed[0], "asked before it was destroyed: {log:?}");
}

#[test]
fn defect_49_a_property_without_a_value_is_an_error() {
    let f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    for name in ["direct/dest_ip", "mtu"] {
        let props = [PropArg { name: name.into(), values: vec![] }];
        let (encap, search, vnetid) = ("vxlan", "direct", VnetId(1));
        let spec =
            Create { name: "o0", encap, search, vnetid, dcid: 0, props: &props, temporary: true };
        let failure = overlay::create(&h, &spec).unwrap_err();
        assert_eq!(failure.status, Status::BadArg);
        assert!(failure.details[0].ends_with(name), "{failure:?}");
    }
}

#[test]
fn delete_changes_nothing_while_a_vnic_is_there() {
    let f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    let over = try_create(&h, "o0", "direct", DIRECT).unwrap();
    let (name, mac) = ("v0", vnic::Mac::Auto);
    let spec = vnic::Create { name, over, mac, vid: 0, force: false, temporary: true };
    let (v, mac) = vnic::create(&h, &spec).unwrap();
    assert_eq!(mac.to_string(), format!("2:8:20:aa:0:{:x}", v.0));
    assert_eq!(overlay::delete(&h, over), Err(Status::LinkBusy));
    assert_eq!(f.state().instances.len(), 1);
    assert_eq!(overlay::delete(&h, v), Err(Status::BadArg), "not an overlay");
    assert_eq!(vnic::delete(&h, over), Err(Status::BadArg), "not a vnic");

    vnic::delete(&h, v).unwrap();
    f.take_log();
    overlay::delete(&h, over).unwrap();
    assert_eq!(f.take_log(), ["dld DELETE", "varpd LOOKUP", "varpd DESTROY", "dlmgmt DESTROY"]);
}

#[test]
fn delete_reports_varpd_but_takes_the_name() {
    let f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    let id = try_create(&h, "o0", "direct", DIRECT).unwrap();
    f.fail("varpd DESTROY", Errno::EPERM);
    assert_eq!(overlay::delete(&h, id), Err(Status::Denied));
    assert_eq!(h.by_name("o0"), Err(Status::NotFound));
    // Without a device and without an instance it is only a name.
    let bare = f.add_link("o7", Class::OVERLAY);
    overlay::delete(&h, LinkId(bare)).unwrap();
}

#[test]
fn walk_prop_says_where_it_stopped() {
    let mut f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    let id = try_create(&h, "o0", "direct", DIRECT).unwrap();
    let walk = |id| {
        let mut n = 0;
        let failure = overlay::walk_prop(&h, id, |_| n += 1).unwrap_err();
        (n, failure.details)
    };
    assert_eq!(
        walk(LinkId(99)),
        (0, vec!["failed to get info for datalink id 99: object not found".into()])
    );
    let stub = f.add_link("stub0", Class::ETHERSTUB);
    assert_eq!(walk(LinkId(stub)), (0, vec!["stub0 is not an overlay".into()]));
    f.fail("dld PROPINFO encap", Errno::EIO);
    assert_eq!(
        walk(id),
        (2, vec!["failed to get propinfo for overlay o0, property 2: I/O error".into()])
    );
    f.fail("dld NPROPS", Errno::EACCES);
    let text = "failed to get overlay properties for overlay o0: permission denied";
    assert_eq!(walk(id), (0, vec![text.into()]));
    f.state().fail.clear();
    f.fail("varpd NPROPS", Errno::ENOENT);
    let text = "failed to get varpd props for overlay o0, varpd id 1: object not found";
    assert_eq!(walk(id), (6, vec![text.into()]));
    f.varpd = None;
    let (n, details) = walk(id);
    assert_eq!((n, details[0].as_str()), (6, text));
    assert!(details[1].starts_with("varpd does not answer at "), "{details:?}");
}

#[test]
fn the_cache_is_walked_to_its_end() {
    let f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    let id = try_create(&h, "o0", "direct", DIRECT).unwrap();
    for n in 0..10 {
        let mac = here(MacAddr([2, 8, 0x20, 0, 0, n]));
        overlay::cache_set(&h, id, mac, &format!("192.0.2.{}:4789", n + 1)).unwrap();
    }
    let mut seen = Vec::new();
    assert_eq!(overlay::walk_cache(&h, id, |e| seen.push(texts(e))), Ok(true));
    assert_eq!(seen.len(), 10);
    assert_eq!(seen[9], ("2:8:20:0:0:9".into(), "192.0.2.10:4789".into()));
    overlay::cache_delete(&h, id, here(MacAddr([2, 8, 0x20, 0, 0, 9]))).unwrap();
    let gone = overlay::cache_delete(&h, id, here(MacAddr([2, 8, 0x20, 0, 0, 9]))).unwrap_err();
    assert_eq!(gone.status, Status::NotFound);
    overlay::cache_flush(&h, id).unwrap();
    assert!(f.state().cache.is_empty());

    overlay::cache_set(&h, id, here(MacAddr::ZERO), "192.0.2.99:4789").unwrap();
    f.state().mode = OVERLAY_TARGET_POINT;
    let mut seen = Vec::new();
    assert_eq!(overlay::walk_cache(&h, id, |e| seen.push(texts(e))), Ok(true));
    assert_eq!(seen, [("*:*:*:*:*:*".into(), "192.0.2.99:4789".into())]);
}

/// With a varpd and a kernel of version 2.
#[test]
fn s8_7_entries_of_other_data_centers_routers_and_routes() {
    let f = Fake::new();
    (f.state().kernel_v2, f.state().varpd_v2) = (true, true);
    let h = Handle::open(&f.root).unwrap();
    let id = try_create(&h, "o0", "direct", DIRECT).unwrap();
    let mac = |n| MacAddr([2, 8, 0x20, 0, 0, n]);
    overlay::cache_set(&h, id, here(mac(1)), "192.0.2.1:4789").unwrap();
    overlay::cache_set(&h, id, here(mac(2)), "ROUTER").unwrap();
    for n in 3..9 {
        let guest = Guest { dcid: 7, mac: mac(n) };
        overlay::cache_set(&h, id, guest, &format!("192.0.2.{n}:4789")).unwrap();
        assert_eq!(overlay::cache_get(&h, id, guest).unwrap().guest, Some(guest));
    }
    overlay::cache_delete(&h, id, Guest { dcid: 7, mac: mac(8) }).unwrap();
    let mut routes = Vec::new();
    for n in 1..6 {
        let mut route = overlay_targ_route_entry_t::new_zeroed();
        route.otre_addr.otl3_dstip[15] = n;
        route.otre_mac.otm_dcid = if n == 1 { 0 } else { 7 };
        routes.push(route);
    }
    f.state().routes = routes;
    let mut seen = Vec::new();
    assert_eq!(overlay::walk_cache(&h, id, |e| seen.push(*e)), Ok(true));
    let targets: Vec<_> =
        seen.iter().filter(|e| matches!(e, Entry::Target(_))).map(texts).collect();
    assert_eq!(targets.len(), 7);
    assert_eq!(targets[0], ("2:8:20:0:0:1".into(), "192.0.2.1:4789".into()));
    assert_eq!(targets[1], ("2:8:20:0:0:2".into(), "router".into()));
    assert_eq!(targets[6], ("7/2:8:20:0:0:7".into(), "192.0.2.7:4789".into()));
    let routes: Vec<_> = seen
        .iter()
        .filter_map(
            |e| if let Entry::Route(r) = e { Some((r.dst.to_string(), r.at)) } else { None },
        )
        .collect();
    assert_eq!(routes.len(), 5);
    assert_eq!(routes[4], ("::5".to_owned(), None));
}

/// What is of version 1 is named, and the words of version 1 are spoken with it.
#[test]
fn v1_varpd_and_v1_kernel_say_what_they_do_not_have() {
    for (kernel, varpd, what) in
        [(false, false, "varpd"), (true, false, "varpd"), (false, true, "the kernel")]
    {
        let f = Fake::new();
        (f.state().kernel_v2, f.state().varpd_v2) = (kernel, varpd);
        let h = Handle::open(&f.root).unwrap();
        let id = try_create(&h, "o0", "direct", DIRECT).unwrap();
        let mac: MacAddr = "2:8:20:0:0:1".parse().unwrap();
        let far = Guest { dcid: 7, mac };
        let details =
            vec![format!("{what} is of version 1, which has no data centers and no routers")];
        let refused = Err(Failure { status: Status::NotSup, details });
        assert_eq!(overlay::cache_set(&h, id, far, "192.0.2.1:4789"), refused);
        assert_eq!(overlay::cache_set(&h, id, here(mac), "router"), refused);
        assert_eq!(overlay::cache_delete(&h, id, far), refused);
        assert_eq!(overlay::cache_get(&h, id, far).map(drop), refused);
        overlay::cache_set(&h, id, here(mac), "192.0.2.1:4789").unwrap();
        let mut seen = Vec::new();
        // A kernel of version 1 has nothing that is not told.
        assert_eq!(overlay::walk_cache(&h, id, |e| seen.push(texts(e))), Ok(!kernel));
        assert_eq!(seen, [("2:8:20:0:0:1".into(), "192.0.2.1:4789".into())]);
        overlay::cache_delete(&h, id, here(mac)).unwrap();
    }
}

#[test]
fn s8_7_a_data_center_wants_a_kernel_that_knows_them() {
    let f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    let props = [];
    let spec = Create {
        name: "o0",
        encap: "vxlan",
        search: "direct",
        vnetid: VnetId(1),
        dcid: 7,
        props: &props,
        temporary: false,
    };
    let failure = overlay::create(&h, &spec).unwrap_err();
    assert_eq!(failure.status, Status::NotSup);
    assert_eq!(failure.details, ["the kernel is of version 1, which has no data centers"]);
    assert!(f.state().overlays.is_empty() && h.by_name("o0").is_err());
    f.state().kernel_v2 = true;
    let failure = overlay::create(&h, &spec).unwrap_err();
    assert_eq!(failure.status, Status::TryAgain, "properties are missing, nothing else");
}

#[test]
fn mtu_is_read_and_set() {
    let f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    let id = LinkId(f.add_link("net0", Class::PHYS));
    let mtu = link::mtu(&h, id).unwrap();
    assert_eq!((mtu.value, mtu.default, mtu.writable), (1500, Some(1400), true));
    assert_eq!(overlay::format_possible(&mtu.possible), "576-8900");
    link::set_mtu(&h, id, 8900).unwrap();
    assert_eq!(link::max_sdu(&h, id), Ok(8900));
    assert_eq!(link::set_mtu(&h, id, 9000), Err(Status::BadArg));
    assert_eq!((link::state(&h, id), link::speed(&h, id)), ("up", 1000));
}

#[test]
fn a_handle_outlives_its_kernel_in_errors_only() {
    let mut f = Fake::new();
    let h = Handle::open(&f.root).unwrap();
    let id = try_create(&h, "o0", "direct", DIRECT).unwrap();
    f.stop_kernel();
    assert_eq!(overlay::status(&h, id), Err(Status::IoErr));
    assert!(h.by_name("o0").is_err());
    assert!(Handle::open(&f.root).is_err());
}
