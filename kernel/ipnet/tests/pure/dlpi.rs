// SPDX-License-Identifier: CDDL-1.0
//! DLPI (spec/ipnet.md 2.4).
use ipnet::dlpi::*;
use proptest::prelude::*;

const INFO: u32 = 0;
const BIND: u32 = 1;
const UNBIND: u32 = 2;
const ON: u32 = 0x1f;
const OFF: u32 = 0x20;
const PHYS: u32 = 1;
const SAP: u32 = 2;
const MULTI: u32 = 3;

const BADSAP: u32 = 0;
const OUTSTATE: u32 = 3;
const SYSERR: u32 = 4;
const UNSUPPORTED: u32 = 7;
const BADPRIM: u32 = 9;
const NOTENAB: u32 = 0x14;

fn request(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_ne_bytes()).collect()
}

fn words(reply: Reply) -> Vec<u32> {
    let bytes = reply.encode();
    bytes.as_ref().chunks_exact(4).map(|w| u32::from_ne_bytes(w.try_into().unwrap())).collect()
}

/// A request on a stream of an interface.
fn ask(mode: Mode, words: &[u32]) -> Step {
    step(mode, false, &request(words)).unwrap()
}

fn bind(mode: Mode, sap: u32) -> Step {
    ask(mode, &[BIND, sap, 0, 0, 0])
}

fn refused(mode: Mode, words: &[u32], error: u32) {
    let reply = Reply::Error(words[0], error, 0);
    assert_eq!(ask(mode, words), Step { mode, reply }, "{words:x?}");
}

#[test]
fn a_bind_names_the_family() {
    for (sap, bound, family) in
        [(0, Bound::Any, 0), (4, Bound::V4, 2), (6, Bound::V6, 26), (0, Bound::Any, 0)]
    {
        let was = Mode { bound: Bound::V4, phys: true, ..Mode::default() };
        let step = bind(was, sap);
        assert_eq!(step, Step { mode: Mode { bound, ..was }, reply: Reply::Bind(sap) });
        assert_eq!(step.mode.family(), Some(family));
        assert_eq!(words(step.reply), [4, sap, 0, 24, 0, 0]);
    }
}

#[test]
fn a_wrong_sap_changes_nothing() {
    let was = Mode { bound: Bound::V6, ..Mode::default() };
    for sap in [1, 2, 5, 7, 0x800, u32::MAX] {
        refused(was, &[BIND, sap, 0, 0, 0], BADSAP);
    }
}

#[test]
fn an_unbind_wants_a_bind() {
    refused(Mode::default(), &[UNBIND], OUTSTATE);
    let bound = bind(Mode::default(), 4).mode;
    let step = ask(bound, &[UNBIND]);
    assert_eq!(step, Step { mode: Mode::default(), reply: Reply::Ok(UNBIND) });
    assert_eq!(words(step.reply), [6, UNBIND]);
}

#[test]
fn w20_an_unbound_stream_is_of_no_family_and_sap_0_of_every() {
    assert_eq!(Mode::default().family(), None);
    assert_eq!(bind(Mode::default(), 0).mode.family(), Some(0));
}

#[test]
fn levels_go_on_and_off_one_by_one() {
    let on = |mode, level| ask(mode, &[ON, level]).mode;
    let off = |mode, level| ask(mode, &[OFF, level]).mode;
    let phys = on(Mode::default(), PHYS);
    assert_eq!(phys, Mode { phys: true, ..Mode::default() });
    let all = on(on(phys, SAP), MULTI);
    assert_eq!(all, Mode { phys: true, sap: true, multi: true, ..Mode::default() });
    assert_eq!(off(off(all, PHYS), MULTI), Mode { sap: true, ..Mode::default() });
    assert_eq!(ask(all, &[OFF, SAP]).reply, Reply::Ok(OFF));
    for level in [PHYS, SAP, MULTI] {
        refused(Mode::default(), &[OFF, level], NOTENAB);
    }
}

#[test]
fn w11_a_level_that_is_on_is_on() {
    let once = ask(Mode::default(), &[ON, PHYS]).mode;
    let twice = ask(once, &[ON, PHYS]);
    assert_eq!(twice, Step { mode: once, reply: Reply::Ok(ON) });
    assert_eq!(ask(twice.mode, &[OFF, PHYS]).mode, Mode::default());
}

#[test]
fn w27_an_unknown_level_is_unsupported_and_a_passive_stream_is_no_error_anew() {
    for level in [0, 4, u32::MAX] {
        refused(Mode::default(), &[ON, level], UNSUPPORTED);
        refused(Mode::default(), &[OFF, level], UNSUPPORTED);
    }
    for primitive in [0x114, 0x100, 0x110, 0x1b, u32::MAX] {
        refused(Mode::default(), &[primitive, 0, 0, 0, 0], BADPRIM);
    }
}

#[test]
fn what_makes_no_sense_here_is_unsupported() {
    for primitive in [0x07, 0x0b, 0x0c, 0x1d, 0x1e, 0x31, 0x33] {
        refused(Mode::default(), &[primitive, 0, 0, 0, 0], UNSUPPORTED);
    }
}

#[test]
fn lo0_says_yes_to_any_level_and_changes_nothing() {
    for primitive in [ON, OFF] {
        for level in [PHYS, SAP, MULTI, 0, 77] {
            let step = step(Mode::default(), true, &request(&[primitive, level])).unwrap();
            assert_eq!(step, Step { mode: Mode::default(), reply: Reply::Ok(primitive) });
        }
    }
}

#[test]
fn w16_an_info_ack_has_the_state_and_no_stale_byte() {
    let ack = |mode| ask(mode, &[INFO]).reply.encode();
    let unbound = ack(Mode::default());
    assert_eq!(unbound.as_ref().len(), 78);
    assert_eq!(unbound.as_ref()[76..], [0, 0]);
    let expected =
        [3, 0x7fff_ffff, 0, 2, 0x8000_0005, 0, 0, 2, 2, 0, 0, 0, 0, 0x500, 0, 2, 0, 0, 0];
    assert_eq!(words(ask(Mode::default(), &[INFO]).reply), expected);
    let bound = bind(Mode::default(), 0).mode;
    assert_eq!(words(ask(bound, &[INFO]).reply)[6], 3);
}

#[test]
fn w06_a_message_without_a_whole_primitive_has_no_answer() {
    for len in 0..4 {
        assert_eq!(step(Mode::default(), false, &[0; 4][..len]), None);
    }
}

#[test]
fn w06_a_short_request_is_a_bad_primitive() {
    for (primitive, whole) in [(BIND, 20), (ON, 8), (OFF, 8)] {
        let request = request(&[primitive, 0, 0, 0, 0]);
        for len in 4..whole {
            for lo in [false, true] {
                let step = step(Mode::default(), lo, &request[..len]).unwrap();
                let reply = Reply::Error(primitive, BADPRIM, 0);
                assert_eq!(step, Step { mode: Mode::default(), reply });
            }
        }
    }
}

#[test]
fn w12_a_level_that_could_not_be_joined_is_not_on() {
    let was = Mode { bound: Bound::Any, front: Front::Header, ..Mode::default() };
    let step = Step::not_joined(was, 19);
    assert_eq!(step, Step { mode: was, reply: Reply::Error(ON, SYSERR, 19) });
    assert_eq!(words(step.reply), [5, ON, SYSERR, 19]);
}

fn modes() -> impl Strategy<Value = Mode> {
    (0u32..128).prop_map(Mode::from_bits)
}

proptest! {
    #[test]
    fn a_mode_survives_as_bits(mode in modes()) {
        prop_assert_eq!(Mode::from_bits(mode.to_bits()), mode);
    }

    #[test]
    fn any_bytes_have_an_answer_or_none(
        mode in modes(),
        lo: bool,
        primitive in prop_oneof![0u32..0x40, any::<u32>()],
        rest in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut bytes = primitive.to_ne_bytes().to_vec();
        bytes.extend(rest);
        let step = step(mode, lo, &bytes).unwrap();
        prop_assert_eq!(step.mode.front, mode.front);
        let reply = words(step.reply);
        match step.reply {
            Reply::Error(of, ..) => prop_assert!(of == primitive && step.mode == mode),
            Reply::Ok(of) => prop_assert_eq!(of, primitive),
            Reply::Info(now) => prop_assert_eq!(now, mode),
            Reply::Bind(sap) => prop_assert!(step.mode.family().is_some() && sap <= 6),
        }
        prop_assert!((3..=6).contains(&reply[0]));
    }
}
