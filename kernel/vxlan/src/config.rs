// SPDX-License-Identifier: CDDL-1.0
//! The properties `vxlan/listen_ip` and `vxlan/listen_port`.
use core::net::Ipv6Addr;
use ddi::Errno;
use overlay_abi::vxlan::IPPORT_VXLAN;

/// A property of the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prop {
    /// Where datagrams are received: 16 bytes, IPv4 as v4-mapped. Required, no default.
    ListenIp,
    /// On which UDP port: 8 bytes in host order, 1 to 65535, default 4789.
    ListenPort,
}

impl Prop {
    /// The property of this name.
    pub fn named(name: &[u8]) -> Option<Prop> {
        match name {
            b"vxlan/listen_ip" => Some(Prop::ListenIp),
            b"vxlan/listen_port" => Some(Prop::ListenPort),
            _ => None,
        }
    }
}

/// What a link listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// `None` until set.
    pub ip: Option<Ipv6Addr>,
    /// Host byte order.
    pub port: u16,
}

impl Default for Config {
    fn default() -> Self {
        Config { ip: None, port: IPPORT_VXLAN }
    }
}

impl Config {
    /// Sets a property from its bytes.
    ///
    /// # Errors
    /// `EINVAL`: wrong size, port out of range, or an address that cannot be listened on:
    /// v4-compatible, 6to4, multicast of either family. The unspecified addresses `::` and
    /// `::ffff:0.0.0.0` can.
    pub fn set(&mut self, prop: Prop, value: &[u8]) -> Result<(), Errno> {
        match prop {
            Prop::ListenIp => {
                let ip = Ipv6Addr::from(<[u8; 16]>::try_from(value).map_err(|_| Errno::EINVAL)?);
                if !usable(ip) {
                    return Err(Errno::EINVAL);
                }
                self.ip = Some(ip);
            }
            Prop::ListenPort => {
                let port = u64::from_ne_bytes(value.try_into().map_err(|_| Errno::EINVAL)?);
                self.port = match u16::try_from(port) {
                    Ok(port) if port != 0 => port,
                    _ => return Err(Errno::EINVAL),
                };
            }
        }
        Ok(())
    }

    /// Writes a property's bytes to the front of `buf` and returns how many, 0 if it is not set.
    ///
    /// # Errors
    /// `EOVERFLOW`: `buf` is too short.
    pub fn get(&self, prop: Prop, buf: &mut [u8]) -> Result<u32, Errno> {
        match (prop, self.ip) {
            (Prop::ListenIp, None) => Ok(0),
            (Prop::ListenIp, Some(ip)) => overlay_abi::props::put(buf, &ip.octets()),
            (Prop::ListenPort, _) => {
                overlay_abi::props::put(buf, &u64::from(self.port).to_ne_bytes())
            }
        }
    }
}

fn usable(ip: Ipv6Addr) -> bool {
    if let Some(v4) = ip.to_ipv4_mapped() {
        return !v4.is_multicast();
    }
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let v4_compat = [a, b, c, d, e, f] == [0; 6] && (g != 0 || h > 1);
    !v4_compat && a != 0x2002 && !ip.is_multicast()
}
