// SPDX-License-Identifier: CDDL-1.0
//! Door messages (spec/varpd.md 3): bytes to request, answer to bytes. No I/O, no state, no panic.
//!
//! A reply to one of the original's commands is the request with the fields filled in that the command returns, and the error. So it
//! has the length of the request, and what the server does not know about it goes back as it came.
use crate::prop::PropInfo;
use door::Model;
use overlay_abi::door::*;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, MacAddr, VarpdId};
use overlay_abi::target::overlay_targ_cache_entry_t;
use overlay_abi::target::v2::{self as target_v2, overlay_target_mac_t};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// Bytes of the shortest message.
const LEN: usize = size_of::<varpd_client_arg_t>();
/// Where the structure of the command begins.
const UN: usize = 8;
/// Where the entries of a walk begin.
const ENTRIES: usize = walk_len(0);
/// Bytes of one.
const ENTRY: usize = size_of::<overlay_targ_cache_entry_t>();

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Make an instance of the plugin with this name.
    Create(LinkId, &'a [u8]),
    /// Start it.
    Activate(VarpdId),
    /// Remove it.
    Destroy(VarpdId),
    /// How many properties it has.
    Nprops(VarpdId),
    /// What a property is.
    PropInfo(VarpdId, Which<'a>),
    /// The value of a property.
    GetProp(VarpdId, u32),
    /// Set a property. The size is checked.
    SetProp(VarpdId, u32, &'a [u8]),
    /// The instance of a link.
    Lookup(LinkId),
    /// Target mode and destination bits.
    TargetMode(VarpdId),
    /// Forget all cache entries.
    CacheFlush(VarpdId),
    /// Forget one.
    CacheDelete(VarpdId, MacAddr),
    /// One cache entry.
    CacheGet(VarpdId, MacAddr),
    /// Set one.
    CacheSet(VarpdId, MacAddr, varpd_client_cache_entry_t),
    /// Some entries from a marker on: as many as were asked for and there is room for.
    CacheWalk(VarpdId, u64, u16),
    /// Forget one of any data center.
    CacheDeleteV2(VarpdId, overlay_target_mac_t),
    /// One cache entry of any data center.
    CacheGetV2(VarpdId, overlay_target_mac_t),
    /// Set one, or a router.
    CacheSetV2(VarpdId, overlay_target_mac_t, varpd_client_cache_entry_t),
    /// Some entries of all data centers from a marker on, as CacheWalk.
    CacheWalkV2(VarpdId, [u64; 2], u16),
    /// Some routes from a place on: as many as were asked for and there is room for.
    RouteWalk(VarpdId, RoutePlace, u16),
    /// Everything varpd says of itself.
    Status,
}

/// A place in a walk over routes, as the kernel said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoutePlace {
    /// VLAN id.
    pub vlan: u16,
    /// Addresses.
    pub marker: target_v2::overlay_targ_l3_t,
    /// Whether that was all.
    pub state: u64,
}

/// The property meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// The one with this number.
    Id(u32),
    /// The one with this name.
    Name(&'a [u8]),
}

/// What a command returns besides its error.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Nothing.
    Done,
    /// The instance, of CREATE and LOOKUP.
    Id(VarpdId),
    /// The number of properties.
    Nprops(u32),
    /// A property's number and description.
    PropInfo(u32, Box<PropInfo>),
    /// A property's value, at most 256 bytes.
    Value(Vec<u8>),
    /// Destination bits and target mode.
    TargetMode(u32, u32),
    /// A cache entry.
    Entry(varpd_client_cache_entry_t),
    /// Entries of a walk and the marker to go on with.
    Entries(u64, Vec<overlay_targ_cache_entry_t>),
    /// A cache entry of any data center.
    EntryV2(varpd_client_cache_entry_t),
    /// Entries of all data centers and the marker to go on with.
    EntriesV2([u64; 2], Vec<target_v2::overlay_targ_cache_entry_t>),
    /// Routes and the place to go on with.
    Routes(RoutePlace, Vec<target_v2::overlay_targ_route_entry_t>),
    /// A text, which makes the reply as long as it is.
    Text(String),
}

/// Reads a message of a client of data model `model`.
///
/// # Errors
/// The outer one is of a message that is not one (too short, no such command) and wants a
/// [`malformed`] reply; the inner one is of what the command was given.
pub fn parse(bytes: &[u8], model: Model) -> Result<Result<Request<'_>, Errno>, Errno> {
    let (head, un) = bytes.split_at_checked(UN).ok_or(Errno::EINVAL)?;
    let (head, _) = varpd_client_eresp_t::read_from_prefix(head).map_err(|_| Errno::EINVAL)?;
    let known = matches!(
        head.vce_command,
        1..VARPD_CLIENT_MAX
            | VARPD_ADM_STATUS
            | v2::VARPD_CLIENT_CACHE_DELETE_V2..=v2::VARPD_CLIENT_ROUTE_WALK
    );
    if bytes.len() < LEN || !known {
        return Err(Errno::EINVAL);
    }
    Ok(request(head.vce_command, un, model))
}

/// The number of a message's command, 0 if it is too short to have one.
pub fn command(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(VARPD_CLIENT_INVALID, |c| u32::from_ne_bytes(*c))
}

fn request(command: u32, un: &[u8], model: Model) -> Result<Request<'_>, Errno> {
    let instance = || Ok(VarpdId(read::<varpd_client_instance_arg_t>(un)?.vcia_id));
    let cache = || {
        // Up to the entry, and that included, both models are the same.
        let arg = read::<varpd_client_target_cache_arg_t>(un)?;
        Ok((VarpdId(arg.vtca_id), MacAddr(arg.vtca_key), arg.vtca_entry))
    };
    let cache_v2 = || {
        let arg = read::<v2::varpd_client_target_cache_arg_t>(un)?;
        let guest = overlay_target_mac_t::new(arg.vtca_dcid, MacAddr(arg.vtca_key));
        Ok((VarpdId(arg.vtca_id), guest, arg.vtca_entry))
    };
    Ok(match command {
        VARPD_CLIENT_CREATE => {
            let name_at = match model {
                Model::Lp64 => std::mem::offset_of!(varpd_client_create_arg_t, vcca_plugin),
                Model::Ilp32 => std::mem::offset_of!(ilp32::varpd_client_create_arg_t, vcca_plugin),
            };
            let link = read::<varpd_client_lookup_arg_t>(un)?.vcla_linkid;
            Request::Create(LinkId(link), name(un, name_at)?)
        }
        VARPD_CLIENT_ACTIVATE => Request::Activate(instance()?),
        VARPD_CLIENT_DESTROY => Request::Destroy(instance()?),
        VARPD_CLIENT_NPROPS => Request::Nprops(instance()?),
        VARPD_CLIENT_PROPINFO => {
            let which = match read::<varpd_client_propinfo_arg_t>(un)?.vcfa_propid {
                VARPD_PROPID_BY_NAME => {
                    let at = std::mem::offset_of!(varpd_client_propinfo_arg_t, vcfa_name);
                    Which::Name(name(un, at)?)
                }
                id => Which::Id(id),
            };
            Request::PropInfo(instance()?, which)
        }
        VARPD_CLIENT_GETPROP => Request::GetProp(instance()?, prop(un)?),
        VARPD_CLIENT_SETPROP => {
            let size = match model {
                Model::Lp64 => read::<varpd_client_prop_arg_t>(un)?.vcpa_bufsize,
                Model::Ilp32 => read::<ilp32::varpd_client_prop_arg_t>(un)?.vcpa_bufsize.into(),
            };
            let size = usize::try_from(size).map_err(|_| Errno::EINVAL)?;
            let at = std::mem::offset_of!(varpd_client_prop_arg_t, vcpa_buf);
            let buf = un.get(at..at + LIBVARPD_PROP_SIZEMAX).ok_or(Errno::EINVAL)?;
            let value = buf.get(..size).ok_or(Errno::EINVAL)?;
            Request::SetProp(instance()?, prop(un)?, value)
        }
        VARPD_CLIENT_LOOKUP => {
            Request::Lookup(LinkId(read::<varpd_client_lookup_arg_t>(un)?.vcla_linkid))
        }
        VARPD_CLIENT_TARGET_MODE => Request::TargetMode(instance()?),
        VARPD_CLIENT_CACHE_FLUSH => Request::CacheFlush(instance()?),
        VARPD_CLIENT_CACHE_DELETE => {
            let (id, mac, _) = cache()?;
            Request::CacheDelete(id, mac)
        }
        VARPD_CLIENT_CACHE_GET => {
            let (id, mac, _) = cache()?;
            Request::CacheGet(id, mac)
        }
        VARPD_CLIENT_CACHE_SET => {
            let (id, mac, entry) = cache()?;
            Request::CacheSet(id, mac, entry)
        }
        VARPD_CLIENT_CACHE_WALK => {
            let arg = read::<varpd_client_target_walk_arg_t>(un)?;
            // libvarpd's client asks for 100 in a message with room for 94.
            let count = count(un, arg.vtcw_count, ENTRIES, ENTRY)?;
            Request::CacheWalk(VarpdId(arg.vtcw_id), arg.vtcw_marker, count)
        }
        v2::VARPD_CLIENT_CACHE_DELETE_V2 => {
            let (id, guest, _) = cache_v2()?;
            Request::CacheDeleteV2(id, guest)
        }
        v2::VARPD_CLIENT_CACHE_GET_V2 => {
            let (id, guest, _) = cache_v2()?;
            Request::CacheGetV2(id, guest)
        }
        v2::VARPD_CLIENT_CACHE_SET_V2 => {
            let (id, guest, entry) = cache_v2()?;
            Request::CacheSetV2(id, guest, entry)
        }
        v2::VARPD_CLIENT_CACHE_WALK_V2 => {
            let arg = read::<v2::varpd_client_target_walk_arg_t>(un)?;
            let size = size_of::<target_v2::overlay_targ_cache_entry_t>();
            let count = count(un, arg.vtcw_count, v2::walk_len(0), size)?;
            Request::CacheWalkV2(VarpdId(arg.vtcw_id), arg.vtcw_marker, count)
        }
        v2::VARPD_CLIENT_ROUTE_WALK => {
            let arg = read::<v2::varpd_client_route_walk_arg_t>(un)?;
            let size = size_of::<target_v2::overlay_targ_route_entry_t>();
            let count = count(un, arg.vrw_count, v2::route_walk_len(0), size)?;
            let vlan = u16::try_from(arg.vrw_vlan).map_err(|_| Errno::EINVAL)?;
            let place = RoutePlace { vlan, marker: arg.vrw_marker, state: arg.vrw_state };
            Request::RouteWalk(VarpdId(arg.vrw_id), place, count)
        }
        VARPD_ADM_STATUS => Request::Status,
        _ => return Err(Errno::EINVAL),
    })
}

/// How many items of a walk are asked for and have room behind the structure.
fn count(un: &[u8], asked: u64, begin: usize, size: usize) -> Result<u16, Errno> {
    if asked > VARPD_WALK_MAX {
        return Err(Errno::E2BIG);
    }
    let room = (un.len() + UN).saturating_sub(begin) / size;
    Ok(room.min(asked as usize) as u16)
}

/// The property of GETPROP and SETPROP, at the same place in both models.
fn prop(un: &[u8]) -> Result<u32, Errno> {
    Ok(read::<varpd_client_prop_arg_t>(un)?.vcpa_propid)
}

fn read<T: FromBytes>(un: &[u8]) -> Result<T, Errno> {
    T::read_from_prefix(un).map(|(arg, _)| arg).map_err(|_| Errno::EINVAL)
}

/// A name of 64 bytes, of which the last counts as NUL whatever it is.
fn name(un: &[u8], at: usize) -> Result<&[u8], Errno> {
    let field = un.get(at..at + LIBVARPD_PROP_NAMELEN - 1).ok_or(Errno::EINVAL)?;
    let len = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    field.get(..len).ok_or(Errno::EINVAL)
}

/// The reply to a message that is not one: 8 bytes, no command.
pub fn malformed(errno: Errno) -> Vec<u8> {
    let reply =
        varpd_client_eresp_t { vce_command: VARPD_CLIENT_INVALID, vce_errno: errno.0 as u32 };
    reply.as_bytes().to_vec()
}

/// The reply to a message that [`parse`] took. An error leaves everything but itself as it came.
pub fn reply(request: &[u8], model: Model, result: &Result<Answer, Errno>) -> Vec<u8> {
    let mut reply = request.to_vec();
    let errno = result.as_ref().err().map_or(0, |e| e.0 as u32);
    write(&mut reply, 4, &errno);
    if let Ok(answer) = result {
        fill(&mut reply, model, answer);
    }
    reply
}

fn fill(reply: &mut Vec<u8>, model: Model, answer: &Answer) {
    use std::mem::offset_of;
    match answer {
        Answer::Done => {}
        Answer::Id(id) => {
            let at = match (command(reply), model) {
                (VARPD_CLIENT_CREATE, Model::Ilp32) => {
                    offset_of!(ilp32::varpd_client_create_arg_t, vcca_id)
                }
                // CREATE and LOOKUP alike.
                _ => offset_of!(varpd_client_create_arg_t, vcca_id),
            };
            write(reply, UN + at, &id.0);
        }
        Answer::Nprops(n) => {
            write(reply, UN + offset_of!(varpd_client_nprops_arg_t, vcna_nprops), n);
        }
        Answer::PropInfo(id, info) => {
            let un = reply.get(UN..).unwrap_or_default();
            let Ok(mut arg) = read::<varpd_client_propinfo_arg_t>(un) else { return };
            arg.vcfa_propid = *id;
            arg.vcfa_type = info.kind;
            arg.vcfa_prot = info.prot;
            arg.vcfa_defsize = info.default.len() as u32;
            arg.vcfa_psize = info.possible.size();
            arg.vcfa_name.zero();
            arg.vcfa_default.zero();
            // Both are at most as long as their fields: checked when they were set.
            write(&mut arg.vcfa_name, 0, info.name.as_bytes());
            write(&mut arg.vcfa_default, 0, info.default.as_slice());
            arg.vcfa_poss = *info.possible.bytes();
            write(reply, UN, &arg);
        }
        Answer::Value(value) => {
            let mut buf = [0; LIBVARPD_PROP_SIZEMAX];
            write(&mut buf, 0, value.as_slice());
            write(reply, UN + offset_of!(varpd_client_prop_arg_t, vcpa_buf), &buf);
            let size = value.len() as u32;
            match model {
                Model::Lp64 => {
                    let at = offset_of!(varpd_client_prop_arg_t, vcpa_bufsize);
                    write(reply, UN + at, &u64::from(size));
                }
                Model::Ilp32 => {
                    let at = offset_of!(ilp32::varpd_client_prop_arg_t, vcpa_bufsize);
                    write(reply, UN + at, &size);
                }
            }
        }
        Answer::TargetMode(dest, mode) => {
            write(reply, UN + offset_of!(varpd_client_target_mode_arg_t, vtma_dest), dest);
            write(reply, UN + offset_of!(varpd_client_target_mode_arg_t, vtma_mode), mode);
        }
        Answer::Entry(entry) => {
            write(reply, UN + offset_of!(varpd_client_target_cache_arg_t, vtca_entry), entry);
        }
        Answer::Entries(marker, entries) => {
            write(reply, UN + offset_of!(varpd_client_target_walk_arg_t, vtcw_marker), marker);
            let count = entries.len() as u64;
            write(reply, UN + offset_of!(varpd_client_target_walk_arg_t, vtcw_count), &count);
            write(reply, ENTRIES, entries.as_slice());
        }
        Answer::EntryV2(entry) => {
            write(reply, UN + offset_of!(v2::varpd_client_target_cache_arg_t, vtca_entry), entry);
        }
        Answer::EntriesV2(marker, entries) => {
            let un = reply.get(UN..).unwrap_or_default();
            let Ok(mut arg) = read::<v2::varpd_client_target_walk_arg_t>(un) else { return };
            (arg.vtcw_marker, arg.vtcw_count) = (*marker, entries.len() as u64);
            write(reply, UN, &arg);
            write(reply, v2::walk_len(0), entries.as_slice());
        }
        Answer::Routes(place, routes) => {
            let un = reply.get(UN..).unwrap_or_default();
            let Ok(mut arg) = read::<v2::varpd_client_route_walk_arg_t>(un) else { return };
            (arg.vrw_vlan, arg.vrw_marker) = (place.vlan.into(), place.marker);
            (arg.vrw_state, arg.vrw_count) = (place.state, routes.len() as u64);
            write(reply, UN, &arg);
            write(reply, v2::route_walk_len(0), routes.as_slice());
        }
        Answer::Text(text) => {
            reply.truncate(UN);
            reply.extend_from_slice(text.as_bytes());
        }
    }
}

/// Writes `value` at an offset, if there is room for it: requests were measured when they were
/// read.
fn write<T: IntoBytes + Immutable + ?Sized>(bytes: &mut [u8], at: usize, value: &T) {
    let value = value.as_bytes();
    if let Some(place) = bytes.get_mut(at..at.saturating_add(value.len())) {
        place.copy_from_slice(value);
    }
}
