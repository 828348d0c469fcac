// SPDX-License-Identifier: CDDL-1.0
//! What uses a VNIC as its network card.
//!
//! ```text
//!   Guests ---- smol::Guest --- vnic::Cable ---+
//!        \                                     +--- fakekernel's client of a VNIC
//!         \---- tap::Tap ----------------------+
//! ```
//!
//! A VNIC has one guest at most, and while it has one it cannot be deleted. The table's lock is
//! held over opening and closing a VNIC, so that of two who want it one gets it.

pub mod smol;
pub mod stream;
mod tap;
mod vnic;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use fakekernel::net;
use fakekernel::net::client::Client;
use fkadm::proto::{self, Attach, AttachTap, Done, GuestKind};
use overlay_abi::errno::Errno;
use overlay_abi::ids::MacAddr;

use crate::ip::Ip;
use crate::links::lock;

/// The guests, by the link id of their VNIC.
pub struct Guests {
    ip: Arc<Ip>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    closed: bool,
    guests: BTreeMap<u32, Attached>,
}

struct Attached {
    link: String,
    mac: MacAddr,
    addresses: Vec<String>,
    backend: Backend,
}

enum Backend {
    Internal(Arc<smol::Guest>),
    Tap(tap::Tap),
}

impl Attached {
    fn show(&self, linkid: u32) -> proto::Guest {
        let kind = match &self.backend {
            Backend::Internal(g) => {
                let s = g.streams();
                GuestKind::Internal {
                    streams_intact: s.intact,
                    streams_bad: s.bad,
                    stream_bytes: s.bytes,
                }
            }
            Backend::Tap(t) => {
                GuestKind::Tap { device: t.device().into(), netns: t.netns().map(Into::into) }
            }
        };
        proto::Guest {
            link: self.link.clone(),
            linkid,
            mac: self.mac.to_string(),
            addresses: self.addresses.clone(),
            kind,
        }
    }
}

impl Guests {
    /// No guests on a host with this IP.
    pub fn new(ip: Arc<Ip>) -> Guests {
        Guests { ip, table: Mutex::default() }
    }

    /// Gives a VNIC (id and name) to a host inside the process, in a zone of its own if one is named.
    pub fn attach(&self, (id, link): (u32, String), how: Attach) -> Result<proto::Guest, String> {
        let Attach { link: _, addresses: given, zone, routers } = how;
        let name = link.clone();
        let addresses = given.iter().map(|a| parse_address(a)).collect::<Result<Vec<_>, _>>()?;
        self.insert(id, link, given, |client| {
            let (mac, mtu) = (client.mac(), client.mtu() as usize);
            let settings = smol::Settings { mac, mtu, addresses, routers };
            let plumbed = self.ip.plumb(&name, zone.as_deref(), mac, &settings.addresses)?;
            Ok(Backend::Internal(Arc::new(vnic::start(settings, client, plumbed)?)))
        })
    }

    /// Gives a VNIC to a TAP device.
    pub fn attach_tap(
        &self,
        (id, link): (u32, String),
        how: AttachTap,
    ) -> Result<proto::Guest, String> {
        let parsed =
            how.addresses.iter().map(|a| parse_address(a)).collect::<Result<Vec<_>, _>>()?;
        let addresses = how.addresses;
        let name = link.clone();
        self.insert(id, link, addresses, |client| {
            let plumbed = self.ip.plumb(&name, None, client.mac(), &parsed)?;
            let (device, netns) = (how.tap.as_deref(), how.netns.as_deref());
            let tap = tap::Tap::start(device, netns, &parsed, client, plumbed)?;
            Ok(Backend::Tap(tap))
        })
    }

    fn insert(
        &self,
        id: u32,
        link: String,
        addresses: Vec<String>,
        start: impl FnOnce(Client) -> Result<Backend, String>,
    ) -> Result<proto::Guest, String> {
        let mut table = lock(&self.table);
        if table.closed {
            return Err("fakekerneld is ending".into());
        }
        if table.guests.contains_key(&id) {
            return Err(format!(
                "{link} has a guest already; take it away with: guest detach {link}"
            ));
        }
        match net::links().iter().find(|l| l.linkid == id) {
            None => return Err(format!("{link}: there is no such link")),
            Some(l) if l.over.is_none() => {
                return Err(format!(
                    "{link} is no VNIC; make one over it with: dladm create-vnic -l {link}"
                ));
            }
            Some(_) => {}
        }
        let client = Client::open(id).map_err(|e| format!("{link}: {}", Errno(e)))?;
        let mac = MacAddr(client.mac());
        let attached = Attached { link, mac, addresses, backend: start(client)? };
        let shown = attached.show(id);
        table.guests.insert(id, attached);
        Ok(shown)
    }

    /// Takes a VNIC from its guest. When this returns the VNIC can be deleted.
    pub fn detach(&self, id: u32, link: &str) -> Result<Done, String> {
        let mut table = lock(&self.table);
        let attached = table.guests.remove(&id).ok_or_else(|| no_guest(link))?;
        attached.stop();
        Ok(Done {})
    }

    /// All guests.
    pub fn list(&self) -> Vec<proto::Guest> {
        lock(&self.table).guests.iter().map(|(&id, g)| g.show(id)).collect()
    }

    /// The host inside the process on a VNIC.
    pub fn internal(&self, id: u32, link: &str) -> Result<Arc<smol::Guest>, String> {
        match lock(&self.table).guests.get(&id).map(|g| &g.backend) {
            Some(Backend::Internal(guest)) => Ok(Arc::clone(guest)),
            Some(Backend::Tap(t)) => Err(format!(
                "the guest of {link} is the TAP device {}: use this machine's own programs on it",
                t.device()
            )),
            None => Err(no_guest(link)),
        }
    }

    /// Detaches all, and refuses to attach any more.
    pub fn close(&self) {
        let mut table = lock(&self.table);
        table.closed = true;
        std::mem::take(&mut table.guests).into_values().for_each(Attached::stop);
    }
}

impl Attached {
    fn stop(self) {
        match self.backend {
            // Others may hold it, waiting for a ping; this fails that and closes the VNIC.
            Backend::Internal(guest) => guest.stop(),
            Backend::Tap(tap) => drop(tap),
        }
    }
}

fn no_guest(link: &str) -> String {
    format!("{link} has no guest; give it one with: guest attach {link} ADDRESS/PREFIX")
}

/// `10.0.0.1/24`, `fd00::1/64`. The error is a sentence.
fn parse_address(s: &str) -> Result<(IpAddr, u8), String> {
    let parsed = s.split_once('/').and_then(|(address, prefix)| {
        let address: IpAddr = address.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= most && !address.is_unspecified() && !address.is_multicast())
            .then_some((address, prefix))
    });
    parsed.ok_or_else(|| {
        let such = "such as 10.0.0.1/24 or fd00::1/64";
        format!("{s:?} is not an address with the length of its prefix, {such}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(parse_address("10.0.0.1/24"), Ok((IpAddr::from([10, 0, 0, 1]), 24)));
        assert!(parse_address("fd00::1/128").is_ok());
        for bad in [
            "",
            "10.0.0.1",
            "10.0.0.1/33",
            "fd00::1/129",
            "/24",
            "10.0.0.1/",
            "10.0.0.1/x",
            "0.0.0.0/0",
            "224.0.0.1/4",
        ] {
            assert!(parse_address(bad).is_err(), "{bad}");
        }
    }
}
