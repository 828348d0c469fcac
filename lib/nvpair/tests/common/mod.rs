// SPDX-License-Identifier: CDDL-1.0
//! Lists of every kind, made at random.
use nvpair::{List, NV_UNIQUE_NAME, NV_UNIQUE_NAME_TYPE, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use std::ffi::CString;

fn text(max: usize) -> impl Strategy<Value = CString> {
    vec(1u8..=255, 0..max).prop_map(|bytes| CString::new(bytes).unwrap())
}

fn leaf() -> impl Strategy<Value = Value> {
    let scalars = prop_oneof![
        Just(Value::Boolean),
        any::<bool>().prop_map(Value::BooleanValue),
        any::<u8>().prop_map(Value::Byte),
        any::<i8>().prop_map(Value::Int8),
        any::<u8>().prop_map(Value::Uint8),
        any::<i16>().prop_map(Value::Int16),
        any::<u16>().prop_map(Value::Uint16),
        any::<i32>().prop_map(Value::Int32),
        any::<u32>().prop_map(Value::Uint32),
        any::<i64>().prop_map(Value::Int64),
        any::<u64>().prop_map(Value::Uint64),
        any::<i64>().prop_map(Value::Hrtime),
        // A value that is not a number is not equal to itself.
        proptest::num::f64::ANY.prop_filter("a number", |n| !n.is_nan()).prop_map(Value::Double),
        text(40).prop_map(Value::String),
    ];
    let arrays = prop_oneof![
        vec(any::<bool>(), 0..6).prop_map(Value::BooleanArray),
        vec(any::<u8>(), 0..20).prop_map(Value::ByteArray),
        vec(any::<i8>(), 0..6).prop_map(Value::Int8Array),
        vec(any::<u8>(), 0..6).prop_map(Value::Uint8Array),
        vec(any::<i16>(), 0..6).prop_map(Value::Int16Array),
        vec(any::<u16>(), 0..6).prop_map(Value::Uint16Array),
        vec(any::<i32>(), 0..6).prop_map(Value::Int32Array),
        vec(any::<u32>(), 0..6).prop_map(Value::Uint32Array),
        vec(any::<i64>(), 0..6).prop_map(Value::Int64Array),
        vec(any::<u64>(), 0..6).prop_map(Value::Uint64Array),
        vec(text(12), 0..6).prop_map(Value::StringArray),
    ];
    prop_oneof![scalars, arrays]
}

fn list_of(value: impl Strategy<Value = Value>) -> impl Strategy<Value = List> {
    let flags =
        prop_oneof![4 => Just(NV_UNIQUE_NAME), 1 => Just(NV_UNIQUE_NAME_TYPE), 1 => Just(0)];
    // Few names, so that some come twice.
    let name = prop_oneof![text(20), "[a-c]".prop_map(|s| CString::new(s).unwrap())];
    (flags, vec((name, value), 0..5)).prop_map(|(flags, pairs)| {
        let mut list = List::with_flags(flags);
        pairs.into_iter().for_each(|(name, value)| list.add(name, value));
        list
    })
}

/// Lists with lists in them.
pub fn lists() -> impl Strategy<Value = List> {
    let values = leaf().prop_recursive(4, 40, 5, |value| {
        prop_oneof![
            list_of(value.clone()).prop_map(|l| Value::List(Box::new(l))),
            vec(list_of(value), 0..4).prop_map(Value::ListArray),
        ]
    });
    list_of(values)
}
