// SPDX-License-Identifier: CDDL-1.0
//! The registry of encapsulation plugins, and the C edge to them (`sys/overlay_plugin.h`).
//!
//! A plugin stays as long as a link uses it: unregistering one in use is `EBUSY`. No lock is held
//! while a plugin runs.
use crate::overlay;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};
use ddi::mblk::Mblk;
use ddi::mem::{KArc, KBox, KVec, KmFlag, copy};
use ddi::sync::KMutex;
use ddi::{Errno, sys};
use overlay_abi::dld::{MAXLINKNAMELEN, OVERLAY_PROP_NAMELEN, OVERLAY_PROP_SIZEMAX};
use overlay_abi::encap::*;
use overlay_abi::props::Possible;
use overlay_abi::target::OVERLAY_PLUGIN_D_MASK;

/// Bytes of a socket address at most.
const SOCKADDR_MAX: usize = 256;

/// The functions of a plugin, checked to be there.
#[derive(Clone, Copy)]
struct Ops {
    init: overlay_plugin_init_t,
    fini: overlay_plugin_fini_t,
    encap: overlay_plugin_encap_t,
    decap: overlay_plugin_decap_t,
    socket: overlay_plugin_socket_t,
    sockopt: Option<overlay_plugin_sockopt_t>,
    getprop: overlay_plugin_getprop_t,
    setprop: overlay_plugin_setprop_t,
    propinfo: overlay_plugin_propinfo_t,
}

/// The name of a plugin's property, a C string in the plugin's memory.
#[derive(Clone, Copy)]
pub(crate) struct PropName(&'static CStr);

impl PropName {
    pub fn bytes(self) -> &'static [u8] {
        self.0.to_bytes()
    }
}

/// A registered plugin.
pub(crate) struct Plugin {
    name: [u8; MAXLINKNAMELEN],
    ops: Ops,
    props: KVec<PropName>,
    id_size: u32,
    flags: u32,
    dest: u32,
    users: AtomicUsize,
}

impl Plugin {
    /// Its name without the NUL.
    pub fn name(&self) -> &[u8] {
        self.name.split(|b| *b == 0).next().unwrap_or_default()
    }

    /// Its properties, in its order.
    pub fn props(&self) -> &[PropName] {
        &self.props
    }

    /// The largest virtual network id.
    pub fn max_vnetid(&self) -> u64 {
        u64::MAX >> 64u32.saturating_sub(self.id_size.saturating_mul(8))
    }

    /// Whether inner frames may carry VLAN tags.
    pub fn vlan(&self) -> bool {
        self.flags & OVEP_F_VLAN_TAG != 0
    }

    /// `OVERLAY_PLUGIN_D_*` bits of what it sends to.
    pub fn dest(&self) -> u32 {
        self.dest
    }

    /// Describes the property `name`.
    pub fn propinfo(&self, name: PropName) -> Result<KBox<PropInfo>, Errno> {
        let mut info = KBox::new(PropInfo::default());
        let handle = (&raw mut *info).cast();
        // SAFETY: a C string, and a handle that lives during the call.
        Errno::check(unsafe { (self.ops.propinfo)(name.0.as_ptr(), handle) })?;
        Ok(info)
    }

    /// Sets the plugin's options on a socket of its kind.
    pub fn sockopt(&self, socket: *mut c_void) -> Result<(), Errno> {
        match self.ops.sockopt {
            // SAFETY: an open socket.
            Some(f) => Errno::check(unsafe { f(socket) }),
            None => Ok(()),
        }
    }
}

/// The socket a link wants.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SocketSpec {
    pub domain: c_int,
    pub kind: c_int,
    pub protocol: c_int,
    addr: [u8; SOCKADDR_MAX],
    len: usize,
}

impl SocketSpec {
    /// The bytes of the sockaddr.
    pub fn addr(&self) -> &[u8] {
        self.addr.get(..self.len).unwrap_or_default()
    }
}

/// A link's use of a plugin: the plugin and what it keeps for the link.
pub(crate) struct Encap {
    private: *mut c_void,
    user: User,
}

// SAFETY: the plugin's functions may be called from any thread, in parallel.
unsafe impl Send for Encap {}
// SAFETY: as above.
unsafe impl Sync for Encap {}

impl Encap {
    /// Begins a use of the plugin `user` by the device at `dev`, an opaque handle to the plugin.
    pub fn new(user: User, dev: overlay_handle_t) -> Result<Self, Errno> {
        let mut private = ptr::null_mut();
        // SAFETY: the place for the private pointer lives during the call.
        Errno::check(unsafe { (user.0.ops.init)(dev, &raw mut private) })?;
        Ok(Encap { private, user })
    }

    pub fn plugin(&self) -> &KArc<Plugin> {
        &self.user.0
    }

    #[inline]
    fn ops(&self) -> &Ops {
        &self.user.0.ops
    }

    /// The frame with the header of `vnetid` in front.
    #[inline]
    pub fn encap(&self, frame: Mblk, vnetid: u64) -> Result<Mblk, (Errno, Mblk)> {
        let mut info = ovep_encap_info_t { ovdi_id: vnetid, ovdi_hdr_size: 0 };
        let mut out = ptr::null_mut();
        let mp = frame.as_ptr().cast();
        // SAFETY: the frame is the plugin's when it returns 0, and what it puts in `out` is ours
        // then.
        let err = unsafe { (self.ops().encap)(self.private, mp, &raw mut info, &raw mut out) };
        if err != 0 {
            return Err((Errno(err), frame));
        }
        // SAFETY: as above.
        match unsafe { Mblk::from_raw(out.cast()) } {
            Some(datagram) => {
                let _ = frame.into_raw();
                Ok(datagram)
            }
            None => Err((Errno::EINVAL, frame)),
        }
    }

    /// Virtual network and size of the header of a datagram.
    #[inline]
    pub fn decap(&self, datagram: &Mblk) -> Result<ovep_encap_info_t, Errno> {
        let mut info = ovep_encap_info_t { ovdi_id: 0, ovdi_hdr_size: 0 };
        let mp = datagram.as_ptr().cast();
        // SAFETY: the message is lent.
        Errno::check(unsafe { (self.ops().decap)(self.private, mp, &raw mut info) })?;
        Ok(info)
    }

    /// The socket the link wants.
    pub fn socket(&self) -> Result<KBox<SocketSpec>, Errno> {
        let mut spec = KBox::new(SocketSpec {
            domain: 0,
            kind: 0,
            protocol: 0,
            addr: [0; SOCKADDR_MAX],
            len: 0,
        });
        let mut len = SOCKADDR_MAX as c_uint;
        let (domain, kind) = (&raw mut spec.domain, &raw mut spec.kind);
        let (protocol, addr) = (&raw mut spec.protocol, spec.addr.as_mut_ptr().cast());
        // SAFETY: all places live during the call; the address has `len` bytes of room.
        let err = unsafe {
            (self.ops().socket)(self.private, domain, kind, protocol, addr, &raw mut len)
        };
        Errno::check(err)?;
        spec.len = len as usize;
        if spec.len > SOCKADDR_MAX { Err(Errno::EINVAL) } else { Ok(spec) }
    }

    /// The value of a property: its size in `buf`, 0 if it is not set.
    pub fn getprop(&self, name: PropName, buf: &mut [u8]) -> Result<u32, Errno> {
        let mut size = u32::try_from(buf.len()).map_err(|_| Errno::EINVAL)?;
        let p = buf.as_mut_ptr().cast();
        let name = name.0.as_ptr();
        // SAFETY: a C string and a buffer of `size` bytes.
        Errno::check(unsafe { (self.ops().getprop)(self.private, name, p, &raw mut size) })?;
        if size as usize > buf.len() { Err(Errno::EOVERFLOW) } else { Ok(size) }
    }

    /// Sets a property.
    pub fn setprop(&self, name: PropName, value: &[u8]) -> Result<(), Errno> {
        let size = u32::try_from(value.len()).map_err(|_| Errno::EINVAL)?;
        let (name, p) = (name.0.as_ptr(), value.as_ptr().cast());
        // SAFETY: a C string and a value of `size` bytes.
        Errno::check(unsafe { (self.ops().setprop)(self.private, name, p, size) })
    }
}

impl Drop for Encap {
    fn drop(&mut self) {
        // SAFETY: what `init` made, used no more.
        unsafe { (self.ops().fini)(self.private) };
    }
}

/// Keeps a plugin registered.
pub(crate) struct User(KArc<Plugin>);

impl User {
    pub fn plugin(&self) -> &Plugin {
        &self.0
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.0.users.fetch_sub(1, Ordering::Release);
    }
}

/// All plugins.
pub(crate) struct Registry(KMutex<KVec<KArc<Plugin>>>);

impl Registry {
    pub fn new() -> Self {
        Registry(KMutex::new(KVec::new()))
    }

    /// The plugin of this name, from the module directory `overlay` if it is not there yet.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn lookup(&self, name: &CStr) -> Result<User, Errno> {
        if let Some(user) = self.find(name) {
            return Ok(user);
        }
        ddi::module::load(c"overlay", name);
        self.find(name).ok_or(Errno::ENOENT)
    }

    fn find(&self, name: &CStr) -> Option<User> {
        let plugins = self.0.lock();
        let plugin = plugins.iter().find(|p| p.name() == name.to_bytes())?;
        plugin.users.fetch_add(1, Ordering::Acquire);
        Some(User(plugin.clone()))
    }

    /// Calls `f` with each plugin's name. The registry is locked meanwhile.
    pub fn for_each_name(&self, mut f: impl FnMut(&[u8])) {
        for plugin in self.0.lock().iter() {
            f(plugin.name());
        }
    }

    fn add(&self, plugin: Plugin) -> Result<(), Errno> {
        let plugin = KArc::new(plugin);
        let mut plugins = self.0.lock();
        if plugins.iter().any(|p| p.name() == plugin.name()) {
            return Err(Errno::EEXIST);
        }
        plugins.push(plugin, KmFlag::Sleep)
    }

    fn remove(&self, name: &CStr) -> Result<(), Errno> {
        let mut plugins = self.0.lock();
        let at = plugins.iter().position(|p| p.name() == name.to_bytes());
        let at = at.ok_or(Errno::ENOENT)?;
        if plugins.get(at).is_some_and(|p| p.users.load(Ordering::Acquire) != 0) {
            return Err(Errno::EBUSY);
        }
        plugins.remove(at);
        Ok(())
    }
}

/// What a plugin tells about a property; `overlay_prop_handle_t` points to one.
#[derive(Default)]
pub(crate) struct PropInfo {
    pub name: PropText,
    pub kind: u32,
    pub prot: u32,
    pub default: PropBytes,
    pub default_size: u32,
    pub possible: Possible,
}

/// A name with its NUL.
pub(crate) struct PropText(pub [u8; OVERLAY_PROP_NAMELEN]);
/// A value.
pub(crate) struct PropBytes(pub [u8; OVERLAY_PROP_SIZEMAX]);

impl Default for PropText {
    fn default() -> Self {
        PropText([0; OVERLAY_PROP_NAMELEN])
    }
}

impl Default for PropBytes {
    fn default() -> Self {
        PropBytes([0; OVERLAY_PROP_SIZEMAX])
    }
}

impl PropInfo {
    /// Sets the name, cut to 63 bytes.
    pub fn set_name(&mut self, name: &[u8]) {
        self.name = PropText::default();
        if let Some((_nul, room)) = self.name.0.split_last_mut() {
            copy(room, name);
        }
    }

    /// Sets the default.
    ///
    /// # Errors
    /// `E2BIG`: more than 256 bytes.
    pub fn set_default(&mut self, value: &[u8]) -> Result<(), Errno> {
        if value.len() > self.default.0.len() {
            return Err(Errno::E2BIG);
        }
        copy(&mut self.default.0, value);
        self.default_size = value.len() as u32;
        Ok(())
    }
}

/// # Safety
/// `reg` came from a plugin's call.
unsafe fn check(reg: *const overlay_plugin_register_t) -> Result<Plugin, Errno> {
    // SAFETY: NULL or a live registration.
    let reg = unsafe { reg.as_ref() }.ok_or(Errno::EINVAL)?;
    // SAFETY: NULL or a table that lives as long as the plugin is registered.
    let ops = unsafe { reg.ovep_ops.as_ref() }.ok_or(Errno::EINVAL)?;
    let name = reg.ovep_name;
    if reg.ovep_version != OVEP_VERSION || name.is_null() || reg.ovep_props.is_null() {
        return Err(Errno::EINVAL);
    }
    if reg.ovep_flags & !OVEP_F_VLAN_TAG != 0 || reg.ovep_id_size < 1 {
        return Err(Errno::EINVAL);
    }
    if reg.ovep_id_size > 8 {
        return Err(Errno::ENOTSUP);
    }
    let dest = reg.ovep_dest;
    if dest == 0 || dest & !OVERLAY_PLUGIN_D_MASK != 0 || ops.ovpo_callbacks != 0 {
        return Err(Errno::EINVAL);
    }
    let some = Errno::EINVAL;
    let ops = Ops {
        init: ops.ovpo_init.ok_or(some)?,
        fini: ops.ovpo_fini.ok_or(some)?,
        encap: ops.ovpo_encap.ok_or(some)?,
        decap: ops.ovpo_decap.ok_or(some)?,
        socket: ops.ovpo_socket.ok_or(some)?,
        sockopt: ops.ovpo_sockopt,
        getprop: ops.ovpo_getprop.ok_or(some)?,
        setprop: ops.ovpo_setprop.ok_or(some)?,
        propinfo: ops.ovpo_propinfo.ok_or(some)?,
    };
    // SAFETY: a C string.
    let text = unsafe { CStr::from_ptr(name) }.to_bytes();
    if text.is_empty() || text.len() >= MAXLINKNAMELEN {
        return Err(Errno::EINVAL);
    }
    let mut name = [0; MAXLINKNAMELEN];
    copy(&mut name, text);
    let mut props = KVec::new();
    let mut next = reg.ovep_props;
    loop {
        // SAFETY: the list ends with NULL, which was not reached yet.
        let prop = unsafe { *next };
        if prop.is_null() {
            break;
        }
        // SAFETY: a C string that lives as long as the plugin is registered, which no use of it
        // outlives.
        let prop = PropName(unsafe { CStr::from_ptr(prop) });
        if prop.bytes().len() >= OVERLAY_PROP_NAMELEN {
            return Err(Errno::EINVAL);
        }
        props.push(prop, KmFlag::Sleep)?;
        // SAFETY: as above.
        next = unsafe { next.add(1) };
    }
    let users = AtomicUsize::new(0);
    let (id_size, flags) = (reg.ovep_id_size, reg.ovep_flags);
    Ok(Plugin { name, ops, props, id_size, flags, dest, users })
}

/// A registration to fill in; NULL for a version other than 1. `overlay_plugin_alloc(9F)` of the
/// plugin interface.
#[unsafe(no_mangle)]
pub extern "C" fn overlay_plugin_alloc(version: c_uint) -> *mut overlay_plugin_register_t {
    if version != OVEP_VERSION {
        return ptr::null_mut();
    }
    let reg = KBox::new(overlay_plugin_register_t {
        ovep_version: OVEP_VERSION,
        ovep_name: ptr::null(),
        ovep_ops: ptr::null(),
        ovep_props: ptr::null(),
        ovep_id_size: 0,
        ovep_flags: 0,
        ovep_dest: 0,
    });
    reg.into_raw().as_ptr()
}

/// Frees a registration.
///
/// # Safety
/// `reg` came from [`overlay_plugin_alloc`], or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn overlay_plugin_free(reg: *mut overlay_plugin_register_t) {
    if let Some(reg) = NonNull::new(reg) {
        // SAFETY: by the caller's promise.
        drop(unsafe { KBox::from_raw(reg) });
    }
}

/// Registers a plugin. `EINVAL`, `ENOTSUP`, `EEXIST` as spec/varpd.md 9.8 says.
///
/// # Safety
/// `reg` came from [`overlay_plugin_alloc`], and what it points to lives until the plugin is
/// unregistered.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn overlay_plugin_register(reg: *mut overlay_plugin_register_t) -> c_int {
    // SAFETY: by the caller's promise.
    let plugin = unsafe { check(reg) };
    Errno::code(plugin.and_then(|p| overlay()?.plugins.add(p)))
}

/// Takes a plugin back. `ENOENT`; `EBUSY` while a link uses it.
///
/// # Safety
/// `name` is a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn overlay_plugin_unregister(name: *const c_char) -> c_int {
    if name.is_null() {
        return Errno::EINVAL.0;
    }
    // SAFETY: by the caller's promise.
    let name = unsafe { CStr::from_ptr(name) };
    Errno::code(overlay().and_then(|o| o.plugins.remove(name)))
}

/// # Safety
/// `handle` is what a plugin's ovpo_propinfo was called with, during that call.
unsafe fn info<'a>(handle: overlay_prop_handle_t) -> &'a mut PropInfo {
    // SAFETY: by the caller's promise.
    unsafe { &mut *handle.cast() }
}

/// Names the property; more than 63 bytes are cut.
///
/// # Safety
/// Called from ovpo_propinfo with its handle, and a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn overlay_prop_set_name(prop: overlay_prop_handle_t, name: *const c_char) {
    // SAFETY: by the caller's promise.
    unsafe { info(prop).set_name(CStr::from_ptr(name).to_bytes()) };
}

/// Says what may be done with it, `OVERLAY_PROP_PERM_*`.
///
/// # Safety
/// Called from ovpo_propinfo with its handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn overlay_prop_set_prot(prop: overlay_prop_handle_t, prot: c_uint) {
    // SAFETY: by the caller's promise.
    unsafe { info(prop).prot = prot };
}

/// Says what it is, `OVERLAY_PROP_T_*`.
///
/// # Safety
/// Called from ovpo_propinfo with its handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn overlay_prop_set_type(prop: overlay_prop_handle_t, kind: c_uint) {
    // SAFETY: by the caller's promise.
    unsafe { info(prop).kind = kind };
}

/// Sets the default. `E2BIG`: more than 256 bytes; `EOVERFLOW`: fewer than none.
///
/// # Safety
/// Called from ovpo_propinfo with its handle, and `size` bytes at `value`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn overlay_prop_set_default(
    prop: overlay_prop_handle_t,
    value: *mut c_void,
    size: isize,
) -> c_int {
    let Ok(size) = usize::try_from(size) else { return Errno::EOVERFLOW.0 };
    if size > OVERLAY_PROP_SIZEMAX {
        return Errno::E2BIG.0;
    }
    // SAFETY: by the caller's promise.
    let value = unsafe { core::slice::from_raw_parts(value.cast_const().cast(), size) };
    // SAFETY: by the caller's promise.
    Errno::code(unsafe { info(prop) }.set_default(value))
}

/// Says that there is no default.
///
/// # Safety
/// Called from ovpo_propinfo with its handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn overlay_prop_set_nodefault(prop: overlay_prop_handle_t) {
    // SAFETY: by the caller's promise.
    unsafe { info(prop) }.default_size = 0;
}

/// Adds a range of numbers it may be. One that does not fit is left out.
///
/// # Safety
/// Called from ovpo_propinfo with its handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn overlay_prop_set_range_uint32(
    prop: overlay_prop_handle_t,
    min: u32,
    max: u32,
) {
    // SAFETY: by the caller's promise.
    unsafe { info(prop) }.possible.add_range(min, max);
}

/// Adds a text it may be. One that does not fit is left out.
///
/// # Safety
/// Called from ovpo_propinfo with its handle, and a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn overlay_prop_set_range_str(
    prop: overlay_prop_handle_t,
    text: *const c_char,
) {
    // SAFETY: by the caller's promise.
    unsafe { info(prop).possible.add_str(CStr::from_ptr(text).to_bytes()) };
}

const _: () = assert!(size_of::<sys::sockaddr_in6>() <= SOCKADDR_MAX);
