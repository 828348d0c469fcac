// SPDX-License-Identifier: CDDL-1.0
//! What IP tells about its interfaces and packets: neti(9F), hooks.
//!
//! ```text
//!   Protocol ── interfaces, names, addresses          asked
//!   Hook ── NIC_EVENTS ──► NicEvents::event           told, from IP's own thread
//!        ── OBSERVING  ──► Observer::observe          told, from whatever moves the packet
//! ```
use crate::Errno;
use crate::mblk::Mblk;
use crate::mem::{KArc, KBox};
use core::ffi::{CStr, c_int, c_void};
use core::mem::ManuallyDrop;
use core::ptr::{self, NonNull};
use illumos_sys_hdrs as sys;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A name of a stack for neti.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetId(pub(crate) sys::netid_t);

impl NetId {
    /// That of a zone's stack; `None` when it is on its way out.
    pub fn of_zone(zone: i32) -> Option<NetId> {
        // SAFETY: no conditions.
        let id = unsafe { sys::net_zoneidtonetid(zone) };
        (id != -1).then_some(NetId(id))
    }
}

/// One IP of a stack.
pub struct Protocol {
    handle: NonNull<sys::net_data>,
    family: Family,
}

// SAFETY: neti locks what it uses.
unsafe impl Send for Protocol {}
// SAFETY: as above.
unsafe impl Sync for Protocol {}

/// Bytes of an interface's name with its NUL, `LIFNAMSIZ`.
pub const NAME_MAX: usize = 32;

/// An address that neti told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Of IPv4.
    V4([u8; 4]),
    /// Of IPv6.
    V6([u8; 16]),
}

/// Room for a socket address of any kind, aligned for it.
#[repr(C, align(8))]
struct SockAddr([u8; 256]);

impl Protocol {
    /// The IP of this family.
    pub fn lookup(net: NetId, family: Family) -> Option<Protocol> {
        let name = match family {
            Family::V4 => sys::NHF_INET,
            Family::V6 => sys::NHF_INET6,
        };
        // SAFETY: the name is read only.
        let handle = NonNull::new(unsafe { sys::net_protocol_lookup(net.0, name.as_ptr()) })?;
        Some(Protocol { handle, family })
    }

    /// Its family.
    pub fn family(&self) -> Family {
        self.family
    }

    /// Indices of its interfaces.
    pub fn interfaces(&self) -> impl Iterator<Item = usize> + '_ {
        let mut at = 0;
        core::iter::from_fn(move || {
            // SAFETY: held.
            at = unsafe { sys::net_phygetnext(self.handle.as_ptr(), at) };
            // -1: the stack is on its way out.
            (at != 0 && at != usize::MAX).then_some(at)
        })
    }

    /// Name of an interface, up to a NUL.
    pub fn name(&self, index: usize) -> Option<[u8; NAME_MAX]> {
        let mut name = [0; NAME_MAX];
        let to = name.as_mut_ptr().cast();
        // SAFETY: held; the name fits or is cut.
        let err = unsafe { sys::net_getifname(self.handle.as_ptr(), index, to, NAME_MAX) };
        (err == 0).then_some(name)
    }

    /// Ids of the addresses of an interface.
    pub fn addresses(&self, index: usize) -> impl Iterator<Item = isize> + '_ {
        let mut at = 0;
        core::iter::from_fn(move || {
            // SAFETY: held.
            at = unsafe { sys::net_lifgetnext(self.handle.as_ptr(), index, at) };
            (at != 0 && at != -1).then_some(at)
        })
    }

    /// Flags, `IFF_UP` and so on, of an address with those of its interface; 0 is the first address.
    pub fn flags(&self, index: usize, address: isize) -> Option<u64> {
        let mut flags = 0;
        // SAFETY: held.
        let err =
            unsafe { sys::net_getlifflags(self.handle.as_ptr(), index, address, &raw mut flags) };
        (err == 0).then_some(flags)
    }

    /// Zone of an address.
    pub fn zone(&self, index: usize, address: isize) -> Option<i32> {
        let mut zone = 0;
        // SAFETY: held.
        let err =
            unsafe { sys::net_getlifzone(self.handle.as_ptr(), index, address, &raw mut zone) };
        (err == 0).then_some(zone)
    }

    /// An address itself.
    pub fn address(&self, index: usize, address: isize) -> Option<Address> {
        self.ask(index, address, sys::NA_ADDRESS)
    }

    /// The broadcast address of its subnet.
    pub fn broadcast(&self, index: usize, address: isize) -> Option<Address> {
        self.ask(index, address, sys::NA_BROADCAST)
    }

    fn ask(&self, index: usize, address: isize, kind: u32) -> Option<Address> {
        let mut out = SockAddr([0; 256]);
        let (mut kind, to) = (kind, out.0.as_mut_ptr().cast());
        // SAFETY: held; there is room for one address of any kind.
        let err = unsafe {
            sys::net_getlifaddr(self.handle.as_ptr(), index, address, 1, &raw mut kind, to)
        };
        if err != 0 {
            return None;
        }
        let [f0, f1, ..] = out.0;
        match c_int::from(u16::from_ne_bytes([f0, f1])) {
            sys::AF_INET => Some(Address::V4(*out.0.get(4..)?.first_chunk()?)),
            sys::AF_INET6 => Some(Address::V6(*out.0.get(8..)?.first_chunk()?)),
            _ => None,
        }
    }
}

impl Drop for Protocol {
    fn drop(&mut self) {
        // SAFETY: held since `lookup`.
        unsafe { sys::net_protocol_release(self.handle.as_ptr()) };
    }
}

/// Something happened to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NicEvent {
    /// `NE_PLUMB` and so on.
    pub what: u32,
    /// The family that tells.
    pub family: Family,
    /// Index of the interface.
    pub index: usize,
}

/// Who wants to know what happens to interfaces.
pub trait NicEvents: Send + Sync + Sized + 'static {
    /// Called from a thread of IP's; must not sleep.
    fn event(this: &KArc<Self>, event: NicEvent);
}

/// Who wants to see packets.
pub trait Observer: Send + Sync + 'static {
    /// Called from whatever moves the packet, an interrupt's thread maybe; must not sleep.
    fn observe(&self, packet: &Observed<'_>);
}

/// A packet on show. IP goes on with it afterwards and counts on being the only one who has it.
pub struct Observed<'a> {
    header: &'a [u8; 24],
    whole: ManuallyDrop<Mblk>,
    packet: ManuallyDrop<Mblk>,
}

impl Observed<'_> {
    /// The header that IP puts in front, a `dl_ipnetinfo_t`.
    #[inline]
    pub fn header(&self) -> &[u8; 24] {
        self.header
    }

    /// Header and packet.
    #[inline]
    pub fn whole(&self) -> &Mblk {
        &self.whole
    }

    /// The packet, from its IP header on.
    #[inline]
    pub fn packet(&self) -> &Mblk {
        &self.packet
    }

    /// Calls `f` with the packet behind another header; `false` without memory for it.
    pub fn with_header(&self, header: &[u8; 24], f: impl FnOnce(&Mblk)) -> bool {
        let Some(front) = Mblk::copy_from(header, 0) else { return false };
        // SAFETY: the packet is lent to the new block, and taken back before that is freed.
        unsafe {
            (*front.as_ptr()).b_cont = self.packet.as_ptr();
            f(&front);
            (*front.as_ptr()).b_cont = ptr::null_mut();
        }
        true
    }
}

/// What a hook's argument names.
struct Target<T> {
    owner: KArc<T>,
    family: Family,
}

/// A hook on an event of a protocol. Its drop waits for calls under way.
pub struct Hook<T> {
    hook: NonNull<sys::hook_t>,
    event: &'static CStr,
    protocol: KArc<Protocol>,
    /// Held for the callback.
    _target: KBox<Target<T>>,
}

// SAFETY: only register and unregister happen through it, and neti locks.
unsafe impl<T: Send + Sync> Send for Hook<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Hook<T> {}

impl<T: NicEvents> Hook<T> {
    /// Has the owner told what happens to the protocol's interfaces. The name tells hooks apart.
    ///
    /// # Errors
    /// Those of net_hook_register(9F): the stack is on its way out.
    pub fn nic_events(
        protocol: &KArc<Protocol>,
        name: &'static CStr,
        owner: &KArc<T>,
    ) -> Result<Self, Errno> {
        Self::register(protocol, sys::NH_NIC_EVENTS, name, owner, nic_event::<T>)
    }
}

impl<T: Observer> Hook<T> {
    /// Has the owner shown the protocol's packets. The name tells hooks apart.
    ///
    /// # Errors
    /// Those of net_hook_register(9F): the stack is on its way out.
    pub fn observe(
        protocol: &KArc<Protocol>,
        name: &'static CStr,
        owner: &KArc<T>,
    ) -> Result<Self, Errno> {
        Self::register(protocol, sys::NH_OBSERVE, name, owner, observe::<T>)
    }
}

impl<T> Hook<T> {
    fn register(
        protocol: &KArc<Protocol>,
        event: &'static CStr,
        name: &'static CStr,
        owner: &KArc<T>,
        call: sys::hook_func_t,
    ) -> Result<Self, Errno> {
        let target = KBox::new(Target { owner: owner.clone(), family: protocol.family });
        // SAFETY: hook_alloc sleeps and never returns NULL; the hook is ours until freed, and what it
        // names lives as long.
        let (hook, err) = unsafe {
            let hook = NonNull::new_unchecked(sys::hook_alloc(sys::HOOK_VERSION));
            let h = hook.as_ptr();
            (*h).h_func = Some(call);
            (*h).h_name = name.as_ptr().cast_mut();
            (*h).h_arg = (&raw const *target).cast_mut().cast();
            let handle = protocol.handle.as_ptr();
            (hook, sys::net_hook_register(handle, event.as_ptr().cast_mut(), h))
        };
        match Errno::check(err) {
            Ok(()) => Ok(Hook { hook, event, protocol: protocol.clone(), _target: target }),
            Err(e) => {
                // SAFETY: not registered.
                unsafe { sys::hook_free(hook.as_ptr()) };
                Err(e)
            }
        }
    }
}

impl<T> Drop for Hook<T> {
    fn drop(&mut self) {
        let event = self.event.as_ptr().cast_mut();
        // SAFETY: registered, or so it was said: a stack on its way out may have kept nothing, and
        // then says here that it knows no such hook. Calls are over in either case.
        unsafe {
            sys::net_hook_unregister(self.protocol.handle.as_ptr(), event, self.hook.as_ptr());
            sys::hook_free(self.hook.as_ptr());
        }
    }
}

unsafe extern "C" fn nic_event<T: NicEvents>(
    _token: sys::hook_event_token_t,
    info: sys::hook_data_t,
    arg: *mut c_void,
) -> c_int {
    let info = ptr::with_exposed_provenance::<sys::hook_nic_event_t>(info);
    // SAFETY: `register` set the argument to a target that outlives the hook; neti hands over an
    // event.
    let (target, info) = unsafe { (&*arg.cast_const().cast::<Target<T>>(), &*info) };
    let (what, family, index) = (info.hne_event, target.family, info.hne_nic);
    T::event(&target.owner, NicEvent { what, family, index });
    0
}

unsafe extern "C" fn observe<T: Observer>(
    _token: sys::hook_event_token_t,
    info: sys::hook_data_t,
    arg: *mut c_void,
) -> c_int {
    let info = ptr::with_exposed_provenance::<sys::hook_pkt_observe_t>(info);
    // SAFETY: as above; IP hands over its record of a packet, of which 24 bytes are the header, and
    // lends the messages.
    let (target, header, whole, packet) = unsafe {
        let whole = (*info).hpo_pkt;
        let packet = if whole.is_null() { ptr::null_mut() } else { (*whole).b_cont };
        (
            &*arg.cast_const().cast::<Target<T>>(),
            &*info.cast::<[u8; 24]>(),
            Mblk::from_raw(whole).map(ManuallyDrop::new),
            Mblk::from_raw(packet).map(ManuallyDrop::new),
        )
    };
    if let (Some(whole), Some(packet)) = (whole, packet) {
        target.owner.observe(&Observed { header, whole, packet });
    }
    0
}
