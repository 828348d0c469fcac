// SPDX-License-Identifier: CDDL-1.0
//! Credentials: who asks.
use illumos_sys_hdrs::{GLOBAL_ZONEID, cred_t, zoneid_t};
use std::ffi::c_int;

/// What the kernel looks at of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Cred {
    /// User id.
    pub uid: u32,
    /// Zone; 0 is the global one.
    pub zoneid: i32,
    /// Has PRIV_SYS_DL_CONFIG.
    pub dl_config: bool,
    /// Has PRIV_NET_OBSERVABILITY.
    pub observability: bool,
}

impl Cred {
    /// The super-user in the global zone.
    pub const KERNEL: Cred =
        Cred { uid: 0, zoneid: GLOBAL_ZONEID, dl_config: true, observability: true };

    /// What C sees; valid as long as `self`.
    pub fn as_ptr(&self) -> *mut cred_t {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    /// What C passed.
    ///
    /// # Safety
    /// `cr` is of [`Cred::as_ptr`] and still valid.
    pub unsafe fn from_ptr(cr: *const cred_t) -> Cred {
        // SAFETY: see above.
        unsafe { *cr.cast::<Cred>() }
    }
}

static KERNEL: Cred = Cred::KERNEL;

/// A pointer C code reads.
#[repr(transparent)]
struct CredPointer(*const Cred);
// SAFETY: it points to a constant.
unsafe impl Sync for CredPointer {}

#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
static kcred: CredPointer = CredPointer(&raw const KERNEL);

#[unsafe(no_mangle)]
unsafe extern "C" fn crgetzoneid(cr: *const cred_t) -> zoneid_t {
    // SAFETY: crgetzoneid(9F).
    unsafe { Cred::from_ptr(cr) }.zoneid
}

#[unsafe(no_mangle)]
unsafe extern "C" fn secpolicy_dl_config(cr: *const cred_t) -> c_int {
    // SAFETY: secpolicy_dl_config: a credential. EPERM is 1.
    (!unsafe { Cred::from_ptr(cr) }.dl_config).into()
}

crate::symbols! { SYMBOLS "genunix": crgetzoneid, secpolicy_dl_config, ; kcred, }
