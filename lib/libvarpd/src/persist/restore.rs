// SPDX-License-Identifier: CDDL-1.0
//! Instances of files at the start of varpd, and what becomes of a file that gives none.
use super::store::{Candidate, Store};
use super::{Broken, Error, Fault, Record, SIZE_MAX, decode, file_name};
use crate::instance::Instance;
use crate::{Varpd, lock};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, VarpdId};
use overlay_abi::target::OVERLAY_TARG_INFO_F_DEGRADED;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// Why a link is degraded of which no file says anything.
const NO_INSTANCE: &str = "no varpd instance exists";

/// An instance whose file is good, or cannot be read, and that is not restored for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its number, of which no other instance gets.
    pub id: VarpdId,
    /// Its link, if its file could be read.
    pub link: Option<LinkId>,
    /// Its file.
    pub file: String,
    /// Why.
    pub reason: String,
    /// Whether it is tried again before the next start.
    pub again: bool,
}

/// Why an instance is not restored now.
struct Later {
    reason: String,
    again: bool,
}

impl Later {
    fn again(reason: String) -> Later {
        Later { reason, again: true }
    }

    fn at_start(reason: String) -> Later {
        Later { reason, again: false }
    }
}

/// What a file says, or why it cannot be read now, or that it is broken.
fn examine(bytes: io::Result<Vec<u8>>) -> Result<Result<Record, Broken>, io::Error> {
    let bytes = bytes?;
    Ok(if bytes.len() as u64 > SIZE_MAX { Err(Broken::Long) } else { decode(&bytes) })
}

impl Varpd {
    /// Keeps active instances in files of this directory from now on. Those that are active already
    /// are not written.
    ///
    /// # Errors
    /// `Enabled`, `NotADirectory`, or `Io`: it cannot be opened.
    pub fn persist_enable(&self, directory: &Path) -> Result<(), Error> {
        self.persist_with(directory, None)
    }

    /// [`Varpd::persist_enable`], for tests of what happens when a step fails.
    ///
    /// # Errors
    /// As there.
    pub fn persist_with(&self, directory: &Path, fault: Option<Fault>) -> Result<(), Error> {
        let mut persist = lock(&self.persist);
        if persist.is_some() {
            return Err(Error::Enabled);
        }
        *persist = Some(Arc::new(Store::open(directory, fault)?));
        Ok(())
    }

    /// Neither writes nor removes files any more, apart from calls in progress.
    ///
    /// # Errors
    /// `Disabled`: it is not enabled.
    pub fn persist_disable(&self) -> Result<(), Error> {
        lock(&self.persist).take().map(drop).ok_or(Error::Disabled)
    }

    pub(crate) fn store(&self) -> Option<Arc<Store>> {
        lock(&self.persist).clone()
    }

    /// Makes the instances of all files. Of two files for one link or with one number the one that
    /// has its right name, else the newer one, counts, and the other one is moved aside. Links that
    /// have no instance in the end are degraded.
    ///
    /// # Errors
    /// `Disabled`, or the directory or the list of links cannot be read. What is wrong with a single
    /// file is logged.
    pub fn persist_restore(self: &Arc<Self>) -> Result<(), Error> {
        let store = self.store().ok_or(Error::Disabled)?;
        match store.clean()? {
            0 => {}
            n => slog::info!(self.log, "removed {n} files that were being written"),
        }
        let mut good = Vec::new();
        for Candidate { name, number, written, bytes } in store.candidates()? {
            match examine(bytes) {
                Ok(Ok(record)) => {
                    let right = name == file_name(record.id);
                    good.push(((right, written, number), name, record));
                }
                Ok(Err(broken)) => self.move_aside(&store, &name, "broken", &broken.to_string()),
                Err(e) => self.wait(VarpdId(number), None, &name, unreadable(&e)),
            }
        }
        // Those that count first.
        good.sort_by(|(a, ..), (b, ..)| b.cmp(a));
        let (mut ids, mut links) = (BTreeSet::new(), BTreeSet::new());
        let unique = |(_, name, record): &(_, String, Record)| {
            // Both, whatever comes of the first one.
            if links.insert(record.link) & ids.insert(record.id) {
                return true;
            }
            let why = "another file has the same number, or is for the same link, and counts";
            self.move_aside(&store, name, "duplicate", why);
            false
        };
        good.retain(unique);
        good.sort_by_key(|(_, _, record)| record.id);
        for (_, name, record) in good {
            self.restore(&store, name, &record);
        }
        self.degrade_orphans()
    }

    /// Tries to restore waiting instances once more, but for those whose link was gone. Cheap when
    /// none waits.
    pub fn persist_retry(self: &Arc<Self>) {
        let Some(store) = self.store() else { return };
        for waiting in self.waiting().into_iter().filter(|w| w.again) {
            match examine(store.read(&waiting.file)) {
                Ok(Ok(record)) => self.restore(&store, waiting.file, &record),
                Ok(Err(broken)) => {
                    lock(&self.instances).waiting.remove(&waiting.id);
                    self.move_aside(&store, &waiting.file, "broken", &broken.to_string());
                }
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    lock(&self.instances).waiting.remove(&waiting.id);
                    slog::info!(self.log, "instance given up: its file is gone";
                        "instance" => waiting.id.0, "file" => waiting.file);
                }
                Err(e) => self.wait(waiting.id, waiting.link, &waiting.file, unreadable(&e)),
            }
        }
        self.recheck();
    }

    /// Instances that are not restored for now.
    pub fn waiting(&self) -> Vec<Waiting> {
        lock(&self.instances).waiting.values().cloned().collect()
    }

    /// Restores an instance, or has it wait.
    fn restore(self: &Arc<Self>, store: &Store, mut name: String, record: &Record) {
        if name != file_name(record.id) {
            match store.right_name(&name, record.id) {
                Ok(true) => {
                    slog::warn!(self.log, "the name of a file was not that of its instance";
                        "file" => &name, "instance" => record.id.0);
                    name = file_name(record.id);
                }
                Ok(false) => {
                    let why = "another file has the name of its instance";
                    return self.move_aside(store, &name, "duplicate", why);
                }
                Err(e) => {
                    let later = Later::again(e.to_string());
                    return self.wait(record.id, Some(record.link), &name, later);
                }
            }
        }
        match self.revive(record) {
            Ok(()) => {
                let waited = lock(&self.instances).waiting.remove(&record.id).is_some();
                slog::info!(self.log, "instance restored"; "instance" => record.id.0,
                    "link" => record.link.0, "search" => &record.plugin, "waited" => waited);
            }
            Err(later) => self.wait(record.id, Some(record.link), &name, later),
        }
    }

    /// Makes the instance of a record and associates its link.
    fn revive(self: &Arc<Self>, record: &Record) -> Result<(), Later> {
        let Record { id, link, .. } = *record;
        let name = &record.plugin;
        let plugin = self.plugin(name);
        let plugin =
            plugin.ok_or_else(|| Later::again(format!("plugin \"{name}\" is not loaded")))?;
        if plugin.mode() != record.mode {
            let why = format!("plugin \"{name}\" is of another mode than it was");
            return Err(Later::at_start(why));
        }
        let info = self.device.info(link).map_err(|e| match e {
            Errno::ENOENT => Later::at_start(format!("there is no overlay link {link}")),
            e => Later::again(format!("the kernel does not tell about link {link}: {e}")),
        })?;
        if info.oti_needs != record.dest {
            let why = format!("the encapsulation of link {link} is another one than it was");
            return Err(Later::at_start(why));
        }
        let taken = || Later::again(format!("link {link} has an instance"));
        lock(&self.instances).reserve_exactly(link, id).map_err(|_| taken())?;
        let made = Instance::restore(self, id, link, &info, plugin, &record.private);
        let instance = made.map_err(|e| {
            lock(&self.instances).links.remove(&link);
            Later::again(format!("plugin \"{name}\" does not restore it: {e}"))
        })?;
        // Lookups come as soon as the link is associated.
        lock(&self.instances).live.insert(id, Arc::clone(&instance));
        let kept = instance.resume().map_err(|failure| {
            // A client may have destroyed it meanwhile.
            let _ = self.destroy(id);
            Later::again(failure.to_string())
        })?;
        let told = {
            let mut instances = lock(&self.instances);
            if kept {
                instances.stale.push(Arc::clone(&instance));
            }
            instances.degraded.remove(&link)
        };
        if told || info.oti_flags & OVERLAY_TARG_INFO_F_DEGRADED != 0 {
            self.undegrade(&instance);
        }
        Ok(())
    }

    /// The link of an instance is not degraded any more, unless its plugin has said so by now.
    fn undegrade(&self, instance: &Instance) {
        if instance.is_degraded() {
            return;
        }
        if let Err(e) = self.device.restore(instance.link()) {
            slog::warn!(self.log, "cannot end the degradation of a link";
                "link" => instance.link().0, "error" => e.name());
        }
    }

    /// Notes that an instance is not restored now, and says so if that is news.
    fn wait(&self, id: VarpdId, link: Option<LinkId>, file: &str, later: Later) {
        let Later { reason, again } = later;
        let waiting = Waiting { id, link, file: file.to_owned(), reason, again };
        if let Some(link) = link {
            self.degrade(link, &format!("varpd instance {id}: {}", waiting.reason));
        }
        let old = lock(&self.instances).waiting.insert(id, waiting.clone());
        if old.is_none_or(|old| old.reason != waiting.reason) {
            slog::error!(self.log, "instance not restored, its file is kept: {}", waiting.reason;
                "instance" => id.0, "link" => link.map(|l| l.0), "file" => file,
                "tried again" => if again { "soon" } else { "when varpd starts" });
        }
    }

    fn move_aside(&self, store: &Store, name: &str, kind: &str, why: &str) {
        match store.move_aside(name, kind) {
            Ok(to) => slog::error!(self.log, "file moved aside: {why}"; "file" => name, "to" => to),
            Err(e) => slog::error!(self.log, "file ignored: {why}, and {e}"; "file" => name),
        }
    }

    fn degrade(&self, link: LinkId, why: &str) {
        match self.device.degrade(link, why.as_bytes()) {
            Ok(()) => {
                lock(&self.instances).degraded.insert(link);
            }
            Err(Errno::ENOENT) => {}
            Err(e) => slog::warn!(self.log, "cannot degrade a link";
                "link" => link.0, "error" => e.name()),
        }
    }

    /// Degrades the links that neither have an instance nor are waited for.
    fn degrade_orphans(&self) -> Result<(), Error> {
        for link in self.device.links().map_err(Error::Links)? {
            let known = {
                let instances = lock(&self.instances);
                let waiting = instances.waiting.values().any(|w| w.link == Some(link));
                waiting || instances.links.contains_key(&link)
            };
            if !known {
                slog::warn!(self.log, "link degraded: {NO_INSTANCE}"; "link" => link.0);
                self.degrade(link, NO_INSTANCE);
            }
        }
        Ok(())
    }

    /// A link got an active instance by a client: what was said here of the link is not true any
    /// more, and an instance that waited for it is replaced.
    pub(crate) fn replaced(&self, by: &Instance) {
        let link = by.link();
        let (told, old) = {
            let mut instances = lock(&self.instances);
            let old = instances.waiting.values().find(|w| w.link == Some(link)).cloned();
            let old = old.and_then(|old| instances.waiting.remove(&old.id));
            (instances.degraded.remove(&link), old)
        };
        if told {
            self.undegrade(by);
        }
        if let (Some(old), Some(store)) = (old, self.store()) {
            slog::info!(self.log, "a new instance replaces one that was not restored";
                "link" => link.0, "instance" => by.id().0, "replaced" => old.id.0);
            if let Err(e) = store.remove_name(&old.file) {
                slog::error!(self.log, "{e}");
            }
        }
    }
}

fn unreadable(e: &io::Error) -> Later {
    Later::again(format!("its file cannot be read: {e}"))
}
