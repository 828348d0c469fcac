// SPDX-License-Identifier: CDDL-1.0
//! Whatever a guest sends, the answer is a good one or there is none.
use libvarpd::proxy::arp::Arp;
use libvarpd::proxy::dhcp::Dhcp;
use libvarpd::proxy::ndp::Ndp;
use libvarpd::proxy::{FRAME_MAX, Question};
use overlay_abi::ids::MacAddr;
use proptest::prelude::*;
use varpd_harness::frames::*;
use zerocopy::FromBytes;

#[test]
fn every_bit_of_a_question_flipped() {
    for kind in KINDS {
        let plain = kind.question();
        for question in [tagged(&plain, 0x6123), plain] {
            let mut refused = 0;
            for bit in 0..question.len() * 8 {
                let mut frame = question.clone();
                frame[bit / 8] ^= 1 << (bit % 8);
                refused += usize::from(judge(kind, &frame).is_err());
            }
            assert!(refused > 0 && refused < question.len() * 8, "{kind:?}: {refused}");
        }
    }
}

#[test]
fn every_truncation_of_a_question() {
    for kind in KINDS {
        let plain = kind.question();
        for question in [tagged(&plain, 0x6123), plain] {
            for len in 0..question.len() {
                let result = judge(kind, &question[..len]);
                assert!(result.is_err() || kind == Kind::Arp, "{kind:?} {len}");
            }
        }
    }
}

/// Whatever else happens to a frame, nothing is allocated for its answer.
#[test]
fn answers_are_made_in_the_buffer_of_the_question() {
    fn same<Q: Question>(kind: Kind) {
        let question = kind.question();
        let mut frame = Vec::with_capacity(FRAME_MAX);
        frame.extend_from_slice(&question);
        let buffer = (frame.as_ptr(), frame.capacity());
        let layout = Q::admit(&lookup(&question)).unwrap();
        let answer = Q::parse(layout, frame).unwrap().answer(OWNER).unwrap();
        assert_eq!((answer.as_ptr(), answer.capacity()), buffer);
    }
    same::<Arp>(Kind::Arp);
    same::<Ndp>(Kind::Ndp);
    same::<Dhcp>(Kind::Dhcp);
}

/// Each byte with each value, so that each field of one byte has been everything.
#[test]
fn every_byte_with_every_value() {
    for kind in KINDS {
        let question = kind.question();
        let header = question.len().min(ETHER + 72);
        for at in 0..header {
            for value in 0..=255 {
                let mut frame = question.clone();
                frame[at] = value;
                let _ = judge(kind, &frame);
            }
        }
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(&KINDS[..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..Default::default() })]

    /// Some words of a question replaced, its length changed, and its checksums made right.
    #[test]
    fn edited_questions(
        kind in kinds(),
        tag in any::<Option<u16>>(),
        edits in prop::collection::vec((0..400usize, any::<u16>()), 0..6),
        len in prop::option::of(0..=FRAME_MAX + 1),
    ) {
        let mut frame = kind.question();
        for (at, value) in edits {
            let at = at % (frame.len() - 1);
            frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
        }
        if let Some(len) = len {
            frame.resize(len, 0x5a);
        }
        if let Some(tag) = tag && frame.len() >= 12 {
            frame = tagged(&frame, tag);
        }
        let _ = judge(kind, &frame);
    }

    /// A kernel that says anything of a frame that is anything.
    #[test]
    fn lookups_that_do_not_fit(
        kind in kinds(),
        told in prop::array::uniform32(any::<u8>()),
        header in any::<u64>(),
        packet in prop_oneof![any::<u64>(), 0..1600u64],
        frame in prop::collection::vec(any::<u8>(), 0..100),
        good in any::<bool>(),
        mac in prop::array::uniform6(any::<u8>()),
    ) {
        let mut a = lookup(&kind.question());
        let bytes = [told, told, told].concat();
        if !good {
            a = FromBytes::read_from_prefix(&bytes).unwrap().0;
        }
        a.otl_hdrsize = if header % 3 == 0 { 14 + header % 2 * 4 } else { header };
        a.otl_pktsize = packet;
        for frame in [frame, kind.question()] {
            if let Ok(answer) = kind.ask(&a, &frame, MacAddr(mac)) {
                prop_assert!(answer.len() <= FRAME_MAX && answer.len() >= 42);
            }
        }
    }

    #[test]
    fn options_that_are_anything(options in prop::collection::vec((any::<u8>(), 0..4u8), 0..40)) {
        let mut message = solicitation(OWNER_V6, None)[ETHER + 40..].to_vec();
        for (kind, units) in options {
            message.extend([kind % 4, units, 2, 2, 2, 2, 2, 2]);
        }
        let frame = icmpv6(ASKER_V6, "ff02::1".parse().unwrap(), &message);
        let _ = judge(Kind::Ndp, &frame);
    }
}
