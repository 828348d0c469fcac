// SPDX-License-Identifier: CDDL-1.0
//! The VXLAN header in messages of every shape, and the properties of a link.
use ddi::mblk::Mblk;
use fakekernel::host;
use overlay as _;
use overlay_abi::errno::Errno;
use overlay_abi::ids::VnetId;
use proptest::prelude::*;
use std::net::Ipv6Addr;
use vxlan::config::{Config, Prop};
use vxlan::header::{BLOCK, HEADROOM, decap, encap};

fn message(blocks: &[Vec<u8>]) -> Mblk {
    let mut all = blocks.iter().map(|b| Mblk::copy_from(b, 0).unwrap());
    let first = all.next().unwrap_or_else(|| Mblk::alloc(0).unwrap());
    all.fold(first, Mblk::link)
}

fn bytes(mp: &Mblk) -> Vec<u8> {
    let mut out = vec![0; mp.size()];
    assert!(mp.copy_bytes(0, &mut out));
    out
}

/// Cuts bytes at these places.
fn cut(bytes: &[u8], at: &[usize]) -> Vec<Vec<u8>> {
    let mut at: Vec<_> = at.iter().map(|n| n % (bytes.len() + 1)).collect();
    at.sort_unstable();
    let ends = at.iter().copied().chain([bytes.len()]);
    let begins = [0].into_iter().chain(at.iter().copied());
    begins.zip(ends).map(|(a, b)| bytes[a..b].to_vec()).collect()
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(cases(400))]

    /// RFC 7348 section 5: the I flag and 24 bits of id count, nothing else, wherever blocks end.
    #[test]
    fn a_header_is_read_across_blocks(
        datagram in proptest::collection::vec(any::<u8>(), 0..40),
        at in proptest::collection::vec(0usize..1000, 0..8),
    ) {
        let kernel = host::boot(host::Config::default());
        let mp = message(&cut(&datagram, &at));
        let want = match datagram.first_chunk::<8>() {
            Some([flags, _, _, _, a, b, c, _]) if flags & 8 != 0 => {
                Ok(VnetId(u32::from_be_bytes([0, *a, *b, *c]).into()))
            }
            _ => Err(Errno::EINVAL),
        };
        prop_assert_eq!(decap(&mp), want);
        prop_assert_eq!(bytes(&mp), datagram, "only read");
        drop(mp);
        kernel.shutdown().unwrap();
    }

    #[test]
    fn what_was_put_in_front_comes_off(
        id in 0u64..1 << 24,
        frame in proptest::collection::vec(any::<u8>(), 14..80),
        headroom in 0usize..80,
        shared: bool,
    ) {
        let kernel = host::boot(host::Config::default());
        let mp = Mblk::copy_from(&frame, headroom).unwrap();
        let room = mp.headroom();
        let sharer = shared.then(|| mp.dup().unwrap());
        let Ok(out) = encap(mp, VnetId(id)) else { panic!("memory") };
        let in_place = room >= HEADROOM && !shared;
        prop_assert_eq!(out.front().len() == 8, !in_place, "in a block of its own");
        let least = if in_place { room - 8 } else { BLOCK - 8 };
        prop_assert!(out.headroom() >= least);
        prop_assert_eq!(&bytes(&out)[..4], [8, 0, 0, 0]);
        prop_assert_eq!(bytes(&out)[7], 0);
        prop_assert_eq!(decap(&out), Ok(VnetId(id)));
        prop_assert_eq!(bytes(&out.strip_front(8).unwrap()), frame.clone());
        if let Some(sharer) = sharer {
            prop_assert_eq!(bytes(&sharer), frame, "not written to");
        }
        kernel.shutdown().unwrap();
    }
}

#[test]
fn without_memory_the_frame_comes_back() {
    let kernel = host::boot(host::Config::default());
    let mp = Mblk::copy_from(&[7; 20], 0).unwrap();
    let Some(room) = mp.headroom().checked_sub(8) else {
        host::fail_nth_allocb(1);
        let (e, mp) = encap(mp, VnetId(1)).err().unwrap();
        assert_eq!((e, bytes(&mp)), (Errno::ENOMEM, vec![7; 20]));
        drop(mp);
        return kernel.shutdown().unwrap();
    };
    panic!("{room} bytes more than asked for");
}

#[test]
fn a_little_headroom_will_do_without_memory() {
    let kernel = host::boot(host::Config::default());
    let mp = Mblk::copy_from(&[7; 20], 10).unwrap();
    host::fail_nth_allocb(1);
    let out = encap(mp, VnetId(5)).map_err(|(e, _)| e).unwrap();
    assert_eq!(decap(&out), Ok(VnetId(5)));
    assert_eq!(out.front().len(), 28);
    drop(out);
    kernel.shutdown().unwrap();
}

#[test]
fn addresses_and_ports_are_checked() {
    let mut config = Config::default();
    let mut buf = [0xee; 256];
    assert_eq!(config.get(Prop::ListenIp, &mut buf), Ok(0), "no default");
    assert_eq!(config.get(Prop::ListenPort, &mut buf), Ok(8));
    assert_eq!(buf[..8], 4789u64.to_ne_bytes());
    for (text, ok) in [
        ("::", true),
        ("::1", true),
        ("::ffff:0.0.0.0", true),
        ("::ffff:192.0.2.1", true),
        ("::ffff:127.0.0.1", true),
        ("2001:db8::1", true),
        ("fe80::1", true),
        ("::2", false),
        ("::192.0.2.1", false),
        ("2002:c000:201::1", false),
        ("ff02::1", false),
        ("::ffff:224.0.0.1", false),
        ("::ffff:239.255.255.255", false),
    ] {
        let ip: Ipv6Addr = text.parse().unwrap();
        let before = config;
        let result = config.set(Prop::ListenIp, &ip.octets());
        assert_eq!(result, if ok { Ok(()) } else { Err(Errno::EINVAL) }, "{text}");
        if ok {
            assert_eq!(config.get(Prop::ListenIp, &mut buf), Ok(16));
            assert_eq!(buf[..16], ip.octets());
        } else {
            assert_eq!(config, before, "a refused value changes nothing");
        }
    }
    for size in [0, 4, 15, 17, 256] {
        assert_eq!(config.set(Prop::ListenIp, &buf[..size]), Err(Errno::EINVAL));
    }
    for (port, ok) in
        [(1u64, true), (65535, true), (0, false), (65536, false), (1 << 32 | 80, false)]
    {
        assert_eq!(config.set(Prop::ListenPort, &port.to_ne_bytes()).is_ok(), ok, "{port}");
    }
    assert_eq!(config.set(Prop::ListenPort, &[1, 0, 0, 0]), Err(Errno::EINVAL));
    assert_eq!(config.get(Prop::ListenPort, &mut [0; 7]), Err(Errno::EOVERFLOW));
    assert_eq!(config.get(Prop::ListenIp, &mut [0; 15]), Err(Errno::EOVERFLOW));
    assert_eq!(Prop::named(b"vxlan/listen_ip"), Some(Prop::ListenIp));
    assert_eq!(Prop::named(b"vxlan/listen_i"), None);
    assert_eq!(Prop::named(b""), None);
}
