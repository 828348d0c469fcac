// SPDX-License-Identifier: CDDL-1.0
//! What each door command does, and who may.
//!
//! Whoever changes something needs the privilege to configure the network (`PRIV_SYS_NET_CONFIG`);
//! off illumos that is root, and the user who started varpd: not the one it became. The original asked for it only where the
//! cache is changed and left CREATE, ACTIVATE, DESTROY and SETPROP to the permissions of the door's
//! file (spec/varpd.md 9.10).
use crate::message::{self, Answer, Request, RoutePlace, Which};
use crate::{Instance, Varpd, told};
use door::PeerCred;
use overlay_abi::door::{VARPD_CLIENT_INVALID, varpd_client_cache_entry_t};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, MacAddr, VarpdId};
use overlay_abi::target::v2;
use overlay_abi::target::{overlay_targ_cache_entry_t, overlay_target_point_t};
use std::sync::Arc;

fn needs_privilege(request: &Request<'_>) -> bool {
    match request {
        Request::Create(..)
        | Request::Activate(_)
        | Request::Destroy(_)
        | Request::SetProp(..)
        | Request::CacheFlush(_)
        | Request::CacheDelete(..)
        | Request::CacheSet(..)
        | Request::CacheDeleteV2(..)
        | Request::CacheSetV2(..) => true,
        Request::Nprops(_)
        | Request::PropInfo(..)
        | Request::GetProp(..)
        | Request::Lookup(_)
        | Request::TargetMode(_)
        | Request::CacheGet(..)
        | Request::CacheWalk(..)
        | Request::CacheGetV2(..)
        | Request::CacheWalkV2(..)
        | Request::RouteWalk(..)
        | Request::Status => false,
    }
}

impl Varpd {
    /// The reply to one door message, in the data model of the client that sent it.
    pub fn answer(self: &Arc<Self>, bytes: &[u8], cred: &PeerCred) -> Vec<u8> {
        let request = match message::parse(bytes, cred.model) {
            Ok(request) => request,
            Err(e) => {
                self.stats.called(VARPD_CLIENT_INVALID, cred.pid, Err(e));
                return message::malformed(e);
            }
        };
        let result = request.and_then(|request| {
            // Before anything else, so that nobody learns which ids there are by being refused.
            let change = needs_privilege(&request);
            if change && !self.may_configure(cred) {
                slog::warn!(self.log, "a caller without privilege is refused";
                    "command" => message::command(bytes), "pid" => cred.pid, "uid" => cred.uid);
                return Err(Errno::EPERM);
            }
            let link = change.then(|| self.link_of(&request)).flatten();
            let result = self.execute(request);
            if change {
                self.note(&request, link, cred, result.as_ref().err());
            }
            result
        });
        let outcome = result.as_ref().map(drop).map_err(|e| *e);
        self.stats.called(message::command(bytes), cred.pid, outcome);
        message::reply(bytes, cred.model, &result)
    }

    fn may_configure(&self, cred: &PeerCred) -> bool {
        cred.net_config || cfg!(not(target_os = "illumos")) && cred.uid == self.owner
    }

    /// The link that a change concerns, as long as it has an instance.
    fn link_of(&self, request: &Request<'_>) -> Option<LinkId> {
        match request {
            Request::Create(link, _) => Some(*link),
            Request::Activate(id)
            | Request::Destroy(id)
            | Request::SetProp(id, ..)
            | Request::CacheFlush(id)
            | Request::CacheDelete(id, _)
            | Request::CacheDeleteV2(id, _)
            | Request::CacheSetV2(id, ..)
            | Request::CacheSet(id, ..) => self.instance(*id).map(|instance| instance.link()),
            _ => None,
        }
    }

    /// Logs what came of a change, and whose it was.
    fn note(
        &self,
        request: &Request<'_>,
        link: Option<LinkId>,
        cred: &PeerCred,
        error: Option<&Errno>,
    ) {
        let (done, id) = match request {
            Request::Create(link, _) => ("instance created", self.instance_of(*link)),
            Request::Activate(id) => ("instance activated", Some(*id)),
            Request::Destroy(id) => ("instance destroyed", Some(*id)),
            Request::SetProp(id, ..) => ("property set", Some(*id)),
            Request::CacheFlush(id) => ("target cache flushed", Some(*id)),
            Request::CacheDelete(id, _) | Request::CacheDeleteV2(id, _) => {
                ("target forgotten", Some(*id))
            }
            Request::CacheSet(id, ..) | Request::CacheSetV2(id, ..) => ("target set", Some(*id)),
            _ => return,
        };
        let log = self.log.new(slog::o!("instance" => id.map(|id| id.0),
            "link" => link.map(|link| link.0), "pid_of_caller" => cred.pid));
        match (error, request) {
            (Some(e), _) => slog::info!(log, "not done: {done}"; "error" => e.name()),
            (None, Request::Create(_, plugin)) => {
                slog::info!(log, "{done}"; "search" => String::from_utf8_lossy(plugin).as_ref());
            }
            (None, Request::Activate(_) | Request::Destroy(_)) => slog::info!(log, "{done}"),
            (None, _) => slog::debug!(log, "{done}"),
        }
    }

    fn find(&self, id: VarpdId) -> Result<Arc<Instance>, Errno> {
        self.instance(id).ok_or(Errno::ENOENT)
    }

    fn execute(self: &Arc<Self>, request: Request<'_>) -> Result<Answer, Errno> {
        match request {
            Request::Create(link, plugin) => {
                let plugin = std::str::from_utf8(plugin).map_err(|_| Errno::ENOENT)?;
                self.create(link, plugin).map(Answer::Id)
            }
            Request::Activate(id) => self.find(id)?.activate().map(|()| Answer::Done),
            Request::Destroy(id) => self.destroy(id).map(|()| Answer::Done),
            Request::Nprops(id) => self.find(id)?.nprops().map(Answer::Nprops),
            Request::PropInfo(id, which) => {
                let instance = self.find(id)?;
                let (id, info) = match which {
                    Which::Id(id) => (id, instance.prop_info(id)?),
                    Which::Name(name) => instance.prop_by_name(name)?,
                };
                Ok(Answer::PropInfo(id, Box::new(told::info(info))))
            }
            Request::GetProp(id, prop) => {
                let instance = self.find(id)?;
                let value = instance.get_prop(prop)?;
                Ok(Answer::Value(told::value(instance.prop_info(prop)?.kind, value)))
            }
            Request::SetProp(id, prop, value) => {
                let instance = self.find(id)?;
                let value = told::taken(instance.prop_info(prop)?.kind, value)?;
                instance.set_prop(prop, &value).map(|()| Answer::Done)
            }
            Request::Lookup(link) => self.instance_of(link).map(Answer::Id).ok_or(Errno::ENOENT),
            Request::TargetMode(id) => {
                let instance = self.find(id)?;
                Ok(Answer::TargetMode(instance.dest(), instance.plugin().mode()))
            }
            Request::CacheFlush(id) => {
                let link = self.find(id)?.link();
                self.device.cache_flush(link).map(|()| Answer::Done)
            }
            Request::CacheDelete(id, mac) => {
                let link = self.find(id)?.link();
                self.device.cache_remove(link, mac).map(|()| Answer::Done)
            }
            Request::CacheGet(id, mac) => {
                let entry = self.device.cache_get(self.find(id)?.link(), mac)?;
                Ok(Answer::Entry(to_client(&entry)))
            }
            Request::CacheSet(id, mac, entry) => {
                let link = self.find(id)?.link();
                self.device.cache_set(link, to_kernel(mac, &entry)).map(|()| Answer::Done)
            }
            Request::CacheWalk(id, marker, count) => {
                let link = self.find(id)?.link();
                let (marker, entries) = self.device.cache_iter(link, marker, count)?;
                Ok(Answer::Entries(marker, entries))
            }
            Request::CacheDeleteV2(id, guest) => {
                let link = self.find(id)?.link();
                self.device.cache_remove_v2(link, guest).map(|()| Answer::Done)
            }
            Request::CacheGetV2(id, guest) => {
                let entry = self.device.cache_get_v2(self.find(id)?.link(), guest)?;
                Ok(Answer::EntryV2(varpd_client_cache_entry_t {
                    vcp_mac: entry.otce_dest.otp_mac,
                    vcp_flags: entry.otce_flags,
                    vcp_ip: entry.otce_dest.otp_ip,
                    vcp_port: entry.otce_dest.otp_port,
                    vcp_pad: [0; 2],
                }))
            }
            Request::CacheSetV2(id, guest, entry) => {
                let link = self.find(id)?.link();
                let entry = v2::overlay_targ_cache_entry_t {
                    otce_mac: guest,
                    otce_flags: entry.vcp_flags,
                    otce_pad: [0; 2],
                    otce_dest: v2::overlay_target_point_t {
                        otp_ip: entry.vcp_ip,
                        otp_port: entry.vcp_port,
                        otp_mac: entry.vcp_mac,
                    },
                };
                self.device.cache_set_v2(link, entry).map(|()| Answer::Done)
            }
            Request::CacheWalkV2(id, marker, count) => {
                let link = self.find(id)?.link();
                let (marker, entries) = self.device.cache_iter_v2(link, marker, count)?;
                Ok(Answer::EntriesV2(marker, entries))
            }
            Request::RouteWalk(id, place, count) => {
                let mut from = v2::overlay_targ_route_iter_t {
                    otri_linkid: self.find(id)?.link().0,
                    otri_count: count,
                    otri_vlan: place.vlan,
                    otri_marker: place.marker,
                    otri_state: place.state,
                };
                let routes = self.device.routes(&mut from)?;
                let place = RoutePlace {
                    vlan: from.otri_vlan,
                    marker: from.otri_marker,
                    state: from.otri_state,
                };
                Ok(Answer::Routes(place, routes))
            }
            // It is plain data: there is no value that JSON does not have.
            Request::Status => {
                serde_json::to_string(&self.status()).map(Answer::Text).map_err(|_| Errno::EIO)
            }
        }
    }
}

fn to_client(entry: &overlay_targ_cache_entry_t) -> varpd_client_cache_entry_t {
    varpd_client_cache_entry_t {
        vcp_mac: entry.otce_dest.otp_mac,
        vcp_flags: entry.otce_flags,
        vcp_ip: entry.otce_dest.otp_ip,
        vcp_port: entry.otce_dest.otp_port,
        vcp_pad: [0; 2],
    }
}

fn to_kernel(mac: MacAddr, entry: &varpd_client_cache_entry_t) -> overlay_targ_cache_entry_t {
    overlay_targ_cache_entry_t {
        otce_mac: mac.0,
        otce_flags: entry.vcp_flags,
        otce_dest: overlay_target_point_t {
            otp_mac: entry.vcp_mac,
            otp_pad: [0; 2],
            otp_ip: entry.vcp_ip,
            otp_port: entry.vcp_port,
            otp_pad2: [0; 2],
        },
    }
}
