// SPDX-License-Identifier: CDDL-1.0
//! Packed forms that OpenZFS' libnvpair made.
use nvpair::{Encoding, List, Value};
use serde_json::Value as Json;
use std::ffi::CString;

fn shared(name: &str) -> Json {
    let path = format!("{}/../../../shared/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("cannot read {path}: {e}; it comes with the project's files"));
    serde_json::from_str(&text).unwrap()
}

fn hex(json: &Json) -> Vec<u8> {
    let text = json.as_str().unwrap();
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn string(json: &Json) -> CString {
    CString::new(json.as_str().unwrap()).unwrap()
}

fn number<T: TryFrom<i128>>(json: &Json) -> T {
    let n = json.as_i64().map(i128::from).or(json.as_u64().map(i128::from)).unwrap();
    T::try_from(n).unwrap_or_else(|_| panic!("{n}"))
}

fn all<T>(json: &Json, one: impl Fn(&Json) -> T) -> Vec<T> {
    json.as_array().unwrap().iter().map(one).collect()
}

fn list(pairs: &Json) -> List {
    let mut list = List::new();
    for pair in pairs.as_array().unwrap() {
        let v = &pair["value"];
        let flag = |v: &Json| v.as_bool().unwrap();
        let value = match pair["type"].as_str().unwrap() {
            "boolean" => Value::Boolean,
            "boolean_value" => Value::BooleanValue(flag(v)),
            "byte" => Value::Byte(number(v)),
            "int8" => Value::Int8(number(v)),
            "uint8" => Value::Uint8(number(v)),
            "int16" => Value::Int16(number(v)),
            "uint16" => Value::Uint16(number(v)),
            "int32" => Value::Int32(number(v)),
            "uint32" => Value::Uint32(number(v)),
            "int64" => Value::Int64(number(v)),
            "uint64" => Value::Uint64(number(v)),
            "string" => Value::String(string(v)),
            "nvlist" => Value::List(Box::new(self::list(v))),
            "boolean_array" => Value::BooleanArray(all(v, flag)),
            "byte_array" => Value::ByteArray(all(v, number)),
            "int8_array" => Value::Int8Array(all(v, number)),
            "uint8_array" => Value::Uint8Array(all(v, number)),
            "int16_array" => Value::Int16Array(all(v, number)),
            "uint16_array" => Value::Uint16Array(all(v, number)),
            "int32_array" => Value::Int32Array(all(v, number)),
            "uint32_array" => Value::Uint32Array(all(v, number)),
            "int64_array" => Value::Int64Array(all(v, number)),
            "uint64_array" => Value::Uint64Array(all(v, number)),
            "string_array" => Value::StringArray(all(v, string)),
            "nvlist_array" => Value::ListArray(all(v, self::list)),
            other => panic!("type {other}"),
        };
        list.add(string(&pair["name"]), value);
    }
    list
}

#[test]
fn lists_of_the_golden_data_in_both_forms() {
    let data = shared("nvlist_vectors.json");
    let lists = data["lists"].as_array().unwrap();
    assert!(lists.len() > 200);
    for (n, golden) in lists.iter().enumerate() {
        let list = list(&golden["pairs"]);
        for (encoding, key) in [(Encoding::Xdr, "xdr"), (Encoding::Native, "native")] {
            if encoding == Encoding::Native && cfg!(target_endian = "big") {
                continue;
            }
            let bytes = hex(&golden[key]);
            assert_eq!(List::unpack(&bytes).as_ref(), Ok(&list), "list {n}, {key}");
            let mut packed = list.pack(encoding).unwrap();
            if cfg!(target_endian = "big") {
                packed[1] = 1;
            }
            assert_eq!(packed, bytes, "list {n}, {key}");
        }
    }
}

#[test]
fn the_worked_example_of_a_persistence_file() {
    let data = shared("persist_direct.json");
    let mut private = List::new();
    private.add(c"direct/dest_port".into(), Value::Uint16(4789));
    private.add(c"direct/dest_ip".into(), Value::String(c"::ffff:10.88.88.70".into()));
    let mut list = List::new();
    list.add(c"vri_id".into(), Value::Uint64(1));
    list.add(c"vri_linkid".into(), Value::Uint32(7));
    list.add(c"vri_dest".into(), Value::Uint32(6));
    list.add(c"vri_mode".into(), Value::Uint32(1));
    list.add(c"vri_plugin".into(), Value::String(c"direct".into()));
    list.add(c"vri_private".into(), Value::List(Box::new(private)));
    assert_eq!(list.pack(Encoding::Xdr).unwrap(), hex(&data["payload"]));
    assert_eq!(List::unpack(&hex(&data["payload"])), Ok(list));
}
