// SPDX-License-Identifier: CDDL-1.0
//! `libvarpd_c_*` against a running varpd.
use crate::common::{content, program};
use overlay_abi::target::{overlay_targ_cache_entry_t, overlay_target_point_t};
use std::process::Command;
use varpd_harness::*;

#[test]
fn a_client_in_c() {
    let host = Host::with_c_plugins(&[&[]]);
    let id = host.instance(7, "test");
    host.client.instance_activate(id).unwrap();
    host.kernel.add_link(8, VXLAN);
    {
        let mut state = host.kernel.state();
        let cache = &mut state.links.get_mut(&7).unwrap().cache;
        for n in 0..250u8 {
            let mut ip = [0; 16];
            (ip[10], ip[11], ip[12], ip[15]) = (0xff, 0xff, 10, n);
            let otce_dest = overlay_target_point_t {
                otp_mac: [0; 6],
                otp_pad: [0; 2],
                otp_ip: ip,
                otp_port: 4789,
                otp_pad2: [0; 2],
            };
            let otce_mac = [2, 0, 0, 0, 0, n];
            cache.insert(
                otce_mac,
                overlay_targ_cache_entry_t { otce_mac, otce_flags: 0, otce_dest },
            );
        }
    }
    let client = program("client", host.dir.path());
    let output = Command::new(client).arg(host.dir.path().join("varpd.door")).output().unwrap();
    let said = content(&output);
    let listed: Vec<_> = said.lines().collect();
    assert_eq!(
        listed,
        [
            "property 0 search type 4 prot 2 default  (0) possible 1 value test (5)",
            "property 1 test/text type 4 prot 6 default one (4) possible 2 value two (4)",
        ]
    );
    assert!(host.kernel.state().links[&7].cache.is_empty(), "flushed");
}
