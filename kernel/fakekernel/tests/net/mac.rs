// SPDX-License-Identifier: CDDL-1.0
//! MACs, VNICs and their clients, over a provider that is a list of frames.

use crate::provider;
use fakekernel::host::{Kind, take_violations};
use fakekernel::net::client::{Client, Frame, Frames, Offload, Partial};
use fakekernel::net::{Note, links};
use illumos_sys_hdrs::*;
use overlay_abi::dld::{
    DLD_MACPROP_VAL, DLD_PROP_DEFAULT, DLD_PROP_POSSIBLE, DLDIOC_ATTR, DLDIOC_GETMACPROP,
    DLDIOC_MACADDRGET, DLDIOC_SETMACPROP, dld_ioc_attr_t, dld_ioc_macaddrget_t, dld_ioc_macprop_t,
    dld_macaddrinfo_t,
};
use overlay_abi::errno::Errno;
use overlay_abi::vnic::*;
use provider::*;
use std::ptr::null_mut;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use zerocopy::FromZeros;

type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

fn listen(c: &Client) -> Seen {
    let seen = Seen::default();
    let s = seen.clone();
    c.set_rx(Arc::new(move |b| {
        for f in b {
            s.lock().unwrap().push(f.bytes().into_owned());
        }
    }));
    seen
}

fn take(s: &Seen) -> Vec<Vec<u8>> {
    std::mem::take(&mut *s.lock().unwrap())
}

fn sent() -> Vec<Vec<u8>> {
    std::mem::take(&mut *SENT.lock().unwrap())
}

fn create(id: u32, addr: [u8; 6], vid: u16) -> Result<vnic_ioc_create_t, (Errno, u32)> {
    let mut c = vnic_ioc_create_t::new_zeroed();
    c.vc_vnic_id = id;
    c.vc_link_id = LINK;
    c.vc_mac_addr_type = VNIC_MAC_ADDR_TYPE_FIXED;
    c.vc_mac_len = 6;
    c.vc_mac_addr[..6].copy_from_slice(&addr);
    c.vc_vid = vid;
    match ioctl(&dld(), VNIC_IOC_CREATE, &mut c) {
        Ok(_) => Ok(c),
        Err(e) => Err((e, c.vc_diag)),
    }
}

fn delete(id: u32) -> Result<i32, Errno> {
    ioctl(&dld(), VNIC_IOC_DELETE, &mut vnic_ioc_delete_t { vd_vnic_id: id })
}

const A: [u8; 6] = [2, 8, 0x20, 0, 0, 0xa];
const B: [u8; 6] = [2, 8, 0x20, 0, 0, 0xb];
const C: [u8; 6] = [2, 8, 0x20, 0, 0, 0xc];
const FAR: [u8; 6] = [2, 8, 0x20, 0, 0, 0xff];
const GROUP: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ALL: [u8; 6] = [0xff; 6];

fn frame(dst: [u8; 6], src: [u8; 6], tag: Option<u16>, body: &[u8]) -> Vec<u8> {
    let mut f = [dst, src].concat();
    if let Some(t) = tag {
        f.extend_from_slice(&[0x81, 0]);
        f.extend_from_slice(&t.to_be_bytes());
    }
    f.extend_from_slice(&[0x08, 0x00]);
    f.extend_from_slice(body);
    f
}

fn one(f: &[u8]) -> Frames {
    Frame::from_slice(f).unwrap().into()
}

#[test]
fn registration_is_checked() {
    let k = boot();
    let refused = |change: fn(&mut mac_register_t)| register(change).unwrap_err();
    assert_eq!(refused(|r| r.m_version = 2), Errno::EINVAL.0);
    assert_eq!(refused(|r| r.m_type_ident = c"mac_wifi".as_ptr()), Errno::EINVAL.0);
    assert_eq!(refused(|r| r.m_src_addr = null_mut()), Errno::EINVAL.0);
    assert_eq!(refused(|r| r.m_callbacks = std::ptr::null()), Errno::EINVAL.0);
    assert_eq!(refused(|r| r.m_min_sdu = 1401), Errno::EINVAL.0);
    // SAFETY: only the version counts.
    assert!(unsafe { mac_alloc(2) }.is_null());
    let a = register(|r| r.m_instance = 7).unwrap();
    assert_eq!(register(|r| r.m_instance = 7).unwrap_err(), Errno::EEXIST.0);
    // SAFETY: a live handle, then a dead one.
    unsafe {
        assert_eq!(dls_devnet_create(a, 5, GLOBAL_ZONEID), 0);
        assert_eq!(dls_devnet_create(a, 6, GLOBAL_ZONEID), Errno::EEXIST.0);
        assert_eq!(mac_disable(a), Errno::EBUSY.0);
        assert_eq!(mac_unregister(a), Errno::EBUSY.0);
        let mut id = 0;
        assert_eq!(dls_devnet_destroy(a, &mut id, 1), 0);
        assert_eq!(id, 5);
        assert_eq!(dls_devnet_destroy(a, &mut id, 1), Errno::ENOENT.0);
        assert_eq!(mac_disable(a), 0);
        assert_eq!(mac_unregister(a), 0);
        mac_rx(a, null_mut(), fakekernel::mblk::from_slice(&[0; 20], 0));
    }
    assert_eq!(take_violations().iter().filter(|v| v.kind == Kind::Misuse).count(), 1);
    k.shutdown().unwrap();
}

#[test]
fn a_vnic_starts_the_link_and_holds_it() {
    let k = boot();
    plumb();
    START.store(Errno::EAGAIN.0, SeqCst);
    assert_eq!(create(20, A, 0).err(), Some((Errno::EAGAIN, 0)));
    START.store(0, SeqCst);
    create(20, A, 0).unwrap();
    create(21, B, 0).unwrap();
    assert_eq!(STARTED.load(SeqCst), 1);
    assert_eq!(PROMISC.load(SeqCst), 1);
    assert_eq!(create(20, C, 0).err().map(|e| e.0), Some(Errno::EEXIST));
    assert_eq!(create(22, A, 0).err(), Some((Errno::EEXIST, 2)), "the address is in use");
    assert_eq!(create(22, GROUP, 0).err(), Some((Errno::EINVAL, 3)));
    let list = links();
    assert_eq!(list.len(), 3);
    assert_eq!((list[1].linkid, list[1].mac, list[1].over, list[1].mtu), (20, A, Some(LINK), 1400));
    // SAFETY: a live handle.
    unsafe {
        let mut id = 0;
        assert_eq!(dls_devnet_destroy(mh(), &mut id, 1), Errno::EBUSY.0);
        assert_eq!(mac_disable(mh()), Errno::EBUSY.0);
    }
    let c = Client::open(20).unwrap();
    assert_eq!(delete(20), Err(Errno::EBUSY));
    drop(c);
    delete(20).unwrap();
    assert_eq!(delete(20), Err(Errno::ENOENT));
    assert_eq!(STARTED.load(SeqCst), 1);
    delete(21).unwrap();
    assert_eq!((STARTED.load(SeqCst), PROMISC.load(SeqCst)), (0, 0));
    assert_eq!(Client::open(20).err(), Some(Errno::ENOENT.0));
    unplumb();
    k.shutdown().unwrap();
}

#[test]
fn vnic_addresses_are_drawn_and_described() {
    let k = boot();
    plumb();
    let mut c = vnic_ioc_create_t::new_zeroed();
    (c.vc_vnic_id, c.vc_link_id) = (30, LINK);
    c.vc_mac_addr_type = VNIC_MAC_ADDR_TYPE_AUTO;
    ioctl(&dld(), VNIC_IOC_CREATE, &mut c).unwrap();
    assert_eq!((c.vc_mac_len, &c.vc_mac_addr[..3]), (6, &[2, 8, 0x20][..]));
    assert_eq!(c.vc_mac_addr_type, VNIC_MAC_ADDR_TYPE_RANDOM);
    let mut i = vnic_info_t::new_zeroed();
    i.vn_vnic_id = 30;
    ioctl(&dld(), VNIC_IOC_INFO, &mut i).unwrap();
    assert_eq!((i.vn_link_id, i.vn_mac_addr), (LINK, c.vc_mac_addr));
    i.vn_vnic_id = 31;
    assert_eq!(ioctl(&dld(), VNIC_IOC_INFO, &mut i), Err(Errno::ENOENT));
    (c.vc_vnic_id, c.vc_link_id) = (31, 30);
    assert_eq!(ioctl(&dld(), VNIC_IOC_CREATE, &mut c), Err(Errno::EINVAL), "over a VNIC");
    c.vc_link_id = 99;
    assert_eq!(ioctl(&dld(), VNIC_IOC_CREATE, &mut c), Err(Errno::ENOENT));
    let user = fakekernel::host::Cred { dl_config: false, ..fakekernel::host::Cred::KERNEL };
    let dev = fakekernel::dev::open("/dev/dld", FREAD, &user).unwrap();
    assert_eq!(ioctl(&dev, VNIC_IOC_CREATE, &mut c), Err(Errno::EPERM));
    assert_eq!(ioctl(&dev, 0x0171_0099, &mut c), Err(Errno::ENOTSUP));
    assert_eq!(ioctl(&dev, 0x7777_0001, &mut c), Err(Errno::ENOTSUP));
    delete(30).unwrap();
    unplumb();
    k.shutdown().unwrap();
}

#[test]
fn frames_reach_whom_they_are_for() {
    let k = boot();
    plumb();
    for (id, addr) in [(20, A), (21, B), (22, C)] {
        create(id, addr, 0).unwrap();
    }
    let clients: Vec<_> = [20, 21, 22].map(|id| Client::open(id).unwrap()).into();
    let seen: Vec<_> = clients.iter().map(listen).collect();
    let counts = || seen.iter().map(|s| take(s).len()).collect::<Vec<_>>();

    wire(&[&frame(A, FAR, None, b"x"), &frame(ALL, FAR, None, b"x"), &frame(FAR, A, None, b"x")]);
    assert_eq!(counts(), [2, 1, 1]);
    wire(&[&frame(GROUP, FAR, None, b"x")]);
    assert_eq!(counts(), [0, 0, 0]);
    clients[1].join(&GROUP).unwrap();
    clients[2].set_all_multicast(true).unwrap();
    assert_eq!(GROUPS.load(SeqCst), 1);
    wire(&[&frame(GROUP, FAR, None, b"x")]);
    assert_eq!(counts(), [0, 1, 1]);
    clients[1].leave(&GROUP).unwrap();
    assert_eq!(GROUPS.load(SeqCst), 0);
    assert_eq!(clients[1].join(&A).err(), Some(Errno::EINVAL.0));

    // To a sibling, without the wire; to all, by both ways; to a stranger, by the wire only.
    clients[0].tx(one(&frame(B, A, None, b"to b"))).ok().unwrap();
    assert_eq!((counts(), sent().len()), (vec![0, 1, 0], 0));
    clients[0].tx(one(&frame(ALL, A, None, b"to all"))).ok().unwrap();
    assert_eq!((counts(), sent().len()), (vec![0, 1, 1], 1));
    clients[0].tx(one(&frame(FAR, A, None, b"far"))).ok().unwrap();
    assert_eq!(counts(), [0, 0, 0]);
    assert_eq!(sent(), [frame(FAR, A, None, b"far")]);
    clients[0].tx(one(&frame(A, A, None, b"me"))).ok().unwrap();
    assert_eq!((counts(), sent().len()), (vec![0, 0, 0], 0));
    assert!(HEADROOM.load(SeqCst) >= 64, "encapsulation in place needs headroom");

    // Two clients of one VNIC both hear.
    let second = Client::open(20).unwrap();
    let more = listen(&second);
    wire(&[&frame(A, FAR, None, b"x")]);
    assert_eq!((counts(), take(&more).len()), (vec![1, 0, 0], 1));
    drop((clients, second));
    for id in [20, 21, 22] {
        delete(id).unwrap();
    }
    unplumb();
    k.shutdown().unwrap();
}

#[test]
fn what_does_not_fit_is_refused_and_counted() {
    let k = boot();
    plumb();
    create(20, A, 0).unwrap();
    let c = Client::open(20).unwrap();
    let seen = listen(&c);
    c.tx(one(&[0; 13])).ok().unwrap();
    c.tx(one(&frame(FAR, A, None, &[0; 1401]))).ok().unwrap();
    let mut f = Frame::from_slice(&frame(FAR, A, None, &[0; 40])).unwrap();
    let far = Some(Partial { start: 14, offset: 200 });
    f.set_offload(&Offload { checksum: far, mss: None }).unwrap();
    c.tx(f).ok().unwrap();
    let before = Some(Partial { start: 3, offset: 0 });
    let o = Offload { checksum: before, mss: None };
    assert!(Frame::from_slice(&frame(FAR, A, None, b"")).unwrap().set_offload(&o).is_err());
    assert!(sent().is_empty());
    c.tx(one(&frame(FAR, A, None, &[0; 1400]))).ok().unwrap();
    c.tx(one(&frame(FAR, A, Some(5), &[0; 1400]))).ok().unwrap();
    assert_eq!(sent().len(), 2);
    wire(&[&[], &[1; 5], &[2; 13], &frame(A, FAR, None, b"")]);
    assert_eq!(take(&seen).len(), 1);
    let t = links()[1].traffic;
    assert_eq!((t.tx_drops, t.tx_frames, t.rx_frames, t.rx_bytes), (3, 3, 1, 14));
    let stat = || fakekernel::kstat::read(Some("vnic"), Some(20), Some("link"));
    let values: Vec<_> = stat()[0].data.iter().map(|(n, v)| format!("{n} {v}")).collect();
    assert_eq!(values[..3], ["ipackets64 1", "rbytes64 14", "opackets64 3"]);
    assert_eq!(values[5], "odrops64 3");
    drop(c);
    delete(20).unwrap();
    assert!(stat().is_empty());
    unplumb();
    k.shutdown().unwrap();
}

#[test]
fn vlans() {
    let k = boot();
    plumb();
    create(20, A, 0).unwrap();
    create(21, A, 7).unwrap();
    create(22, B, 7).unwrap();
    assert_eq!(create(23, A, 7).err().map(|e| e.0), Some(Errno::EEXIST));
    assert_eq!(create(23, C, 4095).err().map(|e| e.0), Some(Errno::EINVAL));
    let clients: Vec<_> = [20, 21, 22].map(|id| Client::open(id).unwrap()).into();
    let seen: Vec<_> = clients.iter().map(listen).collect();
    let all = || seen.iter().map(take).collect::<Vec<_>>();
    let plain = frame(A, FAR, None, b"p");
    let seven = frame(A, FAR, Some(0x2007), b"7");
    let eight = frame(A, FAR, Some(8), b"8");
    wire(&[&plain, &seven, &eight]);
    // The trunk has what nobody else has, tags and all; the VLAN's station has its own, without.
    assert_eq!(all(), [vec![plain, eight], vec![frame(A, FAR, None, b"7")], vec![]]);
    wire(&[&frame(ALL, FAR, Some(7), b"b"), &frame(ALL, FAR, None, b"u")]);
    let b = frame(ALL, FAR, None, b"b");
    let expect = [
        vec![frame(ALL, FAR, Some(7), b"b"), frame(ALL, FAR, None, b"u")],
        vec![b.clone()],
        vec![b],
    ];
    assert_eq!(all(), expect);
    // A station of a VLAN sends tagged, and reaches its sibling without a tag.
    clients[1].tx(one(&frame(FAR, A, None, b"x"))).ok().unwrap();
    assert_eq!(sent(), [frame(FAR, A, Some(7), b"x")]);
    clients[1].tx(one(&frame(B, A, None, b"y"))).ok().unwrap();
    assert_eq!(all(), [vec![], vec![], vec![frame(B, A, None, b"y")]]);
    clients[1].tx(one(&frame(FAR, A, Some(8), b"no"))).ok().unwrap();
    assert!(sent().is_empty());
    drop(clients);
    for id in [20, 21, 22] {
        delete(id).unwrap();
    }
    unplumb();
    k.shutdown().unwrap();
}

#[test]
fn header_info() {
    let k = boot();
    plumb();
    // SAFETY: messages of our own, freed below.
    unsafe {
        let ask = |vlan: bool, parts: &[&[u8]]| {
            let mp = fakekernel::mblk::from_slice(parts[0], 0);
            for p in &parts[1..] {
                linkb(mp, fakekernel::mblk::from_slice(p, 0));
            }
            let mut i: mac_header_info_t = std::mem::zeroed();
            let e = if vlan {
                mac_vlan_header_info(mh(), mp, &mut i)
            } else {
                mac_header_info(mh(), mp, &mut i)
            };
            let same = e != 0 || i.mhi_daddr == (*mp).b_rptr && i.mhi_saddr == (*mp).b_rptr.add(6);
            assert!(same);
            freemsg(mp);
            (e, i)
        };
        let f = frame(A, B, None, b"data");
        let (e, i) = ask(true, &[&f]);
        assert_eq!((e, i.mhi_hdrsize, i.mhi_origsap, i.mhi_bindsap), (0, 14, 0x800, 0x800));
        assert_eq!((i.mhi_istagged, i.mhi_dsttype), (0, MAC_ADDRTYPE_UNICAST));
        assert_eq!(ask(true, &[&f[..13]]).0, Errno::EINVAL.0);
        assert_eq!(ask(true, &[&f[..13], &f[13..]]).0, Errno::EINVAL.0, "must be in one block");
        assert_eq!(ask(false, &[&frame(ALL, B, None, b"")]).1.mhi_dsttype, MAC_ADDRTYPE_BROADCAST);
        assert_eq!(
            ask(false, &[&frame(GROUP, B, None, b"")]).1.mhi_dsttype,
            MAC_ADDRTYPE_MULTICAST
        );

        let t = frame(A, B, Some(0x6005), b"data");
        let (e, i) = ask(false, &[&t]);
        assert_eq!((e, i.mhi_hdrsize, i.mhi_bindsap, i.mhi_istagged), (0, 14, 0x8100, 0));
        for cut in [14, 15, 16, 17, 18] {
            let (e, i) = ask(true, &[&t[..cut], &t[cut..]]);
            assert_eq!((e, i.mhi_hdrsize, i.mhi_bindsap), (0, 18, 0x800), "cut at {cut}");
            assert_eq!((i.mhi_istagged, i.mhi_tci, i.mhi_origsap), (1, 0x6005, 0x8100));
        }
        assert_eq!(ask(true, &[&t[..17]]).0, Errno::EINVAL.0);
        assert_eq!(ask(true, &[&frame(A, B, Some(0x1005), b"")]).0, Errno::EINVAL.0, "CFI");
        let mut llc = frame(A, B, None, b"data");
        llc[12..14].copy_from_slice(&[0, 4]);
        let (_, i) = ask(true, &[&llc]);
        assert_eq!((i.mhi_origsap, i.mhi_bindsap, i.mhi_pktsize), (4, 0, 18));
    }
    unplumb();
    k.shutdown().unwrap();
}

fn prop(flags: u32, link: u32, id: i32, value: &[u8]) -> Vec<u8> {
    let mut p = dld_ioc_macprop_t::new_zeroed();
    (p.pr_flags, p.pr_linkid, p.pr_num) = (flags, link, id);
    p.pr_name[..3].copy_from_slice(b"mtu");
    p.pr_valsize = value.len() as u32;
    let mut all = zerocopy::IntoBytes::as_bytes(&p).to_vec();
    all.resize(all.len().max(DLD_MACPROP_VAL + value.len()), 0);
    all[DLD_MACPROP_VAL..DLD_MACPROP_VAL + value.len()].copy_from_slice(value);
    all
}

fn prop_ioctl(cmd: u32, p: &mut [u8]) -> Result<i32, Errno> {
    let at = p.as_mut_ptr() as u64;
    dld().ioctl(cmd as i32, at, fakekernel::host::Model::Ilp32, &fakekernel::host::SelfMem)
}

fn set_mtu(link: u32, mtu: u32) -> Result<i32, Errno> {
    prop_ioctl(DLDIOC_SETMACPROP, &mut prop(0, link, MAC_PROP_MTU, &mtu.to_ne_bytes()))
}

fn get(flags: u32, link: u32, size: usize) -> Result<Vec<u8>, Errno> {
    let mut p = prop(flags, link, MAC_PROP_MTU, &vec![0; size]);
    prop_ioctl(DLDIOC_GETMACPROP, &mut p)?;
    Ok(p[DLD_MACPROP_VAL..DLD_MACPROP_VAL + size].to_vec())
}

#[test]
fn mtu_through_dld() {
    let k = boot();
    plumb();
    create(20, A, 0).unwrap();
    let c = Client::open(20).unwrap();
    let (tx, notes) = mpsc::channel();
    c.set_notes(Arc::new(move |n| tx.send(n).unwrap()));
    let word = |v: u32| v.to_ne_bytes().to_vec();
    let wait = Duration::from_secs(5);
    assert_eq!(get(0, LINK, 4), Ok(word(1400)));
    assert_eq!(get(0, LINK, 3), Err(Errno::EINVAL));
    assert_eq!(get(DLD_PROP_DEFAULT, LINK, 4), Ok(word(1400)));
    let range = [1u32, 1, 576, 8900].map(u32::to_ne_bytes).concat();
    assert_eq!(get(DLD_PROP_POSSIBLE, LINK, 16), Ok(range));
    assert_eq!(get(DLD_PROP_POSSIBLE, LINK, 8), Err(Errno::ENOSPC));
    assert_eq!(set_mtu(LINK, 100), Err(Errno::EINVAL));
    assert_eq!(set_mtu(99, 1000), Err(Errno::ENOENT));
    set_mtu(LINK, 2000).unwrap();
    assert_eq!(notes.recv_timeout(wait), Ok(Note::Mtu(2000)));
    assert_eq!((c.mtu(), get(0, 20, 4)), (2000, Ok(word(2000))));
    assert_eq!(set_mtu(20, 2001), Err(Errno::EINVAL), "above the link's");
    set_mtu(20, 1500).unwrap();
    assert_eq!(notes.recv_timeout(wait), Ok(Note::Mtu(1500)));
    assert_eq!(set_mtu(LINK, 1400), Err(Errno::EBUSY), "below the VNIC's own");
    set_mtu(LINK, 1600).unwrap();
    assert_eq!(c.mtu(), 1500);
    let mut a = dld_ioc_attr_t { dia_linkid: LINK, dia_max_sdu: 0 };
    ioctl(&dld(), DLDIOC_ATTR, &mut a).unwrap();
    assert_eq!(a.dia_max_sdu, 1600);
    // SAFETY: a live handle, places of ours.
    unsafe {
        let (mut min, mut max) = (0, 0);
        mac_sdu_get(mh(), &mut min, &mut max);
        assert_eq!((min, max), (1, 1600));
        assert_eq!(mac_maxsdu_update(mh(), 0), Errno::EINVAL.0);
        mac_link_update(mh(), LINK_STATE_UP);
    }
    while notes.recv_timeout(wait).unwrap() != Note::Link(LINK_STATE_UP) {}
    assert_eq!((c.link_state(), links()[0].state), (1, 1));

    #[repr(C)]
    struct Get(dld_ioc_macaddrget_t, dld_macaddrinfo_t);
    let mut g = Get(FromZeros::new_zeroed(), FromZeros::new_zeroed());
    (g.0.dig_linkid, g.0.dig_size) = (20, 292);
    ioctl(&dld(), DLDIOC_MACADDRGET, &mut g).unwrap();
    assert_eq!((g.0.dig_count, g.1.dmi_addrlen, &g.1.dmi_addr[..6]), (1, 6, &A[..]));
    g.0.dig_size = 291;
    assert_eq!(ioctl(&dld(), DLDIOC_MACADDRGET, &mut g), Err(Errno::ENOSPC));
    drop(c);
    delete(20).unwrap();
    unplumb();
    k.shutdown().unwrap();
}

#[test]
fn perimeter() {
    let k = boot();
    plumb();
    // SAFETY: a live handle throughout.
    unsafe {
        let mut p = null_mut();
        mac_perim_enter_by_mh(mh(), &mut p);
        mac_perim_enter_by_mh(mh(), &mut p);
        assert_eq!(mac_perim_held(mh()), 1);
        let (tx, rx) = mpsc::channel();
        let t = std::thread::spawn(move || {
            assert_eq!(mac_perim_held(mh()), 0);
            let mut p = null_mut();
            mac_perim_enter_by_mh(mh(), &mut p);
            tx.send(()).unwrap();
            mac_perim_exit(p);
        });
        assert!(rx.recv_timeout(Duration::from_millis(50)).is_err());
        mac_perim_exit(p);
        assert!(rx.recv_timeout(Duration::from_millis(50)).is_err());
        mac_perim_exit(p);
        rx.recv_timeout(Duration::from_secs(5)).unwrap();
        t.join().unwrap();
        assert!(fakekernel::host::violations().is_empty());
        mac_perim_exit(p);
        let mut mtu = 1500u32;
        let e =
            mac_set_prop(mh(), MAC_PROP_MTU, c"mtu".as_ptr().cast_mut(), (&raw mut mtu).cast(), 4);
        assert_eq!(e, 0);
    }
    let found = take_violations();
    assert_eq!(found.iter().filter(|v| v.kind == Kind::NotOwner).count(), 2, "{found:?}");
    unplumb();
    k.shutdown().unwrap();
}

#[test]
fn a_full_provider_gives_back_what_it_did_not_take() {
    let k = boot();
    plumb();
    create(20, A, 0).unwrap();
    let c = Arc::new(Client::open(20).unwrap());
    let many = || (0..100u8).map(|i| Frame::from_slice(&frame(FAR, A, None, &[i])).unwrap());
    ROOM.store(70, SeqCst);
    let rest = c.tx(many().collect::<Frames>()).err().unwrap();
    assert_eq!((sent().len(), rest.len()), (70, 30));
    ROOM.store(10, SeqCst);
    let rest = c.tx(rest).err().unwrap();
    assert_eq!(rest.len(), 20);
    assert!(!c.wait_tx(Duration::from_millis(10)));
    let waiter = c.clone();
    let t = std::thread::spawn(move || waiter.tx_all(rest, Duration::from_secs(5)));
    std::thread::sleep(Duration::from_millis(20));
    ROOM.store(usize::MAX, SeqCst);
    // SAFETY: a live handle.
    unsafe { mac_tx_update(mh()) };
    assert!(t.join().unwrap());
    let order: Vec<u8> = sent().iter().map(|f| f[14]).collect();
    assert_eq!(order, (70..100).collect::<Vec<u8>>());
    ROOM.store(0, SeqCst);
    assert!(!c.tx_all(many().collect::<Frames>(), Duration::from_millis(5)));
    drop(c);
    delete(20).unwrap();
    unplumb();
    k.shutdown().unwrap();
}

/// Two guests that answer every frame at once must not eat the stack, nor may a closing client wait
/// for itself.
#[test]
fn answers_from_the_callback_do_not_recurse() {
    let k = boot();
    plumb();
    create(20, A, 0).unwrap();
    create(21, B, 0).unwrap();
    let a = Arc::new(Client::open(20).unwrap());
    let b = Arc::new(Client::open(21).unwrap());
    let left = Arc::new(Mutex::new(20_000u32));
    for (me, own, other) in [(&a, A, B), (&b, B, A)] {
        let weak = Arc::downgrade(me);
        let left = left.clone();
        me.set_rx(Arc::new(move |batch| {
            for _ in batch {
                let mut n = left.lock().unwrap();
                if *n > 0 {
                    *n -= 1;
                    drop(n);
                    let me = weak.upgrade().unwrap();
                    me.tx(one(&frame(other, own, None, b"ping"))).ok().unwrap();
                }
            }
        }));
    }
    a.tx(one(&frame(B, A, None, b"go"))).ok().unwrap();
    assert_eq!(*left.lock().unwrap(), 0);
    let last = Arc::new(Mutex::new(Some(b)));
    let l = last.clone();
    last.lock()
        .unwrap()
        .as_ref()
        .unwrap()
        .set_rx(Arc::new(move |_| drop(l.lock().unwrap().take())));
    a.tx(one(&frame(B, A, None, b"close"))).ok().unwrap();
    assert!(last.lock().unwrap().is_none());
    drop(a);
    delete(20).unwrap();
    delete(21).unwrap();
    unplumb();
    k.shutdown().unwrap();
}

#[test]
fn a_raw_client_hears_everything_and_may_send() {
    let k = boot();
    plumb();
    START.store(Errno::EAGAIN.0, SeqCst);
    assert_eq!(Client::open(LINK).err(), Some(Errno::EAGAIN.0));
    START.store(0, SeqCst);
    let raw = Client::open(LINK).unwrap();
    let seen = listen(&raw);
    create(20, A, 0).unwrap();
    let c = Client::open(20).unwrap();
    let at_c = listen(&c);
    wire(&[&frame(A, FAR, None, b"1"), &frame(FAR, B, None, b"2"), &frame(GROUP, B, None, b"3")]);
    assert_eq!((take(&seen).len(), take(&at_c).len()), (3, 1));
    raw.tx(one(&frame(A, C, None, b"in"))).ok().unwrap();
    raw.tx(one(&frame(FAR, C, None, b"out"))).ok().unwrap();
    assert_eq!((take(&at_c).len(), sent().len()), (1, 1));
    let captured = Arc::new(Mutex::new(Vec::new()));
    let sink = captured.clone();
    let tap = fakekernel::net::capture(
        20,
        Arc::new(move |p| sink.lock().unwrap().push((p.direction, p.bytes.len()))),
    );
    c.tx(one(&frame(FAR, A, None, b"123456"))).ok().unwrap();
    wire(&[&frame(A, FAR, None, b"1")]);
    drop(tap);
    wire(&[&frame(A, FAR, None, b"1")]);
    use fakekernel::net::capture::Direction::{In, Out};
    assert_eq!(*captured.lock().unwrap(), [(Out, 20), (In, 15)]);
    drop((c, raw));
    delete(20).unwrap();
    unplumb();
    k.shutdown().unwrap();
}

#[test]
fn the_provider_gets_marks_when_it_can_use_them() {
    let k = boot();
    *CAPS.lock().unwrap() = (HCK_PARTIALCKSUM, 65535);
    plumb();
    create(20, A, 0).unwrap();
    let c = Client::open(20).unwrap();
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    ip.extend_from_slice(&[0; 12]);
    ip.extend_from_slice(&[0x50, 0x18, 0, 0, 0, 0, 0, 0]);
    ip.resize(5000, 1);
    ip[2..4].copy_from_slice(&5000u16.to_be_bytes());
    let mut f = Frame::from_slice(&frame(FAR, A, None, &ip)).unwrap();
    let o = Offload { checksum: Some(Partial { start: 34, offset: 16 }), mss: Some(1000) };
    f.set_offload(&o).unwrap();
    c.tx(f).ok().unwrap();
    assert_eq!(*MARKS.lock().unwrap(), [20, 36, HCK_PARTIALCKSUM | HW_LSO, 1000]);
    assert_eq!(sent().len(), 1);
    drop(c);
    delete(20).unwrap();
    unplumb();
    k.shutdown().unwrap();
}

/// Frames whose header is spread over blocks are delivered like others, whole.
#[test]
fn frames_in_many_blocks() {
    let k = boot();
    plumb();
    create(20, A, 0).unwrap();
    create(21, A, 7).unwrap();
    let clients: Vec<_> = [20, 21].map(|id| Client::open(id).unwrap()).into();
    let seen: Vec<_> = clients.iter().map(listen).collect();
    let plain = frame(A, FAR, None, b"payload");
    let tagged = frame(A, FAR, Some(7), b"payload");
    for (f, who) in [(&plain, 0), (&tagged, 1)] {
        for cut in 1..f.len() {
            // SAFETY: messages of ours, given to mac_rx.
            unsafe {
                let mp = fakekernel::mblk::from_slice(&f[..cut], 0);
                linkb(mp, fakekernel::mblk::from_slice(b"", 0));
                linkb(mp, fakekernel::mblk::from_slice(&f[cut..], 0));
                mac_rx(mh(), null_mut(), mp);
            }
            assert_eq!(take(&seen[who]), [frame(A, FAR, None, b"payload")], "cut at {cut}");
        }
    }
    drop(clients);
    delete(20).unwrap();
    delete(21).unwrap();
    unplumb();
    k.shutdown().unwrap();
}

/// VNICs, clients and the link itself come and go while frames pass every way. Nothing is called
/// after its end.
#[test]
fn links_come_and_go_under_traffic() {
    use std::sync::atomic::AtomicBool;
    let k = boot();
    let stop = Arc::new(AtomicBool::new(false));
    plumb();
    let spawn = |f: Box<dyn Fn(u32) + Send>| {
        let stop = stop.clone();
        std::thread::spawn(move || (0..).take_while(|_| !stop.load(SeqCst)).for_each(f))
    };
    let worker = |id: u32, addr: [u8; 6], vid: u16| {
        spawn(Box::new(move |i| {
            create(id, addr, vid).unwrap();
            let c = Client::open(id).unwrap();
            let seen = listen(&c);
            c.set_all_multicast(i % 2 == 0).unwrap();
            for dst in [A, B, C, FAR, ALL, GROUP] {
                c.tx(one(&frame(dst, addr, None, b"x"))).ok().unwrap();
            }
            take(&seen);
            assert_eq!(delete(id), Err(Errno::EBUSY));
            drop(c);
            let heard = take(&seen).len();
            delete(id).unwrap();
            assert!(take(&seen).is_empty(), "{heard}: nothing after the close");
        }))
    };
    let mut threads = vec![worker(20, A, 0), worker(21, B, 0), worker(22, C, 0), worker(23, A, 5)];
    threads.push(spawn(Box::new(|_| {
        let raw = Client::open(LINK).unwrap();
        let seen = listen(&raw);
        raw.tx(one(&frame(A, FAR, None, b"raw"))).ok().unwrap();
        take(&seen);
        links();
    })));
    threads.push(spawn(Box::new(|i| {
        wire(&[
            &frame([A, B, C, ALL][i as usize % 4], FAR, None, b"w"),
            &frame(ALL, FAR, Some(5), b"v"),
        ]);
        sent();
        // SAFETY: a live handle.
        unsafe {
            mac_tx_update(mh());
            mac_link_update(mh(), (i % 2) as i32);
        }
    })));
    std::thread::sleep(Duration::from_millis(1500));
    stop.store(true, SeqCst);
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!((STARTED.load(SeqCst), PROMISC.load(SeqCst)), (0, 0));
    sent();
    unplumb();
    k.shutdown().unwrap();
}
