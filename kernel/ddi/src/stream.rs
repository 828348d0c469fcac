// SPDX-License-Identifier: CDDL-1.0
//! STREAMS drivers: queues, and what a driver does with the messages that come down.
//!
//! ```text
//!   stream head ── M_PROTO, M_IOCTL, M_IOCDATA, M_FLUSH ──► put ──► StreamDriver
//!        ▲                                                   │ answers
//!        ├───────────────────────────────────────────────────┘
//!        └── service ◄── the driver's read queue ◄── ReadQueue::put      anybody, any time
//! ```
//!
//! All data goes up by the service procedure of the read queue, so one message is always behind
//! the other, and no more wait than the queue has room for.
//!
//! Each stream has a perimeter of its own (`D_MTQPAIR`): put and service procedures of one stream
//! exclude each other, those of different streams do not.
use crate::Errno;
use crate::dev::{Cred, Driver, cb_ops, dev_ops};
use crate::mblk::Mblk;
use crate::mem::{KArc, KBox, Table};
use core::ffi::{CStr, c_int};
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use illumos_sys_hdrs as sys;
use sys::{mblk_t, queue_t};

/// Most bytes of an `M_PROTO` that a driver is shown.
const PROTO_MAX: usize = 64;
/// Most bytes of an ioctl's argument that a driver is shown.
const ARG_MAX: usize = 64;

/// The answer to an `M_IOCTL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ioctl {
    /// Done; ioctl(2) returns this.
    Ack(i32),
    /// So many bytes of the caller's argument are wanted first.
    CopyIn(usize),
    /// Refused.
    Nak(Errno),
}

/// A driver whose device is a stream, and of which each open is a stream of its own.
pub trait StreamDriver: Driver {
    /// Its `mi_idnum`.
    const ID: u16;
    /// Its `mi_idname`.
    const NAME: &'static CStr;
    /// Bytes of data that may wait in a read queue.
    const ROOM: usize;
    /// An open stream.
    type Stream: Send + Sync + 'static;
    /// The answer to an `M_PROTO`.
    type Reply: AsRef<[u8]>;

    /// An open of `minor`: the stream, and the minor that it is known by. Nothing may be put on the
    /// queue yet.
    ///
    /// # Errors
    /// For the caller.
    fn open(queue: ReadQueue, minor: u32, cred: Cred) -> Result<(KArc<Self::Stream>, u32), Errno>;
    /// The queue is in use from here on.
    fn start(stream: &KArc<Self::Stream>);
    /// The stream is being closed: afterwards nothing may be put on the queue.
    fn stop(stream: &KArc<Self::Stream>);
    /// An `M_PROTO` or `M_PCPROTO`: at most its first 64 bytes. The answer goes up as `M_PCPROTO`.
    fn request(stream: &KArc<Self::Stream>, request: &[u8]) -> Option<Self::Reply>;
    /// An `M_IOCTL`.
    fn ioctl(stream: &KArc<Self::Stream>, cmd: i32, count: usize) -> Ioctl;
    /// The argument that [`Ioctl::CopyIn`] asked for: at most its first 64 bytes. What ioctl(2)
    /// returns.
    ///
    /// # Errors
    /// For the caller.
    fn argument(stream: &KArc<Self::Stream>, cmd: i32, data: &[u8]) -> Result<i32, Errno>;
}

/// The read queue of a stream. Good for use from [`StreamDriver::start`] until
/// [`StreamDriver::stop`] returns.
#[derive(Clone, Copy)]
pub struct ReadQueue(NonNull<queue_t>);

// SAFETY: a queue locks itself.
unsafe impl Send for ReadQueue {}
// SAFETY: as above.
unsafe impl Sync for ReadQueue {}

impl ReadQueue {
    /// Whether there is room for another message.
    #[inline]
    pub fn has_room(self) -> bool {
        // SAFETY: the stream is open.
        unsafe { sys::canput(self.0.as_ptr()) != 0 }
    }

    /// Queues a message for the service procedure to send up; `false`, and it is freed, if it
    /// cannot be.
    #[inline]
    pub fn put(self, msg: Mblk) -> bool {
        let mp = msg.into_raw();
        // SAFETY: the stream is open; the message is ours, and the queue's if putq says so.
        let queued = unsafe { sys::putq(self.0.as_ptr(), mp) != 0 };
        if !queued {
            // SAFETY: still ours.
            drop(unsafe { Mblk::from_raw(mp) });
        }
        queued
    }

    /// Tells the stream head that the device is gone; `false` without memory for that. Not while
    /// holding a lock.
    pub fn hang_up(self) -> bool {
        // SAFETY: the stream is open, and so has a queue to name.
        unsafe { sys::putnextctl(self.0.as_ptr(), c_int::from(sys::M_HANGUP)) != 0 }
    }
}

/// What the private pointers of a pair of queues name.
struct Pair<S> {
    read: ReadQueue,
    stream: KArc<S>,
}

/// # Safety
/// `q` is a queue of a stream that `open` made and `close` has not taken apart.
unsafe fn pair<'a, S>(q: *mut queue_t) -> &'a Pair<S> {
    // SAFETY: by the caller's promise; both queues name the same pair.
    unsafe { &*(*q).q_ptr.cast_const().cast() }
}

/// A driver's module information.
pub const fn module_info<D: StreamDriver>() -> sys::module_info {
    sys::module_info {
        mi_idnum: D::ID,
        mi_idname: D::NAME.as_ptr().cast_mut(),
        mi_minpsz: 0,
        mi_maxpsz: sys::INFPSZ,
        mi_hiwat: D::ROOM,
        // Filled again when half empty.
        mi_lowat: D::ROOM >> 1,
    }
}

/// Procedures of a driver's read queues.
pub const fn read_init<D: StreamDriver>(info: &'static Table<sys::module_info>) -> sys::qinit {
    sys::qinit {
        qi_srvp: Some(service),
        qi_qopen: Some(open::<D>),
        qi_qclose: Some(close::<D>),
        ..no_init(info)
    }
}

/// Procedures of its write queues.
pub const fn write_init<D: StreamDriver>(info: &'static Table<sys::module_info>) -> sys::qinit {
    sys::qinit { qi_putp: Some(put::<D>), ..no_init(info) }
}

const fn no_init(info: &'static Table<sys::module_info>) -> sys::qinit {
    sys::qinit {
        qi_putp: None,
        qi_srvp: None,
        qi_qopen: None,
        qi_qclose: None,
        qi_qadmin: None,
        qi_minfo: info.get(),
        qi_mstat: ptr::null_mut(),
        qi_rwp: None,
        qi_infop: None,
        qi_struiot: 0,
    }
}

/// A driver's table of streams.
pub const fn streamtab(
    read: &'static Table<sys::qinit>,
    write: &'static Table<sys::qinit>,
) -> sys::streamtab {
    sys::streamtab {
        st_rdinit: read.get(),
        st_wrinit: write.get(),
        st_muxrinit: ptr::null_mut(),
        st_muxwinit: ptr::null_mut(),
    }
}

/// A driver's entry points.
pub const fn stream_cb_ops(streams: &'static Table<sys::streamtab>) -> sys::cb_ops {
    cb_ops(streams.get(), sys::D_MP | sys::D_MTQPAIR)
}

/// A driver's device operations.
pub const fn stream_dev_ops<D: StreamDriver>(cb: &'static Table<sys::cb_ops>) -> sys::dev_ops {
    dev_ops::<D>(cb)
}

unsafe extern "C" fn open<D: StreamDriver>(
    q: *mut queue_t,
    dev: *mut sys::dev_t,
    _flags: c_int,
    how: c_int,
    cred: *mut sys::cred_t,
) -> c_int {
    if how & sys::MODOPEN != 0 {
        return Errno::ENOTSUP.0;
    }
    // SAFETY: the kernel's read queue and device number.
    let (again, major, minor, q) = unsafe {
        let again = !(*q).q_ptr.is_null();
        (again, sys::getmajor(*dev), sys::getminor(*dev), NonNull::new_unchecked(q))
    };
    // Each open is a stream of its own, so nobody can have this one.
    if again {
        return Errno::EBUSY.0;
    }
    let read = ReadQueue(q);
    let (stream, minor) = match D::open(read, minor, Cred(cred)) {
        Ok(opened) => opened,
        Err(e) => return e.0,
    };
    let pair = KBox::new(Pair { read, stream: stream.clone() }).into_raw();
    // SAFETY: both queues are the kernel's for this open; no procedure runs before qprocson.
    unsafe {
        (*q.as_ptr()).q_ptr = pair.as_ptr().cast();
        (*sys::WR(q.as_ptr())).q_ptr = pair.as_ptr().cast();
        *dev = sys::makedevice(major, minor);
        sys::qprocson(q.as_ptr());
    }
    D::start(&stream);
    0
}

unsafe extern "C" fn close<D: StreamDriver>(
    q: *mut queue_t,
    _flags: c_int,
    _cred: *mut sys::cred_t,
) -> c_int {
    // SAFETY: opened by `open`, closed once.
    D::stop(&unsafe { pair::<D::Stream>(q) }.stream);
    // SAFETY: as above; after qprocsoff no procedure runs, so the pair is ours alone.
    unsafe {
        sys::qprocsoff(q);
        let pair = (*q).q_ptr.cast::<Pair<D::Stream>>();
        (*q).q_ptr = ptr::null_mut();
        (*sys::WR(q)).q_ptr = ptr::null_mut();
        drop(KBox::from_raw(NonNull::new_unchecked(pair)));
    }
    0
}

unsafe extern "C" fn service(q: *mut queue_t) -> c_int {
    loop {
        // SAFETY: the kernel's queue, in its service procedure; messages are ours between getq and
        // putnext or putbq.
        unsafe {
            let mp = sys::getq(q);
            if mp.is_null() {
                return 0;
            }
            if sys::canputnext(q) == 0 {
                sys::putbq(q, mp);
                return 0;
            }
            sys::putnext(q, mp);
        }
    }
}

unsafe extern "C" fn put<D: StreamDriver>(q: *mut queue_t, mp: *mut mblk_t) -> c_int {
    // SAFETY: the kernel hands the message over, and the stream is open.
    let (Some(msg), pair) = (unsafe { (Mblk::from_raw(mp), pair::<D::Stream>(q)) }) else {
        return 0;
    };
    match msg.kind() {
        sys::M_FLUSH => flush(pair.read, q, msg),
        sys::M_PROTO | sys::M_PCPROTO => request::<D>(pair, q, msg),
        sys::M_IOCTL => ioctl::<D>(pair, q, msg),
        sys::M_IOCDATA => argument::<D>(pair, q, msg),
        // Data too: there is nothing to write to.
        _ => drop(msg),
    }
    0
}

fn flush(read: ReadQueue, q: *mut queue_t, msg: Mblk) {
    let Some(how) = msg.front().first().copied() else { return };
    if how & sys::FLUSHR != 0 {
        // SAFETY: the stream's read queue.
        unsafe { sys::flushq(read.0.as_ptr(), sys::FLUSHDATA) };
        // SAFETY: the first byte was just read, and the message is ours; qreply takes it over.
        unsafe {
            let mp = msg.into_raw();
            *(*mp).b_rptr = how & !sys::FLUSHW;
            sys::qreply(q, mp);
        }
    }
}

/// Calls `f` with the first `N` bytes of a message, or all of them.
fn with_front<const N: usize, R>(msg: &Mblk, f: impl FnOnce(&[u8]) -> R) -> R {
    let mut buf = [0; N];
    let have = msg.size().min(N);
    let (bytes, _) = buf.split_at_mut_checked(have).unwrap_or_default();
    msg.copy_bytes(0, bytes);
    f(bytes)
}

fn request<D: StreamDriver>(pair: &Pair<D::Stream>, q: *mut queue_t, msg: Mblk) {
    let reply = with_front::<PROTO_MAX, _>(&msg, |bytes| D::request(&pair.stream, bytes));
    let Some(reply) = reply else { return };
    let reply = reply.as_ref();
    // SAFETY: takes the message over; what comes back is ours, a single block of that many bytes,
    // or NULL when the stream was told that there is no memory.
    unsafe {
        let kind = sys::M_PCPROTO;
        let mp = sys::mexchange(q, msg.into_raw(), reply.len(), kind, -1);
        if !mp.is_null() {
            ptr::copy_nonoverlapping(reply.as_ptr(), (*mp).b_rptr, reply.len());
            sys::qreply(q, mp);
        }
    }
}

/// The command and count of an ioctl's message; `None` if that is too short to be one.
fn command(msg: &Mblk) -> Option<(i32, usize)> {
    if msg.front().len() < size_of::<sys::copyresp>() {
        return None;
    }
    // SAFETY: the first block is long enough; copyresp and iocblk begin alike, and any bytes are
    // such numbers.
    unsafe {
        let ioc = (*msg.as_ptr()).b_rptr.cast_const().cast::<sys::iocblk>();
        Some((
            (&raw const (*ioc).ioc_cmd).read_unaligned(),
            (&raw const (*ioc).ioc_count).read_unaligned(),
        ))
    }
}

fn ioctl<D: StreamDriver>(pair: &Pair<D::Stream>, q: *mut queue_t, msg: Mblk) {
    let Some((cmd, count)) = command(&msg) else { return };
    let answer = D::ioctl(&pair.stream, cmd, count);
    let mp = msg.into_raw();
    // SAFETY: an M_IOCTL of ours, which each of these takes over.
    unsafe {
        match answer {
            Ioctl::Ack(value) => sys::miocack(q, mp, 0, value),
            Ioctl::CopyIn(size) => {
                sys::mcopyin(mp, ptr::null_mut(), size, ptr::null_mut());
                sys::qreply(q, mp);
            }
            Ioctl::Nak(e) => sys::miocnak(q, mp, 0, e.0),
        }
    }
}

fn argument<D: StreamDriver>(pair: &Pair<D::Stream>, q: *mut queue_t, msg: Mblk) {
    let Some((cmd, _)) = command(&msg) else { return };
    // SAFETY: as in `command`.
    let failed = unsafe {
        let resp = (*msg.as_ptr()).b_rptr.cast_const().cast::<sys::copyresp>();
        !(&raw const (*resp).cp_rval).read_unaligned().is_null()
    };
    // Then ioctl(2) has its error already, and there is no data.
    if failed {
        return;
    }
    // SAFETY: the blocks behind the first, borrowed while `msg` is whole.
    let data = unsafe { Mblk::from_raw((*msg.as_ptr()).b_cont) }.map(ManuallyDrop::new);
    let answer = match &data {
        Some(data) => with_front::<ARG_MAX, _>(data, |b| D::argument(&pair.stream, cmd, b)),
        None => Err(Errno::EINVAL),
    };
    let mp = msg.into_raw();
    // SAFETY: an M_IOCDATA of ours, which both take over.
    unsafe {
        match answer {
            Ok(value) => sys::miocack(q, mp, 0, value),
            Err(e) => sys::miocnak(q, mp, 0, e.0),
        }
    }
}
