// SPDX-License-Identifier: CDDL-1.0
//! Whole Ethernet frames to and from a device, packet(7).

use anyhow::{Context, Result, ensure};
use std::io::Error;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// A raw socket on one device of the namespace it was opened in.
pub struct PacketSocket(OwnedFd);

const VLAN_TPID: [u8; 2] = [0x81, 0x00];

impl PacketSocket {
    /// Opens one for all protocols.
    ///
    /// # Errors
    /// Not root, or no such device.
    pub fn open(device: &str) -> Result<PacketSocket> {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: socket(2) touches no memory of ours.
        let fd = unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol.into())
        };
        ensure!(fd >= 0, "packet socket: {}", Error::last_os_error());
        // SAFETY: a descriptor of our own, just made.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let name = std::ffi::CString::new(device)?;
        // SAFETY: a string with its NUL.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        ensure!(index != 0, "no device {device}");
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: protocol,
            sll_ifindex: index as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let on: libc::c_int = 1;
        // SAFETY: the address and the option are valid and of the lengths given.
        let ok = unsafe {
            libc::bind(
                fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            ) == 0
                && libc::setsockopt(
                    fd.as_raw_fd(),
                    libc::SOL_PACKET,
                    libc::PACKET_AUXDATA,
                    (&raw const on).cast(),
                    size_of::<libc::c_int>() as u32,
                ) == 0
        };
        ensure!(ok, "bind to {device}: {}", Error::last_os_error());
        let s = PacketSocket(fd);
        rustix::net::sockopt::set_socket_timeout(
            &s.0,
            rustix::net::sockopt::Timeout::Recv,
            Some(Duration::from_secs(5)),
        )?;
        Ok(s)
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// Those of send(2).
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let n = rustix::net::send(&self.0, frame, rustix::net::SendFlags::empty())?;
        ensure!(n == frame.len(), "{n} of {} bytes sent", frame.len());
        Ok(())
    }

    /// The next frame for which `wanted` holds, with its VLAN tag where it was on the wire.
    ///
    /// # Errors
    /// None came within five seconds.
    pub fn receive(&self, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        loop {
            let frame = self.receive_any().context("no such frame came")?;
            if wanted(&frame) {
                return Ok(frame);
            }
        }
    }

    fn receive_any(&self) -> Result<Vec<u8>> {
        let mut data = vec![0u8; 16 * 1024];
        let mut control = [0u64; 16];
        let mut iov = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
        // SAFETY: all-zero is a valid msghdr: no name, no vectors, no control data.
        let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
        msg.msg_iov = &raw mut iov;
        msg.msg_iovlen = 1;
        msg.msg_control = control.as_mut_ptr().cast();
        msg.msg_controllen = size_of_val(&control);
        // SAFETY: the buffers outlive the call and have the lengths given.
        let n = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut msg, 0) };
        ensure!(n >= 0, "{}", Error::last_os_error());
        data.truncate(n as usize);
        // The system takes the tag out of the frame and tells it beside.
        // SAFETY: msg was filled in by recvmsg.
        let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const msg) };
        while !header.is_null() {
            // SAFETY: the CMSG macros stay within the control data; the length is checked before it is read.
            unsafe {
                let wanted = (*header).cmsg_level == libc::SOL_PACKET
                    && (*header).cmsg_type == libc::PACKET_AUXDATA
                    && (*header).cmsg_len
                        >= libc::CMSG_LEN(size_of::<libc::tpacket_auxdata>() as u32) as usize;
                if wanted {
                    let aux: libc::tpacket_auxdata =
                        libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned();
                    if aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0 && data.len() >= 12 {
                        let tag = [VLAN_TPID, aux.tp_vlan_tci.to_be_bytes()].concat();
                        data.splice(12..12, tag);
                    }
                }
                header = libc::CMSG_NXTHDR(&raw const msg, header);
            }
        }
        Ok(data)
    }
}
