// SPDX-License-Identifier: CDDL-1.0
//! Tests of the engine.

use libvarpd as _; // The functions that the plugin around the engine binds to.
use overlay_abi::ids::MacAddr;
use varpd_svp::engine::*;

#[test]
fn lookups_of_nobody_are_dropped() {
    let mut engine = Engine::new(Limits::default(), 1);
    let (token, instance) = (Token(7), InstanceId(1));
    let question = Question::Vl2(MacAddr([2, 8, 0x20, 0, 0, 1]));
    engine.handle(Time::ZERO, Input::Lookup { token, instance, question });
    let answer = Answer::Drop(Drop::Detached);
    assert_eq!(engine.output(), Some(Output::Answer { token, answer }));
    assert_eq!(engine.output(), None);
}
