// SPDX-License-Identifier: CDDL-1.0
//! Whose links and interfaces are meant: illumos', a simulated host's, or this Linux machine's.

use super::{Error, Source, dlpi};
use ::dlpi::Node;
use devctl::Root;
use std::path::Path;

/// A host, and a zone of it.
#[derive(Debug)]
pub struct Place<'a> {
    host: Host,
    /// `None`: the zone of the program.
    zone: Option<&'a str>,
}

#[derive(Debug)]
enum Host {
    /// Has DLPI: illumos, or a simulated host.
    Root(Root),
    /// Linux.
    #[cfg(not(target_os = "illumos"))]
    Machine,
}

impl<'a> Place<'a> {
    /// The host at a root directory, if there is one, else this machine.
    #[must_use]
    pub fn new(root: Option<&Path>, zone: Option<&'a str>) -> Place<'a> {
        let root = root.filter(|dir| !dir.as_os_str().is_empty());
        #[cfg(not(target_os = "illumos"))]
        if root.is_none() {
            return Place { host: Host::Machine, zone };
        }
        Place { host: Host::Root(Root::from_env_or(root.map(Path::to_owned))), zone }
    }

    /// Starts to watch a link. `lo0` is what IP loops back on any interface; that of another zone
    /// is as its ipnet has it.
    ///
    /// # Errors
    /// It is not there, or may not be watched.
    pub fn link(&self, name: &str, promiscuous: bool) -> Result<Box<dyn Source>, Error> {
        match &self.host {
            #[cfg(not(target_os = "illumos"))]
            Host::Machine => {
                let layer = super::machine::Layer::Link { promiscuous };
                super::machine::interface(name, layer, self.zone)
            }
            #[cfg(not(target_os = "illumos"))]
            Host::Root(root) if name != "lo0" => super::simulated::link(root, self.zone, name),
            Host::Root(_) if name == "lo0" && self.zone.is_some() => {
                self.interface(name, promiscuous)
            }
            Host::Root(root) => {
                dlpi::node(root, Node::Link { zone: self.zone, link: name }, promiscuous)
            }
        }
    }

    /// Starts to watch an IP interface.
    ///
    /// # Errors
    /// It is not there, or may not be watched.
    pub fn interface(&self, name: &str, promiscuous: bool) -> Result<Box<dyn Source>, Error> {
        match &self.host {
            #[cfg(not(target_os = "illumos"))]
            Host::Machine => super::machine::interface(name, super::machine::Layer::Ip, self.zone),
            Host::Root(root) => {
                let node = Node::Ipnet { zone: self.zone, interface: name };
                dlpi::node(root, node, promiscuous)
            }
        }
    }
}
