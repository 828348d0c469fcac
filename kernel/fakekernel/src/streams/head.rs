// SPDX-License-Identifier: CDDL-1.0
//! The stream head: what open, close, putmsg, getmsg and ioctl are for a STREAMS driver.
use super::perim::Perim;
use super::queue::{
    Pair, canputnext, flushq, getq, putnext, putnextctl1, putq, qprocsoff, qprocson, qreply,
};
use crate::check::{Kind, violation};
use crate::cred::Cred;
use crate::ctx;
use crate::dev::Model;
use crate::mblk::{alloc, blocks, freemsg, from_slice, to_vec};
use crate::user::UserMem;
use illumos_sys_hdrs::{
    FLUSHALL, FLUSHR, FLUSHW, FNDELAY, FNONBLOCK, I_FLUSH, I_NREAD, I_STR, INFPSZ, M_COPYIN,
    M_COPYOUT, M_DATA, M_ERROR, M_FLUSH, M_HANGUP, M_IOCACK, M_IOCDATA, M_IOCNAK, M_IOCTL,
    M_PCPROTO, M_PROTO, TRANSPARENT, copyreq, copyresp, dev_t, iocblk, mblk_t, module_info, qinit,
    queue_t, streamtab,
};
use overlay_abi::errno::Errno;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::ffi::{c_char, c_int};
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes at which a head's read side is full, and below which it is not any more (sys/stream.h).
const STRHIGH: usize = 5120;
const STRLOW: usize = 1024;
/// Most bytes of a control part and of an ioctl's data.
const MAX_CTL: usize = 1024;
const MAX_DATA: usize = 64 << 10;
/// Bytes of the first block of an M_IOCTL: the largest of what may follow in it.
const IOCTL_BLOCK: usize = 64;
/// I_STR waits that long unless it says otherwise.
const IOCTL_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a waiting caller looks whether it was interrupted.
const TICK: Duration = Duration::from_millis(50);
/// In an M_ERROR of two bytes: this side is as it was.
const NOERROR: u8 = 0xff;

/// What getmsg(2) gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Of high priority (RS_HIPRI).
    pub high: bool,
    /// The control part, if there is one.
    pub control: Option<Vec<u8>>,
    /// The data part, if there is one.
    pub data: Option<Vec<u8>>,
}

/// How a wait for a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// With a message.
    Message(Message),
    /// The driver hung up, and no message is left.
    Hangup,
    /// The time is over, or [`Stream::wake`] was called.
    Nothing,
}

#[derive(Default)]
struct State {
    hangup: bool,
    read_error: Option<Errno>,
    write_error: Option<Errno>,
    /// The request that waits for an answer, and the answer.
    asked: Option<u32>,
    answer: Option<Answer>,
    next_id: u32,
    /// Calls of [`Stream::wake`].
    woken: u64,
}

struct Answer(*mut mblk_t);
// SAFETY: a message is whoever's has it.
unsafe impl Send for Answer {}

#[derive(Default)]
struct Head {
    state: Mutex<State>,
    changed: Condvar,
    /// One ioctl at a time.
    ioctl: Mutex<()>,
}

/// An open stream.
pub struct Stream {
    head: Box<Head>,
    /// The head's queues and the driver's.
    upper: *mut Pair,
    lower: *mut Pair,
    perim: Option<Arc<Perim>>,
    flags: c_int,
    cred: Box<Cred>,
    /// The driver's open has succeeded: its close is to be called.
    opened: bool,
}

// SAFETY: queues and head synchronise themselves; the pairs live until drop.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

/// Tables of C that are never written to.
#[repr(transparent)]
struct Const<T>(T);
// SAFETY: see above.
unsafe impl<T> Sync for Const<T> {}

static INFO: Const<module_info> = Const(module_info {
    mi_idnum: 0,
    mi_idname: c"strrhead".as_ptr().cast_mut(),
    mi_minpsz: 0,
    mi_maxpsz: INFPSZ,
    mi_hiwat: STRHIGH,
    mi_lowat: STRLOW,
});
static READ: Const<qinit> = Const(side(Some(strrput), None));
static WRITE: Const<qinit> = Const(side(None, Some(strwsrv)));

const fn side(
    put: Option<illumos_sys_hdrs::qi_putp_t>,
    service: Option<illumos_sys_hdrs::qi_srvp_t>,
) -> qinit {
    qinit {
        qi_putp: put,
        qi_srvp: service,
        qi_qopen: None,
        qi_qclose: None,
        qi_qadmin: None,
        qi_minfo: (&raw const INFO.0).cast_mut(),
        qi_mstat: null_mut(),
        qi_rwp: None,
        qi_infop: None,
        qi_struiot: 0,
    }
}

/// The head whose queue it is.
unsafe fn head<'a>(q: *mut queue_t) -> &'a Head {
    // SAFETY: set by Stream::open; the head lives until its queues are closed.
    unsafe { &*(*q).q_ptr.cast::<Head>() }
}

unsafe fn kind(mp: *const mblk_t) -> u8 {
    // SAFETY: the caller's message.
    unsafe { (*(*mp).b_datap).db_type }
}

/// What comes up.
unsafe extern "C" fn strrput(q: *mut queue_t, mp: *mut mblk_t) -> c_int {
    // SAFETY: put(9E), by queue.rs: a queue of a head, a message.
    unsafe {
        let h = head(q);
        match kind(mp) {
            M_DATA | M_PROTO | M_PCPROTO => {
                putq(q, mp);
                // Who looked before it was there is waiting by now.
                drop(h.state.lock());
            }
            M_IOCACK | M_IOCNAK | M_COPYIN | M_COPYOUT => {
                let mut s = h.state.lock();
                let id = (*(*mp).b_rptr.cast::<iocblk>()).ioc_id;
                if s.asked == Some(id) && s.answer.is_none() {
                    s.answer = Some(Answer(mp));
                } else {
                    freemsg(mp);
                }
            }
            M_FLUSH => return turn_flush(q, mp),
            M_HANGUP => {
                h.state.lock().hangup = true;
                freemsg(mp);
            }
            M_ERROR => {
                let bytes = to_vec(mp);
                let mut s = h.state.lock();
                let (r, w) = match bytes[..] {
                    [e] => (e, e),
                    [r, w, ..] => (r, w),
                    [] => (NOERROR, NOERROR),
                };
                let set = |side: &mut Option<Errno>, e: u8| match e {
                    NOERROR => {}
                    0 => *side = None,
                    e => *side = Some(Errno(e.into())),
                };
                set(&mut s.read_error, r);
                set(&mut s.write_error, w);
                freemsg(mp);
            }
            _ => freemsg(mp),
        }
        h.changed.notify_all();
    }
    0
}

/// An M_FLUSH that comes up is done here, and goes down again for what is left of it.
unsafe fn turn_flush(q: *mut queue_t, mp: *mut mblk_t) -> c_int {
    // SAFETY: as strrput.
    unsafe {
        let what = if (*mp).b_wptr > (*mp).b_rptr { *(*mp).b_rptr } else { 0 };
        if what & FLUSHR != 0 {
            flushq(q, FLUSHALL);
        }
        if what & FLUSHW == 0 {
            freemsg(mp);
            return 0;
        }
        *(*mp).b_rptr = what & !FLUSHR;
        qreply(q, mp);
    }
    0
}

/// There is room below.
unsafe extern "C" fn strwsrv(q: *mut queue_t) -> c_int {
    // SAFETY: srv(9E), by queue.rs: a queue of a head.
    let h = unsafe { head(q) };
    drop(h.state.lock());
    h.changed.notify_all();
    0
}

impl Stream {
    /// Opens a driver's stream; `dev` becomes what the driver makes of it.
    ///
    /// # Safety
    /// The table is an attached driver's, and stays until the stream is dropped.
    pub(crate) unsafe fn open(
        tab: &streamtab,
        perim: Option<Arc<Perim>>,
        dev: &mut dev_t,
        flags: c_int,
        cred: &Cred,
    ) -> Result<Stream, Errno> {
        let head = Box::<Head>::default();
        // SAFETY: tables that stay; new pairs.
        let mut s = unsafe {
            let ptr = std::ptr::from_ref(&*head).cast_mut().cast();
            let (rd, wr) = ((&raw const READ.0).cast_mut(), (&raw const WRITE.0).cast_mut());
            let upper = Pair::new(rd, wr, ptr, None);
            let lower = Pair::new(tab.st_rdinit, tab.st_wrinit, null_mut(), perim.clone());
            Pair::link(upper, lower);
            qprocson(Pair::rd(upper));
            Stream { head, upper, lower, perim, flags, cred: Box::new(*cred), opened: false }
        };
        // SAFETY: open(9E).
        let r = unsafe {
            s.inside(|q| match (*(*q).q_qinfo).qi_qopen {
                Some(f) => f(q, dev, flags, 0, s.cred.as_ptr()),
                None => Errno::ENXIO.0,
            })
        };
        // SAFETY: the pair is ours.
        let on = unsafe { (*s.lower).procs_on() };
        if r != 0 {
            if on {
                violation(Kind::Misuse, "an open that failed left its procedures on");
                // SAFETY: a queue of ours.
                unsafe { s.inside(|q| qprocsoff(q)) };
            }
            return Err(Errno(r));
        }
        if !on {
            violation(Kind::Misuse, "an open did not call qprocson");
            // SAFETY: a queue of ours.
            unsafe { s.inside(|q| qprocson(q)) };
        }
        s.opened = true;
        Ok(s)
    }

    /// Calls the driver on its read queue, in its perimeter.
    unsafe fn inside<R>(&self, f: impl FnOnce(*mut queue_t) -> R) -> R {
        if let Some(p) = &self.perim {
            p.enter();
        }
        let r = f(Pair::rd(self.lower));
        if let Some(p) = &self.perim {
            p.leave();
        }
        r
    }

    unsafe fn close(&self, q: *mut queue_t) {
        // SAFETY: the driver's queue, in its perimeter.
        unsafe {
            if let Some(f) = (*(*q).q_qinfo).qi_qclose {
                f(q, self.flags, self.cred.as_ptr());
            }
            if (*self.lower).procs_on() {
                violation(Kind::Misuse, "a close did not call qprocsoff");
                qprocsoff(q);
            }
        }
    }

    fn read_queue(&self) -> *mut queue_t {
        Pair::rd(self.upper)
    }

    fn write_queue(&self) -> *mut queue_t {
        Pair::wr(self.upper)
    }

    fn nonblocking(&self) -> bool {
        self.flags & (FNDELAY | FNONBLOCK) != 0
    }

    /// Waits for a change, at most until then; Err: interrupted.
    fn wait(&self, s: &mut MutexGuard<'_, State>, until: Option<Instant>) -> Result<(), Errno> {
        let interrupt = ctx::interrupt();
        if interrupt.as_ref().is_some_and(|i| i.fired()) {
            return Err(Errno::EINTR);
        }
        let tick = interrupt.map(|_| Instant::now() + TICK);
        match tick.into_iter().chain(until).min() {
            Some(at) => drop(self.head.changed.wait_until(s, at)),
            None => self.head.changed.wait(s),
        }
        Ok(())
    }

    /// putmsg(2): waits for room below, unless of high priority or opened not to block.
    ///
    /// # Errors
    /// EINVAL: neither part, or high priority without control. ERANGE: too long. EAGAIN: no room.
    /// ENXIO: hung up. EINTR. ENOSR. What an M_ERROR said.
    pub fn putmsg(&self, m: &Message) -> Result<(), Errno> {
        let (control, data) = (m.control.as_deref(), m.data.as_deref());
        if m.high && control.is_none() {
            return Err(Errno::EINVAL);
        }
        if control.is_none() && data.is_none() {
            return Ok(());
        }
        let q = self.write_queue();
        // SAFETY: our queue, linked to the driver's.
        let (min, max) = unsafe { ((*(*q).q_next).q_minpsz, (*(*q).q_next).q_maxpsz) };
        let wrong = |d: &[u8]| {
            let len = isize::try_from(d.len()).unwrap_or(isize::MAX);
            len < min || (max != INFPSZ && len > max) || d.len() > MAX_DATA
        };
        if control.is_some_and(|c| c.len() > MAX_CTL) || data.is_some_and(wrong) {
            return Err(Errno::ERANGE);
        }
        let mut s = self.head.state.lock();
        loop {
            s.writable()?;
            // SAFETY: our queue.
            if m.high || unsafe { canputnext(q) } != 0 {
                break;
            }
            if self.nonblocking() {
                return Err(Errno::EAGAIN);
            }
            self.wait(&mut s, None)?;
        }
        drop(s);
        let kind = if m.high { M_PCPROTO } else { M_PROTO };
        let parts = control.map(|c| (c, kind)).into_iter().chain(data.map(|d| (d, M_DATA)));
        let mp = message(parts).ok_or(Errno::ENOSR)?;
        // SAFETY: a message of ours.
        unsafe { putnext(q, mp) };
        Ok(())
    }

    /// getmsg(2) of whatever is first. `patience` None: as long as it takes.
    ///
    /// # Errors
    /// What an M_ERROR said. EINTR.
    pub fn getmsg(&self, patience: Option<Duration>) -> Result<Got, Errno> {
        let until = patience.map(|p| Instant::now() + p);
        let mut s = self.head.state.lock();
        let woken = s.woken;
        loop {
            if let Some(e) = s.read_error {
                return Err(e);
            }
            // SAFETY: our queue.
            let mp = unsafe { getq(self.read_queue()) };
            if !mp.is_null() {
                drop(s);
                // SAFETY: ours, off the queue.
                return Ok(Got::Message(unsafe { take(mp) }));
            }
            if s.hangup {
                return Ok(Got::Hangup);
            }
            if s.woken != woken || until.is_some_and(|u| Instant::now() >= u) {
                return Ok(Got::Nothing);
            }
            self.wait(&mut s, until)?;
        }
    }

    /// Waits until [`Stream::getmsg`] need not, at most so long; whether that is so.
    pub fn wait_readable(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut s = self.head.state.lock();
        let woken = s.woken;
        loop {
            // SAFETY: only getmsg takes from our queue, under this lock.
            let waiting = !unsafe { (*self.read_queue()).q_first }.is_null();
            if waiting || s.hangup || s.read_error.is_some() {
                return true;
            }
            if s.woken != woken || self.head.changed.wait_until(&mut s, until).timed_out() {
                return false;
            }
        }
    }

    /// Ends the waits of other threads in [`Stream::getmsg`] and [`Stream::wait_readable`].
    pub fn wake(&self) {
        self.head.state.lock().woken += 1;
        self.head.changed.notify_all();
    }

    /// ioctl(2): I_STR, I_FLUSH and I_NREAD are the head's; all others go down transparently.
    ///
    /// # Errors
    /// EFAULT. ETIME: no answer to I_STR in time. What the driver says.
    pub fn ioctl(
        &self,
        cmd: c_int,
        arg: u64,
        model: Model,
        mem: &dyn UserMem,
    ) -> Result<i32, Errno> {
        match cmd {
            I_FLUSH => self.flush(arg),
            I_NREAD => self.nread(arg, mem),
            I_STR => self.i_str(arg, model, mem),
            _ => {
                let bytes = arg.to_ne_bytes();
                let count = TRANSPARENT as usize;
                self.ask(cmd, count, &bytes, model, None, mem).map(|(rval, _)| rval)
            }
        }
    }

    fn flush(&self, what: u64) -> Result<i32, Errno> {
        let what = u8::try_from(what).ok().filter(|w| (FLUSHR..=FLUSHR | FLUSHW).contains(w));
        let what = what.ok_or(Errno::EINVAL)?;
        self.head.state.lock().writable()?;
        // SAFETY: our queue.
        match unsafe { putnextctl1(self.write_queue(), M_FLUSH.into(), what.into()) } {
            0 => Err(Errno::ENOSR),
            _ => Ok(0),
        }
    }

    /// Bytes of data in the first message to `*arg`; the number of messages.
    fn nread(&self, arg: u64, mem: &dyn UserMem) -> Result<i32, Errno> {
        let s = self.head.state.lock();
        // SAFETY: only getmsg takes from our queue, under this lock; blocks on it stay as they are.
        let (first, count) = unsafe {
            let mut at = (*self.read_queue()).q_first;
            let first = blocks(at).filter(|b| kind(*b) == M_DATA);
            let first: usize = first.map(|b| (*b).b_wptr as usize - (*b).b_rptr as usize).sum();
            let mut count = 0;
            while !at.is_null() {
                count += 1;
                at = (*at).b_next;
            }
            (first, count)
        };
        drop(s);
        mem.copyout(arg, &(first as u32).to_ne_bytes()).map_err(|_| Errno::EFAULT)?;
        Ok(count)
    }

    /// I_STR with a `strioctl` of the caller's model: cmd, timeout in seconds, length, address.
    fn i_str(&self, arg: u64, model: Model, mem: &dyn UserMem) -> Result<i32, Errno> {
        let mut raw = [0; 24];
        let size = if model == Model::Lp64 { 24 } else { 16 };
        mem.copyin(arg, &mut raw[..size]).map_err(|_| Errno::EFAULT)?;
        let word = |at: usize| i32::from_ne_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        let (cmd, seconds, len) = (word(0), word(4), word(8));
        let at = match model {
            Model::Lp64 => word(16) as u32 as u64 | u64::from(word(20) as u32) << 32,
            Model::Ilp32 => word(12) as u32 as u64,
        };
        let len = usize::try_from(len).ok().filter(|l| *l <= MAX_DATA).ok_or(Errno::EINVAL)?;
        let patience = match seconds {
            0 => Some(IOCTL_TIMEOUT),
            -1 => None,
            n => Some(Duration::from_secs(u64::try_from(n).map_err(|_| Errno::EINVAL)?)),
        };
        let mut data = vec![0; len];
        mem.copyin(at, &mut data).map_err(|_| Errno::EFAULT)?;
        let (rval, back) = self.ask(cmd, len, &data, model, patience, mem)?;
        let fault = mem
            .copyout(at, &back)
            .and_then(|()| mem.copyout(arg + 8, &(back.len() as u32).to_ne_bytes()));
        fault.map_err(|_| Errno::EFAULT)?;
        Ok(rval)
    }

    /// Sends an M_IOCTL and does what the driver asks for until it is answered: the value and data.
    fn ask(
        &self,
        cmd: c_int,
        count: usize,
        data: &[u8],
        model: Model,
        patience: Option<Duration>,
        mem: &dyn UserMem,
    ) -> Result<(i32, Vec<u8>), Errno> {
        let _one = self.head.ioctl.lock();
        let mp = message([(&[0; IOCTL_BLOCK][..], M_IOCTL)].into_iter()).ok_or(Errno::ENOSR)?;
        let mut s = self.head.state.lock();
        if let Err(e) = s.writable() {
            // SAFETY: ours.
            unsafe { freemsg(mp) };
            return Err(e);
        }
        s.next_id = s.next_id.wrapping_add(1);
        let id = s.next_id;
        s.asked = Some(id);
        drop(s);
        // SAFETY: a new message with room for an iocblk.
        unsafe {
            (*mp).b_rptr.cast::<iocblk>().write(iocblk {
                ioc_cmd: cmd,
                ioc_cr: self.cred.as_ptr(),
                ioc_id: id,
                ioc_flag: model.bits() as u32,
                ioc_count: count,
                ioc_rval: 0,
                ioc_error: 0,
            });
            (*mp).b_wptr = (*mp).b_rptr.add(size_of::<iocblk>());
            if !data.is_empty() {
                (*mp).b_cont = from_slice(data, 0);
            }
            putnext(self.write_queue(), mp);
        }
        let result = self.converse(patience, mem);
        let mut s = self.head.state.lock();
        s.asked = None;
        if let Some(Answer(late)) = s.answer.take() {
            // SAFETY: ours.
            unsafe { freemsg(late) };
        }
        result
    }

    fn converse(
        &self,
        patience: Option<Duration>,
        mem: &dyn UserMem,
    ) -> Result<(i32, Vec<u8>), Errno> {
        let until = patience.map(|p| Instant::now() + p);
        loop {
            let mp = self.answer(until)?;
            // SAFETY: the driver's answer, ours now, with one of the structures in its first block.
            unsafe {
                match kind(mp) {
                    M_COPYIN => self.copyin(mp, mem)?,
                    M_COPYOUT => self.copyout(mp, mem)?,
                    _ => {
                        let i = &*(*mp).b_rptr.cast::<iocblk>();
                        let (rval, error) = (i.ioc_rval, i.ioc_error);
                        let nak = kind(mp) == M_IOCNAK;
                        let mut data = to_vec((*mp).b_cont);
                        data.truncate(i.ioc_count);
                        freemsg(mp);
                        return match (error, nak) {
                            (0, false) => Ok((rval, data)),
                            (0, true) => Err(Errno::EINVAL),
                            (e, _) => Err(Errno(e)),
                        };
                    }
                }
            }
        }
    }

    fn answer(&self, until: Option<Instant>) -> Result<*mut mblk_t, Errno> {
        let mut s = self.head.state.lock();
        loop {
            if let Some(Answer(mp)) = s.answer.take() {
                return Ok(mp);
            }
            s.writable()?;
            if until.is_some_and(|u| Instant::now() >= u) {
                return Err(Errno::ETIME);
            }
            self.wait(&mut s, until)?;
        }
    }

    /// Makes an M_IOCDATA of an M_COPYIN, with the caller's bytes or the error: of that the driver is
    /// told, but its answer is not waited for.
    unsafe fn copyin(&self, mp: *mut mblk_t, mem: &dyn UserMem) -> Result<(), Errno> {
        // SAFETY: an M_COPYIN.
        unsafe {
            let cq = &*(*mp).b_rptr.cast::<copyreq>();
            let (addr, size) = (cq.cq_addr as u64, cq.cq_size);
            freemsg(std::mem::replace(&mut (*mp).b_cont, null_mut()));
            let mut bytes = vec![0; size.min(MAX_DATA)];
            let ok = size <= MAX_DATA && mem.copyin(addr, &mut bytes).is_ok();
            if ok {
                (*mp).b_cont = from_slice(&bytes, 0);
            }
            self.resume(mp, ok)
        }
    }

    /// The same for an M_COPYOUT, whose bytes are in its other blocks.
    unsafe fn copyout(&self, mp: *mut mblk_t, mem: &dyn UserMem) -> Result<(), Errno> {
        // SAFETY: an M_COPYOUT.
        unsafe {
            let cq = &*(*mp).b_rptr.cast::<copyreq>();
            let addr = cq.cq_addr as u64;
            let mut bytes = to_vec((*mp).b_cont);
            bytes.truncate(cq.cq_size);
            freemsg(std::mem::replace(&mut (*mp).b_cont, null_mut()));
            let ok = mem.copyout(addr, &bytes).is_ok();
            self.resume(mp, ok)
        }
    }

    unsafe fn resume(&self, mp: *mut mblk_t, ok: bool) -> Result<(), Errno> {
        // SAFETY: what was a copyreq is a copyresp up to its last member.
        unsafe {
            (*(*mp).b_datap).db_type = M_IOCDATA;
            let failed: *mut c_char = without_provenance_mut(if ok { 0 } else { 1 });
            (*(*mp).b_rptr.cast::<copyresp>()).cp_rval = failed;
            (*mp).b_wptr = (*mp).b_rptr.add(size_of::<copyresp>());
            putnext(self.write_queue(), mp);
        }
        if ok { Ok(()) } else { Err(Errno::EFAULT) }
    }
}

impl State {
    /// Whether something may be sent down.
    fn writable(&self) -> Result<(), Errno> {
        match self.write_error {
            Some(e) => Err(e),
            None if self.hangup => Err(Errno::ENXIO),
            None => Ok(()),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: close(9E) of an open driver; then nobody has the queues any more.
        unsafe {
            if self.opened {
                self.inside(|q| self.close(q));
            }
            qprocsoff(self.read_queue());
            Pair::unlink(self.upper, self.lower);
            Pair::free(self.lower);
            Pair::free(self.upper);
            if let Some(Answer(mp)) = self.head.state.lock().answer.take() {
                freemsg(mp);
            }
        }
    }
}

/// A message of parts with their types.
fn message<'a>(parts: impl Iterator<Item = (&'a [u8], u8)>) -> Option<*mut mblk_t> {
    let mut first = null_mut();
    let mut link: *mut *mut mblk_t = &raw mut first;
    for (bytes, kind) in parts {
        let mp = if bytes.is_empty() { alloc(1) } else { from_slice(bytes, 0) };
        // SAFETY: a new block; `link` is the place for it.
        unsafe {
            if mp.is_null() {
                freemsg(first);
                return None;
            }
            (*(*mp).b_datap).db_type = kind;
            *link = mp;
            link = &raw mut (*mp).b_cont;
        }
    }
    (!first.is_null()).then_some(first)
}

/// The parts of a message, which is freed.
unsafe fn take(mp: *mut mblk_t) -> Message {
    let mut m = Message::default();
    // SAFETY: the caller's message.
    unsafe {
        m.high = kind(mp) == M_PCPROTO;
        for b in blocks(mp) {
            let len = ((*b).b_wptr as usize).saturating_sub((*b).b_rptr as usize);
            let bytes = std::slice::from_raw_parts((*b).b_rptr, len);
            let part = if kind(b) == M_DATA { &mut m.data } else { &mut m.control };
            part.get_or_insert_default().extend_from_slice(bytes);
        }
        freemsg(mp);
    }
    m
}
