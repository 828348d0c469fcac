// SPDX-License-Identifier: CDDL-1.0
//! Life of an instance: created, activated, destroyed (spec/varpd.md 2.2).
use crate::gate::{Gate, Pass, Phase};
use crate::plugin::{Kind, Plugin};
use crate::stats::OfInstance;
use crate::token::{Token, Tokens};
use crate::{Varpd, lock};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, VarpdId, VnetId};
use overlay_abi::provider::varpd_provider_handle_t;
use overlay_abi::target::{overlay_targ_info_t, overlay_target_point_t};
use std::ffi::c_void;
use std::sync::atomic::{AtomicPtr, Ordering};
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
    dest: u32,
    plugin: Arc<Plugin>,
    provider: Token,
    /// The plugin's object; set once by `vpo_create`, used inside the gate.
    private: AtomicPtr<c_void>,
    gate: Gate,
    admin: Mutex<Stage>,
    /// What it counts.
    pub(crate) stats: OfInstance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Created,
    Active,
    Gone,
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
        let instance = Arc::new_cyclic(|me| Instance {
            varpd: Arc::downgrade(varpd),
            id,
            link,
            vnetid: VnetId(info.oti_vnetid),
            dest: info.oti_needs,
            plugin,
            provider: PROVIDERS.insert(Weak::clone(me)),
            private: AtomicPtr::default(),
            gate: Gate::new(),
            admin: Mutex::new(Stage::Created),
            stats: OfInstance::default(),
        });
        let provider = instance.provider.as_ptr();
        // SAFETY: the handle of this instance.
        let private = unsafe { instance.plugin.create(provider, instance.dest) }?;
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

    /// Starts the plugin and associates the link with it. After an error it is as before.
    ///
    /// # Errors
    /// `EEXIST`: active already; `ENOENT`: destroyed meanwhile; -1, as in the original, if a plugin
    /// of point mode has no destination; else the plugin's or the kernel's.
    pub fn activate(&self) -> Result<(), Errno> {
        let mut stage = lock(&self.admin);
        match *stage {
            Stage::Created => {}
            Stage::Active => return Err(Errno::EEXIST),
            Stage::Gone => return Err(Errno::ENOENT),
        }
        let (pass, private) = self.enter(Phase::Created).ok_or(Errno::ENOENT)?;
        // SAFETY: vpo_start of a created object that is not started, since `admin` is held.
        unsafe { self.plugin.start(private) }?;
        drop(pass);
        self.gate.open();
        // The persistent form will be written here, so that it exists for every association.
        let result = self.associate();
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

    fn associate(&self) -> Result<(), Errno> {
        let varpd = self.varpd().ok_or(Errno::ENXIO)?;
        let mut point = overlay_target_point_t::new_zeroed();
        if let Kind::Point(default) = self.plugin.kind {
            let (_pass, private) = self.enter(Phase::Started).ok_or(Errno::ENOENT)?;
            // SAFETY: this plugin's function, and a started object.
            point = unsafe { self.plugin.default(default, private) }.ok_or(Errno(-1))?;
        }
        varpd.device.associate(self.link, self.plugin.mode(), self.id, self.dest, point)
    }

    /// Takes it apart in reverse order, as far as it had come. Called once, after it can no longer
    /// be found.
    pub(crate) fn destroy(&self) {
        let mut stage = lock(&self.admin);
        let active = std::mem::replace(&mut *stage, Stage::Gone) == Stage::Active;
        if active && let Some(varpd) = self.varpd() {
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
