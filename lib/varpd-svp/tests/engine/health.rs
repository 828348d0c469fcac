// SPDX-License-Identifier: CDDL-1.0
//! Degraded and restored, at every step.

use crate::rig::*;
use varpd_svp::engine::*;

const DNS: &str = "failed to resolve or find entries for hostname portolan.test";
const PEERS: &str = "cannot reach any remote peers";

fn degraded(instance: InstanceId, message: &str) -> (InstanceId, Option<String>) {
    (instance, Some(message.to_owned()))
}

fn restored(instance: InstanceId) -> (InstanceId, Option<String>) {
    (instance, None)
}

/// Lets a peer fail so often, its members being resolved as they are.
fn fail(rig: &mut Rig, n: u8, times: u32, members: &[u8]) {
    for _ in 0..times {
        let conn = rig.reconnect(n);
        rig.ended(conn, Some("Connection refused"));
        if rig.out.iter().any(|output| matches!(output, Output::Resolve { .. })) {
            rig.resolved(Ok(members.iter().copied().map(ip).collect()));
        }
    }
}

#[test]
pub fn the_seventh_failure_in_a_row_degrades_and_a_good_reply_restores() {
    let mut rig = Rig::new();
    rig.attach_as(ONE, VNET, None);
    rig.attach_as(TWO, 8, None);
    assert_eq!(rig.told(), []);
    rig.resolved(Ok(vec![ip(1)]));
    let start = rig.now;
    fail(&mut rig, 1, 6, &[1]);
    assert_eq!((rig.told(), rig.peer(1).failing), (vec![], false));
    fail(&mut rig, 1, 1, &[1]);
    // 1 + 2 + 4 + 8 + 16 + 32 seconds, and up to a quarter more.
    assert!(rig.now - start >= secs(63) && rig.now - start <= secs(79));
    assert_eq!(rig.told(), [degraded(ONE, PEERS), degraded(TWO, PEERS)]);
    fail(&mut rig, 1, 3, &[1]);
    assert_eq!(rig.told(), [], "said once");
    let conn = rig.reconnect(1);
    rig.connected(conn);
    assert_eq!(rig.told(), [], "a TCP connection is no directory");
    rig.serve_all();
    assert_eq!((rig.told(), rig.peer(1).state), (vec![], "ACTIVE"));
    // The log is asked for within a second: the first good reply.
    rig.pass(secs(1));
    rig.serve_all();
    assert_eq!(rig.told(), [restored(ONE), restored(TWO)]);
    assert_eq!((rig.peer(1).failures, rig.peer(1).failing), (0, false));
}

#[test]
fn one_member_that_works_is_enough() {
    let mut rig = Rig::new();
    rig.attach_as(ONE, VNET, None);
    rig.resolved(Ok(vec![ip(1), ip(2)]));
    let good = rig.conn_to(2).unwrap();
    rig.activate(good);
    while !rig.peer(1).failing {
        if let Some(conn) = rig.conn_to(1) {
            rig.ended(conn, None);
        }
        if rig.out.iter().any(|output| matches!(output, Output::Resolve { .. })) {
            rig.resolved(Ok(vec![ip(1), ip(2)]));
        }
        rig.live(secs(1));
    }
    assert_eq!((rig.told(), rig.peer(1).failing), (vec![], true));
    // It leaves, and only the other remains.
    rig.refresh(Ok(vec![ip(1)]));
    assert_eq!(rig.told(), [degraded(ONE, PEERS)]);
    // And comes back: it counts as failing until it has answered.
    rig.refresh(Ok(vec![ip(1), ip(2)]));
    assert_eq!((rig.told(), rig.peer(2).failing), (vec![], true));
    let conn = rig.reconnect(2);
    rig.connected(conn);
    rig.live(secs(2));
    assert_eq!(rig.told(), [restored(ONE)]);
}

/// B9: all are down, a new healthy one joins.
#[test]
pub fn b09_a_new_healthy_host_ends_the_degradation() {
    let mut rig = Rig::new();
    rig.attach_as(ONE, VNET, None);
    rig.resolved(Ok(vec![ip(1)]));
    fail(&mut rig, 1, 8, &[1]);
    assert_eq!(rig.told(), [degraded(ONE, PEERS)]);
    rig.refresh(Ok(vec![ip(1), ip(2)]));
    assert_eq!(rig.told(), [], "not proved yet");
    let conn = rig.conn_to(2).unwrap();
    rig.activate(conn);
    rig.live(secs(1));
    assert_eq!(rig.told(), [restored(ONE)]);
}

/// B9: an instance that comes to a degraded remote is told.
#[test]
pub fn b09_a_late_attacher_is_told() {
    let mut rig = Rig::new();
    rig.attach_as(ONE, VNET, None);
    rig.resolved(Err(DnsError::NoAddress));
    assert_eq!(rig.told(), [degraded(ONE, DNS)]);
    rig.attach_as(TWO, 8, None);
    assert_eq!(rig.told(), [degraded(TWO, DNS)]);
    rig.refresh(Ok(vec![ip(1)]));
    assert_eq!(rig.told(), [restored(ONE), restored(TWO)]);
    fail(&mut rig, 1, 7, &[1]);
    assert_eq!(rig.told(), [degraded(ONE, PEERS), degraded(TWO, PEERS)]);
    let three = InstanceId(3);
    rig.attach_as(three, 9, None);
    assert_eq!(rig.told(), [degraded(three, PEERS)]);
}

/// Section 5.3: the name is the more severe matter; when it is settled the other is said again.
#[test]
fn both_causes_in_every_order() {
    let mut rig = Rig::new();
    rig.attach_as(ONE, VNET, None);
    rig.resolved(Ok(vec![ip(1)]));
    fail(&mut rig, 1, 7, &[1]);
    assert_eq!(rig.told(), [degraded(ONE, PEERS)]);
    rig.refresh(Err(DnsError::NoAddress));
    assert_eq!(rig.told(), [degraded(ONE, DNS)]);
    rig.refresh(Ok(vec![ip(1)]));
    assert_eq!(rig.told(), [degraded(ONE, PEERS)]);
    rig.refresh(Err(DnsError::NoAddress));
    assert_eq!(rig.told(), [degraded(ONE, DNS)]);
    // The peer recovers meanwhile: nothing to be said, until the name does.
    let conn = rig.reconnect(1);
    rig.activate(conn);
    rig.live(secs(2));
    assert_eq!((rig.told(), rig.peer(1).failing), (vec![], false));
    rig.refresh(Ok(vec![ip(1)]));
    assert_eq!(rig.told(), [restored(ONE)]);
}

#[test]
fn a_name_without_addresses_keeps_its_connections() {
    for result in [Ok(vec![]), Err(DnsError::NoAddress)] {
        let (mut rig, conns) = Rig::up(2);
        rig.refresh(result);
        assert_eq!(rig.told(), [degraded(ONE, DNS)]);
        assert!(conns.iter().all(|conn| rig.far.contains_key(conn)));
        rig.vl2();
        rig.serve_all();
        assert!(matches!(rig.answers()[..], [(_, Answer::Vl2(_))]));
        rig.refresh(Ok(vec![ip(1), ip(2)]));
        assert_eq!(rig.told(), [restored(ONE)]);
        assert!(conns.iter().all(|conn| rig.far.contains_key(conn)));
    }
}

/// B17: a resolver that is not there now is asked again with pauses, and that counts after a while.
#[test]
fn b17_temporary_dns_failures_are_paced() {
    let mut rig = Rig::new();
    rig.attach_as(ONE, VNET, None);
    let start = rig.now;
    let mut asked = vec![];
    for n in 1..=8 {
        asked.push((rig.now - start).as_secs());
        rig.resolved(Err(DnsError::Temporary));
        assert_eq!(rig.told(), if n == 5 { vec![degraded(ONE, DNS)] } else { vec![] }, "{n}");
        let due = rig.engine.deadline().unwrap();
        while rig.out.iter().all(|output| !matches!(output, Output::Resolve { .. })) {
            rig.until(rig.engine.deadline().unwrap_or(due));
        }
    }
    // Waits of 1, 2, 4, 8, 16 seconds, each up to a quarter longer, then of 30.
    for (at, least) in asked.into_iter().zip([0, 1, 3, 7, 15, 31, 61, 91]) {
        assert!(at >= least && at <= least * 5 / 4 + 1, "asked at {at} s, not {least}");
    }
    rig.resolved(Ok(vec![ip(1)]));
    assert_eq!(rig.told(), [restored(ONE)]);
}

#[test]
fn a_resolver_that_never_answers_counts_and_is_not_asked_twice() {
    let mut rig = Rig::new();
    rig.attach_as(ONE, VNET, None);
    rig.pass(secs(29));
    assert_eq!(rig.told(), []);
    rig.pass(secs(1));
    assert_eq!(rig.told(), [degraded(ONE, DNS)]);
    rig.pass(secs(600));
    assert_eq!(rig.told(), []);
    // The rig sees to it that there was one question only.
    rig.resolved(Ok(vec![ip(1)]));
    assert_eq!(rig.told(), [restored(ONE)]);
}

#[test]
fn names_are_resolved_each_30_seconds() {
    let (mut rig, _) = Rig::up(1);
    for _ in 0..5 {
        rig.live(secs(29));
        assert_eq!(rig.resolves(), []);
        rig.live(secs(1));
        rig.resolved(Ok(vec![ip(1)]));
    }
    assert_eq!(rig.counters().dns_ok, 6);
}
