// SPDX-License-Identifier: CDDL-1.0
//! id_space_t: a range of numbers that are handed out in turn, so that one that was freed is not
//! reused at once.
use crate::check::{Kind, violation};
use crate::ctx;
use illumos_sys_hdrs::{id_space_t, id_t};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeSet;
use std::ffi::{CStr, c_char};

struct Space {
    name: String,
    low: id_t,
    /// One past the last.
    high: id_t,
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    next: id_t,
    used: BTreeSet<id_t>,
}

impl Space {
    fn alloc(&self, s: &mut State) -> Option<id_t> {
        let size = i64::from(self.high) - i64::from(self.low);
        if s.used.len() as i64 >= size {
            return None;
        }
        let mut id = s.next;
        while s.used.contains(&id) {
            id = self.after(id);
        }
        s.used.insert(id);
        s.next = self.after(id);
        Some(id)
    }

    fn after(&self, id: id_t) -> id_t {
        if id + 1 < self.high { id + 1 } else { self.low }
    }
}

unsafe fn space<'a>(s: *mut id_space_t) -> &'a Space {
    // SAFETY: an id_space_t is one of ours.
    unsafe { &*s.cast() }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn id_space_create(
    name: *const c_char,
    low: id_t,
    high: id_t,
) -> *mut id_space_t {
    ctx::may_sleep("id_space_create");
    // SAFETY: id_space_create: a name.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let state = Mutex::new(State { next: low, used: BTreeSet::new() });
    Box::into_raw(Box::new(Space { name, low, high, state, freed: Condvar::new() })).cast()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn id_space_destroy(s: *mut id_space_t) {
    // SAFETY: id_space_destroy: a space of ours that nobody uses any more.
    let s = unsafe { Box::from_raw(s.cast::<Space>()) };
    let left = s.state.lock().used.len();
    if left > 0 {
        violation(
            Kind::DestroyBusy,
            format!("id_space_destroy of {} with {left} ids in use", s.name),
        );
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn id_alloc(s: *mut id_space_t) -> id_t {
    ctx::may_sleep("id_alloc");
    // SAFETY: id_alloc: a space of ours.
    let s = unsafe { space(s) };
    let mut state = s.state.lock();
    loop {
        if let Some(id) = s.alloc(&mut state) {
            return id;
        }
        s.freed.wait(&mut state);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn id_alloc_nosleep(s: *mut id_space_t) -> id_t {
    // SAFETY: id_alloc_nosleep: a space of ours.
    let s = unsafe { space(s) };
    let mut state = s.state.lock();
    s.alloc(&mut state).unwrap_or(-1)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn id_free(s: *mut id_space_t, id: id_t) {
    // SAFETY: id_free: a space of ours.
    let s = unsafe { space(s) };
    if s.state.lock().used.remove(&id) {
        s.freed.notify_one();
    } else {
        violation(Kind::Container, format!("id_free of {id}, which {} did not give out", s.name));
    }
}

crate::symbols! { SYMBOLS "genunix":
    id_space_create, id_space_destroy, id_alloc, id_alloc_nosleep, id_free,
}
