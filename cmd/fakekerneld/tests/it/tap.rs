// SPDX-License-Identifier: CDDL-1.0
//! TAP devices in network namespaces, with this machine's own TCP/IP on them. Needs root; without,
//! only the refusal is tested.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::common::{Host, two_hosts};
use crate::ipnet::{packet, snoop};
use fkadm::client::Error;
use fkadm::proto::{AttachTap, Guest, GuestKind, Ping};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// A network namespace, for as long as its file is open.
struct Namespace(File);

impl Namespace {
    /// None without the right to make one.
    fn new() -> Option<Namespace> {
        let make = || {
            // SAFETY: only the network namespace of this thread changes, which nothing else depends
            // on.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.ok()?;
            File::open("/proc/thread-self/ns/net").ok()
        };
        let file = std::thread::spawn(make).join().unwrap()?;
        File::open("/dev/net/tun").ok()?;
        Some(Namespace(file))
    }

    fn path(&self) -> String {
        use std::os::fd::AsRawFd;
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Runs `f` on a thread in the namespace.
    fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|s| {
            let enter = || {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(self.0.as_fd(), kind).unwrap();
                f()
            };
            s.spawn(enter).join().unwrap()
        })
    }
}

fn attach(host: &Host, n: u8, ns: Option<&Namespace>) -> Result<Guest, Error> {
    host.client().guest_attach_tap(AttachTap {
        link: "vnic0".into(),
        tap: Some("guest0".into()),
        netns: ns.map(Namespace::path),
        addresses: vec![format!("10.1.0.{n}/24"), format!("fd00::{n}/64")],
    })
}

/// Two hosts, each with a TAP device in a namespace; None without root.
fn two_taps() -> Option<[(Host, Namespace); 2]> {
    let spaces = [Namespace::new()?, Namespace::new()?];
    let mut n = 0;
    let hosts = two_hosts(false).map(|(host, _)| {
        n += 1;
        let guest = attach(&host, n, Some(&spaces[usize::from(n) - 1])).unwrap();
        assert!(matches!(guest.kind, GuestKind::Tap { ref device, .. } if device == "guest0"));
        host
    });
    let mut spaces = spaces.into_iter();
    Some(hosts.map(|h| (h, spaces.next().unwrap())))
}

/// Tries until the address may be used: an IPv6 address is tried for duplicates first.
fn eventually<T>(f: impl Fn() -> io::Result<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(4);
    loop {
        match f() {
            Ok(t) => return t,
            Err(e) => assert!(Instant::now() < deadline, "{e}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    eventually(|| TcpListener::bind(address))
}

fn stream(from: &Namespace, to: &Namespace, address: &str, bytes: usize) {
    let address: SocketAddr = address.parse().unwrap();
    let data: Vec<u8> =
        (0..bytes as u32).map(|i| (i.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
    let listener = to.run(|| listen(address));
    let data = &data;
    std::thread::scope(|s| {
        s.spawn(move || {
            let (mut c, _) = listener.accept().unwrap();
            let mut got = Vec::new();
            c.read_to_end(&mut got).unwrap();
            assert!(got == *data, "what arrived is not what was sent");
            c.write_all(b"good").unwrap();
        });
        from.run(|| {
            let mut c = eventually(|| TcpStream::connect_timeout(&address, Duration::from_secs(4)));
            c.write_all(data).unwrap();
            c.shutdown(std::net::Shutdown::Write).unwrap();
            let mut verdict = String::new();
            c.read_to_string(&mut verdict).unwrap();
            assert_eq!(verdict, "good");
        });
    });
}

#[test]
fn tcp_and_udp_of_linux_cross_two_hosts() {
    let Some([(a, ns_a), (b, ns_b)]) = two_taps() else { return };
    stream(&ns_a, &ns_b, "10.1.0.2:5000", 4 << 20);
    stream(&ns_b, &ns_a, "10.1.0.1:5000", 4 << 20);
    stream(&ns_a, &ns_b, "[fd00::2]:5000", 1 << 20);
    // Datagrams: up to the MTU in one piece, above it in fragments.
    let receiver = ns_b.run(|| UdpSocket::bind("10.1.0.2:7").unwrap());
    receiver.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let sender = ns_a.run(|| UdpSocket::bind("10.1.0.1:0").unwrap());
    for len in [0, 1, 1371, 1372, 1373, 5000] {
        let data = vec![len as u8; len];
        sender.send_to(&data, "10.1.0.2:7").unwrap();
        let mut buf = [0; 6000];
        assert_eq!(receiver.recv(&mut buf).unwrap(), len);
        assert!(buf[..len] == data);
    }
    a.end_clean();
    b.end_clean();
}

#[test]
fn a_tap_device_and_a_host_inside_understand_each_other() {
    let (Some(space), [(a, _), (b, _)]) = (Namespace::new(), two_hosts(false)) else { return };
    attach(&a, 1, Some(&space)).unwrap();
    b.client().guest_attach("vnic0", ["10.1.0.2/24", "fd00::2/64"]).unwrap();
    let ping = |to: &str| Ping { interval_ms: 0, ..Ping::new("vnic0", to.parse().unwrap()) };
    assert_eq!(b.client().guest_ping(ping("10.1.0.1")).unwrap().received, 3);
    // Linux does not answer for an address it still tries.
    space.run(|| drop(listen("[fd00::1]:1".parse().unwrap())));
    assert_eq!(b.client().guest_ping(ping("fd00::1")).unwrap().received, 3);
    let e = a.client().guest_ping(ping("10.1.0.2")).unwrap_err().to_string();
    assert!(e.contains("guest0"), "{e}");

    let interfaces = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    assert!(space.run(interfaces).contains("guest0"));
    a.client().guest_detach("vnic0").unwrap();
    assert!(!space.run(interfaces).contains("guest0"), "the device goes with the guest");
    a.end_clean();
    b.end_clean();
}

#[test]
fn a_tap_device_follows_its_vnic() {
    let Some([(a, space), _other]) = two_taps() else { return };
    let mtu = || space.run(|| interface_mtu(&UdpSocket::bind("0.0.0.0:0").unwrap(), "guest0"));
    assert_eq!(mtu(), 1400);
    let handle = libdladm::Handle::open(&a.root).unwrap();
    let id = handle.by_name("vnic0").unwrap().id;
    libdladm::link::set_mtu(&handle, id, 1300).unwrap();
    let deadline = Instant::now() + Duration::from_secs(3);
    while mtu() != 1300 {
        assert!(Instant::now() < deadline, "the device still has MTU {}", mtu());
        std::thread::sleep(Duration::from_millis(5));
    }
    a.end_clean();
}

fn interface_mtu(socket: &UdpSocket, name: &str) -> i32 {
    use std::os::fd::AsRawFd;
    // SAFETY: SIOCGIFMTU reads a name from the request, which is all zeros otherwise, and sets the MTU.
    unsafe {
        let mut r: libc::ifreq = std::mem::zeroed();
        for (to, from) in r.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        assert_eq!(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU, &mut r), 0);
        r.ifr_ifru.ifru_mtu
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let [(host, _), _other] = two_hosts(false);
    let refused = |how: AttachTap, why: &[&str]| {
        let text = host.client().guest_attach_tap(how).unwrap_err().to_string();
        assert!(why.iter().any(|w| text.contains(w)), "{text}");
    };
    let vnic0 = || AttachTap { link: "vnic0".into(), ..AttachTap::default() };
    refused(
        AttachTap { tap: Some("much-too-long-a-name".into()), ..vnic0() },
        &["at most 15 bytes", "CAP_NET_ADMIN"],
    );
    refused(
        AttachTap { netns: Some("no-such-namespace".into()), ..vnic0() },
        &["no-such-namespace"],
    );
    refused(AttachTap { addresses: vec!["1.2.3.4".into()], ..vnic0() }, &["1.2.3.4"]);
    if !rustix::process::geteuid().is_root() {
        refused(vnic0(), &["CAP_NET_ADMIN", "/dev/net/tun"]);
    }
    // None of it keeps the VNIC.
    host.client().guest_attach("vnic0", ["10.1.0.1/24"]).unwrap();
    host.end_clean();
}

#[test]
fn a_tap_guest_is_an_interface_of_ipnet_too() {
    let Some([(a, in_a), (b, in_b)]) = two_taps() else {
        test_skip::skip("needs root and TAP devices");
        return;
    };
    let seen = snoop(&a, "/dev/ipnet/vnic0");
    stream(&in_a, &in_b, "10.1.0.2:4000", 100_000);
    // The first two of its connection: out, and back.
    let mut tcp = std::iter::from_fn(|| Some(packet(&seen))).filter(|(_, p)| p[24 + 9] == 6);
    for (out, flags) in [(1, 2), (0, 0x12)] {
        let (way, p) = tcp.next().unwrap();
        assert_eq!((way, p[1], p[24 + 20 + 13]), (out, 2, flags));
        // It came for an address of this host's.
        assert_eq!(p[20..24] == [0; 4], out == 0);
    }
    drop(seen);
    a.client().guest_detach("vnic0").unwrap();
    a.end_clean();
    b.end_clean();
}
