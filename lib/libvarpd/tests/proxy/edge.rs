// SPDX-License-Identifier: CDDL-1.0
//! From LOOKUP to INJECT or RESEND, with plugins in C that answer as they should and otherwise.
use overlay_abi::ids::{LinkId, MacAddr, VarpdId};
use std::time::{Duration, Instant};
use varpd_harness::frames::*;
use varpd_harness::*;

/// What the C plugin answers for [`OWNER_V4`]; [`OWNER_V6`] ends with 0x56.
const V4_MAC: MacAddr = MacAddr([2, 8, 0x20, 0, 0, 2]);

/// A host with these plugins.
fn host(plugins: &[&[&str]]) -> Host {
    let plugins: Vec<Vec<&str>> = plugins.iter().map(|p| [&["PROXY"], *p].concat()).collect();
    Host::with_c_plugins(&plugins.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// An active instance.
fn active(host: &Host, link: u32, plugin: &str) -> VarpdId {
    let id = host.instance(link, plugin);
    host.client.instance_activate(id).unwrap();
    id
}

/// Asks each question; each must be dropped in the end. Returns how many were answered.
fn ask_all(host: &Host, link: u32, id: VarpdId) -> usize {
    let before = answered(host);
    for kind in KINDS {
        let request = host.kernel.ask_about(link, id.0, kind.question());
        assert_eq!(host.kernel.answer(request), None, "{kind:?}");
    }
    assert!(host.kernel.state().outstanding.is_empty());
    answered(host) - before
}

fn answered(host: &Host) -> usize {
    let state = host.kernel.state();
    state.injected.len() + state.resent.len()
}

fn wait(host: &Host, what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "timed out: {what}: {}", host.log.text());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the log says something so often.
fn wait_for_log(host: &Host, what: &str, times: usize) {
    wait(host, what, || host.log.text().matches(what).count() >= times);
}

/// Waits until the plugin was called so often, for lookups and by proxies.
fn wait_for_calls(host: &Host, times: i32) {
    wait(host, "calls of the plugin", || host.calls(0).running >= times);
}

#[test]
fn questions_are_answered_on_the_link_they_come_from() {
    let host = host(&[&[]]);
    let id = active(&host, 7, "test");
    assert_eq!(ask_all(&host, 7, id), 3);
    let state = host.kernel.state();
    let [(7, arp), (7, ndp)] = state.injected.as_slice() else { panic!("{:?}", state.injected) };
    let [(7, dhcp)] = state.resent.as_slice() else { panic!("{:?}", state.resent) };
    assert_eq!(arp[6..12], V4_MAC.0);
    assert_eq!(ndp[6..12], [2, 8, 0x20, 0, 0, 0x56]);
    assert_eq!(dhcp[..6], [2, 8, 0x20, 0, 0, 67]);
    Kind::Arp.check(&arp_request(), arp);
    drop(state);
    assert_eq!((host.calls(0).running, host.calls(0).wrong), (6, 0));
    assert_eq!(host.varpd.forgotten(), 0);
}

#[test]
fn plugins_may_answer_later_from_other_threads() {
    let host = host(&[&["LATER=20000"]]);
    let id = active(&host, 7, "test");
    let requests: Vec<_> =
        (0..90).map(|n| host.kernel.ask_about(7, id.0, KINDS[n % 3].question())).collect();
    for request in requests {
        assert_eq!(host.kernel.answer(request), None);
    }
    assert_eq!(answered(&host), 90);
    assert!(host.kernel.state().outstanding.is_empty());
}

#[test]
fn a_second_answer_is_recognized() {
    let host = host(&[&["ANSWERS=3"]]);
    let id = active(&host, 7, "test");
    assert_eq!(ask_all(&host, 7, id), 3);
    wait_for_log(&host, "a handle that is none, or was answered before", 6);
    for function in ["arp_reply", "dhcp_reply"] {
        assert!(host.log.text().contains(function), "{}", host.log.text());
    }
}

#[test]
fn a_query_given_to_a_proxy_is_not_the_plugins_any_more() {
    let host = host(&[&["PROXY_TOO"]]);
    let id = active(&host, 7, "test");
    assert_eq!(ask_all(&host, 7, id), 3);
    wait_for_log(&host, "query_reply with a handle that is none, or was answered before", 3);
}

#[test]
fn answers_that_are_none() {
    let host = host(&[
        &["NAME=\"drop\"", "ANSWER=VARPD_LOOKUP_DROP"],
        &["NAME=\"nonsense\"", "ANSWER=17"],
        &["NAME=\"zero\"", "MAC=0"],
        &["NAME=\"group\"", "MAC=255,255,255,255,255,255"],
        &["NAME=\"asker\"", "MAC=2,8,0x20,0,0,1"],
    ]);
    for (link, plugin) in ["drop", "nonsense", "zero", "group", "asker"].into_iter().enumerate() {
        let id = active(&host, link as u32 + 1, plugin);
        assert_eq!(ask_all(&host, link as u32 + 1, id), 0, "{plugin}");
    }
    let log = host.log.text();
    assert_eq!(log.matches("with nonsense").count(), 3, "{log}");
}

/// The original gave up the whole daemon; Linux' vxlan followed a NULL pointer where a family of
/// addresses was not there.
#[test]
fn regression_cve_2026_23293_no_function_for_what_is_asked() {
    let host = host(&[&["NAME=\"no-arp\"", "NULLED=104"], &["NAME=\"no-dhcp\"", "NULLED=112"]]);
    let id = active(&host, 1, "no-arp");
    assert_eq!(ask_all(&host, 1, id), 1);
    assert_eq!(host.log.text().matches("the plugin has no function for it").count(), 2);
    let id = active(&host, 2, "no-dhcp");
    assert_eq!(ask_all(&host, 2, id), 2);
    assert_eq!(host.log.text().matches("the plugin has no function for it").count(), 3);
}

#[test]
fn a_proxy_called_with_the_handle_of_nothing_drops_the_query() {
    let host = host(&[&["PROXY_HANDLE=NULL"]]);
    let id = active(&host, 7, "test");
    assert_eq!(ask_all(&host, 7, id), 0);
    assert_eq!(host.log.text().matches("with the handle of no instance").count(), 3);
}

#[test]
fn a_frame_that_the_kernel_does_not_have_any_more_is_dropped() {
    let host = host(&[&[]]);
    let id = active(&host, 7, "test");
    host.kernel.state().frames_gone = true;
    assert_eq!(ask_all(&host, 7, id), 0);
}

#[test]
fn an_answer_that_the_kernel_does_not_take_is_dropped() {
    let host = host(&[&["HELD"]]);
    let id = active(&host, 7, "test");
    let requests = KINDS.map(|kind| host.kernel.ask_about(7, id.0, kind.question()));
    wait_for_calls(&host, 3 + 3);
    host.kernel.state().links.clear();
    host.plugin(0).release();
    for request in requests {
        assert_eq!(host.kernel.answer(request), None);
    }
    assert_eq!(answered(&host), 0);
}

/// Queries of every kind that a plugin forgets live as long as its instance.
#[test]
fn what_a_plugin_never_answers_is_dropped_when_its_instance_is_destroyed() {
    let host = host(&[&["ANSWERS=0"]]);
    let id = active(&host, 7, "test");
    let mut requests: Vec<_> =
        KINDS.iter().map(|kind| host.kernel.ask_about(7, id.0, kind.question())).collect();
    requests.push(host.kernel.ask(7, id.0, [2, 0, 0, 0, 0, 9]));
    wait_for_calls(&host, 4 + 3);
    let instance = host.varpd.instance(id).unwrap();
    host.client.instance_destroy(id).unwrap();
    for request in requests {
        assert_eq!(host.kernel.answer(request), None);
    }
    assert_eq!(host.varpd.forgotten(), 4);
    assert!(host.log.text().contains("lookups unanswered"), "{}", host.log.text());
    // Nothing holds the instance any more.
    let instance = std::sync::Arc::into_inner(instance);
    assert!(instance.is_some());
}

/// Threads of a plugin that go on after its instance was destroyed, and write where they were told
/// to before they answer.
#[test]
fn answers_after_the_instance_was_destroyed_are_recognized_and_harmless() {
    let host = host(&[&["HELD"]]);
    let id = active(&host, 7, "test");
    for _ in 0..10 {
        for kind in KINDS {
            host.kernel.ask_about(7, id.0, kind.question());
        }
        host.kernel.ask(7, id.0, [2, 0, 0, 0, 0, 9]);
    }
    wait_for_calls(&host, 40 + 30);
    host.client.instance_destroy(id).unwrap();
    assert!(host.kernel.state().outstanding.is_empty());
    host.plugin(0).release();
    wait_for_log(&host, "whose instance was destroyed meanwhile", 40);
    assert_eq!(answered(&host), 0);
    assert_eq!(host.client.instance_lookup(LinkId(7)), Err(overlay_abi::errno::Errno::ENOENT));
    assert_eq!(host.varpd.forgotten(), 40);
}

/// Threads that answer while the instance is destroyed: one answer each, from here or from there.
#[test]
fn each_query_is_answered_once_though_destroyed_meanwhile() {
    let host = host(&[&["LATER=2000"]]);
    for round in 1..=15 {
        let id = active(&host, round, "test");
        let requests: Vec<_> = (0..20)
            .flat_map(|_| KINDS)
            .map(|kind| host.kernel.ask_about(round, id.0, kind.question()))
            .collect();
        // Sooner or later in the course of that.
        let half = requests.len() * round as usize / 20;
        host.kernel.wait("some answers", |state| {
            state.answers.iter().filter(|(id, _)| requests.contains(id)).count() >= half
        });
        host.client.instance_destroy(id).unwrap();
        for request in requests {
            assert_eq!(host.kernel.answer(request), None);
        }
    }
    let state = host.kernel.state();
    assert_eq!((state.answers.len(), state.strays.len()), (15 * 60, 0));
    assert!(state.outstanding.is_empty());
}

/// The original could die of answers that came while it went down.
#[test]
fn regression_os_4397_answers_while_varpd_goes_down() {
    let host = host(&[&["HELD"]]);
    let id = active(&host, 7, "test");
    for _ in 0..10 {
        for kind in KINDS {
            host.kernel.ask_about(7, id.0, kind.question());
        }
        host.kernel.ask(7, id.0, [2, 0, 0, 0, 0, 9]);
    }
    wait_for_calls(&host, 40 + 30);
    let plugin = host.plugin(0);
    std::thread::scope(|s| {
        s.spawn(|| plugin.release());
        drop(host);
    });
    let end = Instant::now() + Duration::from_secs(60);
    while plugin.calls().answered < 40 {
        assert!(Instant::now() < end, "{:?}", plugin.calls());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(plugin.calls().wrong, 0);
}

/// The original sent the kernel what was on its stack.
#[test]
fn defect_41_inject_varp_sends_nothing_but_the_point() {
    let host = Host::with_c_plugins(&[&["GARBAGE"]]);
    let id = active(&host, 9, "test");
    let broadcast = [0xff; 6];
    let point = host.kernel.answer(host.kernel.ask(9, id.0, broadcast)).expect("a destination");
    let entry = host.kernel.state().links[&9].cache[&broadcast];
    assert_eq!((entry.otce_mac, entry.otce_flags), (broadcast, 0));
    assert_eq!(entry.otce_dest.underlay().to_string(), "192.0.2.7:4789");
    for point in [entry.otce_dest, point] {
        assert_eq!((point.otp_pad, point.otp_pad2), ([0; 2], [0; 2]), "{point:?}");
    }
}
