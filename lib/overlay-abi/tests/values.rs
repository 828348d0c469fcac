// SPDX-License-Identifier: CDDL-1.0
//! Property values, possible values, addresses and the VXLAN header.
use overlay_abi::errno::Errno;
use overlay_abi::ids::{MacAddr, UnderlayAddr, VnetId};
use overlay_abi::props::{self, Possible, Values, parse_possible};
use overlay_abi::vxlan::vxlan_hdr_t;
use overlay_abi::{c_name, to_c_name};
use zerocopy::IntoBytes;

#[test]
fn macs_are_shown_without_leading_zeros_and_read_leniently() {
    let mac = MacAddr([2, 8, 0x20, 0xaa, 0, 1]);
    assert_eq!(mac.to_string(), "2:8:20:aa:0:1");
    for text in ["2:8:20:aa:0:1", "02:08:20:AA:00:01", "2:08:20:aA:0:01"] {
        assert_eq!(text.parse(), Ok(mac), "{text}");
    }
    for text in [
        "",
        "2:8:20:aa:0",
        "2:8:20:aa:0:1:2",
        "2:8:20:aa:0:1:",
        "2:8:20:aa:0:100",
        "2:8::aa:0:1",
        "2:8:20:aa:0:g",
        "+2:8:20:aa:0:1",
        "2-8-20-aa-0-1",
        " 2:8:20:aa:0:1",
    ] {
        assert!(text.parse::<MacAddr>().is_err(), "{text}");
    }
}

#[test]
fn underlay_addresses_of_both_families() {
    let v4 = UnderlayAddr::new("192.0.2.11".parse().unwrap(), 4789);
    assert_eq!(v4.ip[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    assert_eq!(v4.to_string(), "192.0.2.11:4789");
    let v6 = UnderlayAddr::new("2001:db8::9".parse().unwrap(), 1);
    assert_eq!(v6.to_string(), "[2001:db8::9]:1");
}

#[test]
fn numbers_of_every_width() {
    assert_eq!(props::uint(&1400u32.to_ne_bytes()), Some(1400));
    assert_eq!(props::uint(&4789u16.to_ne_bytes()), Some(4789));
    assert_eq!(props::uint(&u64::MAX.to_ne_bytes()), Some(u64::MAX));
    assert_eq!(props::uint(&[7]), Some(7));
    assert_eq!(props::int(&(-3i16).to_ne_bytes()), Some(-3));
    assert_eq!(props::int(&[0xff]), Some(-1));
    assert_eq!(props::uint(&[]), None);
    assert_eq!(props::uint(&[0; 3]), None);
    assert_eq!(props::int(&[0; 16]), None);
    assert_eq!(props::put(&mut [0; 7], &[1; 8]), Err(Errno::EOVERFLOW));
    assert_eq!(props::put(&mut [0; 8], &[1; 8]), Ok(8));
}

#[test]
fn possible_values_have_the_sizes_of_the_original() {
    let fresh = Possible::default();
    assert_eq!(fresh.size(), 16);
    assert!(matches!(parse_possible(fresh.bytes()), Ok(Values::Any)));
    assert!(matches!(parse_possible(&[]), Ok(Values::Any)));

    let mut ports = Possible::default();
    ports.add_range(1, 65535);
    ports.add_str(b"ignored: another type");
    assert_eq!(ports.size(), 24);
    assert_eq!(ports.bytes()[..16], [1u32, 1, 1, 65535].map(u32::to_ne_bytes).concat()[..]);
    let Ok(Values::Ranges(ranges)) = parse_possible(ports.bytes()) else { panic!("no ranges") };
    assert_eq!(ranges.collect::<Vec<_>>(), [(1, 65535)]);

    let mut names = Possible::default();
    names.add_str(b"direct");
    names.add_str(b"files");
    names.add_range(1, 2);
    assert_eq!(names.size(), 16 + 7 + 6);
    let Ok(Values::Texts(texts)) = parse_possible(names.bytes()) else { panic!("no texts") };
    assert_eq!(texts.collect::<Vec<_>>(), ["direct", "files"]);
}

#[test]
fn possible_values_stop_at_256_bytes() {
    let mut many = Possible::default();
    for n in 0..100 {
        many.add_range(n, n);
    }
    assert_eq!(many.size(), 256);
    let Ok(Values::Ranges(ranges)) = parse_possible(many.bytes()) else { panic!("no ranges") };
    assert_eq!(ranges.count(), 30);

    let mut texts = Possible::default();
    texts.add_str(&[b'x'; 239]);
    assert_eq!(texts.size(), 256);
    texts.add_str(b"");
    let Ok(Values::Texts(all)) = parse_possible(texts.bytes()) else { panic!("no texts") };
    assert_eq!(all.count(), 1);
    let mut long = Possible::default();
    long.add_str(&[b'x'; 240]);
    assert_eq!(long.size(), 16);
}

#[test]
fn broken_possible_values_are_refused() {
    let blob = |words: [u32; 4]| words.map(u32::to_ne_bytes).concat();
    for (bad, why) in [
        (blob([2, 1, 0, 0]), "two ranges said, one there"),
        (blob([u32::MAX, 1, 0, 0]), "count overflows"),
        (blob([1, 2, 5, 0]), "text longer than the blob"),
        (blob([1, 2, 0, 0]), "no text there"),
        (blob([2, 2, 4, 0x6161_6161]), "text without NUL"),
        (blob([1, 2, u32::MAX, 0]), "next byte overflows"),
        (vec![1, 0, 0, 0, 1], "cut off"),
        (vec![1, 0, 0], "cut off in the count"),
    ] {
        assert!(matches!(parse_possible(&bad), Err(Errno::EINVAL)), "{why}");
    }
    assert!(matches!(parse_possible(&blob([1, 0, 0, 0])), Ok(Values::Unknown)));
}

#[test]
fn names_end_with_a_nul() {
    assert_eq!(c_name(b"vxlan\0\0\0"), Some("vxlan"));
    assert_eq!(c_name(b"vxlan"), None);
    assert_eq!(c_name(b"\xff\0"), None);
    assert_eq!(c_name(b""), None);
    assert_eq!(to_c_name::<4>("abc"), Some(*b"abc\0"));
    assert_eq!(to_c_name::<4>("abcd"), None);
    assert_eq!(to_c_name::<4>("a\0b"), None);
}

#[test]
fn the_vxlan_header() {
    let header = vxlan_hdr_t::new(VnetId(0x123456));
    assert_eq!(header.as_bytes(), [8, 0, 0, 0, 0x12, 0x34, 0x56, 0]);
    assert_eq!(header.vnet(), Some(VnetId(0x123456)));
    let reserved: vxlan_hdr_t = zerocopy::transmute!([0xffu8, 1, 2, 3, 0, 0, 9, 0xee]);
    assert_eq!(reserved.vnet(), Some(VnetId(9)));
    let without: vxlan_hdr_t = zerocopy::transmute!([0xf7u8, 0, 0, 0, 0, 0, 9, 0]);
    assert_eq!(without.vnet(), None);
}
