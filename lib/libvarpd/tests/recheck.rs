// SPDX-License-Identifier: CDDL-1.0
//! What becomes of the kernel's caches when varpd is started anew: the plugin is asked about each entry.
use overlay_abi::errno::Errno;
use overlay_abi::ids::{UnderlayAddr, VarpdId};
use overlay_abi::target::*;
use std::collections::BTreeMap;
use varpd_harness::*;

type Cache = BTreeMap<[u8; 6], overlay_targ_cache_entry_t>;

/// The guest of a number, whom the plugin has at 192.0.2.number.
fn mac(n: u8) -> [u8; 6] {
    [2, 8, 0x20, 0, 0, n]
}

/// An entry: where it is in 192.0.2.0/24, nowhere at 0.
fn entry(mac: [u8; 6], at: u8) -> ([u8; 6], overlay_targ_cache_entry_t) {
    let to = UnderlayAddr::new(std::net::Ipv4Addr::new(192, 0, 2, at).into(), 4789);
    let (otce_flags, otce_dest) = match at {
        0 => (OVERLAY_TARGET_CACHE_DROP, zerocopy::FromZeros::new_zeroed()),
        _ => (0, to.into()),
    };
    (mac, overlay_targ_cache_entry_t { otce_mac: mac, otce_flags, otce_dest })
}

/// A host with an active instance of a plugin for link 1.
fn host(defines: &[&str]) -> (Host, VarpdId) {
    let host = Host::with_c_plugins(&[defines]);
    host.persist();
    let id = host.instance(1, "test");
    host.client.instance_activate(id).unwrap();
    (host, id)
}

/// Starts varpd anew, over a kernel that has these entries.
fn restart(
    host: &mut Host,
    entries: impl IntoIterator<Item = ([u8; 6], overlay_targ_cache_entry_t)>,
) {
    host.kernel.state().links.get_mut(&1).unwrap().cache = entries.into_iter().collect();
    host.restart();
}

fn wait_for_cache(host: &Host, what: &str, cache: &Cache) {
    host.kernel.wait(what, |s| s.links[&1].cache == *cache);
}

fn wait_for_calls(host: &Host, holds: impl Fn(Calls) -> bool) {
    host.kernel.wait("calls of the plugin", |_| holds(host.calls(0)));
}

/// Nothing of it went to the kernel as an answer, and nothing is counted.
fn unseen(host: &Host) {
    let state = host.kernel.state();
    assert_eq!((&state.strays, &state.answers), (&vec![], &vec![]));
    assert!(state.injected.is_empty() && state.resent.is_empty());
    let report = host.varpd.report();
    assert_eq!(report.varpd.forgotten, 0);
    for of in &report.instances {
        let counts = &of.counts;
        assert_eq!(
            (counts.lookups.asked, counts.lookups.forgotten, counts.dhcp.refused),
            (0, 0, 0)
        );
    }
}

#[test]
fn only_what_is_not_true_any_more_is_changed() {
    let (mut host, _) = host(&["LATER=1000"]);
    restart(&mut host, [entry(mac(5), 5), entry(mac(6), 99), entry(mac(7), 0)]);
    wait_for_calls(&host, |calls| calls.answered == 2);
    wait_for_cache(&host, "renewed", &[entry(mac(5), 5), entry(mac(6), 6)].into());
    let mut changes = host.kernel.state().cache_changes.clone();
    changes.sort_unstable();
    assert_eq!(changes, [(OVERLAY_TARG_CACHE_SET, mac(6)), (OVERLAY_TARG_CACHE_REMOVE, mac(7))]);
    unseen(&host);
}

#[test]
fn what_the_plugin_drops_or_cannot_say_is_forgotten() {
    // Its destination is none.
    for defines in [["ANSWER=VARPD_LOOKUP_DROP"], ["ANSWER=4711"], ["ZERO"]] {
        let (mut host, _) = host(&defines);
        restart(&mut host, [entry(mac(5), 5)]);
        wait_for_cache(&host, "forgotten", &Cache::new());
        assert_eq!(host.kernel.state().cache_changes, [(OVERLAY_TARG_CACHE_REMOVE, mac(5))]);
        unseen(&host);
    }
}

/// There is no frame.
#[test]
fn a_proxy_refuses() {
    let (mut host, _) = host(&["PROXY"]);
    restart(&mut host, [entry([0xff; 6], 9), entry([0x33, 0x33, 0, 0, 0, 1], 1)]);
    wait_for_cache(&host, "one forgotten", &[entry([0x33, 0x33, 0, 0, 0, 1], 1)].into());
    unseen(&host);
}

/// More than may be open at once, while the kernel asks too.
#[test]
fn many_are_asked_some_at_a_time() {
    let (mut host, id) = host(&["HELD"]);
    restart(&mut host, (0..=255).map(|n| entry(mac(n), 7)));
    wait_for_calls(&host, |calls| calls.running == 64);
    let request = host.kernel.ask(1, id.0, mac(1));
    wait_for_calls(&host, |calls| calls.running == 65);
    assert!(host.kernel.state().cache_changes.is_empty());
    // Something newer than the question.
    let newer = entry(mac(0), 77);
    host.kernel.state().links.get_mut(&1).unwrap().cache.insert(newer.0, newer.1);
    host.plugin(0).release();
    assert!(host.kernel.answer(request).is_some());
    wait_for_calls(&host, |calls| calls.answered == 257);
    let set = (1..=255).map(|n| (OVERLAY_TARG_CACHE_SET, mac(n)));
    host.kernel.wait("all set", |s| s.cache_changes.len() == 255);
    let mut changes = host.kernel.state().cache_changes.clone();
    changes.sort_unstable();
    assert!(changes.into_iter().eq(set));
    assert_eq!(host.kernel.state().links[&1].cache[&mac(0)], newer.1);
}

#[test]
fn a_destroyed_instance_ends_it() {
    let (mut host, id) = host(&["HELD"]);
    restart(&mut host, (0..=255).map(|n| entry(mac(n), 7)));
    wait_for_calls(&host, |calls| calls.running == 64);
    host.client.instance_destroy(id).unwrap();
    host.plugin(0).release();
    wait_for_calls(&host, |calls| calls.answered == 64);
    // Waits for the thread.
    host.varpd.quiesce();
    let calls = host.calls(0);
    assert_eq!((calls.running, calls.wrong, calls.destroy), (64, 0, 1));
    let state = host.kernel.state();
    assert!(state.cache_changes.iter().all(|(cmd, _)| *cmd == OVERLAY_TARG_CACHE_REMOVE));
    drop(state);
    unseen(&host);
}

#[test]
fn a_pause_of_varpd_has_it_asked_again() {
    let (mut host, _) = host(&["ANSWERS=0"]);
    restart(&mut host, [entry(mac(5), 5)]);
    wait_for_calls(&host, |calls| calls.running == 1);
    host.varpd.quiesce();
    assert!(host.kernel.state().cache_changes.is_empty());
    host.varpd.resume();
    let varpd = std::sync::Arc::clone(&host.varpd);
    std::thread::spawn(move || varpd.run_lookups());
    wait_for_calls(&host, |calls| calls.running == 2);
}

#[test]
fn a_plugin_that_never_answers_has_the_cache_flushed() {
    let (mut host, _) = host(&["ANSWERS=0"]);
    restart(&mut host, [entry(mac(5), 5)]);
    wait_for_calls(&host, |calls| calls.running == 1);
    assert_eq!(host.kernel.state().links[&1].cache, [entry(mac(5), 5)].into(), "it flows on");
    wait_for_cache(&host, "flushed", &Cache::new());
    assert_eq!(host.kernel.state().cache_changes, [(OVERLAY_TARG_CACHE_FLUSH, [0; 6])]);
    assert!(host.log.text().contains("is flushed: ETIMEDOUT"), "{}", host.log.text());
    unseen(&host);
}

#[test]
fn errors_of_the_kernel_leave_nothing_stale() {
    let (mut host, _) = host(&[]);
    let entries = [entry(mac(5), 5), entry(mac(6), 99)];
    host.kernel.state().fail_cache.insert(OVERLAY_TARG_CACHE_ITER, Errno::ENOMEM);
    restart(&mut host, entries);
    wait_for_cache(&host, "flushed", &Cache::new());
    assert!(host.log.text().contains("is flushed: ENOMEM"), "{}", host.log.text());

    host.kernel.state().fail_cache = [(OVERLAY_TARG_CACHE_SET, Errno::ENOMEM)].into();
    restart(&mut host, entries);
    wait_for_cache(&host, "removed instead", &[entry(mac(5), 5)].into());

    host.kernel.state().fail_cache = [(OVERLAY_TARG_CACHE_REMOVE, Errno::EPERM)].into();
    restart(&mut host, [entry(mac(6), 0)]);
    let what = "cannot renew the cache of a link";
    host.kernel.wait("the error is logged", |_| host.log.text().contains(what));
}
