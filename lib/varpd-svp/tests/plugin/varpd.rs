// SPDX-License-Identifier: CDDL-1.0
//! The plugin as varpd has it: loaded, configured through the door, asked by the kernel, with a directory at the other
//! end of real sockets.
use crate::directory::*;
use libvarpd_client::Client;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, UnderlayAddr, VarpdId, mapped};
use overlay_abi::target::*;
use socket2::SockRef;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use svp::log::Entry;
use varpd_harness::process::wait_for;
use varpd_harness::*;

const LINK: u32 = 3;
/// The network of that link, and of the one after it.
const VNET: u32 = 103;
const UNDERLAY: &str = "192.0.2.7";

fn host() -> Host {
    let host = Host::bare();
    host.varpd.load_plugin(&beside_test("libvarpd_svp.so"));
    assert_eq!(host.varpd.plugins(), ["svp"], "{}", host.log.text());
    host
}

fn set(client: &Client, id: VarpdId, name: &str, value: &[u8]) -> Result<(), Errno> {
    let mut prop = client.prop_handle(id);
    prop.info_fill_by_name(name)?;
    prop.set(value)
}

fn ask_there(host: &Host, id: VarpdId, at: SocketAddr) {
    let name = [at.ip().to_string().as_bytes(), b"\0"].concat();
    set(&host.client, id, "svp/port", &u64::from(at.port()).to_ne_bytes()).unwrap();
    set(&host.client, id, "svp/host", &name).unwrap();
}

/// An active instance that asks this directory.
fn active_on(host: &Host, link: u32, at: SocketAddr) -> VarpdId {
    let id = host.instance(link, "svp");
    ask_there(host, id, at);
    set(&host.client, id, "svp/underlay_ip", &mapped(UNDERLAY.parse().unwrap())).unwrap();
    host.client.instance_activate(id).unwrap();
    id
}

/// The same, once it has a connection.
fn connected(host: &Host, link: u32, directory: &Directory) -> VarpdId {
    let id = active_on(host, link, directory.addr);
    wait_for("a connection", || peers(host, link).iter().any(|peer| peer["state"] == "ACTIVE"));
    id
}

/// What the plugin tells of the instance of a link.
fn told(host: &Host, link: u32) -> serde_json::Value {
    let status = host.varpd.status();
    let of_link = status.instances.into_iter().find(|i| i.report.link == link);
    of_link.and_then(|i| i.told).expect("it tells something")
}

fn peers(host: &Host, link: u32) -> Vec<serde_json::Value> {
    told(host, link)["peers"].as_array().unwrap().clone()
}

/// Where frames for guest `n` go.
fn place(host: &Host, id: VarpdId, n: u8) -> Option<String> {
    let answer = host.kernel.answer(host.kernel.ask(LINK, id.0, mac(n).0));
    answer.map(|point| point.underlay().to_string())
}

fn remember(host: &Host, n: u8, at: &str) {
    let mut entry =
        overlay_targ_cache_entry_t { otce_mac: mac(n).0, ..zerocopy::FromZeros::new_zeroed() };
    entry.otce_dest = UnderlayAddr::from(at.parse::<SocketAddr>().unwrap()).into();
    host.kernel.state().links.get_mut(&LINK).unwrap().cache.insert(entry.otce_mac, entry);
}

#[test]
fn the_directory_says_where_guests_are() {
    let (host, directory) = (host(), Directory::start());
    directory.put(VNET, 1, "192.0.2.1:4789");
    directory.put(VNET, 2, "[2001:db8::2]:4790");
    directory.put(VNET + 1, 3, "192.0.2.3:4789");
    let id = connected(&host, LINK, &directory);
    assert_eq!(place(&host, id, 1).as_deref(), Some("192.0.2.1:4789"));
    assert_eq!(place(&host, id, 2).as_deref(), Some("[2001:db8::2]:4790"));
    assert_eq!(place(&host, id, 3), None, "a guest of another network");
    let asked = directory.known().asked;
    assert_eq!(asked, 3);
    // Nobody is where everybody is, and nobody is asked.
    for dst in [[0xff; 6], [0x33, 0x33, 0, 0, 0, 1], [1, 0, 0x5e, 0, 0, 1]] {
        assert!(host.kernel.answer(host.kernel.ask(LINK, id.0, dst)).is_none(), "{dst:?}");
    }
    assert_eq!(directory.known().asked, asked);
    assert_eq!(told(&host, LINK)["counters"]["found"], 2);
    assert_eq!(told(&host, LINK)["counters"]["not_found"], 1);
    assert_eq!(told(&host, LINK)["host"], "127.0.0.1");
}

#[test]
fn many_lookups_at_a_time_are_each_answered_once() {
    let (host, directory) = (host(), Directory::start());
    for n in 0..=200 {
        directory.put(VNET, n, &format!("192.0.2.{n}:4789"));
    }
    let id = connected(&host, LINK, &directory);
    let asked: Vec<_> =
        (0..1000).map(|k| (k % 250, host.kernel.ask(LINK, id.0, mac((k % 250) as u8).0))).collect();
    for (n, request) in asked {
        let at = host.kernel.answer(request).map(|point| point.underlay().to_string());
        // Where there is no address there is no answer; and the kernel takes no other for host 0.
        assert_eq!(at, (n <= 200).then(|| format!("192.0.2.{n}:4789")), "{n}");
    }
    // More than may be open at a time: those above are dropped, and none is forgotten.
    let asked: Vec<_> = (0..6000).map(|_| host.kernel.ask(LINK, id.0, mac(1).0)).collect();
    for request in asked {
        let at = host.kernel.answer(request).map(|point| point.underlay().to_string());
        assert!(at.is_none_or(|at| at == "192.0.2.1:4789"));
    }
    assert!(host.kernel.state().strays.is_empty());
    assert_eq!(told(&host, LINK)["counters"]["lookups"], 7000);
    assert_eq!(host.varpd.forgotten(), 0);
}

#[test]
fn arp_and_neighbour_discovery_are_answered_and_the_kernel_is_told_first() {
    let (host, directory) = (host(), Directory::start());
    let at: SocketAddr = "192.0.2.2:4789".parse().unwrap();
    for ip in [frames::OWNER_V4.into(), frames::OWNER_V6.into()] {
        directory.known().vl3.insert((VNET, ip), (frames::OWNER, at));
    }
    let id = connected(&host, LINK, &directory);
    for kind in [frames::Kind::Arp, frames::Kind::Ndp] {
        let question = kind.question();
        let request = host.kernel.ask_about(LINK, id.0, question.clone());
        assert!(host.kernel.answer(request).is_none(), "the question goes no further");
        let mut state = host.kernel.state();
        let (_, answer) = state.injected.pop().expect("an answer");
        kind.check(&question, &answer);
        let told = std::mem::take(&mut state.cache_changes);
        assert_eq!(told, [(OVERLAY_TARG_CACHE_SET, frames::OWNER.0)]);
        let entry = state.links[&LINK].cache[&frames::OWNER.0];
        assert_eq!(entry.otce_dest.underlay().to_string(), "192.0.2.2:4789");
    }
}

/// spec/svp.md 4: a router's address is made of the OUI and the network, and the kernel is told nothing.
#[test]
fn a_guest_behind_a_router_is_told_the_routers_address() {
    let (host, directory) = (host(), Directory::start());
    let nowhere: SocketAddr = "[::]:0".parse().unwrap();
    directory.known().vl3.insert((VNET, frames::OWNER_V4.into()), (mac(9), nowhere));
    let id = connected(&host, LINK, &directory);
    let ask = || host.kernel.ask_about(LINK, id.0, frames::arp_request());
    assert!(host.kernel.answer(ask()).is_none());
    assert!(host.kernel.state().injected.is_empty(), "without an OUI there is no answer");
    set(&host.client, id, "svp/router_oui", b"2:8:21:0:0:0\0").unwrap();
    wait_for("a connection", || peers(&host, LINK).iter().any(|peer| peer["state"] == "ACTIVE"));
    assert!(host.kernel.answer(ask()).is_none());
    let state = host.kernel.state();
    let [(_, answer)] = &state.injected[..] else { panic!("{:?}", state.injected) };
    assert_eq!(answer[22..28], [2, 8, 0x21, 0, 0, VNET as u8]);
    assert!(state.cache_changes.is_empty());
}

#[test]
fn what_has_changed_is_forgotten_or_told_to_the_guests_and_then_removed() {
    let (host, directory) = (host(), Directory::start());
    directory.put(VNET, 1, "192.0.2.1:4789");
    let id = connected(&host, LINK, &directory);
    assert_eq!(place(&host, id, 1).as_deref(), Some("192.0.2.1:4789"));
    remember(&host, 1, "192.0.2.1:4789");
    directory.put(VNET, 1, "192.0.2.9:4789");
    directory.tell(Entry::Vl2 { mac: mac(1), vnet: VNET });
    for ip in [v4(1), v6(1)] {
        directory.tell(Entry::Vl3 { ip: mapped(ip).into(), vlan: 5, vnet: VNET });
    }
    // Of a network that is not here: removed, and nothing is done.
    directory.tell(Entry::Vl2 { mac: mac(1), vnet: VNET + 7 });
    wait_for("the log to be removed", || directory.known().log.is_empty());
    let state = host.kernel.state();
    assert_eq!(state.cache_changes, [(OVERLAY_TARG_CACHE_REMOVE, mac(1).0)]);
    let mut frames: Vec<_> = state.injected.iter().map(|(_, frame)| frame.clone()).collect();
    frames.sort_by_key(Vec::len);
    let [arp, advertisement] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(
        arp[..18],
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 8, 0x20, 0, 0, 1, 0x81, 0, 0, 5, 8, 6]
    );
    assert_eq!(arp[32..36], [10, 1, 0, 1]);
    assert_eq!(
        advertisement[..18],
        [0x33, 0x33, 0, 0, 0, 1, 2, 8, 0x20, 0, 0, 1, 0x81, 0, 0, 5, 0x86, 0xdd]
    );
    assert_eq!(advertisement[18 + 8..18 + 24], mapped(v6(1)));
    drop(state);
    assert_eq!(place(&host, id, 1).as_deref(), Some("192.0.2.9:4789"));
    assert!(
        directory.known().readers.iter().all(|ip| ip.octets() == mapped(UNDERLAY.parse().unwrap()))
    );
}

#[test]
fn overlays_with_one_directory_share_a_connection() {
    let (host, directory) = (host(), Directory::start());
    let one = connected(&host, LINK, &directory);
    let other = connected(&host, LINK + 1, &directory);
    assert_eq!(directory.known().accepted, 1);
    assert_eq!(told(&host, LINK)["instances"].as_array().unwrap().len(), 2);
    host.client.instance_destroy(one).unwrap();
    directory.put(VNET + 1, 4, "192.0.2.4:4789");
    let request = host.kernel.ask(LINK + 1, other.0, mac(4).0);
    assert!(host.kernel.answer(request).is_some());
    assert_eq!(directory.known().accepted, 1);
    host.client.instance_destroy(other).unwrap();
    // With the last of them the edge goes, and it comes again.
    let again = connected(&host, LINK + 2, &directory);
    assert_eq!(directory.known().accepted, 2);
    directory.put(VNET + 2, 4, "192.0.2.5:4789");
    assert!(host.kernel.answer(host.kernel.ask(LINK + 2, again.0, mac(4).0)).is_some());
}

#[test]
fn an_instance_that_stops_lets_go_of_its_lookups() {
    let (host, directory) = (host(), Directory::start());
    let id = connected(&host, LINK, &directory);
    directory.known().manner = Manner::Silent;
    let requests: Vec<_> = (0..50).map(|n| host.kernel.ask(LINK, id.0, mac(n).0)).collect();
    host.kernel.wait("lookups to be taken", |s| s.outstanding.len() == requests.len());
    let began = Instant::now();
    host.client.instance_destroy(id).unwrap();
    assert!(requests.into_iter().all(|request| host.kernel.answer(request).is_none()));
    assert!(began.elapsed() < Duration::from_secs(9), "it waited for the directory");
    assert_eq!(host.varpd.forgotten(), 0);
}

#[test]
fn a_property_that_is_set_while_it_is_used_takes_effect() {
    let (host, old, new) = (host(), Directory::start(), Directory::start());
    host.persist();
    old.put(VNET, 1, "192.0.2.1:4789");
    new.put(VNET, 1, "192.0.2.2:4789");
    let id = connected(&host, LINK, &old);
    assert_eq!(place(&host, id, 1).as_deref(), Some("192.0.2.1:4789"));
    ask_there(&host, id, new.addr);
    wait_for("the other directory", || place(&host, id, 1).as_deref() == Some("192.0.2.2:4789"));
    // And it is what a varpd that starts now would find.
    let bytes = std::fs::read(host.run_dir().join(format!("{}.varpd", id.0))).unwrap();
    let record = libvarpd::persist::decode(&bytes).unwrap();
    let port = nvpair::Value::Uint16(new.addr.port());
    assert_eq!(record.private.get("svp/port"), Some(&port));
    // One that is no good leaves all as it is.
    assert_eq!(set(&host.client, id, "svp/tls_cert", b"/nowhere\0"), Err(Errno::EAGAIN));
    assert_eq!(set(&host.client, id, "svp/tls_ca", b"/nowhere\0"), Err(Errno::EINVAL));
    assert_eq!(place(&host, id, 1).as_deref(), Some("192.0.2.2:4789"));
}

/// Frames that come before the first connection is there wait for it.
#[test]
fn early_lookups_wait_for_a_connection() {
    let (host, directory) = (host(), Directory::start());
    directory.put(VNET, 1, "192.0.2.1:4789");
    let id = active_on(&host, LINK, directory.addr);
    assert_eq!(place(&host, id, 1).as_deref(), Some("192.0.2.1:4789"));
    // Not for ever: there is nobody at this one.
    let other = active_on(&host, LINK + 1, "127.0.0.1:1".parse().unwrap());
    assert!(host.kernel.answer(host.kernel.ask(LINK + 1, other.0, mac(1).0)).is_none());
    // And they go with their instance.
    let third = active_on(&host, LINK + 2, "127.0.0.1:2".parse().unwrap());
    let request = host.kernel.ask(LINK + 2, third.0, mac(1).0);
    host.kernel.wait("the lookup to be taken", |s| s.outstanding.len() == 1);
    host.client.instance_destroy(third).unwrap();
    assert!(host.kernel.answer(request).is_none());
    assert_eq!(host.varpd.forgotten(), 0);
}

/// What the kernel knew before varpd was started anew is checked with the directory, and stays where it is true.
#[test]
fn a_varpd_that_is_started_anew_forgets_only_what_is_not_true() {
    let (mut host, directory) = (host(), Directory::start());
    host.persist();
    for n in 1..=40 {
        directory.put(VNET, n, &format!("192.0.2.{n}:4789"));
    }
    std::os::unix::fs::symlink(beside_test("libvarpd_svp.so"), host.plugins.join("svp.so"))
        .unwrap();
    connected(&host, LINK, &directory);
    for n in 1..=42 {
        remember(&host, n, &format!("192.0.2.{n}:4789"));
    }
    directory.put(VNET, 2, "192.0.2.99:4789");
    host.restart();
    host.kernel.wait("all to be checked", |s| s.cache_changes.len() == 3);
    let mut changes = host.kernel.state().cache_changes.clone();
    changes.sort_unstable_by_key(|(_, mac)| *mac);
    let [set, gone, gone_too] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(*set, (OVERLAY_TARG_CACHE_SET, mac(2).0));
    assert_eq!(
        (*gone, *gone_too),
        ((OVERLAY_TARG_CACHE_REMOVE, mac(41).0), (OVERLAY_TARG_CACHE_REMOVE, mac(42).0))
    );
}

/// While the directory is away nobody can say what is true: what the kernel knew stays.
#[test]
fn a_varpd_that_is_started_anew_without_a_directory_forgets_nothing() {
    let (mut host, directory) = (host(), Directory::start());
    host.persist();
    std::os::unix::fs::symlink(beside_test("libvarpd_svp.so"), host.plugins.join("svp.so"))
        .unwrap();
    for n in 1..=3 {
        directory.put(VNET, n, &format!("192.0.2.{n}:4789"));
    }
    connected(&host, LINK, &directory);
    // Of the last one the directory knows nothing.
    for n in 1..=4 {
        remember(&host, n, &format!("192.0.2.{n}:4789"));
    }
    directory.behave(Manner::Closes);
    host.restart();
    let id = host.client.instance_lookup(LinkId(LINK)).unwrap();
    // Asked after those four, it is dropped no sooner than they are answered.
    assert_eq!(place(&host, id, 9), None);
    directory.behave(Manner::Good);
    wait_for("an answer", || place(&host, id, 1).is_some());
    assert_eq!(host.kernel.state().cache_changes, []);
    assert_eq!(host.kernel.state().links[&LINK].cache.len(), 4);
}

/// A link that an earlier varpd left degraded is not so because nobody remembers.
#[test]
fn a_start_ends_what_an_earlier_varpd_said_of_the_link() {
    let (host, directory) = (host(), Directory::start());
    let id = host.instance(LINK, "svp");
    host.kernel.state().links.get_mut(&LINK).unwrap().degraded = Some("cannot reach".into());
    ask_there(&host, id, directory.addr);
    set(&host.client, id, "svp/underlay_ip", &mapped(UNDERLAY.parse().unwrap())).unwrap();
    host.client.instance_activate(id).unwrap();
    host.kernel.wait("restored", |s| s.links[&LINK].degraded.is_none());
}

/// Whatever a directory does, lookups are answered, varpd lives, and a directory that behaves again is used again.
fn survives(manner: Manner) {
    let (host, directory) = (host(), Directory::start());
    directory.put(VNET, 1, "192.0.2.1:4789");
    let id = connected(&host, LINK, &directory);
    assert!(place(&host, id, 1).is_some());
    directory.behave(manner);
    let end = Instant::now() + Duration::from_secs(3);
    let mut asked = Vec::new();
    while Instant::now() < end {
        asked.push(host.kernel.ask(LINK, id.0, mac(1).0));
        std::thread::sleep(Duration::from_millis(20));
    }
    // Not hit in a tight loop.
    let accepted = directory.known().accepted;
    assert!(accepted < 20, "{accepted} connections");
    directory.behave(Manner::Good);
    for request in asked {
        host.kernel.answer(request);
    }
    wait_for("an answer", || place(&host, id, 1).as_deref() == Some("192.0.2.1:4789"));
    assert_eq!(host.varpd.forgotten(), 0);
    assert!(host.kernel.state().strays.is_empty());
    host.client.instance_destroy(id).unwrap();
    assert_eq!(host.client.instance_lookup(LinkId(LINK)), Err(Errno::ENOENT));
}

#[test]
fn b10_a_directory_that_accepts_and_closes() {
    survives(Manner::Closes);
}

#[test]
fn b08_a_directory_that_never_answers() {
    survives(Manner::Silent);
}

#[test]
fn a_directory_that_closes_its_side() {
    survives(Manner::HalfCloses);
}

#[test]
fn a_directory_that_speaks_something_else() {
    survives(Manner::Raves);
}

#[test]
fn b01_a_directory_that_promises_more_than_there_may_be() {
    survives(Manner::Promises);
}

/// A question is sent when it is asked, however small it is and whatever else is under way: each is waited for.
#[test]
fn b29_questions_do_not_wait_for_one_another() {
    let (host, directory) = (host(), Directory::start());
    connected(&host, LINK, &directory);
    let mut own = 0;
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let fd = entry.unwrap().file_name().into_string().unwrap().parse().unwrap();
        // SAFETY: a descriptor of this process; it is asked for options, whatever it is by then.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let socket = SockRef::from(&fd);
        let peer = socket.peer_addr().ok().and_then(|peer| peer.as_socket());
        if peer == Some(directory.addr) {
            assert!(socket.tcp_nodelay().unwrap());
            own += 1;
        }
    }
    assert_eq!(own, 1);
}

/// B17: a connection that is refused at once, and one to an address that no socket can have.
#[test]
fn b17_connections_that_fail_at_once() {
    let host = host();
    let id = active_on(&host, LINK, "127.0.0.1:1".parse().unwrap());
    assert_eq!(place(&host, id, 1), None);
    wait_for("a failure", || {
        peers(&host, LINK).iter().any(|peer| peer["failures"].as_u64() >= Some(1))
    });
    ask_there(&host, id, "255.255.255.255:1296".parse().unwrap());
    wait_for("a failure", || peers(&host, LINK).iter().any(|peer| peer["last_error"].is_string()));
    let directory = Directory::start();
    directory.put(VNET, 1, "192.0.2.1:4789");
    ask_there(&host, id, directory.addr);
    wait_for("an answer", || place(&host, id, 1).is_some());
}
