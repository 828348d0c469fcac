// SPDX-License-Identifier: CDDL-1.0
//! Typed ioctls on /dev/overlay, v1. Numbers and structures are those of `overlay_abi::target`.
use devctl::{Device, OpenFlags, Root};
use overlay_abi::errno::Errno;
use overlay_abi::ids::{LinkId, MacAddr, VarpdId};
use overlay_abi::target::*;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// The open device; closing it gives back the lookups that were not answered.
#[derive(Debug)]
pub struct Overlay {
    device: Device,
}

impl Overlay {
    /// Opens the device for reading and writing, exclusively. `EEXIST`: somebody has it.
    pub fn open(root: &Root) -> Result<Overlay, devctl::Error> {
        let flags = OpenFlags::RDWR | OpenFlags::EXCL;
        Ok(Overlay { device: Device::open(root, OVERLAY_DEV, flags)? })
    }

    fn ioctl<T: IntoBytes + FromBytes>(&self, cmd: u32, arg: &mut T) -> Result<(), Errno> {
        self.device.ioctl_with(cmd, arg).map(|_| ())
    }

    /// What the kernel knows about a link. `ENOENT`: not an overlay.
    pub fn info(&self, link: LinkId) -> Result<overlay_targ_info_t, Errno> {
        let mut arg = overlay_targ_info_t::new_zeroed();
        arg.oti_linkid = link.0;
        self.ioctl(OVERLAY_TARG_INFO, &mut arg)?;
        Ok(arg)
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
    pub fn lookup(&self) -> Result<overlay_targ_lookup_t, Errno> {
        let mut arg = overlay_targ_lookup_t::new_zeroed();
        self.ioctl(OVERLAY_TARG_LOOKUP, &mut arg)?;
        Ok(arg)
    }

    /// Answers a lookup with a destination. `EINVAL`: not a request, or not a destination.
    pub fn respond(&self, request: u64, answer: overlay_target_point_t) -> Result<(), Errno> {
        self.reply(OVERLAY_TARG_RESPOND, request, answer)
    }

    /// Answers a lookup: the frame is dropped. `EINVAL`: not a request.
    pub fn drop_request(&self, request: u64) -> Result<(), Errno> {
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
        self.ioctl(OVERLAY_TARG_CACHE_GET, &mut arg)?;
        Ok(arg.otc_entry)
    }

    /// Sets an entry.
    pub fn cache_set(&self, link: LinkId, entry: overlay_targ_cache_entry_t) -> Result<(), Errno> {
        let mut arg = overlay_targ_cache_t { otc_linkid: link.0, otc_entry: entry };
        self.ioctl(OVERLAY_TARG_CACHE_SET, &mut arg)
    }

    /// Forgets an entry.
    pub fn cache_remove(&self, link: LinkId, mac: MacAddr) -> Result<(), Errno> {
        self.ioctl(OVERLAY_TARG_CACHE_REMOVE, &mut cache(link, mac))
    }

    /// Forgets all entries.
    pub fn cache_flush(&self, link: LinkId) -> Result<(), Errno> {
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
        // SAFETY: ITER takes the head and `otci_count` entries behind it, which is what the buffer
        // holds.
        unsafe { self.device.ioctl(OVERLAY_TARG_CACHE_ITER, buf.as_mut_ptr().cast()) }?;
        let (arg, entries) = overlay_targ_cache_iter_t::read_from_prefix(buf.as_bytes())
            .map_err(|_| Errno::EINVAL)?;
        let found = arg.otci_count.min(count);
        let (entries, _) =
            <[overlay_targ_cache_entry_t]>::ref_from_prefix_with_elems(entries, found.into())
                .map_err(|_| Errno::EINVAL)?;
        Ok((arg.otci_marker, entries.to_vec()))
    }
}

fn cache(link: LinkId, mac: MacAddr) -> overlay_targ_cache_t {
    let mut arg = overlay_targ_cache_t::new_zeroed();
    arg.otc_linkid = link.0;
    arg.otc_entry.otce_mac = mac.0;
    arg
}
