// SPDX-License-Identifier: CDDL-1.0
//! DHCP (spec/varpd.md 6.3).
use libvarpd::proxy::{FRAME_MAX, Refusal};
use varpd_harness::frames::*;

const IP: usize = ETHER;
const UDP: usize = ETHER + 20;

/// A discover after an edit of its IP header, whose checksum is made right.
fn edited_ip(edit: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<u8>, Refusal> {
    edited(Kind::Dhcp, |f| {
        edit(f);
        resum(Kind::Dhcp, f);
    })
}

#[test]
fn broadcasts_of_clients_go_to_the_server() {
    let plain = discover();
    let mut padded = plain.clone();
    padded.resize(FRAME_MAX - 4, 0xee);
    for question in [&plain[..], &tagged(&plain, 0xa123), &padded, &tagged(&padded, 7)] {
        Kind::Dhcp.check(question, &ask(Kind::Dhcp, question).unwrap());
    }
    // Don't Fragment is for the client to set.
    assert!(edited_ip(|f| f[IP + 6] = 0x40).is_ok());
}

#[test]
fn ip_options_are_skipped() {
    for words in 1..=10 {
        let result = edited(Kind::Dhcp, |f| {
            f[IP] = 0x45 + words;
            f[IP + 3] += 4 * words;
            for _ in 0..4 * words {
                f.insert(UDP, 1);
            }
            resum(Kind::Dhcp, f);
        });
        assert!(result.is_ok(), "{words}: {result:?}");
    }
}

#[test]
fn each_check_has_its_refusal() {
    let edits: [(Edit, Refusal); 14] = [
        (|f| f[5] = 0xfe, Refusal::Destination),
        (|f| f[13] = 6, Refusal::Type),
        (|f| f[6] |= 1, Refusal::Source),
        (|f| f[IP + 8] ^= 1, Refusal::IpChecksum),
        (|f| f[IP + 6] = 0x20, Refusal::Fragment),
        (|f| f[IP + 7] = 1, Refusal::Fragment),
        (|f| f[IP + 6] = 0x80, Refusal::Fragment),
        (|f| f[UDP + 1] = 67, Refusal::Ports),
        (|f| f[UDP + 3] = 68, Refusal::Ports),
        (|f| f[IP + 3] += 1, Refusal::IpLength),
        (|f| f[IP] = 0x44, Refusal::IpHeader),
        (|f| f[IP] = 0x40, Refusal::IpHeader),
        (|f| f.truncate(ETHER + 327), Refusal::Short),
        (|f| f.resize(FRAME_MAX + 1, 0), Refusal::Long),
    ];
    for (n, (edit, why)) in edits.into_iter().enumerate() {
        let result = edited(Kind::Dhcp, |f| {
            edit(f);
            if why != Refusal::IpChecksum && why != Refusal::IpHeader {
                resum(Kind::Dhcp, f);
            }
        });
        assert_eq!(result, Err(why), "{n}");
    }
}

/// The original took what was IPv4 or UDP.
#[test]
fn defect_40_dhcp_version_and_protocol_must_both_be_right() {
    for version in (0..16).filter(|v| *v != 4) {
        assert_eq!(edited(Kind::Dhcp, |f| f[IP] = version << 4 | 5), Err(Refusal::IpVersion));
    }
    for protocol in (0..=255).filter(|p| *p != 17) {
        assert_eq!(edited_ip(|f| f[IP + 9] = protocol), Err(Refusal::Protocol));
    }
}

#[test]
fn defect_40_dhcp_frames_of_another_size_than_told() {
    let frame = discover();
    let told = lookup(&frame);
    for len in 0..frame.len() {
        let why = if len < ETHER { Refusal::Short } else { Refusal::Other };
        assert_eq!(Kind::Dhcp.ask(&told, &frame[..len], OWNER), Err(why), "{len}");
    }
    let longer = [&frame[..], &[0]].concat();
    assert_eq!(Kind::Dhcp.ask(&told, &longer, OWNER), Err(Refusal::Other));
}

/// Open vSwitch computed a length below zero for an IP packet shorter than its own header.
#[test]
fn regression_cve_2016_10377_ip_length_below_the_header() {
    for length in (0..=u16::MAX).filter(|l| *l != 328) {
        let result = edited_ip(|f| f[IP + 2..IP + 4].copy_from_slice(&length.to_be_bytes()));
        let why = match length {
            28..328 => Refusal::UdpLength,
            _ => Refusal::IpLength,
        };
        assert_eq!(result, Err(why), "{length}");
    }
}

/// The DHCP server of ISC died of a wrong UDP length.
#[test]
fn regression_isc_dhcp_udp_length() {
    for length in (0..=u16::MAX).filter(|l| *l != 308) {
        let result = edited(Kind::Dhcp, |f| {
            f[UDP + 4..UDP + 6].copy_from_slice(&length.to_be_bytes());
        });
        assert_eq!(result, Err(Refusal::UdpLength), "{length}");
    }
}
