// SPDX-License-Identifier: CDDL-1.0
//! What the dev filesystem asks for `/dev/ipnet`.
//!
//! Both functions answer for the zone they are given, whoever calls.
use crate::accept::GLOBAL_ZONE;
use crate::ipnet;
use crate::stack::Stack;
use crate::table::Name;
use core::ffi::{CStr, c_char, c_void};
use ddi::dev::is_labeled;
use ddi::mem::{KArc, KVec, KmFlag};
use ddi::netstack::Hold;
use ddi::sys;

/// No device.
const NODEV: sys::dev_t = sys::dev_t::MAX;

/// The stack of a zone that may look at it.
fn stack_of(zone: i32) -> Option<(Hold, KArc<Stack>)> {
    if is_labeled() && zone != GLOBAL_ZONE {
        return None;
    }
    let hold = Hold::of_zone(zone)?;
    let stack = hold.instance()?;
    Some((hold, stack))
}

fn device(minor: u32) -> Option<sys::dev_t> {
    let major = ipnet().ok()?.major;
    // SAFETY: no conditions.
    Some(unsafe { sys::makedevice(major, minor) })
}

/// Device number of the interface of this name in a zone; all ones if there is none.
///
/// # Safety
/// `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ipnet_if_getdev(name: *mut c_char, zone: sys::zoneid_t) -> sys::dev_t {
    // SAFETY: by the caller's promise.
    let name = Name::new(unsafe { CStr::from_ptr(name) }.to_bytes());
    let node = stack_of(zone).and_then(|(_hold, stack)| stack.by_name(zone, &name?));
    node.and_then(|(node, _)| device(node.minor.get())).unwrap_or(NODEV)
}

/// Calls `f` with name, `arg` and device number of each interface of a zone, with no lock held.
///
/// # Safety
/// `f` may be called with `arg`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ipnet_walk_if(
    f: unsafe extern "C" fn(*const c_char, *mut c_void, sys::dev_t),
    arg: *mut c_void,
    zone: sys::zoneid_t,
) {
    let Some((_hold, stack)) = stack_of(zone) else { return };
    let mut found = KVec::new();
    stack.find::<()>(zone, |e| {
        let _ = found.push(e.node.clone(), KmFlag::Sleep);
        None
    });
    for node in found.iter() {
        if let Some(dev) = device(node.minor.get()) {
            // SAFETY: by the caller's promise; the name ends with a NUL.
            unsafe { f(node.name.as_bytes().as_ptr().cast(), arg, dev) };
        }
    }
}
