// SPDX-License-Identifier: CDDL-1.0
//! portolan, the directory of overlay networks: it tells hosts where guests live, and what has changed.
//!
//! ```text
//!     hosts (svp plugin of varpd)                        administrators (portolanadm, curl, browser)
//!        | SVP over TCP, TLS if wanted                       | HTTP, JSON
//!   serve: accept, limits, drain                         api: handlers, streams, page
//!        | serve::answer                                     | change
//!        |  lookups            LOG_RM                        |
//!        v                       v                           v
//!   directory --read--> index    queue -----> writer: plan --> store --> apply to index
//! ```
//!
//! | module | job |
//! |---|---|
//! | [`serve`] | connections of hosts: bytes to requests to answers, within limits |
//! | [`index`] | everything in memory, arranged for lookups |
//! | [`directory`] | readers, the one writer, watchers |
//! | [`plan`] | what a change writes, and which hosts are told |
//! | [`store`] | the narrow interface to what keeps it; a file (redb), memory |
//! | [`record`], [`net`], [`moray`] | the data as values, JSON, bytes, and in the original's form |
//! | [`api`] | administration over HTTP |
//! | [`adm`] | portolanadm |
//! | [`run`], [`args`], [`notify`], [`metrics`] | the process |
//!
//! # Vocabulary
//!
//! * *network* or *vnet*: a virtual network, by number.
//! * *host*: what carries guests ("CN" in the original); its *underlay* address takes encapsulated packets.
//! * *router*: an address of a network to which guests send what is for other networks. Nobody carries it: the
//!   hosts of the guests route themselves.
//! * *route*: where packets go that leave a network. *Attachment*: two routes that lead to each other.
//! * *port*: a guest's address in a network, or a router's. Its IP address is the key; several ports may have one Ethernet
//!   address, and the last changed of those says where that address is.
//! * *log*: what a host is to be told. Entries are made with the change they tell of, in one transaction,
//!   and stay until the host removes them.
//! * *revision*: the number of transactions so far.
//!
//! # Invariants
//!
//! * What was acknowledged is on disk, with its log entries. What was not acknowledged is there whole or not
//!   at all.
//! * Lookups are answered from memory; they wait for no disk and for no commit.
//! * A change that matters to a host that may have kept an old answer has an entry in that host's log.
//! * Nothing that a peer sends does more than end its own connection, and no peer makes us keep more than
//!   its limits for it.
//! * A store that is not understood is left as it is.
//!
//! The protocol is svp.md; the differences from the original are in portolan(8).

pub mod adm;
pub mod api;
pub mod args;
pub mod change;
pub mod directory;
pub mod index;
pub mod metrics;
pub mod moray;
pub mod net;
pub mod notify;
pub mod plan;
pub mod record;
pub mod run;
pub mod serve;
pub mod store;
