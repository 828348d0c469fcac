// SPDX-License-Identifier: CDDL-1.0
//! A packed name-value list: `[packed form]`.
//!
//! What is accepted can be packed in both forms, and is the same list when it is unpacked again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nvpair::{Encoding, List};

fuzz_target!(|bytes: &[u8]| {
    let Ok(list) = List::unpack(bytes) else { return };
    for form in [Encoding::Native, Encoding::Xdr] {
        let packed = list.pack(form).expect("what was unpacked is not too deep or big");
        let again = List::unpack(&packed).expect("our own form");
        // By bytes, for numbers that are not equal to themselves; and in the form it came in only, since unknown
        // flags of lists in lists do not come through the native one.
        if bytes.first() == Some(&(form as u8)) {
            assert_eq!(again.pack(form).as_ref(), Ok(&packed));
        }
    }
});
