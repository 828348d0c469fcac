// SPDX-License-Identifier: CDDL-1.0
//! A booted kernel with the driver loaded, its ioctls as functions, a guest, and a peer on the
//! underlay.
use crate::modules;
use fakekernel::host::{self, Cred, Kernel, Model, OpenDev, SelfMem, UserMem};
use fakekernel::kstat::{self, Value};
use fakekernel::net::client::{Client, Frame, Frames};
use overlay_abi::dld::*;
use overlay_abi::errno::Errno;
use overlay_abi::ids::UnderlayAddr;
use overlay_abi::target::*;
use overlay_abi::vnic::*;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use zerocopy::{FromZeros, IntoBytes};

pub const FREAD: i32 = 1;
pub const FWRITE: i32 = 2;
pub const FEXCL: i32 = 0x400;
pub const RWX: i32 = FREAD | FWRITE | FEXCL;
/// Time for what must happen.
pub const SOON: Duration = Duration::from_secs(5);
/// Time for what must not happen.
pub const A_WHILE: Duration = Duration::from_millis(60);

pub const LINK: u32 = 7;
pub const VNIC: u32 = 70;
pub const VNET: u64 = 0x123456;
pub const GUEST: [u8; 6] = [2, 8, 0x20, 0xaa, 0, 1];
pub const FAR: [u8; 6] = [2, 8, 0x20, 0xbb, 0, 2];

/// An address of this machine that no other process of the tests uses. `n` tells several apart.
pub fn addr(n: u8) -> SocketAddrV4 {
    let pid = std::process::id();
    SocketAddrV4::new(
        Ipv4Addr::new(127, 64 + (pid >> 14) as u8, (pid >> 6) as u8, (pid << 2) as u8 | n),
        4789,
    )
}

/// The kernel. Shut it down with [`Rig::end`], which looks for violations and leaks.
pub struct Rig {
    pub kernel: Kernel,
    dld: OpenDev,
}

impl Rig {
    pub fn boot() -> Rig {
        Rig::boot_with(host::Config::default())
    }

    pub fn boot_with(config: host::Config) -> Rig {
        let kernel = host::boot(config);
        modules::register(&kernel);
        kernel.modload("drv/overlay").unwrap();
        let dld = kernel.open(DLD_CONTROL_DEV, FREAD | FWRITE, &Cred::KERNEL).unwrap();
        Rig { kernel, dld }
    }

    /// Everything must be gone, and no rule broken.
    pub fn end(self) {
        let Rig { kernel, dld } = self;
        drop(dld);
        if let Err(violations) = kernel.shutdown() {
            for v in &violations {
                eprintln!("{v}");
            }
            panic!("{} violations", violations.len());
        }
    }

    pub fn dld<T: IntoBytes + zerocopy::FromBytes>(
        &self,
        cmd: u32,
        arg: &mut T,
    ) -> Result<(), Errno> {
        let addr = arg.as_mut_bytes().as_mut_ptr() as u64;
        self.dld.ioctl(cmd as i32, addr, Model::Lp64, &SelfMem).map(drop)
    }

    pub fn dld_raw(&self, cmd: u32, addr: u64, mem: &dyn UserMem) -> Result<(), Errno> {
        self.dld.ioctl(cmd as i32, addr, Model::Lp64, mem).map(drop)
    }

    pub fn create_encap(&self, link: u32, vnet: u64, encap: &[u8; 32]) -> Result<(), Errno> {
        self.create_dcid(link, vnet, encap, 0)
    }

    /// A link in a data center.
    pub fn create_dcid(
        &self,
        link: u32,
        vnet: u64,
        encap: &[u8; 32],
        dcid: u32,
    ) -> Result<(), Errno> {
        let mut a = overlay_ioc_create_t {
            oic_linkid: link,
            oic_dcid: dcid,
            oic_vnetid: vnet,
            oic_encap: *encap,
        };
        self.dld(OVERLAY_IOC_CREATE, &mut a)
    }

    pub fn create(&self, link: u32, vnet: u64) -> Result<(), Errno> {
        self.create_encap(link, vnet, &overlay_abi::to_c_name("vxlan").unwrap())
    }

    pub fn delete(&self, link: u32) -> Result<(), Errno> {
        self.dld(OVERLAY_IOC_DELETE, &mut overlay_ioc_delete_t { oid_linkid: link })
    }

    pub fn activate(&self, link: u32) -> Result<(), Errno> {
        self.dld(OVERLAY_IOC_ACTIVATE, &mut overlay_ioc_activate_t { oia_linkid: link })
    }

    pub fn prop_arg(link: u32, id: i32, name: &str, value: &[u8]) -> overlay_ioc_prop_t {
        let mut a = overlay_ioc_prop_t::new_zeroed();
        a.oip_linkid = link;
        a.oip_id = id;
        a.oip_name = overlay_abi::to_c_name(name).unwrap();
        a.oip_value[..value.len()].copy_from_slice(value);
        a.oip_size = value.len() as u32;
        a
    }

    /// By id when `name` is a number, else by name.
    pub fn set(&self, link: u32, name: &str, value: &[u8]) -> Result<(), Errno> {
        let id = name.parse().unwrap_or(-1);
        self.dld(OVERLAY_IOC_SETPROP, &mut Self::prop_arg(link, id, name, value))
    }

    pub fn get(&self, link: u32, name: &str) -> Result<Vec<u8>, Errno> {
        let id = name.parse().unwrap_or(-1);
        let mut a = Self::prop_arg(link, id, name, b"");
        self.dld(OVERLAY_IOC_GETPROP, &mut a)?;
        Ok(a.oip_value[..a.oip_size as usize].to_vec())
    }

    pub fn propinfo(&self, link: u32, name: &str) -> Result<overlay_ioc_propinfo_t, Errno> {
        let mut a = overlay_ioc_propinfo_t::new_zeroed();
        a.oipi_linkid = link;
        a.oipi_id = name.parse().unwrap_or(-1);
        a.oipi_name = overlay_abi::to_c_name(name).unwrap();
        self.dld(OVERLAY_IOC_PROPINFO, &mut a)?;
        Ok(a)
    }

    pub fn status(&self, link: u32) -> (u32, String) {
        let mut a = overlay_ioc_status_t::new_zeroed();
        a.ois_linkid = link;
        self.dld(OVERLAY_IOC_STATUS, &mut a).unwrap();
        (a.ois_status, overlay_abi::c_name(&a.ois_message).unwrap().to_string())
    }

    /// A link listening on `at`.
    pub fn listen(&self, link: u32, vnet: u64, at: SocketAddrV4) {
        self.create(link, vnet).unwrap();
        self.set(link, "vxlan/listen_ip", &at.ip().to_ipv6_mapped().octets()).unwrap();
        self.set(link, "vxlan/listen_port", &u64::from(at.port()).to_ne_bytes()).unwrap();
    }

    pub fn vnic(&self, link: u32, vnic: u32, mac: [u8; 6]) -> Result<(), Errno> {
        let mut a = vnic_ioc_create_t::new_zeroed();
        a.vc_vnic_id = vnic;
        a.vc_link_id = link;
        a.vc_mac_addr_type = VNIC_MAC_ADDR_TYPE_FIXED;
        a.vc_mac_len = 6;
        a.vc_mac_addr[..6].copy_from_slice(&mac);
        self.dld(VNIC_IOC_CREATE, &mut a)
    }

    pub fn delete_vnic(&self, vnic: u32) -> Result<(), Errno> {
        self.dld(VNIC_IOC_DELETE, &mut vnic_ioc_delete_t { vd_vnic_id: vnic })
    }

    pub fn varpd(&self) -> Varpd {
        self.open_overlay(RWX).unwrap()
    }

    pub fn open_overlay(&self, flags: i32) -> Result<Varpd, Errno> {
        self.kernel.open(OVERLAY_DEV, flags, &Cred::KERNEL).map(Varpd)
    }
}

/// Counters of `overlay:instance:name`.
pub fn stats(link: u32) -> std::collections::BTreeMap<String, u64> {
    kstat::read(Some("overlay"), Some(link as i32), None)
        .into_iter()
        .flat_map(|k| k.data)
        .map(|(name, value)| match value {
            Value::U64(n) => (name, n),
            other => panic!("{name} is {other:?}"),
        })
        .collect()
}

/// Waits until `f` holds.
pub fn eventually(what: &str, mut f: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !f() {
        assert!(begin.elapsed() < SOON, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A test in varpd's place.
pub struct Varpd(pub OpenDev);

impl Varpd {
    pub fn call<T: IntoBytes + zerocopy::FromBytes>(
        &self,
        cmd: u32,
        arg: &mut T,
    ) -> Result<(), Errno> {
        self.raw(cmd, arg.as_mut_bytes().as_mut_ptr() as u64)
    }

    pub fn raw(&self, cmd: u32, addr: u64) -> Result<(), Errno> {
        self.0.ioctl(cmd as i32, addr, Model::Lp64, &SelfMem).map(drop)
    }

    pub fn raw32(&self, cmd: u32, addr: u64, mem: &dyn UserMem) -> Result<(), Errno> {
        self.0.ioctl(cmd as i32, addr, Model::Ilp32, mem).map(drop)
    }

    pub fn info(&self, link: u32) -> Result<overlay_targ_info_t, Errno> {
        let mut a = overlay_targ_info_t::new_zeroed();
        a.oti_linkid = link;
        self.call(OVERLAY_TARG_INFO, &mut a).map(|()| a)
    }

    pub fn associate(
        &self,
        link: u32,
        id: u64,
        mode: u32,
        to: Option<UnderlayAddr>,
    ) -> Result<(), Errno> {
        let mut a = overlay_targ_associate_t::new_zeroed();
        a.ota_linkid = link;
        a.ota_mode = mode;
        a.ota_id = id;
        a.ota_provides = OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT;
        if let Some(to) = to {
            a.ota_point = to.into();
        }
        self.call(OVERLAY_TARG_ASSOCIATE, &mut a)
    }

    pub fn point(&self, link: u32, to: SocketAddr) -> Result<(), Errno> {
        self.associate(link, 1, OVERLAY_TARGET_POINT, Some(to.into()))
    }

    pub fn dynamic(&self, link: u32) -> Result<(), Errno> {
        self.associate(link, 1, OVERLAY_TARGET_DYNAMIC, None)
    }

    /// As [`Varpd::dynamic`] on a handle that speaks version 2.
    pub fn dynamic_v2(&self, link: u32) -> Result<(), Errno> {
        let mut a = v2::overlay_targ_associate_t::new_zeroed();
        (a.ota_linkid, a.ota_mode, a.ota_id) = (link, OVERLAY_TARGET_DYNAMIC, 1);
        a.ota_provides = OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT;
        self.call(OVERLAY_TARG_ASSOCIATE, &mut a)
    }

    /// As [`Varpd::cache_flush`] on a handle that speaks version 2.
    pub fn cache_flush_v2(&self, link: u32) {
        let mut a = v2::overlay_targ_cache_t::new_zeroed();
        a.otc_linkid = link;
        self.call(OVERLAY_TARG_CACHE_FLUSH, &mut a).unwrap();
    }

    pub fn disassociate(&self, link: u32) -> Result<(), Errno> {
        self.call(OVERLAY_TARG_DISASSOCIATE, &mut overlay_targ_id_t { otid_linkid: link })
    }

    pub fn degrade(&self, link: u32, text: &[u8; 256]) -> Result<(), Errno> {
        let mut a = overlay_targ_degrade_t { otd_linkid: link, otd_pad: 0, otd_buf: *text };
        self.call(OVERLAY_TARG_DEGRADE, &mut a)
    }

    pub fn restore(&self, link: u32) -> Result<(), Errno> {
        self.call(OVERLAY_TARG_RESTORE, &mut overlay_targ_id_t { otid_linkid: link })
    }

    pub fn lookup(&self) -> Result<overlay_targ_lookup_t, Errno> {
        let mut a = overlay_targ_lookup_t::new_zeroed();
        self.call(OVERLAY_TARG_LOOKUP, &mut a).map(|()| a)
    }

    pub fn respond(&self, reqid: u64, to: impl Into<UnderlayAddr>) -> Result<(), Errno> {
        let mut a = overlay_targ_resp_t::new_zeroed();
        a.otr_reqid = reqid;
        a.otr_answer = to.into().into();
        self.call(OVERLAY_TARG_RESPOND, &mut a)
    }

    pub fn refuse(&self, reqid: u64) -> Result<(), Errno> {
        let mut a = overlay_targ_resp_t::new_zeroed();
        a.otr_reqid = reqid;
        self.call(OVERLAY_TARG_DROP, &mut a)
    }

    pub fn pkt_arg(link: u64, reqid: u64, buf: &mut [u8]) -> overlay_targ_pkt_t {
        overlay_targ_pkt_t {
            otp_linkid: link,
            otp_reqid: reqid,
            otp_size: buf.len() as u64,
            otp_buf: buf.as_mut_ptr() as u64,
        }
    }

    pub fn packet(&self, reqid: u64, room: usize) -> Result<Vec<u8>, Errno> {
        let mut buf = vec![0; room];
        let mut a = Self::pkt_arg(u64::MAX, reqid, &mut buf);
        self.call(OVERLAY_TARG_PKT, &mut a)?;
        buf.truncate(a.otp_size as usize);
        Ok(buf)
    }

    pub fn inject(&self, link: u64, reqid: u64, frame: &[u8]) -> Result<(), Errno> {
        let mut frame = frame.to_vec();
        self.call(OVERLAY_TARG_INJECT, &mut Self::pkt_arg(link, reqid, &mut frame))
    }

    pub fn resend(&self, link: u64, reqid: u64, frame: &[u8]) -> Result<(), Errno> {
        let mut frame = frame.to_vec();
        self.call(OVERLAY_TARG_RESEND, &mut Self::pkt_arg(link, reqid, &mut frame))
    }

    /// Capacity `n`: the number there are, and the ids given.
    pub fn list(&self, n: u32) -> Result<(u32, Vec<u32>), Errno> {
        let mut a = vec![0xeeee_eeee_u32; 1 + n as usize];
        a[0] = n;
        self.raw(OVERLAY_TARG_LIST, a.as_mut_ptr() as u64)?;
        Ok((a[0], a[1..].to_vec()))
    }

    fn cache(
        &self,
        cmd: u32,
        link: u32,
        mac: [u8; 6],
        flags: u16,
        to: Option<UnderlayAddr>,
    ) -> Result<overlay_targ_cache_entry_t, Errno> {
        let mut a = overlay_targ_cache_t::new_zeroed();
        a.otc_linkid = link;
        a.otc_entry.otce_mac = mac;
        a.otc_entry.otce_flags = flags;
        if let Some(to) = to {
            a.otc_entry.otce_dest = to.into();
        }
        self.call(cmd, &mut a).map(|()| a.otc_entry)
    }

    pub fn cache_get(&self, link: u32, mac: [u8; 6]) -> Result<overlay_targ_cache_entry_t, Errno> {
        self.cache(OVERLAY_TARG_CACHE_GET, link, mac, 0, None)
    }

    pub fn cache_set(
        &self,
        link: u32,
        mac: [u8; 6],
        to: impl Into<UnderlayAddr>,
    ) -> Result<(), Errno> {
        self.cache(OVERLAY_TARG_CACHE_SET, link, mac, 0, Some(to.into())).map(drop)
    }

    pub fn cache_drop(&self, link: u32, mac: [u8; 6]) -> Result<(), Errno> {
        self.cache(OVERLAY_TARG_CACHE_SET, link, mac, OVERLAY_TARGET_CACHE_DROP, None).map(drop)
    }

    pub fn cache_flags(&self, link: u32, mac: [u8; 6], flags: u16) -> Result<(), Errno> {
        self.cache(OVERLAY_TARG_CACHE_SET, link, mac, flags, None).map(drop)
    }

    pub fn cache_remove(&self, link: u32, mac: [u8; 6]) -> Result<(), Errno> {
        self.cache(OVERLAY_TARG_CACHE_REMOVE, link, mac, 0, None).map(drop)
    }

    pub fn cache_flush(&self, link: u32) -> Result<(), Errno> {
        self.cache(OVERLAY_TARG_CACHE_FLUSH, link, [0; 6], 0, None).map(drop)
    }

    /// One step of a walk: the entries and the next marker.
    pub fn cache_step(
        &self,
        link: u32,
        marker: u64,
        n: u16,
    ) -> Result<(Vec<overlay_targ_cache_entry_t>, u64), Errno> {
        #[repr(C)]
        struct Arg {
            head: overlay_targ_cache_iter_t,
            entries: [overlay_targ_cache_entry_t; 500],
        }
        let mut a = Box::new(Arg {
            head: overlay_targ_cache_iter_t::new_zeroed(),
            entries: [overlay_targ_cache_entry_t::new_zeroed(); 500],
        });
        a.head.otci_linkid = link;
        a.head.otci_marker = marker;
        a.head.otci_count = n;
        self.raw(OVERLAY_TARG_CACHE_ITER, &raw mut *a as u64)?;
        Ok((a.entries[..a.head.otci_count.into()].to_vec(), a.head.otci_marker))
    }

    /// A whole walk in steps of `n`.
    pub fn cache_walk(&self, link: u32, n: u16) -> Result<Vec<overlay_targ_cache_entry_t>, Errno> {
        let (mut all, mut marker) = (Vec::new(), 0);
        loop {
            let (mut step, next) = self.cache_step(link, marker, n)?;
            if step.is_empty() {
                return Ok(all);
            }
            assert!(step.len() <= n.into());
            all.append(&mut step);
            marker = next;
        }
    }
}

/// Memory with nothing behind it.
pub struct Page(*mut u8);

const PAGE: usize = 4096;

impl Page {
    pub fn new() -> Page {
        // SAFETY: new memory; the second page is made unreadable.
        unsafe {
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let p = libc::mmap(std::ptr::null_mut(), 2 * PAGE, prot, flags, -1, 0);
            assert_ne!(p, libc::MAP_FAILED);
            let p = p.cast::<u8>();
            assert_eq!(libc::mprotect(p.add(PAGE).cast(), PAGE, libc::PROT_NONE), 0);
            Page(p)
        }
    }

    /// Puts bytes at the end; their address.
    pub fn put(&self, bytes: &[u8]) -> u64 {
        // SAFETY: within the first page.
        unsafe {
            let at = self.0.add(PAGE - bytes.len());
            at.copy_from(bytes.as_ptr(), bytes.len());
            at as u64
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`.
        unsafe { libc::munmap(self.0.cast(), 2 * PAGE) };
    }
}

/// A guest on a VNIC, with what it received.
pub struct Guest {
    pub client: Client,
    pub rx: Mutex<Receiver<Vec<u8>>>,
}

impl Guest {
    pub fn open(vnic: u32) -> Guest {
        let client = Client::open(vnic).unwrap();
        let (tx, rx) = channel();
        let tx = Mutex::new(tx);
        client.set_rx(Arc::new(move |batch| {
            let tx = tx.lock().unwrap();
            for frame in batch {
                let _ = tx.send(frame.bytes().into_owned());
            }
        }));
        Guest { client, rx: Mutex::new(rx) }
    }

    /// Sends; the driver must take it.
    pub fn send(&self, frame: &[u8]) {
        let frames = Frames::from(Frame::from_slice(frame).unwrap());
        assert!(self.client.tx(frames).is_ok(), "the driver gave a frame back");
    }

    pub fn recv(&self) -> Vec<u8> {
        self.rx.lock().unwrap().recv_timeout(SOON).expect("a frame for the guest")
    }

    pub fn nothing(&self) {
        assert!(self.rx.lock().unwrap().recv_timeout(A_WHILE).is_err(), "a frame nobody wants");
    }
}

/// The other end on the underlay.
pub struct Peer(pub UdpSocket);

impl Peer {
    pub fn bind(at: SocketAddrV4) -> Peer {
        let s = UdpSocket::bind(at).unwrap();
        s.set_read_timeout(Some(SOON)).unwrap();
        // Room for what a test sends before it reads: with the default a loaded machine loses some.
        let room: libc::c_int = 8 << 20;
        for option in [libc::SO_RCVBUF, libc::SO_RCVBUFFORCE] {
            let (fd, p) = (s.as_raw_fd(), (&raw const room).cast());
            // SAFETY: an open socket and an int. The second is for root; either may be cut or refused.
            unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, p, 4) };
        }
        Peer(s)
    }

    pub fn at(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The payload of the next datagram.
    pub fn recv(&self) -> Vec<u8> {
        let mut buf = vec![0; 65536];
        let n = self.0.recv(&mut buf).expect("a datagram");
        buf.truncate(n);
        buf
    }

    /// The frame in the next datagram, which must be VXLAN of `vnet`.
    pub fn frame(&self, vnet: u64) -> Vec<u8> {
        let datagram = self.recv();
        assert_eq!(datagram[..8], header(vnet), "VXLAN header");
        datagram[8..].to_vec()
    }

    pub fn nothing(&self) {
        self.0.set_read_timeout(Some(A_WHILE)).unwrap();
        assert!(self.0.recv(&mut [0; 10]).is_err(), "a datagram nobody wants");
        self.0.set_read_timeout(Some(SOON)).unwrap();
    }

    pub fn send(&self, to: SocketAddrV4, vnet: u64, frame: &[u8]) {
        self.send_raw(to, &[&header(vnet)[..], frame].concat());
    }

    pub fn send_raw(&self, to: SocketAddrV4, datagram: &[u8]) {
        self.0.send_to(datagram, to).unwrap();
    }
}

/// The VXLAN header of a network, as RFC 7348 draws it.
pub fn header(vnet: u64) -> [u8; 8] {
    let [.., a, b, c] = vnet.to_be_bytes();
    [0x08, 0, 0, 0, a, b, c, 0]
}

/// A frame of `len` bytes that says which one it is.
pub fn frame(dst: [u8; 6], src: [u8; 6], n: u32, len: usize) -> Vec<u8> {
    let mut f = [&dst[..], &src[..], &[0x88, 0xb5], &n.to_be_bytes()].concat();
    f.resize(len.max(14), n as u8);
    f.truncate(len);
    f
}

/// A link, active, with a guest on a VNIC, and a peer.
pub struct Scene {
    pub rig: Rig,
    pub varpd: Varpd,
    pub guest: Guest,
    pub peer: Peer,
    pub at: SocketAddrV4,
}

impl Scene {
    pub fn point() -> Scene {
        Scene::new(host::Config::default(), |varpd, peer| varpd.point(LINK, peer.at()).unwrap())
    }

    pub fn dynamic() -> Scene {
        Scene::new(host::Config::default(), |varpd, _| varpd.dynamic(LINK).unwrap())
    }

    pub fn new(config: host::Config, associate: impl FnOnce(&Varpd, &Peer)) -> Scene {
        let rig = Rig::boot_with(config);
        let (at, peer) = (addr(1), Peer::bind(addr(2)));
        let varpd = rig.varpd();
        rig.listen(LINK, VNET, at);
        associate(&varpd, &peer);
        rig.activate(LINK).unwrap();
        rig.vnic(LINK, VNIC, GUEST).unwrap();
        let guest = Guest::open(VNIC);
        Scene { rig, varpd, guest, peer, at }
    }

    /// Takes everything down in order; nothing must be left.
    pub fn end(self) {
        let Scene { rig, varpd, guest, .. } = self;
        drop(guest);
        rig.delete_vnic(VNIC).unwrap();
        rig.delete(LINK).unwrap();
        drop(varpd);
        rig.end();
    }
}
