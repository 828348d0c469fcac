// SPDX-License-Identifier: CDDL-1.0
//! A guest's frame that may be a DHCP client's broadcast (spec/varpd.md 6.3): `[frame]`.
//!
//! The answer is a good one, by the judgement of smoltcp, or there is none; also if the frame is not as long as
//! the kernel said.
#![no_main]

use libfuzzer_sys::fuzz_target;
use varpd_harness::frames::{Kind, OWNER, judge, lookup};

fuzz_target!(|frame: &[u8]| {
    let _ = judge(Kind::Dhcp, frame);
    let told = lookup(frame);
    for other in [&frame[..frame.len() / 2], &[frame, frame].concat()] {
        let _ = Kind::Dhcp.ask(&told, other, OWNER);
    }
});
