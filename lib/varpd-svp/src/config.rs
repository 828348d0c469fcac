// SPDX-License-Identifier: CDDL-1.0
//! The properties of an instance: what they may be, how they are told, saved and restored. No I/O.
//!
//! | property | type | range, default | saved as |
//! |---|---|---|---|
//! | `svp/host` | STRING | name or address of the directory | string |
//! | `svp/port` | UINT | 1-65535, 1296 | uint16 |
//! | `svp/underlay_ip` | IP | of this host, what the directory knows it by | string, IPv6 text |
//! | `svp/underlay_port` | UINT | 1-65535, 1339 | uint16 |
//! | `svp/dcid` | UINT | 1-4294967294 | uint32 |
//! | `svp/router_oui` | ETHER | its last three bytes are taken as 0 | string |
//! | `svp/tls_ca` | STRING | file (PEM) with the authorities that the directory's certificate must be of | string |
//! | `svp/tls_cert`, `svp/tls_key` | STRING | files (PEM) with the certificate that this host shows | string |
//!
//! Spec/svp.md 4. Version 1 of the interface has no type for Ethernet addresses: with a varpd that has only that
//! `svp/router_oui` is of STRING. Set it may be in either form. The first four are required, and so marked; the others
//! are not.
use overlay_abi::errno::Errno;
use overlay_abi::ids::{MacAddr, mapped, unmapped};
use overlay_abi::props::*;
use std::ffi::CStr;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use varpd_plugin::{NvList, Prop};

use crate::engine::{RemoteKey, TlsFiles};

/// A property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Host,
    Port,
    UnderlayIp,
    UnderlayPort,
    Dcid,
    RouterOui,
    TlsCa,
    TlsCert,
    TlsKey,
}

/// All, in the order of their ids.
const ALL: [(Name, &CStr); 9] = [
    (Name::Host, c"svp/host"),
    (Name::Port, c"svp/port"),
    (Name::UnderlayIp, c"svp/underlay_ip"),
    (Name::UnderlayPort, c"svp/underlay_port"),
    (Name::Dcid, c"svp/dcid"),
    (Name::RouterOui, c"svp/router_oui"),
    (Name::TlsCa, c"svp/tls_ca"),
    (Name::TlsCert, c"svp/tls_cert"),
    (Name::TlsKey, c"svp/tls_key"),
];

/// Where directories answer.
const PORT: u16 = 1296;
/// Where hosts of such an overlay get its packets.
const UNDERLAY_PORT: u16 = 1339;
/// Longest text in bytes.
const TEXT_MAX: usize = 255;
/// Largest number of a data centre.
const DCID_MAX: u32 = u32::MAX - 1;

/// The properties of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    host: Option<String>,
    port: u16,
    underlay_ip: Option<IpAddr>,
    underlay_port: u16,
    dcid: Option<u32>,
    router_oui: Option<[u8; 3]>,
    tls_ca: Option<String>,
    tls_cert: Option<String>,
    tls_key: Option<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            host: None,
            port: PORT,
            underlay_ip: None,
            underlay_port: UNDERLAY_PORT,
            dcid: None,
            router_oui: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
        }
    }
}

/// What an instance lacks to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not set")]
pub struct Missing(pub &'static str);

impl Config {
    /// The directory, and how it is spoken to.
    pub fn remote(&self) -> Result<RemoteKey, Missing> {
        Ok(RemoteKey {
            host: self.host.clone().ok_or(Missing("svp/host"))?,
            port: self.port,
            underlay_ip: self.underlay_ip.ok_or(Missing("svp/underlay_ip"))?,
            tls: self.tls()?,
        })
    }

    /// The files for TLS, if it is used.
    fn tls(&self) -> Result<Option<TlsFiles>, Missing> {
        let identity = match (&self.tls_cert, &self.tls_key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
            (None, Some(_)) => return Err(Missing("svp/tls_cert")),
            (Some(_), None) => return Err(Missing("svp/tls_key")),
        };
        match &self.tls_ca {
            Some(ca) => Ok(Some(TlsFiles { ca: ca.into(), identity })),
            None if identity.is_some() => Err(Missing("svp/tls_ca")),
            None => Ok(None),
        }
    }

    /// The number of the host's data centre.
    pub fn dcid(&self) -> Option<u32> {
        self.dcid
    }

    /// The first three bytes of a router's Ethernet address.
    pub fn router_oui(&self) -> Option<[u8; 3]> {
        self.router_oui
    }

    /// How many properties there are.
    pub fn count() -> u32 {
        ALL.len() as u32
    }

    /// Describes the property with this id; `ether`: there is a type for Ethernet addresses. `EINVAL` if
    /// there is none.
    pub fn describe(id: u32, prop: &mut Prop<'_>, ether: bool) -> Result<(), Errno> {
        let (name, text) =
            usize::try_from(id).ok().and_then(|id| ALL.get(id)).ok_or(Errno::EINVAL)?;
        let kind = match name {
            Name::Port | Name::UnderlayPort | Name::Dcid => OVERLAY_PROP_T_UINT,
            Name::UnderlayIp => OVERLAY_PROP_T_IP,
            Name::RouterOui if ether => OVERLAY_PROP_T_ETHER,
            _ => OVERLAY_PROP_T_STRING,
        };
        let required =
            matches!(name, Name::Host | Name::Port | Name::UnderlayIp | Name::UnderlayPort);
        let prot = if required { OVERLAY_PROP_PERM_RRW } else { OVERLAY_PROP_PERM_RW };
        prop.describe(text, kind, prot);
        match name {
            Name::Port | Name::UnderlayPort => {
                let default = if *name == Name::Port { PORT } else { UNDERLAY_PORT };
                prop.range(1, u16::MAX.into());
                prop.default(&u64::from(default).to_ne_bytes())
            }
            Name::Dcid => {
                prop.range(1, DCID_MAX);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Puts the value of a property in `buf`; its size, 0 if it is not set. `ether` as in
    /// [`Config::describe`].
    ///
    /// # Errors
    /// `EINVAL`: no such property; `EOVERFLOW`: `buf` is too short.
    pub fn get(&self, name: &str, buf: &mut [u8], ether: bool) -> Result<u32, Errno> {
        match find(name)? {
            Name::Port => put(buf, &u64::from(self.port).to_ne_bytes()),
            Name::UnderlayPort => put(buf, &u64::from(self.underlay_port).to_ne_bytes()),
            Name::UnderlayIp => self.underlay_ip.map_or(Ok(0), |ip| put(buf, &mapped(ip))),
            Name::Dcid => self.dcid.map_or(Ok(0), |dcid| put(buf, &u64::from(dcid).to_ne_bytes())),
            Name::RouterOui => match self.router_mac() {
                Some(mac) if ether => put(buf, &mac.0),
                Some(mac) => put(buf, &[mac.to_string().as_bytes(), b"\0"].concat()),
                None => Ok(0),
            },
            text => match self.text(text) {
                Some(text) => put(buf, &[text.as_bytes(), b"\0"].concat()),
                None => Ok(0),
            },
        }
    }

    /// Sets a property.
    ///
    /// # Errors
    /// `EINVAL`: no such property, or a value it cannot have; `EOVERFLOW`: the value is too short;
    /// `ENOTSUP`: TLS is not in this build.
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Errno> {
        match find(name)? {
            Name::Port => self.port = port(number(value)?)?,
            Name::UnderlayPort => self.underlay_port = port(number(value)?)?,
            Name::UnderlayIp => {
                let ip = value.get(..16).and_then(ip).ok_or(Errno::EOVERFLOW)?;
                self.underlay_ip = Some(check_underlay(ip)?);
            }
            Name::Dcid => {
                self.dcid =
                    Some(u32::try_from(number(value)?).ok().and_then(dcid).ok_or(Errno::EINVAL)?);
            }
            Name::RouterOui => {
                // No text of an address is as short as one.
                let mac = match value.try_into() {
                    Ok(bytes) => MacAddr(bytes),
                    Err(_) => mac(string(value).ok_or(Errno::EINVAL)?)?,
                };
                self.router_oui = Some(oui(mac)?);
            }
            text => self.set_text(text, string(value).ok_or(Errno::EINVAL)?)?,
        }
        Ok(())
    }

    /// Puts what [`Config::restore`] needs in a list.
    pub fn save(&self, list: &mut NvList<'_>) -> Result<(), Errno> {
        for (name, key) in ALL {
            match name {
                Name::Port => list.add_u16(key, self.port)?,
                Name::UnderlayPort => list.add_u16(key, self.underlay_port)?,
                Name::UnderlayIp => {
                    if let Some(ip) = self.underlay_ip {
                        list.add_str(key, &Ipv6Addr::from(mapped(ip)).to_string())?;
                    }
                }
                Name::Dcid => self.dcid.map_or(Ok(()), |dcid| list.add_u32(key, dcid))?,
                Name::RouterOui => {
                    self.router_mac().map_or(Ok(()), |mac| list.add_str(key, &mac.to_string()))?;
                }
                text => self.text(text).map_or(Ok(()), |text| list.add_str(key, text))?,
            }
        }
        Ok(())
    }

    /// What was saved. What is not there is not set; `EINVAL` for what cannot have been.
    pub fn restore(list: &NvList<'_>) -> Result<Config, Errno> {
        let mut config = Config::default();
        for (name, key) in ALL {
            match name {
                Name::Port => {
                    config.port = list.u16(key)?.map_or(Ok(PORT), |n| port(n.into()))?;
                }
                Name::UnderlayPort => {
                    config.underlay_port =
                        list.u16(key)?.map_or(Ok(UNDERLAY_PORT), |n| port(n.into()))?;
                }
                Name::UnderlayIp => {
                    if let Some(text) = list.str(key)? {
                        let ip: IpAddr = text.parse().map_err(|_| Errno::EINVAL)?;
                        config.underlay_ip = Some(check_underlay(mapped(ip))?);
                    }
                }
                Name::Dcid => {
                    let saved = list.u32(key)?;
                    config.dcid = saved.map(|n| dcid(n).ok_or(Errno::EINVAL)).transpose()?;
                }
                Name::RouterOui => {
                    let saved = list.str(key)?.map(mac).transpose()?;
                    config.router_oui = saved.map(oui).transpose()?;
                }
                name => {
                    if let Some(text) = list.str(key)? {
                        config.set_text(name, text)?;
                    }
                }
            }
        }
        Ok(config)
    }

    fn router_mac(&self) -> Option<MacAddr> {
        let [a, b, c] = self.router_oui?;
        Some(MacAddr([a, b, c, 0, 0, 0]))
    }

    fn text(&self, name: Name) -> Option<&str> {
        match name {
            Name::Host => self.host.as_deref(),
            Name::TlsCa => self.tls_ca.as_deref(),
            Name::TlsCert => self.tls_cert.as_deref(),
            Name::TlsKey => self.tls_key.as_deref(),
            _ => None,
        }
    }

    fn set_text(&mut self, name: Name, text: &str) -> Result<(), Errno> {
        let is_host = name == Name::Host;
        if !is_host && cfg!(target_os = "illumos") {
            return Err(Errno::ENOTSUP);
        }
        let fits = (1..=TEXT_MAX).contains(&text.len()) && !text.contains('\0');
        let good = if is_host {
            !text.contains(|c: char| c.is_whitespace() || c.is_control())
        } else {
            text.starts_with('/')
        };
        if !fits || !good {
            return Err(Errno::EINVAL);
        }
        let value = Some(text.to_owned());
        match name {
            Name::Host => self.host = value,
            Name::TlsCa => self.tls_ca = value,
            Name::TlsCert => self.tls_cert = value,
            Name::TlsKey => self.tls_key = value,
            _ => {}
        }
        Ok(())
    }
}

fn find(name: &str) -> Result<Name, Errno> {
    let found = ALL.iter().find(|(_, text)| text.to_bytes() == name.as_bytes());
    found.map(|(name, _)| *name).ok_or(Errno::EINVAL)
}

/// The number in the first 8 bytes of a value. `EOVERFLOW` if there are fewer.
fn number(value: &[u8]) -> Result<u64, Errno> {
    value.get(..8).and_then(uint).ok_or(Errno::EOVERFLOW)
}

fn port(number: u64) -> Result<u16, Errno> {
    u16::try_from(number).ok().filter(|n| *n != 0).ok_or(Errno::EINVAL)
}

fn dcid(number: u32) -> Option<u32> {
    (1..=DCID_MAX).contains(&number).then_some(number)
}

fn mac(text: &str) -> Result<MacAddr, Errno> {
    text.parse().map_err(|_| Errno::EINVAL)
}

fn oui(MacAddr([a, b, c, ..]): MacAddr) -> Result<[u8; 3], Errno> {
    // The first byte of an address that one station has is even; an OUI of zeros would be no address.
    if a & 1 != 0 || [a, b, c] == [0; 3] { Err(Errno::EINVAL) } else { Ok([a, b, c]) }
}

/// Refuses what cannot be a host's address: v4-compatible ones, `::` and `::1` among them, multicast of either
/// family, 6to4.
fn check_underlay(ip: [u8; 16]) -> Result<IpAddr, Errno> {
    let bad = ip.starts_with(&[0; 12]) || ip.starts_with(&[0x20, 0x02]);
    let addr = unmapped(ip);
    if bad || addr.is_multicast() || addr.is_unspecified() { Err(Errno::EINVAL) } else { Ok(addr) }
}
