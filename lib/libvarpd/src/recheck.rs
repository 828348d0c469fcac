// SPDX-License-Identifier: CDDL-1.0
//! Checking what the kernel knew of a link before varpd started.
//!
//! The association of a restored link is kept, see [`persist`](crate::persist), and with it the
//! kernel's cache, of which any entry may be out of date. Frames go on by it, while the plugin is
//! asked about each entry:
//!
//! ```text
//!   CACHE_ITER --> entry --> vpo_lookup --+-- same destination ---> stays as it is
//!                    |                    +-- nobody can say -----> stays as it is
//!                    |                    +-- another one --------> CACHE_SET
//!                    +-- of a drop --+    +-- none ---------------> CACHE_REMOVE
//!                                    +--> CACHE_REMOVE
//! ```
//!
//! To a plugin these are lookups like others: of an IPv4 frame from nobody, and without contents,
//! so that the proxies refuse it. The kernel does not know of them, and they are not counted.
//!
//! An entry that is another one by the time of the answer is newer than the question, and stays. If
//! the cache cannot be read or the plugin does not answer for long, the cache is flushed: then the
//! kernel asks anew.
use crate::instance::Instance;
use crate::{Varpd, lock, query};
use overlay_abi::errno::Errno;
use overlay_abi::ids::LinkId;
use overlay_abi::target::v2::{
    OVERLAY_TARGET_CACHE_ROUTER, overlay_targ_cache_net_entry_t, overlay_targ_route_iter_t,
};
use overlay_abi::target::*;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use zerocopy::FromZeros;

/// Most questions about one link that wait for an answer.
const OPEN_MAX: usize = 64;

/// How long a plugin may take until the next answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it takes at most to notice that varpd stops.
const TICK: Duration = Duration::from_millis(200);

/// Ethernet type of IPv4.
const ETHERTYPE_IPV4: u32 = 0x0800;

/// Why a cache was not checked to its end.
enum Stop {
    Quiesced,
    Failed(Errno),
}

/// How many questions about one link have no answer.
#[derive(Default)]
struct Open {
    count: Mutex<usize>,
    fewer: Condvar,
}

/// A question about an entry, open until it is dropped.
pub(crate) struct Check {
    entry: overlay_targ_cache_entry_t,
    open: Arc<Open>,
}

impl Varpd {
    /// Has the caches of links checked whose association was kept, each by a thread of its own.
    pub(crate) fn recheck(self: &Arc<Self>) {
        while let Some(working) = self.work() {
            let Some(instance) = lock(&self.instances).stale.pop() else { break };
            let link = instance.link();
            let check = move || {
                let varpd = &working.0;
                match varpd.check(&instance) {
                    Ok(()) => {}
                    Err(Stop::Quiesced) => lock(&varpd.instances).stale.push(instance),
                    Err(Stop::Failed(e)) => varpd.flush(link, e.name()),
                }
            };
            if let Err(e) = thread::Builder::new().name(format!("recheck-{link}")).spawn(check) {
                self.flush(link, &e.to_string());
            }
        }
    }

    /// Checks the cache of an instance's link, until the last answer or the instance's end.
    fn check(&self, instance: &Arc<Instance>) -> Result<(), Stop> {
        let link = instance.link();
        let open = Arc::new(Open::default());
        self.forget_routes(link).map_err(Stop::Failed)?;
        for entry in self.cache(link).map_err(Stop::Failed)? {
            if entry.otce_flags & OVERLAY_TARGET_CACHE_DROP != 0 {
                self.forget(link, &entry);
                continue;
            }
            open.wait(self, OPEN_MAX - 1)?;
            let mut request = overlay_targ_lookup_t::new_zeroed();
            request.otl_dlid = link.0.into();
            request.otl_varpdid = instance.id().0;
            request.otl_vnetid = instance.vnetid().0;
            request.otl_hdrsize = 14;
            request.otl_dstaddr = entry.otce_mac;
            request.otl_sap = ETHERTYPE_IPV4;
            if query::check(instance, request, || Check::new(entry, &open)).is_err() {
                break;
            }
        }
        (0..OPEN_MAX).rev().try_for_each(|most| open.wait(self, most))
    }

    /// All of a link's cache.
    fn cache(&self, link: LinkId) -> Result<Vec<overlay_targ_cache_entry_t>, Errno> {
        let (mut all, mut marker) = (Vec::new(), 0);
        loop {
            let (next, entries) = self.device.cache_iter(link, marker, OVERLAY_TARGET_ITER_MAX)?;
            if entries.is_empty() {
                return Ok(all);
            }
            all.extend(entries);
            marker = next;
        }
    }

    /// Has the kernel forget routers and routes: the plugin is asked for those that are in use.
    fn forget_routes(&self, link: LinkId) -> Result<(), Errno> {
        if !self.device.routed() {
            return Ok(());
        }
        let mut marker = [0; 2];
        loop {
            let max = OVERLAY_TARGET_ITER_MAX;
            let (next, entries) = self.device.cache_iter_v2(link, marker, max)?;
            if entries.is_empty() {
                break;
            }
            marker = next;
            let routers =
                entries.iter().filter(|e| e.otce_flags & OVERLAY_TARGET_CACHE_ROUTER != 0);
            for entry in routers {
                self.done(link, self.device.cache_remove_v2(link, entry.otce_mac));
            }
        }
        let mut from = overlay_targ_route_iter_t::new_zeroed();
        from.otri_linkid = link.0;
        loop {
            from.otri_count = OVERLAY_TARGET_ITER_MAX;
            let routes = self.device.routes(&mut from)?;
            if routes.is_empty() {
                return Ok(());
            }
            for route in routes {
                let net = overlay_targ_cache_net_entry_t {
                    otcne_src: route.otre_addr.otl3_srcip,
                    otcne_dst: route.otre_addr.otl3_dstip,
                    otcne_vlan: route.otre_vlan,
                    otcne_src_prefixlen: 128,
                    otcne_dst_prefixlen: 128,
                };
                self.done(link, self.device.remove_net(link, net));
            }
        }
    }

    fn forget(&self, link: LinkId, entry: &overlay_targ_cache_entry_t) {
        self.done(link, self.device.cache_remove(link, entry.mac()));
    }

    fn flush(&self, link: LinkId, why: &str) {
        slog::warn!(self.log, "the cache of a link cannot be checked, and is flushed: {why}"; "link" => link.0);
        self.done(link, self.device.cache_flush(link));
    }

    /// Whether the kernel has forgotten what it should. It may have before, with the link for example.
    fn done(&self, link: LinkId, result: Result<(), Errno>) {
        match result {
            Ok(()) | Err(Errno::ENOENT | Errno::ENXIO | Errno::ENOTSUP) => {}
            Err(e) => {
                slog::error!(self.log, "cannot renew the cache of a link"; "link" => link.0, "error" => e.name())
            }
        }
    }
}

impl Check {
    fn new(entry: overlay_targ_cache_entry_t, open: &Arc<Open>) -> Check {
        *lock(&open.count) += 1;
        Check { entry, open: Arc::clone(open) }
    }

    /// What the plugin says: where the entry's address is, or that it does not know.
    pub(crate) fn answer(self, varpd: &Varpd, link: LinkId, point: Option<overlay_target_point_t>) {
        let now = || varpd.device.cache_get(link, self.entry.mac());
        if point == Some(self.entry.otce_dest) || now() != Ok(self.entry) {
            return;
        }
        let set = |point| {
            let entry = overlay_targ_cache_entry_t { otce_dest: point, ..self.entry };
            varpd.device.cache_set(link, entry)
        };
        // What the kernel does not take is no destination.
        if point.is_none_or(|point| set(point).is_err()) {
            varpd.forget(link, &self.entry);
        }
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        *lock(&self.open.count) -= 1;
        self.open.fewer.notify_all();
    }
}

impl Open {
    /// Waits until at most so many are open.
    fn wait(&self, varpd: &Varpd, most: usize) -> Result<(), Stop> {
        let end = Instant::now() + PATIENCE;
        while !lock(&varpd.lookups).quiesce {
            let wait = self.fewer.wait_timeout_while(lock(&self.count), TICK, |n| *n > most);
            let (count, _) = wait.unwrap_or_else(PoisonError::into_inner);
            if *count <= most {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Stop::Failed(Errno::ETIMEDOUT));
            }
        }
        Err(Stop::Quiesced)
    }
}
