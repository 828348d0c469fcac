// SPDX-License-Identifier: CDDL-1.0
//! What guests and tests attach with: a client of a VNIC, or of a link itself.
//!
//! ```text
//!   guest thread                                  receive thread, or a sibling's
//!     Frame::alloc, spare, set_len, set_offload     Client::set_rx(callback)
//!     Client::tx(frames) ─► Err(rest): wait_tx      RxBatch: frames, each in one or more slices
//! ```

use super::dls;
use super::ether::{self, Ip, Link};
use super::mac::Capabilities;
use super::msg::{Chain, Marks, Msg, Slices};
use super::offload::{HEADROOM, Malformed};
use super::port::{ClientCore, NoteFn, Port, RxFn};
use illumos_sys_hdrs::{HCK_PARTIALCKSUM, HW_LSO};
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// An illumos error number.
pub type Errno = c_int;

/// A partial checksum, as offsets in bytes from the start of the frame (virtio-net `csum_start`,
/// `csum_offset`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// First byte covered: the transport header.
    pub start: u16,
    /// Where the sum is stored, counted from `start`.
    pub offset: u16,
}

/// What is left to do to a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum from `start` on, the pseudo-header's sum being stored already.
    pub checksum: Option<Partial>,
    /// The TCP payload is to be cut into segments of so many bytes.
    pub mss: Option<u16>,
}

/// One frame to send.
pub struct Frame(Msg);

impl Frame {
    /// An empty frame with room for `len` bytes. `None` when the kernel has no memory.
    pub fn alloc(len: usize) -> Option<Frame> {
        Msg::alloc(HEADROOM, len).map(Frame)
    }

    /// A frame with a copy of `bytes`.
    pub fn from_slice(bytes: &[u8]) -> Option<Frame> {
        Msg::from_slice(bytes, HEADROOM).map(Frame)
    }

    /// A frame of a block for each part, in a row. The first must hold the Ethernet header.
    pub fn from_blocks(parts: &[&[u8]]) -> Option<Frame> {
        let (first, rest) = parts.split_first()?;
        let mut msg = Msg::from_slice(first, HEADROOM)?;
        for part in rest {
            msg.link(Msg::from_slice(part, 0)?);
        }
        Some(Frame(msg))
    }

    /// The room behind the bytes there are, for a system call to read to. Then [`Frame::set_len`].
    pub fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        self.0.spare()
    }

    /// Sets the length.
    ///
    /// # Safety
    /// So many bytes have been written.
    pub unsafe fn set_len(&mut self, len: usize) {
        // SAFETY: as the caller says.
        unsafe { self.0.set_len(len) }
    }

    /// Appends bytes; how many there was room for.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        self.0.append(bytes)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.head()
    }

    /// The bytes, to change.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.head_mut()
    }

    /// Says what the sender left undone. The headers must be there already.
    pub fn set_offload(&mut self, o: &Offload) -> Result<(), Malformed> {
        let l3 = Link::parse(self.bytes()).ok_or(Malformed)?.len;
        let mut m = Marks::default();
        if let Some(c) = o.checksum {
            m.start = u32::from(c.start).checked_sub(l3 as u32).ok_or(Malformed)?;
            m.stuff = m.start + u32::from(c.offset);
            m.flags |= HCK_PARTIALCKSUM;
        }
        if let Some(mss) = o.mss {
            m.mss = mss.into();
            m.flags |= HW_LSO;
        }
        self.0.set_marks(m);
        Ok(())
    }
}

/// Frames to send, in order.
#[derive(Default)]
pub struct Frames {
    /// Came back from the provider: finished, and siblings have had them.
    pub(super) ready: Chain,
    pub(super) fresh: Chain,
}

impl Frames {
    /// Appends a frame.
    pub fn push(&mut self, f: Frame) {
        self.fresh.push(f.0);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ready.count() + self.fresh.count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.fresh.is_empty()
    }
}

impl From<Frame> for Frames {
    fn from(f: Frame) -> Frames {
        let mut all = Frames::default();
        all.push(f);
        all
    }
}

impl FromIterator<Frame> for Frames {
    fn from_iter<I: IntoIterator<Item = Frame>>(it: I) -> Frames {
        let mut all = Frames::default();
        it.into_iter().for_each(|f| all.push(f));
        all
    }
}

/// Frames received, in order.
pub struct RxBatch {
    chain: Chain,
}

impl RxBatch {
    pub(super) fn new(chain: Chain) -> RxBatch {
        RxBatch { chain }
    }

    /// How many frames there are.
    pub fn len(&self) -> usize {
        self.chain.count()
    }

    /// Whether there is none (left).
    pub fn is_empty(&self) -> bool {
        self.chain.is_empty()
    }

    /// Takes the next frame, to look at or to keep.
    pub fn next_frame(&mut self) -> Option<RxFrame> {
        self.chain.pop().map(RxFrame)
    }
}

impl Iterator for RxBatch {
    type Item = RxFrame;
    fn next(&mut self) -> Option<RxFrame> {
        self.next_frame()
    }
}

/// A frame received.
pub struct RxFrame(Msg);

impl RxFrame {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no bytes; never so for a frame of a link.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, in as many pieces as they lie in.
    pub fn slices(&self) -> Slices<'_> {
        self.0.slices()
    }

    /// The bytes in one piece, copied only when they are in several.
    pub fn bytes(&self) -> std::borrow::Cow<'_, [u8]> {
        if self.0.is_contiguous() {
            return self.0.head().into();
        }
        self.slices().collect::<Vec<_>>().concat().into()
    }

    /// What is left to do. Only for clients that said they take such frames.
    pub fn offload(&self) -> Offload {
        let m = self.0.marks();
        let mut o = Offload::default();
        if m.wants_checksum()
            && let Some(link) = Link::parse(self.0.head())
        {
            let (start, offset) = (link.len as u32 + m.start, m.stuff.saturating_sub(m.start));
            o.checksum = Some(Partial { start: start as u16, offset: offset as u16 });
        }
        if m.wants_lso() {
            o.mss = Some(m.mss as u16);
        }
        o
    }

    /// Bytes of headers up to and including TCP's, for a frame to be segmented (virtio-net
    /// `hdr_len`).
    pub fn header_len(&self) -> usize {
        let b = self.0.head();
        Link::parse(b)
            .and_then(|l| Ip::parse(b, &l))
            .and_then(|ip| super::offload::tcp_header_end(b, &Ip { end: b.len(), ..ip }))
            .unwrap_or(0)
    }
}

/// An open VNIC or link. Dropping closes it.
pub struct Client {
    port: Arc<Port>,
    core: Arc<ClientCore>,
    caps: Capabilities,
}

impl Client {
    /// Opens a VNIC by its link id, or a provider's link for everything that passes it.
    ///
    /// ENOENT: no such link. For a provider's link also what starting it gives: EAGAIN before an
    /// overlay is activated, EADDRINUSE or EADDRNOTAVAIL of its socket.
    pub fn open(linkid: u32) -> Result<Client, Errno> {
        let core = Arc::new(ClientCore::default());
        let port = dls::open(linkid, &core)?;
        let caps = port.mac.capabilities();
        Ok(Client { port, core, caps })
    }

    /// The address; all zero for a provider's link that has none.
    pub fn mac(&self) -> ether::Mac {
        self.port.addr.unwrap_or(self.port.mac.src_addr)
    }

    /// Largest payload of a frame in bytes.
    pub fn mtu(&self) -> u32 {
        self.port.mtu()
    }

    /// -1 unknown, 0 down, 1 up.
    pub fn link_state(&self) -> i32 {
        self.port.mac.link_state()
    }

    /// The link id it was opened by.
    pub fn linkid(&self) -> u32 {
        self.port.linkid
    }

    /// Sends. `Err` gives back, in order, what the provider had no room for: wait with
    /// [`Client::wait_tx`], then send that first. Frames that cannot be sent at all are counted and
    /// dropped.
    pub fn tx(&self, frames: impl Into<Frames>) -> Result<(), Frames> {
        self.port.transmit(frames.into(), &self.caps)
    }

    /// Sends all, waiting for room as long as it takes; false when there was none for `patience`.
    pub fn tx_all(&self, frames: impl Into<Frames>, patience: Duration) -> bool {
        let mut rest = frames.into();
        let mut moved = Instant::now();
        loop {
            let (seen, before) = (self.port.tx_events(), rest.len());
            match self.tx(rest) {
                Ok(()) => return true,
                Err(r) => rest = r,
            }
            if rest.len() != before {
                moved = Instant::now();
            } else if moved.elapsed() >= patience {
                return false;
            }
            self.port.wait_tx(seen, RETRY);
        }
    }

    /// Waits until the provider says that there is room, at most `timeout`. A provider need not say
    /// so: callers try again after a millisecond or so in any case.
    pub fn wait_tx(&self, timeout: Duration) -> bool {
        self.port.wait_tx(self.port.tx_events(), timeout)
    }

    /// Sets the receive callback. Frames for a client without one are dropped.
    ///
    /// It runs on the thread that brings the frames, a batch at a time and maybe on several threads
    /// at once. It must not wait for long, and may send.
    pub fn set_rx(&self, f: Arc<RxFn>) {
        self.core.set_rx(Some(f));
    }

    /// Sets the callback for changes of link state and MTU, and for room to transmit.
    pub fn set_notes(&self, f: Arc<NoteFn>) {
        *self.core.notes.lock() = Some(f);
    }

    /// Whether frames may be given with a checksum or segmentation left to do (as from a TAP with
    /// vnet header). Otherwise they are finished before the callback.
    pub fn set_takes_offload(&self, on: bool) {
        self.core.takes_offload.store(on, Ordering::Relaxed);
    }

    /// Whether consecutive TCP segments of a batch are joined into one frame to be segmented. Needs
    /// [`Client::set_takes_offload`].
    pub fn set_coalesce(&self, on: bool) {
        self.core.coalesce.store(on, Ordering::Relaxed);
    }

    /// Whether frames to every multicast group are wanted: for guests whose joins are not seen.
    pub fn set_all_multicast(&self, on: bool) -> Result<(), Errno> {
        if self.core.all_groups.swap(on, Ordering::SeqCst) != on {
            self.port.mac.promisc(true, on)?;
        }
        Ok(())
    }

    /// Joins a multicast group. EINVAL for an address that is none.
    pub fn join(&self, group: &ether::Mac) -> Result<(), Errno> {
        if !ether::is_group(group) {
            return Err(super::errno::EINVAL);
        }
        if self.core.group(group, true) {
            self.port.mac.multicast(group, true)?;
        }
        Ok(())
    }

    /// Leaves a multicast group.
    pub fn leave(&self, group: &ether::Mac) -> Result<(), Errno> {
        if self.core.group(group, false) {
            self.port.mac.multicast(group, false)?;
        }
        Ok(())
    }
}

/// How often sending is tried again without a wakeup.
const RETRY: Duration = Duration::from_micros(500);

impl Drop for Client {
    fn drop(&mut self) {
        for g in self.core.groups() {
            let _ = self.leave(&g);
        }
        let _ = self.set_all_multicast(false);
        *self.core.notes.lock() = None;
        dls::close(&self.port, &self.core);
        self.core.set_rx(None);
    }
}
