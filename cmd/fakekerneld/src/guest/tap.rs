// SPDX-License-Identifier: CDDL-1.0
//! A TAP device of this machine on a VNIC, with checksum and segmentation left to do both ways.
//!
//! ```text
//!   Linux --- TAP --- reader thread ------> Client::tx
//!                <--- kernel's threads <--- set_rx: writev(header, frame)
//! ```
//!
//! Its IP is Linux', and Linux' programs see it best, in its namespace. As an interface of the host's
//! ipnet it is there too, under the name of its VNIC, with the addresses that it was given here.
//!
//! Each frame on the descriptor has a virtio_net_hdr in front, so one read or write moves up to 64
//! KiB of TCP.

use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fakekernel::inet::ip::Direction;
use fakekernel::net::Note;
use fakekernel::net::client::{Client, Frame, Frames, Offload, Partial, RxBatch, RxFrame};
use overlay_abi::errno::Errno;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::ip::Plumbed;

/// struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset; native byte
/// order.
const VNET_HEADER: usize = 10;
const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
/// In gso_type beside the others: the segments carry ECN.
const GSO_ECN: u8 = 0x80;

const TUN_F_CSUM: libc::c_uint = 0x01;
const TUN_F_TSO4: libc::c_uint = 0x02;
const TUN_F_TSO6: libc::c_uint = 0x04;
const TUN_F_TSO_ECN: libc::c_uint = 0x08;

/// Largest frame that Linux gives to a device that segments, with its header.
const LARGEST: usize = VNET_HEADER + 14 + 4 + 65536;
/// Frames handed to the kernel at once.
const BATCH: usize = 64;
/// After so long without room the frames are lost, as when a card's ring stays full.
const PATIENCE: Duration = Duration::from_secs(1);

/// A running TAP device; it goes when this is dropped.
pub struct Tap {
    device: String,
    netns: Option<String>,
    client: Option<Arc<Client>>,
    stop: Arc<OwnedFd>,
    reader: Option<JoinHandle<()>>,
}

/// What belongs to the device itself.
struct Device {
    name: String,
    file: File,
    /// A socket in its namespace, for the ioctls that go by name.
    socket: UdpSocket,
}

impl Tap {
    /// Makes the device, in a network namespace if one is named, with the VNIC's address and MTU,
    /// and brings it up. The error is a sentence.
    pub fn start(
        name: Option<&str>,
        netns: Option<&str>,
        addresses: &[(IpAddr, u8)],
        client: Client,
        plumbed: Plumbed,
    ) -> Result<Tap, String> {
        let (mac, mtu) = (client.mac(), client.mtu());
        let make = || {
            if let Some(ns) = netns {
                enter(ns)?;
            }
            Device::new(name, mac, mtu, addresses)
        };
        // A thread of its own, for it stays in the namespace it enters.
        let device = std::thread::scope(|s| s.spawn(make).join());
        let device =
            device.unwrap_or_else(|_| Err("the thread that makes the device died".into()))?;
        let name = device.name.clone();
        let error = |e: io::Error| format!("{name}: {e}");
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).map_err(|e| error(e.into()))?);
        let device = Arc::new(device);

        let (to, plumbed) = (Arc::clone(&device), Arc::new(plumbed));
        let seen = Arc::clone(&plumbed);
        client.set_takes_offload(true);
        client.set_coalesce(true);
        client.set_rx(Arc::new(move |batch: &mut RxBatch| {
            for frame in batch {
                if seen.is_watched() {
                    seen.sees(Direction::In, &frame.slices().collect::<Vec<_>>().concat());
                }
                // A full queue of the device loses frames, as a full ring does.
                let _ = to.write(&frame);
            }
        }));
        let to = Arc::clone(&device);
        client.set_notes(Arc::new(move |note| to.note(note)));
        // Linux does not tell which groups it listens to.
        client.set_all_multicast(true).map_err(|e| format!("multicast: {}", Errno(e)))?;

        let client = Arc::new(client);
        let (sender, stopped) = (Arc::clone(&client), Arc::clone(&stop));
        let reader = std::thread::Builder::new()
            .name("tap".into())
            .spawn(move || device.read_all(&sender, &plumbed, &stopped))
            .map_err(error)?;
        let netns = netns.map(str::to_owned);
        Ok(Tap { device: name, netns, client: Some(client), stop, reader: Some(reader) })
    }

    /// Name of the device.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The namespace it was made in, as given.
    pub fn netns(&self) -> Option<&str> {
        self.netns.as_deref()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        if let Some(t) = self.reader.take() {
            let _ = t.join();
        }
        // The last of it: this closes the VNIC, and with the callbacks the device goes.
        self.client = None;
    }
}

/// Moves this thread into a namespace: a path, or a name of ip-netns(8).
fn enter(netns: &str) -> Result<(), String> {
    let path = if netns.contains('/') {
        PathBuf::from(netns)
    } else {
        PathBuf::from("/run/netns").join(netns)
    };
    let file =
        File::open(&path).map_err(|e| format!("network namespace {}: {e}", path.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|e| match e {
        rustix::io::Errno::PERM => {
            format!("network namespace {netns}: entering it needs CAP_SYS_ADMIN")
        }
        e => format!("network namespace {netns}: {e}"),
    })
}

/// A C string of at most 15 bytes in an interface request.
fn request(name: &str) -> Result<libc::ifreq, String> {
    let len = name.len();
    if len == 0 || len >= libc::IFNAMSIZ || name.contains(['/', '\0', ' ']) {
        return Err(format!(
            "{name:?} is not the name of a device: at most 15 bytes, no blanks or slashes"
        ));
    }
    // SAFETY: all zeros is an interface request.
    let mut r: libc::ifreq = unsafe { zeroed() };
    for (to, from) in r.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(r)
}

/// struct in6_ifreq.
#[repr(C)]
struct In6Request {
    address: libc::in6_addr,
    prefix: u32,
    index: libc::c_int,
}

fn check(r: libc::c_int) -> io::Result<()> {
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Device {
    fn new(
        name: Option<&str>,
        mac: [u8; 6],
        mtu: u32,
        addresses: &[(IpAddr, u8)],
    ) -> Result<Device, String> {
        let mut r = request(name.unwrap_or("tap%d"))?;
        let file =
            File::options().read(true).write(true).open("/dev/net/tun").map_err(|e| {
                match e.kind() {
                    io::ErrorKind::NotFound => {
                        "there is no /dev/net/tun: load the module tun".into()
                    }
                    io::ErrorKind::PermissionDenied => no_right(),
                    _ => format!("/dev/net/tun: {e}"),
                }
            })?;
        let fd = file.as_raw_fd();
        r.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as i16;
        // SAFETY: TUNSETIFF reads and writes an ifreq.
        let made = check(unsafe { libc::ioctl(fd, libc::TUNSETIFF, &mut r) });
        made.map_err(|e| match e.raw_os_error() {
            Some(libc::EPERM) => no_right(),
            Some(libc::EBUSY) => {
                format!("{}: there is such a device already", name.unwrap_or_default())
            }
            _ => format!("cannot make a TAP device: {e}"),
        })?;
        let name: String =
            r.ifr_name.iter().take_while(|c| **c != 0).map(|c| char::from(*c as u8)).collect();
        let error = |what: &str| {
            let name = name.clone();
            let what = what.to_owned();
            move |e: io::Error| format!("{name}: {what}: {e}")
        };
        let offload = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
        // SAFETY: TUNSETOFFLOAD takes its argument by value.
        check(unsafe { libc::ioctl(fd, libc::TUNSETOFFLOAD, libc::c_ulong::from(offload)) })
            .map_err(error("offload"))?;
        rustix::io::ioctl_fionbio(&file, true).map_err(|e| error("non-blocking")(e.into()))?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(error("socket"))?;
        let device = Device { name: name.clone(), file, socket };
        device.set_mac(mac).map_err(error("hardware address"))?;
        device.set_mtu(mtu).map_err(error("MTU"))?;
        device.up().map_err(error("up"))?;
        for &(address, prefix) in addresses {
            device.add(address, prefix).map_err(error(&address.to_string()))?;
        }
        Ok(device)
    }

    fn request(&self) -> libc::ifreq {
        // SAFETY: all zeros is an interface request.
        let mut r: libc::ifreq = unsafe { zeroed() };
        for (to, from) in r.ifr_name.iter_mut().zip(self.name.bytes()) {
            *to = from as libc::c_char;
        }
        r
    }

    fn socket_ioctl(&self, cmd: libc::c_ulong, r: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: every command this is called with reads and writes one ifreq.
        check(unsafe { libc::ioctl(self.socket.as_raw_fd(), cmd, r) })
    }

    fn set_mac(&self, mac: [u8; 6]) -> io::Result<()> {
        let mut r = self.request();
        let mut data = [0; 14];
        for (to, from) in data.iter_mut().zip(mac) {
            *to = from as libc::c_char;
        }
        r.ifr_ifru.ifru_hwaddr = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: data };
        self.socket_ioctl(libc::SIOCSIFHWADDR, &mut r)
    }

    fn set_mtu(&self, mtu: u32) -> io::Result<()> {
        let mut r = self.request();
        r.ifr_ifru.ifru_mtu = mtu as libc::c_int;
        self.socket_ioctl(libc::SIOCSIFMTU, &mut r)
    }

    fn up(&self) -> io::Result<()> {
        let mut r = self.request();
        self.socket_ioctl(libc::SIOCGIFFLAGS, &mut r)?;
        // SAFETY: SIOCGIFFLAGS has set the flags.
        unsafe { r.ifr_ifru.ifru_flags |= libc::IFF_UP as i16 };
        self.socket_ioctl(libc::SIOCSIFFLAGS, &mut r)
    }

    fn add(&self, address: IpAddr, prefix: u8) -> io::Result<()> {
        match address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                self.set_v4(libc::SIOCSIFADDR, a.into())?;
                self.set_v4(libc::SIOCSIFNETMASK, mask)
            }
            IpAddr::V6(a) => {
                let mut r = self.request();
                self.socket_ioctl(libc::SIOCGIFINDEX, &mut r)?;
                let mut six = In6Request {
                    address: libc::in6_addr { s6_addr: a.octets() },
                    prefix: prefix.into(),
                    // SAFETY: SIOCGIFINDEX has set it.
                    index: unsafe { r.ifr_ifru.ifru_ifindex },
                };
                let socket = rustix::net::socket(
                    rustix::net::AddressFamily::INET6,
                    rustix::net::SocketType::DGRAM,
                    None,
                )?;
                // SAFETY: on an IPv6 socket SIOCSIFADDR reads an in6_ifreq.
                check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFADDR, &mut six) })
            }
        }
    }

    fn set_v4(&self, cmd: libc::c_ulong, value: u32) -> io::Result<()> {
        let mut r = self.request();
        let mut data = [0; 14];
        // sockaddr_in: the port, then the address in network byte order.
        for (to, from) in data.iter_mut().skip(2).zip(value.to_be_bytes()) {
            *to = from as libc::c_char;
        }
        r.ifr_ifru.ifru_addr =
            libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data };
        self.socket_ioctl(cmd, &mut r)
    }

    /// Follows the VNIC.
    fn note(&self, note: Note) {
        match note {
            // Refused only if someone took the device's name away, and then there is nobody to
            // tell.
            Note::Mtu(mtu) => drop(self.set_mtu(mtu)),
            Note::Link(state) => {
                let carrier = libc::c_int::from(state != 0);
                // SAFETY: TUNSETCARRIER reads an int.
                unsafe { libc::ioctl(self.file.as_raw_fd(), libc::TUNSETCARRIER, &carrier) };
            }
            Note::Tx => {}
        }
    }

    /// Sends what Linux gives, until told to stop.
    fn read_all(&self, client: &Client, plumbed: &Plumbed, stop: &OwnedFd) {
        let mut buf = vec![0; LARGEST];
        loop {
            let mut fds =
                [PollFd::new(&self.file, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            if !fds[1].revents().is_empty() {
                return;
            }
            let mut frames = Frames::default();
            for _ in 0..BATCH {
                match rustix::io::read(&self.file, &mut buf) {
                    Ok(n) => {
                        plumbed
                            .sees(Direction::Out, buf[..n].get(VNET_HEADER..).unwrap_or_default());
                        frames_from(&buf[..n]).into_iter().for_each(|f| frames.push(f));
                    }
                    Err(rustix::io::Errno::INTR) => {}
                    // Nothing more for now, or the device is down.
                    Err(_) => break,
                }
            }
            if !frames.is_empty() {
                client.tx_all(frames, PATIENCE);
            } else if fds[0].revents().contains(PollFlags::ERR) {
                // Down: it stays readable, with nothing to read.
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn write(&self, frame: &RxFrame) -> io::Result<usize> {
        let header = header(frame);
        let mut parts = vec![io::IoSlice::new(&header)];
        parts.extend(frame.slices().map(io::IoSlice::new));
        Ok(rustix::io::writev(&self.file, &parts)?)
    }
}

fn no_right() -> String {
    "making a TAP device needs CAP_NET_ADMIN: run fakekerneld as root, or give the VNIC to a \
     guest inside it with: guest attach"
        .into()
}

/// A frame out of what was read, unless there is no memory or its header says what cannot be.
fn frames_from(bytes: &[u8]) -> Option<Frame> {
    let (header, frame) = bytes.split_first_chunk::<VNET_HEADER>()?;
    let mut f = Frame::from_slice(frame)?;
    let offload = parse_header(header);
    if offload != Offload::default() {
        f.set_offload(&offload).ok()?;
    }
    Some(f)
}

fn parse_header(h: &[u8; VNET_HEADER]) -> Offload {
    let word = |at: usize| u16::from_ne_bytes([h[at], h[at + 1]]);
    Offload {
        checksum: (h[0] & NEEDS_CSUM != 0).then(|| Partial { start: word(6), offset: word(8) }),
        mss: (h[1] & !GSO_ECN != GSO_NONE).then(|| word(4)),
    }
}

fn header(frame: &RxFrame) -> [u8; VNET_HEADER] {
    let offload = frame.offload();
    let mut h = [0; VNET_HEADER];
    let mut put = |at: usize, v: u16| h[at..at + 2].copy_from_slice(&v.to_ne_bytes());
    if let Some(c) = offload.checksum {
        put(6, c.start);
        put(8, c.offset);
    }
    if let Some(mss) = offload.mss {
        put(2, frame.header_len() as u16);
        put(4, mss);
    }
    if offload.checksum.is_some() {
        h[0] = NEEDS_CSUM;
    }
    if offload.mss.is_some() {
        h[1] = gso_type(frame);
    }
    h
}

/// Of which IP a frame to be segmented is: its version, behind the Ethernet header and a VLAN tag
/// if there is one.
fn gso_type(frame: &RxFrame) -> u8 {
    let head = frame.slices().next().unwrap_or_default();
    let ethertype = |at: usize| head.get(at..at + 2).unwrap_or_default();
    let at = if ethertype(12) == [0x81, 0] { 16 } else { 12 };
    if ethertype(at) == [0x86, 0xdd] { GSO_TCPV6 } else { GSO_TCPV4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_linux() {
        let mut h = [0; VNET_HEADER];
        assert_eq!(parse_header(&h), Offload::default());
        h[0] = NEEDS_CSUM;
        h[1] = GSO_TCPV4 | GSO_ECN;
        h[4..6].copy_from_slice(&1348u16.to_ne_bytes());
        h[6..8].copy_from_slice(&34u16.to_ne_bytes());
        h[8..10].copy_from_slice(&16u16.to_ne_bytes());
        let o = parse_header(&h);
        assert_eq!(o.mss, Some(1348));
        assert_eq!(o.checksum, Some(Partial { start: 34, offset: 16 }));
    }

    #[test]
    fn names_of_devices() {
        assert!(request("tap0").is_ok() && request("fifteen-bytes-x").is_ok());
        for bad in ["", "sixteen-bytes-xx", "a/b", "a b"] {
            assert!(request(bad).is_err(), "{bad}");
        }
    }
}
