// SPDX-License-Identifier: CDDL-1.0
//! Functions and data of the kernel, grouped by the module that provides them.
#![allow(missing_docs, non_upper_case_globals)]

use crate::types::*;
use core::ffi::{c_char, c_int, c_void};

// unix and genunix: memory, locks, time
unsafe extern "C" {
    pub fn kmem_alloc(size: usize, flag: c_int) -> *mut c_void;
    pub fn kmem_zalloc(size: usize, flag: c_int) -> *mut c_void;
    pub fn kmem_free(buf: *mut c_void, size: usize);
    pub fn kmem_cache_create(
        name: *const c_char,
        bufsize: usize,
        align: usize,
        ctor: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, c_int) -> c_int>,
        dtor: Option<unsafe extern "C" fn(*mut c_void, *mut c_void)>,
        reclaim: Option<unsafe extern "C" fn(*mut c_void)>,
        private: *mut c_void,
        vmp: *mut vmem_t,
        cflags: c_int,
    ) -> *mut kmem_cache_t;
    pub fn kmem_cache_destroy(cp: *mut kmem_cache_t);
    pub fn kmem_cache_alloc(cp: *mut kmem_cache_t, flag: c_int) -> *mut c_void;
    pub fn kmem_cache_free(cp: *mut kmem_cache_t, buf: *mut c_void);

    pub fn mutex_init(m: *mut kmutex_t, name: *const c_char, kind: c_int, arg: *mut c_void);
    pub fn mutex_destroy(m: *mut kmutex_t);
    pub fn mutex_enter(m: *mut kmutex_t);
    pub fn mutex_tryenter(m: *mut kmutex_t) -> c_int;
    pub fn mutex_exit(m: *mut kmutex_t);
    pub fn mutex_owned(m: *const kmutex_t) -> c_int;
    pub fn rw_init(l: *mut krwlock_t, name: *const c_char, kind: c_int, arg: *mut c_void);
    pub fn rw_destroy(l: *mut krwlock_t);
    pub fn rw_enter(l: *mut krwlock_t, how: c_int);
    pub fn rw_tryenter(l: *mut krwlock_t, how: c_int) -> c_int;
    pub fn rw_exit(l: *mut krwlock_t);
    pub fn cv_init(cv: *mut kcondvar_t, name: *const c_char, kind: c_int, arg: *mut c_void);
    pub fn cv_destroy(cv: *mut kcondvar_t);
    pub fn cv_wait(cv: *mut kcondvar_t, m: *mut kmutex_t);
    /// `deadline` in ticks since boot, absolute. -1 when it has passed.
    pub fn cv_timedwait(cv: *mut kcondvar_t, m: *mut kmutex_t, deadline: clock_t) -> clock_t;
    /// As cv_wait; 0 when a signal came.
    pub fn cv_wait_sig(cv: *mut kcondvar_t, m: *mut kmutex_t) -> c_int;
    /// As cv_timedwait; 0 when a signal came.
    pub fn cv_timedwait_sig(cv: *mut kcondvar_t, m: *mut kmutex_t, deadline: clock_t) -> clock_t;
    pub fn cv_signal(cv: *mut kcondvar_t);
    pub fn cv_broadcast(cv: *mut kcondvar_t);

    pub fn gethrtime() -> hrtime_t;
    pub fn gethrestime(now: *mut timespec_t);
    pub fn ddi_get_lbolt() -> clock_t;
    pub fn drv_usectohz(us: clock_t) -> clock_t;
    pub fn drv_hztousec(ticks: clock_t) -> clock_t;
    /// Calls `f(arg)` once, so many ticks from now, from a thread that must not sleep for long. The
    /// id is for untimeout.
    pub fn timeout(
        f: unsafe extern "C" fn(*mut c_void),
        arg: *mut c_void,
        ticks: clock_t,
    ) -> *mut c_void;
    /// Waits for a call that is running. -1: it has run already; else the ticks that were left.
    pub fn untimeout(id: *mut c_void) -> clock_t;
    pub fn cmn_err(level: c_int, format: *const c_char, ...);
    pub fn panic(format: *const c_char, ...) -> !;
    pub fn assfail(expr: *const c_char, file: *const c_char, line: c_int) -> c_int;
}

// genunix: STREAMS messages
unsafe extern "C" {
    pub fn allocb(size: usize, pri: u32) -> *mut mblk_t;
    pub fn freeb(mp: *mut mblk_t);
    pub fn freemsg(mp: *mut mblk_t);
    pub fn freemsgchain(mp: *mut mblk_t);
    pub fn copyb(mp: *mut mblk_t) -> *mut mblk_t;
    pub fn copymsg(mp: *mut mblk_t) -> *mut mblk_t;
    pub fn dupb(mp: *mut mblk_t) -> *mut mblk_t;
    pub fn dupmsg(mp: *mut mblk_t) -> *mut mblk_t;
    /// A copy of the message with its first `len` bytes (-1: all) in one block. The original stays.
    pub fn msgpullup(mp: *mut mblk_t, len: isize) -> *mut mblk_t;
    pub fn pullupmsg(mp: *mut mblk_t, len: isize) -> c_int;
    /// Trims from the front (`len` > 0) or the end (`len` < 0). 1 on success.
    pub fn adjmsg(mp: *mut mblk_t, len: isize) -> c_int;
    pub fn msgsize(mp: *mut mblk_t) -> usize;
    pub fn msgdsize(mp: *mut mblk_t) -> usize;
    pub fn linkb(mp: *mut mblk_t, tail: *mut mblk_t);
}

// genunix, unix: STREAMS queues. A queue is one side of a driver's or module's pair.
unsafe extern "C" {
    /// Each of a pair from either: the read side, the write side, the other.
    pub fn RD(q: *mut queue_t) -> *mut queue_t;
    pub fn WR(q: *mut queue_t) -> *mut queue_t;
    pub fn OTHERQ(q: *mut queue_t) -> *mut queue_t;
    /// Calls the put procedure of `q` with a message, which is its own.
    pub fn put(q: *mut queue_t, mp: *mut mblk_t);
    /// The same for the queue after `q`.
    pub fn putnext(q: *mut queue_t, mp: *mut mblk_t);
    /// putnext on the other side of the pair.
    pub fn qreply(q: *mut queue_t, mp: *mut mblk_t);
    /// Whether `q`, or the next one with a service procedure after it, has room. If it has not, the
    /// queue that asked is enabled once it has.
    pub fn canput(q: *mut queue_t) -> c_int;
    /// The same from the queue after `q`.
    pub fn canputnext(q: *mut queue_t) -> c_int;
    /// Appends and enables the service procedure. 1; 0: the caller keeps the message.
    pub fn putq(q: *mut queue_t, mp: *mut mblk_t) -> c_int;
    /// Puts a message back at the head; enables nothing, unless it is of high priority.
    pub fn putbq(q: *mut queue_t, mp: *mut mblk_t) -> c_int;
    pub fn getq(q: *mut queue_t) -> *mut mblk_t;
    /// FLUSHDATA: messages of data types go, FLUSHALL: all.
    pub fn flushq(q: *mut queue_t, flag: c_int);
    pub fn qenable(q: *mut queue_t);
    pub fn noenable(q: *mut queue_t);
    pub fn enableok(q: *mut queue_t);
    /// In open: put and service procedures may run from now on.
    pub fn qprocson(q: *mut queue_t);
    /// In close: returns when none runs, and none will.
    pub fn qprocsoff(q: *mut queue_t);
    /// A message of a type (and one byte) to the next queue. 0: no memory.
    pub fn putnextctl(q: *mut queue_t, kind: c_int) -> c_int;
    pub fn putnextctl1(q: *mut queue_t, kind: c_int, byte: c_int) -> c_int;
    pub fn miocnak(q: *mut queue_t, mp: *mut mblk_t, count: c_int, errno: c_int);
    pub fn miocack(q: *mut queue_t, mp: *mut mblk_t, count: c_int, rval: c_int);
    /// Makes an M_COPYIN of an M_IOCTL or M_IOCDATA, to be sent with qreply. `addr` NULL: the
    /// ioctl's own argument.
    pub fn mcopyin(mp: *mut mblk_t, private: *mut c_void, size: usize, addr: *mut c_void);
    /// A message of `size` bytes and a type, `mp` itself if it will do; `primitive` becomes its
    /// first word unless -1. NULL: M_ERROR was sent, `mp` is freed.
    pub fn mexchange(
        q: *mut queue_t,
        mp: *mut mblk_t,
        size: usize,
        kind: u8,
        primitive: i32,
    ) -> *mut mblk_t;
    pub fn dlokack(q: *mut queue_t, mp: *mut mblk_t, primitive: u32);
    pub fn dlerrorack(
        q: *mut queue_t,
        mp: *mut mblk_t,
        primitive: u32,
        error: u32,
        unix_errno: u32,
    );
    pub fn dlbindack(
        q: *mut queue_t,
        mp: *mut mblk_t,
        sap: i32,
        addr: *const c_void,
        addr_len: u32,
        max_conind: u32,
        xidtest: u32,
    );
}

// genunix: network stacks and their zones
unsafe extern "C" {
    /// `create` runs for each stack there is and each that comes, `shutdown` when its zone halts,
    /// `destroy` when it goes. One module for each NS_ number.
    pub fn netstack_register(
        module: c_int,
        create: Option<netstack_create_f>,
        shutdown: Option<netstack_end_f>,
        destroy: Option<netstack_end_f>,
    );
    /// Runs `shutdown` and `destroy` for all stacks.
    pub fn netstack_unregister(module: c_int);
    /// These hold what they return; NULL: it is not there, or going.
    pub fn netstack_find_by_cred(cr: *const cred_t) -> *mut netstack_t;
    pub fn netstack_find_by_stackid(id: netstackid_t) -> *mut netstack_t;
    pub fn netstack_find_by_zoneid(zone: zoneid_t) -> *mut netstack_t;
    pub fn netstack_rele(ns: *mut netstack_t);
    pub fn netstack_next_init(cursor: *mut netstack_handle_t);
    pub fn netstack_next(cursor: *mut netstack_handle_t) -> *mut netstack_t;
    pub fn netstack_next_fini(cursor: *mut netstack_handle_t);
    pub fn netstack_get_zoneid(ns: *mut netstack_t) -> zoneid_t;
    pub fn netstackid_to_zoneid(id: netstackid_t) -> zoneid_t;
    pub fn zoneid_to_netstackid(zone: zoneid_t) -> netstackid_t;
    /// Not 0 where Trusted Extensions label everything.
    pub static sys_labeling: c_int;
}

// misc/neti, misc/hook
unsafe extern "C" {
    pub fn net_zoneidtonetid(zone: zoneid_t) -> netid_t;
    /// Holds the protocol; NULL: no such, or the stack is going.
    pub fn net_protocol_lookup(id: netid_t, name: *const c_char) -> net_handle_t;
    pub fn net_protocol_release(h: net_handle_t) -> c_int;
    /// The interface after `phy`, from 0; 0: no more; -1: the protocol is gone.
    pub fn net_phygetnext(h: net_handle_t, phy: phy_if_t) -> phy_if_t;
    /// The same among the addresses of an interface.
    pub fn net_lifgetnext(h: net_handle_t, phy: phy_if_t, lif: lif_if_t) -> lif_if_t;
    /// These return 0, or not.
    pub fn net_getifname(h: net_handle_t, phy: phy_if_t, buf: *mut c_char, len: usize) -> c_int;
    /// `out`: an array of `n` `sockaddr_in` or `sockaddr_in6`, by the protocol.
    pub fn net_getlifaddr(
        h: net_handle_t,
        phy: phy_if_t,
        lif: lif_if_t,
        n: c_int,
        kinds: *mut u32,
        out: *mut c_void,
    ) -> c_int;
    pub fn net_getlifflags(h: net_handle_t, phy: phy_if_t, lif: lif_if_t, flags: *mut u64)
    -> c_int;
    pub fn net_getlifzone(
        h: net_handle_t,
        phy: phy_if_t,
        lif: lif_if_t,
        zone: *mut zoneid_t,
    ) -> zoneid_t;
    pub fn net_hook_register(h: net_handle_t, event: *mut c_char, hook: *mut hook_t) -> c_int;
    /// Waits for calls of the hook that run. By the pointer it was registered with.
    pub fn net_hook_unregister(h: net_handle_t, event: *mut c_char, hook: *mut hook_t) -> c_int;
    pub fn net_kstat_create(
        id: netid_t,
        module: *mut c_char,
        instance: c_int,
        name: *mut c_char,
        class: *mut c_char,
        kind: u8,
        ndata: u64,
        flags: u8,
    ) -> *mut kstat_t;
    pub fn net_kstat_delete(id: netid_t, ks: *mut kstat_t);
    pub fn hook_alloc(version: c_int) -> *mut hook_t;
    pub fn hook_free(hook: *mut hook_t);
}

// drv/ip
unsafe extern "C" {
    pub fn ip_join_allmulti(ifindex: u32, isv6: boolean_t, stack: *mut ip_stack_t) -> c_int;
    pub fn ip_leave_allmulti(ifindex: u32, isv6: boolean_t, stack: *mut ip_stack_t) -> c_int;
}

// genunix: lists, trees, ids
unsafe extern "C" {
    pub static crc32_table: [u32; 256];
    pub fn list_create(l: *mut list_t, size: usize, offset: usize);
    pub fn list_destroy(l: *mut list_t);
    pub fn list_insert_head(l: *mut list_t, obj: *mut c_void);
    pub fn list_insert_tail(l: *mut list_t, obj: *mut c_void);
    pub fn list_insert_before(l: *mut list_t, at: *mut c_void, obj: *mut c_void);
    pub fn list_insert_after(l: *mut list_t, at: *mut c_void, obj: *mut c_void);
    pub fn list_remove(l: *mut list_t, obj: *mut c_void);
    pub fn list_remove_head(l: *mut list_t) -> *mut c_void;
    pub fn list_remove_tail(l: *mut list_t) -> *mut c_void;
    pub fn list_head(l: *mut list_t) -> *mut c_void;
    pub fn list_tail(l: *mut list_t) -> *mut c_void;
    pub fn list_next(l: *mut list_t, obj: *mut c_void) -> *mut c_void;
    pub fn list_prev(l: *mut list_t, obj: *mut c_void) -> *mut c_void;
    pub fn list_is_empty(l: *mut list_t) -> c_int;
    pub fn list_link_init(n: *mut list_node_t);
    pub fn list_link_active(n: *mut list_node_t) -> c_int;
    pub fn list_move_tail(dst: *mut list_t, src: *mut list_t);

    pub fn avl_create(t: *mut avl_tree_t, cmp: avl_compar_f, size: usize, offset: usize);
    pub fn avl_destroy(t: *mut avl_tree_t);
    pub fn avl_find(t: *mut avl_tree_t, key: *const c_void, at: *mut avl_index_t) -> *mut c_void;
    pub fn avl_insert(t: *mut avl_tree_t, obj: *mut c_void, at: avl_index_t);
    pub fn avl_add(t: *mut avl_tree_t, obj: *mut c_void);
    pub fn avl_remove(t: *mut avl_tree_t, obj: *mut c_void);
    pub fn avl_first(t: *mut avl_tree_t) -> *mut c_void;
    pub fn avl_last(t: *mut avl_tree_t) -> *mut c_void;
    /// direction 0 is before, 1 after.
    pub fn avl_nearest(t: *mut avl_tree_t, at: avl_index_t, direction: c_int) -> *mut c_void;
    /// direction 0 is left (smaller), 1 right.
    pub fn avl_walk(t: *mut avl_tree_t, obj: *mut c_void, direction: c_int) -> *mut c_void;
    pub fn avl_numnodes(t: *mut avl_tree_t) -> u64;
    pub fn avl_destroy_nodes(t: *mut avl_tree_t, cookie: *mut *mut c_void) -> *mut c_void;

    pub fn refhash_create(
        buckets: u32,
        hash: refhash_hash_f,
        cmp: refhash_cmp_f,
        dtor: Option<refhash_dtor_f>,
        size: usize,
        link_off: usize,
        tag_off: usize,
        km: c_int,
    ) -> *mut refhash_t;
    pub fn refhash_destroy(h: *mut refhash_t);
    pub fn refhash_insert(h: *mut refhash_t, obj: *mut c_void);
    pub fn refhash_remove(h: *mut refhash_t, obj: *mut c_void);
    pub fn refhash_lookup(h: *mut refhash_t, tag: *const c_void) -> *mut c_void;
    pub fn refhash_hold(h: *mut refhash_t, obj: *mut c_void);
    pub fn refhash_rele(h: *mut refhash_t, obj: *mut c_void);
    pub fn refhash_first(h: *mut refhash_t) -> *mut c_void;
    pub fn refhash_next(h: *mut refhash_t, obj: *mut c_void) -> *mut c_void;

    pub fn id_space_create(name: *const c_char, low: id_t, high: id_t) -> *mut id_space_t;
    pub fn id_space_destroy(s: *mut id_space_t);
    pub fn id_alloc(s: *mut id_space_t) -> id_t;
    pub fn id_alloc_nosleep(s: *mut id_space_t) -> id_t;
    pub fn id_free(s: *mut id_space_t, id: id_t);
    pub fn u8_validate(
        s: *mut c_char,
        n: usize,
        list: *mut *mut c_char,
        flag: c_int,
        errnum: *mut c_int,
    ) -> c_int;
}

// genunix: modules, devices, credentials, kstats
unsafe extern "C" {
    pub static mod_driverops: mod_ops;
    pub static mod_miscops: mod_ops;
    pub static kcred: *mut cred_t;
    pub fn mod_install(l: *const modlinkage) -> c_int;
    pub fn mod_remove(l: *const modlinkage) -> c_int;
    pub fn mod_info(l: *const modlinkage, m: *mut modinfo) -> c_int;
    pub fn modload(subdir: *const c_char, name: *const c_char) -> c_int;

    pub fn ddi_copyin(from: *const c_void, to: *mut c_void, len: usize, flags: c_int) -> c_int;
    pub fn ddi_copyout(from: *const c_void, to: *mut c_void, len: usize, flags: c_int) -> c_int;
    pub fn ddi_model_convert_from(m: model_t) -> model_t;
    pub fn ddi_create_minor_node(
        dip: *mut dev_info_t,
        name: *const c_char,
        spec: c_int,
        minor: minor_t,
        node_type: *const c_char,
        flag: c_int,
    ) -> c_int;
    pub fn ddi_remove_minor_node(dip: *mut dev_info_t, name: *const c_char);
    pub fn ddi_name_to_major(name: *mut c_char) -> major_t;
    pub fn ddi_taskq_create(
        dip: *mut dev_info_t,
        name: *const c_char,
        threads: c_int,
        pri: i16,
        flags: u32,
    ) -> *mut ddi_taskq_t;
    /// Waits for what was dispatched.
    pub fn ddi_taskq_destroy(tq: *mut ddi_taskq_t);
    /// DDI_FAILURE only with DDI_NOSLEEP.
    pub fn ddi_taskq_dispatch(
        tq: *mut ddi_taskq_t,
        f: unsafe extern "C" fn(*mut c_void),
        arg: *mut c_void,
        flags: u32,
    ) -> c_int;
    pub fn ddi_get_instance(dip: *mut dev_info_t) -> c_int;
    pub fn ddi_fm_init(dip: *mut dev_info_t, cap: *mut c_int, ibc: *mut ddi_iblock_cookie_t);
    pub fn ddi_fm_fini(dip: *mut dev_info_t);
    pub fn ddi_fm_service_impact(dip: *mut dev_info_t, impact: c_int);
    pub fn ddi_soft_state_init(state: *mut *mut c_void, size: usize, nitems: usize) -> c_int;
    pub fn ddi_soft_state_fini(state: *mut *mut c_void);
    pub fn ddi_soft_state_zalloc(state: *mut c_void, item: c_int) -> c_int;
    pub fn ddi_get_soft_state(state: *mut c_void, item: c_int) -> *mut c_void;
    pub fn ddi_soft_state_free(state: *mut c_void, item: c_int);
    pub fn ddi_prop_op(
        dev: dev_t,
        dip: *mut dev_info_t,
        op: c_int,
        flags: c_int,
        name: *mut c_char,
        value: *mut c_char,
        length: *mut c_int,
    ) -> c_int;
    pub fn ddi_quiesce_not_supported(dip: *mut dev_info_t) -> c_int;
    pub fn nodev() -> c_int;
    pub fn nulldev() -> c_int;
    pub fn nochpoll(
        dev: dev_t,
        events: i16,
        anyyet: c_int,
        revents: *mut i16,
        php: *mut *mut pollhead,
    ) -> c_int;
    pub fn getmajor(dev: dev_t) -> major_t;
    pub fn getminor(dev: dev_t) -> minor_t;
    pub fn makedevice(major: major_t, minor: minor_t) -> dev_t;
    pub fn crgetzoneid(cr: *const cred_t) -> zoneid_t;
    pub fn secpolicy_dl_config(cr: *const cred_t) -> c_int;

    pub fn kstat_create(
        module: *const c_char,
        instance: c_int,
        name: *const c_char,
        class: *const c_char,
        kind: u8,
        ndata: u32,
        flags: u8,
    ) -> *mut kstat_t;
    pub fn kstat_install(ks: *mut kstat_t);
    pub fn kstat_delete(ks: *mut kstat_t);
    pub fn kstat_named_init(kn: *mut kstat_named_t, name: *const c_char, kind: u8);
}

// misc/mac
unsafe extern "C" {
    pub fn mac_init_ops(ops: *mut dev_ops, name: *const c_char);
    pub fn mac_fini_ops(ops: *mut dev_ops);
    pub fn mac_alloc(version: u32) -> *mut mac_register_t;
    pub fn mac_free(r: *mut mac_register_t);
    pub fn mac_register(r: *mut mac_register_t, mh: *mut mac_handle_t) -> c_int;
    pub fn mac_disable(mh: mac_handle_t) -> c_int;
    pub fn mac_unregister(mh: mac_handle_t) -> c_int;
    pub fn mac_rx(mh: mac_handle_t, mrh: mac_resource_handle_t, chain: *mut mblk_t);
    pub fn mac_tx_update(mh: mac_handle_t);
    pub fn mac_link_update(mh: mac_handle_t, state: link_state_t);
    pub fn mac_maxsdu_update(mh: mac_handle_t, sdu: u32) -> c_int;
    pub fn mac_sdu_get(mh: mac_handle_t, min: *mut u32, max: *mut u32);
    pub fn mac_header_info(
        mh: mac_handle_t,
        mp: *mut mblk_t,
        info: *mut mac_header_info_t,
    ) -> c_int;
    pub fn mac_vlan_header_info(
        mh: mac_handle_t,
        mp: *mut mblk_t,
        info: *mut mac_header_info_t,
    ) -> c_int;
    pub fn mac_perim_enter_by_mh(mh: mac_handle_t, mph: *mut mac_perim_handle_t);
    pub fn mac_perim_exit(mph: mac_perim_handle_t);
    pub fn mac_perim_held(mh: mac_handle_t) -> boolean_t;
    pub fn mac_prop_info(
        mh: mac_handle_t,
        id: mac_prop_id_t,
        name: *mut c_char,
        default: *mut c_void,
        default_size: u32,
        range: *mut mac_propval_range_t,
        perm: *mut u32,
    ) -> c_int;
    pub fn mac_set_prop(
        mh: mac_handle_t,
        id: mac_prop_id_t,
        name: *mut c_char,
        value: *mut c_void,
        size: u32,
    ) -> c_int;
    pub fn mac_prop_info_set_default_uint32(ph: mac_prop_info_handle_t, value: u32);
    pub fn mac_prop_info_set_range_uint32(ph: mac_prop_info_handle_t, min: u32, max: u32);
    pub fn mac_prop_info_set_perm(ph: mac_prop_info_handle_t, perm: u8);
    pub fn mac_hcksum_get(
        mp: *const mblk_t,
        start: *mut u32,
        stuff: *mut u32,
        end: *mut u32,
        value: *mut u32,
        flags: *mut u32,
    );
    pub fn mac_hcksum_set(
        mp: *mut mblk_t,
        start: u32,
        stuff: u32,
        end: u32,
        value: u32,
        flags: u32,
    );
    pub fn mac_lso_get(mp: *mut mblk_t, mss: *mut u32, flags: *mut u32);
    pub fn lso_info_set(mp: *mut mblk_t, mss: u32, flags: u32);
}

// drv/dld, misc/dls
unsafe extern "C" {
    pub fn dld_ioc_register(modid: u16, list: *const dld_ioc_info_t, count: u32) -> c_int;
    pub fn dld_ioc_unregister(modid: u16);
    pub fn dls_devnet_create(mh: mac_handle_t, linkid: datalink_id_t, zone: zoneid_t) -> c_int;
    pub fn dls_devnet_destroy(
        mh: mac_handle_t,
        linkid: *mut datalink_id_t,
        wait: boolean_t,
    ) -> c_int;
}

// misc/ksocket
unsafe extern "C" {
    pub fn ksocket_socket(
        ks: *mut ksocket_t,
        domain: c_int,
        kind: c_int,
        protocol: c_int,
        flags: c_int,
        cr: *mut cred_t,
    ) -> c_int;
    pub fn ksocket_bind(
        ks: ksocket_t,
        addr: *mut sockaddr,
        len: socklen_t,
        cr: *mut cred_t,
    ) -> c_int;
    pub fn ksocket_setsockopt(
        ks: ksocket_t,
        level: c_int,
        option: c_int,
        value: *const c_void,
        len: c_int,
        cr: *mut cred_t,
    ) -> c_int;
    pub fn ksocket_sendmblk(
        ks: ksocket_t,
        msg: *mut nmsghdr,
        flags: c_int,
        mpp: *mut *mut mblk_t,
        cr: *mut cred_t,
    ) -> c_int;
    pub fn ksocket_krecv_set(ks: ksocket_t, cb: Option<ksocket_krecv_f>, arg: *mut c_void)
    -> c_int;
    pub fn ksocket_krecv_unblock(ks: ksocket_t);
    pub fn ksocket_close(ks: ksocket_t, cr: *mut cred_t) -> c_int;
}
