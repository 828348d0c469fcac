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
//! A probe that nobody watches is a test of a zero. On Linux they are notes of SystemTap's kind in the executable, for
//! perf, bpftrace and stap: `bpftrace -e 'usdt:target/release/varpd:varpd:door-call { ... }'`.
//!
//! In what is built for illumos there are none yet: the macros of the usdt crate are of the system that compiles, and
//! would make SystemTap's notes there too.

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
    /// Looks at the arguments, and does nothing.
    macro_rules! nothing {
        ($arguments:expr) => {{
            let _ = $arguments;
        }};
    }
    pub(crate) use {
        nothing as lookup__start, nothing as lookup__done, nothing as proxy__done,
        nothing as persist, nothing as door__call,
    };
}
pub(crate) use varpd::*;
