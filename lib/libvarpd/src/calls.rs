// SPDX-License-Identifier: CDDL-1.0
//! Calls into a plugin: one method a function, and one place all of them go through, which tells
//! [`crash`](crate::crash) where the thread is.
//!
//! For all of them: `private` is what `vpo_create` or `vpo_restore` of this plugin made, not
//! destroyed since, and the caller holds a pass of its instance's gate, or is the one that makes or
//! destroys it. Pointers are valid as long as spec/varpd.md 5.2 says.
use crate::crash;
use crate::device::point_v1;
use crate::plugin::{Arp, Default, Dhcp, Lookup, Plugin, Versioned};
use crate::query::Pointers;
use overlay_abi::errno::Errno;
use overlay_abi::provider::*;
use overlay_abi::target::overlay_target_point_t;
use std::ffi::{CStr, c_void};

impl Plugin {
    fn call<R>(&self, callback: &'static str, run: impl FnOnce() -> R) -> R {
        crash::inside(self.name(), callback, run)
    }

    /// A call that returns an error number of the host, or something else that is not 0.
    fn check(&self, callback: &'static str, run: impl FnOnce() -> i32) -> Result<(), Errno> {
        match self.call(callback, run) {
            0 => Ok(()),
            code => Err(Errno::from_host(code)),
        }
    }

    /// Makes the object of an instance that serves destinations with the parts `dest`.
    ///
    /// # Safety
    /// The handle is the new instance's.
    pub(crate) unsafe fn create(
        &self,
        provider: *mut varpd_provider_handle_t,
        dest: u32,
    ) -> Result<*mut c_void, Errno> {
        let mut private = std::ptr::null_mut();
        // SAFETY: by contract, with a valid out pointer.
        self.check("vpo_create", || unsafe { (self.ops.create)(provider, &mut private, dest) })?;
        Ok(private)
    }

    /// Makes the object of an instance from what was saved.
    ///
    /// # Safety
    /// The handle is the new instance's, and nobody else uses the list.
    pub(crate) unsafe fn restore(
        &self,
        list: *mut nvlist_t,
        provider: *mut varpd_provider_handle_t,
        dest: u32,
    ) -> Result<*mut c_void, Errno> {
        let mut private = std::ptr::null_mut();
        // SAFETY: by contract, with a valid out pointer.
        let restore = || unsafe { (self.ops.restore)(list, provider, dest, &mut private) };
        self.check("vpo_restore", restore)?;
        Ok(private)
    }

    /// Puts the object's state into a list.
    ///
    /// # Safety
    /// The module's; the object is started, and nobody else uses the list.
    pub(crate) unsafe fn save(
        &self,
        private: *mut c_void,
        list: *mut nvlist_t,
    ) -> Result<(), Errno> {
        // SAFETY: by contract.
        self.check("vpo_save", || unsafe { (self.ops.save)(private, list) })
    }

    /// # Safety
    /// The module's; the object is not started.
    pub(crate) unsafe fn start(&self, private: *mut c_void) -> Result<(), Errno> {
        // SAFETY: by contract.
        self.check("vpo_start", || unsafe { (self.ops.start)(private) })
    }

    /// # Safety
    /// The module's; the object is started, and no lookup is running.
    pub(crate) unsafe fn stop(&self, private: *mut c_void) {
        // SAFETY: by contract.
        self.call("vpo_stop", || unsafe { (self.ops.stop)(private) });
    }

    /// # Safety
    /// The module's; the object is not started, and nothing is called with it afterwards.
    pub(crate) unsafe fn destroy(&self, private: *mut c_void) {
        // SAFETY: by contract.
        self.call("vpo_destroy", || unsafe { (self.ops.destroy)(private) });
    }

    /// Asks a plugin of point mode for its destination; `None` if it has none.
    ///
    /// # Safety
    /// The module's; the function is this plugin's and the object is started.
    pub(crate) unsafe fn default(
        &self,
        default: Default,
        private: *mut c_void,
    ) -> Option<overlay_target_point_t> {
        let mut point = zerocopy::FromZeros::new_zeroed();
        let mut point_v2 = zerocopy::FromZeros::new_zeroed();
        let action = self.call("vpo_default", || match default {
            // SAFETY: by contract, with a valid out pointer.
            Versioned::V1(default) => unsafe { default(private, &mut point) },
            // SAFETY: as above.
            Versioned::V2(default) => unsafe { default(private, &mut point_v2) },
        });
        if self.is_routed() {
            point = point_v1(&point_v2);
        }
        (action == VARPD_LOOKUP_OK).then_some(point)
    }

    /// Hands a query to a plugin of dynamic mode.
    ///
    /// # Safety
    /// The module's; the function is this plugin's, the object is started, and the pointers live
    /// until the reply.
    pub(crate) unsafe fn lookup(
        &self,
        lookup: Lookup,
        private: *mut c_void,
        query: *mut varpd_query_handle_t,
        p: Pointers,
    ) {
        self.call("vpo_lookup", || match lookup {
            // SAFETY: by contract.
            Versioned::V1(lookup) => unsafe { lookup(private, query, p.request, p.point) },
            // SAFETY: by contract.
            Versioned::V2(lookup) => unsafe {
                lookup(private, query, p.request_v2, p.point_v2, p.route, p.mac);
            },
        });
    }

    /// Asks a plugin whose Ethernet address belongs to an address.
    ///
    /// # Safety
    /// The module's; the function is this plugin's, the object is started, the pointers are those
    /// of a query and live until the reply, `mac` has room for 6 bytes.
    pub(crate) unsafe fn arp(
        &self,
        arp: Arp,
        private: *mut c_void,
        handle: *mut varpd_arp_handle_t,
        (address, vlan): (*const sockaddr, u16),
        mac: *mut u8,
    ) {
        const TYPE: i32 = VARPD_QTYPE_ETHERNET;
        self.call("vpo_arp", || match arp {
            // SAFETY: by contract.
            Versioned::V1(arp) => unsafe { arp(private, handle, TYPE, address, mac) },
            // SAFETY: by contract.
            Versioned::V2(arp) => unsafe { arp(private, handle, TYPE, address, vlan, mac) },
        });
    }

    /// Asks a plugin for the Ethernet address of the DHCP server for a frame.
    ///
    /// # Safety
    /// As [`Plugin::arp`].
    pub(crate) unsafe fn dhcp(
        &self,
        dhcp: Dhcp,
        private: *mut c_void,
        handle: *mut varpd_dhcp_handle_t,
        p: Pointers,
        mac: *mut u8,
    ) {
        const TYPE: i32 = VARPD_QTYPE_ETHERNET;
        self.call("vpo_dhcp", || match dhcp {
            // SAFETY: by contract.
            Versioned::V1(dhcp) => unsafe { dhcp(private, handle, TYPE, p.request, mac) },
            // SAFETY: by contract.
            Versioned::V2(dhcp) => unsafe { dhcp(private, handle, TYPE, p.request_v2, mac) },
        });
    }

    /// # Safety
    /// The module's.
    pub(crate) unsafe fn nprops(&self, private: *mut c_void) -> Result<u32, Errno> {
        let mut n = 0;
        // SAFETY: by contract, with a valid out pointer.
        self.check("vpo_nprops", || unsafe { (self.ops.nprops)(private, &mut n) })?;
        Ok(n)
    }

    /// # Safety
    /// The module's; the handle is known to our setters.
    pub(crate) unsafe fn propinfo(
        &self,
        private: *mut c_void,
        id: u32,
        prop: *mut varpd_prop_handle_t,
    ) -> Result<(), Errno> {
        // SAFETY: by contract.
        self.check("vpo_propinfo", || unsafe { (self.ops.propinfo)(private, id, prop) })
    }

    /// The size the plugin says, which may be more than there is room for in `value`.
    ///
    /// # Safety
    /// The module's.
    pub(crate) unsafe fn getprop(
        &self,
        private: *mut c_void,
        name: &CStr,
        value: &mut [u8],
    ) -> Result<u32, Errno> {
        let mut size = u32::try_from(value.len()).unwrap_or(u32::MAX);
        let (name, value) = (name.as_ptr(), value.as_mut_ptr().cast());
        // SAFETY: by contract, with a C string and a buffer of `size` bytes.
        let get = || unsafe { (self.ops.getprop)(private, name, value, &mut size) };
        self.check("vpo_getprop", get)?;
        Ok(size)
    }

    /// What there is to say of the object, in JSON as the plugin wrote it. `EOVERFLOW` above 1 MiB.
    ///
    /// # Safety
    /// The module's; the function is this plugin's.
    pub(crate) unsafe fn report(
        &self,
        report: varpd_plugin_report_f,
        private: *mut c_void,
    ) -> Result<Vec<u8>, Errno> {
        const MOST: u32 = 1 << 20;
        let mut text = vec![0u8; 4096];
        loop {
            let room = text.len() as u32;
            let mut size = room;
            let put = text.as_mut_ptr().cast();
            // SAFETY: by contract, with a buffer of `size` bytes.
            let result = self.check("the reporter", || unsafe { report(private, put, &mut size) });
            match result {
                Ok(()) if size <= room => {
                    text.truncate(size as usize);
                    return Ok(text);
                }
                // It may have grown once more when it is asked again.
                Err(Errno::EOVERFLOW) if size > room && size <= MOST => {
                    text.resize(size.saturating_mul(2).min(MOST) as usize, 0);
                }
                Err(e) => return Err(e),
                Ok(()) => return Err(Errno::EOVERFLOW),
            }
        }
    }

    /// # Safety
    /// The module's; the value is at most 256 bytes.
    pub(crate) unsafe fn setprop(
        &self,
        private: *mut c_void,
        name: &CStr,
        value: &[u8],
    ) -> Result<(), Errno> {
        let (name, size) = (name.as_ptr(), value.len() as u32);
        let value = value.as_ptr().cast();
        // SAFETY: by contract, with a C string and `size` bytes.
        self.check("vpo_setprop", || unsafe { (self.ops.setprop)(private, name, value, size) })
    }
}
