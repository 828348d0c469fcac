// SPDX-License-Identifier: CDDL-1.0
//! The golden messages of `../shared/vectors/svp_vectors.json`.

use serde_json::Value;

/// A message as recorded.
pub struct Vector {
    pub kind: String,
    pub name: String,
    pub fields: Value,
    pub bytes: Vec<u8>,
}

pub fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

pub fn file(name: &str) -> Value {
    let path = format!("{}/../../../shared/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap()
}

fn vector(kind: &str, v: &Value) -> Vector {
    Vector {
        kind: kind.to_owned(),
        name: v["name"].as_str().unwrap().to_owned(),
        fields: v["fields"].clone(),
        bytes: unhex(v["hex"].as_str().unwrap()),
    }
}

pub fn valid() -> Vec<Vector> {
    let all = file("svp_vectors.json");
    let kinds = all["kinds"].as_object().unwrap();
    let list: Vec<_> = kinds
        .iter()
        .flat_map(|(kind, list)| list.as_array().unwrap().iter().map(move |v| vector(kind, v)))
        .collect();
    assert_eq!(list.len() as u64, all["counts"]["valid"].as_u64().unwrap());
    list
}

pub fn invalid() -> Vec<Vector> {
    let all = file("svp_vectors.json");
    let list: Vec<_> =
        all["invalid"].as_array().unwrap().iter().map(|v| vector("invalid", v)).collect();
    assert_eq!(list.len() as u64, all["counts"]["invalid"].as_u64().unwrap());
    list
}
