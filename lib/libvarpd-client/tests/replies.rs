// SPDX-License-Identifier: CDDL-1.0
//! The client against servers that answer rightly, wrongly and not at all.
mod common;

use common::server;
use libvarpd_client::{CacheEntry, Client};
use overlay_abi::door::*;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, MacAddr, UnderlayAddr, VarpdId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

fn put(message: &mut [u8], at: usize, bytes: &[u8]) {
    message[at..at + bytes.len()].copy_from_slice(bytes);
}

fn word(message: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(message[at..at + 4].try_into().unwrap())
}

#[test]
fn create_sends_the_layout_of_the_specification() {
    let (_dir, _server, client) = server(|m| {
        assert_eq!(m.len(), 616);
        assert_eq!((word(m, 0), word(m, 8)), (1, 7));
        assert!(m[24..31] == *b"direct\0" || m[24..88] == [[b'x'; 63].as_slice(), &[0]].concat());
        let mut reply = m.to_vec();
        put(&mut reply, 16, &9u64.to_ne_bytes());
        reply
    });
    assert_eq!(client.instance_create(LinkId(7), "direct"), Ok(VarpdId(9)));
    for bad in ["x".repeat(64), "a\0b".to_owned()] {
        assert_eq!(client.instance_create(LinkId(7), &bad), Err(Errno::EINVAL));
    }
    assert_eq!(client.instance_create(LinkId(7), &"x".repeat(63)), Ok(VarpdId(9)));
}

#[test]
fn errors_come_from_the_reply() {
    let (_dir, _server, client) = server(|_| {
        let mut reply = vec![0; 8];
        put(&mut reply, 4, &48u32.to_ne_bytes());
        reply
    });
    assert_eq!(client.cache_flush(VarpdId(1)), Err(Errno::ENOTSUP));
    assert_eq!(client.instance_lookup(LinkId(1)), Err(Errno::ENOTSUP));
}

#[test]
fn replies_too_short_are_not_believed() {
    let len = Arc::new(AtomicU32::new(0));
    let n = Arc::clone(&len);
    let (_dir, _server, client) = server(move |_| vec![0; n.load(Ordering::Relaxed) as usize]);
    for short in [0, 7, 8, 20] {
        len.store(short, Ordering::Relaxed);
        assert_eq!(client.instance_lookup(LinkId(1)), Err(Errno::EPROTO), "{short}");
        assert_eq!(client.cache_walk(VarpdId(1), |_, _| true), Err(Errno::EPROTO), "{short}");
    }
}

#[test]
fn sizes_in_replies_are_not_believed() {
    let (_dir, _server, client) = server(|m| {
        let mut reply = m.to_vec();
        match word(m, 0) {
            VARPD_CLIENT_GETPROP => put(&mut reply, 280, &257u64.to_ne_bytes()),
            VARPD_CLIENT_CACHE_WALK => put(&mut reply, 24, &101u64.to_ne_bytes()),
            VARPD_CLIENT_PROPINFO if m[40] == b'd' => put(&mut reply, 28, &257u32.to_ne_bytes()),
            _ => {}
        }
        reply
    });
    let mut prop = client.prop_handle(VarpdId(1));
    assert_eq!(prop.get(), Err(Errno::EINVAL), "not filled");
    assert_eq!(prop.set(b"x"), Err(Errno::EINVAL), "not filled");
    assert_eq!(prop.info_fill_by_name("default too long"), Err(Errno::EPROTO));
    assert!(prop.info().is_err());
    prop.info_fill_by_name("good").unwrap();
    assert_eq!(prop.info().unwrap().name, "good");
    assert_eq!(prop.get(), Err(Errno::E2BIG));
    assert_eq!(prop.set(b""), Err(Errno::EINVAL));
    assert_eq!(prop.set(&[0; 257]), Err(Errno::EOVERFLOW));
    assert_eq!(prop.set(&[0; 256]), Ok(()));
    assert_eq!(client.cache_walk(VarpdId(1), |_, _| true), Err(Errno::EPROTO));
}

/// The C client's buffer held 94 of the 100 entries it asked for.
#[test]
fn defect_33_walk_has_room_for_all_entries_it_asks_for() {
    let calls = AtomicU32::new(0);
    let (_dir, _server, client) = server(move |m| {
        assert_eq!((word(m, 24), m.len()), (100, 32 + 100 * 36));
        let mut reply = m.to_vec();
        if calls.fetch_add(1, Ordering::Relaxed) == 3 {
            put(&mut reply, 24, &0u64.to_ne_bytes());
            return reply;
        }
        for entry in 0..100 {
            put(&mut reply, 32 + entry * 36, &[2, 0, 0, 0, 0, entry as u8, 0, 0]);
            put(&mut reply, 32 + entry * 36 + 32, &4789u16.to_ne_bytes());
        }
        reply
    });
    let mut seen = 0;
    client
        .cache_walk(VarpdId(1), |mac, entry| {
            assert_eq!((mac.0[0], entry.addr().map(|a| a.port)), (2, Some(4789)));
            seen += 1;
            true
        })
        .unwrap();
    assert_eq!(seen, 300);
}

#[test]
fn a_cache_entry_goes_there_and_back() {
    let (_dir, _server, client) = server(|m| m.to_vec());
    let addr = UnderlayAddr::new("2001:db8::9".parse().unwrap(), 4789);
    let entry = CacheEntry::To { mac: MacAddr([1, 2, 3, 4, 5, 6]), addr };
    let id = VarpdId(u64::MAX);
    assert_eq!(client.cache_set(id, MacAddr::BROADCAST, &entry), Ok(()));
    assert_eq!(client.cache_set(id, MacAddr::BROADCAST, &CacheEntry::Drop), Ok(()));
    assert_eq!(client.cache_get(id, MacAddr::ZERO).unwrap().addr().unwrap().port, 0);
}

#[test]
fn without_varpd() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Client::open_path(&dir.path().join("none")).unwrap_err(), Errno::ENOENT);
    let (_dir, server, client) = server(|m| m.to_vec());
    drop(server);
    assert_eq!(client.prop_nprops(VarpdId(1)), Err(Errno::EBADF));
}
