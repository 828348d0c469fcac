// SPDX-License-Identifier: CDDL-1.0
//! A link to one place: frames out and in.

use crate::common::*;

#[test]
fn frames_go_out_and_come_in() {
    let s = Scene::point();
    for (n, len) in [(1, 14), (2, 60), (3, 64), (4, 1400), (5, 1414)] {
        let out = frame(FAR, GUEST, n, len);
        s.guest.send(&out);
        assert_eq!(s.peer.frame(VNET), out, "{len} bytes out");
        let back = frame(GUEST, FAR, n, len);
        s.peer.send(s.at, VNET, &back);
        assert_eq!(s.guest.recv(), back, "{len} bytes in");
    }
    let k = stats(LINK);
    assert_eq!((k["opackets"], k["ipackets"]), (5, 5));
    assert_eq!((k["obytes"], k["ibytes"]), (2952, 2952));
    s.end();
}
