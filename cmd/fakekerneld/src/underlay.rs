// SPDX-License-Identifier: CDDL-1.0
//! The host's IP between hosts, as an interface of its global zone: `/dev/ipnet/underlay`.
//!
//! What the kernel's sockets send and receive is shown there with the headers that this machine's
//! kernel gives it. That costs something only while the node is open, however
//! often. The interface has the addresses that datagrams were seen to come to or to leave from.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use devctl::server::{Handle, Kernel, Messages, UserMem};
use devctl::{Model, OpenFlags, PeerCred};
use fakekernel::inet::ip::{self, Family, Interface, Seen, UNKNOWN_ZONE};
use fakekernel::net::capture::{Direction, Packet, Point};
use fakekernel::net::{Capture, capture};
use overlay_abi::errno::Errno;

use crate::datagram;
use crate::links::lock;

/// Its name, which captures of links use too.
const NAME: &str = fkadm::proto::UNDERLAY;
/// Its node.
pub const NODE: &str = "/dev/ipnet/underlay";
/// The zone that kernel sockets are of.
const GLOBAL: i32 = 0;
/// Most addresses that it learns; a host has one or two.
const ADDRESSES: usize = 16;

/// The interface.
pub struct Underlay {
    interface: Interface,
    addresses: Mutex<Vec<IpAddr>>,
    watched: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    by: usize,
    capture: Option<Capture>,
}

impl Underlay {
    /// Plumbs it for both families. The error is a sentence.
    pub fn new() -> Result<Arc<Underlay>, String> {
        let interface =
            Interface::new(GLOBAL, NAME, false).map_err(|e| format!("interface {NAME}: {e}"))?;
        interface.plumb(Family::V4);
        interface.plumb(Family::V6);
        let (addresses, watched) = (Mutex::default(), Mutex::default());
        Ok(Arc::new(Underlay { interface, addresses, watched }))
    }

    /// Shows packets from now on.
    fn watch(self: &Arc<Self>) {
        let mut watched = lock(&self.watched);
        watched.by += 1;
        if watched.capture.is_none() {
            let to = Arc::clone(self);
            watched.capture = Some(capture(Point::Underlay, Arc::new(move |p| to.sees(p))));
        }
    }

    fn sees(&self, packet: &Packet<'_>) {
        let Some((from, to)) = packet.datagram else { return };
        let out = packet.direction == Direction::Out;
        self.learn(if out { from } else { to }.ip().to_canonical());
        let head = datagram::headers(SocketAddr::V6(from), SocketAddr::V6(to), packet.bytes);
        // The headers say which family: IPv4 only if both ends are.
        let family = if head.first() == Some(&0x45) { Family::V4 } else { Family::V6 };
        let (direction, from_zone, to_zone) = match out {
            true => (ip::Direction::Out, GLOBAL, UNKNOWN_ZONE),
            false => (ip::Direction::In, UNKNOWN_ZONE, GLOBAL),
        };
        let seen = Seen { direction, from_zone, to_zone, group: 0 };
        self.interface.observe(family, seen, &[&head, packet.bytes].concat());
    }

    /// Brings an address up, once.
    fn learn(&self, address: IpAddr) {
        let mut known = lock(&self.addresses);
        if !known.contains(&address) && known.len() < ADDRESSES && !address.is_unspecified() {
            known.push(address);
            let bits = if address.is_ipv4() { 32 } else { 128 };
            // It is known only here, so it cannot be up.
            let _ = self.interface.up(address, bits, GLOBAL);
        }
    }
}

/// The devices of a host, this one's node among them.
pub struct Devices {
    others: Arc<dyn Kernel>,
    underlay: Arc<Underlay>,
}

impl Devices {
    /// All that `others` open.
    pub fn new(others: Arc<dyn Kernel>, underlay: Arc<Underlay>) -> Devices {
        Devices { others, underlay }
    }
}

impl Kernel for Devices {
    fn open(
        &self,
        node: &str,
        flags: OpenFlags,
        cred: &PeerCred,
    ) -> Result<Box<dyn Handle>, Errno> {
        let open = self.others.open(node, flags, cred)?;
        if node != NODE {
            return Ok(open);
        }
        self.underlay.watch();
        Ok(Box::new(Watching { open, underlay: Arc::clone(&self.underlay) }))
    }
}

/// An open of the node: as long as it is there, packets are shown.
struct Watching {
    open: Box<dyn Handle>,
    underlay: Arc<Underlay>,
}

impl Handle for Watching {
    fn ioctl(&self, cmd: u32, arg: u64, model: Model, mem: &dyn UserMem) -> Result<i32, Errno> {
        self.open.ioctl(cmd, arg, model, mem)
    }

    fn messages(&self) -> Option<&dyn Messages> {
        self.open.messages()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watched = lock(&self.underlay.watched);
        watched.by -= 1;
        if watched.by == 0 {
            watched.capture = None;
        }
    }
}
