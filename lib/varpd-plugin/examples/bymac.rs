// SPDX-License-Identifier: CDDL-1.0
//! A dynamic plugin: the last byte of a guest's address is the last byte of its host's.
//!
//! With `bymac/prefix` 192.0.2.0 and `bymac/port` 4789, frames for 2:0:0:0:0:7 go to
//! 192.0.2.7:4789.

use std::ffi::CStr;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use varpd_plugin::overlay_abi::errno::Errno;
use varpd_plugin::overlay_abi::props::{self, *};
use varpd_plugin::overlay_abi::target::{overlay_targ_lookup_t, overlay_target_point_t};
use varpd_plugin::{ArpReply, DhcpReply, Dynamic, NvList, Plugin, Prop, Provider, Query};

struct ByMac {
    provider: Provider,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Default)]
struct State {
    prefix: Option<[u8; 16]>,
    port: u16,
}

varpd_plugin::plugin!(dynamic: ByMac);

impl ByMac {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plugin for ByMac {
    const NAME: &'static CStr = c"bymac";

    fn create(provider: Provider, _: u32) -> Result<Self, Errno> {
        let state = State { port: 4789, ..State::default() };
        Ok(ByMac { provider, state: Mutex::new(state) })
    }

    fn start(&self) -> Result<(), Errno> {
        self.state().prefix.map(|_| ()).ok_or(Errno::EAGAIN)
    }

    fn stop(&self) {}

    fn nprops(&self) -> u32 {
        2
    }

    fn propinfo(&self, id: u32, prop: &mut Prop<'_>) -> Result<(), Errno> {
        match id {
            0 => prop.describe(c"bymac/prefix", OVERLAY_PROP_T_IP, OVERLAY_PROP_PERM_RRW),
            1 => {
                prop.describe(c"bymac/port", OVERLAY_PROP_T_UINT, OVERLAY_PROP_PERM_RW);
                prop.default(&4789u64.to_ne_bytes())?;
                prop.range(1, u16::MAX.into());
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    fn getprop(&self, name: &str, buf: &mut [u8]) -> Result<u32, Errno> {
        let state = *self.state();
        match name {
            "bymac/prefix" => state.prefix.map_or(Ok(0), |ip| props::put(buf, &ip)),
            "bymac/port" => props::put(buf, &u64::from(state.port).to_ne_bytes()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn setprop(&self, name: &str, value: &[u8]) -> Result<(), Errno> {
        match name {
            "bymac/prefix" => self.state().prefix = Some(props::ip(value).ok_or(Errno::EINVAL)?),
            "bymac/port" => {
                let port = props::uint(value).and_then(|n| u16::try_from(n).ok());
                self.state().port = port.filter(|n| *n != 0).ok_or(Errno::EINVAL)?;
            }
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    fn save(&self, list: &mut NvList<'_>) -> Result<(), Errno> {
        let state = *self.state();
        list.add_u16(c"bymac/port", state.port)?;
        let prefix = state.prefix.map(|ip| std::net::Ipv6Addr::from(ip).to_string());
        prefix.map_or(Ok(()), |text| list.add_str(c"bymac/prefix", &text))
    }

    fn restore(list: &NvList<'_>, provider: Provider, dest: u32) -> Result<Self, Errno> {
        let new = ByMac::create(provider, dest)?;
        let prefix = list.str(c"bymac/prefix")?.map(str::parse::<std::net::Ipv6Addr>);
        let prefix = prefix.transpose().map_err(|_| Errno::EINVAL)?.map(|ip| ip.octets());
        let port = list.u16(c"bymac/port")?.ok_or(Errno::EINVAL)?;
        *new.state() = State { prefix, port };
        Ok(new)
    }
}

impl Dynamic for ByMac {
    fn lookup(&self, query: Query) {
        let State { prefix: Some(mut ip), port } = *self.state() else { return };
        let request = *query.request();
        match u16::try_from(request.otl_sap) {
            Ok(0x0806) => return query.proxy_arp(),
            Ok(0x86dd) if request.otl_dstaddr.starts_with(&[0x33, 0x33]) => {
                return query.proxy_ndp();
            }
            Ok(0x0800) if request.otl_dstaddr == [0xff; 6] => return query.proxy_dhcp(),
            _ => {}
        }
        let [group, .., last] = request.otl_dstaddr;
        if group & 1 != 0 {
            // A broadcast has no single destination. The query is dropped, and with it the frame.
            self.provider.degrade("this network does not carry broadcasts");
            return;
        }
        assert_ne!(last, 0xff, "for the test of a panic");
        ip[15] = last;
        let mut point =
            overlay_target_point_t::from(varpd_plugin::overlay_abi::ids::UnderlayAddr { ip, port });
        point.otp_mac = request.otl_dstaddr;
        query.reply(&point);
    }

    /// The last byte of a guest's IP address is that of its Ethernet address as well.
    fn arp(&self, reply: ArpReply, addr: IpAddr) {
        let last = match addr {
            IpAddr::V4(addr) => addr.octets()[3],
            IpAddr::V6(addr) => addr.octets()[15],
        };
        assert_ne!(last, 0xff, "for the test of a panic");
        // Nobody is number 0; the question is dropped with the reply.
        if last != 0 {
            reply.reply([2, 0, 0, 0, 0, last]);
        }
    }

    /// Guest 1 serves DHCP, and asks nobody.
    fn dhcp(&self, reply: DhcpReply, request: &overlay_targ_lookup_t) {
        if request.otl_srcaddr != [2, 0, 0, 0, 0, 1] {
            reply.reply([2, 0, 0, 0, 0, 1]);
        }
    }
}
