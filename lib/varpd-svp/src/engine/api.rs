// SPDX-License-Identifier: CDDL-1.0
//! What goes into the engine and what comes out.

use super::event::Event;
use overlay_abi::ids::{MacAddr, UnderlayAddr};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use svp::log::Route;

/// Time since some fixed moment, on a clock that does not jump.
pub type Time = Duration;

/// An overlay instance, numbered by the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u64);

/// A lookup, numbered by the edge, which does not use a number again before it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A remote, numbered by the engine. No number is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteId(pub u64);

/// A TCP connection, numbered by the engine. No number is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What makes two instances share a remote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteKey {
    /// `svp/host`, a name or an address.
    pub host: String,
    /// `svp/port`, TCP.
    pub port: u16,
    /// `svp/underlay_ip`: by this address the directory knows whose log is asked for.
    pub underlay_ip: IpAddr,
    /// The files that TLS is made of, where that is used. They mean nothing to the engine.
    pub tls: Option<TlsFiles>,
}

/// Files (PEM) that TLS is made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsFiles {
    /// `svp/tls_ca`: authorities, of one of which the directory's certificate must be.
    pub ca: PathBuf,
    /// `svp/tls_cert` and `svp/tls_key`: the certificate that we show, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What an instance is to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its directory.
    pub remote: RemoteKey,
    /// Its virtual network.
    pub vnet: u32,
    /// What the directory calls the data centre of this host; 0: nothing.
    pub dcid: u32,
    /// `svp/router_oui`: the first three bytes of a router's Ethernet address, the others being the
    /// virtual network's number. Unset, next hops that are routers are dropped.
    pub router_oui: Option<[u8; 3]>,
}

impl Attachment {
    /// The Ethernet address of the network's router, if there can be one.
    pub fn router(&self) -> Option<MacAddr> {
        let [a, b, c] = self.router_oui?;
        let [_, x, y, z] = self.vnet.to_be_bytes();
        Some(MacAddr([a, b, c, x, y, z]))
    }
}

/// What is looked up, in the virtual network of the instance that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Where is this guest?
    Vl2(MacAddr),
    /// Who and where is this guest?
    Vl3(IpAddr),
    /// How does this packet leave its network? Asked on connections of version 2 only.
    Route {
        /// 802.1Q tag of the packet, 0 for none.
        vlan: u16,
        /// Of the packet; IPv4 as v4-mapped.
        src: Ipv6Addr,
        /// Of the packet, same family.
        dst: Ipv6Addr,
    },
}

/// What happens to the engine.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// An instance starts. One of that number that is attached is detached first.
    Attach {
        /// Which.
        instance: InstanceId,
        /// What it is.
        with: Attachment,
    },
    /// An instance stops. Its lookups are answered now.
    Detach {
        /// Which.
        instance: InstanceId,
    },
    /// A lookup, to be answered once, at once or later.
    Lookup {
        /// Comes back with the answer.
        token: Token,
        /// Who asks.
        instance: InstanceId,
        /// What is asked.
        question: Question,
    },
    /// The answer to [`Output::Resolve`].
    Resolved {
        /// Whose name it is.
        remote: RemoteId,
        /// Addresses of both families, in any order.
        result: Result<Vec<IpAddr>, DnsError>,
    },
    /// [`Output::Connect`] succeeded, TLS included where that is used.
    Connected {
        /// Which.
        conn: ConnId,
    },
    /// [`Output::Connect`] failed, or the connection ended: by an error, or since the peer closed its
    /// side. Nothing may be reported of it after this. [`Output::Close`] follows.
    Ended {
        /// Which.
        conn: ConnId,
        /// Why, for the log; `None` if the peer closed.
        why: Option<String>,
    },
    /// Bytes came.
    Received {
        /// Where.
        conn: ConnId,
        /// Any number of them, split anywhere.
        bytes: &'a [u8],
    },
    /// Time has passed: [`Engine::deadline`](super::Engine::deadline) is reached. Only this makes anything
    /// time out, so give what has arrived first.
    Tick,
}

/// Why a name has no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// It has none: `EAI_NONAME`, `EAI_NODATA`, `EAI_FAIL`.
    NoAddress,
    /// Nobody knows now: `EAI_AGAIN`, `EAI_MEMORY`, `EAI_SYSTEM`, and any other.
    Temporary,
}

/// What the edge is to do, in this order, each before it takes the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Find the addresses of a name; answered by [`Input::Resolved`]. No second one is asked for a remote
    /// before the first is answered.
    Resolve {
        /// For the answer.
        remote: RemoteId,
        /// The name.
        host: String,
    },
    /// Open a connection; answered by [`Input::Connected`] or [`Input::Ended`].
    Connect {
        /// Its number from now on.
        conn: ConnId,
        /// Whose, see [`Engine::remote`](super::Engine::remote).
        remote: RemoteId,
        /// TCP address of the directory.
        addr: SocketAddr,
    },
    /// Close it, whether it is open, being opened or has ended. Each [`Output::Connect`] is followed by
    /// exactly one; nothing is to be reported of the connection any more.
    Close {
        /// Which.
        conn: ConnId,
    },
    /// There are bytes to be written ([`Engine::pending`](super::Engine::pending)) where there were none.
    Send {
        /// Where.
        conn: ConnId,
    },
    /// A lookup is answered.
    Answer {
        /// Which.
        token: Token,
        /// With what.
        answer: Answer,
    },
    /// Whatever the kernel knows of a guest is stale.
    Invalidate {
        /// On whose link.
        instance: InstanceId,
        /// The guest.
        mac: MacAddr,
    },
    /// Tell the guests of a link who has an address now: by gratuitous ARP, or by an unsolicited neighbour
    /// advertisement.
    Announce {
        /// On whose link.
        instance: InstanceId,
        /// 802.1Q tag, 0 for none.
        vlan: u16,
        /// Who has it.
        mac: MacAddr,
        /// The address.
        ip: IpAddr,
    },
    /// Routed flows between these subnets are stale. Lengths of prefixes are 128 at most.
    FlushRoutes {
        /// On whose link.
        instance: InstanceId,
        /// Which.
        flows: Route,
    },
    /// The link is degraded, or is so for another reason.
    Degrade {
        /// Whose.
        instance: InstanceId,
        /// For the administrator.
        message: String,
    },
    /// The link is degraded no more.
    Restore {
        /// Whose.
        instance: InstanceId,
    },
    /// For the log.
    Event(Event),
}

/// What a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of [`Question::Vl2`]: the guest's host.
    Vl2(UnderlayAddr),
    /// Of [`Question::Vl2`]: it is the router, whose packets go where their IP addresses say.
    Router,
    /// Of [`Question::Vl3`].
    Vl3 {
        /// Of the guest, or of the router in its place.
        mac: MacAddr,
        /// The guest's host, which the kernel is told before the guest learns `mac`; none for a router.
        at: Option<UnderlayAddr>,
    },
    /// Of [`Question::Route`].
    Route(RouteAnswer),
    /// Nothing: the packet is dropped.
    Drop(Drop),
}

/// How a packet leaves its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteAnswer {
    /// Data centre that it goes to; 0: that of this host.
    pub dcid: u32,
    /// Network that it goes to.
    pub vnet: u32,
    /// 802.1Q tag there.
    pub vlan: u16,
    /// Host of the destination.
    pub at: UnderlayAddr,
    /// Source address of the routed frame.
    pub src_mac: MacAddr,
    /// Destination address of the routed frame.
    pub dst_mac: MacAddr,
}

/// Why a lookup found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Drop {
    /// The directory knows no such guest.
    NotFound,
    /// The directory failed.
    Failed,
    /// The directory named no host, and it is no router that we can stand for.
    NoUnderlay,
    /// The directory says what cannot be of a route.
    Nonsense,
    /// A packet with addresses of two families has no route.
    Mixed,
    /// No connection is active.
    Unreachable,
    /// Connections are active, and all of them speak version 1, in which there are no routes.
    NoRoutes,
    /// As many are outstanding on all connections as there may be.
    Busy,
    /// The connection was lost, and no other was there or that was lost, too.
    Lost,
    /// The instance is not attached, or was detached meanwhile.
    Detached,
}

impl Drop {
    /// Whether the directory said so. Otherwise it may know better.
    pub fn is_known(self) -> bool {
        matches!(self, Drop::NotFound | Drop::NoUnderlay | Drop::Nonsense)
    }
}
