// SPDX-License-Identifier: CDDL-1.0
//! Three virtual networks over three hosts, attached and detached under traffic: the demo as a user meets it.

use serde_json::{Value, json};
use system_tests::home::{Home, good};

const EXE: &str = env!("CARGO_BIN_EXE_overlay-tools");

/// Guests by their name in the matrix: with the VLAN, if its frames are tagged.
const RED: [&str; 3] = ["red1", "red2", "red3/10"];
const BLUE: [&str; 3] = ["blue1", "blue2/20", "blue3"];
const GREEN: [&str; 3] = ["green1/10", "green2", "green3"];

/// The versions of IP by which two guests must reach each other.
fn versions(a: &str, b: &str, attached: bool) -> Value {
    let of = |all: [&str; 3]| [a, b].map(|g| all.contains(&g));
    let networks = [of(RED), of(BLUE), of(GREEN)];
    let same_vnet = networks.contains(&[true; 2]);
    let untagged = ![a, b].iter().any(|g| g.contains('/'));
    let routed = attached && !networks[2].contains(&true);
    if routed || same_vnet && untagged { json!([4, 6]) } else { json!([]) }
}

#[test]
fn who_reaches_whom_before_while_and_after_two_networks_are_attached() {
    let home = Home::new(EXE);
    let capture = home.dir().join("captures");
    let out = home.run(&["demo", "--routed", "--json", "--capture", &capture.to_string_lossy()]);
    let v: Value = serde_json::from_str(&good(&out)).unwrap();
    let guests = [RED, BLUE, GREEN].concat();
    for (when, attached) in [("before", false), ("attached", true), ("after", false)] {
        for a in &guests {
            for b in guests.iter().filter(|b| *b != a) {
                assert_eq!(v[when][a][b], versions(a, b, attached), "{a} to {b} {when}");
            }
        }
    }
    // Nine guests of which six reach one another, and four of those did so before.
    assert_eq!(v["attaching"]["ways"], 6 * 5 * 2 - 2 * 2 * 2);
    assert_eq!(v["packets"]["wrong"], 0);
    for some in ["received", "datagrams", "crossed", "refused"] {
        assert!(v["packets"][some].as_u64() > Some(100), "{some}: {}", v["packets"]);
    }
    // Three guests on each of three hosts, and the datagrams of these.
    let captures = v["captures"].as_array().unwrap();
    assert_eq!(captures.len(), 3 * (3 * 2 + 1));
    for c in captures {
        assert!(c["packets"].as_u64() > Some(10), "{c}");
    }
}
