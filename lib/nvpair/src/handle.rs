// SPDX-License-Identifier: CDDL-1.0
//! The list that is handed to a plugin.

pub use imp::Handle;

/// Where there is no libnvpair: our own list, which `cabi` works on.
#[cfg(not(target_os = "illumos"))]
mod imp {
    use crate::{Error, List};
    use overlay_abi::provider::nvlist_t;

    /// A list that a plugin may fill or read with the C functions.
    #[derive(Debug)]
    pub struct Handle(Box<List>);

    impl Handle {
        /// With what is in a list.
        ///
        /// # Errors
        /// On illumos, those of libnvpair.
        pub fn from_list(list: &List) -> Result<Handle, Error> {
            Ok(Handle(Box::new(list.clone())))
        }

        /// What is in it.
        ///
        /// # Errors
        /// On illumos, those of libnvpair.
        pub fn to_list(&self) -> Result<List, Error> {
            Ok((*self.0).clone())
        }

        /// What a plugin sees. It may be used until the handle is used again or dropped.
        pub fn as_ptr(&mut self) -> *mut nvlist_t {
            std::ptr::from_mut::<List>(&mut self.0).cast()
        }
    }
}

/// A list of the system's libnvpair.
#[cfg(target_os = "illumos")]
mod imp {
    use crate::{Encoding, Error, List};
    use overlay_abi::errno::Errno;
    use overlay_abi::provider::nvlist_t;
    use std::ffi::{c_char, c_int, c_void};
    use std::ptr::{NonNull, null_mut};

    #[link(name = "nvpair")]
    unsafe extern "C" {
        fn nvlist_free(list: *mut nvlist_t);
        fn nvlist_pack(
            list: *mut nvlist_t,
            buf: *mut *mut c_char,
            size: *mut usize,
            encoding: c_int,
            flag: c_int,
        ) -> c_int;
        fn nvlist_unpack(
            buf: *mut c_char,
            size: usize,
            list: *mut *mut nvlist_t,
            flag: c_int,
        ) -> c_int;
    }

    unsafe extern "C" {
        fn free(memory: *mut c_void);
    }

    /// A list that a plugin may fill or read with the C functions.
    #[derive(Debug)]
    pub struct Handle(NonNull<nvlist_t>);

    fn check(code: c_int) -> Result<(), Error> {
        if code == 0 { Ok(()) } else { Err(Error::System(Errno::from_host(code))) }
    }

    impl Handle {
        /// With what is in a list.
        ///
        /// # Errors
        /// Those of packing, and of libnvpair.
        pub fn from_list(list: &List) -> Result<Handle, Error> {
            let mut packed = list.pack(Encoding::Xdr)?;
            let mut out = null_mut();
            // SAFETY: the buffer has that many bytes, which libnvpair reads, and `out` is writable.
            // It lies at a multiple of four, as XDR wants: every allocator gives at least that.
            check(unsafe { nvlist_unpack(packed.as_mut_ptr().cast(), packed.len(), &mut out, 0) })?;
            NonNull::new(out).map(Handle).ok_or(Error::System(Errno::ENOMEM))
        }

        /// What is in it.
        ///
        /// # Errors
        /// Those of unpacking, and of libnvpair.
        pub fn to_list(&self) -> Result<List, Error> {
            let (mut buf, mut size) = (null_mut::<c_char>(), 0);
            let (encoding, list) = (Encoding::Xdr as c_int, self.0.as_ptr());
            // SAFETY: a live list, and a NULL that is to become a new buffer.
            check(unsafe { nvlist_pack(list, &mut buf, &mut size, encoding, 0) })?;
            // SAFETY: the buffer that libnvpair made, of that size.
            let result =
                List::unpack(unsafe { std::slice::from_raw_parts(buf.cast::<u8>(), size) });
            // SAFETY: made by malloc in libnvpair (nv_alloc_nosleep of a process), used no more.
            unsafe { free(buf.cast()) };
            result
        }

        /// What a plugin sees. It may be used until the handle is used again or dropped.
        pub fn as_ptr(&mut self) -> *mut nvlist_t {
            self.0.as_ptr()
        }
    }

    impl Drop for Handle {
        fn drop(&mut self) {
            // SAFETY: made by nvlist_unpack, freed here only.
            unsafe { nvlist_free(self.0.as_ptr()) };
        }
    }
}
