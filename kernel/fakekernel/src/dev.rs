// SPDX-License-Identifier: CDDL-1.0
//! /dev: opening a device, its ioctls, and closing it when the handle drops.
use crate::check::{Kind, violation};
use crate::cred::Cred;
use crate::devinfo::{DevInfo, getmajor, makedevice};
use crate::user::{self, UserMem};
use illumos_sys_hdrs::{DDI_MODEL_ILP32, DDI_MODEL_LP64, OTYP_CHR, cb_ops, dev_t, minor_t};
use overlay_abi::errno::Errno;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::sync::Arc;

/// The data model of whoever calls ioctl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// 64-bit.
    Lp64,
    /// 32-bit.
    Ilp32,
}

impl Model {
    /// The bits ioctl's mode carries.
    pub fn bits(self) -> c_int {
        let bits = match self {
            Model::Lp64 => DDI_MODEL_LP64,
            Model::Ilp32 => DDI_MODEL_ILP32,
        };
        bits as c_int
    }
}

/// A device the kernel itself serves.
pub trait Dev: Send + Sync {
    /// An open with FREAD, FWRITE...; nothing to remember, an error refuses.
    fn open(&self, flags: i32, cred: &Cred) -> Result<(), Errno>;
    /// As cb_ioctl: `mode` has the open's flags and the model's bits; user memory is reached by
    /// ddi_copyin and ddi_copyout.
    fn ioctl(&self, cmd: i32, arg: u64, mode: i32, cred: &Cred) -> Result<i32, Errno>;
}

#[derive(Clone)]
pub(crate) enum Node {
    Driver(Arc<DevInfo>, minor_t),
    Kernel(Arc<dyn Dev>),
}

static NODES: Mutex<BTreeMap<String, Node>> = Mutex::new(BTreeMap::new());

/// Makes a device of the kernel's own appear at `path`, instead of one that was there.
pub fn register(path: &str, dev: Arc<dyn Dev>) {
    NODES.lock().insert(path.to_string(), Node::Kernel(dev));
}

/// Removes what [`register`] made. Handles stay usable.
pub fn unregister(path: &str) {
    NODES.lock().remove(path);
}

/// The paths that can be opened now.
pub fn nodes() -> Vec<String> {
    NODES.lock().keys().cloned().collect()
}

pub(crate) fn add_node(path: &str, node: Node) -> Result<(), ()> {
    let mut nodes = NODES.lock();
    if nodes.contains_key(path) {
        return Err(());
    }
    nodes.insert(path.to_string(), node);
    Ok(())
}

/// Removes one or all minor nodes of a driver; the paths removed.
pub(crate) fn remove_nodes(dip: &Arc<DevInfo>, name: Option<&str>) -> Vec<String> {
    let path = name.map(|n| format!("/dev/{n}"));
    let mut gone = Vec::new();
    NODES.lock().retain(|p, n| {
        let theirs = matches!(n, Node::Driver(d, _) if Arc::ptr_eq(d, dip));
        let go = theirs && path.as_ref().is_none_or(|want| want == p);
        if go {
            gone.push(p.clone());
        }
        !go
    });
    gone
}

enum Target {
    Driver { dip: Arc<DevInfo>, dev: dev_t, ops: &'static cb_ops },
    Kernel(Arc<dyn Dev>),
}

/// An open device. Any number of threads may use it at once; dropping it closes.
pub struct OpenDev {
    target: Target,
    flags: c_int,
    cred: Cred,
}

fn errno(e: c_int) -> Result<(), Errno> {
    if e == 0 { Ok(()) } else { Err(Errno(e)) }
}

/// Opens a device with FREAD, FWRITE, FEXCL... of illumos.
///
/// ENOENT: no such node. ENXIO: the driver is going. Else what the driver says.
pub fn open(path: &str, flags: c_int, cred: &Cred) -> Result<OpenDev, Errno> {
    let node = NODES.lock().get(path).cloned().ok_or(Errno::ENOENT)?;
    let (dip, minor) = match node {
        Node::Driver(dip, minor) => (dip, minor),
        Node::Kernel(dev) => {
            dev.open(flags, cred)?;
            return Ok(OpenDev { target: Target::Kernel(dev), flags, cred: *cred });
        }
    };
    {
        let mut s = dip.state.lock();
        if !s.attached {
            return Err(Errno::ENXIO);
        }
        s.opens += 1;
    }
    let opened = open_driver(&dip, minor, flags, cred);
    match opened {
        Ok((dev, ops)) => {
            Ok(OpenDev { target: Target::Driver { dip, dev, ops }, flags, cred: *cred })
        }
        Err(e) => {
            dip.state.lock().opens -= 1;
            Err(e)
        }
    }
}

fn open_driver(
    dip: &Arc<DevInfo>,
    minor: minor_t,
    flags: c_int,
    cred: &Cred,
) -> Result<(dev_t, &'static cb_ops), Errno> {
    // SAFETY: the ops of a driver stay while it is attached, and it stays attached while `opens`
    // counts us.
    let ops: &'static cb_ops = unsafe { (*dip.ops).devo_cb_ops.as_ref() }.ok_or(Errno::ENXIO)?;
    let cb_open = ops.cb_open.ok_or(Errno::ENXIO)?;
    let mut dev = makedevice(dip.major, minor);
    let _one_at_a_time = dip.opening.lock();
    // SAFETY: open(9E). The driver may put another minor number into dev: a clone.
    errno(unsafe { cb_open(&mut dev, flags, OTYP_CHR, cred.as_ptr()) })?;
    if getmajor(dev) != dip.major {
        violation(Kind::Misuse, format!("open of {} changed the major number", dip.name));
    }
    *dip.state.lock().by_dev.entry(dev).or_default() += 1;
    Ok((dev, ops))
}

impl OpenDev {
    /// One ioctl. `cmd` and `arg` are the driver's business; memory the caller refers to is reached
    /// through `mem`.
    pub fn ioctl(
        &self,
        cmd: c_int,
        arg: u64,
        model: Model,
        mem: &dyn UserMem,
    ) -> Result<i32, Errno> {
        let mode = self.flags | model.bits();
        user::with(mem, || match &self.target {
            Target::Kernel(dev) => dev.ioctl(cmd, arg, mode, &self.cred),
            Target::Driver { dev, ops, .. } => {
                let cb_ioctl = ops.cb_ioctl.ok_or(Errno::ENOTTY)?;
                let mut rval = 0;
                // SAFETY: ioctl(9E), on a device that is open.
                errno(unsafe {
                    cb_ioctl(*dev, cmd, arg as isize, mode, self.cred.as_ptr(), &mut rval)
                })?;
                Ok(rval)
            }
        })
    }
}

impl Drop for OpenDev {
    fn drop(&mut self) {
        let Target::Driver { dip, dev, ops } = &self.target else { return };
        let one_at_a_time = dip.opening.lock();
        let last = {
            let mut s = dip.state.lock();
            let left = s.by_dev.entry(*dev).or_default();
            *left = left.saturating_sub(1);
            let last = *left == 0;
            if last {
                s.by_dev.remove(dev);
            }
            last
        };
        if let (true, Some(cb_close)) = (last, ops.cb_close) {
            // SAFETY: close(9E), the last of this device number.
            unsafe { cb_close(*dev, self.flags, OTYP_CHR, self.cred.as_ptr()) };
        }
        drop(one_at_a_time);
        dip.state.lock().opens -= 1;
    }
}
