// SPDX-License-Identifier: CDDL-1.0
//! Every ioctl with everything that can be wrong about it. After each table the link works as
//! before.
use crate::common::*;
use fakekernel::host::{Cred, Model, SelfMem};
use overlay_abi::dld::*;
use overlay_abi::errno::Errno;
use overlay_abi::ids::UnderlayAddr;
use overlay_abi::props::*;
use overlay_abi::target::*;
use std::net::SocketAddr;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Each target ioctl: number, size of its argument, needs an open for writing, looks for a link.
const TARGET: [(u32, usize, bool, bool); 17] = [
    (OVERLAY_TARG_INFO, 24, true, true),
    (OVERLAY_TARG_ASSOCIATE, 48, true, true),
    (OVERLAY_TARG_DISASSOCIATE, 4, true, true),
    (OVERLAY_TARG_DEGRADE, 264, true, true),
    (OVERLAY_TARG_RESTORE, 4, true, true),
    (OVERLAY_TARG_LOOKUP, 72, true, false),
    (OVERLAY_TARG_RESPOND, 40, true, false),
    (OVERLAY_TARG_DROP, 40, true, false),
    (OVERLAY_TARG_INJECT, 32, true, false),
    (OVERLAY_TARG_PKT, 32, true, false),
    (OVERLAY_TARG_RESEND, 32, true, false),
    (OVERLAY_TARG_LIST, 4, false, false),
    (OVERLAY_TARG_CACHE_GET, 40, false, true),
    (OVERLAY_TARG_CACHE_SET, 40, true, true),
    (OVERLAY_TARG_CACHE_REMOVE, 40, true, true),
    (OVERLAY_TARG_CACHE_FLUSH, 40, true, true),
    (OVERLAY_TARG_CACHE_ITER, 24, false, true),
];

const NOBODY: Cred = Cred { uid: 100, zoneid: 0, dl_config: false, observability: false };
const ZONE: Cred = Cred { uid: 0, zoneid: 3, dl_config: true, observability: true };
const FOFFMAX: i32 = 0x2000;
const FCLOEXEC: i32 = 0x80_0000;
const FNDELAY: i32 = 4;

#[test]
fn opens_are_checked() {
    let rig = Rig::boot();
    let open = |flags, cred: &Cred| rig.kernel.open(OVERLAY_DEV, flags, cred).map(drop);
    for (flags, result) in [
        (FREAD, Ok(())),
        (FREAD | FEXCL, Ok(())),
        (RWX, Ok(())),
        (FWRITE | FEXCL, Ok(())),
        (RWX | FOFFMAX, Ok(())),
        (RWX | FOFFMAX | FCLOEXEC, Ok(())),
        (FREAD | FWRITE, Err(Errno::EINVAL)),
        (FWRITE, Err(Errno::EINVAL)),
        (FEXCL, Err(Errno::EINVAL)),
        (0, Err(Errno::EINVAL)),
        (FREAD | FNDELAY, Err(Errno::EINVAL)),
        (RWX | 0x10, Err(Errno::EINVAL)),
    ] {
        assert_eq!(open(flags, &Cred::KERNEL), result, "{flags:#x}");
        assert_eq!(open(flags, &NOBODY), Err(Errno::EPERM), "privilege comes first");
        let zone = result.and(Err(Errno::EPERM));
        assert_eq!(open(flags, &ZONE), zone, "{flags:#x} in a zone");
    }
    let varpd = rig.varpd();
    assert_eq!(open(RWX, &Cred::KERNEL), Err(Errno::EEXIST));
    assert_eq!(open(FREAD | FEXCL, &Cred::KERNEL), Err(Errno::EEXIST));
    let others: Vec<_> = (0..5).map(|_| rig.open_overlay(FREAD).unwrap()).collect();
    drop(varpd);
    drop(rig.varpd());
    drop(others);
    rig.end();
}

#[test]
fn commands_need_their_open_and_their_memory() {
    let rig = Rig::boot();
    let (varpd, reader) = (rig.varpd(), rig.open_overlay(FREAD).unwrap());
    rig.create(LINK, VNET).unwrap();
    let page = Page::new();
    for (cmd, size, write, link) in TARGET {
        let mut zeros = vec![0u8; 300];
        if write {
            assert_eq!(reader.raw(cmd, zeros.as_mut_ptr() as u64), Err(Errno::EBADF), "{cmd:#x}");
        } else {
            assert_ne!(reader.raw(cmd, zeros.as_mut_ptr() as u64), Err(Errno::EBADF), "{cmd:#x}");
        }
        if cmd == OVERLAY_TARG_LOOKUP {
            continue;
        }
        for addr in [0, 8, u64::MAX, u64::MAX - 7, 1 << 63, page.put(&zeros[..size - 1])] {
            assert_eq!(varpd.raw(cmd, addr), Err(Errno::EFAULT), "{cmd:#x} at {addr:#x}");
        }
        if link {
            for id in [0u32, 8, u32::MAX] {
                zeros[..4].copy_from_slice(&id.to_ne_bytes());
                // A count, for ITER looks at that first.
                zeros[16] = 1;
                let result = varpd.raw(cmd, page.put(&zeros[..size]));
                assert_eq!(result, Err(Errno::ENOENT), "{cmd:#x} for link {id}");
            }
        }
    }
    let mut zeros = [0u8; 64];
    let base = OVERLAY_TARG_IOCTL;
    for cmd in [0, base, base | 6, base | 0xf, base | 0x16, base | 0x35, base | 0x41, 0x0d1d_0003] {
        assert_eq!(varpd.raw(cmd, zeros.as_mut_ptr() as u64), Err(Errno::ENOTTY), "{cmd:#x}");
        assert_eq!(reader.raw(cmd, zeros.as_mut_ptr() as u64), Err(Errno::ENOTTY), "{cmd:#x}");
    }
    for cmd in [OVERLAY_TARG_RESPOND, OVERLAY_TARG_DROP, OVERLAY_TARG_PKT] {
        for id in [0u64, 1, 1 << 32, u64::MAX, 0x1_0000_0001] {
            let mut a = [0u8; 40];
            // The id is first in answers and second in packets.
            let at = if cmd == OVERLAY_TARG_PKT { 8 } else { 0 };
            a[at..at + 8].copy_from_slice(&id.to_ne_bytes());
            let at = a.as_mut_ptr() as u64;
            assert_eq!(varpd.raw(cmd, at), Err(Errno::EINVAL), "{cmd:#x} of {id:#x}");
        }
    }
    assert_eq!(varpd.info(LINK).unwrap().oti_vnetid, VNET);
    rig.delete(LINK).unwrap();
    drop((varpd, reader));
    rig.end();
}

#[test]
fn a_lookup_that_cannot_be_told_is_not_lost() {
    let s = Scene::dynamic();
    s.guest.send(&frame(FAR, GUEST, 1, 60));
    assert_eq!(s.varpd.raw(OVERLAY_TARG_LOOKUP, 8), Err(Errno::EFAULT));
    let l = s.varpd.lookup().unwrap();
    assert_eq!(l.otl_dstaddr, FAR);
    // Nor a packet.
    let mut a = Varpd::pkt_arg(0, l.otl_reqid, &mut [0; 60]);
    a.otp_buf = 8;
    assert_eq!(s.varpd.call(OVERLAY_TARG_PKT, &mut a), Err(Errno::EFAULT));
    s.varpd.respond(l.otl_reqid, s.peer.at()).unwrap();
    assert_eq!(s.peer.frame(VNET), frame(FAR, GUEST, 1, 60));
    s.end();
}

#[test]
fn associations_are_checked() {
    let rig = Rig::boot();
    let varpd = rig.varpd();
    rig.create(LINK, VNET).unwrap();
    let good: SocketAddr = "192.0.2.1:4789".parse().unwrap();
    let try_it = |id, mode, provides, to: SocketAddr| {
        let mut a = overlay_targ_associate_t::new_zeroed();
        (a.ota_linkid, a.ota_id, a.ota_mode, a.ota_provides) = (LINK, id, mode, provides);
        a.ota_point = UnderlayAddr::from(to).into();
        varpd.call(OVERLAY_TARG_ASSOCIATE, &mut a)
    };
    for (id, mode, provides) in [
        (0, 1, 6),
        (1, 0, 6),
        (1, 3, 6),
        (1, u32::MAX, 6),
        (1, 1, 0),
        (1, 1, 2),
        (1, 1, 7),
        (1, 2, 4),
    ] {
        assert_eq!(try_it(id, mode, provides, good), Err(Errno::EINVAL), "{id} {mode} {provides}");
    }
    for to in ["[::]:4789", "0.0.0.0:4789", "[::192.0.2.1]:4789", "192.0.2.1:0", "[2001:db8::1]:0"]
    {
        let to = to.parse().unwrap();
        assert_eq!(try_it(1, OVERLAY_TARGET_POINT, 6, to), Err(Errno::EINVAL), "{to}");
        // A dynamic link has no use for it.
        assert_eq!(try_it(1, OVERLAY_TARGET_DYNAMIC, 6, to), Ok(()));
        varpd.disassociate(LINK).unwrap();
    }
    let cache = [
        varpd.cache_get(LINK, FAR).map(drop),
        varpd.cache_set(LINK, FAR, good),
        varpd.cache_remove(LINK, FAR),
        varpd.cache_flush(LINK),
        varpd.cache_step(LINK, 0, 1).map(drop),
    ];
    assert_eq!(cache, [Err(Errno::ENXIO); 5]);
    assert_eq!(try_it(u64::MAX, OVERLAY_TARGET_POINT, 6, good), Ok(()));
    assert_eq!(rig.get(LINK, "varpd/id").unwrap(), u64::MAX.to_ne_bytes());
    rig.delete(LINK).unwrap();
    drop(varpd);
    rig.end();
}

#[test]
fn links_are_listed() {
    let rig = Rig::boot();
    let varpd = rig.varpd();
    assert_eq!(varpd.list(0).unwrap(), (0, vec![]));
    for id in [9, 5, 7] {
        rig.create(id, id.into()).unwrap();
    }
    const OLD: u32 = 0xeeee_eeee;
    assert_eq!(varpd.list(0).unwrap(), (3, vec![]));
    assert_eq!(varpd.list(2).unwrap(), (3, vec![5, 7]));
    assert_eq!(varpd.list(3).unwrap(), (3, vec![5, 7, 9]));
    assert_eq!(varpd.list(5).unwrap(), (3, vec![5, 7, 9, OLD, OLD]), "no more than there are");
    let mut n = i32::MAX as u32 / 4;
    assert_eq!(varpd.raw(OVERLAY_TARG_LIST, &raw mut n as u64), Err(Errno::EINVAL));
    let page = Page::new();
    let at = page.put(&3u32.to_ne_bytes());
    assert_eq!(varpd.raw(OVERLAY_TARG_LIST, at), Err(Errno::EFAULT), "no room behind it");
    for id in [9, 5, 7] {
        rig.delete(id).unwrap();
    }
    drop(varpd);
    rig.end();
}

#[test]
fn programs_of_32_bits_have_their_forms() {
    let s = Scene::dynamic();
    let page = Page::new();
    s.guest.send(&frame(FAR, GUEST, 1, 60));
    let l = s.varpd.lookup().unwrap();
    // A buffer that 32 bits can point to.
    // SAFETY: new memory.
    let low = unsafe {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        libc::mmap(std::ptr::null_mut(), 4096, prot, flags, -1, 0)
    };
    assert_ne!(low, libc::MAP_FAILED);
    let mut a = overlay_targ_pkt32_t::new_zeroed();
    a.otp_reqid = l.otl_reqid.into();
    a.otp_size = 4096.into();
    a.otp_buf = low as u32;
    let at = page.put(a.as_bytes());
    s.varpd.raw32(OVERLAY_TARG_PKT, at, &SelfMem).unwrap();
    // SAFETY: written by the ioctl; both are still there.
    let (bytes, a) = unsafe {
        let bytes = std::slice::from_raw_parts_mut(low.cast::<u8>(), 60);
        let a = std::slice::from_raw_parts(at as *const u8, 28);
        (bytes, overlay_targ_pkt32_t::read_from_bytes(a).unwrap())
    };
    assert_eq!((a.otp_size.get(), &*bytes), (60, &frame(FAR, GUEST, 1, 60)[..]));

    bytes.copy_from_slice(&frame(GUEST, FAR, 2, 60));
    let mut a = overlay_targ_pkt32_t::new_zeroed();
    a.otp_linkid = u64::MAX.into();
    a.otp_reqid = l.otl_reqid.into();
    a.otp_size = 60.into();
    a.otp_buf = low as u32;
    s.varpd.raw32(OVERLAY_TARG_INJECT, page.put(a.as_bytes()), &SelfMem).unwrap();
    assert_eq!(s.guest.recv(), frame(GUEST, FAR, 2, 60));
    // The others are the same bytes.
    let mut a = overlay_targ_resp_t::new_zeroed();
    a.otr_reqid = l.otl_reqid;
    s.varpd.raw32(OVERLAY_TARG_DROP, page.put(&a.as_bytes()[..36]), &SelfMem).unwrap();
    let mut a = overlay_targ_info_t::new_zeroed();
    a.oti_linkid = LINK;
    s.varpd.raw32(OVERLAY_TARG_INFO, a.as_mut_bytes().as_mut_ptr() as u64, &SelfMem).unwrap();
    assert_eq!(a.oti_vnetid, VNET);
    // SAFETY: mapped above.
    unsafe { libc::munmap(low, 4096) };
    s.end();
}

#[test]
fn names_of_encapsulations_are_checked() {
    let rig = Rig::boot();
    let name = |text: &[u8]| {
        let mut name = [0; 32];
        name[..text.len()].copy_from_slice(text);
        name
    };
    for (text, error) in [
        (&b""[..], Errno::EINVAL),
        (&[b'v'; 32], Errno::EINVAL),
        (b"vxlan/", Errno::EINVAL),
        (b"../overlay/vxlan", Errno::EINVAL),
        (b"/", Errno::EINVAL),
        (b"\xff\xfe", Errno::EINVAL),
        (b"nvgre", Errno::ENOENT),
        (b"vxla", Errno::ENOENT),
        (b"vxlan2", Errno::ENOENT),
    ] {
        assert_eq!(rig.create_encap(LINK, 1, &name(text)), Err(error), "{text:?}");
    }
    assert!(rig.kernel.modinfo().iter().all(|m| m.name != "overlay/vxlan"));
    rig.create_encap(LINK, 1, &name(b"vxlan\0tail")).unwrap();
    assert!(rig.kernel.modinfo().iter().any(|m| m.name == "overlay/vxlan"), "loaded on demand");
    assert_eq!(rig.kernel.modunload("overlay/vxlan"), Err(Errno::EBUSY));
    rig.delete(LINK).unwrap();
    rig.end();
}

#[test]
fn a_link_becomes_active_when_it_is_complete() {
    let rig = Rig::boot();
    let varpd = rig.varpd();
    assert_eq!(rig.activate(LINK), Err(Errno::ENOENT));
    assert_eq!(rig.delete(LINK), Err(Errno::ENOENT));
    rig.create(LINK, VNET).unwrap();
    let state = || fakekernel::net::links().iter().find(|l| l.linkid == LINK).unwrap().state;
    assert_eq!(state(), 0, "down");
    assert_eq!(rig.vnic(LINK, VNIC, GUEST), Err(Errno::EAGAIN), "not active");
    assert_eq!(rig.activate(LINK), Err(Errno::EINVAL), "no listen_ip");
    rig.set(LINK, "vxlan/listen_ip", &addr(1).ip().to_ipv6_mapped().octets()).unwrap();
    assert_eq!(rig.activate(LINK), Err(Errno::ENXIO), "no target");
    varpd.dynamic(LINK).unwrap();
    assert_eq!(varpd.info(LINK).unwrap().oti_flags, 0);
    rig.activate(LINK).unwrap();
    assert_eq!(state(), 1, "up");
    assert_eq!(varpd.info(LINK).unwrap().oti_flags, OVERLAY_TARG_INFO_F_ACTIVE);
    assert_eq!(varpd.info(LINK).unwrap().oti_needs, 6);
    assert_eq!(rig.activate(LINK), Err(Errno::EEXIST));
    rig.vnic(LINK, VNIC, GUEST).unwrap();
    rig.vnic(LINK, VNIC + 1, FAR).unwrap();
    assert_eq!(rig.delete(LINK), Err(Errno::EBUSY));
    rig.delete_vnic(VNIC).unwrap();
    assert_eq!(rig.delete(LINK), Err(Errno::EBUSY));
    rig.delete_vnic(VNIC + 1).unwrap();
    // Stopped and started again.
    rig.vnic(LINK, VNIC, GUEST).unwrap();
    rig.delete_vnic(VNIC).unwrap();
    rig.delete(LINK).unwrap();
    drop(varpd);
    rig.end();
}

#[test]
fn properties_are_described() {
    let rig = Rig::boot();
    rig.create(LINK, VNET).unwrap();
    let rows: Vec<_> = (0..11)
        .map(|id| {
            let by_id = rig.propinfo(LINK, &id.to_string()).unwrap();
            let name = overlay_abi::c_name(&by_id.oipi_name).unwrap().to_string();
            let by_name = rig.propinfo(LINK, &name).unwrap();
            assert_eq!(by_id.as_bytes(), by_name.as_bytes(), "{name}");
            let default = by_id.oipi_default[..by_id.oipi_defsize as usize].to_vec();
            let possible = match parse_possible(&by_id.oipi_poss).unwrap() {
                Values::Any => String::new(),
                Values::Ranges(r) => r.map(|(a, b)| format!("{a}-{b}")).collect(),
                Values::Texts(t) => t.collect::<Vec<_>>().join(","),
                Values::Unknown => panic!("unknown"),
            };
            (name, by_id.oipi_type, by_id.oipi_prot, default, possible)
        })
        .collect();
    let row = |name: &str, kind, prot, default: &[u8], possible: &str| {
        (name.to_string(), kind, prot, default.to_vec(), possible.to_string())
    };
    let (rw, r, rrw) = (OVERLAY_PROP_PERM_RW, OVERLAY_PROP_PERM_READ, OVERLAY_PROP_PERM_RRW);
    let (uint, string, ip) = (OVERLAY_PROP_T_UINT, OVERLAY_PROP_T_STRING, OVERLAY_PROP_T_IP);
    assert_eq!(
        rows,
        [
            row("mtu", uint, rw, &1400u32.to_ne_bytes(), "576-8900"),
            row("vnetid", uint, rw, b"", ""),
            row("encap", string, r, b"", "vxlan"),
            row("varpd/id", uint, r, b"", ""),
            row("dcid", uint, r, b"", "0-4294967295"),
            row("vl2_cache_size", uint, rw, &1_048_576u32.to_ne_bytes(), "256-4194304"),
            row("_vl2_cache_a", uint, rw, &75u32.to_ne_bytes(), "0-100"),
            row("route_cache_size", uint, rw, &65_536u32.to_ne_bytes(), "256-4194304"),
            row("_route_cache_a", uint, rw, &75u32.to_ne_bytes(), "0-100"),
            row("vxlan/listen_ip", ip, rrw, b"", ""),
            row("vxlan/listen_port", uint, rrw, &4789u16.to_ne_bytes(), "1-65535"),
        ]
    );
    assert_eq!(rig.propinfo(LINK, "no/such").err(), Some(Errno::ENOENT));
    assert_eq!(rig.propinfo(8, "mtu").err(), Some(Errno::ENOENT));
    rig.delete(LINK).unwrap();
    rig.end();
}

#[test]
fn properties_are_set_and_checked() {
    let rig = Rig::boot();
    rig.create(LINK, VNET).unwrap();
    assert_eq!(rig.get(LINK, "mtu").unwrap(), 1400u32.to_ne_bytes());
    assert_eq!(rig.get(LINK, "vnetid").unwrap(), VNET.to_ne_bytes());
    assert_eq!(rig.get(LINK, "encap").unwrap(), b"vxlan\0");
    assert_eq!(rig.get(LINK, "varpd/id").unwrap(), b"");
    for (name, value, result) in [
        ("mtu", &8900u64.to_ne_bytes()[..], Ok(())),
        ("mtu", &576u32.to_ne_bytes(), Ok(())),
        ("mtu", &575u64.to_ne_bytes(), Err(Errno::EINVAL)),
        ("mtu", &8901u64.to_ne_bytes(), Err(Errno::EINVAL)),
        ("mtu", &(1400u64 | 1 << 32).to_ne_bytes(), Err(Errno::EINVAL)),
        ("mtu", &[1, 2], Err(Errno::EINVAL)),
        ("mtu", &[], Err(Errno::EINVAL)),
        ("encap", b"vxlan\0", Err(Errno::EPERM)),
        ("varpd/id", &1u64.to_ne_bytes(), Err(Errno::EPERM)),
        ("no/such", b"1", Err(Errno::ENOENT)),
        ("vxlan/listen_port", &1u64.to_ne_bytes(), Ok(())),
        ("vxlan/listen_port", &65535u64.to_ne_bytes(), Ok(())),
        ("vxlan/listen_port", &0u64.to_ne_bytes(), Err(Errno::EINVAL)),
        ("vxlan/listen_port", &65536u64.to_ne_bytes(), Err(Errno::EINVAL)),
        ("vxlan/listen_port", &4789u16.to_ne_bytes(), Err(Errno::EINVAL)),
        ("vxlan/listen_ip", &[0; 16], Ok(())),
        ("vxlan/listen_ip", &[0; 4], Err(Errno::EINVAL)),
        ("vxlan/listen_ip", &[0; 17], Err(Errno::EINVAL)),
    ] {
        assert_eq!(rig.set(LINK, name, value), result, "{name} {value:?}");
    }
    assert_eq!(rig.get(LINK, "mtu").unwrap(), 576u32.to_ne_bytes());
    let mut a = Rig::prop_arg(LINK, 0, "mtu", &[0; 256]);
    a.oip_size = 257;
    assert_eq!(rig.dld(OVERLAY_IOC_SETPROP, &mut a), Err(Errno::EINVAL));
    a.oip_size = u32::MAX;
    assert_eq!(rig.dld(OVERLAY_IOC_SETPROP, &mut a), Err(Errno::EINVAL));
    // A name without NUL.
    let mut a = Rig::prop_arg(LINK, -1, "", &[0; 8]);
    a.oip_name = [b'm'; 64];
    assert_eq!(rig.dld(OVERLAY_IOC_SETPROP, &mut a), Err(Errno::EINVAL));
    assert_eq!(rig.dld(OVERLAY_IOC_GETPROP, &mut a), Err(Errno::EINVAL));
    // What is left over in the argument does not come back.
    let mut a = Rig::prop_arg(LINK, 0, "", &[0xee; 256]);
    rig.dld(OVERLAY_IOC_GETPROP, &mut a).unwrap();
    assert!(a.oip_value[4..].iter().all(|b| *b == 0));
    for cmd in [OVERLAY_IOC_SETPROP, OVERLAY_IOC_GETPROP] {
        assert_eq!(rig.dld(cmd, &mut Rig::prop_arg(8, 0, "", &[0; 8])), Err(Errno::ENOENT));
    }
    rig.delete(LINK).unwrap();
    rig.end();
}

#[test]
fn datalink_ioctls_need_privilege_and_memory() {
    let rig = Rig::boot();
    rig.create(LINK, VNET).unwrap();
    let nobody = rig.kernel.open(DLD_CONTROL_DEV, FREAD, &NOBODY).unwrap();
    let mut arg = [0u8; 600];
    arg[..4].copy_from_slice(&LINK.to_ne_bytes());
    let at = arg.as_mut_ptr() as u64;
    for cmd in OVERLAY_IOC_CREATE..=OVERLAY_IOC_STATUS {
        let result = nobody.ioctl(cmd as i32, at, Model::Lp64, &SelfMem).map(drop);
        let want = if cmd == OVERLAY_IOC_STATUS { Ok(()) } else { Err(Errno::EPERM) };
        assert_eq!(result, want, "{cmd:#x}");
        assert_eq!(rig.dld_raw(cmd, 8, &SelfMem), Err(Errno::EFAULT), "{cmd:#x}");
    }
    assert_eq!(rig.dld_raw(OVERLAY_IOC_STATUS + 1, at, &SelfMem), Err(Errno::ENOTSUP));
    drop(nobody);
    rig.delete(LINK).unwrap();
    rig.end();
}

#[test]
fn registrations_are_checked() {
    use crate::modules::overlay_plugin_alloc;
    use crate::tcap;
    use overlay_abi::encap::*;
    let rig = Rig::boot();
    // SAFETY: no conditions.
    assert!([0, 2, u32::MAX].iter().all(|v| unsafe { overlay_plugin_alloc(*v) }.is_null()));
    static BAD: std::sync::Mutex<Vec<&overlay_plugin_ops_t>> = std::sync::Mutex::new(Vec::new());
    let with = |change: fn(&mut overlay_plugin_ops_t)| -> *const overlay_plugin_ops_t {
        let ops = Box::leak(Box::new(tcap::OPS));
        change(ops);
        BAD.lock().unwrap().push(ops);
        ops
    };
    let missing: [*const overlay_plugin_ops_t; 9] = [
        with(|o| o.ovpo_init = None),
        with(|o| o.ovpo_fini = None),
        with(|o| o.ovpo_encap = None),
        with(|o| o.ovpo_decap = None),
        with(|o| o.ovpo_socket = None),
        with(|o| o.ovpo_getprop = None),
        with(|o| o.ovpo_setprop = None),
        with(|o| o.ovpo_propinfo = None),
        with(|o| o.ovpo_callbacks = 1),
    ];
    for ops in missing {
        assert_eq!(tcap::register_as(|r| r.ovep_ops = ops), Err(Errno::EINVAL));
    }
    let e = Errno::EINVAL;
    assert_eq!(tcap::register_as(|r| r.ovep_version = 2), Err(e));
    assert_eq!(tcap::register_as(|r| r.ovep_name = std::ptr::null()), Err(e));
    assert_eq!(tcap::register_as(|r| r.ovep_name = c"".as_ptr()), Err(e));
    assert_eq!(tcap::register_as(|r| r.ovep_ops = std::ptr::null()), Err(e));
    assert_eq!(tcap::register_as(|r| r.ovep_props = std::ptr::null()), Err(e));
    assert_eq!(tcap::register_as(|r| r.ovep_flags = 2), Err(e));
    assert_eq!(tcap::register_as(|r| r.ovep_id_size = 0), Err(e));
    assert_eq!(tcap::register_as(|r| r.ovep_dest = 0), Err(e));
    assert_eq!(tcap::register_as(|r| r.ovep_dest = 8), Err(e));
    assert_eq!(tcap::register_as(|r| r.ovep_id_size = 9), Err(Errno::ENOTSUP));
    assert_eq!(tcap::unregister(tcap::NAME), Err(Errno::ENOENT));
    tcap::register_as(|r| {
        r.ovep_ops = with(|o| o.ovpo_sockopt = None);
        r.ovep_id_size = 8;
    })
    .unwrap();
    rig.create_encap(LINK, u64::MAX, &tcap::encap_name()).unwrap();
    assert_eq!(rig.get(LINK, "vnetid").unwrap(), u64::MAX.to_ne_bytes());
    rig.delete(LINK).unwrap();
    tcap::unregister(tcap::NAME).unwrap();

    // Destinations this driver cannot send to.
    tcap::register_as(|r| r.ovep_dest = 7).unwrap();
    let (varpd, at) = (rig.varpd(), addr(1));
    *tcap::AT.lock().unwrap() = Some(at);
    rig.create_encap(LINK, 1, &tcap::encap_name()).unwrap();
    let mut a = overlay_targ_associate_t::new_zeroed();
    (a.ota_linkid, a.ota_id, a.ota_mode, a.ota_provides) = (LINK, 1, OVERLAY_TARGET_DYNAMIC, 7);
    varpd.call(OVERLAY_TARG_ASSOCIATE, &mut a).unwrap();
    rig.activate(LINK).unwrap();
    rig.vnic(LINK, VNIC, GUEST).unwrap();
    let guest = Guest::open(VNIC);
    guest.send(&frame(FAR, GUEST, 1, 60));
    assert_eq!(stats(LINK)["drop_tx_dest_kind"], 1);
    drop(guest);
    rig.delete_vnic(VNIC).unwrap();
    rig.delete(LINK).unwrap();
    tcap::unregister(tcap::NAME).unwrap();
    drop(varpd);
    rig.end();
}
