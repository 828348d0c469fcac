// SPDX-License-Identifier: CDDL-1.0
//! The VXLAN header of a datagram in blocks: `[number of cuts] [cuts] [datagram]`.
//!
//! Whatever the blocks, the answer is that of the bytes in a row, nothing is written to, what is put in
//! front again comes off again, and the kernel has nothing to complain of.
#![no_main]

use ddi::mblk::Mblk;
use fakekernel::host;
use libfuzzer_sys::fuzz_target;
use overlay as _;
use overlay_abi::errno::Errno;
use overlay_abi::ids::VnetId;
use overlay_abi::vxlan::VXLAN_HDR_LEN;

fuzz_target!(|data: &[u8]| {
    let Some((&cuts, rest)) = data.split_first() else { return };
    let Some((cuts, datagram)) = rest.split_at_checked(usize::from(cuts % 8)) else { return };
    let kernel = host::boot(host::Config::default());

    let mp = message(datagram, cuts);
    let want = match datagram.first_chunk() {
        Some([flags, _, _, _, a, b, c, _]) if flags & 8 != 0 => {
            Ok(VnetId(u32::from_be_bytes([0, *a, *b, *c]).into()))
        }
        _ => Err(Errno::EINVAL),
    };
    assert_eq!(vxlan::header::decap(&mp), want);
    assert_eq!(bytes(&mp), datagram);
    let frame = datagram.get(VXLAN_HDR_LEN..).unwrap_or_default();
    let stripped = mp.strip(VXLAN_HDR_LEN);
    assert_eq!(stripped.is_none(), frame.is_empty(), "nothing is left, or too little was there");
    if let (Some(mp), Ok(vnet)) = (stripped, want) {
        assert_eq!(bytes(&mp), frame);
        let Ok(again) = vxlan::header::encap(mp, vnet) else { panic!("out of memory") };
        assert_eq!(vxlan::header::decap(&again), want);
        assert_eq!(bytes(&again)[VXLAN_HDR_LEN..], *frame);
    }
    kernel.shutdown().expect("nothing leaked");
});

/// A message of the bytes, cut where `cuts` say; blocks may be empty.
fn message(mut datagram: &[u8], cuts: &[u8]) -> Mblk {
    let mut blocks = Vec::new();
    for cut in cuts {
        let (block, rest) = datagram.split_at(usize::from(*cut).min(datagram.len()));
        blocks.push(block);
        datagram = rest;
    }
    blocks.push(datagram);
    let block = |bytes: &&[u8]| Mblk::copy_from(bytes, 0).expect("memory");
    blocks.iter().map(block).reduce(Mblk::link).expect("one block at least")
}

fn bytes(mp: &Mblk) -> Vec<u8> {
    let mut out = vec![0; mp.size()];
    assert!(mp.copy_bytes(0, &mut out));
    out
}
