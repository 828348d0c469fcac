// SPDX-License-Identifier: CDDL-1.0
//! A file of an instance (spec/varpd.md 4): `[name's length] [name] [file]`.
//!
//! The file's sum is put right first, since a fuzzer does not guess one; as it is it is read too. What is accepted
//! is written as a file that says the same. The name of a file that is ours has a number and nothing else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use libvarpd::persist::{decode, encode, file_name, id_of};
use md5::{Digest, Md5};
use overlay_abi::ids::VarpdId;

fuzz_target!(|data: &[u8]| {
    let Some((&length, data)) = data.split_first() else { return };
    let (name, file) = data.split_at(usize::from(length).min(data.len()));
    if let Ok(name) = std::str::from_utf8(name)
        && let Some(id) = id_of(name)
    {
        let right = file_name(VarpdId(id));
        assert_eq!(id_of(&right), Some(id));
        assert_eq!(name.trim_start_matches('0'), right.trim_start_matches('0'));
    }
    check(file);
    if let Some((header, payload)) = file.split_first_chunk::<24>() {
        let sum: [u8; 16] = Md5::digest(payload).into();
        check(&[&header[..8], &sum, payload].concat());
    }
});

fn check(file: &[u8]) {
    let Ok(record) = decode(file) else { return };
    let again = encode(&record).expect("what was read can be written");
    // By bytes, for numbers that are not equal to themselves.
    let read = decode(&again).expect("our own file");
    assert_eq!(encode(&read).as_ref(), Ok(&again));
    assert_eq!((read.id, read.link, read.plugin), (record.id, record.link, record.plugin));
}
