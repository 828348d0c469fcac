// SPDX-License-Identifier: CDDL-1.0
//! Neighbour discovery (spec/varpd.md 6.2).
use libvarpd::proxy::ndp::Ndp;
use libvarpd::proxy::{FRAME_MAX, Refusal};
use overlay_abi::ids::MacAddr;
use overlay_abi::target::overlay_targ_lookup_t;
use overlay_abi::target::v2::OVERLAY_TARG_DSTTYPE_ROUTER;
use std::net::Ipv6Addr;
use varpd_harness::frames::*;

const IP: usize = ETHER;
const ICMP: usize = ETHER + 40;
const OPTIONS: usize = ICMP + 24;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A solicitation with these options; lengths and checksum are right.
fn with_options(options: &[u8]) -> Vec<u8> {
    let plain = solicitation(OWNER_V6, Some(ASKER));
    let message = [&plain[ICMP..OPTIONS], options].concat();
    let group = <[u8; 16]>::try_from(&plain[IP + 24..IP + 40]).unwrap();
    let mut frame = icmpv6(ASKER_V6, group.into(), &message);
    resum(Kind::Ndp, &mut frame);
    frame
}

fn source_option() -> Vec<u8> {
    [&[1, 1], &ASKER.0[..]].concat()
}

#[test]
fn solicitations_are_answered() {
    let plain = solicitation(OWNER_V6, Some(ASKER));
    assert_eq!(parse::<Ndp>(&lookup(&plain), &plain).unwrap().target(), OWNER_V6);
    let mut padded = plain.clone();
    padded.resize(200, 0xee);
    for question in [&plain[..], &tagged(&plain, 0xa123), &padded] {
        Kind::Ndp.check(question, &ask(Kind::Ndp, question).unwrap());
    }
}

/// A solicitation of the router's own address, to the router alone; with a source address or without.
fn to_router(source: Option<MacAddr>) -> (overlay_targ_lookup_t, Vec<u8>) {
    let plain = solicitation(OWNER_V6, source);
    let end = plain.len();
    let mut frame = icmpv6(ASKER_V6, OWNER_V6, &plain[ICMP..end]);
    frame[..6].copy_from_slice(&OWNER.0);
    resum(Kind::Ndp, &mut frame);
    let mut told = lookup(&frame);
    told.otl_dsttype = OVERLAY_TARG_DSTTYPE_ROUTER;
    (told, frame)
}

/// A guest that makes sure its router is still there asks it alone, and need not say where it is.
#[test]
fn a_router_is_asked_by_itself() {
    for source in [Some(ASKER), None] {
        let (mut told, frame) = to_router(source);
        Kind::Ndp.check(&frame, &Kind::Ndp.ask(&told, &frame, OWNER).unwrap());
        // Whoever is no router answers itself.
        told.otl_dsttype = 0;
        assert_eq!(Kind::Ndp.ask(&told, &frame, OWNER), Err(Refusal::Destination));
    }
    // For another address than it is sent to; to the group without a source address; a probe.
    let edits: [(Edit, Refusal); 3] = [
        (|f| f[IP + 39] ^= 1, Refusal::IpDestination),
        (|f| f[..2].copy_from_slice(&[0x33, 0x33]), Refusal::NoSourceOption),
        (|f| f[IP + 8..IP + 24].fill(0), Refusal::IpSource),
    ];
    for (edit, why) in edits {
        let (told, mut frame) = to_router(None);
        edit(&mut frame);
        resum(Kind::Ndp, &mut frame);
        assert_eq!(Kind::Ndp.ask(&told, &frame, OWNER), Err(why));
    }
}

#[test]
fn class_and_flow_label_of_the_question_are_kept_and_any_group_of_the_link_will_do() {
    let mut frame = solicitation(OWNER_V6, Some(ASKER));
    frame[IP..IP + 4].copy_from_slice(&[0x6a, 0xbc, 0xde, 0xf1]);
    frame[IP + 24..IP + 40].copy_from_slice(&ALL_NODES.octets());
    resum(Kind::Ndp, &mut frame);
    Kind::Ndp.check(&frame, &ask(Kind::Ndp, &frame).unwrap());
}

#[test]
fn the_source_option_may_be_anywhere() {
    let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
    let unknown = [&[200, 3][..], &[9; 22]].concat();
    for parts in [
        vec![source_option(), nonce.to_vec()],
        vec![nonce.to_vec(), unknown.clone(), source_option()],
        vec![source_option(), source_option()],
    ] {
        let frame = with_options(&parts.concat());
        Kind::Ndp.check(&frame, &ask(Kind::Ndp, &frame).unwrap());
    }
    // As many as fit.
    let frame = with_options(&source_option().repeat((1500 - 64) / 8));
    assert!(frame.len() <= FRAME_MAX);
    Kind::Ndp.check(&frame, &ask(Kind::Ndp, &frame).unwrap());
}

#[test]
fn each_check_has_its_refusal() {
    let edits: [(Edit, Refusal); 15] = [
        (|f| f[1] = 0x34, Refusal::Destination),
        (|f| f[0] = 0x32, Refusal::Destination),
        (|f| f[13] = 0xde, Refusal::Type),
        (|f| f[6] |= 1, Refusal::Source),
        (|f| f[IP] = 0x45, Refusal::IpVersion),
        (|f| f[IP + 6] = 17, Refusal::Protocol),
        // Of the site, not of the link; and to a host.
        (|f| f[IP + 25] = 5, Refusal::IpDestination),
        (|f| f[IP + 24] = 0xfe, Refusal::IpDestination),
        (|f| f[IP + 7] = 254, Refusal::HopLimit),
        (|f| f[ICMP + 2] ^= 1, Refusal::Checksum),
        (|f| f[ICMP + 5] ^= 1, Refusal::Checksum),
        (|f| f[IP + 8] ^= 1, Refusal::Checksum),
        (|f| f.truncate(OPTIONS), Refusal::IpLength),
        (|f| f.truncate(OPTIONS - 1), Refusal::Short),
        (|f| f.resize(FRAME_MAX + 1, 0), Refusal::Long),
    ];
    for (n, (edit, why)) in edits.into_iter().enumerate() {
        assert_eq!(edited(Kind::Ndp, edit), Err(why), "{n}");
    }
}

#[test]
fn addresses_that_no_neighbour_has_are_not_asked_for() {
    for target in ["ff02::1", "ff0e::1:2", "::ffff:10.0.0.1", "::1"] {
        let frame = solicitation(target.parse().unwrap(), Some(ASKER));
        assert_eq!(ask(Kind::Ndp, &frame), Err(Refusal::Target), "{target}");
    }
}

/// Whether an address is taken is for its owner to say: a probe is never answered.
#[test]
fn detection_of_duplicates_is_not_answered() {
    let probe = solicitation(OWNER_V6, None);
    assert_eq!(ask(Kind::Ndp, &probe), Err(Refusal::NoSourceOption));
    // Nor is one that carries the option, which it must not (RFC 4861 7.1.1).
    let mut probe = solicitation(OWNER_V6, Some(ASKER));
    probe[IP + 8..IP + 24].fill(0);
    resum(Kind::Ndp, &mut probe);
    assert_eq!(ask(Kind::Ndp, &probe), Err(Refusal::IpSource));
    probe[IP + 8..IP + 24].copy_from_slice(&ALL_NODES.octets());
    resum(Kind::Ndp, &mut probe);
    assert_eq!(ask(Kind::Ndp, &probe), Err(Refusal::IpSource));
}

/// The original took a message whose type or whose code was right.
#[test]
fn defect_40_ndp_type_and_code_must_both_be_right() {
    for (kind, code) in [(135, 1), (136, 0), (0, 0), (133, 0), (255, 255)] {
        let result = edited(Kind::Ndp, |f| {
            (f[ICMP], f[ICMP + 1]) = (kind, code);
            resum(Kind::Ndp, f);
        });
        assert_eq!(result, Err(Refusal::NotSolicitation), "{kind} {code}");
    }
}

/// The original computed the length of the options below zero, and read on.
#[test]
fn defect_40_ndp_payload_lengths() {
    for length in 0..=u16::MAX {
        let result =
            edited(Kind::Ndp, |f| f[IP + 4..IP + 6].copy_from_slice(&length.to_be_bytes()));
        match length {
            32 => assert!(result.is_ok()),
            // Right in the frame, but not what the checksum is of.
            24..32 => assert_eq!(result, Err(Refusal::Checksum), "{length}"),
            _ => assert_eq!(result, Err(Refusal::IpLength), "{length}"),
        }
    }
}

/// The original gave up with an assertion.
#[test]
fn defect_40_ndp_frames_shorter_than_told() {
    let frame = solicitation(OWNER_V6, Some(ASKER));
    let told = lookup(&frame);
    for len in 0..frame.len() {
        let result = Kind::Ndp.ask(&told, &frame[..len], OWNER);
        let why = if len < ICMP { Refusal::Short } else { Refusal::IpLength };
        assert_eq!(result, Err(why), "{len}");
    }
}

/// Linux's vxlan read behind a solicitation whose option claimed more than there was.
#[test]
fn regression_cve_2026_31738_nd_option_length() {
    for units in [0, 2, 3, 32, 255] {
        let mut option = source_option();
        option[1] = units;
        let frame = with_options(&option);
        assert_eq!(ask(Kind::Ndp, &frame), Err(Refusal::OptionLength), "{units}");
        // Also behind good ones, in front of them, and if there would be bytes, which are padding.
        for mut frame in [
            with_options(&[source_option(), option.clone()].concat()),
            with_options(&[[200, 1, 0, 0, 0, 0, 0, 0].to_vec(), option.clone()].concat()),
        ] {
            frame.resize(FRAME_MAX, 1);
            assert_eq!(ask(Kind::Ndp, &frame), Err(Refusal::OptionLength), "{units}");
        }
    }
    // One that is longer than an address of Ethernet, and all there.
    let long = [&[1, 2][..], &[7; 14]].concat();
    assert_eq!(ask(Kind::Ndp, &with_options(&long)), Err(Refusal::OptionLength));
    // Ends that are not even an option's head.
    for rest in 1..8 {
        let frame = with_options(&[&source_option()[..], &[1; 7][..rest]].concat());
        assert_eq!(ask(Kind::Ndp, &frame), Err(Refusal::OptionLength), "{rest}");
    }
}

/// smoltcp 808: ICMPv6 packets of a few bytes.
#[test]
fn regression_smoltcp_808_short_icmpv6() {
    for len in 0..24 {
        let plain = solicitation(OWNER_V6, Some(ASKER));
        let mut frame = icmpv6(ASKER_V6, ALL_NODES, &plain[ICMP..ICMP + len]);
        frame.resize(78, 0);
        assert_eq!(ask(Kind::Ndp, &frame), Err(Refusal::IpLength), "{len}");
    }
}

/// smoltcp: an option of length 0 was walked for ever.
#[test]
fn regression_smoltcp_ndisc_option_length_0() {
    for kind in 0..=255 {
        let frame = with_options(&[&source_option()[..], &[kind, 0, 0, 0, 0, 0, 0, 0]].concat());
        assert_eq!(ask(Kind::Ndp, &frame), Err(Refusal::OptionLength), "{kind}");
    }
}

/// FreeBSD used an ICMPv6 error after it had freed it, and believed any MTU: errors are not for us.
#[test]
fn regression_freebsd_icmpv6_errors() {
    for kind in (0..=255).filter(|kind| *kind != 135) {
        for mtu in [0, 1, 1279, u32::MAX] {
            let inner = solicitation(OWNER_V6, Some(ASKER));
            let message = [&[kind, 0, 0, 0], &mtu.to_be_bytes()[..], &inner[IP..]].concat();
            let mut frame = icmpv6(ASKER_V6, ALL_NODES, &message);
            resum(Kind::Ndp, &mut frame);
            assert_eq!(ask(Kind::Ndp, &frame), Err(Refusal::NotSolicitation), "{kind}");
        }
    }
}

/// smoltcp 636: the length of an extension header times 8 went over. There are no such headers here.
#[test]
fn regression_smoltcp_636_extension_headers() {
    for next in (0..=255).filter(|next| *next != 58) {
        for units in [0, 1, 31, 32, 255] {
            let result = edited(Kind::Ndp, |f| {
                f[IP + 6] = next;
                let header = [58, units, 0, 0, 0, 0, 0, 0];
                f.splice(ICMP..ICMP, header);
                f[IP + 5] += 8;
            });
            assert_eq!(result, Err(Refusal::Protocol), "{next} {units}");
        }
    }
}

/// PixieFail: an IA_NA option of DHCPv6 shorter than itself. DHCPv6 is not proxied.
#[test]
fn regression_cve_2023_45229_dhcpv6() {
    let option = [0, 3, 0, 2, 0, 0];
    let message = [&[1, 0, 0, 1][..], &option].concat();
    let udp = [&[2, 34, 2, 35, 0, 8 + message.len() as u8, 0, 0][..], &message].concat();
    let mut frame = icmpv6(ASKER_V6, "ff02::1:2".parse().unwrap(), &udp);
    frame[IP + 6] = 17;
    frame.resize(ICMP + 40, 0);
    assert_eq!(ask(Kind::Ndp, &frame), Err(Refusal::Protocol));
}
