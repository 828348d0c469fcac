// SPDX-License-Identifier: CDDL-1.0
//! The commands of version 2 of the varpd door.

use super::State;
use overlay_abi::door::v2::*;
use overlay_abi::door::{VARPD_CLIENT_INVALID, varpd_client_eresp_t};
use overlay_abi::errno::Errno;
use overlay_abi::ids::MacAddr;
use overlay_abi::target::v2::*;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Items of one step of a walk, so that there are several.
const STEP: usize = 3;

pub fn message(s: &mut State, command: u32, mut reply: Vec<u8>) -> Vec<u8> {
    if !s.varpd_v2 {
        let vce_errno = Errno::EINVAL.0 as u32;
        return varpd_client_eresp_t { vce_command: VARPD_CLIENT_INVALID, vce_errno }
            .as_bytes()
            .to_vec();
    }
    // Without such a kernel varpd can do none of it.
    let result = if s.kernel_v2 { call(s, command, &mut reply) } else { Err(Errno::ENOTSUP) };
    let errno = result.err().map_or(0, |e| e.0);
    reply[4..8].copy_from_slice(&errno.to_ne_bytes());
    reply
}

fn call(s: &mut State, command: u32, reply: &mut [u8]) -> Result<(), Errno> {
    let un = &mut reply[8..];
    match command {
        VARPD_CLIENT_CACHE_WALK_V2 => {
            s.step("varpd WALK_V2".into())?;
            let (mut a, _) = varpd_client_target_walk_arg_t::read_from_prefix(un).unwrap();
            let done = a.vtcw_marker[0] as usize;
            let own = s.cache.iter().map(|(mac, e)| ((u32::MAX, *mac), e));
            let all = own.chain(s.guests.iter().map(|(guest, e)| (*guest, e)));
            let mut entries = Vec::new();
            for ((dcid, mac), e) in all.skip(done).take(STEP) {
                let mut entry = overlay_targ_cache_entry_t::new_zeroed();
                let dcid = if dcid == u32::MAX { own_dcid(s) } else { dcid };
                entry.otce_mac = overlay_target_mac_t::new(dcid, MacAddr(mac));
                entry.otce_flags = e.vcp_flags;
                entry.otce_dest.otp_ip = e.vcp_ip;
                entry.otce_dest.otp_port = e.vcp_port;
                entries.push(entry);
            }
            a.vtcw_marker[0] += entries.len() as u64;
            a.vtcw_count = entries.len() as u64;
            a.write_to_prefix(un).unwrap();
            entries.as_bytes().write_to_prefix(&mut un[walk_len(0) - 8..]).unwrap();
        }
        VARPD_CLIENT_ROUTE_WALK => {
            s.step("varpd ROUTES".into())?;
            let (mut a, _) = varpd_client_route_walk_arg_t::read_from_prefix(un).unwrap();
            let rest = &s.routes[a.vrw_state as usize..];
            let some = &rest[..rest.len().min(STEP)];
            a.vrw_state += some.len() as u64;
            a.vrw_count = some.len() as u64;
            a.write_to_prefix(un).unwrap();
            some.as_bytes().write_to_prefix(&mut un[route_walk_len(0) - 8..]).unwrap();
        }
        _ => {
            let (mut a, _) = varpd_client_target_cache_arg_t::read_from_prefix(un).unwrap();
            let dcid = if a.vtca_dcid == 0 { own_dcid(s) } else { a.vtca_dcid };
            let guest = (dcid, a.vtca_key);
            match command {
                VARPD_CLIENT_CACHE_SET_V2 => _ = s.guests.insert(guest, a.vtca_entry),
                VARPD_CLIENT_CACHE_DELETE_V2 => {
                    s.guests.remove(&guest).map(drop).ok_or(Errno::ENOENT)?;
                }
                VARPD_CLIENT_CACHE_GET_V2 => {
                    a.vtca_entry = *s.guests.get(&guest).ok_or(Errno::ENOENT)?;
                    a.write_to_prefix(un).unwrap();
                }
                _ => return Err(Errno::EINVAL),
            }
        }
    }
    Ok(())
}

/// The data center of the only link there is.
fn own_dcid(s: &State) -> u32 {
    let mut props = s.overlays.values().flat_map(|o| &o.props);
    let dcid = props.find(|p| p.name == "dcid").and_then(|p| overlay_abi::props::uint(&p.value));
    dcid.and_then(|dcid| u32::try_from(dcid).ok()).unwrap_or(0)
}
