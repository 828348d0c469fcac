// SPDX-License-Identifier: CDDL-1.0
//! What is worth a line in the log.

use super::api::{DnsError, RemoteId};
use std::fmt;
use std::net::SocketAddr;
use svp::{Refusal, Status, Version};

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Usual.
    Info,
    /// Something is wrong, here or elsewhere.
    Warning,
}

/// Something happened to a remote. `Display` says what, without the remote's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// To whom.
    pub remote: RemoteId,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A peer speaks this version and takes questions.
    Active(SocketAddr, Version),
    /// A connection is lost or was not made.
    Lost(SocketAddr, Why),
    /// The name has this address now.
    Joined(SocketAddr),
    /// The name has this address no more.
    Left(SocketAddr),
    /// More addresses than are used.
    TooMany(usize),
    /// The name was not resolved.
    Dns(DnsError),
    /// The directory did not give or remove log entries.
    LogStatus(Status),
    /// Routes are asked for, and no connection speaks the version in which they are. Said once, until one
    /// does.
    NoRoutes,
    /// A batch of log entries is not understood, and not acted on.
    LogRefused(Refusal),
}

/// Why a connection is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// As the edge says.
    Error(String),
    /// The peer closed.
    Closed,
    /// The peer closed in the middle of a message, or what it sent is none.
    Refused(Refusal),
    /// It took too long to connect.
    Connecting,
    /// The peer did not say its version.
    Versioning,
    /// The peer does not answer.
    Silent,
}

impl Event {
    /// How much it matters.
    pub fn level(&self) -> Level {
        match self.what {
            What::Active(..) | What::Joined(_) | What::Left(_) => Level::Info,
            _ => Level::Warning,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Active(addr, v) => write!(f, "{addr}: connected, version {}", v.wire()),
            What::Lost(addr, why) => write!(f, "{addr}: connection lost: {why}"),
            What::Joined(addr) => write!(f, "{addr}: in DNS now"),
            What::Left(addr) => write!(f, "{addr}: in DNS no more"),
            What::TooMany(n) => write!(f, "{n} addresses in DNS are more than are used"),
            What::Dns(DnsError::NoAddress) => f.write_str("the name has no address"),
            What::Dns(DnsError::Temporary) => f.write_str("the name cannot be resolved now"),
            What::NoRoutes => {
                f.write_str("it speaks version 1, which has no routes: routed packets are dropped")
            }
            What::LogStatus(status) => write!(f, "the directory's log: {status}"),
            What::LogRefused(why) => write!(f, "the directory's log is not understood: {why}"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Error(text) => f.write_str(text),
            Why::Closed => f.write_str("closed by the peer"),
            Why::Refused(why) => why.fmt(f),
            Why::Connecting => f.write_str("not connected in time"),
            Why::Versioning => f.write_str("no answer to the first message"),
            Why::Silent => f.write_str("questions are not answered in time"),
        }
    }
}
