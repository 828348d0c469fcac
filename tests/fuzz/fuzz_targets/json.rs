// SPDX-License-Identifier: CDDL-1.0
//! The file of the search plugin `files`: any bytes are an index or errors with a place in them.
//!
//! A file that does for a link whose destinations have ports does for one without as well, and a change
//! from an index to itself is none.
#![no_main]

use libfuzzer_sys::fuzz_target;
// The functions that the plugin binds to.
use libvarpd as _;
use overlay_abi::ids::VnetId;
use varpd_files::{Changes, Link, Outcome, Problem, Report, parse};

fuzz_target!(|data: &[u8]| {
    let with_port = parse(data, Link { vnet: VnetId(100), needs_port: true });
    let without = parse(data, Link { vnet: VnetId(100), needs_port: false });
    match (with_port, without) {
        (Outcome::Good(a, warnings), Outcome::Good(b, _)) => {
            assert_eq!(a, b);
            assert_eq!(a.changes(&b), Changes::default());
            check(data, &warnings);
        }
        (Outcome::Syntax(a), Outcome::Syntax(b)) => {
            assert_eq!(a, b);
            check(data, &[a]);
        }
        (Outcome::Bad(errors, total), Outcome::Bad(_, fewer)) => {
            assert!(fewer <= total && fewer > 0 && errors.len() == total.min(Report::LIMIT));
            check(data, &errors);
        }
        // For want of ports only.
        (Outcome::Bad(errors, total), Outcome::Good(..)) => {
            assert!(total > 0);
            check(data, &errors);
        }
        (a, b) => panic!("{a:?}\n{b:?}"),
    }
});

/// Each problem is somewhere in the file, in order, and fit to be shown.
fn check(data: &[u8], problems: &[Problem]) {
    let lines: Vec<_> = data.split(|b| *b == b'\n').collect();
    let mut last = (1, 1);
    for p in problems {
        let line = lines.get(p.line - 1).expect("a line of the file");
        assert!((1..=line.len() + 1).contains(&p.column), "{p}");
        assert!((p.line, p.column) >= last, "{p}");
        assert!(!p.what.is_empty() && !p.to_string().contains(char::is_control), "{p}");
        last = (p.line, p.column);
    }
}
