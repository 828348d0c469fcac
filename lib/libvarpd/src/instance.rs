// SPDX-License-Identifier: CDDL-1.0
//! Life of an instance: created, activated, destroyed (spec/varpd.md 2.2).
use crate::gate::{Gate, Pass, Phase};
use crate::persist::{self, Record};
use crate::plugin::{Kind, Plugin};
use crate::stats::OfInstance;
use crate::token::{Token, Tokens};
use crate::{Varpd, lock};
use nvpair::{Handle, List};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, MacAddr, VarpdId, VnetId};
use overlay_abi::provider::varpd_provider_handle_t;
use overlay_abi::target::{overlay_targ_info_t, overlay_target_point_t};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, Weak};
use zerocopy::FromZeros;

/// Provider handles of all instances that have not been destroyed.
static PROVIDERS: Tokens<Weak<Instance>> = Tokens::new();

/// One object of a plugin, bound to one overlay link.
#[derive(Debug)]
pub struct Instance {
    varpd: Weak<Varpd>,
    id: VarpdId,
    link: LinkId,
    vnetid: VnetId,
    dcid: u32,
    dest: u32,
    plugin: Arc<Plugin>,
    provider: Token,
    /// The plugin's object; set once by `vpo_create`, used inside the gate.
    private: AtomicPtr<c_void>,
    gate: Gate,
    admin: Mutex<Stage>,
    /// Whether the plugin says that its link is degraded.
    degraded: AtomicBool,
    /// What it counts.
    pub(crate) stats: OfInstance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Created,
    Active,
    Gone,
}

/// How far an instance came before something failed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("it is active")]
    Active,
    #[error("it is destroyed")]
    Gone,
    #[error("plugin \"{0}\" does not start it: {1}")]
    Start(String, Errno),
    #[error("plugin \"{0}\" has no destination")]
    NoDestination(String),
    #[error("plugin \"{0}\" does not save its state: {1}")]
    Save(String, Errno),
    #[error("its file cannot be written: {0}")]
    File(Errno),
    #[error("the kernel does not associate its link: {0}")]
    Associate(Errno),
}

impl Failure {
    fn errno(&self) -> Errno {
        match self {
            Failure::Active => Errno::EEXIST,
            Failure::Gone => Errno::ENOENT,
            Failure::NoDestination(_) => Errno(-1),
            Failure::Start(_, e)
            | Failure::Save(_, e)
            | Failure::File(e)
            | Failure::Associate(e) => *e,
        }
    }
}

impl Instance {
    /// Makes the plugin's object. Errors are the plugin's.
    pub(crate) fn create(
        varpd: &Arc<Varpd>,
        id: VarpdId,
        link: LinkId,
        info: &overlay_targ_info_t,
        plugin: Arc<Plugin>,
    ) -> Result<Arc<Instance>, Errno> {
        Instance::make(varpd, id, link, info, plugin, |plugin, provider, dest| {
            // SAFETY: the handle of the new instance.
            unsafe { plugin.create(provider, dest) }
        })
    }

    /// Makes the plugin's object from what it saved. Errors are the plugin's.
    pub(crate) fn restore(
        varpd: &Arc<Varpd>,
        id: VarpdId,
        link: LinkId,
        info: &overlay_targ_info_t,
        plugin: Arc<Plugin>,
        saved: &List,
    ) -> Result<Arc<Instance>, Errno> {
        let mut saved = Handle::from_list(saved).map_err(|e| e.errno())?;
        Instance::make(varpd, id, link, info, plugin, |plugin, provider, dest| {
            // SAFETY: the handle of the new instance, and a list of our own.
            unsafe { plugin.restore(saved.as_ptr(), provider, dest) }
        })
    }

    fn make(
        varpd: &Arc<Varpd>,
        id: VarpdId,
        link: LinkId,
        info: &overlay_targ_info_t,
        plugin: Arc<Plugin>,
        object: impl FnOnce(&Plugin, *mut varpd_provider_handle_t, u32) -> Result<*mut c_void, Errno>,
    ) -> Result<Arc<Instance>, Errno> {
        let instance = Arc::new_cyclic(|me| Instance {
            varpd: Arc::downgrade(varpd),
            id,
            link,
            vnetid: VnetId(info.oti_vnetid),
            // It has one as long as it has the rest.
            dcid: varpd.device.dcid(link).unwrap_or(0),
            dest: info.oti_needs,
            plugin,
            provider: PROVIDERS.insert(Weak::clone(me)),
            private: AtomicPtr::default(),
            gate: Gate::new(),
            admin: Mutex::new(Stage::Created),
            degraded: AtomicBool::new(false),
            stats: OfInstance::default(),
        });
        let private = object(&instance.plugin, instance.provider.as_ptr(), instance.dest)?;
        instance.private.store(private, Ordering::Release);
        Ok(instance)
    }

    /// The instance a plugin's handle stands for, unless it was destroyed.
    pub fn of_provider(handle: *mut varpd_provider_handle_t) -> Option<Arc<Instance>> {
        PROVIDERS.get(Token::from_ptr(handle))?.upgrade()
    }

    /// The handle that programs in C have of it, also its plugin.
    pub fn provider(&self) -> *mut varpd_provider_handle_t {
        self.provider.as_ptr()
    }

    /// Its number.
    pub fn id(&self) -> VarpdId {
        self.id
    }

    /// Its link.
    pub fn link(&self) -> LinkId {
        self.link
    }

    /// Virtual network of the link.
    pub fn vnetid(&self) -> VnetId {
        self.vnetid
    }

    /// Data center of the link, 0 where there are none.
    pub fn dcid(&self) -> u32 {
        self.dcid
    }

    /// Parts that a destination has, `OVERLAY_PLUGIN_D_*`.
    pub fn dest(&self) -> u32 {
        self.dest
    }

    /// Its plugin.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// The varpd it belongs to, unless that is gone.
    pub fn varpd(&self) -> Option<Arc<Varpd>> {
        self.varpd.upgrade()
    }

    /// How far it has come.
    pub(crate) fn phase(&self) -> Phase {
        self.gate.phase()
    }

    /// Leave to call the plugin, and the object to call it with. `None` once it was destroyed, or,
    /// if `least` is `Started`, while it is not started.
    pub(crate) fn enter(&self, least: Phase) -> Option<(Pass<'_>, *mut c_void)> {
        let pass = self.gate.enter(least)?;
        Some((pass, self.private.load(Ordering::Acquire)))
    }

    /// Notes what the plugin says of its link.
    pub(crate) fn set_degraded(&self, degraded: bool) {
        self.degraded.store(degraded, Ordering::Release);
    }

    /// Whether the plugin says that its link is degraded.
    pub(crate) fn is_degraded(&self) -> bool {
        self.degraded.load(Ordering::Acquire)
    }

    /// What the plugin tells of it; `None` if it tells nothing, or nothing that is JSON.
    pub(crate) fn told(&self) -> Option<serde_json::Value> {
        let report = self.plugin.ops.report?;
        let (_pass, private) = self.enter(Phase::Created)?;
        // SAFETY: this plugin's function, and a created object.
        let told = unsafe { self.plugin.report(report, private) };
        serde_json::from_slice(&told.ok()?).ok()
    }

    /// Starts the plugin, writes the instance's file and associates the link. After an error it is as
    /// before, and has no file.
    ///
    /// # Errors
    /// `EEXIST`: active already; `ENOENT`: destroyed meanwhile; -1, as in the original, if a plugin
    /// of point mode has no destination; else the plugin's, the file system's or the kernel's.
    pub fn activate(&self) -> Result<(), Errno> {
        let up = self.bring_up(|varpd| {
            let point = self.point()?;
            // There is one varpd only, and this is its one instance of the link. An association that
            // is there was left by a varpd that died while it destroyed an instance; with a file it
            // would look as if it were ours.
            match varpd.device.disassociate(self.link) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(e) => return Err(Failure::Associate(e)),
            }
            self.write_file(varpd)?;
            let associated = self.associate(varpd, point).map_err(Failure::Associate);
            if associated.is_err() {
                self.remove_file(varpd);
            }
            associated
        });
        match (up, self.varpd()) {
            (Ok(()), Some(varpd)) => varpd.replaced(self),
            (Err(failure), Some(varpd)) => {
                slog::warn!(varpd.log, "instance not activated: {failure}";
                    "instance" => self.id.0, "link" => self.link.0);
                return Err(failure.errno());
            }
            (up, None) => return up.map_err(|failure| failure.errno()),
        }
        Ok(())
    }

    /// Starts the plugin of a restored instance and associates its link, unless the last varpd's
    /// association is still there, as it is when that was killed: it is this instance's, see
    /// [`persist`]. Frames then never see a link without a target. `true` if it was kept and the
    /// kernel has a cache that may be out of date. After an error all is as before.
    pub(crate) fn resume(&self) -> Result<bool, Failure> {
        let mut kept = false;
        self.bring_up(|varpd| {
            let point = self.point()?;
            match self.associate(varpd, point) {
                Err(Errno::EEXIST) if matches!(self.plugin.kind, Kind::Dynamic(_)) => kept = true,
                Err(Errno::EEXIST) => {
                    let now = varpd.device.cache_get(self.link, MacAddr::ZERO);
                    if now.is_ok_and(|now| now.otce_dest.underlay() == point.underlay()) {
                        return Ok(());
                    }
                    let again = varpd.device.disassociate(self.link);
                    again
                        .and_then(|()| self.associate(varpd, point))
                        .map_err(Failure::Associate)?;
                }
                result => result.map_err(Failure::Associate)?,
            }
            Ok(())
        })?;
        Ok(kept)
    }

    /// Starts the plugin and does the rest, or stops it again.
    fn bring_up(
        &self,
        rest: impl FnOnce(&Arc<Varpd>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut stage = lock(&self.admin);
        match *stage {
            Stage::Created => {}
            Stage::Active => return Err(Failure::Active),
            Stage::Gone => return Err(Failure::Gone),
        }
        let varpd = self.varpd().ok_or(Failure::Gone)?;
        let (pass, private) = self.enter(Phase::Created).ok_or(Failure::Gone)?;
        // SAFETY: vpo_start of a created object that is not started, since `admin` is held.
        let started = unsafe { self.plugin.start(private) };
        started.map_err(|e| Failure::Start(self.plugin.name().to_owned(), e))?;
        drop(pass);
        self.gate.open();
        let result = rest(&varpd);
        match result {
            Ok(()) => *stage = Stage::Active,
            Err(_) => {
                self.gate.drain();
                // SAFETY: vpo_stop of a started object with no lookup running.
                unsafe { self.plugin.stop(private) };
            }
        }
        result
    }

    /// The destination of a plugin of point mode.
    fn point(&self) -> Result<overlay_target_point_t, Failure> {
        let Kind::Point(default) = self.plugin.kind else {
            return Ok(overlay_target_point_t::new_zeroed());
        };
        let (_pass, private) = self.enter(Phase::Started).ok_or(Failure::Gone)?;
        // SAFETY: this plugin's function, and a started object.
        let answer = unsafe { self.plugin.default(default, private) };
        answer.ok_or_else(|| Failure::NoDestination(self.plugin.name().to_owned()))
    }

    fn associate(&self, varpd: &Varpd, point: overlay_target_point_t) -> Result<(), Errno> {
        varpd.device.associate(self.link, self.plugin.mode(), self.id, self.dest, point)
    }

    /// What the plugin saves.
    fn save(&self) -> Result<List, Errno> {
        let mut saved = Handle::from_list(&List::new()).map_err(|e| e.errno())?;
        let (_pass, private) = self.enter(Phase::Started).ok_or(Errno::ENOENT)?;
        // SAFETY: vpo_save of a started object, and a list of our own.
        unsafe { self.plugin.save(private, saved.as_ptr()) }?;
        saved.to_list().map_err(|e| e.errno())
    }

    fn write_file(&self, varpd: &Varpd) -> Result<(), Failure> {
        let Some(store) = varpd.store() else { return Ok(()) };
        let plugin = self.plugin.name().to_owned();
        let private = self.save().map_err(|e| Failure::Save(plugin.clone(), e))?;
        let (mode, dest) = (self.plugin.mode(), self.dest);
        let record = Record { id: self.id, link: self.link, dest, mode, plugin, private };
        let written = persist::encode(&record)
            .map_err(persist::Error::from)
            .and_then(|bytes| store.write(self.id, &bytes));
        self.stats.persisted(self.id, written.as_ref().copied());
        written.map_err(|e| {
            // It may be there all the same.
            self.remove_file(varpd);
            slog::error!(varpd.log, "{e}"; "instance" => self.id.0);
            Failure::File(e.errno())
        })
    }

    /// Writes the file of an active instance again, after a property was set.
    ///
    /// # Errors
    /// The plugin's or the file system's. The property is set, and the file is what it was.
    pub(crate) fn keep_up(&self) -> Result<(), Errno> {
        let stage = lock(&self.admin);
        match (*stage, self.varpd()) {
            (Stage::Active, Some(varpd)) => self.write_file(&varpd).map_err(|e| e.errno()),
            _ => Ok(()),
        }
    }

    fn remove_file(&self, varpd: &Varpd) {
        if let Some(store) = varpd.store()
            && let Err(e) = store.remove(self.id)
        {
            slog::error!(varpd.log, "{e}; this instance will come back when varpd starts";
                "instance" => self.id.0);
        }
    }

    /// Takes it apart in reverse order, as far as it had come. Called once, after it can no longer
    /// be found.
    pub(crate) fn destroy(&self) {
        let mut stage = lock(&self.admin);
        let active = std::mem::replace(&mut *stage, Stage::Gone) == Stage::Active;
        if active && let Some(varpd) = self.varpd() {
            self.remove_file(&varpd);
            match varpd.device.disassociate(self.link) {
                // dladm deletes the device first.
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(e) => slog::warn!(varpd.log, "cannot disassociate link";
                    "instance" => self.id.0, "link" => self.link.0, "error" => e.name()),
            }
        }
        self.gate.close();
        let private = self.private.load(Ordering::Acquire);
        // SAFETY: the object was created; nobody else is in it or will be, since the gate is closed
        // and `Gone` keeps activation out. Stop if and only if it was started.
        unsafe {
            if active {
                self.plugin.stop(private);
            }
            self.plugin.destroy(private);
        }
        PROVIDERS.remove(self.provider);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        PROVIDERS.remove(self.provider);
    }
}
