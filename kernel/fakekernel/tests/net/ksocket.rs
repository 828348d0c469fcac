// SPDX-License-Identifier: CDDL-1.0
//! Kernel sockets: pairs over loopback, source ports, flow control, back-pressure, and their end.

use crate::provider;
use fakekernel::host::{self, Checks, Config, Kernel, Kind, take_violations};
use fakekernel::net::client::{Client, Frame, Frames};
use illumos_sys_hdrs::*;
use overlay_abi::errno::Errno;
use std::collections::{HashMap, HashSet};
use std::ffi::{c_int, c_void};
use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(5);

fn kernel(txpool: usize) -> Kernel {
    host::boot(Config { checks: Checks::Debug, txpool, ..Config::default() })
}

fn sin6(ip: &str, port: u16) -> sockaddr_in6 {
    let ip = match ip.parse().unwrap() {
        IpAddr::V4(a) => a.to_ipv6_mapped(),
        IpAddr::V6(a) => a,
    };
    sockaddr_in6 {
        sin6_family: AF_INET6 as u16,
        sin6_port: port.to_be(),
        sin6_addr: in6_addr { s6_addr: ip.octets() },
        ..Default::default()
    }
}

#[derive(Clone, Copy)]
struct Sock(ksocket_t);
// SAFETY: a ksocket may be used from any thread.
unsafe impl Send for Sock {}

impl Sock {
    fn new() -> Sock {
        let mut ks = null_mut();
        // SAFETY: a place of ours.
        let e = unsafe { ksocket_socket(&mut ks, AF_INET6, SOCK_DGRAM, 0, KSOCKET_SLEEP, kcred) };
        assert_eq!(e, 0);
        Sock(ks)
    }
    fn bind(self, ip: &str, port: u16) -> c_int {
        let mut a = sin6(ip, port);
        // SAFETY: as long as said.
        unsafe {
            ksocket_bind(self.0, (&raw mut a).cast(), size_of::<sockaddr_in6>() as u32, kcred)
        }
    }
    fn option(self, level: c_int, name: c_int, value: c_int) -> c_int {
        // SAFETY: as long as said.
        unsafe { ksocket_setsockopt(self.0, level, name, (&raw const value).cast(), 4, kcred) }
    }
    /// Sends a message; the errno and whether the message was left.
    fn send_mp(self, to: sockaddr_in6, mut mp: *mut mblk_t, flags: c_int) -> (c_int, *mut mblk_t) {
        let mut to = to;
        // SAFETY: zeroes are a valid nmsghdr; all places outlive the call.
        unsafe {
            let mut h: nmsghdr = std::mem::zeroed();
            h.msg_name = (&raw mut to).cast();
            h.msg_namelen = size_of::<sockaddr_in6>() as u32;
            h.msg_flags = flags;
            let e = ksocket_sendmblk(self.0, &mut h, 0, &mut mp, kcred);
            (e, mp)
        }
    }
    fn send(self, to: sockaddr_in6, data: &[u8]) -> c_int {
        let (e, mp) = self.send_mp(to, fakekernel::mblk::from_slice(data, 0), MSG_DONTWAIT);
        // SAFETY: null or what was left to us.
        unsafe { freemsg(mp) };
        e
    }
    fn listen(self, to: &'static Inbox) {
        let arg = std::ptr::from_ref(to).cast_mut().cast();
        // SAFETY: the inbox is static.
        assert_eq!(unsafe { ksocket_krecv_set(self.0, Some(arrive), arg) }, 0);
    }
    fn unblock(self) {
        // SAFETY: an open socket.
        unsafe { ksocket_krecv_unblock(self.0) }
    }
    fn close(self) -> c_int {
        // SAFETY: a handle of this kernel.
        unsafe { ksocket_close(self.0, kcred) }
    }
}

/// What arrived: source and data.
struct Inbox {
    got: Mutex<Vec<(sockaddr_in6, Vec<u8>)>>,
    more: Condvar,
    /// Answer of the callback.
    takes: AtomicBool,
    /// Milliseconds to spend in the callback.
    slow: AtomicUsize,
    inside: AtomicUsize,
}

impl Inbox {
    fn leak() -> &'static Inbox {
        Box::leak(Box::new(Inbox {
            got: Mutex::default(),
            more: Condvar::new(),
            takes: AtomicBool::new(true),
            slow: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
        }))
    }
    fn wait(&self, n: usize) -> Vec<(sockaddr_in6, Vec<u8>)> {
        let got = self.got.lock().unwrap();
        let (mut got, late) = self.more.wait_timeout_while(got, WAIT, |g| g.len() < n).unwrap();
        assert!(!late.timed_out(), "{} of {n}", got.len());
        std::mem::take(&mut *got)
    }
}

unsafe extern "C" fn arrive(
    _ks: ksocket_t,
    chain: *mut mblk_t,
    size: usize,
    _oob: c_int,
    arg: *mut c_void,
) -> boolean_t {
    // SAFETY: the inbox is static, the chain ours.
    unsafe {
        let inbox = &*arg.cast::<Inbox>();
        inbox.inside.fetch_add(1, SeqCst);
        let (mut mp, mut bytes) = (chain, 0);
        while !mp.is_null() {
            assert_eq!((*(*mp).b_datap).db_type, M_PROTO);
            let head = fakekernel::mblk::to_vec(mp);
            let ind = head.as_ptr().cast::<T_unitdata_ind>().read_unaligned();
            assert_eq!(ind.PRIM_type, T_UNITDATA_IND);
            assert_eq!((ind.SRC_offset, ind.SRC_length), (20, 32));
            let from = head.as_ptr().add(20).cast::<sockaddr_in6>().read_unaligned();
            let data = fakekernel::mblk::to_vec((*mp).b_cont);
            assert_eq!((*(*(*mp).b_cont).b_datap).db_type, M_DATA);
            bytes += data.len();
            inbox.got.lock().unwrap().push((from, data));
            mp = (*mp).b_next;
        }
        assert_eq!(bytes, size);
        freemsgchain(chain);
        std::thread::sleep(Duration::from_millis(inbox.slow.load(SeqCst) as u64));
        inbox.more.notify_all();
        inbox.inside.fetch_sub(1, SeqCst);
        inbox.takes.load(SeqCst).into()
    }
}

#[test]
fn pairs_over_both_families() {
    let k = kernel(0);
    for (ip, other) in [("127.0.0.2", "127.0.0.3"), ("::1", "::1")] {
        let (a, b) = (Sock::new(), Sock::new());
        assert_eq!((a.bind(ip, 4789), b.bind(other, 4790)), (0, 0));
        let inbox = Inbox::leak();
        b.listen(inbox);
        for i in 0..200u32 {
            let mut data = vec![i as u8; 1 + (i as usize * 37) % 3000];
            data[0] = i as u8;
            assert_eq!(a.send(sin6(other, 4790), &data), 0);
        }
        for (i, (from, data)) in inbox.wait(200).into_iter().enumerate() {
            assert_eq!(from, sin6(ip, 4789));
            assert_eq!(data, vec![i as u8; 1 + (i * 37) % 3000]);
        }
        // Several blocks, none at all, the largest.
        let mp = fakekernel::mblk::from_slice(b"one ", 0);
        // SAFETY: messages of ours.
        unsafe {
            for part in ["two ", "", "three"] {
                linkb(mp, fakekernel::mblk::from_slice(part.as_bytes(), 0));
            }
            for _ in 0..20 {
                linkb(mp, fakekernel::mblk::from_slice(b"+", 0));
            }
        }
        assert_eq!(a.send_mp(sin6(other, 4790), mp, 0), (0, null_mut()));
        assert_eq!(a.send(sin6(other, 4790), b""), 0);
        assert_eq!(a.send(sin6(other, 4790), &[7; 65507]), 0);
        let got = inbox.wait(3);
        assert_eq!(got[0].1, b"one two three++++++++++++++++++++");
        assert_eq!((got[1].1.len(), got[2].1.len()), (0, 65507));
        assert_eq!((a.close(), b.close()), (0, 0));
    }
    k.shutdown().unwrap();
}

#[test]
fn errors_are_illumos_own() {
    let k = kernel(0);
    let mut ks = null_mut();
    // SAFETY: a place of ours.
    unsafe {
        let mut make = |d, t, p| ksocket_socket(&mut ks, d, t, p, KSOCKET_SLEEP, kcred);
        assert_eq!(make(AF_INET, SOCK_DGRAM, 0), 124);
        assert_eq!(make(AF_INET6, SOCK_STREAM, 0), 98);
        assert_eq!(make(AF_INET6, SOCK_DGRAM, 6), 120);
        assert!(ks.is_null());
    }
    let (a, b) = (Sock::new(), Sock::new());
    assert_eq!(a.bind("127.0.0.2", 4789), 0);
    assert_eq!(b.bind("127.0.0.2", 4789), 125, "EADDRINUSE");
    assert_eq!(b.bind("192.0.2.77", 4789), 126, "EADDRNOTAVAIL");
    let mut short = sin6("::1", 0);
    // SAFETY: an address of ours.
    unsafe {
        assert_eq!(ksocket_bind(b.0, (&raw mut short).cast(), 16, kcred), Errno::EINVAL.0);
        short.sin6_family = AF_INET as u16;
        assert_eq!(ksocket_bind(b.0, (&raw mut short).cast(), 32, kcred), 124);
        let len =
            ksocket_setsockopt(a.0, SOL_SOCKET, SO_SNDBUF, (&raw const short).cast(), 2, kcred);
        assert_eq!(len, Errno::EINVAL.0);
        let some = std::ptr::dangling_mut::<c_void>();
        assert_eq!(ksocket_krecv_set(a.0, None, some), Errno::EINVAL.0);
    }
    assert_eq!(a.option(IPPROTO_UDP, UDP_SRCPORT_HASH, 2), Errno::EINVAL.0);
    assert_eq!(a.option(IPPROTO_UDP, 0x7777, 1), 99, "ENOPROTOOPT");
    assert_eq!(a.option(SOL_SOCKET, SO_RCVBUF, 100_000), 0);
    // What fails early leaves the message, what fails in the host has it freed.
    let big = fakekernel::mblk::from_slice(&[0; 65508], 0);
    let (e, left) = a.send_mp(sin6("127.0.0.2", 1), big, MSG_DONTWAIT);
    assert_eq!((e, left), (97, big));
    // SAFETY: left to us.
    unsafe { freemsg(left) };
    assert_eq!(a.close(), 0);
    let (e, left) = a.send_mp(sin6("::1", 1), fakekernel::mblk::from_slice(b"x", 0), 0);
    assert_eq!(e, 95, "ENOTSOCK");
    // SAFETY: left to us.
    unsafe { freemsg(left) };
    assert_eq!((a.close(), a.bind("::1", 0)), (95, 95));
    assert_eq!(b.close(), 0);
    k.shutdown().unwrap();
}

#[test]
fn a_socket_left_open_is_a_leak() {
    let k = kernel(0);
    Sock::new();
    let found = k.shutdown().unwrap_err();
    assert!(found.iter().any(|v| v.kind == Kind::Leak), "{found:?}");
}

/// A VXLAN datagram with an inner UDP packet of the given ports.
fn vxlan(sport: u16, dport: u16) -> Vec<u8> {
    let mut d = vec![8, 0, 0, 0, 0, 0, 1, 0];
    d.extend_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00]);
    d.extend_from_slice(&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    d.extend_from_slice(&sport.to_be_bytes());
    d.extend_from_slice(&dport.to_be_bytes());
    d.extend_from_slice(&[0, 8, 0, 0]);
    d.resize(300, 5);
    d
}

/// The source port that a message leaves with.
fn port_of(from: Sock, to: &UdpSocket, mp: *mut mblk_t) -> u16 {
    let at = to.local_addr().unwrap();
    assert_eq!(from.send_mp(sin6("127.0.0.1", at.port()), mp, MSG_DONTWAIT).0, 0);
    to.recv_from(&mut [0; 2000]).unwrap().1.port()
}

#[test]
fn source_ports_follow_flows() {
    let k = kernel(16);
    let to = UdpSocket::bind("127.0.0.1:0").unwrap();
    to.set_read_timeout(Some(WAIT)).unwrap();
    let s = Sock::new();
    assert_eq!(s.bind("127.0.0.4", 4789), 0);
    let whole = |b: &[u8]| fakekernel::mblk::from_slice(b, 0);
    assert_eq!(port_of(s, &to, whole(&vxlan(1, 2))), 4789, "not before the option is set");
    assert_eq!(s.option(IPPROTO_UDP, UDP_SRCPORT_HASH, UDP_HASH_VXLAN), 0);
    // Somebody else has the port that a part begins with.
    let _taken = UdpSocket::bind("127.0.0.4:49152").unwrap();
    let mut used: HashMap<u16, u32> = HashMap::new();
    for flow in 0..500 {
        let port = port_of(s, &to, whole(&vxlan(flow, 80)));
        assert!(port >= 49152);
        // The same flow in pieces, its header in a block of its own, or cut anywhere.
        let d = vxlan(flow, 80);
        let cut = 8 + usize::from(flow) % 60;
        let mp = whole(&d[..cut]);
        // SAFETY: messages of ours.
        unsafe { linkb(mp, whole(&d[cut..])) };
        assert_eq!(port_of(s, &to, mp), port);
        *used.entry(port).or_default() += 1;
    }
    assert_eq!(used.len(), 16, "{used:?}");
    assert!(used.values().all(|n| (10..70).contains(n)), "{used:?}");
    let parts: HashSet<u16> = used.keys().map(|p| (p - 49152) / 1024).collect();
    assert_eq!(parts.len(), 16, "one of each part of the range: {used:?}");
    assert!(!used.contains_key(&49152));

    // Fragments of a packet stay together although only the first has ports.
    let fragment = |offset: u16, sport| {
        let mut d = vxlan(sport, 1);
        d[8 + 14 + 6..8 + 14 + 8].copy_from_slice(&offset.to_be_bytes());
        whole(&d)
    };
    assert_eq!(port_of(s, &to, fragment(0x2000, 1)), port_of(s, &to, fragment(100, 99)));

    // The bound port: odd address, short header, no inner Ethernet header.
    let odd = fakekernel::mblk::from_slice(&vxlan(3, 3), 1);
    assert_eq!(port_of(s, &to, odd), 4789);
    let split = whole(&vxlan(3, 3)[..7]);
    // SAFETY: messages of ours.
    unsafe { linkb(split, whole(&vxlan(3, 3)[7..])) };
    assert_eq!(port_of(s, &to, split), 4789);
    assert_eq!(port_of(s, &to, whole(&vxlan(3, 3)[..21])), 4789);
    assert_eq!(s.option(IPPROTO_UDP, UDP_SRCPORT_HASH, UDP_HASH_DISABLE), 0);
    assert_eq!(port_of(s, &to, whole(&vxlan(1, 2))), 4789);
    assert_eq!(s.close(), 0);
    k.shutdown().unwrap();
}

#[test]
fn data_from_before_the_callback_is_flushed_and_refusal_stops_delivery() {
    let k = kernel(0);
    let (a, b) = (Sock::new(), Sock::new());
    assert_eq!((a.bind("::1", 4701), b.bind("::1", 4702)), (0, 0));
    assert_eq!(a.send(sin6("::1", 4702), b"early"), 0);
    let inbox = Inbox::leak();
    inbox.takes.store(false, SeqCst);
    b.listen(inbox);
    assert_eq!(a.send(sin6("::1", 4702), b"first"), 0);
    assert_eq!(inbox.wait(1)[0].1, b"first");
    while inbox.inside.load(SeqCst) != 0 {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(20));
    inbox.takes.store(true, SeqCst);
    assert_eq!(a.send(sin6("::1", 4702), b"second"), 0);
    std::thread::sleep(Duration::from_millis(50));
    assert!(inbox.got.lock().unwrap().is_empty());
    b.unblock();
    assert_eq!(inbox.wait(1)[0].1, b"second");

    // Unblocked while the callback is on its way to refuse.
    inbox.takes.store(false, SeqCst);
    inbox.slow.store(50, SeqCst);
    assert_eq!(a.send(sin6("::1", 4702), b"third"), 0);
    while inbox.inside.load(SeqCst) == 0 {
        std::thread::yield_now();
    }
    b.unblock();
    assert_eq!(a.send(sin6("::1", 4702), b"fourth"), 0);
    assert_eq!(inbox.wait(2)[1].1, b"fourth");
    // Closing a blocked socket does not wait for ever.
    assert_eq!((a.close(), b.close()), (0, 0));
    k.shutdown().unwrap();
}

#[test]
fn close_waits_for_the_callback_and_survives_senders() {
    let k = kernel(4);
    for round in 0..20 {
        let (a, b) = (Sock::new(), Sock::new());
        assert_eq!((a.bind("127.0.0.5", 4703), b.bind("127.0.0.6", 4703)), (0, 0));
        assert_eq!(a.option(IPPROTO_UDP, UDP_SRCPORT_HASH, UDP_HASH_VXLAN), 0);
        let inbox = Inbox::leak();
        inbox.slow.store(3, SeqCst);
        b.listen(inbox);
        let senders: Vec<_> = (0..3u16)
            .map(|t| {
                std::thread::spawn(move || {
                    for i in 0.. {
                        match a.send(sin6("127.0.0.6", 4703), &vxlan(t, i)) {
                            0 => {}
                            95 => return,
                            e => panic!("errno {e}"),
                        }
                    }
                })
            })
            .collect();
        inbox.wait(1 + round);
        assert_eq!(b.close(), 0);
        assert_eq!(inbox.inside.load(SeqCst), 0, "close came back during the callback");
        assert_eq!(a.close(), 0);
        senders.into_iter().for_each(|t| t.join().unwrap());
    }
    assert!(take_violations().is_empty());
    k.shutdown().unwrap();
}

static OUT: Mutex<Option<(Sock, sockaddr_in6)>> = Mutex::new(None);
static ERRORS: Mutex<Vec<c_int>> = Mutex::new(Vec::new());

/// mc_tx of a tunnel: each frame a datagram, as it is.
fn tunnel(mut mp: *mut mblk_t) -> *mut mblk_t {
    let (s, to) = OUT.lock().unwrap().unwrap();
    // SAFETY: mc_tx owns the chain.
    unsafe {
        while !mp.is_null() {
            let next = (*mp).b_next;
            (*mp).b_next = null_mut();
            let (e, left) = s.send_mp(to, mp, MSG_DONTWAIT);
            if e != 0 {
                ERRORS.lock().unwrap().push(e);
                if left.is_null() {
                    return next;
                }
                (*left).b_next = next;
                return left;
            }
            mp = next;
        }
    }
    null_mut()
}

fn vnic() -> Client {
    use overlay_abi::vnic::*;
    provider::plumb();
    let mut c: vnic_ioc_create_t = zerocopy::FromZeros::new_zeroed();
    (c.vc_vnic_id, c.vc_link_id, c.vc_mac_addr_type) =
        (20, provider::LINK, VNIC_MAC_ADDR_TYPE_AUTO);
    provider::ioctl(&provider::dld(), VNIC_IOC_CREATE, &mut c).unwrap();
    *provider::TX.lock().unwrap() = Some(tunnel);
    Client::open(20).unwrap()
}

fn unvnic(c: Client) {
    use overlay_abi::vnic::*;
    drop(c);
    let mut d = vnic_ioc_delete_t { vd_vnic_id: 20 };
    provider::ioctl(&provider::dld(), VNIC_IOC_DELETE, &mut d).unwrap();
    provider::unplumb();
}

/// The kstat `udp:0:underlay`.
fn counters() -> HashMap<String, u64> {
    let k = fakekernel::kstat::read(Some("udp"), Some(0), Some("underlay"));
    let number = |(name, v)| match v {
        fakekernel::kstat::Value::U64(n) => (name, n),
        v => panic!("{name} is {v:?}"),
    };
    k.into_iter().flat_map(|k| k.data).map(number).collect()
}

/// A driver that does not take data: what the host has to throw away is counted.
#[test]
fn what_the_host_loses_is_counted() {
    let k = kernel(0);
    let (a, b) = (Sock::new(), Sock::new());
    assert_eq!((a.bind("::1", 4705), b.bind("::1", 4706)), (0, 0));
    assert_eq!(b.option(SOL_SOCKET, SO_RCVBUF, 4096), 0);
    let inbox = Inbox::leak();
    inbox.takes.store(false, SeqCst);
    b.listen(inbox);
    assert_eq!(a.send(sin6("::1", 4706), b"first"), 0);
    inbox.wait(1);
    std::thread::sleep(Duration::from_millis(20));
    for _ in 0..100 {
        assert_eq!(a.send(sin6("::1", 4706), &[1; 1000]), 0);
    }
    inbox.takes.store(true, SeqCst);
    b.unblock();
    let end = Instant::now() + WAIT;
    while counters()["in_datagrams"] + counters()["in_overflows"] < 101 {
        // The count comes with the next datagram.
        assert_eq!(a.send(sin6("::1", 4706), b""), 0);
        std::thread::sleep(Duration::from_millis(10));
        assert!(Instant::now() < end, "{:?}", counters());
    }
    assert!(counters()["in_overflows"] > 50);
    assert_eq!((a.close(), b.close()), (0, 0));
    k.shutdown().unwrap();
}

fn numbered(n: u32, len: usize) -> Frame {
    let mut f = vec![2u8, 9, 9, 9, 9, 9, 2, 8, 8, 8, 8, 8, 0x88, 0xb5];
    f.extend_from_slice(&n.to_be_bytes());
    f.resize(len, n as u8);
    Frame::from_slice(&f).unwrap()
}

/// What a client sends in one call leaves in few system calls and arrives as it was, in order.
#[test]
fn bursts_are_joined_and_arrive_apart() {
    let k = provider::boot();
    let c = vnic();
    let (a, b) = (Sock::new(), Sock::new());
    assert_eq!((a.bind("127.0.0.7", 4704), b.bind("127.0.0.8", 4704)), (0, 0));
    assert_eq!(b.option(SOL_SOCKET, SO_RCVBUF, 4 << 20), 0);
    *OUT.lock().unwrap() = Some((a, sin6("127.0.0.8", 4704)));
    let inbox = Inbox::leak();
    b.listen(inbox);
    let len = |i: u32| match i {
        0..100 => 1400,
        100..150 => 60 + (i as usize * 31) % 900,
        _ => 500,
    };
    let seen = std::sync::Arc::new(AtomicUsize::new(0));
    let s = seen.clone();
    let tap = fakekernel::net::capture(
        fakekernel::net::capture::Point::Underlay,
        std::sync::Arc::new(move |p| {
            let (from, to) = p.datagram.unwrap();
            assert_eq!((from.port(), to.port()), (4704, 4704));
            assert_eq!(*from.ip(), Ipv6Addr::from(sin6("127.0.0.7", 0).sin6_addr.s6_addr));
            s.fetch_add(1, SeqCst);
        }),
    );
    c.tx((0..300).map(|i| numbered(i, len(i))).collect::<Frames>()).ok().unwrap();
    let got = inbox.wait(300);
    for (i, (_, data)) in got.iter().enumerate() {
        assert_eq!(data, numbered(i as u32, len(i as u32)).bytes(), "frame {i}");
    }
    assert_eq!(seen.load(SeqCst), 600, "each datagram both ways");
    let n = counters();
    assert_eq!((n["out_datagrams"], n["in_datagrams"]), (300, 300));
    assert!(n["out_calls"] < 20, "{n:?}");
    assert!(n["in_calls"] < 100, "{n:?}");
    drop(tap);
    unvnic(c);
    assert_eq!((a.close(), b.close()), (0, 0));
    k.shutdown().unwrap();
}

fn ip(args: &str) -> bool {
    std::process::Command::new("ip").args(args.split(' ')).status().is_ok_and(|s| s.success())
}

/// Whether this thread could be moved to a network namespace with a neighbour that does not answer:
/// what is sent to it fills the socket's buffer.
fn silent_neighbour() -> bool {
    // SAFETY: changes the calling thread's namespace only.
    let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
    moved
        && ip("link add v0 type veth peer name v1")
        && ip("addr add 10.9.9.1/24 dev v0")
        && ip("link set v0 up")
        && ip("link set v1 up")
}

#[test]
fn back_pressure_reaches_the_sender_and_ends() {
    let k = provider::boot();
    if !silent_neighbour() {
        test_skip::skip("needs root and ip(8)");
        return;
    }
    let c = vnic();
    let s = Sock::new();
    assert_eq!(s.bind("10.9.9.1", 4789), 0);
    assert_eq!(s.option(SOL_SOCKET, SO_SNDBUF, 20_000), 0);
    let to = sin6("10.9.9.2", 4789);

    // One at a time: the message stays with the caller.
    let mut sent = 0;
    let left = loop {
        let (e, left) = s.send_mp(to, fakekernel::mblk::from_slice(&[1; 1000], 0), MSG_DONTWAIT);
        if e != 0 {
            assert_eq!(e, Errno::EAGAIN.0);
            break left;
        }
        sent += 1;
        assert!(sent < 1000, "the buffer never filled");
    };
    assert!(!left.is_null());
    // SAFETY: left to us.
    unsafe { freemsg(left) };

    // In a burst: bounded, and the rest comes back in order.
    *OUT.lock().unwrap() = Some((s, to));
    let rest = c.tx((0..2000).map(|i| numbered(i, 1000)).collect::<Frames>()).err().unwrap();
    assert!(rest.len() >= 2000 - 200, "{} left", rest.len());
    assert_eq!(*ERRORS.lock().unwrap(), [Errno::EAGAIN.0]);
    let again = c.tx(rest).err().unwrap();
    assert_eq!(counters()["out_blocked"], 3);

    // The neighbour appears, and everything that was accepted leaves, in order, by itself.
    let far = UdpSocketIn::peer();
    let (lladdr, n) = (far.lladdr(), 2000 - again.len());
    assert!(ip(&format!("neigh replace 10.9.9.2 lladdr {lladdr} dev v0")));
    let numbers = far.numbers(sent, n);
    assert_eq!(numbers, (0..n as u32).collect::<Vec<_>>());
    assert!(c.tx_all(again, WAIT));
    let numbers = far.numbers(0, 2000 - n);
    assert_eq!(numbers, (n as u32..2000).collect::<Vec<_>>());
    unvnic(c);
    assert_eq!(s.close(), 0);
    k.shutdown().unwrap();
}

/// Datagrams longer than the path's MTU cannot be sent joined: they leave one by one, in fragments.
#[test]
fn a_path_too_narrow_for_joined_datagrams() {
    let k = provider::boot();
    // SAFETY: changes the calling thread's namespace only.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 || !ip("link set lo up mtu 1300") {
        test_skip::skip("needs root and ip(8)");
        return;
    }
    let c = vnic();
    let (a, b) = (Sock::new(), Sock::new());
    assert_eq!((a.bind("127.0.0.1", 4707), b.bind("127.0.0.1", 4708)), (0, 0));
    *OUT.lock().unwrap() = Some((a, sin6("127.0.0.1", 4708)));
    let inbox = Inbox::leak();
    b.listen(inbox);
    let len = |i: u32| if i < 20 { 1400 } else { 900 };
    c.tx((0..40).map(|i| numbered(i, len(i))).collect::<Frames>()).ok().unwrap();
    for (i, (_, data)) in inbox.wait(40).iter().enumerate() {
        assert_eq!(data, numbered(i as u32, len(i as u32)).bytes(), "frame {i}");
    }
    assert_eq!(counters()["out_errors"], 0);
    unvnic(c);
    assert_eq!((a.close(), b.close()), (0, 0));
    k.shutdown().unwrap();
}

/// The other end of the veth pair, read as raw frames.
struct UdpSocketIn(std::os::fd::OwnedFd);

impl UdpSocketIn {
    fn peer() -> UdpSocketIn {
        use std::os::fd::FromRawFd;
        // SAFETY: a packet socket on v1, with room for all of the test.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(0x0003u16.to_be()));
            assert!(fd >= 0);
            let mut sll: libc::sockaddr_ll = std::mem::zeroed();
            sll.sll_family = libc::AF_PACKET as u16;
            sll.sll_protocol = 0x0800u16.to_be();
            sll.sll_ifindex = libc::if_nametoindex(c"v1".as_ptr()) as i32;
            let len = size_of::<libc::sockaddr_ll>() as u32;
            assert_eq!(libc::bind(fd, (&raw const sll).cast(), len), 0);
            let size: c_int = 16 << 20;
            let (level, name) = (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE);
            assert_eq!(libc::setsockopt(fd, level, name, (&raw const size).cast(), 4), 0);
            UdpSocketIn(std::os::fd::OwnedFd::from_raw_fd(fd))
        }
    }
    fn lladdr(&self) -> String {
        std::fs::read_to_string("/sys/class/net/v1/address").map_or_else(
            |_| {
                let out =
                    std::process::Command::new("ip").args(["-o", "link", "show", "v1"]).output();
                let text = String::from_utf8(out.unwrap().stdout).unwrap();
                let mut words = text.split_whitespace();
                words.find(|w| *w == "link/ether");
                words.next().unwrap().to_owned()
            },
            |s| s.trim().to_owned(),
        )
    }
    /// Skips datagrams of the first kind, then the numbers in `n` frames.
    fn numbers(&self, skip: usize, n: usize) -> Vec<u32> {
        use std::os::fd::AsRawFd;
        let end = Instant::now() + WAIT;
        let (mut out, mut skipped) = (Vec::new(), 0);
        let mut b = [0u8; 65536];
        while out.len() < n || skipped < skip {
            assert!(Instant::now() < end, "{skipped} of {skip}, {} of {n}", out.len());
            // SAFETY: a buffer of ours.
            let k = unsafe {
                let flags = libc::MSG_DONTWAIT;
                libc::recv(self.0.as_raw_fd(), b.as_mut_ptr().cast(), b.len(), flags)
            };
            if k <= 0 {
                std::thread::yield_now();
                continue;
            }
            // A segmented send may come as one large frame: the segments stand behind one header.
            for d in b[42..k as usize].chunks(1000) {
                if d[0] == 1 {
                    skipped += 1;
                } else {
                    out.push(u32::from_be_bytes(d[14..18].try_into().unwrap()));
                }
            }
        }
        out
    }
}

#[test]
fn the_t_unitdata_ind_has_no_surprises() {
    assert_eq!((size_of::<T_unitdata_ind>(), size_of::<sockaddr_in6>()), (20, 32));
    assert_eq!(offset_of!(sockaddr_in6, sin6_addr), 8);
}
