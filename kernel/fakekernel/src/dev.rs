// SPDX-License-Identifier: CDDL-1.0
//! /dev: opening a device or a stream, its ioctls, and closing it when the handle drops.
use crate::check::{Kind, violation};
use crate::cred::Cred;
use crate::devinfo::{DevInfo, getmajor, makedevice};
use crate::sdev;
use crate::streams::Stream;
use crate::streams::perim::Perim;
use crate::user::{self, UserMem};
use illumos_sys_hdrs::{
    D_MTPERMOD, DDI_MODEL_ILP32, DDI_MODEL_LP64, GLOBAL_ZONEID, OTYP_CHR, cb_ops, dev_t, minor_t,
};
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

/// The paths that can be opened now, by the global zone.
pub fn nodes() -> Vec<String> {
    let fixed: Vec<String> = NODES.lock().keys().cloned().collect();
    fixed.into_iter().chain(sdev::list(GLOBAL_ZONEID)).collect()
}

/// Whether a path can be opened now, by the global zone.
pub fn is_there(path: &str) -> bool {
    NODES.lock().contains_key(path) || sdev::node(path, GLOBAL_ZONEID).is_some()
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
    Stream { dip: Arc<DevInfo>, stream: Option<Stream> },
    Kernel(Arc<dyn Dev>),
}

/// An open device. Any number of threads may use it at once; dropping it closes.
pub struct OpenDev {
    target: Target,
    flags: c_int,
    cred: Cred,
    /// Lets go of the driver when the close is done.
    _hold: Option<Hold>,
}

fn errno(e: c_int) -> Result<(), Errno> {
    if e == 0 { Ok(()) } else { Err(Errno(e)) }
}

/// Opens a device with FREAD, FWRITE, FEXCL... of illumos.
///
/// ENOENT: no such node. ENXIO: the driver is going. EACCES: the driver is one of those that only
/// the privilege net_observability opens. Else what the driver says.
pub fn open(path: &str, flags: c_int, cred: &Cred) -> Result<OpenDev, Errno> {
    let node = NODES.lock().get(path).cloned();
    let node = node.or_else(|| sdev::node(path, cred.zoneid)).ok_or(Errno::ENOENT)?;
    let (dip, minor) = match node {
        Node::Driver(dip, minor) => (dip, minor),
        Node::Kernel(dev) => {
            dev.open(flags, cred)?;
            return Ok(OpenDev { target: Target::Kernel(dev), flags, cred: *cred, _hold: None });
        }
    };
    if OBSERVERS.contains(&&*dip.name) && !cred.observability {
        return Err(Errno::EACCES);
    }
    let hold = Hold::new(dip)?;
    let target = open_driver(&hold.0, minor, flags, cred)?;
    Ok(OpenDev { target, flags, cred: *cred, _hold: Some(hold) })
}

/// Drivers whose device policy asks for net_observability.
const OBSERVERS: [&str; 1] = ["ipnet"];

/// While it lives a driver cannot be detached.
pub(crate) struct Hold(pub(crate) Arc<DevInfo>);

impl Hold {
    /// ENXIO: it is not attached.
    pub(crate) fn new(dip: Arc<DevInfo>) -> Result<Hold, Errno> {
        {
            let mut s = dip.state.lock();
            if !s.attached {
                return Err(Errno::ENXIO);
            }
            s.opens += 1;
        }
        Ok(Hold(dip))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.state.lock().opens -= 1;
    }
}

fn open_driver(
    dip: &Arc<DevInfo>,
    minor: minor_t,
    flags: c_int,
    cred: &Cred,
) -> Result<Target, Errno> {
    // SAFETY: the ops of a driver stay while it is attached, and it stays attached while `opens`
    // counts us.
    let ops: &'static cb_ops = unsafe { (*dip.ops).devo_cb_ops.as_ref() }.ok_or(Errno::ENXIO)?;
    let mut dev = makedevice(dip.major, minor);
    let _one_at_a_time = dip.opening.lock();
    // SAFETY: a driver's table of its queues, or NULL.
    let target = if let Some(tab) = unsafe { ops.cb_str.as_ref() } {
        // SAFETY: as above.
        let stream = unsafe { Stream::open(tab, perimeter(dip, ops), &mut dev, flags, cred)? };
        Target::Stream { dip: dip.clone(), stream: Some(stream) }
    } else {
        let cb_open = ops.cb_open.ok_or(Errno::ENXIO)?;
        // SAFETY: open(9E). The driver may put another minor number into dev: a clone.
        errno(unsafe { cb_open(&mut dev, flags, OTYP_CHR, cred.as_ptr()) })?;
        *dip.state.lock().by_dev.entry(dev).or_default() += 1;
        Target::Driver { dip: dip.clone(), dev, ops }
    };
    if getmajor(dev) != dip.major {
        violation(Kind::Misuse, format!("open of {} changed the major number", dip.name));
    }
    Ok(target)
}

/// What a STREAMS driver's procedures run in: one for all, one for each pair of queues, or none.
fn perimeter(dip: &Arc<DevInfo>, ops: &cb_ops) -> Option<Arc<Perim>> {
    match ops.cb_flag & D_MTPERMOD {
        0 => None,
        D_MTPERMOD => Some(dip.perim.clone()),
        _ => Some(Arc::default()),
    }
}

impl OpenDev {
    /// The stream, if the device is one.
    pub fn stream(&self) -> Option<&Stream> {
        match &self.target {
            Target::Stream { stream, .. } => stream.as_ref(),
            _ => None,
        }
    }

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
            Target::Stream { stream, .. } => {
                stream.as_ref().ok_or(Errno::ENXIO)?.ioctl(cmd, arg, model, mem)
            }
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
        match &mut self.target {
            Target::Kernel(_) => {}
            Target::Stream { dip, stream } => {
                let _one_at_a_time = dip.opening.lock();
                drop(stream.take());
            }
            Target::Driver { dip, dev, ops } => {
                let _one_at_a_time = dip.opening.lock();
                if let (true, Some(cb_close)) = (last(dip, *dev), ops.cb_close) {
                    // SAFETY: close(9E), the last of this device number.
                    unsafe { cb_close(*dev, self.flags, OTYP_CHR, self.cred.as_ptr()) };
                }
            }
        }
    }
}

/// Counts a close; whether no handle of this device number is left.
fn last(dip: &DevInfo, dev: dev_t) -> bool {
    let mut s = dip.state.lock();
    let left = s.by_dev.entry(dev).or_default();
    *left = left.saturating_sub(1);
    let last = *left == 0;
    if last {
        s.by_dev.remove(&dev);
    }
    last
}
