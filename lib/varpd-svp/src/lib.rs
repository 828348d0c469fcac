// SPDX-License-Identifier: CDDL-1.0
//! The svp lookup plugin: asks a directory where a guest is, and is told when that changes.
//!
//! ```text
//!   varpd ==vpo_*==> Svp --Command--> edge: one thread ==TCP, TLS==> directory (portolan)
//!                     |                 |  ^  \
//!                   config         Input|  |Output `--> names: a thread for each getaddrinfo
//!                 (properties)          v  |
//!                                     engine                  no I/O, no threads, no clock
//!                                       |
//!          answers, invalidations, announcements, degradation ==libvarpd_*==> varpd
//! ```
//!
//! All instances of a process share one edge and one engine, so that those with the same directory
//! share its connections. The specification is `spec/svp.md`; the messages are crate `svp`.
//!
//! # Routes
//!
//! Where varpd, the kernel and the directory all speak version 2, packets for the router of a network go by routes,
//! which the directory knows. The router is nobody's machine: `svp/router_oui` and the number of the network make its
//! Ethernet address. Guests are told it when they ask for an address that the directory calls a router's, and the kernel
//! when it asks where that Ethernet address is. An answer of a route names a guest and its host. When that guest moves
//! the directory's log says that flows to it are stale, as it does when a route changes: so nothing need be kept here of
//! what was answered.
//!
//! # Vocabulary
//!
//! * *directory*: the server, portolan; *remote*: a directory under one name and port, asked for one
//!   underlay address. It has a *connection* to each address of its name.
//! * *question*, *answer*: what a lookup of varpd becomes, and what becomes of it.
//! * *token*: the number of a question between edge and engine.
//! * *flow*: routed packets from one address to another.
//! * *early*: said of a question that came soon after its instance started, and waits for the first connection.
//!
//! # Locks
//!
//! `Svp::state`, and the one that finds the process' edge: leaves. The edge has none: one thread owns engine,
//! sockets and open questions, and gets everything by messages. So what the engine says is done in the
//! order in which it says it: an answer that was stale when it came is never given after the word that it
//! is stale. That thread waits for nobody but the system calls and ioctls that it makes; others wait for it, to stop an
//! instance, and when they tell it more than it keeps up with.
//!
//! # Invariants
//!
//! * A lookup is answered once: whoever holds it answers it, and if it is let go of it is a drop.
//! * After `stop` nothing more is said of an instance: `stop` waits for the edge to let go of it.
//! * Nothing a directory or a resolver says or does not say ends the process or holds up a lookup for ever;
//!   what is kept for them is bounded.

mod config;
mod edge;
pub mod engine;

pub use config::Config;

use edge::{Edge, LOG};
use engine::{Attachment, InstanceId, Question};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{MacAddr, mapped};
use overlay_abi::target::{OVERLAY_PLUGIN_D_IP, OVERLAY_PLUGIN_D_PORT};
use std::ffi::CStr;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use varpd_plugin::{
    ArpReply, Dynamic, NvList, Plugin, Prop, Provider, Query, RouteQuery, Routed, is_routed,
};

const ETHERTYPE_ARP: u32 = 0x0806;
const ETHERTYPE_IPV6: u32 = 0x86dd;
/// How Ethernet addresses of IPv6 multicast groups begin (RFC 2464 7).
const IPV6_MULTICAST: [u8; 2] = [0x33, 0x33];

/// An instance.
#[derive(Debug)]
pub struct Svp {
    provider: Provider,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    config: Config,
    /// While started.
    attached: Option<Attached>,
}

/// Where an instance is attached.
#[derive(Clone, Debug)]
struct Attached {
    edge: Arc<Edge>,
    instance: InstanceId,
}

varpd_plugin::plugin!(routed: Svp);

impl Svp {
    /// `ENOTSUP` unless destinations are an IP address and a port.
    fn new(provider: Provider, dest: u32, config: Config) -> Result<Svp, Errno> {
        if dest != OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT {
            return Err(Errno::ENOTSUP);
        }
        Ok(Svp { provider, state: Mutex::new(State { config, attached: None }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attached(&self) -> Option<Attached> {
        self.state().attached.clone()
    }

    /// What the instance is to the engine. `EAGAIN`, with a line in the log, if a property is missing.
    fn attachment(&self, config: &Config) -> Result<Attachment, Errno> {
        let remote = config.remote().map_err(|missing| {
            slog::warn!(LOG, "an instance cannot start: {missing}"; "vnet" => self.provider.vnetid().0);
            Errno::EAGAIN
        })?;
        if let Some(files) = &remote.tls {
            edge::tls::check(files, &remote.host).map_err(|why| {
                slog::error!(LOG, "TLS: {why}"; "host" => &remote.host);
                Errno::EINVAL
            })?;
        }
        // There are no more bits of it in a message, and no more than 24 in VXLAN.
        let vnet = u32::try_from(self.provider.vnetid().0).map_err(|_| Errno::EINVAL)?;
        let dcid = self.dcid(config)?;
        Ok(Attachment { remote, vnet, dcid, router_oui: config.router_oui() })
    }

    /// The directory and the kernel must mean the same by "here": `EINVAL`, with a line in the log, if they
    /// do not.
    fn dcid(&self, config: &Config) -> Result<u32, Errno> {
        match (config.dcid(), self.provider.dcid()) {
            (Some(ours), links) if links != 0 && ours != links => {
                slog::error!(LOG, "svp/dcid is {ours}, and the data centre of the link is {links}: \
                    set it to that, or create the overlay with -d {ours}";
                    "vnet" => self.provider.vnetid().0);
                Err(Errno::EINVAL)
            }
            (ours, links) => Ok(ours.unwrap_or(links)),
        }
    }
}

impl Plugin for Svp {
    const NAME: &'static CStr = c"svp";

    fn create(provider: Provider, dest: u32) -> Result<Self, Errno> {
        Svp::new(provider, dest, Config::default())
    }

    fn start(&self) -> Result<(), Errno> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        static NO_ROUTES: Once = Once::new();
        if !is_routed() {
            NO_ROUTES.call_once(|| slog::info!(LOG, "this varpd has no routes: nothing is routed"));
        }
        let mut state = self.state();
        let with = self.attachment(&state.config)?;
        let edge = Edge::of_process().map_err(|e| {
            slog::error!(LOG, "cannot start: {e}");
            Errno::from_host(e.raw_os_error().unwrap_or(libc::EIO))
        })?;
        let instance = InstanceId(LAST.fetch_add(1, Ordering::Relaxed));
        edge.attach(instance, self.provider, with);
        state.attached = Some(Attached { edge, instance });
        Ok(())
    }

    fn stop(&self) {
        let attached = self.state().attached.take();
        if let Some(Attached { edge, instance }) = attached {
            edge.detach(instance);
        }
    }

    fn nprops(&self) -> u32 {
        Config::count()
    }

    fn propinfo(&self, id: u32, prop: &mut Prop<'_>) -> Result<(), Errno> {
        Config::describe(id, prop, is_routed())
    }

    fn getprop(&self, name: &str, buf: &mut [u8]) -> Result<u32, Errno> {
        self.state().config.get(name, buf, is_routed())
    }

    /// While started, the instance goes over to the directory that it has now.
    fn setprop(&self, name: &str, value: &[u8]) -> Result<(), Errno> {
        let mut state = self.state();
        let mut config = state.config.clone();
        config.set(name, value)?;
        if let Some(Attached { edge, instance }) = &state.attached {
            edge.attach(*instance, self.provider, self.attachment(&config)?);
        }
        state.config = config;
        Ok(())
    }

    fn save(&self, list: &mut NvList<'_>) -> Result<(), Errno> {
        self.state().config.save(list)
    }

    fn restore(list: &NvList<'_>, provider: Provider, dest: u32) -> Result<Self, Errno> {
        Svp::new(provider, dest, Config::restore(list)?)
    }

    fn report(&self) -> Option<String> {
        let Attached { edge, instance } = self.attached()?;
        serde_json::to_string(&edge.status(instance)?).ok()
    }
}

impl Dynamic for Svp {
    fn lookup(&self, query: Query) {
        let request = query.request();
        let dst = MacAddr(request.otl_dstaddr);
        match request.otl_sap {
            ETHERTYPE_ARP => query.proxy_arp(),
            ETHERTYPE_IPV6 if dst.0.starts_with(&IPV6_MULTICAST) => query.proxy_ndp(),
            // Nobody is where everybody is: the frame is dropped.
            _ if dst.is_multicast() => {}
            _ => {
                if let Some(Attached { edge, instance }) = self.attached() {
                    edge.look_up(instance, Question::Vl2(dst), query.into());
                }
            }
        }
    }

    fn arp(&self, reply: ArpReply, addr: IpAddr) {
        if let Some(Attached { edge, instance }) = self.attached() {
            edge.look_up(instance, Question::Vl3(addr), (reply, self.provider).into());
        }
    }
}

impl Routed for Svp {
    fn route(&self, query: RouteQuery) {
        if let Some(Attached { edge, instance }) = self.attached() {
            let [src, dst] = [query.src(), query.dst()].map(|ip| Ipv6Addr::from(mapped(ip)));
            let question = Question::Route { vlan: query.vlan(), src, dst };
            edge.look_up(instance, question, query.into());
        }
    }
}
