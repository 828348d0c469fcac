// SPDX-License-Identifier: CDDL-1.0
//! The plugin as varpd has it: loaded, configured through the door, asked by the kernel.
use libvarpd_client::Client;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, UnderlayAddr, VarpdId};
use overlay_abi::target::*;
use std::path::{Path, PathBuf};
use varpd_harness::*;
use zerocopy::FromZeros;

const LINK: u32 = 3;

fn host() -> Host {
    let host = Host::bare();
    host.varpd.load_plugin(&beside_test("libvarpd_files.so"));
    assert_eq!(host.varpd.plugins(), ["files"], "{}", host.log.text());
    host
}

fn set(client: &Client, id: VarpdId, path: &Path) -> Result<(), Errno> {
    let mut prop = client.prop_handle(id);
    prop.info_fill_by_name("files/config")?;
    prop.set(&[path.as_os_str().as_encoded_bytes(), b"\0"].concat())
}

fn file(host: &Host, text: &str) -> PathBuf {
    let path = host.dir.path().join("hosts.json");
    write(&path, text.as_bytes());
    path
}

/// An active instance over a file with this text.
fn active(host: &Host, text: &str) -> VarpdId {
    let path = file(host, text);
    let id = host.instance(LINK, "files");
    set(&host.client, id, &path).unwrap();
    host.client.instance_activate(id).unwrap();
    id
}

/// Where frames for guest `n` go.
fn place(host: &Host, id: VarpdId, n: u8) -> Option<String> {
    let answer = host.kernel.answer(host.kernel.ask(LINK, id.0, [2, 0, 0, 0, 0, n]));
    answer.map(|point| point.underlay().to_string())
}

fn degraded(host: &Host) -> Option<String> {
    host.kernel.state().links[&LINK].degraded.clone()
}

const TWO: &str = r#"{"2:0:0:0:0:1": {"ip": "192.0.2.1", "port": 4789},
 "2:0:0:0:0:2": {"ip": "2001:db8::2", "port": 4790}}"#;

#[test]
fn it_answers_where_hosts_are() {
    let host = host();
    let id = active(&host, TWO);
    assert_eq!(place(&host, id, 1).as_deref(), Some("192.0.2.1:4789"));
    assert_eq!(place(&host, id, 2).as_deref(), Some("[2001:db8::2]:4790"));
    assert_eq!(place(&host, id, 3), None);
    let broadcast = host.kernel.ask(LINK, id.0, [0xff; 6]);
    assert!(host.kernel.answer(broadcast).is_none());
    assert_eq!(degraded(&host), None);
}

#[test]
fn errors_of_a_start_are_numbers_and_tell_why() {
    let host = host();
    let id = host.instance(LINK, "files");
    let start = || host.client.instance_activate(id);
    assert_eq!(start(), Err(Errno::EAGAIN), "no path");
    let dir = host.dir.path().to_owned();
    let missing = dir.join("missing");
    // The original took a directory and an empty file for mapped memory.
    for (path, errno, why) in [
        (missing.clone(), Errno::ENOENT, format!("files: {}: No such file", missing.display())),
        (dir.clone(), Errno::EISDIR, format!("files: {}: Is a directory", dir.display())),
        ("/dev/null".into(), Errno::EINVAL, "files: /dev/null: Invalid argument".into()),
        (file(&host, ""), Errno::EPROTO, "hosts.json:1:1: EOF".into()),
    ] {
        set(&host.client, id, &path).unwrap();
        assert_eq!(start(), Err(errno), "{}", path.display());
        let told = degraded(&host).unwrap();
        assert!(told.contains(&why), "{told}");
    }
    file(&host, "{\"2:0:0:0:0:1\": {\"port\": 0},\n \"x\": {}}");
    assert_eq!(start(), Err(Errno::EINVAL));
    let told = degraded(&host).unwrap();
    let first = "hosts.json:1:26: 2:0:0:0:0:1/port: 0 is not a whole number from 1 to 65535";
    assert!(told.contains(first) && told.ends_with("(and 1 more, see the log)"), "{told}");
    file(&host, TWO);
    start().unwrap();
    assert_eq!(degraded(&host), None);
    assert!(place(&host, id, 1).is_some());
}

#[test]
fn a_pipe_does_not_hang_the_start() {
    let host = host();
    let path = host.dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let id = host.instance(LINK, "files");
    set(&host.client, id, &path).unwrap();
    assert_eq!(host.client.instance_activate(id), Err(Errno::EINVAL));
}

/// What the kernel remembers of guest `n`.
fn remember(host: &Host, n: u8, at: &str) {
    let at: std::net::SocketAddr = at.parse().unwrap();
    let mut entry = overlay_targ_cache_entry_t::new_zeroed();
    entry.otce_mac = [2, 0, 0, 0, 0, n];
    entry.otce_dest = UnderlayAddr::from(at).into();
    let mut state = host.kernel.state();
    state.links.get_mut(&LINK).unwrap().cache.insert(entry.otce_mac, entry);
}

/// Last bytes of the guests that the kernel remembers.
fn remembered(host: &Host) -> Vec<u8> {
    host.kernel.state().links[&LINK].cache.keys().map(|mac| mac[5]).collect()
}

#[test]
fn setting_the_path_again_reads_again_and_what_moved_is_forgotten() {
    let host = host();
    let id = active(
        &host,
        r#"{"2:0:0:0:0:1": {"ip": "192.0.2.1", "port": 1, "arp": "10.0.0.1", "vlan": 9},
            "2:0:0:0:0:2": {"ip": "192.0.2.2", "port": 1, "arp": "10.0.0.2"},
            "2:0:0:0:0:3": {"ip": "192.0.2.3", "port": 1}}"#,
    );
    for n in 1..=4 {
        remember(&host, n, "192.0.2.1:1");
    }
    let path = file(
        &host,
        r#"{"2:0:0:0:0:1": {"ip": "192.0.2.1", "port": 1},
            "2:0:0:0:0:2": {"ip": "192.0.2.9", "port": 1, "arp": "10.0.0.1", "vlan": 9}}"#,
    );
    set(&host.client, id, &path).unwrap();
    assert_eq!(remembered(&host), [1, 4], "2 moved, 3 is gone, 4 was none of ours");
    assert_eq!(place(&host, id, 2).as_deref(), Some("192.0.2.9:1"));
    assert_eq!(place(&host, id, 3), None);
    // The guests are told who has 10.0.0.1 now.
    let injected = host.kernel.state().injected.clone();
    let [(link, frame)] = &injected[..] else { panic!("{injected:?}") };
    assert_eq!(*link, u64::from(LINK));
    assert_eq!(
        frame[..18],
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 9, 8, 6]
    );
    assert_eq!(frame[32..36], [10, 0, 0, 1]);
}

#[test]
fn bad_contents_leave_the_old_ones_in_use() {
    let host = host();
    let id = active(&host, TWO);
    let good = file(&host, "{\"2:0:0:0:0:1\": 7}");
    remember(&host, 1, "192.0.2.1:4789");
    assert_eq!(set(&host.client, id, &good), Err(Errno::EINVAL));
    let told = degraded(&host).unwrap();
    assert!(told.contains("hosts.json:1:17: 2:0:0:0:0:1: this is a number"), "{told}");
    assert_eq!(remembered(&host), [1]);
    assert_eq!(place(&host, id, 1).as_deref(), Some("192.0.2.1:4789"));
    // A path that is no good does not replace one that is.
    assert_eq!(set(&host.client, id, Path::new("/nowhere/hosts")), Err(Errno::ENOENT));
    let mut prop = host.client.prop_handle(id);
    prop.info_fill_by_name("files/config").unwrap();
    let path = prop.get().unwrap();
    assert_eq!(path, [good.as_os_str().as_encoded_bytes(), b"\0"].concat());
    file(&host, TWO);
    set(&host.client, id, &good).unwrap();
    assert_eq!(degraded(&host), None);
}

/// Defective: what is restored lacks its indices, network and data center.
#[test]
fn s74_another_path_is_kept_over_a_restart() {
    let host = host();
    let run = host.dir.path().join("run");
    std::fs::create_dir(&run).unwrap();
    host.varpd.persist_enable(&run).unwrap();
    let id = active(&host, TWO);
    let other = host.dir.path().join("other.json");
    write(&other, TWO.as_bytes());
    let kept = || {
        let bytes = std::fs::read(run.join(format!("{}.varpd", id.0))).unwrap();
        let record = libvarpd::persist::decode(&bytes).unwrap();
        let Some(nvpair::Value::String(path)) = record.private.get("files/config") else {
            panic!("no path")
        };
        path.to_str().unwrap().to_owned()
    };
    assert!(kept().ends_with("/hosts.json"));
    set(&host.client, id, &other).unwrap();
    assert_eq!(kept(), other.to_str().unwrap());
    // One that is no good is not kept.
    assert_eq!(set(&host.client, id, Path::new("/nowhere/hosts")), Err(Errno::ENOENT));
    assert_eq!(kept(), other.to_str().unwrap());
    // What cannot be kept is told; it is in use all the same.
    std::fs::remove_dir_all(&run).unwrap();
    assert_eq!(set(&host.client, id, &host.dir.path().join("hosts.json")), Err(Errno::ENOENT));
    let mut prop = host.client.prop_handle(id);
    prop.info_fill_by_name("files/config").unwrap();
    assert!(prop.get().unwrap().ends_with(b"/hosts.json\0"));
}

#[test]
fn varpd_asks_all_to_read_again() {
    let host = host();
    let id = active(&host, TWO);
    host.varpd.load_plugin(&beside_test("libvarpd_direct.so"));
    // One without a file, one whose file is not set.
    host.instance(7, "direct");
    host.instance(8, "files");
    file(&host, &TWO.replace("192.0.2.1", "192.0.2.9"));
    remember(&host, 1, "192.0.2.1:4789");
    host.varpd.reread();
    assert!(remembered(&host).is_empty());
    assert_eq!(place(&host, id, 1).as_deref(), Some("192.0.2.9:4789"));
    file(&host, "{");
    host.varpd.reread();
    assert_eq!(place(&host, id, 1).as_deref(), Some("192.0.2.9:4789"));
    let log = host.log.text();
    assert!(log.contains("INFO configuration read again"), "{log}");
    assert!(log.contains("cannot be used, the old one stays error=EPROTO instance=1"), "{log}");
    assert_eq!(log.matches("configuration").count(), 2, "{log}");
}

#[test]
fn lookups_and_re_reads_do_not_meet() {
    let host = host();
    let id = active(&host, TWO);
    let moved = TWO.replace("192.0.2.1", "192.0.2.9");
    let path = host.dir.path().join("hosts.json");
    std::thread::scope(|s| {
        let reader = s.spawn(|| {
            let client = Client::open_path(&host.dir.path().join("varpd.door")).unwrap();
            for n in 0..40 {
                write(&path, if n % 2 == 0 { moved.as_bytes() } else { TWO.as_bytes() });
                set(&client, id, &path).unwrap();
            }
        });
        let mut asked = 0;
        while !reader.is_finished() || asked < 100 {
            let at = place(&host, id, 1).expect("is always somewhere");
            assert!(["192.0.2.1:4789", "192.0.2.9:4789"].contains(&&*at), "{at}");
            asked += 1;
        }
    });
    assert_eq!(place(&host, id, 1).as_deref(), Some("192.0.2.1:4789"));
}

#[test]
fn its_property_is_described() {
    let host = host();
    let id = host.instance(LINK, "files");
    assert_eq!(host.client.prop_nprops(id), Ok(2));
    let mut prop = host.client.prop_handle(id);
    prop.info_fill(1).unwrap();
    let info = prop.info().unwrap();
    assert_eq!((info.name.as_str(), info.default.len()), ("files/config", 0));
    assert_eq!(prop.info_fill(2), Err(Errno::EINVAL));
    host.kernel.add_link(9, OVERLAY_PLUGIN_D_ETHERNET);
    assert_eq!(host.client.instance_create(LinkId(9), "files"), Err(Errno::ENOTSUP));
}

/// Defective: of what an instance knew, neighbour discovery's part stays when it stops. Here all is one index.
#[test]
fn s74_a_stopped_instance_knows_nobody() {
    let host = host();
    let id = active(&host, TWO);
    host.client.instance_destroy(id).unwrap();
    assert!(host.kernel.answer(host.kernel.ask(LINK, id.0, [2, 0, 0, 0, 0, 1])).is_none());
}

#[test]
fn a_hundred_thousand_hosts() {
    let host = host();
    let mut text = String::from("{");
    for n in 0..100_000u32 {
        let [_, b, c, d] = n.to_be_bytes();
        let comma = if n == 0 { "" } else { ",\n" };
        text += &format!(
            "{comma}\"2:0:0:{b:x}:{c:x}:{d:x}\": {{\"ip\": \"192.0.2.{d}\", \"port\": 4789, \"arp\": \"10.{b}.{c}.{d}\"}}"
        );
    }
    let id = active(&host, &(text + "}"));
    let far = host.kernel.ask(LINK, id.0, [2, 0, 0, 1, 0x86, 0x9f]);
    assert_eq!(host.kernel.answer(far).unwrap().underlay().to_string(), "192.0.2.159:4789");
}

const ASKER: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The sum of RFC 1071, complemented.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!(sum as u16)).to_be_bytes()
}

fn arp_request(target: [u8; 4]) -> Vec<u8> {
    let head = [&[0xff; 6][..], &ASKER, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    [&head[..], &ASKER, &[10, 0, 0, 1], &[0; 6], &target].concat()
}

fn solicitation(target: &str) -> Vec<u8> {
    let target = target.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let source = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
    group[13..].copy_from_slice(&target[13..]);
    let mut icmp = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target, &[1, 1], &ASKER].concat();
    let pseudo = [&source[..], &group, &[0, 0, 0, 32, 0, 0, 0, 58], &icmp].concat();
    icmp[2..4].copy_from_slice(&checksum(&pseudo));
    let ethernet = [&[0x33, 0x33], &group[12..], &ASKER, &[0x86, 0xdd]].concat();
    [&ethernet[..], &[0x60, 0, 0, 0, 0, 32, 58, 255], &source, &group, &icmp].concat()
}

fn discover(from: [u8; 6]) -> Vec<u8> {
    let mut ip = [&[0x45, 0, 1, 72, 0, 0, 0, 0, 64, 17, 0, 0][..], &[0; 4], &[0xff; 4]].concat();
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    let udp = [0, 68, 0, 67, 1, 52, 0, 0];
    let mut bootp = vec![0; 300];
    bootp[..4].copy_from_slice(&[1, 1, 6, 0]);
    bootp[28..34].copy_from_slice(&from);
    bootp[236..244].copy_from_slice(&[99, 130, 83, 99, 53, 1, 1, 255]);
    [&[0xff; 6][..], &from, &[8, 0], &ip, &udp, &bootp].concat()
}

#[test]
fn questions_of_guests_are_answered_from_the_file() {
    let host = host();
    let id = active(
        &host,
        r#"{"2:0:0:0:0:1": {"arp": "10.0.0.1", "dhcp-proxy": "2:0:0:0:0:9"},
            "2:0:0:0:0:2": {"arp": "10.0.0.2", "ndp": "fd00::2"},
            "2:0:0:0:0:3": {"arp": "fd00::3"}}"#,
    );
    let ask =
        |frame| assert!(host.kernel.answer(host.kernel.ask_about(LINK, id.0, frame)).is_none());
    ask(arp_request([10, 0, 0, 2]));
    ask(solicitation("fd00::2"));
    ask(solicitation("fd00::3"));
    ask(discover(ASKER));
    // Nobody has these, and nobody serves that one.
    ask(arp_request([10, 0, 0, 3]));
    ask(solicitation("fd00::4"));
    ask(discover([2, 0, 0, 0, 0, 2]));
    ask(discover([2, 0, 0, 0, 0, 7]));
    let state = host.kernel.state();
    let answers: Vec<_> = state.injected.iter().map(|(_, frame)| frame[11]).collect();
    assert_eq!(answers, [2, 2, 3], "the last byte of who answered");
    let [(_, dhcp)] = &state.resent[..] else { panic!("{:?}", state.resent) };
    assert_eq!(dhcp[..12], [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1]);
}
