// SPDX-License-Identifier: CDDL-1.0
//! What an administrator can change, and why it may be refused.

use crate::net::{Mac, Subnet};
use crate::record::{Host, LogRecord, Network, Port, Route, RouteKey};
use crate::store::Revision;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use thiserror::Error;
use utoipa::ToSchema;
use uuid::Uuid;

/// One change. A line of an export is one of the first five.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// Describes a network.
    Network(Network),
    /// Puts a host, or gives it another underlay address.
    Host(Host),
    /// Puts a port, or changes the one with its network and IP address.
    Port(Port),
    /// Puts a route, or changes the one with its key.
    Route(Route),
    /// A log entry as it was exported. Only when restoring.
    Log(LogRecord),
    /// Moves a guest to another host: the port with an IP address, or all with an Ethernet address.
    Move {
        /// Its network.
        vnet: u32,
        /// By IP address.
        #[serde(default)]
        #[schema(value_type = Option<String>)]
        ip: Option<IpAddr>,
        /// By Ethernet address.
        #[serde(default)]
        #[schema(value_type = Option<String>)]
        mac: Option<Mac>,
        /// Where to.
        host: Uuid,
    },
    /// Forgets the description of a network without ports.
    DeleteNetwork {
        /// Which.
        vnet: u32,
    },
    /// Removes a host without ports, and its log.
    DeleteHost {
        /// Which.
        id: Uuid,
    },
    /// Removes a port.
    DeletePort {
        /// Its network.
        vnet: u32,
        /// Its IP address.
        #[schema(value_type = String)]
        ip: IpAddr,
    },
    /// Removes a route.
    DeleteRoute(RouteKey),
    /// Routes two subnets to each other, both ways. Tags and source Ethernet addresses are those of the
    /// router address that lies in each.
    Attach {
        /// One.
        a: Side,
        /// The other.
        b: Side,
    },
    /// Removes the routes between two subnets, both ways.
    Detach {
        /// One.
        a: SideKey,
        /// The other.
        b: SideKey,
    },
}

/// A subnet that is attached to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// Its network.
    pub vnet: u32,
    /// Its addresses.
    #[schema(value_type = String)]
    pub subnet: Subnet,
    /// Its data centre.
    #[serde(default)]
    pub dcid: u32,
}

/// Which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SideKey {
    /// Its network.
    pub vnet: u32,
    /// Its addresses.
    #[schema(value_type = String)]
    pub subnet: Subnet,
}

impl Side {
    /// Which side this is.
    pub fn key(&self) -> SideKey {
        SideKey { vnet: self.vnet, subnet: self.subnet }
    }
}

impl fmt::Display for SideKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of network {}", self.subnet, self.vnet)
    }
}

/// Changes that are made together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// Takes records as they are, for an import: hosts are not told (the log is part of an export), and
    /// ports may name hosts that are not there.
    #[serde(default)]
    pub restore: bool,
    /// In order.
    pub changes: Vec<Change>,
}

/// What came of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Outcome {
    /// The directory's revision with the changes in it.
    pub revision: Revision,
    /// Records written. 0: everything was as asked for already.
    pub written: usize,
    /// Log entries made for hosts.
    pub logged: usize,
}

/// Why changes were not made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// Nothing by that name.
    #[error("there is no {0}")]
    Missing(String),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// It cannot be.
    #[error("{0}")]
    Invalid(String),
    /// The store did not take it. Nothing was changed.
    #[error("not changed: {0}")]
    Store(String),
    /// The server is going away. Nothing was changed.
    #[error("not changed: the server is stopping")]
    Stopping,
}
