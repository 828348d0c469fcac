// SPDX-License-Identifier: CDDL-1.0
//! A door from both sides, and from the side of a peer that does not keep to the rules.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use door::{Client, MAX_REQUEST, Model, PeerCred, Server, sock};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, recv, send};

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }

    fn door(&self) -> PathBuf {
        self.0.path().join("test.door")
    }

    fn serve(&self, f: impl Fn(&[u8], &PeerCred) -> Vec<u8> + Send + Sync + 'static) -> Server {
        Server::create(self.door(), 0o600, Arc::new(f)).unwrap()
    }
}

fn errno(e: std::io::Error) -> i32 {
    e.raw_os_error().unwrap_or_else(|| panic!("no errno in {e:?}"))
}

#[test]
fn echoes_every_length_it_may_have() {
    let dir = Dir::new();
    let _server = dir.serve(|b, _| b.iter().rev().copied().collect());
    let client = Client::open(dir.door()).unwrap();
    for len in [0, 1, 7, 616, 4096, MAX_REQUEST - 1, MAX_REQUEST] {
        let request: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
        let mut reply = client.call(&request).unwrap();
        reply.reverse();
        assert!(reply == request, "length {len}");
    }
    assert_eq!(
        errno(client.call(&vec![0; MAX_REQUEST + 1]).unwrap_err()),
        Errno::TOOBIG.raw_os_error()
    );
    assert_eq!(client.call(b"ab").unwrap(), b"ba", "the refused request must not hurt the next");
}

#[test]
fn replies_of_any_size() {
    let dir = Dir::new();
    let _server = dir.serve(|b, _| {
        let len = u64::from_le_bytes(b.try_into().unwrap()) as usize;
        (0..len).map(|i| (i % 251) as u8).collect()
    });
    let client = Client::open(dir.door()).unwrap();
    for len in [0usize, 1, 65535, 65536, 65537, 131072, 9_999_999] {
        let reply = client.call(&(len as u64).to_le_bytes()).unwrap();
        assert_eq!(reply.len(), len);
        assert!(reply.iter().enumerate().all(|(i, b)| *b == (i % 251) as u8));
    }
}

#[test]
fn server_knows_the_caller_and_its_model() {
    let dir = Dir::new();
    let _server = dir.serve(|_, c| format!("{} {} {} {:?}", c.uid, c.gid, c.pid, c.model).into());
    let me = |model| {
        format!(
            "{} {} {} {model}",
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
            std::process::id()
        )
    };
    assert_eq!(Client::open(dir.door()).unwrap().call(b"").unwrap(), me("Lp64").into_bytes());
    let ilp32 = Client::open_as(dir.door(), Model::Ilp32).unwrap();
    assert_eq!(ilp32.call(b"").unwrap(), me("Ilp32").into_bytes());
}

#[test]
fn calls_of_one_client_run_in_parallel() {
    const N: usize = 8;
    let dir = Dir::new();
    let barrier = Barrier::new(N);
    // Each call waits for all: serialised calls would never end.
    let _server = dir.serve(move |b, _| {
        barrier.wait();
        b.to_vec()
    });
    let client = Client::open(dir.door()).unwrap();
    std::thread::scope(|s| {
        for i in 0..N {
            let client = &client;
            s.spawn(move || {
                for round in 0..50 {
                    let bytes = [i as u8, round];
                    assert_eq!(client.call(&bytes).unwrap(), bytes);
                }
            });
        }
    });
}

#[test]
fn more_callers_than_workers_are_all_served() {
    let dir = Dir::new();
    let most = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let _server = dir.serve(move |_, _| {
        let now = seen.0.fetch_add(1, Ordering::SeqCst) + 1;
        seen.1.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(5));
        seen.0.fetch_sub(1, Ordering::SeqCst);
        Vec::new()
    });
    let client = Client::open(dir.door()).unwrap();
    std::thread::scope(|s| {
        for _ in 0..60 {
            s.spawn(|| client.call(b"x").unwrap());
        }
    });
    let most = most.1.load(Ordering::SeqCst);
    assert!((2..=16).contains(&most), "{most} calls at once");
}

#[test]
fn a_live_door_is_not_taken_over() {
    let dir = Dir::new();
    let _server = dir.serve(|_, _| b"first".to_vec());
    let e = Server::create(dir.door(), 0o600, Arc::new(|_, _| Vec::new())).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AddrInUse);
    assert!(e.to_string().contains(dir.door().to_str().unwrap()), "{e}");
    assert_eq!(Client::open(dir.door()).unwrap().call(b"").unwrap(), b"first");
}

#[test]
fn a_dead_servers_file_is_taken_over_and_mode_applies() {
    let dir = Dir::new();
    drop(UnixListener::bind(dir.door()).unwrap());
    assert!(dir.door().metadata().unwrap().file_type().is_socket());
    let server = Server::create(dir.door(), 0o620, Arc::new(|_, _| b"new".to_vec())).unwrap();
    assert_eq!(Client::open(dir.door()).unwrap().call(b"").unwrap(), b"new");
    assert_eq!(dir.door().metadata().unwrap().permissions().mode() & 0o777, 0o620);
    drop(server);
    assert!(!dir.door().exists());
    assert_eq!(std::fs::read_dir(dir.0.path()).unwrap().count(), 0, "nothing else left behind");
}

#[test]
fn only_one_of_many_takes_a_stale_file_over() {
    let dir = Dir::new();
    for _ in 0..10 {
        drop(UnixListener::bind(dir.door()).unwrap());
        let start = Barrier::new(4);
        let servers: Vec<_> = std::thread::scope(|s| {
            let tries: Vec<_> = (0..4)
                .map(|_| {
                    s.spawn(|| {
                        start.wait();
                        Server::create(dir.door(), 0o600, Arc::new(|_, _| Vec::new()))
                    })
                })
                .collect();
            tries.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(servers.iter().filter(|s| s.is_ok()).count(), 1, "{servers:?}");
    }
}

#[test]
fn a_plain_file_is_left_alone() {
    let dir = Dir::new();
    std::fs::write(dir.door(), "precious").unwrap();
    let e = Server::create(dir.door(), 0o600, Arc::new(|_, _| Vec::new())).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(dir.door()).unwrap(), "precious");
}

#[test]
fn a_client_belongs_to_one_life_of_the_server() {
    let dir = Dir::new();
    let server = dir.serve(|_, _| b"one".to_vec());
    let client = Client::open(dir.door()).unwrap();
    assert_eq!(client.call(b"").unwrap(), b"one");
    drop(server);
    assert_eq!(errno(client.call(b"").unwrap_err()), Errno::BADF.raw_os_error());
    assert_eq!(errno(Client::open(dir.door()).unwrap_err()), Errno::NOENT.raw_os_error());
    let _server = dir.serve(|_, _| b"two".to_vec());
    for _ in 0..3 {
        assert_eq!(errno(client.call(b"").unwrap_err()), Errno::BADF.raw_os_error());
    }
    assert_eq!(Client::open(dir.door()).unwrap().call(b"").unwrap(), b"two");
}

#[test]
fn dropping_the_server_lets_calls_in_progress_end() {
    let dir = Dir::new();
    let entered = Arc::new(Barrier::new(2));
    let inside = Arc::clone(&entered);
    let server = dir.serve(move |_, _| {
        inside.wait();
        std::thread::sleep(Duration::from_millis(100));
        b"late".to_vec()
    });
    let client = Client::open(dir.door()).unwrap();
    std::thread::scope(|s| {
        let call = s.spawn(|| client.call(b""));
        entered.wait();
        drop(server);
        assert_eq!(call.join().unwrap().unwrap(), b"late");
    });
}

fn raw(dir: &Dir) -> OwnedFd {
    sock::connect(&dir.door(), SocketType::SEQPACKET).unwrap()
}

fn is_closed(fd: &OwnedFd) -> bool {
    // A server that closes with unread packets resets the connection; both ways it is over.
    match recv(fd, &mut [0u8; 64][..], RecvFlags::empty()) {
        Ok((_, n)) => n == 0,
        Err(e) => e == Errno::CONNRESET,
    }
}

#[test]
fn garbage_costs_only_the_connection_it_came_on() {
    let dir = Dir::new();
    let _server = dir.serve(|b, _| b.to_vec());
    let good = Client::open(dir.door()).unwrap();
    let hello = *b"DOOR\x01\x40\0\0";
    let bad_hellos: [&[u8]; 6] =
        [b"", b"D", b"DOOR\x02\x40\0\0", b"DOOR\x01\x41\0\0", b"XOOR\x01\x40\0\0", &[0xff; 70_000]];
    for bad in bad_hellos {
        let fd = raw(&dir);
        send(&fd, bad, SendFlags::NOSIGNAL).unwrap();
        assert!(is_closed(&fd), "{:?}", &bad[..bad.len().min(9)]);
    }
    let mut oversized = vec![0; 4 + MAX_REQUEST + 1];
    oversized[..4].copy_from_slice(&(MAX_REQUEST as u32 + 1).to_le_bytes());
    let bad_requests: [&[u8]; 5] =
        [b"", b"\x01\0\0", b"\x05\0\0\0four", b"\x03\0\0\0four", &oversized];
    for bad in bad_requests {
        let fd = raw(&dir);
        send(&fd, &hello, SendFlags::NOSIGNAL).unwrap();
        assert_eq!(recv(&fd, &mut [0u8; 64][..], RecvFlags::empty()).unwrap().1, 16);
        send(&fd, bad, SendFlags::NOSIGNAL).unwrap();
        assert!(is_closed(&fd), "{:?}", &bad[..bad.len().min(9)]);
    }
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..500 {
        let fd = raw(&dir);
        for _ in 0..3 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let len = (seed % 100) as usize;
            let bytes: Vec<u8> = (0..len).map(|i| (seed >> (i % 57)) as u8).collect();
            if send(&fd, &bytes, SendFlags::NOSIGNAL).is_err() {
                break;
            }
        }
    }
    assert_eq!(good.call(b"still here").unwrap(), b"still here");
    assert_eq!(Client::open(dir.door()).unwrap().call(b"anew").unwrap(), b"anew");
}

#[test]
fn silent_connections_do_not_keep_others_out() {
    let dir = Dir::new();
    let _server = dir.serve(|b, _| b.to_vec());
    let first = Client::open(dir.door()).unwrap();
    let mut silent = Vec::new();
    // Three times as many as there is room for.
    for _ in 0..6 {
        silent.extend((0..500).map(|_| raw(&dir)));
        assert_eq!(Client::open(dir.door()).unwrap().call(b"hi").unwrap(), b"hi");
    }
    assert_eq!(first.call(b"there").unwrap(), b"there");
    assert!(is_closed(&silent[0]), "the oldest one went");
}

#[test]
fn too_many_connections_are_told_to_come_again() {
    let dir = Dir::new();
    let _server = dir.serve(|b, _| b.to_vec());
    let mut held = Vec::new();
    let refused = loop {
        match Client::open(dir.door()) {
            Ok(c) => held.push(c),
            Err(e) => break e,
        }
        assert!(held.len() <= 1024);
    };
    assert_eq!(errno(refused), Errno::AGAIN.raw_os_error());
    assert_eq!(held[0].call(b"in").unwrap(), b"in");
    held.truncate(10);
    let deadline = Instant::now() + Duration::from_secs(2);
    while Client::open(dir.door()).is_err() {
        assert!(Instant::now() < deadline, "places of closed connections are not given back");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn long_paths_work() {
    let dir = Dir::new();
    let deep = dir.0.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let path = deep.join("dlmgmt_door");
    let _server = Server::create(&path, 0o600, Arc::new(|_, _| b"deep".to_vec())).unwrap();
    assert_eq!(Client::open(&path).unwrap().call(b"").unwrap(), b"deep");
}

/// The end of a connection is seen by the peer also when the thread that serves it panics.
#[test]
fn a_panic_ends_its_connection_and_no_other() {
    use door::sock::{Listener, Threads};
    use rustix::net::SocketType;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = Listener::bind(&path, SocketType::STREAM, 0o600).unwrap();
    let serve = |mut s: UnixStream| {
        let mut byte = [0];
        while s.read_exact(&mut byte).is_ok() {
            assert_ne!(byte, *b"!", "for the test");
            s.write_all(&byte).unwrap();
        }
    };
    let _threads = Threads::start(listener, 8, Arc::new(serve), Arc::new(drop)).unwrap();
    let mut good = UnixStream::connect(&path).unwrap();
    let mut bad = UnixStream::connect(&path).unwrap();
    bad.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    bad.write_all(b"!").unwrap();
    assert_eq!(bad.read(&mut [0]).unwrap(), 0);
    good.write_all(b"x").unwrap();
    good.read_exact(&mut [0]).unwrap();
}
