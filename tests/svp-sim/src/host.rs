// SPDX-License-Identifier: CDDL-1.0
//! A host: an engine, and what its outputs come to. For each instance the kernel's cache, and the guests'
//! table of neighbours.

use crate::kernel::Kernel;
use crate::truth::{Key, Said};
use crate::watch::Watch;
use overlay_abi::ids::{MacAddr, UnderlayAddr};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use svp::Uuid;
use svp::log::Route;
use svp::message::{RouteAck, Underlay};
use varpd_svp::engine::{
    Attachment, ConnId, Engine, InstanceId, Question, RemoteKey, RouteAnswer, Time, Token,
};

/// An instance.
pub struct Link {
    pub site: usize,
    pub vnet: u32,
    /// Of its host.
    pub dcid: u32,
    pub oui: Option<[u8; 3]>,
    /// From when on it was told of changes.
    pub since: Time,
    pub kernel: Kernel,
    pub neighbours: BTreeMap<IpAddr, MacAddr>,
    /// As it was last told.
    pub degraded: Option<String>,
    /// When it was last told that these are stale, or who they are.
    pub invalidated: BTreeMap<MacAddr, Time>,
    pub announced: BTreeMap<IpAddr, Time>,
    pub flushed: HashMap<Route, Time>,
}

/// A lookup without an answer.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    pub at: Time,
    pub instance: InstanceId,
    pub key: Key,
    /// The wrong answer, or none that finds something, is an error: nothing is the matter.
    pub must: bool,
}

pub struct Host {
    pub id: Uuid,
    pub underlay: IpAddr,
    pub dcid: u32,
    /// It speaks version 1.
    pub old: bool,
    pub engine: Engine,
    /// How often varpd was started anew.
    pub life: u32,
    pub links: BTreeMap<InstanceId, Link>,
    pub open: BTreeMap<Token, Open>,
    pub wires: BTreeMap<ConnId, usize>,
    pub watch: Watch,
    /// It does nothing before this.
    pub paused: Time,
    /// For which [`Engine::deadline`] there is an event.
    pub deadline: Option<Time>,
    last_instance: u64,
    last_token: u64,
}

impl Link {
    pub fn new(site: usize, vnet: u32, dcid: u32, oui: Option<[u8; 3]>, since: Time) -> Link {
        Link {
            site,
            vnet,
            dcid,
            oui,
            since,
            kernel: Kernel::new(vnet),
            neighbours: BTreeMap::new(),
            degraded: None,
            invalidated: BTreeMap::new(),
            announced: BTreeMap::new(),
            flushed: HashMap::new(),
        }
    }

    /// Who answers for an address of which the directory says this, as guests see it.
    pub fn owner(&self, said: &Said) -> Option<(MacAddr, Option<UnderlayAddr>)> {
        match said {
            Said::Vl3(_, Underlay::NONE) => Some((self.router()?, None)),
            Said::Vl3(mac, at) => Some((*mac, Some(place(at)))),
            _ => None,
        }
    }

    /// The Ethernet address of the network's router.
    pub fn router(&self) -> Option<MacAddr> {
        let [a, b, c] = self.oui?;
        let [_, x, y, z] = self.vnet.to_be_bytes();
        Some(MacAddr([a, b, c, x, y, z]))
    }

    /// What is to become of a packet of which the directory says this.
    pub fn route(&self, said: &Said) -> Option<RouteAnswer> {
        let Said::Route(RouteAck { dcid, vnet, vlan, ul3, src_mac, dst_mac, .. }) = *said else {
            return None;
        };
        let dcid = if dcid == self.dcid { 0 } else { dcid };
        let somewhere = ul3 != Underlay::NONE;
        somewhere.then(|| RouteAnswer { dcid, vnet, vlan, at: place(&ul3), src_mac, dst_mac })
    }
}

pub fn place(at: &Underlay) -> UnderlayAddr {
    UnderlayAddr { ip: at.ip.octets(), port: at.port }
}

impl Host {
    pub fn new(id: Uuid, underlay: IpAddr, (dcid, old): (u32, bool), engine: Engine) -> Host {
        Host {
            id,
            underlay,
            dcid,
            old,
            engine,
            life: 0,
            links: BTreeMap::new(),
            open: BTreeMap::new(),
            wires: BTreeMap::new(),
            watch: Watch::default(),
            paused: Time::ZERO,
            deadline: None,
            last_instance: 0,
            last_token: 0,
        }
    }

    /// All of varpd is gone, and starts anew; links are created again by whoever wants them.
    pub fn restart(&mut self, old: bool, engine: Engine) {
        (self.old, self.engine) = (old, engine);
        self.life += 1;
        self.links.clear();
        self.open.clear();
        self.watch = Watch::default();
        self.deadline = None;
    }

    /// The link of an instance that the engine speaks of.
    pub fn link(&mut self, instance: InstanceId) -> Result<&mut Link, String> {
        let link = self.links.get_mut(&instance);
        link.ok_or_else(|| format!("{instance:?} is spoken of, and is not there"))
    }

    pub fn next_instance(&mut self) -> InstanceId {
        self.last_instance += 1;
        InstanceId(self.last_instance)
    }

    pub fn next_token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    pub fn attachment(&self, link: &Link, name: &str) -> Attachment {
        let remote = RemoteKey {
            host: name.to_owned(),
            port: crate::site::PORT,
            underlay_ip: self.underlay,
            tls: None,
        };
        Attachment { remote, vnet: link.vnet, dcid: link.dcid, router_oui: link.oui }
    }

    pub fn has(&self, site: usize, vnet: u32) -> Option<InstanceId> {
        let found = self.links.iter().find(|(_, l)| l.site == site && l.vnet == vnet);
        found.map(|(id, _)| *id)
    }
}

/// A question as the engine takes it.
pub fn question(key: Key, universe: &crate::truth::Universe) -> Question {
    match key {
        Key::Vl2(_, mac) => Question::Vl2(mac),
        Key::Vl3(_, ip) => Question::Vl3(ip),
        Key::Route(_, n) => {
            let route = &universe.routes[n];
            Question::Route { vlan: route.vlan, src: route.src, dst: route.dst }
        }
    }
}
