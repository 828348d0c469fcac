// SPDX-License-Identifier: CDDL-1.0
//! Watching data links and IP interfaces by DLPI version 2, the messages of `<sys/dlpi.h>`.
//!
//! ```text
//!    Dlpi::open      open(2) of /dev/net/LINK, /dev/ipnet/IF, /dev/ipnet/zone/ZONE/IF
//!    Dlpi::watch     DL_INFO_REQ ... DL_BIND_REQ ... DL_PROMISCON_REQ ... each answered by an ack
//!    Dlpi::next      M_DATA: a packet, with its header
//! ```
//!
//! The boundary is the device: on illumos the kernel's, elsewhere that of a simulated host; [`devctl`]
//! knows which. So there is one implementation, which needs of libdlpi nothing but the names of nodes.
//!
//! # Vocabulary
//!
//! * *primitive*: what a message asks or answers, its first 32 bits ([`wire`]).
//! * *ack*: the answer to a primitive: an acknowledgement of its own kind, `DL_OK_ACK`, or
//!   `DL_ERROR_ACK` with a number of DLPI and, if that is "the system", an errno.
//! * *SAP*: which packets of a link are meant; 0 are all once a link is promiscuous for SAPs.
//!
//! # Invariants
//!
//! * One question at a time, answered before the next: packets that come between are thrown away, as
//!   watching begins when all is set up.
//! * What a driver answers is checked for its length before it is looked at.

pub mod wire;

use devctl::{FLUSH_READ, Got, Message, OpenFlags, Root, Stream};
use overlay_abi::errno::Errno;
use std::time::{Duration, Instant};
use wire::{Ack, Level};

pub use wire::Stamp;

/// How long a driver may take to answer.
const ANSWER: Duration = Duration::from_secs(15);
/// `DLIOCRAW`: packets are M_DATA, with the header of the link.
const DLIOCRAW: u32 = 0x4401;
/// `DLIOCIPNETINFO`: packets of ipnet have its header (1), and a record in front of that (2).
const DLIOCIPNETINFO: u32 = 0x4404;
/// `DL_IPNET`, the link type of ipnet.
pub const DL_IPNET: u32 = 0x8000_0005;
/// `DL_ETHER`, Ethernet.
pub const DL_ETHER: u32 = 4;

/// Why a link cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node.
    #[error("{0}")]
    Open(#[from] devctl::Error),
    /// The driver refuses.
    #[error("{what} is refused: {why}")]
    Refused {
        /// The primitive.
        what: &'static str,
        /// Its reason.
        why: wire::Refusal,
    },
    /// The driver answers something else, or nothing.
    #[error("the driver does not answer {0} as DLPI says")]
    Answer(&'static str),
    /// The stream.
    #[error("{0}: {1}")]
    Stream(&'static str, Errno),
    /// The interface went meanwhile, or this zone sees it no more.
    #[error("the interface went down or away")]
    Gone,
}

/// An answer to `what` that is none, or an error.
fn unfit(what: &'static str, error: Option<Errno>) -> Error {
    match error {
        Some(Errno::ENXIO) => Error::Gone,
        Some(e) => Error::Stream(what, e),
        None => Error::Answer(what),
    }
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node<'a> {
    /// A data link, `/dev/net/LINK`; `lo0` is what IP loops back on any interface, `/dev/lo0`.
    Link {
        /// Another zone than the caller's, which then must be the global one.
        zone: Option<&'a str>,
        /// Its name.
        link: &'a str,
    },
    /// An IP interface as ipnet has it, in the caller's zone or, for the global zone, in another.
    Ipnet {
        /// The other zone.
        zone: Option<&'a str>,
        /// Its name.
        interface: &'a str,
    },
}

impl Node<'_> {
    fn path(&self) -> String {
        match self {
            Node::Link { zone: None, link: "lo0" } => "/dev/lo0".into(),
            Node::Link { zone: None, link } => format!("/dev/net/{link}"),
            Node::Link { zone: Some(zone), link } => format!("/dev/net/zone/{zone}/{link}"),
            Node::Ipnet { zone: None, interface } => format!("/dev/ipnet/{interface}"),
            Node::Ipnet { zone: Some(zone), interface } => {
                format!("/dev/ipnet/zone/{zone}/{interface}")
            }
        }
    }
}

/// What a wait for a packet ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A packet, with its header, and what the driver says of it, if it does.
    Packet(Vec<u8>, Option<Stamp>),
    /// None came.
    Nothing,
    /// The interface is gone, or this zone sees it no more.
    Gone,
}

/// A link or interface that is open.
#[derive(Debug)]
pub struct Dlpi {
    stream: Stream,
    /// `DL_IPNET` or the like, as the driver says.
    mac_type: u32,
    /// Each packet begins with a record.
    stamps: bool,
}

impl Dlpi {
    /// Opens a node of the host at `root`, and asks what it is.
    ///
    /// # Errors
    /// There is no such node, or no permission for it (on illumos it takes the privilege
    /// `net_observability` for ipnet, `net_rawaccess` for a link); the driver is not one of DLPI.
    pub fn open(root: &Root, node: Node<'_>) -> Result<Dlpi, Error> {
        let stream = Stream::open(root, node.path(), OpenFlags::RDWR)?;
        let mut dlpi = Dlpi { stream, mac_type: 0, stamps: false };
        match dlpi.ask("DL_INFO_REQ", &wire::info())? {
            Ack::Info { mac_type } => dlpi.mac_type = mac_type,
            _ => return Err(Error::Answer("DL_INFO_REQ")),
        }
        Ok(dlpi)
    }

    /// The type of link, such as [`DL_ETHER`] or [`DL_IPNET`].
    #[must_use]
    pub fn mac_type(&self) -> u32 {
        self.mac_type
    }

    /// Whether the driver says of each packet when it was seen and what was lost before.
    #[must_use]
    pub fn stamps(&self) -> bool {
        self.stamps
    }

    /// Begins to see all packets: with the header of the link or of ipnet, whatever their SAP, and, if
    /// `promiscuous`, whomever they are for. A driver that can says of each when it was seen.
    ///
    /// # Errors
    /// The driver refuses, or the interface went.
    pub fn watch(&mut self, promiscuous: bool) -> Result<(), Error> {
        let ipnet = self.mac_type == DL_IPNET;
        let raw = self.stream.str_ioctl(DLIOCRAW, &mut Vec::new());
        // ipnet takes it for nothing, and takes it in the other form only.
        if !ipnet {
            raw.map_err(|e| Error::Stream("DLIOCRAW", e))?;
        }
        if ipnet {
            self.stamps = match self.ipnetinfo(2) {
                Ok(2) => true,
                // The original knows no record.
                Err(Errno::EINVAL) => match self.ipnetinfo(1) {
                    Ok(1) => false,
                    other => return Err(unfit("DLIOCIPNETINFO", other.err())),
                },
                other => return Err(unfit("DLIOCIPNETINFO", other.err())),
            };
        }
        match self.ask("DL_BIND_REQ", &wire::bind(0))? {
            Ack::Bind => {}
            _ => return Err(Error::Answer("DL_BIND_REQ")),
        }
        self.see(Level::Sap)?;
        if promiscuous {
            self.see(Level::Phys)?;
        } else {
            self.see(Level::Multi)?;
        }
        // From before all this was set.
        self.stream.flush(FLUSH_READ).map_err(|e| unfit("I_FLUSH", Some(e)))
    }

    /// Has packets begin with so much; what the driver returns.
    fn ipnetinfo(&self, mut what: i32) -> Result<i32, Errno> {
        let arg = std::ptr::from_mut(&mut what).cast();
        // SAFETY: this ioctl reads the 4 bytes of `what`.
        unsafe { self.stream.ioctl(DLIOCIPNETINFO, arg) }
    }

    fn see(&self, level: Level) -> Result<(), Error> {
        match self.ask("DL_PROMISCON_REQ", &wire::promiscuous(level))? {
            Ack::Ok => Ok(()),
            _ => Err(Error::Answer("DL_PROMISCON_REQ")),
        }
    }

    /// Sends a primitive and waits for its ack.
    fn ask(&self, what: &'static str, request: &[u8]) -> Result<Ack, Error> {
        let wrong = |e| unfit(what, Some(e));
        let message = Message { high: false, control: Some(request.to_vec()), data: None };
        self.stream.putmsg(&message).map_err(wrong)?;
        let until = Instant::now() + ANSWER;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.stream.getmsg(Some(left)).map_err(wrong)? {
                Got::Message(Message { control: Some(control), .. }) => {
                    return match wire::ack(&control).ok_or(Error::Answer(what))? {
                        Ack::Refused(why) => Err(Error::Refused { what, why }),
                        ack => Ok(ack),
                    };
                }
                Got::Message(_) => {}
                Got::Hangup => return Err(Error::Gone),
                Got::Nothing => return Err(Error::Answer(what)),
            }
        }
    }

    /// The next packet, waiting for it no longer than `patience`.
    ///
    /// # Errors
    /// What the driver set for the stream, or EIO when the kernel is gone; a packet is not what the
    /// driver said it would be.
    pub fn next(&self, patience: Duration) -> Result<Next, Error> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.stream.getmsg(Some(left)).map_err(|e| Error::Stream("getmsg", e))? {
                Got::Message(Message { control: None, data: Some(packet), .. }) => {
                    if !self.stamps {
                        return Ok(Next::Packet(packet, None));
                    }
                    let (stamp, packet) =
                        wire::stamp(&packet).ok_or(Error::Answer("DLIOCIPNETINFO"))?;
                    return Ok(Next::Packet(packet.to_vec(), Some(stamp)));
                }
                // Notes of the driver.
                Got::Message(_) => {}
                Got::Nothing => return Ok(Next::Nothing),
                Got::Hangup => return Ok(Next::Gone),
            }
        }
    }
}
