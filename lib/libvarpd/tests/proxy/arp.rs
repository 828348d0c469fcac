// SPDX-License-Identifier: CDDL-1.0
//! ARP (spec/varpd.md 6.1).
use libvarpd::proxy::arp::Arp;
use libvarpd::proxy::{FRAME_MAX, Refusal};
use overlay_abi::ids::MacAddr;
use varpd_harness::frames::*;

const ARP: usize = ETHER;

#[test]
fn requests_are_answered_in_place() {
    let plain = arp_request();
    assert_eq!(parse::<Arp>(&lookup(&plain), &plain).unwrap().target(), OWNER_V4);
    for question in [&plain[..], &plain[..42], &tagged(&plain, 0xa123)] {
        Kind::Arp.check(question, &ask(Kind::Arp, question).unwrap());
    }
}

#[test]
fn the_longest_frame_is_answered_and_a_longer_one_is_not() {
    let mut frame = tagged(&arp_request(), 5);
    frame.resize(FRAME_MAX, 7);
    Kind::Arp.check(&frame, &ask(Kind::Arp, &frame).unwrap());
    frame.push(7);
    assert_eq!(ask(Kind::Arp, &frame), Err(Refusal::Long));
}

#[test]
fn each_check_has_its_refusal() {
    let edits: [(Edit, Refusal); 10] = [
        (|f| f[13] = 0, Refusal::Type),
        (|f| f[6] |= 1, Refusal::Source),
        (|f| f[ARP + 1] = 6, Refusal::ArpKind),
        (|f| f[ARP + 2] = 0x86, Refusal::ArpKind),
        (|f| f[ARP + 4] = 8, Refusal::ArpKind),
        (|f| f[ARP + 5] = 16, Refusal::ArpKind),
        (|f| f[ARP + 7] = 2, Refusal::NotRequest),
        (|f| f[ARP + 6] = 1, Refusal::NotRequest),
        (|f| f.copy_within(ARP + 14..ARP + 18, ARP + 24), Refusal::Announcement),
        (|f| f.truncate(41), Refusal::Short),
    ];
    for (n, (edit, why)) in edits.into_iter().enumerate() {
        assert_eq!(edited(Kind::Arp, edit), Err(why), "{n}");
    }
}

#[test]
fn sizes_of_a_lookup_are_checked_before_the_frame() {
    let frame = arp_request();
    let mut a = lookup(&frame);
    for (header, packet, why) in [
        (14, 1505, Refusal::Long),
        (u64::MAX, 46, Refusal::Long),
        (14, u64::MAX, Refusal::Long),
        (14, 27, Refusal::Short),
        (0, 46, Refusal::Header),
        (13, 46, Refusal::Header),
        (1400, 46, Refusal::Header),
    ] {
        (a.otl_hdrsize, a.otl_pktsize) = (header, packet);
        assert_eq!(parse::<Arp>(&a, &frame).unwrap_err(), why, "{header} {packet}");
    }
    a.otl_sap = 0x1_0806;
    assert_eq!(parse::<Arp>(&a, &frame).unwrap_err(), Refusal::Type);
}

/// The original refused what it should take, and took less than a whole packet.
#[test]
fn defect_40_arp_frames_shorter_than_told() {
    let frame = arp_request();
    let told = lookup(&frame);
    for len in 0..=frame.len() {
        let result = Kind::Arp.ask(&told, &frame[..len], OWNER);
        if len < 42 {
            assert_eq!(result, Err(Refusal::Short), "{len}");
        } else {
            Kind::Arp.check(&frame[..len], &result.unwrap());
        }
    }
    let longer = [&frame[..], &[0]].concat();
    assert_eq!(Kind::Arp.ask(&told, &longer, OWNER), Err(Refusal::Other));
}

#[test]
fn a_frame_of_another_type_than_told_is_another_frame() {
    let frame = arp_request();
    let told = lookup(&frame);
    let other = tagged(&frame[..56], 5);
    assert_eq!(Kind::Arp.ask(&told, &other, OWNER), Err(Refusal::Other));
}

#[test]
fn answers_are_addresses_of_other_hosts() {
    for kind in KINDS {
        let frame = kind.question();
        for (mac, why) in [
            (MacAddr::ZERO, Refusal::NotAHost),
            (MacAddr::BROADCAST, Refusal::NotAHost),
            (MacAddr([0x33, 0x33, 0, 0, 0, 1]), Refusal::NotAHost),
            (ASKER, Refusal::Asker),
        ] {
            assert_eq!(kind.ask(&lookup(&frame), &frame, mac), Err(why), "{kind:?} {mac}");
        }
    }
}
