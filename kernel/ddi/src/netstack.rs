// SPDX-License-Identifier: CDDL-1.0
//! Instances of the network stack: one for the zones that share, one for each zone that does not.
//!
//! A module keeps an object per stack, made when the stack (or the module) comes and destroyed when
//! it goes. Who holds a stack keeps it, and so the object, from going.
use crate::Errno;
use crate::dev::Cred;
use crate::mem::KArc;
use crate::neti::Family;
use core::ffi::{c_int, c_void};
use core::ptr::NonNull;
use illumos_sys_hdrs as sys;
use sys::netstack_t;

/// Id of the stack that zones share; also the id of the global zone.
pub const GLOBAL: i32 = 0;

/// What a module keeps for each stack.
pub trait Instance: Send + Sync + Sized + 'static {
    /// The module's place in the kernel's tables, `NS_IPNET` and so on. No other type has it.
    const SLOT: c_int;
    /// A stack is there.
    fn create(stack: Netstack) -> KArc<Self>;
    /// The stack goes: afterwards it must not be used.
    fn destroy(&self);
}

/// Has instances made for all stacks there are and will be.
pub fn register<I: Instance>() {
    // SAFETY: the functions fit the type, and stay until `unregister`.
    unsafe { sys::netstack_register(I::SLOT, Some(create::<I>), None, Some(destroy::<I>)) };
}

/// Destroys the instances of all stacks; there will be no more.
pub fn unregister<I: Instance>() {
    // SAFETY: registered.
    unsafe { sys::netstack_unregister(I::SLOT) };
}

unsafe extern "C" fn create<I: Instance>(_id: c_int, stack: *mut netstack_t) -> *mut c_void {
    // SAFETY: the kernel's stack.
    let stack = Netstack(unsafe { NonNull::new_unchecked(stack) });
    I::create(stack).into_raw().cast_mut().cast()
}

unsafe extern "C" fn destroy<I: Instance>(_id: c_int, instance: *mut c_void) {
    // SAFETY: made by `create`, destroyed once.
    unsafe { KArc::from_raw(instance.cast_const().cast::<I>()) }.destroy();
}

/// A stack, for an [`Instance`] to use until it is destroyed.
#[derive(Clone, Copy)]
pub struct Netstack(NonNull<netstack_t>);

// SAFETY: the functions below lock what they use.
unsafe impl Send for Netstack {}
// SAFETY: as above.
unsafe impl Sync for Netstack {}

impl Netstack {
    /// Its id.
    pub fn id(self) -> i32 {
        // SAFETY: alive.
        unsafe { (*self.0.as_ptr()).netstack_stackid }
    }

    /// Joins (or leaves) the group of all multicasts on the interface of this index.
    ///
    /// # Errors
    /// `ENODEV`: no such interface. `ENETDOWN`, `ENXIO`, `ENOMEM`.
    pub fn all_multicasts(self, index: u32, family: Family, join: bool) -> Result<(), Errno> {
        let v6 = sys::boolean_t::from(family == Family::V6);
        // SAFETY: alive, and so IP's instance, which is older than ours.
        Errno::check(unsafe {
            let ip = (&raw const (*self.0.as_ptr()).nu_modules).cast::<*mut sys::ip_stack_t>();
            let ip = *ip.add(sys::NS_IP as usize);
            if join {
                sys::ip_join_allmulti(index, v6, ip)
            } else {
                sys::ip_leave_allmulti(index, v6, ip)
            }
        })
    }
}

/// Keeps a stack.
pub struct Hold(NonNull<netstack_t>);

// SAFETY: only a count is kept.
unsafe impl Send for Hold {}
// SAFETY: as above.
unsafe impl Sync for Hold {}

impl Hold {
    /// The stack of whoever calls; `None` when it is on its way out.
    pub fn of_caller(cred: Cred) -> Option<Hold> {
        // SAFETY: credentials live during the call they came with.
        NonNull::new(unsafe { sys::netstack_find_by_cred(cred.0) }).map(Hold)
    }

    /// The stack of a zone; `None` when there is none (any more).
    pub fn of_zone(zone: i32) -> Option<Hold> {
        // SAFETY: no conditions.
        NonNull::new(unsafe { sys::netstack_find_by_zoneid(zone) }).map(Hold)
    }

    /// The stack of this id; `None` when there is none (any more).
    pub fn of_id(id: i32) -> Option<Hold> {
        // SAFETY: no conditions.
        NonNull::new(unsafe { sys::netstack_find_by_stackid(id) }).map(Hold)
    }

    /// The instance of a module for this stack.
    pub fn instance<I: Instance>(&self) -> Option<KArc<I>> {
        // SAFETY: held; the slot is the module's, filled by `create`, and empty or alive while the
        // stack is held.
        unsafe {
            let all = (&raw const (*self.0.as_ptr()).nu_modules).cast::<*const I>();
            let p = *all.add(I::SLOT as usize);
            if p.is_null() {
                return None;
            }
            // A second hold: the first stays the kernel's.
            let instance = core::mem::ManuallyDrop::new(KArc::from_raw(p));
            Some((*instance).clone())
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // SAFETY: held since made.
        unsafe { sys::netstack_rele(self.0.as_ptr()) };
    }
}
