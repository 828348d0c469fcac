// SPDX-License-Identifier: CDDL-1.0
//! /dev/ipnet: a directory whose nodes are what the driver says there is, for the zone that looks.
//!
//! The driver is asked through the two functions that it exports for this, as the dev filesystem of
//! illumos asks it; while it is not loaded the directory is empty. Below /dev/ipnet/zone the global
//! zone finds the directories of the other zones by their names, as below /dev/net/zone of illumos.
use crate::dev::{Hold, Node};
use crate::devinfo::getmajor;
use crate::inet::netstack::zones;
use crate::module;
use illumos_sys_hdrs::{GLOBAL_ZONEID, dev_t, zoneid_t};
use std::ffi::{CStr, CString, c_char, c_void};

const MODULE: &str = "drv/ipnet";
const DIRECTORY: &str = "/dev/ipnet/";

type WalkFn = unsafe extern "C" fn(*const c_char, *mut c_void, dev_t);
type Walk = unsafe extern "C" fn(WalkFn, *mut c_void, zoneid_t);
type GetDev = unsafe extern "C" fn(*mut c_char, zoneid_t) -> dev_t;

/// The driver, held, and the address of a function of its.
fn ask(name: &str) -> Option<(Hold, usize)> {
    let hold = Hold::new(module::driver("ipnet")?).ok()?;
    let at = module::symbol(MODULE, name)?;
    Some((hold, at))
}

/// The paths in the directory, for a zone.
pub(crate) fn list(zone: zoneid_t) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let Some((_hold, at)) = ask("ipnet_walk_if") else { return found };
    // SAFETY: the driver's function of this name, which calls `add` with our vector.
    unsafe {
        let walk = std::mem::transmute::<usize, Walk>(at);
        walk(add, (&raw mut found).cast(), zone);
    }
    found.sort();
    found
}

unsafe extern "C" fn add(name: *const c_char, to: *mut c_void, _dev: dev_t) {
    // SAFETY: called by ipnet_walk_if with a name and what `list` passed.
    unsafe {
        let name = CStr::from_ptr(name).to_string_lossy();
        (*to.cast::<Vec<String>>()).push(format!("{DIRECTORY}{name}"));
    }
}

/// What a path in the directory stands for, in a zone.
pub(crate) fn node(path: &str, zone: zoneid_t) -> Option<Node> {
    let name = path.strip_prefix(DIRECTORY)?;
    let (name, zone) = match name.strip_prefix("zone/").and_then(|n| n.split_once('/')) {
        Some((of, name)) if zone == GLOBAL_ZONEID => {
            (name, zones().into_iter().find(|(_, n, _)| n == of)?.0)
        }
        _ => (name, zone),
    };
    let name = CString::new(name).ok()?;
    let (hold, at) = ask("ipnet_if_getdev")?;
    let mut name = name.into_bytes_with_nul();
    // SAFETY: the driver's function of this name; it takes a C string.
    let dev = unsafe {
        let get = std::mem::transmute::<usize, GetDev>(at);
        get(name.as_mut_ptr().cast(), zone)
    };
    let known = dev != dev_t::MAX && getmajor(dev) == hold.0.major;
    known.then(|| Node::Driver(hold.0.clone(), dev as u32))
}
