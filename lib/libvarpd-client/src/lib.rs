// SPDX-License-Identifier: CDDL-1.0
//! Client of varpd's door: what `libvarpd_c_*` is in C (spec/varpd.md 3.1).
//!
//! ```text
//!   dladm --> Client::instance_create() --> | 616 bytes, command 1 | --door--> varpd
//!                    VarpdId            <-- | the same, filled in  | <--------
//! ```
//!
//! # Vocabulary
//!
//! * *instance*: one plugin object in varpd, bound to one overlay link.
//! * *unset*: a property without a value; here an empty vector.
//! * *v1*, *v2*: what there was before and what came with routed overlays. Where a call says nothing
//!   of it any varpd takes it; the calls of [`routed`] want a varpd and a kernel of version 2.
//!
//! # Invariants
//!
//! * Messages are in the LP64 form. The door tells varpd the model of its caller, which therefore
//!   must be a 64-bit program.
//! * Whatever comes back is looked at before it is believed: a reply that is too short or says more
//!   than it holds is [`Errno::EPROTO`].
//! * `EBADF` from any method means that this varpd is gone; a new client must be opened.

mod cache;
pub mod routed;

pub use cache::CacheEntry;

use devctl::Root;
use overlay_abi::door::*;
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, VarpdId};
use overlay_abi::{c_name, to_c_name};
use std::path::Path;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

const _: () = assert!(size_of::<usize>() == 8, "messages are laid out for 64-bit programs");

/// Bytes of the command and the error in front of every message.
const HEADER: usize = 8;
/// Entries asked for by one step of a walk.
const WALK: usize = 100;
const _: () = assert!(WALK as u64 <= VARPD_WALK_MAX);

/// An open door. Calls from several threads run in parallel.
#[derive(Debug)]
pub struct Client {
    door: door::Client,
}

impl Client {
    /// Opens the door of the varpd that runs under `root`.
    ///
    /// # Errors
    /// `ENOENT` or `ECONNREFUSED` without a varpd, `EACCES` without permission.
    pub fn open(root: &Root) -> Result<Client, Errno> {
        Client::open_path(&root.path(VARPD_DOOR))
    }

    /// Opens the door at `path`; errors as [`Client::open`].
    pub fn open_path(path: &Path) -> Result<Client, Errno> {
        Ok(Client { door: door::Client::open(path).map_err(errno)? })
    }

    /// Makes an instance of `plugin` for a link and returns its id.
    ///
    /// # Errors
    /// `EINVAL`: the name has 64 bytes or more, or a NUL. `ENOENT`: no such plugin or overlay link.
    /// `EEXIST`: the link has an instance. Else the plugin's own.
    pub fn instance_create(&self, link: LinkId, plugin: &str) -> Result<VarpdId, Errno> {
        let mut arg = varpd_client_create_arg_t::new_zeroed();
        arg.vcca_linkid = link.0;
        arg.vcca_plugin = to_c_name(plugin).ok_or(Errno::EINVAL)?;
        self.call(VARPD_CLIENT_CREATE, &mut arg)?;
        Ok(VarpdId(arg.vcca_id))
    }

    /// Starts an instance and associates it with its link.
    ///
    /// # Errors
    /// `ENOENT`; `EEXIST`: active already; `EAGAIN`, by custom, if a required property is not set.
    pub fn instance_activate(&self, id: VarpdId) -> Result<(), Errno> {
        self.call(VARPD_CLIENT_ACTIVATE, &mut varpd_client_instance_arg_t { vcia_id: id.0 })
    }

    /// Removes an instance. `ENOENT` without it.
    pub fn instance_destroy(&self, id: VarpdId) -> Result<(), Errno> {
        self.call(VARPD_CLIENT_DESTROY, &mut varpd_client_instance_arg_t { vcia_id: id.0 })
    }

    /// The instance of a link. `ENOENT` without one.
    pub fn instance_lookup(&self, link: LinkId) -> Result<VarpdId, Errno> {
        let mut arg = varpd_client_lookup_arg_t::new_zeroed();
        arg.vcla_linkid = link.0;
        self.call(VARPD_CLIENT_LOOKUP, &mut arg)?;
        Ok(VarpdId(arg.vcla_id))
    }

    /// Destination bits (`OVERLAY_PLUGIN_D_*`) and target mode (`OVERLAY_TARGET_*`) of an instance.
    pub fn instance_target_mode(&self, id: VarpdId) -> Result<(u32, u32), Errno> {
        let mut arg = varpd_client_target_mode_arg_t { vtma_id: id.0, vtma_dest: 0, vtma_mode: 0 };
        self.call(VARPD_CLIENT_TARGET_MODE, &mut arg)?;
        Ok((arg.vtma_dest, arg.vtma_mode))
    }

    /// How many properties an instance has.
    pub fn prop_nprops(&self, id: VarpdId) -> Result<u32, Errno> {
        let mut arg = varpd_client_nprops_arg_t::new_zeroed();
        arg.vcna_id = id.0;
        self.call(VARPD_CLIENT_NPROPS, &mut arg)?;
        Ok(arg.vcna_nprops)
    }

    /// A handle to look at the properties of an instance, one at a time.
    pub fn prop_handle(&self, id: VarpdId) -> PropHandle<'_> {
        PropHandle { client: self, id, info: None }
    }

    /// What a property is. `EINVAL` if there is none with this number, `ENOENT` without the
    /// instance.
    pub fn prop_info(&self, id: VarpdId, propid: u32) -> Result<PropInfo, Errno> {
        // The number that stands for "by name" is no property's.
        if propid == VARPD_PROPID_BY_NAME {
            return Err(Errno::EINVAL);
        }
        self.describe(id, propid, [0; LIBVARPD_PROP_NAMELEN])
    }

    /// What the property with a name is. `ENOENT` if there is none, `EINVAL` if the name has 64
    /// bytes or more.
    pub fn prop_info_by_name(&self, id: VarpdId, name: &str) -> Result<PropInfo, Errno> {
        self.describe(id, VARPD_PROPID_BY_NAME, to_c_name(name).ok_or(Errno::EINVAL)?)
    }

    fn describe(
        &self,
        id: VarpdId,
        propid: u32,
        name: [u8; LIBVARPD_PROP_NAMELEN],
    ) -> Result<PropInfo, Errno> {
        let mut arg = varpd_client_propinfo_arg_t::new_zeroed();
        arg.vcfa_id = id.0;
        arg.vcfa_propid = propid;
        arg.vcfa_name = name;
        self.call(VARPD_CLIENT_PROPINFO, &mut arg)?;
        let default = arg.vcfa_default.get(..arg.vcfa_defsize as usize).ok_or(Errno::EPROTO)?;
        Ok(PropInfo {
            id: arg.vcfa_propid,
            name: c_name(&arg.vcfa_name).ok_or(Errno::EPROTO)?.to_owned(),
            kind: arg.vcfa_type,
            prot: arg.vcfa_prot,
            default: default.to_vec(),
            possible: arg.vcfa_poss.to_vec(),
        })
    }

    /// The value of a property, empty if it is not set.
    ///
    /// # Errors
    /// `E2BIG`: varpd says it has more than 256 bytes; else the plugin's own.
    pub fn prop_get(&self, id: VarpdId, propid: u32) -> Result<Vec<u8>, Errno> {
        let mut arg = prop_arg(id, propid);
        self.call(VARPD_CLIENT_GETPROP, &mut arg)?;
        let size = usize::try_from(arg.vcpa_bufsize).map_err(|_| Errno::E2BIG)?;
        Ok(arg.vcpa_buf.get(..size).ok_or(Errno::E2BIG)?.to_vec())
    }

    /// Sets the value of a property.
    ///
    /// # Errors
    /// `EINVAL`: no value; `EOVERFLOW`: more than 256 bytes; `EPERM`; else the plugin's own.
    pub fn prop_set(&self, id: VarpdId, propid: u32, value: &[u8]) -> Result<(), Errno> {
        let mut arg = prop_arg(id, propid);
        if value.is_empty() {
            return Err(Errno::EINVAL);
        }
        let room = arg.vcpa_buf.get_mut(..value.len()).ok_or(Errno::EOVERFLOW)?;
        room.copy_from_slice(value);
        arg.vcpa_bufsize = value.len() as _;
        self.call(VARPD_CLIENT_SETPROP, &mut arg)
    }

    /// What varpd says of itself, a text in JSON: `libvarpd::status::Status`.
    ///
    /// # Errors
    /// `EINVAL`: a varpd that does not know this; `EPROTO`: it is no text.
    pub fn status(&self) -> Result<String, Errno> {
        let mut message = vec![0; size_of::<varpd_client_arg_t>()];
        put(&mut message, VARPD_ADM_STATUS, &[0u8; 0]);
        let mut reply = self.exchange(&message)?;
        String::from_utf8(reply.split_off(HEADER)).map_err(|_| Errno::EPROTO)
    }

    fn call<T>(&self, command: u32, arg: &mut T) -> Result<(), Errno>
    where
        T: FromBytes + IntoBytes + Immutable + KnownLayout,
    {
        let mut message = vec![0; size_of::<varpd_client_arg_t>()];
        put(&mut message, command, arg);
        *arg = get(&self.exchange(&message)?)?;
        Ok(())
    }

    /// Calls the door and looks at the error of the reply.
    fn exchange(&self, message: &[u8]) -> Result<Vec<u8>, Errno> {
        let (reply, header) = self.reply(message)?;
        Errno::check(header.vce_errno as i32)?;
        Ok(reply)
    }

    /// Calls the door.
    fn reply(&self, message: &[u8]) -> Result<(Vec<u8>, varpd_client_eresp_t), Errno> {
        let reply = self.door.call(message).map_err(errno)?;
        let (header, _) =
            varpd_client_eresp_t::read_from_prefix(&reply).map_err(|_| Errno::EPROTO)?;
        Ok((reply, header))
    }
}

fn errno(e: std::io::Error) -> Errno {
    e.raw_os_error().map_or(Errno::EIO, Errno::from_host)
}

fn put<T: IntoBytes + Immutable>(message: &mut [u8], command: u32, arg: &T) {
    let header = varpd_client_eresp_t { vce_command: command, vce_errno: 0 };
    // Every structure of the door is shorter than the message.
    let _ = header.write_to_prefix(message);
    let _ = message.get_mut(HEADER..).map(|un| arg.write_to_prefix(un));
}

fn get<T: FromBytes>(reply: &[u8]) -> Result<T, Errno> {
    let un = reply.get(HEADER..).ok_or(Errno::EPROTO)?;
    T::read_from_prefix(un).map(|(arg, _)| arg).map_err(|_| Errno::EPROTO)
}

/// What lies behind the structure of a walk, of which the reply says how many they are.
fn items<T: FromBytes>(reply: &[u8], begin: usize, count: u64) -> Result<Vec<T>, Errno> {
    let count = usize::try_from(count).map_err(|_| Errno::EPROTO)?;
    let end = count.checked_mul(size_of::<T>()).and_then(|size| size.checked_add(begin));
    let bytes = end.and_then(|end| reply.get(begin..end)).ok_or(Errno::EPROTO)?;
    let item = |bytes| T::read_from_bytes(bytes).map_err(|_| Errno::EPROTO);
    bytes.chunks_exact(size_of::<T>()).map(item).collect()
}

/// What a property is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropInfo {
    /// Number of the property.
    pub id: u32,
    /// Full name, such as `direct/dest_ip`.
    pub name: String,
    /// `OVERLAY_PROP_T_*`
    pub kind: u32,
    /// `OVERLAY_PROP_PERM_*`
    pub prot: u32,
    /// Default value; empty for none.
    pub default: Vec<u8>,
    /// Possible values, for [`overlay_abi::props::parse_possible`]; always 256 bytes.
    pub possible: Vec<u8>,
}

/// One property of an instance; which one is said by `info_fill`.
#[derive(Debug)]
pub struct PropHandle<'a> {
    client: &'a Client,
    id: VarpdId,
    info: Option<PropInfo>,
}

impl PropHandle<'_> {
    /// Turns to the property with this number; errors as [`Client::prop_info`].
    pub fn info_fill(&mut self, propid: u32) -> Result<(), Errno> {
        self.info = Some(self.client.prop_info(self.id, propid)?);
        Ok(())
    }

    /// Turns to the property with this name; errors as [`Client::prop_info_by_name`].
    pub fn info_fill_by_name(&mut self, name: &str) -> Result<(), Errno> {
        self.info = Some(self.client.prop_info_by_name(self.id, name)?);
        Ok(())
    }

    /// What the property is. `EINVAL` before a successful fill.
    pub fn info(&self) -> Result<&PropInfo, Errno> {
        self.info.as_ref().ok_or(Errno::EINVAL)
    }

    /// Its value; `EINVAL` before a successful fill, else as [`Client::prop_get`].
    pub fn get(&self) -> Result<Vec<u8>, Errno> {
        self.client.prop_get(self.id, self.info()?.id)
    }

    /// Sets its value; `EINVAL` before a successful fill, else as [`Client::prop_set`].
    pub fn set(&self, value: &[u8]) -> Result<(), Errno> {
        self.client.prop_set(self.id, self.info()?.id, value)
    }
}

fn prop_arg(id: VarpdId, propid: u32) -> varpd_client_prop_arg_t {
    let mut arg = varpd_client_prop_arg_t::new_zeroed();
    arg.vcpa_id = id.0;
    arg.vcpa_propid = propid;
    arg
}
