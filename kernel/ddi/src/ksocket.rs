// SPDX-License-Identifier: CDDL-1.0
//! Kernel sockets, datagrams only.
use crate::Errno;
use crate::mblk::{Mblk, MblkChain};
use crate::mem::KArc;
use core::ffi::{c_int, c_void};
use core::ptr;
use illumos_sys_hdrs as sys;

/// Takes what a [`KSocket`] receives.
pub trait Receiver: Send + Sync + 'static {
    /// Messages as sockfs makes them: a T_UNITDATA_IND in front of the data. Must not sleep.
    fn receive(&self, chain: MblkChain);
}

/// A socket of the kernel's own; closed on drop, which waits for receptions under way.
pub struct KSocket<R: Receiver> {
    ks: sys::ksocket_t,
    receiver: KArc<R>,
}

// SAFETY: sockets may be used from any thread.
unsafe impl<R: Receiver> Send for KSocket<R> {}
// SAFETY: as above.
unsafe impl<R: Receiver> Sync for KSocket<R> {}

impl<R: Receiver> KSocket<R> {
    /// Creates a socket with the kernel's credentials. Nothing is received before
    /// [`KSocket::start`].
    ///
    /// # Errors
    /// Those of socket(3SOCKET).
    pub fn open(
        domain: c_int,
        kind: c_int,
        protocol: c_int,
        receiver: KArc<R>,
    ) -> Result<Self, Errno> {
        let mut ks = ptr::null_mut();
        let flag = sys::KSOCKET_SLEEP;
        // SAFETY: `ks` is written before use; kcred lives for ever.
        let err =
            unsafe { sys::ksocket_socket(&raw mut ks, domain, kind, protocol, flag, sys::kcred) };
        Errno::check(err)?;
        Ok(KSocket { ks, receiver })
    }

    /// Binds to an address given as the bytes of a sockaddr.
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EINVAL`, ...
    pub fn bind(&self, addr: &[u8]) -> Result<(), Errno> {
        let p = addr.as_ptr().cast_mut().cast();
        let len = u32::try_from(addr.len()).map_err(|_| Errno::EINVAL)?;
        // SAFETY: the address is read during the call only.
        Errno::check(unsafe { sys::ksocket_bind(self.ks, p, len, sys::kcred) })
    }

    /// The bare socket, for a plugin's options.
    pub fn as_ptr(&self) -> *mut c_void {
        self.ks.cast()
    }

    /// Has the receiver called from now on.
    ///
    /// # Errors
    /// `ENOTSUP`: the socket cannot.
    pub fn start(&self) -> Result<(), Errno> {
        let arg = (&raw const *self.receiver).cast_mut().cast();
        // SAFETY: the receiver outlives the socket, which drop closes before it lets go of the
        // hold.
        Errno::check(unsafe { sys::ksocket_krecv_set(self.ks, Some(receive::<R>), arg) })
    }

    /// Sends a datagram without waiting.
    ///
    /// # Errors
    /// The errno, and what of the message was not sent: all of it for `EWOULDBLOCK`.
    #[inline]
    pub fn send(&self, to: &sys::sockaddr_in6, mp: Mblk) -> Result<(), (Errno, Option<Mblk>)> {
        let mut msg = sys::nmsghdr {
            msg_name: (&raw const *to).cast_mut().cast(),
            msg_namelen: size_of::<sys::sockaddr_in6>() as u32,
            msg_iov: ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: sys::MSG_DONTWAIT,
        };
        let mut left = mp.into_raw();
        let flags = sys::MSG_DONTWAIT;
        // SAFETY: the address is read only; the message is handed over, what is left comes back.
        let err = unsafe {
            sys::ksocket_sendmblk(self.ks, &raw mut msg, flags, &raw mut left, sys::kcred)
        };
        if err == 0 {
            return Ok(());
        }
        // SAFETY: what ksocket_sendmblk leaves is the caller's.
        Err((Errno(err), unsafe { Mblk::from_raw(left) }))
    }
}

impl<R: Receiver> Drop for KSocket<R> {
    fn drop(&mut self) {
        // SAFETY: open since `open`; afterwards no callback runs.
        unsafe { sys::ksocket_close(self.ks, sys::kcred) };
    }
}

unsafe extern "C" fn receive<R: Receiver>(
    _ks: sys::ksocket_t,
    chain: *mut sys::mblk_t,
    _bytes: usize,
    _oob: c_int,
    arg: *mut c_void,
) -> sys::boolean_t {
    // SAFETY: `start` gave the address of a receiver that outlives the socket.
    let receiver = unsafe { &*arg.cast_const().cast::<R>() };
    // SAFETY: the chain is ours now.
    receiver.receive(unsafe { MblkChain::from_raw(chain) });
    1
}
