// SPDX-License-Identifier: CDDL-1.0
//! A socket of packet(7).

use libc::{
    AF_PACKET, MSG_TRUNC, PACKET_ADD_MEMBERSHIP, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING,
    PACKET_MR_PROMISC, PACKET_OUTGOING, PACKET_STATISTICS, SO_RCVBUFFORCE, SO_TIMESTAMPNS,
    SOL_PACKET, SOL_SOCKET, TP_STATUS_VLAN_TPID_VALID, TP_STATUS_VLAN_VALID, c_int, c_void,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// Longest packet: one that is still to be segmented, with headers.
const LONGEST: usize = 256 << 10;
/// Bytes that may wait in the kernel. A limit for all users does not apply to who may watch.
const WAITING: c_int = 32 << 20;
/// Bytes of an 802.1Q tag, which the kernel takes out of a frame.
const TAG: usize = 4;
/// Bytes of the addresses before it.
const MACS: usize = 12;

/// What packets begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The header of the link.
    Link,
    /// What the link carries, outside of VLANs.
    Payload,
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Received, for this machine or not.
    In,
    /// Sent.
    Out,
}

/// A packet.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Since 1970.
    pub time: Duration,
    /// Index of its interface.
    pub index: u32,
    /// Its direction.
    pub way: Way,
    /// Its ethertype.
    pub ethertype: u16,
    /// Bytes of the whole packet.
    pub length: usize,
    /// The packet. One longer than 256 KiB is cut.
    pub bytes: &'a [u8],
}

/// Hears what passes an interface.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    mode: Mode,
    buffer: Box<[u8]>,
    dropped: u64,
}

/// Bytes that control messages take: a time and what is said about the packet.
#[repr(C, align(8))]
struct Control([u8; 256]);

impl Socket {
    /// Begins to hear the interface of this index.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW, ENODEV without such an interface, ENETDOWN if it is down.
    pub fn open(mode: Mode, index: u32, loopback: bool, promiscuous: bool) -> io::Result<Socket> {
        let kind = match mode {
            Mode::Link => SocketType::RAW,
            Mode::Payload => SocketType::DGRAM,
        };
        // Without a protocol it hears nothing before it is bound to the interface.
        let fd = socket_with(AddressFamily::PACKET, kind, SocketFlags::CLOEXEC, None)?;
        let buffer = vec![0; TAG + LONGEST].into_boxed_slice();
        let socket = Socket { fd, mode, buffer, dropped: 0 };
        socket.set(SOL_SOCKET, SO_TIMESTAMPNS, &1)?;
        socket.set(SOL_PACKET, PACKET_AUXDATA, &1)?;
        // Without the privilege the queue is as long as the machine's limit.
        let _ = socket.set(SOL_SOCKET, SO_RCVBUFFORCE, &WAITING);
        if loopback {
            // Each packet is sent there, and received.
            socket.set(SOL_PACKET, PACKET_IGNORE_OUTGOING, &1)?;
        }
        let index = c_int::try_from(index).map_err(io::Error::other)?;
        if promiscuous {
            let membership = libc::packet_mreq {
                mr_ifindex: index,
                mr_type: PACKET_MR_PROMISC as u16,
                mr_alen: 0,
                mr_address: [0; 8],
            };
            socket.set(SOL_PACKET, PACKET_ADD_MEMBERSHIP, &membership)?;
        }
        socket.bind(index)?;
        Ok(socket)
    }

    fn set<T>(&self, level: c_int, name: c_int, value: &T) -> io::Result<()> {
        let (value, length) = (std::ptr::from_ref(value).cast(), size_of::<T>() as u32);
        // SAFETY: the kernel reads `length` bytes of a value of that size.
        check(unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, name, value, length) } as isize)
            .map(drop)
    }

    fn bind(&self, index: c_int) -> io::Result<()> {
        // SAFETY: all zeros are an address.
        let mut to: libc::sockaddr_ll = unsafe { zeroed() };
        to.sll_family = AF_PACKET as u16;
        to.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        to.sll_ifindex = index;
        let length = size_of::<libc::sockaddr_ll>() as u32;
        let to = std::ptr::from_ref(&to).cast();
        // SAFETY: the kernel reads an address of that size.
        check(unsafe { libc::bind(self.fd.as_raw_fd(), to, length) } as isize).map(drop)
    }

    /// Waits for the next packet, no longer than `wait`; `None` may come sooner.
    ///
    /// # Errors
    /// ENETDOWN when the interface goes down or away.
    pub fn next(&mut self, wait: Duration) -> io::Result<Option<Seen<'_>>> {
        let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(e) => return Err(e.into()),
        }
        self.receive()
    }

    fn receive(&mut self) -> io::Result<Option<Seen<'_>>> {
        let mut from = MaybeUninit::<libc::sockaddr_ll>::zeroed();
        let mut control = Control([0; 256]);
        let into = &mut self.buffer[TAG..];
        let mut part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
        // SAFETY: all zeros are a header that names nothing.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_name = from.as_mut_ptr().cast();
        header.msg_namelen = size_of::<libc::sockaddr_ll>() as u32;
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = control.0.len();
        let flags = MSG_TRUNC | libc::MSG_DONTWAIT;
        // SAFETY: the header names buffers of these lengths, which live longer than the call.
        let got = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut header, flags) };
        let length = match check(got) {
            Ok(length) => length,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) => return Err(e),
        };
        // SAFETY: of zeros, and what the kernel wrote: any bytes are an address.
        let from = unsafe { from.assume_init() };
        let about = About::of(&header);
        if self.mode == Mode::Payload && about.tag.is_some_and(|t| vlan(t) != 0) {
            // It is for an interface of that VLAN, and seen there.
            return Ok(None);
        }
        let kept = length.min(LONGEST);
        let tag = about.tag.filter(|_| self.mode == Mode::Link && kept >= MACS);
        let bytes = match tag {
            None => &self.buffer[TAG..TAG + kept],
            Some(tag) => {
                self.buffer.copy_within(TAG..TAG + MACS, 0);
                self.buffer[MACS..MACS + TAG].copy_from_slice(&tag);
                &self.buffer[..TAG + kept]
            }
        };
        Ok(Some(Seen {
            time: about.time,
            index: from.sll_ifindex.unsigned_abs(),
            way: if from.sll_pkttype == PACKET_OUTGOING { Way::Out } else { Way::In },
            ethertype: u16::from_be(from.sll_protocol),
            length: length + tag.map_or(0, |_| TAG),
            bytes,
        }))
    }

    /// Packets that were lost since the beginning, because nobody was ready for them.
    ///
    /// # Errors
    /// The socket is none.
    pub fn dropped(&mut self) -> io::Result<u64> {
        // SAFETY: all zeros are counts.
        let mut stats: libc::tpacket_stats = unsafe { zeroed() };
        let mut length = size_of::<libc::tpacket_stats>() as u32;
        let (fd, to) = (self.fd.as_raw_fd(), std::ptr::from_mut(&mut stats).cast::<c_void>());
        // SAFETY: the kernel writes at most `length` bytes to a value of that size.
        let got =
            unsafe { libc::getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, to, &raw mut length) };
        check(got as isize)?;
        // The kernel counts from the last time it was asked.
        self.dropped += u64::from(stats.tp_drops);
        Ok(self.dropped)
    }
}

/// What control messages say.
struct About {
    time: Duration,
    /// As it was in the frame.
    tag: Option<[u8; TAG]>,
}

impl About {
    fn of(header: &libc::msghdr) -> About {
        let mut about = About { time: Duration::ZERO, tag: None };
        // SAFETY: recvmsg has filled the header in.
        let mut at = unsafe { libc::CMSG_FIRSTHDR(header) };
        while !at.is_null() {
            // SAFETY: the macros give headers that lie in the buffer, or null.
            let (c, data) = unsafe { (at.read_unaligned(), libc::CMSG_DATA(at)) };
            let length = c.cmsg_len;
            match (c.cmsg_level, c.cmsg_type) {
                (SOL_SOCKET, SO_TIMESTAMPNS) if fits::<libc::timespec>(length) => {
                    // SAFETY: the message is as long as what is read.
                    let t = unsafe { data.cast::<libc::timespec>().read_unaligned() };
                    about.time = Duration::new(t.tv_sec as u64, t.tv_nsec as u32);
                }
                (SOL_PACKET, PACKET_AUXDATA) if fits::<libc::tpacket_auxdata>(length) => {
                    // SAFETY: the message is as long as what is read.
                    let aux = unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
                    about.tag = tag(&aux);
                }
                _ => {}
            }
            // SAFETY: as above.
            at = unsafe { libc::CMSG_NXTHDR(header, at) };
        }
        about
    }
}

/// Whether a control message of this length holds a `T`.
fn fits<T>(length: usize) -> bool {
    // SAFETY: it computes a number.
    length >= unsafe { libc::CMSG_LEN(size_of::<T>() as u32) } as usize
}

/// The VLAN of a tag; 0 says only how urgent a frame is.
fn vlan([_, _, high, low]: [u8; TAG]) -> u16 {
    u16::from_be_bytes([high, low]) & 0xfff
}

/// The 802.1Q tag that the kernel has taken out.
fn tag(aux: &libc::tpacket_auxdata) -> Option<[u8; TAG]> {
    const DOT1Q: u16 = 0x8100;
    if aux.tp_status & TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let told = aux.tp_status & TP_STATUS_VLAN_TPID_VALID != 0;
    let kind = if told { aux.tp_vlan_tpid } else { DOT1Q };
    let [[a, b], [c, d]] = [kind, aux.tp_vlan_tci].map(u16::to_be_bytes);
    Some([a, b, c, d])
}

fn check(got: isize) -> io::Result<usize> {
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}
