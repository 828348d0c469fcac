// SPDX-License-Identifier: CDDL-1.0
//! The SDT probe points of this project's kernel modules.
//!
//! A probe is a call of an undefined `__dtrace_probe_NAME`: krtld replaces the call by no-ops and
//! the sdt provider arms it (`__` in NAME reads as `-` in D). There is one list of them, so that
//! what a driver fires, what fakekernel defines and what the manual lists cannot differ. All take
//! five words; unused ones are 0.
//!
//! | probe | arg0 | arg1 | arg2 | arg3 |
//! |---|---|---|---|---|
//! | `overlay-drop-*` | datalink id (0: none) | bytes of the message | `mblk_t *` | errno or 0 |
//! | `overlay-tx`, `overlay-rx` | datalink id | bytes | `mblk_t *` | vnet id |
//! | `overlay-lookup-start` | datalink id | request id | varpd id | |
//! | `overlay-lookup-done` | datalink id | request id | 1: a destination, 0: drop | |
//! | `overlay-route-flush` | datalink id | routes looked at | routes forgotten | |

/// Calls `$m!` with the identifiers of all probe symbols. The list is the whole truth.
#[macro_export]
macro_rules! for_each_probe {
    ($m:ident) => {
        $m! {
            __dtrace_probe_overlay__tx,
            __dtrace_probe_overlay__rx,
            __dtrace_probe_overlay__drop__tx__runt,
            __dtrace_probe_overlay__drop__tx__oversize,
            __dtrace_probe_overlay__drop__tx__not__started,
            __dtrace_probe_overlay__drop__tx__no__target,
            __dtrace_probe_overlay__drop__tx__dest__kind,
            __dtrace_probe_overlay__drop__tx__target__drop,
            __dtrace_probe_overlay__drop__tx__queue__full,
            __dtrace_probe_overlay__drop__tx__pending__full,
            __dtrace_probe_overlay__drop__tx__cache__full,
            __dtrace_probe_overlay__drop__tx__not__routable,
            __dtrace_probe_overlay__drop__tx__ttl,
            __dtrace_probe_overlay__drop__tx__no__route,
            __dtrace_probe_overlay__drop__tx__no__memory,
            __dtrace_probe_overlay__drop__tx__encap,
            __dtrace_probe_overlay__drop__tx__send,
            __dtrace_probe_overlay__drop__lookup__drop,
            __dtrace_probe_overlay__drop__lookup__undecodable,
            __dtrace_probe_overlay__drop__target__gone,
            __dtrace_probe_overlay__drop__rx__not__unitdata,
            __dtrace_probe_overlay__drop__rx__no__data,
            __dtrace_probe_overlay__drop__rx__decap,
            __dtrace_probe_overlay__drop__rx__unknown__vnet,
            __dtrace_probe_overlay__drop__rx__runt,
            __dtrace_probe_overlay__drop__rx__oversize,
            __dtrace_probe_overlay__drop__rx__no__memory,
            __dtrace_probe_overlay__lookup__start,
            __dtrace_probe_overlay__lookup__done,
            __dtrace_probe_overlay__route__flush,
        }
    };
}

macro_rules! declare {
    ($($name:ident,)*) => {
        unsafe extern "C" { $(
            #[allow(missing_docs)]
            pub safe fn $name(a0: usize, a1: usize, a2: usize, a3: usize, a4: usize);
        )* }
    };
}
for_each_probe!(declare);
