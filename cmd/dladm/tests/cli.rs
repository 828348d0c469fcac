// SPDX-License-Identifier: CDDL-1.0
//! The program as a user meets it: command lines in; texts, tables and exit statuses out.

#[path = "../../../lib/libdladm/tests/fake/mod.rs"]
mod fake;

use fake::Fake;
use libdladm::dlmgmt::Class;
use overlay_abi::errno::Errno;
use overlay_abi::target::OVERLAY_TARGET_POINT;
use overlay_abi::target::v2::overlay_targ_route_entry_t;
use std::process::Command;
use zerocopy::FromZeros;

/// Runs dladm with the words of `line`; returns exit status, standard output, standard error.
fn dladm(f: &Fake, line: &str) -> (i32, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_dladm"))
        .args(line.split_whitespace())
        .env("OVERLAY_ROOT", f.root.dir())
        .output()
        .unwrap();
    let text = |b| String::from_utf8(b).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

/// Runs it, expecting success without a diagnostic.
fn good(f: &Fake, line: &str) -> String {
    let (code, out, err) = dladm(f, line);
    assert_eq!((code, err.as_str()), (0, ""), "{line}\n{out}");
    out
}

/// Runs it, expecting exit status 1 and these diagnostics (each without `dladm: `) and no output.
fn bad(f: &Fake, line: &str, diagnostics: &[&str]) {
    let (code, out, err) = dladm(f, line);
    let lines: Vec<&str> = err.lines().map(|l| l.strip_prefix("dladm: ").unwrap_or(l)).collect();
    assert_eq!((code, lines.as_slice(), out.as_str()), (1, diagnostics, ""), "{line}");
}

const FILES: &str = "create-overlay -e vxlan -s files -v 23 \
    -p vxlan/listen_ip=192.0.2.10,files/config=/var/tmp/hosts.json overlay0";
const DIRECT: &str = "create-overlay --encap=vxlan --search direct --vnetid=18446744073709551615 \
    -t --prop vxlan/listen_ip=2001:db8::1 -p direct/dest_ip=192.0.2.99,direct/dest_port=4789 \
    direct0";

const LIST: &str = "\
LINK               PROPERTY           PERM REQ VALUE      DEFAULT   POSSIBLE
overlay0           mtu                rw   -   1400       1400      576-8900
overlay0           vnetid             rw   -   23         --        --
overlay0           encap              r-   -   vxlan      --        vxlan
overlay0           varpd/id           r-   -   1          --        --
overlay0           vxlan/listen_ip    rw   y   192.0.2.10 --        --
overlay0           vxlan/listen_port  rw   y   4789       4789      1-65535
overlay0           search             r-   -   files      --        direct,
                                                                    files,svp
overlay0           files/config       rw   y   /var/tmp/hosts.json -- --
";

#[test]
fn create_show_delete() {
    let f = Fake::new();
    assert_eq!(good(&f, FILES), "");
    assert_eq!(good(&f, "show-overlay"), LIST);
    assert_eq!(good(&f, "show-overlay overlay0"), LIST);
    assert_eq!(good(&f, "show-overlay -o all"), LIST);
    bad(&f, FILES, &["overlay creation failed: object already exists"]);
    assert_eq!(good(&f, "delete-overlay overlay0"), "");
    assert_eq!(good(&f, "show-overlay"), "");
    bad(&f, "delete-overlay overlay0", &["failed to delete overlay0: object not found"]);
}

#[test]
fn defect_48_values_of_64_bits_and_ipv6_are_shown_whole() {
    let f = Fake::new();
    good(&f, DIRECT);
    let out = good(&f, "show-overlay -p -o link,property,value,default,possible direct0");
    assert_eq!(
        out,
        "\
direct0:mtu:1400:1400:576-8900
direct0:vnetid:18446744073709551615:--:--
direct0:encap:vxlan:--:vxlan
direct0:varpd/id:1:--:--
direct0:vxlan/listen_ip:2001\\:db8\\:\\:1:--:--
direct0:vxlan/listen_port:4789:4789:1-65535
direct0:search:direct:--:direct,files,svp
direct0:direct/dest_ip:192.0.2.99:--:--
direct0:direct/dest_port:4789:--:1-65535
"
    );
    assert_eq!(good(&f, "show-overlay -p -o value direct0").lines().nth(4), Some("2001:db8::1"));
}

#[test]
fn target_view() {
    let f = Fake::new();
    good(&f, FILES);
    for set in [
        "2:8:20:aa:0:1=192.0.2.11:4789",
        "02:08:20:AA:00:02=[2001:db8::9]:4789",
        "2:8:20:aa:0:3=Drop",
    ] {
        good(&f, &format!("modify-overlay -s {set} overlay0"));
    }
    assert_eq!(
        good(&f, "show-overlay -t"),
        "\
LINK                TARGET            DESTINATION
overlay0            2:8:20:aa:0:1     192.0.2.11:4789
overlay0            2:8:20:aa:0:2     [2001:db8::9]:4789
overlay0            2:8:20:aa:0:3     drop
"
    );
    assert_eq!(
        good(&f, "show-overlay -f -t -p -o target,destination overlay0").lines().nth(1),
        Some(r"2\:8\:20\:aa\:0\:2:[2001\:db8\:\:9]\:4789"),
        "the last of -f and -t counts"
    );
    good(&f, "modify-overlay --delete-entry 2:8:20:aa:0:3 overlay0");
    good(&f, "modify-overlay --flush-table overlay0");
    assert_eq!(good(&f, "show-overlay -t"), "");

    good(&f, "modify-overlay -s 0:0:0:0:0:0=192.0.2.99:4789 overlay0");
    f.state().mode = OVERLAY_TARGET_POINT;
    assert_eq!(
        good(&f, "show-overlay -t overlay0").lines().nth(1),
        Some("overlay0            *:*:*:*:*:*       192.0.2.99:4789")
    );
}

/// A route from 10.1.0.2 to 10.2.0.n: to network 102, VLAN 3, guest 2:8:20:0:0:n of data center 7.
fn route(n: u8, vlan: u16, at: Option<[u8; 4]>) -> overlay_targ_route_entry_t {
    let ip = |v4: [u8; 4]| overlay_abi::ids::mapped(v4.into());
    let mut r = overlay_targ_route_entry_t::new_zeroed();
    (r.otre_addr.otl3_srcip, r.otre_addr.otl3_dstip) = (ip([10, 1, 0, 2]), ip([10, 2, 0, n]));
    (r.otre_vlan, r.otre_route.otr_vnet, r.otre_route.otr_vlan) = (vlan, 102, 3);
    r.otre_route.otr_srcmac = [2, 8, 0x20, 0xff, 0, 2];
    r.otre_mac.otm_dcid = 7;
    r.otre_mac.otm_mac = [2, 8, 0x20, 0, 0, n];
    if let Some(at) = at {
        (r.otre_dest.otp_ip, r.otre_dest.otp_port) = (ip(at), 4789);
    }
    r
}

#[test]
fn s8_7_targets_of_data_centers_and_routes() {
    let f = Fake::new();
    (f.state().kernel_v2, f.state().varpd_v2) = (true, true);
    good(&f, &format!("create-overlay -d 5 {}", FILES.split_once(' ').unwrap().1));
    let dcid = good(&f, "show-overlay -p -o property,perm,value overlay0");
    assert!(dcid.contains("dcid:r-:5\n"), "{dcid}");
    for set in [
        "2:8:20:aa:0:1=192.0.2.11:4789",
        "2:8:20:aa:0:2=router",
        "0/2:8:20:aa:0:3=Router",
        "7/2:8:20:aa:0:1=192.0.2.12:4789",
        "7/2:8:20:aa:0:9=drop",
    ] {
        good(&f, &format!("modify-overlay -s {set} overlay0"));
    }
    good(&f, "modify-overlay -d 7/2:8:20:aa:0:9 overlay0");
    f.state().routes = vec![route(2, 0, Some([192, 0, 2, 12])), route(3, 9, None)];
    assert_eq!(
        good(&f, "show-overlay -t"),
        "\
LINK                TARGET            DESTINATION
overlay0            2:8:20:aa:0:1     192.0.2.11:4789
overlay0            2:8:20:aa:0:2     router
overlay0            2:8:20:aa:0:3     router
overlay0            7/2:8:20:aa:0:1   192.0.2.12:4789
overlay0            10.1.0.2>10.2.0.2 192.0.2.12:4789
overlay0            10.1.0.2@9>10.2.0.3 --
"
    );
    let fields = "target,state,dcid,mac,srcip,dstip,vlan,vnet,newvlan,router,destination";
    let out = good(&f, &format!("show-overlay -t -p -o {fields} overlay0"));
    let rows: Vec<&str> = out.lines().collect();
    assert_eq!(
        rows[1..],
        [
            r"2\:8\:20\:aa\:0\:2:router:0:2\:8\:20\:aa\:0\:2:::::::router",
            r"2\:8\:20\:aa\:0\:3:router:0:2\:8\:20\:aa\:0\:3:::::::router",
            r"7/2\:8\:20\:aa\:0\:1:valid:7:2\:8\:20\:aa\:0\:1:::::::192.0.2.12\:4789",
            r"10.1.0.2>10.2.0.2:valid:7:2\:8\:20\:0\:0\:2:10.1.0.2:10.2.0.2:0:102:3:2\:8\:20\:ff\:0\:2:192.0.2.12\:4789",
            r"10.1.0.2@9>10.2.0.3:ask:7:2\:8\:20\:0\:0\:3:10.1.0.2:10.2.0.3:9:102:3:2\:8\:20\:ff\:0\:2:",
        ]
    );
    assert!(good(&f, "show-overlay -t -o all").starts_with(
        "LINK                TARGET            DESTINATION                               STATE  DCID"
    ));
}

#[test]
fn s8_7_properties_of_the_kernel_are_set_while_it_works() {
    let f = Fake::new();
    f.state().kernel_v2 = true;
    good(&f, FILES);
    let list = "vl2_cache_size=1000,route_cache_size=2000,files/config=/x";
    good(&f, &format!("modify-overlay -p {list} overlay0"));
    let shown = good(&f, "show-overlay -p -o property,value overlay0");
    for line in list.split(',') {
        assert!(shown.contains(&line.replace('=', ":")), "{line}: {shown}");
    }
    // Up to the first that fails.
    bad(
        &f,
        "modify-overlay -p vl2_cache_size=3000,mtu=1400,route_cache_size=3000 overlay0",
        &["failed to set property mtu for overlay device overlay0: operation not supported"],
    );
    let shown = good(&f, "show-overlay -p -o property,value overlay0");
    assert!(shown.contains("vl2_cache_size:3000") && shown.contains("route_cache_size:2000"));
}

/// It is said once, not for every overlay, and what there is is shown.
#[test]
fn v1_varpd_on_v2_kernel_shows_what_it_knows() {
    let f = Fake::new();
    f.state().kernel_v2 = true;
    good(&f, FILES);
    good(&f, &FILES.replace("overlay0", "overlay1").replace("23", "24"));
    good(&f, "modify-overlay -s 2:8:20:aa:0:1=192.0.2.11:4789 overlay0");
    let (code, out, err) = dladm(&f, "show-overlay -t");
    assert_eq!((code, out.lines().count()), (0, 3), "{out}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.starts_with("dladm: warning: varpd is of version 1: routes, "), "{err}");
    bad(
        &f,
        "modify-overlay -d 7/2:8:20:0:0:1 overlay0",
        &[
            "warning: varpd is of version 1, which has no data centers and no routers",
            "failed to flush target 7/2:8:20:0:0:1 from overlay target cache overlay0: \
             operation not supported",
        ],
    );
}

#[test]
fn fma_view() {
    let f = Fake::new();
    good(&f, FILES);
    good(&f, &FILES.replace("overlay0", "overlay1").replace("23", "24"));
    let id = f.state().table.by_name("overlay1").unwrap().id.0;
    let why = "no varpd instance exists".to_owned();
    f.state().overlays.get_mut(&id).unwrap().degraded = Some(why);
    assert_eq!(
        good(&f, "show-overlay -f"),
        "\
LINK                STATUS  DETAILS
overlay0            ONLINE  -
overlay1            DEGRADED no varpd instance exists
"
    );
    assert_eq!(good(&f, "show-overlay -fpo status,details overlay0"), "ONLINE:-\n");
}

/// The expectations of the test suite of illumos: overlay 0, etherstub not 0, mixed not 0 in either
/// order.
#[test]
fn show_overlay_exit_statuses() {
    let f = Fake::new();
    good(&f, FILES);
    f.add_link("stub0", Class::ETHERSTUB);
    bad(&f, "show-overlay stub0", &["warning: stub0 is not an overlay"]);
    bad(&f, "show-overlay none0", &["warning: failed to find none0: object not found"]);
    for line in ["show-overlay stub0 overlay0", "show-overlay overlay0 stub0"] {
        let (code, out, err) = dladm(&f, line);
        assert_eq!((code, out.as_str()), (1, LIST), "{line}");
        assert_eq!(err, "dladm: warning: stub0 is not an overlay\n");
    }
    bad(&f, "show-overlay -f stub0", &["datalink stub0 is not an overlay device"]);
    bad(&f, "show-overlay -t stub0", &["warning: stub0 is not an overlay"]);
}

#[test]
fn show_overlay_fields() {
    let f = Fake::new();
    good(&f, FILES);
    let missing = "output fields must be specified in parsable mode";
    bad(&f, "show-overlay -p", &[missing]);
    bad(&f, "show-overlay --parseable -o all", &[missing]);
    bad(&f, "show-overlay -p -o link,nosuch", &["unknown output field: `nosuch'"]);
    bad(&f, "show-overlay -o nosuch", &["no valid output fields"]);
    let (code, out, err) = dladm(&f, "show-overlay -o nosuch,PERM,property");
    assert_eq!(
        (code, err.as_str()),
        (0, "dladm: warning: ignoring unknown output field: `nosuch'\n")
    );
    assert!(out.starts_with("PERM PROPERTY\nrw   mtu\n"), "{out}");
}

#[test]
fn defect_49_show_target_does_not_hide_errors() {
    let mut f = Fake::new();
    good(&f, FILES);
    f.fail("varpd WALK", Errno::EPERM);
    let failed = "warning: failed to get targets of overlay overlay0: permission denied";
    bad(&f, "show-overlay -t", &[failed]);
    f.state().instances.clear();
    bad(
        &f,
        "show-overlay -t",
        &[
            "warning: no varpd instance exists for the overlay",
            "warning: failed to get targets of overlay overlay0: object not found",
        ],
    );
    f.varpd = None;
    let (code, _, err) = dladm(&f, "show-overlay -t");
    assert_eq!(code, 1);
    assert!(err.contains("varpd does not answer at "), "{err}");
}

#[test]
fn create_overlay_option_checks() {
    let f = Fake::new();
    let usage = "usage: create-overlay [-t] [-d dcid] -e encap -s search -v vnetid \
                 [-p prop=value[,...]] overlay";
    let long = "x".repeat(2048);
    let name32 = format!("{}0", "a".repeat(31));
    for (args, text) in [
        ("-Z", "unrecognized option '-Z'"),
        ("--nosuch", "unrecognized option '--nosuch'"),
        ("-e", "option '-e' requires a value"),
        ("--vnetid", "option '--vnetid' requires a value"),
    ] {
        bad(&f, &format!("create-overlay {args}"), &[text, usage]);
    }
    let max = u64::MAX;
    for (args, text) in [
        ("-d x", "invalid data center id: x".to_owned()),
        ("-v 0x17", "couldn't parse virtual networkd id: 0x17".to_owned()),
        (&format!("-v {max}0"), format!("virtual networkd id too large: {max}0")),
        (&format!("-p {long}"), format!("property list too long '{long}'")),
        ("", "missing required virtual network id".into()),
        ("-v 1 -s files o0", "missing required encapsulation plugin".into()),
        ("-v 1 -e vxlan", "missing required search plugin".into()),
        ("-v 1 -e vxlan -s files", "missing device name".into()),
        ("-v 1 -e vxlan -s files o0 o1", "missing device name".into()),
        (&format!("-v 1 -e v -s f {name32}"), format!("link name too long '{name32}'")),
        ("-v 1 -e vxlan -s files o-0", "invalid link name 'o-0'".into()),
        ("-v 1 -e vxlan -s files o01", "invalid link name 'o01'".into()),
        (
            &format!("-v 1 -e {name32} -s files o0"),
            format!("encapsulation plugin name too long '{name32}'"),
        ),
        (
            &format!("-v 1 -e vxlan -s {name32} o0"),
            format!("search plugin name too long '{name32}'"),
        ),
        ("-v 1 -e vxlan -s files -p mtu o0", "invalid overlay property".into()),
        ("-v 1 -e vxlan -s files -p mtu=1, o0", "invalid overlay property".into()),
    ] {
        bad(&f, &format!("create-overlay {args}"), &[&text]);
    }
    assert_eq!(f.take_log(), [""; 0], "nothing was touched");
}

#[test]
fn create_overlay_failures_print_their_details() {
    let mut f = Fake::new();
    let create = |args: &str| format!("create-overlay -v 1 -e vxlan -s files {args} o0");
    bad(
        &f,
        &create("-p files/config=/x -p mtu=1400,9000"),
        &["warning: failed to set property mtu", "overlay creation failed: invalid argument"],
    );
    bad(
        &f,
        &create("-p vxlan/listen_ip=::"),
        &[
            "warning: failed to activate varpd instance: Resource temporarily unavailable",
            "warning: unset required property: files/config",
            "overlay creation failed: try again later",
        ],
    );
    bad(
        &f,
        "create-overlay -v 1 -e nosuch -s files o0",
        &["overlay creation failed: object not found"],
    );
    bad(
        &f,
        "create-overlay -v 1 -e vxlan -s nosuch o0",
        &[
            "warning: failed to create varpd instance: No such file or directory",
            "overlay creation failed: object not found",
        ],
    );
    f.varpd = None;
    let (code, _, err) = dladm(&f, &create(""));
    assert_eq!(code, 1);
    assert!(err.contains("failed to create libvarpd handle: No such file or directory"), "{err}");
    assert!(err.contains("varpd does not answer at "), "{err}");
    assert_eq!(f.state().table.iter().count(), 0);
}

#[test]
fn modify_overlay_sets_a_property_of_the_search_plugin() {
    let f = Fake::new();
    good(&f, FILES);
    good(&f, "modify-overlay -p files/config=/etc/other.json overlay0");
    let shown = good(&f, "show-overlay -p -o property,value overlay0");
    assert!(shown.contains("files/config:/etc/other.json"), "{shown}");
    f.fail("varpd SETPROP files/config", Errno::EPROTO);
    bad(
        &f,
        "modify-overlay --prop files/config=/x overlay0",
        &["failed to set property files/config for overlay device overlay0: operation failed"],
    );
}

#[test]
fn modify_overlay_option_checks() {
    let f = Fake::new();
    good(&f, FILES);
    f.add_link("stub0", Class::ETHERSTUB);
    for (args, text) in [
        ("overlay0", "need to specify one of -d, -f, -p, or -s"),
        ("-f -d 2:8:20:0:0:1 overlay0", "only one of -d, -f, -p, or -s may be used"),
        ("-f -f overlay0", "the option -f cannot be specified more than once"),
        ("-d zz overlay0", "invalid mac address: zz"),
        ("-s zz=1 overlay0", "invalid mac address: zz"),
        ("-p files/config overlay0", "invalid overlay property: files/config"),
        ("-d 7/zz overlay0", "invalid mac address: zz"),
        ("-d 4294967296/2:8:20:0:0:1 overlay0", "invalid data center id: 4294967296"),
        ("-d /2:8:20:0:0:1 overlay0", "invalid data center id: "),
        ("-s 7/7/2:8:20:0:0:1=drop overlay0", "invalid mac specification: 7/7/2:8:20:0:0:1"),
        ("-p a=1,2 overlay0", "invalid overlay property: a=1,2"),
        (
            "-p mtu=1400 overlay0",
            "failed to set property mtu for overlay device overlay0: operation not supported",
        ),
        (
            "-p route_cache_size=1000 overlay0",
            "failed to set property route_cache_size for overlay device overlay0: \
             object not found",
        ),
        ("-f", "missing required overlay device"),
        ("-f overlay0 overlay1", "only one overlay device may be specified"),
        ("-f none0", "failed to find overlay none0: object not found"),
        ("-f stub0", "stub0 is not an overlay"),
        (
            "-d 2:8:20:0:0:1 overlay0",
            "failed to flush target 2:8:20:0:0:1 from overlay target cache overlay0: \
             object not found",
        ),
        (
            "-s 2:8:20:0:0:1 overlay0",
            "failed to set target 2:8:20:0:0:1 for overlay target cache overlay0: \
             invalid argument",
        ),
        (
            "-s 2:8:20:0:0:1=2001:db8::9 overlay0",
            "failed to set target 2:8:20:0:0:1=2001:db8::9 for overlay target cache overlay0: \
             invalid argument",
        ),
    ] {
        bad(&f, &format!("modify-overlay {args}"), &[text]);
    }
    f.fail("varpd FLUSH", Errno::ENOTSUP);
    bad(
        &f,
        "modify-overlay -f overlay0",
        &["failed to flush target cache for overlay overlay0: operation not supported"],
    );
}

#[test]
fn varpd_down() {
    let mut f = Fake::new();
    good(&f, FILES);
    f.varpd = None;
    let (code, out, err) = dladm(&f, "show-overlay");
    assert_eq!(code, 1);
    assert_eq!(out, LIST.lines().take(7).map(|l| format!("{l}\n")).collect::<String>());
    assert!(err.starts_with(
        "dladm: warning: failed to get varpd props for overlay overlay0, varpd id 1: object not \
         found\ndladm: warning: varpd does not answer at "
    ));
    let (code, out, err) = dladm(&f, "show-overlay -f");
    assert_eq!(code, 0);
    assert!(out.contains("ONLINE"), "{out}");
    assert!(err.starts_with("dladm: warning: varpd does not answer at "), "{err}");
    let (code, _, err) = dladm(&f, "modify-overlay -f overlay0");
    assert_eq!(code, 1);
    assert!(err.contains("varpd does not answer at "), "{err}");
    assert!(err.contains("failed to flush target cache for overlay overlay0: "), "{err}");
    good(&f, "delete-overlay overlay0");
}

#[test]
fn kernel_down() {
    let mut f = Fake::new();
    f.stop_kernel();
    let root = f.root.to_string();
    for line in ["show-overlay", "show-link", "delete-overlay o0", "create-vnic -l o0 v0", FILES] {
        let dev = format!("could not open {root}/dev/dld: No such file or directory");
        let hint = format!("{dev} (is fakekerneld running under {root}?)");
        bad(&f, line, &[&hint]);
    }
    let line = format!("-R {root}/nosuch show-link");
    let (code, _, err) = dladm(&f, &line);
    assert!(code == 1 && err.contains("/nosuch/dev/dld"), "{err}");
}

#[test]
fn vnics() {
    let f = Fake::new();
    good(&f, FILES);
    good(&f, "create-vnic -l overlay0 vnic0");
    good(&f, "create-vnic -t -l overlay0 -m 02:8:20:1:2:3 -v 17 -p mtu=1300 vnic1");
    let id = f.state().table.by_name("vnic0").unwrap().id.0;
    assert_eq!(
        good(&f, "show-vnic"),
        format!(
            "\
LINK         OVER         SPEED  MACADDRESS        MACADDRTYPE         VID
vnic0        overlay0     1000   2:8:20:aa:0:{id:x}     random              0
vnic1        overlay0     1000   2:8:20:1:2:3      fixed               17
"
        )
    );
    assert_eq!(
        good(&f, "show-vnic -po link,over,macaddress vnic1"),
        "vnic1:overlay0:2\\:8\\:20\\:1\\:2\\:3\n"
    );
    assert_eq!(good(&f, "show-vnic -l vnic0"), "");
    assert_eq!(
        good(&f, "show-link"),
        "\
LINK        CLASS     MTU    STATE    BRIDGE     OVER
overlay0    overlay   1400   up       --         --
vnic0       vnic      1400   up       --         overlay0
vnic1       vnic      1300   up       --         overlay0
"
    );
    assert_eq!(good(&f, "show-link -p -o link,class,over vnic1"), "vnic1:vnic:overlay0\n");
    bad(&f, "delete-overlay overlay0", &["failed to delete overlay0: link busy"]);
    good(&f, "delete-vnic vnic1");
    good(&f, "delete-vnic vnic0");
    good(&f, "delete-overlay overlay0");
}

#[test]
fn vnic_failures() {
    let f = Fake::new();
    good(&f, FILES);
    good(&f, "create-vnic -l overlay0 vnic0");
    for (line, text) in [
        ("create-vnic -l none0 v0", "invalid link name 'none0'"),
        ("create-vnic -l overlay0 v-0", "invalid link name 'v-0'"),
        ("create-vnic -l overlay0 -m 1:2:3 v0", "invalid MAC address '1:2:3'"),
        ("create-vnic -l overlay0 -v 4095 v0", "invalid VLAN identifier '4095'"),
        ("create-vnic -l overlay0 -p mtu v0", "invalid vnic property"),
        (
            "create-vnic -l overlay0 -m 1:0:0:0:0:1 v0",
            "vnic creation over overlay0 failed: invalid MAC address value",
        ),
        (
            "create-vnic -l overlay0 vnic0",
            "vnic creation over overlay0 failed: object already exists",
        ),
        ("delete-vnic overlay0", "invalid link name 'overlay0'"),
        ("delete-vnic none0", "invalid link name 'none0'"),
        ("show-vnic none0", "invalid vnic name 'none0': object not found"),
        ("show-link none0", "link none0 is not valid: object not found"),
        ("set-linkprop -p mtu=1 none0", "link none0 is not valid: object not found"),
        ("set-linkprop vnic0", "link property must be specified"),
    ] {
        bad(&f, line, &[text]);
    }
    good(&f, "create-vnic -l overlay0 -m 2:8:20:1:2:3 vnic1");
    bad(
        &f,
        "create-vnic -l overlay0 -m 2:8:20:1:2:3 v0",
        &["vnic creation over overlay0 failed: MAC address is already in use"],
    );
    f.fail("dld VNIC_CREATE", Errno::EADDRNOTAVAIL);
    bad(
        &f,
        "create-vnic -l overlay0 v0",
        &[
            "warning: failed to create vnic device: Cannot assign requested address",
            "vnic creation over overlay0 failed: operation failed",
        ],
    );
    f.state().fail.clear();
    // A property that fails takes the VNIC with it.
    bad(
        &f,
        "create-vnic -l overlay0 -p mtu=9000 v0",
        &[
            "warning: cannot set link property 'mtu' on 'v0': invalid value",
            "vnic creation over overlay0 failed: operation failed",
        ],
    );
    assert_eq!(f.state().vnics.len(), 2);
    assert!(f.state().table.by_name("v0").is_none());
}

#[test]
fn link_properties() {
    let f = Fake::new();
    good(&f, FILES);
    assert_eq!(
        good(&f, "show-linkprop -p mtu overlay0"),
        "\
LINK         PROPERTY        PERM VALUE          DEFAULT        POSSIBLE
overlay0     mtu             rw   1400           1400           576-8900
"
    );
    good(&f, "set-linkprop -t -p mtu=1450 overlay0");
    assert_eq!(good(&f, "show-linkprop -c -o value"), "1450\n");
    let warning =
        |p: &str, e: &str| format!("warning: cannot set link property '{p}' on 'overlay0': {e}");
    for (prop, p, e) in [
        ("mtu=99999", "mtu", "invalid value"),
        ("mtu=99999999999", "mtu", "invalid value"),
        ("mtu=+1450", "mtu", "invalid value"),
        ("mtu=1450,1500", "mtu", "invalid number of values"),
        ("nosuch=1", "nosuch", "object not found"),
    ] {
        bad(&f, &format!("set-linkprop -p {prop} overlay0"), &[&warning(p, e)]);
    }
    bad(&f, "show-linkprop -p nosuch overlay0", &["warning: invalid property 'nosuch'"]);
}

#[test]
fn usage() {
    let f = Fake::new();
    let help = good(&f, "--help");
    for name in [
        "create-overlay",
        "delete-overlay",
        "modify-overlay",
        "show-overlay",
        "create-vnic",
        "delete-vnic",
        "show-vnic",
        "show-link",
        "set-linkprop",
        "show-linkprop",
    ] {
        assert!(help.contains(&format!("\n    {name} ")), "{name}");
    }
    for line in
        ["", "-R", "delete-overlay", "delete-overlay a0 b0", "delete-vnic", "show-link a0 b0"]
    {
        let (code, out, err) = dladm(&f, line);
        assert_eq!((code, out.as_str(), err.as_str()), (1, "", help.as_str()), "{line}");
    }
    let (code, _, err) = dladm(&f, "up-overlay");
    assert_eq!((code, err), (1, format!("dladm: unknown subcommand 'up-overlay'\n{help}")));
}
