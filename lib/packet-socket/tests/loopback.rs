// SPDX-License-Identifier: CDDL-1.0
//! Frames on the loopback interface of a namespace.

use packet_socket::{Mode, Seen, Socket, Table, Way, inside};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::time::Duration;

struct Namespace(String);

impl Namespace {
    /// `None` after counting the test as skipped.
    fn new(name: &str) -> Option<Namespace> {
        let namespace = Namespace(format!("{name}-{}", std::process::id()));
        let ip = |args: &[&str]| {
            Command::new("ip").args(args).output().is_ok_and(|out| out.status.success())
        };
        let made = ip(&["netns", "add", &namespace.0])
            && ip(&["-n", &namespace.0, "link", "set", "lo", "up"]);
        if made {
            return Some(namespace);
        }
        test_skip::skip("needs root, iproute2 and network namespaces");
        None
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

/// A socket to send frames with.
fn sender() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?)
}

/// Sends a frame over the loopback interface.
fn send(from: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    // SAFETY: all zeros are an address.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = 1;
    let (length, flags) = (size_of::<libc::sockaddr_ll>() as u32, 0);
    let (bytes, address) = (frame.as_ptr().cast(), std::ptr::from_ref(&to).cast());
    // SAFETY: the kernel reads a frame and an address of these lengths.
    let sent =
        unsafe { libc::sendto(from.as_raw_fd(), bytes, frame.len(), flags, address, length) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn next<T>(socket: &mut Socket, see: impl FnOnce(Seen<'_>) -> T) -> T {
    let seen = socket.next(Duration::from_secs(30)).unwrap();
    see(seen.expect("a frame within half a minute"))
}

#[test]
fn a_frame_is_seen_once_with_the_tag_that_the_kernel_took_out() {
    let Some(namespace) = Namespace::new("pstag") else { return };
    let plain = [&[0; 12][..], &[0x88, 0xb5], &[7; 50]].concat();
    let tagged = [&[0; 12][..], &[0x81, 0, 0x60, 42], &[0x88, 0xb5], &[9; 50]].concat();
    let (mut link, mut payload, table) = inside(&namespace.0, |_| {
        let table = Table::new()?;
        let (index, lo) = table.find("lo").expect("lo");
        assert!(lo.loopback && lo.ethernet);
        let link = Socket::open(Mode::Link, index, true, false)?;
        let payload = Socket::open(Mode::Payload, index, true, false)?;
        let from = sender()?;
        [&plain, &tagged, &plain].into_iter().try_for_each(|frame| send(&from, frame))?;
        Ok((link, payload, table))
    })
    .unwrap();
    for frame in [&plain, &tagged, &plain] {
        next(&mut link, |seen| {
            assert_eq!(seen.bytes, frame);
            assert_eq!((seen.length, seen.way, seen.index), (frame.len(), Way::In, 1));
            assert!(seen.time > Duration::from_secs(1_700_000_000));
        });
    }
    // What is in a VLAN is not for the interface below.
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let next = payload.next(Duration::from_secs(30)).unwrap();
        seen.extend(next.map(|seen| (seen.bytes.to_vec(), seen.ethertype)));
    }
    assert_eq!(seen, vec![(vec![7; 50], 0x88b5); 2]);
    assert!(payload.next(Duration::ZERO).unwrap().is_none());
    assert!(link.next(Duration::ZERO).unwrap().is_none());
    assert_eq!(link.dropped().unwrap(), 0);
    assert!(table.is_local("127.0.0.1".parse().unwrap()));
    assert!(!table.is_local("127.0.0.2".parse().unwrap()));
}

#[test]
fn what_is_lost_is_counted_exactly() {
    const SENT: u64 = 40_000;
    let Some(namespace) = Namespace::new("pslost") else { return };
    let frame = [&[0; 12][..], &[0x88, 0xb5], &[7; 1400]].concat();
    let mut socket = inside(&namespace.0, |_| {
        let socket = Socket::open(Mode::Link, 1, true, false)?;
        let from = sender()?;
        (0..SENT).try_for_each(|_| send(&from, &frame))?;
        Ok(socket)
    })
    .unwrap();
    let mut got = 0;
    while socket.next(Duration::from_millis(500)).unwrap().is_some() {
        got += 1;
    }
    let dropped = socket.dropped().unwrap();
    assert!(dropped > 0 && got > 0, "{got} of {SENT}, {dropped} lost");
    assert_eq!(got + dropped, SENT);
}

#[test]
fn a_table_follows_the_kernel() {
    let Some(namespace) = Namespace::new("pstable") else { return };
    let mut table = inside(&namespace.0, |_| Table::new()).unwrap();
    let change = |args: &[&str]| {
        let all = [&["-n", &namespace.0], args].concat();
        assert!(Command::new("ip").args(all).status().unwrap().success(), "{args:?}");
    };
    assert_eq!(table.names().collect::<Vec<_>>(), ["lo"]);
    change(&["link", "add", "test0", "type", "veth", "peer", "test1"]);
    change(&["address", "add", "192.0.2.7/24", "dev", "test0"]);
    change(&["address", "add", "2001:db8::7/64", "dev", "test0", "nodad"]);
    table.update().unwrap();
    let (index, test0) = table.find("test0").unwrap();
    assert!(test0.ethernet && !test0.loopback && index > 1);
    let here =
        |table: &Table| ["192.0.2.7", "2001:db8::7"].map(|a| table.is_local(a.parse().unwrap()));
    assert_eq!(here(&table), [true, true]);
    change(&["address", "del", "192.0.2.7/24", "dev", "test0"]);
    table.update().unwrap();
    assert_eq!(here(&table), [false, true]);
    change(&["link", "del", "test0"]);
    table.update().unwrap();
    assert_eq!(here(&table), [false, false]);
    assert_eq!(table.names().collect::<Vec<_>>(), ["lo"]);
}
