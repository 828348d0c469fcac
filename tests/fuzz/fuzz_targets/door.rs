// SPDX-License-Identifier: CDDL-1.0
//! A message to varpd's door (spec/varpd.md 3): `[data model] [message]`.
//!
//! Whatever the message, it is a request that names no more than the message holds, or an error; and whatever the
//! answer, the reply is as long as the message was, and says the same where nothing is returned.
#![no_main]

use door::Model;
use libfuzzer_sys::fuzz_target;
use libvarpd::message::{Answer, Request, Which, command, malformed, parse, reply};
use overlay_abi::door::{VARPD_WALK_MAX, varpd_client_cache_entry_t, walk_len};
use overlay_abi::errno::Errno;
use overlay_abi::ids::VarpdId;
use overlay_abi::target::overlay_targ_cache_entry_t;
use zerocopy::FromZeros;

/// Bytes of the shortest message.
const LEN: usize = 616;

fuzz_target!(|data: &[u8]| {
    let Some((model, message)) = data.split_first() else { return };
    let model = if model % 2 == 0 { Model::Lp64 } else { Model::Ilp32 };
    check(message, model);
    // All that are too short are alike, so the rest is said to be zeros.
    let mut long = message.to_vec();
    long.resize(message.len().max(LEN), 0);
    check(&long, model);
});

fn check(message: &[u8], model: Model) {
    let request = match parse(message, model) {
        Err(e) => {
            let told = malformed(e);
            assert_eq!((told.len(), command(&told)), (8, 0));
            return;
        }
        Ok(request) => request,
    };
    assert!(message.len() >= LEN);
    match request {
        Ok(Request::Create(_, name) | Request::PropInfo(_, Which::Name(name))) => {
            assert!(name.len() < 64 && !name.contains(&0));
        }
        Ok(Request::SetProp(_, _, value)) => assert!(value.len() <= 256),
        Ok(Request::CacheWalk(_, _, count)) => {
            assert!(u64::from(count) <= VARPD_WALK_MAX);
            assert!(count == 0 || walk_len(count.into()) <= message.len());
        }
        _ => {}
    }
    for errno in [Errno::EPERM, Errno::ENOENT, Errno(-1)] {
        let told = reply(message, model, &Err(errno));
        assert_eq!(told[..4], message[..4]);
        assert_eq!(told[4..8], errno.0.to_ne_bytes());
        assert_eq!(told[8..], message[8..]);
    }
    for answer in [
        Answer::Done,
        Answer::Id(VarpdId(7)),
        Answer::Nprops(3),
        Answer::PropInfo(1, Box::default()),
        Answer::Value(vec![1; 256]),
        Answer::TargetMode(6, 2),
        Answer::Entry(varpd_client_cache_entry_t::new_zeroed()),
        Answer::Entries(1, vec![overlay_targ_cache_entry_t::new_zeroed(); 200]),
    ] {
        let walk = matches!(answer, Answer::Entries(..));
        let told = reply(message, model, &Ok(answer));
        assert_eq!((told.len(), command(&told)), (message.len(), command(message)));
        assert_eq!(told[4..8], [0; 4]);
        // Only a walk writes behind the structures.
        assert!(walk || told[LEN..] == message[LEN..]);
    }
}
