// SPDX-License-Identifier: CDDL-1.0
//! Bytes that are no list.
mod common;

use common::lists;
use nvpair::{DEPTH_MAX, Encoding, Error, List, Value};
use proptest::prelude::*;

const FORMS: [Encoding; 2] = [Encoding::Native, Encoding::Xdr];

fn nested(levels: usize) -> List {
    let mut list = List::new();
    for _ in 0..levels {
        let mut outer = List::new();
        outer.add(c"l".into(), Value::List(Box::new(list)));
        list = outer;
    }
    list
}

/// What unpacking accepts can be packed, and is the same list then.
fn stable(bytes: &[u8]) {
    let Ok(list) = List::unpack(bytes) else { return };
    for form in FORMS {
        let packed = list.pack(form).unwrap();
        let again = List::unpack(&packed).unwrap();
        // By bytes, since there are numbers that are not equal to themselves; and in its own form
        // only, since unknown flags of lists in lists do not come through the native one.
        if bytes[0] == form as u8 {
            assert!(again.pack(form).unwrap() == packed, "{list:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_packed_is_unpacked(list in lists()) {
        for form in FORMS {
            let again = List::unpack(&list.pack(form).unwrap());
            prop_assert_eq!(again.as_ref(), Ok(&list));
        }
    }

    #[test]
    fn a_form_without_its_last_bytes_is_short(list in lists(), cut in 1usize..5) {
        for form in FORMS {
            let bytes = list.pack(form).unwrap();
            // Behind the end of a list in XDR there may be zeros.
            let ends = |n: &usize| List::unpack(&bytes[..*n]).is_ok();
            let end = (0..bytes.len()).rev().step_by(4).map(|n| n + 1).take_while(ends).last();
            let cut = &bytes[..end.unwrap() - cut];
            prop_assert_eq!(List::unpack(cut), Err(Error::Short));
        }
    }

    #[test]
    fn any_change_is_refused_or_another_list(
        list in lists(), at in any::<prop::sample::Index>(), to in any::<u8>()
    ) {
        for form in FORMS {
            let mut bytes = list.pack(form).unwrap();
            *at.get_mut(&mut bytes) = to;
            stable(&bytes);
        }
    }

    #[test]
    fn anything_at_all(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        stable(&bytes);
        if let [encoding, endian, ..] = bytes.as_mut_slice() {
            (*encoding, *endian) = (*encoding % 2, 1);
        }
        stable(&bytes);
    }
}

#[test]
fn every_truncation_and_every_bit_of_a_small_list() {
    let mut list = nested(2);
    list.add(c"s".into(), Value::StringArray(vec![c"one".into(), c"".into()]));
    list.add(c"b".into(), Value::BooleanArray(vec![true, false]));
    list.add(c"d".into(), Value::Double(-0.5));
    for form in FORMS {
        let bytes = list.pack(form).unwrap();
        for n in 0..bytes.len() {
            assert!(List::unpack(&bytes[..n]).is_err(), "{form:?}: {n} bytes");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            stable(&bytes);
        }
    }
}

#[test]
fn depth_is_bounded() {
    for form in FORMS {
        let deepest = nested(DEPTH_MAX);
        assert_eq!(List::unpack(&deepest.pack(form).unwrap()), Ok(deepest));
        assert_eq!(nested(DEPTH_MAX + 1).pack(form), Err(Error::Depth));
    }
    // As many levels as fit into some megabytes.
    let mut xdr = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut native = vec![0, u8::from(cfg!(target_endian = "little")), 0, 0];
    native.extend(0i32.to_ne_bytes());
    native.extend(1u32.to_ne_bytes());
    for _ in 0..100_000 {
        for word in [0x30u32, 0x30, 1, u32::from_be_bytes(*b"l\0\0\0"), 19, 1, 0, 1] {
            xdr.extend(word.to_be_bytes());
        }
        native.extend(48i32.to_ne_bytes());
        native.extend(2i16.to_ne_bytes());
        native.extend(0i16.to_ne_bytes());
        native.extend(1i32.to_ne_bytes());
        native.extend(19i32.to_ne_bytes());
        native.extend([b'l', 0, 0, 0, 0, 0, 0, 0]);
        native.extend([0; 24]);
    }
    assert_eq!(List::unpack(&xdr), Err(Error::Depth));
    assert_eq!(List::unpack(&native), Err(Error::Depth));
}

#[test]
fn counts_that_are_not_there_take_no_memory() {
    // An array of 2^29 numbers, strings or lists, said in a few words.
    for kind in [10u32, 16, 17, 20, 24, 26] {
        let mut xdr = vec![1, 1, 0, 0];
        for word in [0, 1, 0x40, 0x1000_0000, 1, u32::from_be_bytes(*b"a\0\0\0"), kind, 1 << 29] {
            xdr.extend(word.to_be_bytes());
        }
        // Numbers come with the count once more; a list begins with its version.
        xdr.extend(if kind == 20 { 0 } else { 1u32 << 29 }.to_be_bytes());
        assert_eq!(List::unpack(&xdr), Err(Error::Short), "type {kind}");
    }
}

#[test]
fn errors_name_what_is_wrong() {
    let word = |n: u32| n.to_be_bytes();
    let head = |encoding, endian| vec![encoding, endian, 0, 0];
    let little = u8::from(cfg!(target_endian = "little"));
    assert_eq!(List::unpack(&[]), Err(Error::Short));
    assert_eq!(List::unpack(&[1, 1, 0]), Err(Error::Short));
    assert_eq!(List::unpack(&head(2, little)), Err(Error::Encoding(2)));
    assert_eq!(List::unpack(&head(0, 1 - little)), Err(Error::Endian));
    // XDR is the same from a machine of either byte order.
    let empty = [word(0), word(1), word(0), word(0)].concat();
    for endian in [0, 1, 7] {
        assert_eq!(List::unpack(&[head(1, endian), empty.clone()].concat()), Ok(List::new()));
    }
    let xdr = |words: &[u32]| {
        let mut bytes = head(1, 1);
        words.iter().for_each(|n| bytes.extend(word(*n)));
        List::unpack(&bytes)
    };
    let name = u32::from_be_bytes(*b"a\0\0\0");
    assert_eq!(xdr(&[7]), Err(Error::Version(7)));
    assert_eq!(xdr(&[0, 1, 24, 24, 1, name, 0, 0, 0, 0]), Err(Error::Kind(0)));
    assert_eq!(xdr(&[0, 1, 24, 24, 1, name, 28, 0, 0, 0]), Err(Error::Kind(28)));
    assert_eq!(xdr(&[0, 1, 24, 24, 1, name, 1, 1, 0, 0]), Err(Error::Count(1)));
    assert_eq!(xdr(&[0, 1, 24, 24, 1, name, 6, 0, 0, 0]), Err(Error::Count(0)));
    assert_eq!(xdr(&[0, 1, 24, 32, 1, name, 1, 0, 0, 0]), Err(Error::Size));
    assert_eq!(xdr(&[0, 1, 24, 32, 1, name, 21, 1, 2, 0, 0]), Err(Error::Boolean(2)));
    assert_eq!(xdr(&[0, 1, 24, 24, 1, 0, 1, 0, 0, 0]), Err(Error::Text));
    assert_eq!(xdr(&[0, 1, 24, 40, 1, name, 14, 2, 3, 1, 2, 3, 0, 0]), Err(Error::Count(2)));
    let mut all_right = List::new();
    all_right.add(c"a".into(), Value::Boolean);
    assert_eq!(xdr(&[0, 1, 24, 24, 1, name, 1, 0, 0, 0]), Ok(all_right));
}

#[test]
fn names_that_no_pair_can_hold() {
    let with_name = |n: usize| {
        let mut list = List::new();
        list.add(std::ffi::CString::new(vec![b'n'; n]).unwrap(), Value::Boolean);
        list
    };
    for form in FORMS {
        let longest = with_name(32766);
        assert_eq!(List::unpack(&longest.pack(form).unwrap()), Ok(longest));
        assert_eq!(with_name(32767).pack(form), Err(Error::Big));
    }
}
