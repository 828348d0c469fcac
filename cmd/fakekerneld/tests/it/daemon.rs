// SPDX-License-Identifier: CDDL-1.0
//! Start, end, and bad company.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use crate::common::{Host, command, root};
use devctl::{Device, OpenFlags};
use fkadm::client::{Client, Error};
use fkadm::proto::SOCKET;
use overlay_abi::errno::Errno;
use snoop::file::Reader;

#[test]
fn a_second_instance_is_refused_and_names_the_first() {
    let host = Host::start();
    let second = command(&host.root).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(text.contains(&format!("pid {}", host.child.id())), "{text}");
    assert!(text.contains(host.root.dir().to_str().unwrap()), "{text}");
    host.client().status().unwrap();
    host.end_clean();
}

#[test]
fn a_killed_one_is_followed_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::start_in(root(dir.path()));
    let device =
        Device::open(&host.root, "/dev/overlay", OpenFlags::RDWR | OpenFlags::EXCL).unwrap();
    let mut client = host.client();
    host.signal(libc::SIGKILL);
    host.wait();
    assert!(host.root.path(SOCKET).exists(), "its files are left");
    assert_eq!(device.ioctl_with(1, &mut 0u32), Err(Errno::EIO));
    assert!(matches!(client.status(), Err(Error::Connection(_))));
    assert!(matches!(Client::open(&host.root), Err(Error::NotRunning { .. })));
    let e = Device::open(&host.root, "/dev/dld", OpenFlags::RDWR).unwrap_err();
    assert_eq!(e.errno, Errno::EIO);

    let next = Host::start_in(host.root.clone());
    next.client().status().unwrap();
    Device::open(&next.root, "/dev/overlay", OpenFlags::RDWR | OpenFlags::EXCL).unwrap();
    next.end_clean();
}

#[test]
fn signals_and_shutdown_end_it_and_leave_no_sockets() {
    for how in [Some(libc::SIGTERM), Some(libc::SIGINT), None] {
        let dir = tempfile::tempdir().unwrap();
        let mut host = Host::start_in(root(dir.path()));
        match how {
            Some(signal) => host.signal(signal),
            None => host.client().shutdown().unwrap(),
        }
        let (status, text) = host.wait();
        assert!(status.success(), "{how:?}: {status} {text}");
        for socket in ["/dev/overlay", "/dev/dld", SOCKET, libdladm::dlmgmt::DOOR] {
            assert!(!host.root.path(socket).exists(), "{socket} is left");
        }
    }
}

#[test]
fn it_ends_with_links_guests_and_requests_in_progress() {
    let [(mut host, overlay), _other] = crate::common::two_hosts(true);
    let mut pinging = host.client();
    let mut capturing =
        host.client().capture(fkadm::proto::Capture { link: "vnic0".into(), count: None }).unwrap();
    std::thread::scope(|s| {
        let ping = s.spawn(move || {
            let to = "10.1.0.9".parse().unwrap();
            pinging.guest_ping(fkadm::proto::Ping {
                count: 1000,
                ..fkadm::proto::Ping::new("vnic0", to)
            })
        });
        // A packet: the ping is under way, and seen.
        assert!(Reader::new(&mut capturing).packet().unwrap().is_some());
        host.signal(libc::SIGTERM);
        let (status, text) = host.wait();
        assert!(status.success() && !text.contains("violation"), "{status}: {text}");
        assert!(ping.join().unwrap().is_err());
    });
    // The capture ends with the process.
    let _ = capturing.read_to_end(&mut Vec::new());
    assert_eq!(overlay.targets.ioctl_with(1, &mut 0u32), Err(Errno::EIO));
}

#[test]
fn readiness_is_told_on_a_descriptor() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let fd = theirs.as_raw_fd();
    // SAFETY: the descriptor is open; only its close-on-exec flag changes.
    assert_eq!(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }, 0);
    let root = root(dir.path());
    let mut c = command(&root);
    let mut child = c.args(["--ready-fd", &fd.to_string()]).stdout(Stdio::null()).spawn().unwrap();
    drop(theirs);
    let mut text = String::new();
    (&ours).read_to_string(&mut text).unwrap();
    assert_eq!(text, "ready\n");
    Client::open(&root).unwrap().shutdown().unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn wrong_command_lines() {
    let dir = tempfile::tempdir().unwrap();
    for bad in [
        &["--txpool", "0"][..],
        &["--txpool", "x"],
        &["--checks", "some"],
        &["extra"],
        &["--ready-fd", "-1"],
    ] {
        let out = command(&root(dir.path())).args(bad).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{bad:?}");
    }
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let out = command(&root(&file)).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8(out.stderr).unwrap().contains(file.to_str().unwrap()));
}

#[test]
fn requests_that_cannot_be_done_say_why() {
    let [(host, _), _other] = crate::common::two_hosts(false);
    let mut c = host.client();
    let refused = |what: Result<fkadm::proto::Guest, Error>, why: &str| {
        let text = what.unwrap_err().to_string();
        assert!(text.contains(why), "{text}");
    };
    refused(
        c.guest_attach("nothing0", ["10.0.0.1/24"]),
        "no link is named \"nothing0\" (links: overlay0, vnic0)",
    );
    refused(c.guest_attach("77", ["10.0.0.1/24"]), "no such link");
    refused(c.guest_attach("overlay0", ["10.0.0.1/24"]), "create-vnic");
    refused(c.guest_attach("vnic0", ["10.0.0.1"]), "length of its prefix");
    refused(
        c.guest_attach("vnic0", (1..12).map(|n| format!("10.0.0.{n}/24"))),
        "too many addresses",
    );
    c.guest_attach("vnic0", ["10.0.0.1/24"]).unwrap();
    refused(c.guest_attach("vnic0", ["10.0.0.1/24"]), "has a guest already");
    c.guest_detach("vnic0").unwrap();
    assert!(c.guest_detach("vnic0").unwrap_err().to_string().contains("no guest"));
    let ping = fkadm::proto::Ping::new("vnic0", "10.0.0.2".parse().unwrap());
    assert!(c.guest_ping(ping).unwrap_err().to_string().contains("guest attach"));
    let capture = fkadm::proto::Capture { link: "99".into(), count: None };
    assert!(host.client().capture(capture).is_err());
    host.end_clean();
}

fn line(s: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    s.read_line(&mut line).unwrap();
    line
}

#[test]
fn garbage_on_every_socket() {
    let host = Host::start();
    let mut seed = 1u64;
    let mut random = |n: usize| {
        let next = || {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (seed >> 56) as u8
        };
        std::iter::repeat_with(next).take(n).collect::<Vec<_>>()
    };
    for socket in ["/dev/overlay", "/dev/dld", SOCKET] {
        for n in [0, 1, 10, 24, 1000, 100_000] {
            let mut s = UnixStream::connect(host.root.path(socket)).unwrap();
            let _ = s.write_all(&random(n));
        }
    }
    for n in [0, 1, 8, 24, 1000] {
        let fd = door::sock::connect(
            &host.root.path(libdladm::dlmgmt::DOOR),
            rustix::net::SocketType::SEQPACKET,
        )
        .unwrap();
        let _ = rustix::net::send(&fd, &random(n), rustix::net::SendFlags::NOSIGNAL);
        // And through a door that is opened in order.
        let door = door::Client::open(host.root.path(libdladm::dlmgmt::DOOR)).unwrap();
        assert!(door.call(&random(n)).unwrap().len() >= 4);
    }

    let s = UnixStream::connect(host.root.path(SOCKET)).unwrap();
    let mut read = BufReader::new(s.try_clone().unwrap());
    for bad in [
        "",
        "{}",
        "nonsense",
        "{\"do\":\"reboot\"}",
        "[1,2",
        "{\"do\":\"guest-detach\",\"link\":7}",
    ] {
        writeln!(&s, "{bad}").unwrap();
        let reply = line(&mut read);
        assert!(reply.starts_with("{\"error\":\""), "{bad}: {reply}");
    }
    writeln!(&s, "{{\"do\":\"status\"}}").unwrap();
    assert!(line(&mut read).starts_with("{\"ok\":{\"pid\":"), "the same connection works on");
    let _ = (&s).write_all(&vec![b' '; 70_000]);
    assert!(line(&mut read).contains("at most 65536 bytes"));

    host.client().links().unwrap();
    Device::open(&host.root, "/dev/overlay", OpenFlags::RDWR | OpenFlags::EXCL).unwrap();
    host.end_clean();
}
