// SPDX-License-Identifier: CDDL-1.0
//! The header, against the samples of spec/ipnet.md 3 and of the captures.
use ipnet::header::*;
use proptest::prelude::*;

const ECHO: [u8; 24] =
    [1, 2, 0, 0, 0, 0, 0, 0x24, 0, 0, 0, 3, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0];
const LOCAL: [u8; 24] =
    [1, 26, 0, 2, 0, 0, 0, 0x35, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 5, 0, 0, 0, 5];

#[test]
fn the_samples_of_the_specification() {
    let (family, direction) = (AF_INET, Some(Direction::In));
    let echo = Header { family, direction, len: 36, ifindex: 3, group: 0, zsrc: -1, zdst: 0 };
    assert_eq!(Header::parse(&ECHO), echo);
    assert_eq!(echo.to_bytes(), ECHO);
    let (family, direction) = (AF_INET6, Some(Direction::Local));
    let local = Header { family, direction, len: 53, ifindex: 1, group: 7, zsrc: 5, zdst: 5 };
    assert_eq!(Header::parse(&LOCAL), local);
    assert_eq!(local.to_bytes(), LOCAL);
}

#[test]
fn every_packet_of_the_sample_capture() {
    let dir = format!("{}/../../../shared/vectors/ipnet", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(format!("{dir}/ipnet_be.pcap")).unwrap();
    let mut at = 24;
    let mut packets = 0;
    while at < file.len() {
        let len = u32::from_be_bytes(file[at + 8..at + 12].try_into().unwrap()) as usize;
        let record = &file[at + 16..at + 16 + len];
        let header = Header::parse(record.first_chunk().unwrap());
        assert_eq!(header.to_bytes(), record[..24]);
        assert_eq!(header.len as usize, len - 24);
        assert_eq!(if header.family == AF_INET { 4 } else { 6 }, record[24] >> 4);
        at += 16 + len;
        packets += 1;
    }
    assert_eq!(packets, 3);
}

proptest! {
    #[test]
    fn any_bytes_are_read_and_written(bytes: [u8; 24]) {
        let header = Header::parse(&bytes);
        let again = Header::parse(&header.to_bytes());
        prop_assert_eq!(again, header);
        prop_assert_eq!(header.direction.is_some(), bytes[2] == 0 && bytes[3] < 3);
    }
}
