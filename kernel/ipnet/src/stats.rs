// SPDX-License-Identifier: CDDL-1.0
//! What is counted.
//!
//! `ipnet:0:ipnet_stats`, one for each stack, seen by its zones. A *look* is one packet shown to one
//! tap.
//!
//! | kstat | what |
//! |---|---|
//! | `acceptOk`, `acceptFail` | looks that the tap's filter let pass, and that it did not |
//! | `dispatchDeliver` | looks that went to a stream's queue |
//! | `dispatchPutDrop` | lost: the stream's queue was full |
//! | `dispatchDupDrop` | lost: no memory to copy the packet |
//! | `duplicationFail` | lost: no memory to share the copy |
//! | `dispatchHeaderDrop` | lost: no memory for the header in front |
//! | `dispatchOk`, `dispatchFail` | packets that at least one stream got, and that streams wanted and none got |
//!
//! So `acceptOk` is the sum of the five after it and of what BPF got.
//!
//! `ipnet:<minor>:stream`, one for each open stream: `accepted`, `delivered`, `dropped`. `accepted`
//! is the sum of the others.
use core::ffi::CStr;
use ddi::kstat::{Counter, Source};

/// Of a stack.
#[derive(Default)]
pub(crate) struct Stats {
    pub duplication_fail: Counter,
    pub dispatch_ok: Counter,
    pub dispatch_fail: Counter,
    pub header_drop: Counter,
    pub dup_drop: Counter,
    pub put_drop: Counter,
    pub deliver: Counter,
    pub accept_ok: Counter,
    pub accept_fail: Counter,
}

impl Source for Stats {
    const NAMES: &'static [&'static CStr] = &[
        c"duplicationFail",
        c"dispatchOk",
        c"dispatchFail",
        c"dispatchHeaderDrop",
        c"dispatchDupDrop",
        c"dispatchPutDrop",
        c"dispatchDeliver",
        c"acceptOk",
        c"acceptFail",
    ];

    fn read(&self, out: &mut dyn FnMut(u64)) {
        for counter in [
            &self.duplication_fail,
            &self.dispatch_ok,
            &self.dispatch_fail,
            &self.header_drop,
            &self.dup_drop,
            &self.put_drop,
            &self.deliver,
            &self.accept_ok,
            &self.accept_fail,
        ] {
            out(counter.get());
        }
    }
}

/// Of a stream.
#[derive(Default)]
pub(crate) struct StreamStats {
    pub accepted: Counter,
    pub delivered: Counter,
    pub dropped: Counter,
}

impl Source for StreamStats {
    const NAMES: &'static [&'static CStr] = &[c"accepted", c"delivered", c"dropped"];

    fn read(&self, out: &mut dyn FnMut(u64)) {
        for counter in [&self.accepted, &self.delivered, &self.dropped] {
            out(counter.get());
        }
    }
}
