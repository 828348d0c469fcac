// SPDX-License-Identifier: CDDL-1.0
//! What is counted, by lookups that end in every way there is.
use libvarpd::stats::{InstanceCounts, VarpdCounts};
use overlay_abi::ids::{LinkId, VarpdId};
use varpd_harness::*;

fn counts(host: &Host, id: VarpdId) -> InstanceCounts {
    let report = host.varpd.report();
    report.instances.into_iter().find(|i| i.id == id.0).expect("the instance").counts
}

fn door(of: &VarpdCounts, command: &str) -> (u64, u64) {
    let calls = of.door.iter().find(|(name, _)| name == command).map(|(_, c)| (c.calls, c.errors));
    calls.unwrap_or_default()
}

/// An active instance of the plugin that plugin.c makes with the name.
fn active(host: &Host, link: u32, plugin: &str) -> VarpdId {
    let id = host.instance(link, plugin);
    host.client.instance_activate(id).unwrap();
    id
}

/// Asks where `[2, 0, 0, 0, 0, last]` is and waits for the answer; whether there is a destination.
fn ask(host: &Host, link: u32, id: VarpdId, last: u8) -> bool {
    let request = host.kernel.ask(link, id.0, [2, 0, 0, 0, 0, last]);
    host.kernel.answer(request).is_some()
}

fn arp_request() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 8, 0x20, 0, 0, 1, 8, 6]);
    // Ethernet, IPv4, a request, from 10.1.0.1 for 10.1.0.2.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1, 2, 8, 0x20, 0, 0, 1, 10, 1, 0, 1]);
    frame.extend([0, 0, 0, 0, 0, 0, 10, 1, 0, 2]);
    frame.resize(60, 0);
    frame
}

#[test]
fn lookups_are_counted_by_their_outcome() {
    let host = Host::with_c_plugins(&[
        &["PROXY"],
        &["NAME=\"dropping\"", "ANSWER=VARPD_LOOKUP_DROP"],
        &["NAME=\"forgetful\"", "ANSWERS=0"],
        &["NAME=\"nowhere\"", "ZERO"],
    ]);
    let found = active(&host, 1, "test");
    let dropping = active(&host, 2, "dropping");
    let forgetful = active(&host, 3, "forgetful");
    let nowhere = active(&host, 4, "nowhere");
    for n in 1..=50 {
        assert!(ask(&host, 1, found, n));
        assert!(!ask(&host, 2, dropping, n));
        assert!(!ask(&host, 4, nowhere, n));
        host.kernel.ask(3, forgetful.0, [2, 0, 0, 0, 0, n]);
    }
    assert_eq!(host.kernel.answer(host.kernel.ask_about(1, found.0, arp_request())), None);
    let mut bad = arp_request();
    bad[20] = 9;
    assert_eq!(host.kernel.answer(host.kernel.ask_about(1, found.0, bad)), None);

    let c = counts(&host, found);
    let l = c.lookups;
    assert_eq!(
        (l.asked, l.found, l.dropped, l.proxied, l.forgotten, l.not_taken),
        (52, 50, 0, 2, 0, 0)
    );
    assert_eq!((c.arp.answered, c.arp.no_answer, c.arp.refused), (1, 0, 1));
    assert_eq!((c.ndp, c.dhcp), Default::default());
    assert_eq!((c.outstanding, c.latency.count, c.last_error), (0, 52, None));
    assert!(0 < c.latency.p50_ns && c.latency.p50_ns <= c.latency.p99_ns);
    assert!(c.latency.p99_ns <= c.latency.max_ns);

    let l = counts(&host, dropping).lookups;
    assert_eq!((l.asked, l.found, l.dropped), (50, 0, 50));
    let c = counts(&host, nowhere);
    assert_eq!((c.lookups.found, c.lookups.not_taken, c.outstanding), (50, 50, 0));
    let error = c.last_error.expect("an error");
    assert!(error.text.contains("EINVAL") && error.time > 1.7e9, "{error:?}");

    host.kernel.wait("the forgetful plugin is asked", |s| s.queue.is_empty());
    let instance = host.varpd.instance(forgetful).unwrap();
    while counts(&host, forgetful).lookups.asked < 50 {
        std::thread::yield_now();
    }
    assert_eq!(counts(&host, forgetful).outstanding, 50);
    host.client.instance_destroy(forgetful).unwrap();
    assert_eq!(host.varpd.forgotten(), 50);
    drop(instance);
    assert_eq!(host.varpd.report().instances.len(), 3, "a counter goes with its instance");
}

#[test]
fn lookups_for_nobody_are_counted() {
    let host = Host::with_c_plugins(&[&[]]);
    let id = active(&host, 1, "test");
    assert!(!ask(&host, 1, VarpdId(99), 1));
    assert!(!ask(&host, 9, id, 1));
    let report = host.varpd.report();
    assert_eq!(report.varpd.unplaced, 2);
    assert_eq!(report.instances[0].counts.lookups.asked, 0);
}

#[test]
fn door_calls_are_counted_by_command() {
    let host = Host::with_c_plugins(&[&[]]);
    let id = active(&host, 1, "test");
    assert!(host.client.instance_activate(id).is_err());
    assert!(host.client.instance_lookup(LinkId(5)).is_err());
    host.client.instance_lookup(LinkId(1)).unwrap();
    let cred =
        door::PeerCred { uid: 0, gid: 0, pid: 1, model: door::Model::Lp64, net_config: true };
    host.varpd.answer(b"nonsense", &cred);
    let of = host.varpd.report().varpd;
    assert_eq!(door(&of, "create"), (1, 0));
    assert_eq!(door(&of, "activate"), (2, 1));
    assert_eq!(door(&of, "lookup"), (2, 1));
    assert_eq!(door(&of, "malformed"), (1, 1));
    assert_eq!(door(&of, "destroy"), (0, 0));
}

/// Nothing is lost when many threads count.
#[test]
fn many_threads_count_together() {
    let host = Host::with_c_plugins(&[&["LATER=100"]]);
    let id = active(&host, 1, "test");
    let requests: Vec<_> =
        (0..600).map(|n| host.kernel.ask(1, id.0, [2, 0, 0, 0, 0, n as u8])).collect();
    for request in requests {
        host.kernel.answer(request);
    }
    let c = counts(&host, id);
    assert_eq!((c.lookups.asked, c.lookups.found, c.outstanding), (600, 600, 0));
    assert_eq!(c.latency.count, 600);
    assert!(c.latency.p50_ns >= 100_000, "the plugin waits that long: {:?}", c.latency);
}
