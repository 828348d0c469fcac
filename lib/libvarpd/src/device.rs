// SPDX-License-Identifier: CDDL-1.0
//! Typed ioctls on /dev/overlay. Numbers and structures are those of `overlay_abi::target`.
//!
//! The handle speaks version 2, the routed form, where the kernel knows it. Callers need not care:
//! what version 1 can say is said in its structures, in either version, and what it cannot say is
//! `ENOTSUP` where the kernel speaks version 1 only. Reading the cache in version 1's words goes over
//! a handle of its own then, which stays in that version.
use devctl::{Device, OpenFlags, Root};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, MacAddr, VarpdId};
use overlay_abi::target::v2::{self, About, overlay_targ_l3_t};
use overlay_abi::target::*;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// The open device; closing it gives back the lookups that were not answered.
#[derive(Debug)]
pub struct Overlay {
    device: Device,
    /// For reading in version 1, when the other speaks version 2.
    reader: Option<Device>,
}

/// A question of the kernel's.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// What version 1 tells; without addresses if it is about a route.
    pub frame: overlay_targ_lookup_t,
    /// The addresses of the packet, if it is about a route.
    pub route: Option<overlay_targ_l3_t>,
}

/// A destination in the words of version 2. Route and MAC address count for a route.
#[derive(Clone, Copy, Debug)]
pub struct Destination {
    /// Where the guest lives; nowhere for a router.
    pub point: v2::overlay_target_point_t,
    /// What becomes of the packet.
    pub route: v2::overlay_target_route_t,
    /// Whom it is for.
    pub mac: v2::overlay_target_mac_t,
}

/// A point of version 1 in the words of version 2. `EINVAL` for nowhere, which there is a router.
fn point_v2(point: &overlay_target_point_t) -> Result<v2::overlay_target_point_t, Errno> {
    let new = v2::overlay_target_point_t {
        otp_ip: point.otp_ip,
        otp_port: point.otp_port,
        otp_mac: point.otp_mac,
    };
    if new.is_router() { Err(Errno::EINVAL) } else { Ok(new) }
}

/// A point of version 2 in the words of version 1.
pub(crate) fn point_v1(point: &v2::overlay_target_point_t) -> overlay_target_point_t {
    overlay_target_point_t { otp_mac: point.otp_mac, ..point.underlay().into() }
}

impl Overlay {
    /// Opens the device for reading and writing, exclusively. `EEXIST`: somebody has it.
    pub fn open(root: &Root) -> Result<Overlay, devctl::Error> {
        let flags = OpenFlags::RDWR | OpenFlags::EXCL;
        let device = Device::open(root, OVERLAY_DEV, flags)?;
        let mut version = v2::VERSION;
        let routed = device.ioctl_with(OVERLAY_TARG_ABI, &mut version).is_ok() && version == 2;
        let reader =
            if routed { Some(Device::open(root, OVERLAY_DEV, OpenFlags::READ)?) } else { None };
        Ok(Overlay { device, reader })
    }

    /// Whether the kernel speaks version 2.
    pub fn routed(&self) -> bool {
        self.reader.is_some()
    }

    fn needs_v2(&self) -> Result<(), Errno> {
        if self.routed() { Ok(()) } else { Err(Errno::ENOTSUP) }
    }

    /// The handle that reads in version 1.
    fn v1(&self) -> &Device {
        self.reader.as_ref().unwrap_or(&self.device)
    }

    fn ioctl<T: IntoBytes + FromBytes>(&self, cmd: u32, arg: &mut T) -> Result<(), Errno> {
        self.device.ioctl_with(cmd, arg).map(|_| ())
    }

    /// What the kernel knows about a link. `ENOENT`: not an overlay.
    pub fn info(&self, link: LinkId) -> Result<overlay_targ_info_t, Errno> {
        self.info_v2(link).map(|(info, _)| info)
    }

    /// The data center of a link; 0 where there are none.
    pub fn dcid(&self, link: LinkId) -> Result<u32, Errno> {
        self.info_v2(link).map(|(_, dcid)| dcid)
    }

    fn info_v2(&self, link: LinkId) -> Result<(overlay_targ_info_t, u32), Errno> {
        let mut info = overlay_targ_info_t::new_zeroed();
        info.oti_linkid = link.0;
        if !self.routed() {
            self.ioctl(OVERLAY_TARG_INFO, &mut info)?;
            return Ok((info, 0));
        }
        let mut arg = v2::overlay_targ_info_t::new_zeroed();
        arg.oti_linkid = link.0;
        self.ioctl(OVERLAY_TARG_INFO, &mut arg)?;
        (info.oti_needs, info.oti_flags) = (arg.oti_needs, arg.oti_flags);
        info.oti_vnetid = arg.oti_vnetid;
        Ok((info, arg.oti_dcid))
    }

    /// All overlay links.
    pub fn links(&self) -> Result<Vec<LinkId>, Errno> {
        let mut room = 0;
        loop {
            // The number of links, then as many ids.
            let mut buf = vec![0u32; 1 + room as usize];
            if let Some(count) = buf.first_mut() {
                *count = room;
            }
            // SAFETY: LIST takes a count and that many ids behind it, which is what the buffer holds.
            unsafe { self.device.ioctl(OVERLAY_TARG_LIST, buf.as_mut_ptr().cast()) }?;
            let (there, ids) = buf.split_first().ok_or(Errno::EINVAL)?;
            if *there <= room {
                return Ok(ids.iter().take(*there as usize).map(|id| LinkId(*id)).collect());
            }
            // There are more than that; some of them may be gone by then, or more be there.
            room = there.checked_add(8).ok_or(Errno::EINVAL)?;
        }
    }

    /// Binds a link to an instance. `point` counts in POINT mode.
    pub fn associate(
        &self,
        link: LinkId,
        mode: u32,
        id: VarpdId,
        provides: u32,
        point: overlay_target_point_t,
    ) -> Result<(), Errno> {
        if self.routed() {
            // It counts in POINT mode only.
            let ota_point = point_v2(&point).unwrap_or_else(|_| FromZeros::new_zeroed());
            let mut arg = v2::overlay_targ_associate_t {
                ota_linkid: link.0,
                ota_mode: mode,
                ota_id: id.0,
                ota_provides: provides,
                ota_pad: 0,
                ota_point,
            };
            return self.ioctl(OVERLAY_TARG_ASSOCIATE, &mut arg);
        }
        let mut arg = overlay_targ_associate_t {
            ota_linkid: link.0,
            ota_mode: mode,
            ota_id: id.0,
            ota_provides: provides,
            ota_point: point,
        };
        self.ioctl(OVERLAY_TARG_ASSOCIATE, &mut arg)
    }

    /// Undoes `associate`.
    pub fn disassociate(&self, link: LinkId) -> Result<(), Errno> {
        self.ioctl(OVERLAY_TARG_DISASSOCIATE, &mut overlay_targ_id_t { otid_linkid: link.0 })
    }

    /// Degrades a link; the message is cut after 255 bytes.
    pub fn degrade(&self, link: LinkId, message: &[u8]) -> Result<(), Errno> {
        let mut arg = overlay_targ_degrade_t::new_zeroed();
        arg.otd_linkid = link.0;
        let room = arg.otd_buf.len() - 1;
        for (to, from) in arg.otd_buf.iter_mut().zip(message.iter().take(room)) {
            *to = *from;
        }
        self.ioctl(OVERLAY_TARG_DEGRADE, &mut arg)
    }

    /// Ends the degradation of a link.
    pub fn restore(&self, link: LinkId) -> Result<(), Errno> {
        self.ioctl(OVERLAY_TARG_RESTORE, &mut overlay_targ_id_t { otid_linkid: link.0 })
    }

    /// Waits for a frame without destination. `ETIME` after a second.
    pub fn lookup(&self) -> Result<Question, Errno> {
        let mut frame = overlay_targ_lookup_t::new_zeroed();
        if !self.routed() {
            self.ioctl(OVERLAY_TARG_LOOKUP, &mut frame)?;
            return Ok(Question { frame, route: None });
        }
        let mut arg = v2::overlay_targ_lookup_t::new_zeroed();
        self.ioctl(OVERLAY_TARG_LOOKUP, &mut arg)?;
        (frame.otl_dlid, frame.otl_reqid) = (arg.otl_dlid, arg.otl_reqid);
        (frame.otl_varpdid, frame.otl_vnetid) = (arg.otl_varpdid, arg.otl_vnetid);
        (frame.otl_hdrsize, frame.otl_pktsize) = (arg.otl_hdrsize, arg.otl_pktsize);
        frame.otl_vlan = arg.otl_vlan;
        let route = match arg.about() {
            About::L2(l2) => {
                (frame.otl_srcaddr, frame.otl_dstaddr) = (l2.otl2_srcaddr, l2.otl2_dstaddr);
                (frame.otl_dsttype, frame.otl_sap) = (l2.otl2_dsttype, l2.otl2_sap);
                None
            }
            About::L3(l3) => Some(l3),
        };
        Ok(Question { frame, route })
    }

    /// Answers a lookup with a destination. `EINVAL`: not a request, or not a destination.
    pub fn respond(&self, request: u64, answer: overlay_target_point_t) -> Result<(), Errno> {
        if self.routed() {
            return self.respond_v2(
                request,
                &Destination {
                    point: point_v2(&answer)?,
                    route: FromZeros::new_zeroed(),
                    mac: FromZeros::new_zeroed(),
                },
            );
        }
        self.reply(OVERLAY_TARG_RESPOND, request, answer)
    }

    /// Answers a lookup in the words of version 2. Where the kernel speaks version 1 only the point
    /// counts, and `EINVAL` is what it says to a router.
    pub fn respond_v2(&self, request: u64, to: &Destination) -> Result<(), Errno> {
        if !self.routed() {
            return self.reply(OVERLAY_TARG_RESPOND, request, point_v1(&to.point));
        }
        self.reply_v2(OVERLAY_TARG_RESPOND, request, to)
    }

    fn reply_v2(&self, cmd: u32, otr_reqid: u64, to: &Destination) -> Result<(), Errno> {
        let mut arg = v2::overlay_targ_resp_t {
            otr_reqid,
            otr_route: to.route,
            otr_mac: to.mac,
            otr_pad: [0; 4],
            otr_answer: to.point,
        };
        loop {
            match self.ioctl(cmd, &mut arg) {
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }

    /// Answers a lookup: the frame is dropped. `EINVAL`: not a request.
    pub fn drop_request(&self, request: u64) -> Result<(), Errno> {
        if self.routed() {
            let nowhere = Destination {
                point: FromZeros::new_zeroed(),
                route: FromZeros::new_zeroed(),
                mac: FromZeros::new_zeroed(),
            };
            return self.reply_v2(OVERLAY_TARG_DROP, request, &nowhere);
        }
        self.reply(OVERLAY_TARG_DROP, request, overlay_target_point_t::new_zeroed())
    }

    fn reply(
        &self,
        cmd: u32,
        otr_reqid: u64,
        otr_answer: overlay_target_point_t,
    ) -> Result<(), Errno> {
        let mut arg = overlay_targ_resp_t { otr_reqid, otr_answer, otr_pad: [0; 4] };
        loop {
            match self.ioctl(cmd, &mut arg) {
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }

    /// Gives a frame to the guests of a link as if it had come from the network.
    pub fn inject(&self, link: LinkId, frame: &mut [u8]) -> Result<(), Errno> {
        self.packet_ioctl(OVERLAY_TARG_INJECT, link.0.into(), 0, frame).map(|_| ())
    }

    /// The same for the link of a request. `ENOENT`: not a request.
    pub fn inject_for(&self, request: u64, frame: &mut [u8]) -> Result<(), Errno> {
        let link = OVERLAY_TARG_PKT_BY_REQUEST;
        self.packet_ioctl(OVERLAY_TARG_INJECT, link, request, frame).map(|_| ())
    }

    /// Sends a frame as if a guest of a request's link had sent it. `ENOENT`: not a request.
    pub fn resend_for(&self, request: u64, frame: &mut [u8]) -> Result<(), Errno> {
        let link = OVERLAY_TARG_PKT_BY_REQUEST;
        self.packet_ioctl(OVERLAY_TARG_RESEND, link, request, frame).map(|_| ())
    }

    /// Copies the frame that a request is about, as far as there is room, and returns how many
    /// bytes that were. `EINVAL`: not a request, or its frame is gone.
    pub fn packet(&self, request: u64, room: &mut [u8]) -> Result<usize, Errno> {
        let link = OVERLAY_TARG_PKT_BY_REQUEST;
        let size = self.packet_ioctl(OVERLAY_TARG_PKT, link, request, room)?;
        Ok(usize::try_from(size).unwrap_or(usize::MAX).min(room.len()))
    }

    fn packet_ioctl(
        &self,
        cmd: u32,
        link: u64,
        request: u64,
        frame: &mut [u8],
    ) -> Result<u64, Errno> {
        let mut arg = overlay_targ_pkt_t {
            otp_linkid: link,
            otp_reqid: request,
            otp_size: frame.len() as u64,
            otp_buf: frame.as_mut_ptr().expose_provenance() as u64,
        };
        // SAFETY: these take one overlay_targ_pkt_t, whose buffer is `frame`, borrowed meanwhile.
        unsafe { self.device.ioctl(cmd, (&raw mut arg).cast()) }?;
        Ok(arg.otp_size)
    }

    /// One entry of a link's target cache.
    pub fn cache_get(
        &self,
        link: LinkId,
        mac: MacAddr,
    ) -> Result<overlay_targ_cache_entry_t, Errno> {
        let mut arg = cache(link, mac);
        self.v1().ioctl_with(OVERLAY_TARG_CACHE_GET, &mut arg)?;
        Ok(arg.otc_entry)
    }

    /// One entry, of any data center.
    pub fn cache_get_v2(
        &self,
        link: LinkId,
        guest: v2::overlay_target_mac_t,
    ) -> Result<v2::overlay_targ_cache_entry_t, Errno> {
        self.needs_v2()?;
        let mut arg = cache_v2(link, guest);
        self.ioctl(OVERLAY_TARG_CACHE_GET, &mut arg)?;
        Ok(arg.otc_entry)
    }

    /// Sets an entry.
    pub fn cache_set(&self, link: LinkId, entry: overlay_targ_cache_entry_t) -> Result<(), Errno> {
        if self.routed() {
            let mut new = cache_v2(link, v2::overlay_target_mac_t::new(0, entry.mac())).otc_entry;
            new.otce_flags = entry.otce_flags;
            if entry.otce_flags & OVERLAY_TARGET_CACHE_DROP == 0 {
                new.otce_dest = point_v2(&entry.otce_dest)?;
            }
            if entry.otce_flags & !OVERLAY_TARGET_CACHE_DROP != 0 {
                return Err(Errno::EINVAL);
            }
            return self.cache_set_v2(link, new);
        }
        let mut arg = overlay_targ_cache_t { otc_linkid: link.0, otc_entry: entry };
        self.ioctl(OVERLAY_TARG_CACHE_SET, &mut arg)
    }

    /// Sets an entry, of any data center, or a router.
    pub fn cache_set_v2(
        &self,
        link: LinkId,
        entry: v2::overlay_targ_cache_entry_t,
    ) -> Result<(), Errno> {
        self.needs_v2()?;
        let mut arg = cache_v2(link, entry.otce_mac);
        arg.otc_entry = entry;
        self.ioctl(OVERLAY_TARG_CACHE_SET, &mut arg)
    }

    /// Forgets an entry.
    pub fn cache_remove(&self, link: LinkId, mac: MacAddr) -> Result<(), Errno> {
        if self.routed() {
            return self.cache_remove_v2(link, v2::overlay_target_mac_t::new(0, mac));
        }
        self.ioctl(OVERLAY_TARG_CACHE_REMOVE, &mut cache(link, mac))
    }

    /// Forgets an entry, of any data center.
    pub fn cache_remove_v2(
        &self,
        link: LinkId,
        guest: v2::overlay_target_mac_t,
    ) -> Result<(), Errno> {
        self.needs_v2()?;
        self.ioctl(OVERLAY_TARG_CACHE_REMOVE, &mut cache_v2(link, guest))
    }

    /// Forgets routes.
    pub fn remove_net(
        &self,
        link: LinkId,
        net: v2::overlay_targ_cache_net_entry_t,
    ) -> Result<(), Errno> {
        self.needs_v2()?;
        let mut arg = v2::overlay_targ_cache_net_t { otcn_linkid: link.0, otcn_entry: net };
        self.ioctl(v2::OVERLAY_TARG_CACHE_REMOVE_NET, &mut arg)
    }

    /// Forgets all entries.
    pub fn cache_flush(&self, link: LinkId) -> Result<(), Errno> {
        if self.routed() {
            let mut arg = cache_v2(link, v2::overlay_target_mac_t::new_zeroed());
            return self.ioctl(OVERLAY_TARG_CACHE_FLUSH, &mut arg);
        }
        self.ioctl(OVERLAY_TARG_CACHE_FLUSH, &mut cache(link, MacAddr::ZERO))
    }

    /// Up to `count` entries from `marker` on, and the marker to go on with. No entry: the end.
    pub fn cache_iter(
        &self,
        link: LinkId,
        marker: u64,
        count: u16,
    ) -> Result<(u64, Vec<overlay_targ_cache_entry_t>), Errno> {
        let head = size_of::<overlay_targ_cache_iter_t>();
        let entry = size_of::<overlay_targ_cache_entry_t>();
        let mut arg = overlay_targ_cache_iter_t::new_zeroed();
        arg.otci_linkid = link.0;
        arg.otci_marker = marker;
        arg.otci_count = count;
        // u64 for the alignment of the head.
        let mut buf = vec![0u64; (head + usize::from(count) * entry).div_ceil(8)];
        arg.write_to_prefix(buf.as_mut_bytes()).map_err(|_| Errno::EINVAL)?;
        // SAFETY: ITER takes the head and `otci_count` entries behind it: what the buffer holds.
        unsafe { self.v1().ioctl(OVERLAY_TARG_CACHE_ITER, buf.as_mut_ptr().cast()) }?;
        let (arg, entries) = overlay_targ_cache_iter_t::read_from_prefix(buf.as_bytes())
            .map_err(|_| Errno::EINVAL)?;
        let found = arg.otci_count.min(count);
        let (entries, _) =
            <[overlay_targ_cache_entry_t]>::ref_from_prefix_with_elems(entries, found.into())
                .map_err(|_| Errno::EINVAL)?;
        Ok((arg.otci_marker, entries.to_vec()))
    }

    /// As [`Overlay::cache_iter`], with entries of all data centers and routers.
    pub fn cache_iter_v2(
        &self,
        link: LinkId,
        marker: [u64; 2],
        count: u16,
    ) -> Result<([u64; 2], Vec<v2::overlay_targ_cache_entry_t>), Errno> {
        self.needs_v2()?;
        let mut arg = v2::overlay_targ_cache_iter_t::new_zeroed();
        (arg.otci_linkid, arg.otci_marker, arg.otci_count) = (link.0, marker, count);
        let entries = self.walk(OVERLAY_TARG_CACHE_ITER, &mut arg, count, |arg| arg.otci_count)?;
        Ok((arg.otci_marker, entries))
    }

    /// Up to `from.otri_count` routes from a place on; the place to go on with is in `from`
    /// afterwards. No route: the end.
    pub fn routes(
        &self,
        from: &mut v2::overlay_targ_route_iter_t,
    ) -> Result<Vec<v2::overlay_targ_route_entry_t>, Errno> {
        self.needs_v2()?;
        let count = from.otri_count;
        self.walk(v2::OVERLAY_TARG_ROUTE_ITER, from, count, |arg| arg.otri_count)
    }

    /// A command that takes a head and room for `count` items behind it, and says in the head how many
    /// it put there.
    fn walk<H: FromBytes + IntoBytes + Immutable, T: FromBytes + Immutable + KnownLayout + Copy>(
        &self,
        cmd: u32,
        head: &mut H,
        count: u16,
        found: impl Fn(&H) -> u16,
    ) -> Result<Vec<T>, Errno> {
        // u64 for the alignment of both.
        let size = size_of::<H>() + usize::from(count) * size_of::<T>();
        let mut buf = vec![0u64; size.div_ceil(8)];
        head.write_to_prefix(buf.as_mut_bytes()).map_err(|_| Errno::EINVAL)?;
        // SAFETY: these take the head and `count` items behind it, which is what the buffer holds.
        unsafe { self.device.ioctl(cmd, buf.as_mut_ptr().cast()) }?;
        let (new, items) = H::read_from_prefix(buf.as_bytes()).map_err(|_| Errno::EINVAL)?;
        *head = new;
        let found = found(head).min(count);
        let (items, _) =
            <[T]>::ref_from_prefix_with_elems(items, found.into()).map_err(|_| Errno::EINVAL)?;
        Ok(items.to_vec())
    }
}

fn cache_v2(link: LinkId, guest: v2::overlay_target_mac_t) -> v2::overlay_targ_cache_t {
    let mut arg = v2::overlay_targ_cache_t::new_zeroed();
    arg.otc_linkid = link.0;
    arg.otc_entry.otce_mac = guest;
    arg
}

fn cache(link: LinkId, mac: MacAddr) -> overlay_targ_cache_t {
    let mut arg = overlay_targ_cache_t::new_zeroed();
    arg.otc_linkid = link.0;
    arg.otc_entry.otce_mac = mac.0;
    arg
}
