// SPDX-License-Identifier: CDDL-1.0
//! From bytes to an index: the dialect, what is refused and how that is told.
use libvarpd as _; // The functions the plugin binds to.
use overlay_abi::ids::{MacAddr, VnetId};
use proptest::prelude::*;
use std::net::IpAddr;
use varpd_files::{Index, Link, Outcome, parse};

const LINK: Link = Link { vnet: VnetId(100), needs_port: true };

fn mac(text: &str) -> MacAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn good(text: &str) -> Index {
    let (index, warnings) = good_but(text);
    assert_eq!(warnings, Vec::<String>::new());
    index
}

/// The index, and the warnings.
fn good_but(text: &str) -> (Index, Vec<String>) {
    match parse(text.as_bytes(), LINK) {
        Outcome::Good(index, warnings) => (index, warnings.iter().map(|w| w.to_string()).collect()),
        Outcome::Syntax(problem) => panic!("{problem}"),
        Outcome::Bad(problems, _) => panic!("{problems:?}"),
    }
}

/// What is wrong, a line each.
fn bad(text: &str) -> Vec<String> {
    match parse(text.as_bytes(), LINK) {
        Outcome::Good(..) => panic!("taken: {text}"),
        Outcome::Syntax(problem) => panic!("not even JSON: {problem}"),
        Outcome::Bad(problems, total) => {
            assert_eq!(total, problems.len());
            problems.iter().map(|p| p.to_string()).collect()
        }
    }
}

fn syntax(bytes: &[u8]) -> String {
    match parse(bytes, LINK) {
        Outcome::Syntax(problem) => problem.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The example of spec/varpd.md 7.2.
const EXAMPLE: &str = r#"{
  "2:8:20:aa:0:1": { "ip": "192.0.2.11", "port": 4789, "arp": "10.1.0.1",
                     "ndp": "fd00::1", "dhcp-proxy": "2:8:20:aa:0:9" },
  "2:8:20:aa:0:9": { "ip": "2001:db8::9", "port": 4789, "arp": "10.1.0.9" } }"#;

#[test]
fn the_example_is_read() {
    let index = good(EXAMPLE);
    assert_eq!(index.len(), 2);
    let (one, nine) = (mac("2:8:20:aa:0:1"), mac("2:8:20:aa:0:9"));
    assert_eq!(index.point(one).unwrap().to_string(), "192.0.2.11:4789");
    assert_eq!(index.point(nine).unwrap().to_string(), "[2001:db8::9]:4789");
    assert_eq!(index.owner(ip("10.1.0.1")), Some(one));
    assert_eq!(index.owner(ip("fd00::1")), Some(one));
    assert_eq!(index.owner(ip("10.1.0.9")), Some(nine));
    assert_eq!(index.owner(ip("10.1.0.2")), None);
    assert_eq!(index.dhcp_proxy(one), Some(nine));
    assert_eq!(index.dhcp_proxy(nine), None);
    assert_eq!(index.point(mac("2:8:20:aa:0:2")), None);
}

#[test]
fn what_the_original_took_is_taken() {
    // Digits and cases of an Ethernet address, keys that are reserved, null, no member at all.
    let index = good(
        r#"{"AA:0b:c:D:e:0F": {"arp": "10.0.0.1", "ndp": null, "remark": {"port": [1e9, -0.5]}},
            "2:0:0:0:0:1": {}}"#,
    );
    assert_eq!(index.owner(ip("10.0.0.1")), Some(mac("aa:b:c:d:e:f")));
    // Known, and not to be reached.
    assert_eq!(index.point(mac("aa:b:c:d:e:f")), None);
    assert_eq!(index.len(), 2);
    assert_eq!(good("{}").len(), 0);
}

/// The original read the four characters of \uXXXX as a decimal number up to 127.
#[test]
fn defect_files_unicode_escapes_are_hexadecimal() {
    let index =
        good(r#"{"\u0032:\u0030:0:0:0:\u0061": {"\u0069p": "1\u0039\u0032.0.2.1", "port": 1}}"#);
    assert_eq!(index.point(mac("2:0:0:0:0:a")).unwrap().to_string(), "192.0.2.1:1");
    assert_eq!(good(r#"{"2:0:0:0:0:1": {"\ud83d\ude00": 1}}"#).len(), 1);
    let half = bad(r#"{"2:0:0:0:0:1": {"arp": "\ud83d"}}"#);
    assert!(half[0].starts_with("1:"), "{half:?}");
    assert!(half[0].contains("2:0:0:0:0:1/arp: "), "{half:?}");
}

/// The original read one byte beyond the end of a file that was cut.
#[test]
fn defect_files_every_cut_of_a_file_is_an_error() {
    for cut in 0..EXAMPLE.len() {
        syntax(&EXAMPLE.as_bytes()[..cut]);
    }
}

#[test]
fn what_is_not_json_is_told_with_its_place() {
    for (text, problem) in [
        ("", "1:1: EOF while parsing a value"),
        ("{\n  \"2:0:0:0:0:1\": {},\n}", "3:1: key must be a string"),
        ("{\"a\": 1} x", "1:10: trailing characters"),
        ("{\n\"a\" 1}", "2:5: expected `:`"),
        ("// hosts\n{}", "1:1: expected value"),
        ("{\"a\": 01}", "1:8: invalid number"),
    ] {
        assert_eq!(syntax(text.as_bytes()), problem, "{text:?}");
    }
    assert_eq!(syntax(b"{\n\"\xc3\xa9\xff\": 1}"), "2:3: this is not UTF-8");
    assert_eq!(syntax(b"\xef\xbb\xbf{}"), "1:1: expected value");
}

#[test]
fn the_top_is_an_object() {
    for (text, kind) in [
        ("[]", "an array"),
        ("7", "a number"),
        ("\"x\"", "a string"),
        ("null", "null"),
        ("true", "true or false"),
    ] {
        assert_eq!(bad(text), [format!("1:1: this is {kind}; it must be an object")]);
    }
}

#[test]
fn every_wrong_value_is_told_with_line_column_and_key() {
    let text = r#"{
  "2:0:0:0:0:1": { "ip": "192.0.2.300", "port": 70000 },
  "2:0:0:0:0:2": { "ip": "192.0.2.1", "port": "4789" },
  "2:0:0:0:0": {},
  "2:0:0:0:0:4": { "é": 1, "arp": 10 },
  "2:0:0:0:0:5": { "ndp": "10.0.0.1", "dhcp-proxy": "x", "vlan": 4095, "vid": "ten" },
  "2:0:0:0:0:6": { "ip": "192.0.2.1" },
  "2:0:0:0:0:7": [],
  "2:0:0:0:0:8": { "ip": "::", "port": 4789.0 },
  "2:0:0:0:0:9": { "arp": "239.0.0.1", "ndp": "::", "vid": -1, "vlan": -1 }
}"#;
    assert_eq!(
        bad(text),
        [
            "2:26: 2:0:0:0:0:1/ip: \"192.0.2.300\" is not an IPv4 or IPv6 address",
            "2:49: 2:0:0:0:0:1/port: 70000 is not a whole number from 1 to 65535",
            "3:47: 2:0:0:0:0:2/port: this is a string; it must be a number",
            "4:3: 2:0:0:0:0: this key is neither an Ethernet address, as in 2:8:20:aa:0:1, nor \"fabrics\"",
            "5:35: 2:0:0:0:0:4/arp: this is a number; it must be a string",
            "6:27: 2:0:0:0:0:5/ndp: \"10.0.0.1\" is not an IPv6 address",
            "6:53: 2:0:0:0:0:5/dhcp-proxy: \"x\" is not an Ethernet address",
            "6:66: 2:0:0:0:0:5/vlan: 4095 is not a whole number from 0 to 4094",
            "6:79: 2:0:0:0:0:5/vid: \"ten\" is not a virtual network id",
            "7:3: 2:0:0:0:0:6/port: this key is missing; the encapsulation of this link needs it",
            "8:18: 2:0:0:0:0:7: this is an array; it must be an object",
            "9:26: 2:0:0:0:0:8/ip: no host has this address",
            "9:40: 2:0:0:0:0:8/port: 4789.0 is not a whole number from 1 to 65535",
            "10:27: 2:0:0:0:0:9/arp: no guest has the address 239.0.0.1",
            "10:47: 2:0:0:0:0:9/ndp: no guest has the address ::",
            "10:60: 2:0:0:0:0:9/vid: -1 is not a whole number from 0 to 9223372036854775807",
            "10:72: 2:0:0:0:0:9/vlan: -1 is not a whole number from 0 to 4094",
        ]
    );
}

/// Defective: a MAC or IP address that is there twice aborts varpd.
#[test]
fn s74_what_is_there_twice_is_told() {
    let text = r#"{
  "2:0:0:0:0:1": { "arp": "10.0.0.1", "arp": "10.0.0.2" },
  "02:00:00:00:00:01": {},
  "2:0:0:0:0:3": { "arp": "10.0.0.2", "ndp": "fe80::1" },
  "2:0:0:0:0:4": { "ndp": "fe80::1" },
  "2:0:0:0:0:5": { "ip": null, "ip": null }
}"#;
    assert_eq!(
        bad(text),
        [
            "2:39: 2:0:0:0:0:1/arp: this key is there twice, first on line 2",
            "3:3: 02:00:00:00:00:01: the Ethernet address 2:0:0:0:0:1 is there twice, first on line 2",
            "4:27: 2:0:0:0:0:3/arp: another host has 10.0.0.2 as well, on line 2",
            "5:27: 2:0:0:0:0:4/ndp: another host has fe80::1 as well, on line 4",
            "6:32: 2:0:0:0:0:5/ip: this key is there twice, first on line 6",
        ]
    );
}

/// The original asked for the port always, its manual only where it is needed.
#[test]
fn defect_files_a_port_is_needed_only_where_the_encapsulation_needs_one() {
    let text = r#"{"2:0:0:0:0:1": {"ip": "192.0.2.1"}}"#;
    let Outcome::Good(index, _) = parse(text.as_bytes(), Link { needs_port: false, ..LINK }) else {
        panic!("refused")
    };
    let point = index.point(mac("2:0:0:0:0:1")).unwrap();
    assert_eq!((point.ip(), point.port), (ip("192.0.2.1"), 0));
    assert_eq!(bad(text).len(), 1);
}

#[test]
fn not_all_errors_are_kept_but_all_are_counted() {
    let hosts: Vec<_> = (0..1000).map(|n| format!("\"x{n}\": 1")).collect();
    let Outcome::Bad(problems, total) = parse(format!("{{{}}}", hosts.join(",")).as_bytes(), LINK)
    else {
        panic!("taken")
    };
    assert_eq!((problems.len(), total), (50, 1000));
    let long = format!("{{\"{}\\u0007\": 1}}", "long".repeat(100));
    let [problem] = &bad(&long)[..] else { panic!("one") };
    assert!(problem.len() < 250 && problem.contains("longlong..."), "{problem}");
    assert!(bad("{\"\\u001b[2J\": 1}")[0].contains("\u{fffd}[2J"));
}

#[test]
fn vlans_and_virtual_networks_keep_hosts_apart() {
    let (index, warnings) = good_but(
        r#"{
  "2:0:0:0:0:1": { "ip": "192.0.2.1", "port": 1, "arp": "10.0.0.1", "vlan": 5 },
  "2:0:0:0:0:2": { "ip": "192.0.2.1", "port": 1, "arp": "10.0.0.1", "vlan": 6 },
  "2:0:0:0:0:3": { "ip": "192.0.2.1", "port": 1, "arp": "10.0.0.1", "vid": "101" },
  "2:0:0:0:0:4": { "ip": "192.0.2.1", "port": 1, "arp": "10.0.0.4", "vid": "100" },
  "2:0:0:0:0:5": { "ip": "192.0.2.1", "port": 1, "arp": "10.0.0.4", "vid": 101 }
}"#,
    );
    let seen: Vec<_> =
        (1..=5).map(|n| index.point(MacAddr([2, 0, 0, 0, 0, n])).is_some()).collect();
    assert_eq!(seen, [true, true, false, true, false], "only this virtual network");
    assert_eq!(index.owner(ip("10.0.0.1")), None, "it is not told which VLAN asks");
    let owner_in = |vlan| index.owner_in(ip("10.0.0.1"), vlan);
    assert_eq!([owner_in(5), owner_in(6)].map(|m| m.map(|m| m.0[5])), [Some(1), Some(2)]);
    assert_eq!([owner_in(0), owner_in(7)], [None; 2]);
    assert_eq!(index.owner_in(ip("10.0.0.4"), 99), Some(mac("2:0:0:0:0:4")), "it said none");
    assert_eq!(index.owner(ip("10.0.0.4")), Some(mac("2:0:0:0:0:4")));
    assert_eq!(warnings, [""; 0]);
    // Without a VLAN of its own a host is in all.
    let text = r#"{ "2:0:0:0:0:1": { "arp": "10.0.0.1", "vlan": 5 }, "2:0:0:0:0:2": { "arp": "10.0.0.1" } }"#;
    assert_eq!(bad(text), ["1:76: 2:0:0:0:0:2/arp: another host has 10.0.0.1 as well, on line 1"]);
}

/// A file of the networks form with what a test puts in.
fn networks(fabrics: &str, hosts: &str) -> String {
    format!("{{{hosts}\n\"fabrics\": {{{fabrics}}}}}")
}

const BLUE: &str = r#""blue": {"prefix": "10.1.0.0/24", "vlan": 0, "routerip": "10.1.0.1", "routermac": "2:0:0:0:1:1"}"#;
const RED: &str = r#""red": {"prefix": "fd00:1::/64", "vlan": 3, "vid": "101", "dcid": 7, "routerip": "fd00:1::1", "routermac": "2:0:0:0:1:2"}"#;

#[test]
fn routers_of_fabrics_are_hosts_without_a_place() {
    let groups = r#""attached-fabrics": {"all": ["blue", "red"]}"#;
    let host = r#""2:0:0:0:0:1": {"ip": "192.0.2.1", "port": 1, "arp": "10.1.0.2", "vlan": 0},"#;
    // Whatever order they come in.
    for parts in [[BLUE, RED, groups], [groups, RED, BLUE], [RED, groups, BLUE]] {
        let index = good(&networks(&parts.join(","), host));
        assert_eq!(index.owner(ip("10.1.0.1")), Some(mac("2:0:0:0:1:1")));
        assert_eq!(index.point(mac("2:0:0:0:1:1")), None);
        assert_eq!(index.owner(ip("fd00:1::1")), None, "another virtual network's");
        assert_eq!(index.owner(ip("10.1.0.2")), Some(mac("2:0:0:0:0:1")));
        assert_eq!(index.len(), 2);
    }
}

/// Hosts of three networks, of which two reach each other.
const HOSTS: &str = r#"
"2:0:0:0:0:1": {"ip": "192.0.2.1", "port": 1, "arp": "10.1.0.2", "vlan": 0},
"2:0:0:0:0:2": {"ip": "192.0.2.2", "port": 2, "arp": "10.2.0.2", "ndp": "fd00:2::2", "vlan": 4, "vid": "101"},
"2:0:0:0:0:3": {"ip": "192.0.2.3", "port": 3, "arp": "10.3.0.2", "vlan": 0, "vid": "102"},
"2:0:0:0:0:4": {"ip": "192.0.2.4", "port": 4, "arp": "10.2.0.3", "vlan": 5, "vid": "101"},"#;
const FAR: &str = r#""far": {"prefix": "10.2.0.0/24", "vlan": 4, "vid": "101", "dcid": 7, "routerip": "10.2.0.1", "routermac": "2:0:0:0:1:2"}"#;
const THIRD: &str = r#""third": {"prefix": "10.3.0.0/24", "vlan": 0, "vid": "102", "routerip": "10.3.0.1", "routermac": "2:0:0:0:1:3"}"#;

/// Defective: groups of IPv6 prefixes without a length are wrong, and a group names only what came
/// before it; a number as `vid` is no network at all.
#[test]
fn s74_routes_lead_to_hosts_of_attached_subnets_only() {
    let groups = r#""attached-fabrics": {"g": ["far", "blue"], "alone": ["third"]}"#;
    let index = good(&networks(&[groups, BLUE, FAR, THIRD].join(","), HOSTS));
    let link = (LINK.vnet, 9);
    let find = |vlan, src, dst| index.routes.find(link, vlan, ip(src), ip(dst));
    let (to, place) = find(0, "10.1.0.2", "10.2.0.2").expect("a route");
    assert_eq!(
        (to.vnet, to.vlan, to.dcid, to.router),
        (VnetId(101), 4, Some(7), mac("2:0:0:0:1:2"))
    );
    assert_eq!(place.mac, mac("2:0:0:0:0:2"));
    assert_eq!(place.point.to_string(), "192.0.2.2:2");
    // It is the host that is asked for in the file, not the source.
    assert!(find(0, "10.1.0.77", "10.2.0.2").is_some());
    for (vlan, src, dst, why) in [
        (4, "10.1.0.2", "10.2.0.2", "another VLAN"),
        (0, "10.1.0.0", "10.2.0.2", "the subnet's own address"),
        (0, "10.9.0.2", "10.2.0.2", "no subnet of the source"),
        (0, "10.2.0.2", "10.1.0.2", "a subnet of another network"),
        (0, "10.1.0.2", "10.2.0.9", "no such host"),
        (0, "10.1.0.2", "10.2.0.3", "a host of another VLAN"),
        (0, "10.1.0.2", "10.2.0.1", "a router"),
        (0, "10.1.0.2", "10.3.0.2", "not attached"),
        (0, "10.1.0.2", "fd00:2::2", "no subnet of the destination"),
        (0, "fd00::2", "10.2.0.2", "another family"),
    ] {
        assert!(find(vlan, src, dst).is_none(), "{why}");
    }
    // The link's data center is 9: a subnet of another is not where its packets come from.
    assert!(index.routes.find((VnetId(101), 9), 4, ip("10.2.0.2"), ip("10.1.0.2")).is_none());
    assert!(index.routes.find((VnetId(101), 7), 4, ip("10.2.0.2"), ip("10.1.0.2")).is_some());
    assert!(index.is_router(mac("2:0:0:0:1:1")));
    assert!(!index.is_router(mac("2:0:0:0:1:2")), "another network's");
    let alone = good(&networks(&[BLUE, FAR, THIRD].join(","), HOSTS));
    assert!(alone.routes.find(link, 0, ip("10.1.0.2"), ip("10.2.0.2")).is_none(), "not attached");
    assert!(index.changes(&alone).routes, "that must be told");
    assert!(!index.changes(&index).routes);
}

/// Defective: an IPv4 prefix without a length is 32 bits of the v4-mapped address, which all of IPv4 is in.
/// Here its length counts from the v4-mapped address, as kernels want it.
#[test]
fn s74_prefixes_have_lengths_of_ipv6() {
    for (text, first, len) in [
        ("10.1.2.3/24", "10.1.2.0", 120),
        ("0.0.0.0/0", "0.0.0.0", 96),
        ("10.1.2.3", "10.1.2.3", 128),
        ("fd00:1::7/64", "fd00:1::", 64),
        ("::/0", "::", 0),
    ] {
        let prefix: varpd_files::Prefix = text.parse().unwrap();
        assert_eq!(prefix.parts(), (overlay_abi::ids::mapped(ip(first)), len), "{text}");
    }
}

/// Defective: DHCP looks for an address of which only the first byte is set, and neighbour discovery aborts as soon
/// as any host has an address.
#[test]
fn s74_whole_addresses_of_either_kind_are_looked_for() {
    let host = |n: u8, proxy: u8| {
        format!(
            "\"2:0:0:0:0:{n}\": {{\"ip\": \"192.0.2.{n}\", \"port\": 1, \"arp\": \"10.1.0.{n}\", \
             \"ndp\": \"fe80::{n}\", \"vlan\": 0, \"dhcp-proxy\": \"2:0:0:0:9:{proxy}\"}}"
        )
    };
    let index = good(&format!("{{{}, {}}}", host(1, 4), host(2, 5)));
    for (n, proxy) in [(1, 4), (2, 5)] {
        let at = mac(&format!("2:0:0:0:0:{n}"));
        assert_eq!(index.dhcp_proxy(at), Some(mac(&format!("2:0:0:0:9:{proxy}"))));
        assert_eq!(index.owner_in(ip(&format!("fe80::{n}")), 0).map(|o| o.0), Some(at.0));
    }
    assert_eq!(index.dhcp_proxy(mac("2:0:0:0:0:3")), None);
    assert_eq!(index.owner_in(ip("fe80::3"), 0), None);
}

#[test]
fn with_fabrics_hosts_say_more() {
    let wrong = bad(&networks(BLUE, "\"2:0:0:0:0:1\": {\"port\": 1},"));
    assert_eq!(
        wrong,
        [
            "1:2: 2:0:0:0:0:1/ip: this key is missing; with fabrics every host needs it",
            "1:2: 2:0:0:0:0:1/arp: this key is missing; with fabrics every host needs it",
            "1:2: 2:0:0:0:0:1/vlan: this key is missing; with fabrics every host needs it",
        ]
    );
}

#[test]
fn fabrics_are_checked() {
    let fabric = |prefix, ip| {
        format!(
            r#""f": {{"prefix": "{prefix}", "vlan": 9, "routerip": "{ip}", "routermac": "2:0:0:0:1:9"}}"#
        )
    };
    for (prefix, ip, good) in [
        ("10.2.0.0/16", "10.2.255.255", true),
        ("10.2.0.0/16", "10.3.0.0", false),
        ("10.2.0.0/16", "fd00::1", false),
        ("10.2.0.1/16", "10.2.9.9", true),
        ("fd00:2::/48", "fd00:2:0:ffff::1", true),
        ("fd00:2::/48", "fd00:2:1::1", false),
        ("0.0.0.0/0", "203.0.113.1", true),
        ("0.0.0.0/0", "fd00::1", false),
        ("::/0", "fd00::1", true),
        // Without a length it is one address. The original made 32 bits of an IPv6 prefix' 128 of it.
        ("10.2.0.1", "10.2.0.1", true),
        ("10.2.0.1", "10.2.0.2", false),
        ("fd00:2::1", "fd00:2::1", true),
        ("fd00:2::1", "fd00:2::2", false),
        ("10.2.0.0/33", "10.2.0.0", false),
        ("fd00::/129", "fd00::", false),
        ("10.2.0.0/", "10.2.0.0", false),
        ("10.2.0.0/+8", "10.2.0.0", false),
        ("10.2.0.0/8/8", "10.2.0.0", false),
        ("ten", "10.2.0.0", false),
    ] {
        let text = networks(&fabric(prefix, ip), "");
        let outcome = parse(text.as_bytes(), LINK);
        assert_eq!(matches!(outcome, Outcome::Good(..)), good, "{prefix} {ip}: {outcome:?}");
    }
    let long = "x".repeat(64);
    for (fabrics, wrong) in [
        (
            "\"f\": {}".to_owned(),
            vec!["2:13: fabrics/f/prefix: this key is missing; every fabric needs it"; 1],
        ),
        (
            format!("{BLUE}, {BLUE}"),
            vec!["fabrics/blue: this name is there twice, first on line 2"],
        ),
        (BLUE.replace("blue", &long), vec!["a name has 1 to 63 bytes"]),
        (
            format!("{BLUE}, {}", BLUE.replace("blue", "b2")),
            vec![
                "fabrics/b2/routermac: the Ethernet address 2:0:0:0:1:1 is there twice, first on line 2",
                "fabrics/b2/routerip: another host has 10.1.0.1 as well, on line 2",
                "fabrics/b2/prefix: its prefix overlaps that of blue",
            ],
        ),
        (
            BLUE.replace("2:0:0:0:1:1", "2::"),
            vec!["fabrics/blue/routermac: \"2::\" is not an Ethernet address"],
        ),
        (
            RED.replace("7,", "4294967296,"),
            vec!["fabrics/red/dcid: 4294967296 is not a whole number"],
        ),
        ("\"attached-fabrics\": {\"g\": [\"blue\"]}".to_owned(), vec!["there is no fabric blue"]),
        (
            format!("\"attached-fabrics\": {{\"g\": [\"blue\"], \"h\": [\"blue\"]}}, {BLUE}"),
            vec!["fabrics/attached-fabrics/h: fabric blue is in the group g already"],
        ),
        (
            format!("\"attached-fabrics\": {{\"g\": [\"blue\", 7], \"g\": {{}}}}, {BLUE}"),
            vec![
                "g: this is a number; it must be a string",
                "g: this name is there twice",
                "it must be an array",
            ],
        ),
        (
            format!("\"attached-fabrics\": [], \"attached-fabrics\": {{}}, {BLUE}"),
            vec!["fabrics/attached-fabrics: this is an array", "this name is there twice"],
        ),
    ] {
        let problems = bad(&networks(&fabrics, "")).join("\n");
        for wrong in wrong {
            assert!(problems.contains(wrong), "{wrong}:\n{problems}");
        }
    }
    let twice = format!("{{\"fabrics\": {{}}, \"fabrics\": {{{BLUE}}}}}");
    assert_eq!(bad(&twice), ["1:17: fabrics: this key is there twice"]);
    assert_eq!(bad("{\"fabrics\": 1}"), ["1:13: fabrics: this is a number; it must be an object"]);
    // In another data centre or VLAN the same addresses are other ones.
    let other =
        BLUE.replace("blue", "b2").replace("\"vlan\": 0", "\"vlan\": 1").replace("1:1\"", "1:7\"");
    let (index, warnings) = good_but(&networks(&format!("{BLUE}, {other}"), ""));
    assert_eq!(warnings, [""; 0]);
    // And each VLAN has the router of its own.
    let router = |vlan| index.owner_in(ip("10.1.0.1"), vlan).map(|m| m.0[5]);
    assert_eq!([router(0), router(1), router(2)], [Some(1), Some(7), None]);
}

#[test]
fn what_changed_is_what_must_be_forgotten() {
    let host = |n: u8, at: &str, arp: &str| {
        format!(
            "\"2:0:0:0:0:{n}\": {{\"ip\": \"{at}\", \"port\": 1, \"arp\": \"{arp}\", \"vlan\": 4}}"
        )
    };
    let old = good(&format!(
        "{{{}}}",
        [
            host(1, "192.0.2.1", "10.0.0.1"),
            host(2, "192.0.2.2", "10.0.0.2"),
            host(3, "192.0.2.3", "10.0.0.3"),
            "\"2:0:0:0:0:4\": {\"arp\": \"10.0.0.4\"}".into(),
        ]
        .join(",")
    ));
    let new = good(&format!(
        "{{{}}}",
        [
            host(1, "192.0.2.1", "10.0.0.2"),
            host(2, "192.0.2.9", "10.0.0.1"),
            host(4, "192.0.2.4", "10.0.0.4"),
            host(5, "192.0.2.5", "10.0.0.5"),
        ]
        .join(",")
    ));
    let changes = old.changes(&new);
    // 2 moved, 3 is gone; 4 and 5 could not be reached before, so nobody remembers where they were.
    assert_eq!(changes.moved, [mac("2:0:0:0:0:2"), mac("2:0:0:0:0:3")]);
    let told: Vec<_> =
        changes.addresses.iter().map(|(ip, o)| (ip.to_string(), o.mac, o.vlan)).collect();
    assert_eq!(
        told,
        [
            ("10.0.0.1".to_owned(), mac("2:0:0:0:0:2"), 4),
            ("10.0.0.2".to_owned(), mac("2:0:0:0:0:1"), 4)
        ]
    );
    assert_eq!(new.changes(&new), Default::default());
    assert_eq!(Index::default().changes(&new), Default::default());
}

#[test]
fn deep_nesting_is_no_danger() {
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    assert_eq!(good(&format!("{{\"2:0:0:0:0:1\": {{\"x\": {deep}}}}}")).len(), 1);
    bad(&format!("{{\"2:0:0:0:0:1\": {{\"arp\": {deep}}}}}"));
    bad(&format!("{{\"fabrics\": {{\"attached-fabrics\": {{\"g\": {deep}}}}}}}"));
}

/// Text that is nearly a configuration.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let good = networks(
        &[BLUE, RED, r#""attached-fabrics": {"all": ["blue", "red"]}"#].join(","),
        r#""2:0:0:0:0:1": {"ip": "192.0.2.1", "port": 1, "arp": "10.1.0.2", "vlan": 0, "vid": "100",
            "dhcp-proxy": "2:0:0:0:0:9", "ndp": "fe80::\u0031"},"#,
    );
    let len = good.len();
    let edit = (0..len, 0..8usize, proptest::collection::vec(any::<u8>(), 0..4));
    proptest::collection::vec(edit, 1..4).prop_map(move |edits| {
        let mut bytes = good.clone().into_bytes();
        for (at, cut, new) in edits {
            let at = at.min(bytes.len());
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, new);
        }
        bytes
    })
}

fn is_sane(bytes: &[u8]) {
    match parse(bytes, LINK) {
        Outcome::Good(index, warnings) => {
            assert!(warnings.len() <= 50);
            assert_eq!(index.changes(&index), Default::default());
        }
        Outcome::Syntax(p) => assert!(p.line >= 1 && p.column >= 1 && !p.what.is_empty()),
        Outcome::Bad(problems, total) => {
            assert!(!problems.is_empty() && problems.len() <= total);
            let lines = bytes.split(|b| *b == b'\n').count();
            for p in problems {
                assert!((1..=lines).contains(&p.line) && p.column >= 1, "{p}");
                assert!(p.to_string().len() < 2000, "{p}");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        is_sane(&bytes);
    }

    #[test]
    fn an_edited_configuration_is_read_or_refused(bytes in nearly()) {
        is_sane(&bytes);
    }

    #[test]
    fn what_is_written_is_found(
        hosts in proptest::collection::btree_map(any::<[u8; 6]>(), (any::<[u8; 4]>(), 1..=u16::MAX), 0..50)
    ) {
        let text: Vec<_> = hosts
            .iter()
            .filter(|(_, (ip, _))| *ip != [0; 4])
            .map(|(mac, (ip, port))| {
                let ip = IpAddr::from(*ip);
                format!("\"{}\": {{\"ip\": \"{ip}\", \"port\": {port}}}", MacAddr(*mac))
            })
            .collect();
        let index = good(&format!("{{{}}}", text.join(",\n")));
        for (mac, (ip, port)) in hosts.iter().filter(|(_, (ip, _))| *ip != [0; 4]) {
            let point = index.point(MacAddr(*mac)).unwrap();
            prop_assert_eq!((point.ip(), point.port), (IpAddr::from(*ip), *port));
        }
    }
}
