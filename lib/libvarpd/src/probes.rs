// SPDX-License-Identifier: CDDL-1.0
//! USDT probes of varpd, provider `varpd`.
//!
//! | probe | arguments |
//! |---|---|
//! | `lookup-start` | instance, request, link |
//! | `lookup-done` | instance, request, what became of it, nanoseconds since the start |
//! | `proxy-done` | instance, request, protocol, what became of it |
//! | `persist` | instance, error number |
//! | `door-call` | command (0: none), process that called, error number |
//!
//! A lookup that a proxy takes over ends with `proxy-done` and then `lookup-done`. All but the errors are numbers or
//! one of a few words, which are those of the counters.
//!
//! A probe that nobody watches is a test of a zero, and its arguments are not made.
//!
//! * On Linux they are notes of SystemTap's kind in the executable, which the usdt crate makes, for perf, bpftrace and
//!   stap: `bpftrace -e 'usdt:target/release/varpd:varpd:door-call { ... }'`.
//! * On illumos they are DTrace's: `dtrace -n 'varpd*:::door-call { ... }'`. The macros of that crate are of the system
//!   that compiles, so `sites` makes them, and `records` tells the kernel where they are when varpd starts. Only
//!   varpd does: in libvarpd.so.1 they sleep.

#[cfg(any(target_os = "illumos", test))]
mod records;
#[cfg(any(target_os = "illumos", all(test, target_arch = "x86_64")))]
pub(crate) mod sites;

#[cfg(not(target_os = "illumos"))]
#[usdt::provider(provider = "varpd")]
mod varpd {
    fn lookup__start(instance: u64, request: u64, link: u64) {}
    fn lookup__done(instance: u64, request: u64, outcome: &str, ns: u64) {}
    fn proxy__done(instance: u64, request: u64, protocol: &str, outcome: &str) {}
    fn persist(instance: u64, errno: i32) {}
    fn door__call(command: u32, pid: i32, errno: i32) {}
}

#[cfg(target_os = "illumos")]
mod varpd {
    /// `name!(|| arguments)` for each function of `sites`.
    macro_rules! macros {
        ($dollar:tt $($name:ident)*) => {
            $(
                macro_rules! $name {
                    ($dollar arguments:expr) => {
                        $crate::probes::sites::$name($dollar arguments)
                    };
                }
                pub(crate) use $name;
            )*
        };
    }
    macros!($ lookup__start lookup__done proxy__done persist door__call);
}

#[cfg(target_os = "illumos")]
pub use records::register;
pub(crate) use varpd::*;
