// SPDX-License-Identifier: CDDL-1.0
//! SDT probes.
//!
//! A probe must be a call and not a jump: krtld overwrites its five bytes, and behind a jump there
//! is nothing to come back to. [`after`] keeps it from being the last thing a function does. Nor
//! may its address be taken, which is why [`fire!`](crate::fire) is a macro.

/// Fires a probe of [`illumos_sys_hdrs::probes`] with four words; the fifth is 0.
#[macro_export]
macro_rules! fire {
    ($probe:ident, $a0:expr, $a1:expr, $a2:expr, $a3:expr) => {{
        $crate::sys::probes::$probe($a0 as usize, $a1 as usize, $a2 as usize, $a3 as usize, 0);
        $crate::probe::after();
    }};
}

/// Nothing, but not nothing to the compiler.
#[inline(always)]
pub fn after() {
    // SAFETY: no instruction, no operand.
    unsafe { core::arch::asm!("", options(nomem, nostack, preserves_flags)) };
}
