// SPDX-License-Identifier: CDDL-1.0
//! Types of the kernel headers, by their C names.
#![allow(missing_docs, non_snake_case)]

use core::ffi::{c_char, c_int, c_void};

pub type uint_t = u32;
pub type boolean_t = c_int;
pub type clock_t = i64;
pub type hrtime_t = i64;
pub type id_t = i32;
pub type zoneid_t = i32;
pub type minor_t = u32;
pub type major_t = u32;
pub type dev_t = u64;
pub type model_t = u32;
pub type datalink_id_t = u32;
pub type avl_index_t = usize;
pub type socklen_t = u32;
pub type netstackid_t = i32;
pub type netid_t = i32;
pub type netstack_handle_t = c_int;
/// Index of an IP interface; 0 is none.
pub type phy_if_t = usize;
/// Number of an address of an interface, from 1; 0 is the first.
pub type lif_if_t = isize;
pub type hook_data_t = usize;
pub type nic_event_data_t = *mut c_void;
pub type mac_prop_id_t = c_int;
pub type link_state_t = c_int;

/// An object of the kernel that only pointers reach.
macro_rules! opaque {
    ($($(#[$m:meta])* $name:ident),* $(,)?) => { $(
        $(#[$m])*
        #[repr(C)]
        pub struct $name {
            _opaque: [u8; 0],
            _pin: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)>,
        }
    )* };
}
opaque! {
    cred_t, dev_info_t, id_space_t, ddi_taskq_t, ip_stack_t, module_stat, struiod_t, infod_t, kmem_cache_t, vmem_t, pollhead, buf, uio, aio_req, as_t,
    bus_ops, mod_ops, frtn_t, vnode, iovec,
    /// What `ddi_iblock_cookie_t` points to.
    ddi_iblock,
    /// What `mac_handle_t` points to.
    mac_impl,
    /// What `mac_resource_handle_t` points to.
    mac_resource_impl,
    /// What `mac_perim_handle_t` points to.
    mac_perim_impl,
    /// What `mac_prop_info_handle_t` points to.
    mac_prop_info_state,
    /// What `ksocket_t` points to.
    sonode,
    /// What `net_handle_t` points to.
    net_data,
    /// What `hook_event_token_t` points to.
    hook_event_int,
}
pub type ddi_iblock_cookie_t = *mut ddi_iblock;
pub type mac_handle_t = *mut mac_impl;
pub type mac_resource_handle_t = *mut mac_resource_impl;
pub type mac_perim_handle_t = *mut mac_perim_impl;
pub type mac_prop_info_handle_t = *mut mac_prop_info_state;
pub type ksocket_t = *mut sonode;
pub type net_handle_t = *mut net_data;
pub type hook_event_token_t = *mut hook_event_int;

// sys/time_impl.h
#[repr(C)]
pub struct timespec_t {
    pub tv_sec: i64,
    pub tv_nsec: i64,
}

#[repr(C)]
pub struct kmutex_t {
    pub _opaque: [u64; 1],
}
#[repr(C)]
pub struct krwlock_t {
    pub _opaque: [u64; 1],
}
#[repr(C)]
pub struct kcondvar_t {
    pub _opaque: u16,
}

// sys/stream.h
#[repr(C)]
pub struct mblk_t {
    pub b_next: *mut mblk_t,
    pub b_prev: *mut mblk_t,
    pub b_cont: *mut mblk_t,
    pub b_rptr: *mut u8,
    pub b_wptr: *mut u8,
    pub b_datap: *mut dblk_t,
    pub b_band: u8,
    pub b_tag: u8,
    pub b_flag: u16,
    pub b_queue: *mut queue_t,
}
/// A data block. Only what datab(9S) documents; the block is longer than this and only the kernel
/// makes one.
#[repr(C)]
pub struct dblk_t {
    pub db_frtnp: *mut frtn_t,
    pub db_base: *mut u8,
    pub db_lim: *mut u8,
    pub db_ref: u8,
    pub db_type: u8,
    pub db_flags: u8,
    pub db_struioflag: u8,
}
/// A queue. Only what queue(9S) documents; the kernel's is longer, and only the kernel makes one.
#[repr(C)]
pub struct queue_t {
    pub q_qinfo: *mut qinit,
    pub q_first: *mut mblk_t,
    pub q_last: *mut mblk_t,
    pub q_next: *mut queue_t,
    pub q_link: *mut queue_t,
    pub q_ptr: *mut c_void,
    pub q_count: usize,
    pub q_flag: u32,
    pub q_minpsz: isize,
    pub q_maxpsz: isize,
    pub q_hiwat: usize,
    pub q_lowat: usize,
}
#[repr(C)]
pub struct module_info {
    pub mi_idnum: u16,
    pub mi_idname: *mut c_char,
    pub mi_minpsz: isize,
    pub mi_maxpsz: isize,
    pub mi_hiwat: usize,
    pub mi_lowat: usize,
}
pub type qi_putp_t = unsafe extern "C" fn(*mut queue_t, *mut mblk_t) -> c_int;
pub type qi_srvp_t = unsafe extern "C" fn(*mut queue_t) -> c_int;
pub type qi_qopen_t =
    unsafe extern "C" fn(*mut queue_t, *mut dev_t, c_int, c_int, *mut cred_t) -> c_int;
pub type qi_qclose_t = unsafe extern "C" fn(*mut queue_t, c_int, *mut cred_t) -> c_int;
#[repr(C)]
pub struct qinit {
    pub qi_putp: Option<qi_putp_t>,
    pub qi_srvp: Option<qi_srvp_t>,
    pub qi_qopen: Option<qi_qopen_t>,
    pub qi_qclose: Option<qi_qclose_t>,
    pub qi_qadmin: Option<unsafe extern "C" fn() -> c_int>,
    pub qi_minfo: *mut module_info,
    pub qi_mstat: *mut module_stat,
    pub qi_rwp: Option<unsafe extern "C" fn(*mut queue_t, *mut struiod_t) -> c_int>,
    pub qi_infop: Option<unsafe extern "C" fn(*mut queue_t, *mut infod_t) -> c_int>,
    pub qi_struiot: c_int,
}
#[repr(C)]
pub struct streamtab {
    pub st_rdinit: *mut qinit,
    pub st_wrinit: *mut qinit,
    pub st_muxrinit: *mut qinit,
    pub st_muxwinit: *mut qinit,
}
/// First block of an M_IOCTL, M_IOCACK, M_IOCNAK. `ioc_count` is TRANSPARENT (in 32 bits) for a
/// plain ioctl(2).
#[repr(C)]
pub struct iocblk {
    pub ioc_cmd: c_int,
    pub ioc_cr: *mut cred_t,
    pub ioc_id: u32,
    pub ioc_flag: u32,
    pub ioc_count: usize,
    pub ioc_rval: c_int,
    pub ioc_error: c_int,
}
/// First block of an M_COPYIN or M_COPYOUT: over the same memory as the iocblk it was.
#[repr(C)]
pub struct copyreq {
    pub cq_cmd: c_int,
    pub cq_cr: *mut cred_t,
    pub cq_id: u32,
    pub cq_flag: u32,
    pub cq_private: *mut mblk_t,
    pub cq_addr: *mut c_char,
    pub cq_size: usize,
}
/// First block of an M_IOCDATA. `cp_rval` is not NULL if the copy failed; then there is no data.
#[repr(C)]
pub struct copyresp {
    pub cp_cmd: c_int,
    pub cp_cr: *mut cred_t,
    pub cp_id: u32,
    pub cp_flag: u32,
    pub cp_private: *mut mblk_t,
    pub cp_rval: *mut c_char,
}

// sys/list.h, sys/avl.h, sys/refhash.h
#[repr(C)]
pub struct list_node_t {
    pub list_next: *mut list_node_t,
    pub list_prev: *mut list_node_t,
}
#[repr(C)]
pub struct list_t {
    pub list_size: usize,
    pub list_offset: usize,
    pub list_head: list_node_t,
}
#[repr(C)]
pub struct avl_node_t {
    pub avl_child: [*mut avl_node_t; 2],
    pub avl_pcb: usize,
}
pub type avl_compar_f = unsafe extern "C" fn(*const c_void, *const c_void) -> c_int;
#[repr(C)]
pub struct avl_tree_t {
    pub avl_root: *mut avl_node_t,
    pub avl_compar: Option<avl_compar_f>,
    pub avl_offset: usize,
    pub avl_numnodes: u64,
    pub avl_size: usize,
}
pub type refhash_hash_f = unsafe extern "C" fn(*const c_void) -> u64;
pub type refhash_cmp_f = unsafe extern "C" fn(*const c_void, *const c_void) -> c_int;
pub type refhash_dtor_f = unsafe extern "C" fn(*mut c_void);
#[repr(C)]
pub struct refhash_link_t {
    pub rhl_chain_link: list_node_t,
    pub rhl_global_link: list_node_t,
    pub rhl_flags: u32,
    pub rhl_refcnt: u32,
}
#[repr(C)]
pub struct refhash_t {
    pub rh_buckets: *mut list_t,
    pub rh_bucket_count: u32,
    pub rh_objs: list_t,
    pub rh_obj_size: usize,
    pub rh_link_off: usize,
    pub rh_tag_off: usize,
    pub rh_hash: Option<refhash_hash_f>,
    pub rh_cmp: Option<refhash_cmp_f>,
    pub rh_dtor: Option<refhash_dtor_f>,
}

// sys/devops.h
#[repr(C)]
pub struct cb_ops {
    pub cb_open: Option<unsafe extern "C" fn(*mut dev_t, c_int, c_int, *mut cred_t) -> c_int>,
    pub cb_close: Option<unsafe extern "C" fn(dev_t, c_int, c_int, *mut cred_t) -> c_int>,
    pub cb_strategy: Option<unsafe extern "C" fn(*mut buf) -> c_int>,
    pub cb_print: Option<unsafe extern "C" fn(dev_t, *mut c_char) -> c_int>,
    pub cb_dump: Option<unsafe extern "C" fn(dev_t, *mut c_char, i64, c_int) -> c_int>,
    pub cb_read: Option<unsafe extern "C" fn(dev_t, *mut uio, *mut cred_t) -> c_int>,
    pub cb_write: Option<unsafe extern "C" fn(dev_t, *mut uio, *mut cred_t) -> c_int>,
    pub cb_ioctl:
        Option<unsafe extern "C" fn(dev_t, c_int, isize, c_int, *mut cred_t, *mut c_int) -> c_int>,
    pub cb_devmap: Option<unsafe extern "C" fn() -> c_int>,
    pub cb_mmap: Option<unsafe extern "C" fn() -> c_int>,
    pub cb_segmap: Option<unsafe extern "C" fn() -> c_int>,
    pub cb_chpoll:
        Option<unsafe extern "C" fn(dev_t, i16, c_int, *mut i16, *mut *mut pollhead) -> c_int>,
    pub cb_prop_op: Option<
        unsafe extern "C" fn(
            dev_t,
            *mut dev_info_t,
            c_int,
            c_int,
            *mut c_char,
            *mut c_char,
            *mut c_int,
        ) -> c_int,
    >,
    pub cb_str: *mut streamtab,
    pub cb_flag: c_int,
    pub cb_rev: c_int,
    pub cb_aread: Option<unsafe extern "C" fn(dev_t, *mut aio_req, *mut cred_t) -> c_int>,
    pub cb_awrite: Option<unsafe extern "C" fn(dev_t, *mut aio_req, *mut cred_t) -> c_int>,
}
#[repr(C)]
pub struct dev_ops {
    pub devo_rev: c_int,
    pub devo_refcnt: c_int,
    pub devo_getinfo: Option<
        unsafe extern "C" fn(*mut dev_info_t, c_int, *mut c_void, *mut *mut c_void) -> c_int,
    >,
    pub devo_identify: Option<unsafe extern "C" fn(*mut dev_info_t) -> c_int>,
    pub devo_probe: Option<unsafe extern "C" fn(*mut dev_info_t) -> c_int>,
    pub devo_attach: Option<unsafe extern "C" fn(*mut dev_info_t, c_int) -> c_int>,
    pub devo_detach: Option<unsafe extern "C" fn(*mut dev_info_t, c_int) -> c_int>,
    pub devo_reset: Option<unsafe extern "C" fn(*mut dev_info_t, c_int) -> c_int>,
    pub devo_cb_ops: *mut cb_ops,
    pub devo_bus_ops: *mut bus_ops,
    pub devo_power: Option<unsafe extern "C" fn(*mut dev_info_t, c_int, c_int) -> c_int>,
    pub devo_quiesce: Option<unsafe extern "C" fn(*mut dev_info_t) -> c_int>,
}

// sys/modctl.h
#[repr(C)]
pub struct modldrv {
    pub drv_modops: *const mod_ops,
    pub drv_linkinfo: *const c_char,
    pub drv_dev_ops: *mut dev_ops,
}
#[repr(C)]
pub struct modlmisc {
    pub misc_modops: *const mod_ops,
    pub misc_linkinfo: *const c_char,
}
#[repr(C)]
pub struct modlinkage {
    pub ml_rev: c_int,
    pub ml_linkage: [*const c_void; 7],
}
#[repr(C)]
pub struct modspecific_info {
    pub msi_linkinfo: [c_char; 32],
    pub msi_p0: c_int,
}
#[repr(C)]
pub struct modinfo {
    pub mi_info: c_int,
    pub mi_state: c_int,
    pub mi_id: c_int,
    pub mi_nextid: c_int,
    pub mi_base: *mut c_char,
    pub mi_size: usize,
    pub mi_rev: c_int,
    pub mi_loadcnt: c_int,
    pub mi_name: [c_char; 32],
    pub mi_msinfo: [modspecific_info; 10],
}

// sys/kstat.h
#[repr(C)]
pub struct kstat_t {
    pub ks_crtime: hrtime_t,
    pub ks_next: *mut kstat_t,
    pub ks_kid: c_int,
    pub ks_module: [c_char; 31],
    pub ks_resv: u8,
    pub ks_instance: c_int,
    pub ks_name: [c_char; 31],
    pub ks_type: u8,
    pub ks_class: [c_char; 31],
    pub ks_flags: u8,
    pub ks_data: *mut c_void,
    pub ks_ndata: u32,
    pub ks_data_size: usize,
    pub ks_snaptime: hrtime_t,
    pub ks_update: Option<unsafe extern "C" fn(*mut kstat_t, c_int) -> c_int>,
    pub ks_private: *mut c_void,
    pub ks_snapshot: Option<unsafe extern "C" fn(*mut kstat_t, *mut c_void, c_int) -> c_int>,
    pub ks_lock: *mut kmutex_t,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub union kstat_named_value {
    pub c: [c_char; 16],
    pub ui32: u32,
    pub ui64: u64,
    pub str_: kstat_named_str,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kstat_named_str {
    pub addr: *mut c_char,
    pub len: u32,
}
#[repr(C)]
pub struct kstat_named_t {
    pub name: [c_char; 31],
    pub data_type: u8,
    pub value: kstat_named_value,
}

// sys/mac.h, sys/mac_provider.h
#[repr(C)]
pub struct mac_header_info_t {
    pub mhi_hdrsize: usize,
    pub mhi_pktsize: usize,
    pub mhi_daddr: *const u8,
    pub mhi_saddr: *const u8,
    pub mhi_origsap: u32,
    pub mhi_bindsap: u32,
    pub mhi_dsttype: u32,
    pub mhi_tci: u16,
    pub mhi_istagged: boolean_t,
    pub mhi_ispvid: boolean_t,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mac_propval_uint32_range_t {
    pub mpur_min: u32,
    pub mpur_max: u32,
}
/// The head of a range list; further elements follow it in the caller's buffer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mac_propval_range_t {
    pub mpr_count: u32,
    pub mpr_type: u32,
    pub mpr_uint32: [mac_propval_uint32_range_t; 1],
}
/// Answer of mc_getcapab to MAC_CAPAB_LSO: largest packet in bytes for each of the flags.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct mac_capab_lso_t {
    pub lso_flags: u32,
    pub lso_basic_tcp_ipv4: u32,
    pub lso_basic_tcp_ipv6: u32,
}
#[repr(C)]
pub struct mac_callbacks_t {
    pub mc_callbacks: u32,
    pub mc_getstat: Option<unsafe extern "C" fn(*mut c_void, u32, *mut u64) -> c_int>,
    pub mc_start: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    pub mc_stop: Option<unsafe extern "C" fn(*mut c_void)>,
    pub mc_setpromisc: Option<unsafe extern "C" fn(*mut c_void, boolean_t) -> c_int>,
    pub mc_multicst: Option<unsafe extern "C" fn(*mut c_void, boolean_t, *const u8) -> c_int>,
    pub mc_unicst: Option<unsafe extern "C" fn(*mut c_void, *const u8) -> c_int>,
    pub mc_tx: Option<unsafe extern "C" fn(*mut c_void, *mut mblk_t) -> *mut mblk_t>,
    pub mc_reserved: *mut c_void,
    pub mc_ioctl: Option<unsafe extern "C" fn(*mut c_void, *mut queue_t, *mut mblk_t)>,
    pub mc_getcapab: Option<unsafe extern "C" fn(*mut c_void, u32, *mut c_void) -> boolean_t>,
    pub mc_open: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    pub mc_close: Option<unsafe extern "C" fn(*mut c_void)>,
    pub mc_setprop: Option<
        unsafe extern "C" fn(*mut c_void, *const c_char, c_int, u32, *const c_void) -> c_int,
    >,
    pub mc_getprop:
        Option<unsafe extern "C" fn(*mut c_void, *const c_char, c_int, u32, *mut c_void) -> c_int>,
    pub mc_propinfo:
        Option<unsafe extern "C" fn(*mut c_void, *const c_char, c_int, mac_prop_info_handle_t)>,
}
#[repr(C)]
pub struct mac_register_t {
    pub m_version: u32,
    pub m_type_ident: *const c_char,
    pub m_driver: *mut c_void,
    pub m_dip: *mut dev_info_t,
    pub m_instance: u32,
    pub m_src_addr: *mut u8,
    pub m_dst_addr: *mut u8,
    pub m_callbacks: *const mac_callbacks_t,
    pub m_min_sdu: u32,
    pub m_max_sdu: u32,
    pub m_pdata: *mut c_void,
    pub m_pdata_size: usize,
    pub m_priv_props: *mut *mut c_char,
    pub m_margin: u32,
    pub m_v12n: u32,
    pub m_multicast_sdu: u32,
}

// sys/dld_ioc.h
pub type dld_ioc_func_t =
    unsafe extern "C" fn(*mut c_void, isize, c_int, *mut cred_t, *mut c_int) -> c_int;
pub type dld_ioc_priv_func_t = unsafe extern "C" fn(*const cred_t) -> c_int;
#[repr(C)]
pub struct dld_ioc_info_t {
    pub di_cmd: u32,
    pub di_flags: u32,
    pub di_argsize: usize,
    pub di_func: Option<dld_ioc_func_t>,
    pub di_priv_func: Option<dld_ioc_priv_func_t>,
}

// netinet/in.h, sys/socket.h, sys/tihdr.h, sys/ksocket.h
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct in6_addr {
    pub s6_addr: [u8; 16],
}
/// Port in network byte order, as everywhere in a socket address.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct sockaddr_in6 {
    pub sin6_family: u16,
    pub sin6_port: u16,
    pub sin6_flowinfo: u32,
    pub sin6_addr: in6_addr,
    pub sin6_scope_id: u32,
    pub __sin6_src_id: u32,
}
#[repr(C)]
pub struct sockaddr {
    pub sa_family: u16,
    pub sa_data: [c_char; 14],
}
#[repr(C)]
pub struct nmsghdr {
    pub msg_name: *mut c_void,
    pub msg_namelen: socklen_t,
    pub msg_iov: *mut iovec,
    pub msg_iovlen: c_int,
    pub msg_control: *mut c_void,
    pub msg_controllen: socklen_t,
    pub msg_flags: c_int,
}
#[repr(C)]
#[derive(Clone, Copy)]
pub struct T_unitdata_ind {
    pub PRIM_type: i32,
    pub SRC_length: i32,
    pub SRC_offset: i32,
    pub OPT_length: i32,
    pub OPT_offset: i32,
}
/// Owns the chain of `mblk_t` (linked by b_next); the size is the bytes of all. B_FALSE stops
/// delivery until `ksocket_krecv_unblock`.
pub type ksocket_krecv_f =
    unsafe extern "C" fn(ksocket_t, *mut mblk_t, usize, c_int, *mut c_void) -> boolean_t;

// sys/netstack.h
#[repr(C)]
pub struct nm_state_t {
    pub nms_flags: u16,
    pub nms_cv: kcondvar_t,
}
/// One instance of the network: the global zone and its shared-IP zones have one, each exclusive-IP
/// zone its own. What a module's create callback returned is in `nu_modules`, by its NS_ number.
#[repr(C)]
pub struct netstack_t {
    pub nu_modules: [*mut c_void; 20],
    pub netstack_m_state: [nm_state_t; 20],
    pub netstack_lock: kmutex_t,
    pub netstack_next: *mut netstack_t,
    pub netstack_stackid: netstackid_t,
    pub netstack_numzones: c_int,
    pub netstack_refcnt: c_int,
    pub netstack_flags: c_int,
    pub netstack_cv: kcondvar_t,
}
pub type netstack_create_f = unsafe extern "C" fn(netstackid_t, *mut netstack_t) -> *mut c_void;
pub type netstack_end_f = unsafe extern "C" fn(netstackid_t, *mut c_void);

// sys/hook.h, sys/hook_event.h
/// Returns 0 to let the next hook run.
pub type hook_func_t = unsafe extern "C" fn(hook_event_token_t, hook_data_t, *mut c_void) -> c_int;
#[repr(C)]
pub struct hook_t {
    pub h_version: c_int,
    pub h_func: Option<hook_func_t>,
    pub h_name: *mut c_char,
    pub h_flags: u32,
    pub h_hint: u32,
    pub h_hintvalue: usize,
    pub h_arg: *mut c_void,
}
/// The datum of a hook on NH_NIC_EVENTS. `hne_data` is the interface's name for NE_PLUMB and
/// NE_UNPLUMB; all of it is the kernel's and gone after the call.
#[repr(C)]
pub struct hook_nic_event_t {
    pub hne_protocol: net_handle_t,
    pub hne_nic: phy_if_t,
    pub hne_lif: lif_if_t,
    pub hne_event: u32,
    pub hne_data: nic_event_data_t,
    pub hne_datalen: usize,
}
/// The datum of a hook on NH_OBSERVE. All but the two pointers is what ipnet(4D) puts in front of
/// the packet, in network byte order. The message `hpo_pkt` starts with a block of these 40 bytes
/// of which the write pointer shows 24; the IP packet follows. It is the kernel's.
#[repr(C)]
pub struct hook_pkt_observe_t {
    pub hpo_version: u8,
    pub hpo_family: u8,
    pub hpo_htype: u16,
    pub hpo_pktlen: u32,
    pub hpo_ifindex: u32,
    pub hpo_grifindex: u32,
    pub hpo_zsrc: u32,
    pub hpo_zdst: u32,
    pub hpo_pkt: *mut mblk_t,
    pub hpo_ctx: *mut c_void,
}

// net/bpfdesc.h, net/bpf.h
/// Gets a message it does not own, whether this machine sent it, and its bytes.
pub type bpf_itap_fn_t = unsafe extern "C" fn(*mut c_void, *mut mblk_t, boolean_t, u32);
/// What /dev/bpf takes packets from. Handles are words of the provider's choice.
#[repr(C)]
pub struct bpf_provider_t {
    pub bpr_unit: c_int,
    pub bpr_open: Option<unsafe extern "C" fn(*const c_char, *mut usize, zoneid_t) -> c_int>,
    pub bpr_close: Option<unsafe extern "C" fn(usize)>,
    pub bpr_name: Option<unsafe extern "C" fn(usize) -> *const c_char>,
    pub bpr_type: Option<unsafe extern "C" fn(usize) -> c_int>,
    pub bpr_sdu_get: Option<unsafe extern "C" fn(usize, *mut u32)>,
    pub bpr_tx: Option<unsafe extern "C" fn(usize, *mut mblk_t) -> c_int>,
    pub bpr_promisc_add:
        Option<unsafe extern "C" fn(usize, c_int, *mut c_void, *mut usize, c_int) -> usize>,
    pub bpr_promisc_remove: Option<unsafe extern "C" fn(usize)>,
    pub bpr_getlinkid:
        Option<unsafe extern "C" fn(*const c_char, *mut datalink_id_t, zoneid_t) -> c_int>,
    pub bpr_client_close: Option<unsafe extern "C" fn(usize)>,
    pub bpr_client_name: Option<unsafe extern "C" fn(usize) -> *const c_char>,
    pub bpr_client_open: Option<unsafe extern "C" fn(usize, *mut usize) -> c_int>,
    pub bpr_getzone: Option<unsafe extern "C" fn(usize, *mut zoneid_t) -> c_int>,
    pub bpr_getdlt: Option<unsafe extern "C" fn(usize, *mut u32) -> c_int>,
}

// SAFETY: these tables are constant once built; the pointers in them are to other constants of a
// module.
unsafe impl Sync for modldrv {}
// SAFETY: as above.
unsafe impl Sync for modlmisc {}
// SAFETY: as above.
unsafe impl Sync for modlinkage {}
// SAFETY: as above.
unsafe impl Sync for cb_ops {}
// SAFETY: as above; devo_refcnt is the kernel's, under its own lock.
unsafe impl Sync for dev_ops {}
// SAFETY: as above.
unsafe impl Sync for mac_callbacks_t {}
// SAFETY: as above.
unsafe impl Sync for module_info {}
// SAFETY: as above.
unsafe impl Sync for qinit {}
// SAFETY: as above.
unsafe impl Sync for streamtab {}
