// SPDX-License-Identifier: CDDL-1.0
//! The layouts and numbers declared here are those of illumos, by abi/kernel_abi.json.
//!
//! fakekernel shares these declarations with the drivers, so nothing else would notice a mistake.
use illumos_sys_hdrs::*;
use serde_json::Value;
use std::collections::BTreeMap;

/// A field: name, offset, size.
type Field = (&'static str, usize, usize);

/// The size of what a projection points at.
fn size<T, F>(_: impl Fn(*const T) -> *const F) -> usize {
    size_of::<F>()
}

macro_rules! layouts {
    ($($t:ident { $($f:ident)* })*) => {
        fn layouts() -> Vec<(&'static str, usize, Vec<Field>)> {
            vec![$((
                stringify!($t),
                size_of::<$t>(),
                vec![$((
                    stringify!($f),
                    std::mem::offset_of!($t, $f),
                    // SAFETY: never called.
                    size(|p: *const $t| unsafe { &raw const (*p).$f }),
                ),)*],
            ),)*]
        }
    };
}
layouts! {
        kmutex_t { _opaque }
        krwlock_t { _opaque }
        kcondvar_t { _opaque }
        timespec_t { tv_sec tv_nsec }
        mblk_t { b_next b_prev b_cont b_rptr b_wptr b_datap b_band b_tag b_flag b_queue }
        dblk_t { db_frtnp db_base db_lim db_ref db_type db_flags db_struioflag }
        queue_t { q_qinfo q_first q_last q_next q_link q_ptr q_count q_flag q_minpsz q_maxpsz
        q_hiwat q_lowat }
        module_info { mi_idnum mi_idname mi_minpsz mi_maxpsz mi_hiwat mi_lowat }
        qinit { qi_putp qi_srvp qi_qopen qi_qclose qi_qadmin qi_minfo qi_mstat qi_rwp qi_infop
        qi_struiot }
        streamtab { st_rdinit st_wrinit st_muxrinit st_muxwinit }
        iocblk { ioc_cmd ioc_cr ioc_id ioc_flag ioc_count ioc_rval ioc_error }
        copyreq { cq_cmd cq_cr cq_id cq_flag cq_private cq_addr cq_size }
        copyresp { cp_cmd cp_cr cp_id cp_flag cp_private cp_rval }
        nm_state_t { nms_flags nms_cv }
        netstack_t { nu_modules netstack_m_state netstack_lock netstack_next netstack_stackid
        netstack_numzones netstack_refcnt netstack_flags netstack_cv }
        hook_t { h_version h_func h_name h_flags h_hint h_hintvalue h_arg }
        hook_nic_event_t { hne_protocol hne_nic hne_lif hne_event hne_data hne_datalen }
        hook_pkt_observe_t { hpo_version hpo_family hpo_htype hpo_pktlen hpo_ifindex
        hpo_grifindex hpo_zsrc hpo_zdst hpo_pkt hpo_ctx }
        bpf_provider_t { bpr_unit bpr_open bpr_close bpr_name bpr_type bpr_sdu_get bpr_tx
        bpr_promisc_add bpr_promisc_remove bpr_getlinkid bpr_client_close bpr_client_name
        bpr_client_open bpr_getzone bpr_getdlt }
        list_node_t { list_next list_prev }
        list_t { list_size list_offset list_head }
        avl_node_t { avl_child avl_pcb }
        avl_tree_t { avl_root avl_compar avl_offset avl_numnodes avl_size }
        refhash_link_t { rhl_chain_link rhl_global_link rhl_flags rhl_refcnt }
        refhash_t { rh_buckets rh_bucket_count rh_objs rh_obj_size rh_link_off rh_tag_off
        rh_hash rh_cmp rh_dtor }
        cb_ops { cb_open cb_close cb_strategy cb_print cb_dump cb_read cb_write cb_ioctl
        cb_devmap cb_mmap cb_segmap cb_chpoll cb_prop_op cb_str cb_flag cb_rev cb_aread
        cb_awrite }
        dev_ops { devo_rev devo_refcnt devo_getinfo devo_identify devo_probe devo_attach
        devo_detach devo_reset devo_cb_ops devo_bus_ops devo_power devo_quiesce }
        modldrv { drv_modops drv_linkinfo drv_dev_ops }
        modlmisc { misc_modops misc_linkinfo }
        modlinkage { ml_rev ml_linkage }
        modspecific_info { msi_linkinfo msi_p0 }
        modinfo { mi_info mi_state mi_id mi_nextid mi_base mi_size mi_rev mi_loadcnt mi_name
        mi_msinfo }
        kstat_t { ks_crtime ks_next ks_kid ks_module ks_resv ks_instance ks_name ks_type
        ks_class ks_flags ks_data ks_ndata ks_data_size ks_snaptime ks_update ks_private
        ks_snapshot ks_lock }
        kstat_named_t { name data_type value }
        mac_header_info_t { mhi_hdrsize mhi_pktsize mhi_daddr mhi_saddr mhi_origsap mhi_bindsap
        mhi_dsttype mhi_tci mhi_istagged mhi_ispvid }
        mac_propval_uint32_range_t { mpur_min mpur_max }
        mac_propval_range_t { mpr_count mpr_type mpr_uint32 }
        mac_capab_lso_t { lso_flags lso_basic_tcp_ipv4 lso_basic_tcp_ipv6 }
        mac_callbacks_t { mc_callbacks mc_getstat mc_start mc_stop mc_setpromisc mc_multicst
        mc_unicst mc_tx mc_reserved mc_ioctl mc_getcapab mc_open mc_close mc_setprop mc_getprop
        mc_propinfo }
        mac_register_t { m_version m_type_ident m_driver m_dip m_instance m_src_addr m_dst_addr
        m_callbacks m_min_sdu m_max_sdu m_pdata m_pdata_size m_priv_props m_margin m_v12n
        m_multicast_sdu }
        dld_ioc_info_t { di_cmd di_flags di_argsize di_func di_priv_func }
        in6_addr { s6_addr }
        sockaddr_in6 { sin6_family sin6_port sin6_flowinfo sin6_addr sin6_scope_id __sin6_src_id
        }
        sockaddr { sa_family sa_data }
        nmsghdr { msg_name msg_namelen msg_iov msg_iovlen msg_control msg_controllen msg_flags }
        T_unitdata_ind { PRIM_type SRC_length SRC_offset OPT_length OPT_offset }
}

macro_rules! constants {
    ($($c:ident)*) => {
        fn constants() -> BTreeMap<&'static str, i64> {
            [$((stringify!($c), $c as i64),)*].into()
        }
    };
}
constants! {
    KM_SLEEP KM_NOSLEEP KM_NORMALPRI MUTEX_DRIVER MUTEX_DEFAULT RW_DRIVER RW_DEFAULT
    RW_WRITER RW_READER CV_DEFAULT CV_DRIVER M_DATA M_PROTO M_IOCTL M_IOCACK M_IOCNAK
    BPRI_LO BPRI_MED BPRI_HI DDI_SUCCESS DDI_FAILURE DDI_INFO_DEVT2DEVINFO
    DDI_INFO_DEVT2INSTANCE DDI_ATTACH DDI_RESUME DDI_DETACH DDI_SUSPEND DDI_FM_NOT_CAPABLE
    DDI_FM_EREPORT_CAPABLE DDI_SERVICE_LOST DDI_SERVICE_DEGRADED DDI_SERVICE_UNAFFECTED
    DDI_SERVICE_RESTORED DDI_MODEL_MASK DDI_MODEL_ILP32 DDI_MODEL_LP64 DDI_MODEL_NONE
    DEVO_REV CB_REV D_NEW D_MP D_64BIT MODREV_1 OTYP_BLK OTYP_CHR FREAD FWRITE FNDELAY
    FNONBLOCK FEXCL FOFFMAX FCLOEXEC FKIOCTL CE_CONT CE_NOTE CE_WARN CE_PANIC GLOBAL_ZONEID
    KSTAT_STRLEN KSTAT_TYPE_NAMED KSTAT_FLAG_VIRTUAL KSTAT_FLAG_PERSISTENT KSTAT_READ
    KSTAT_WRITE KSTAT_DATA_CHAR KSTAT_DATA_UINT32 KSTAT_DATA_UINT64 KSTAT_DATA_STRING
    MAC_VERSION DL_ETHER MAC_VIRT_NONE MC_IOCTL MC_GETCAPAB MC_OPEN MC_CLOSE MC_SETPROP
    MC_GETPROP MC_PROPINFO MAC_PROP_PRIVATE MAC_PROP_STATUS MAC_PROP_MTU MAC_PROP_PERM_READ
    MAC_PROP_PERM_WRITE MAC_PROP_PERM_RW MAC_PROPVAL_UINT8 MAC_PROPVAL_UINT32
    MAC_PROPVAL_STR MAC_CAPAB_HCKSUM MAC_CAPAB_LSO MAC_CAPAB_RINGS MAC_CAPAB_VNIC
    MAC_CAPAB_OVERLAY LSO_TX_BASIC_TCP_IPV4 LSO_TX_BASIC_TCP_IPV6 MAC_ADDRTYPE_UNICAST
    MAC_ADDRTYPE_MULTICAST MAC_ADDRTYPE_BROADCAST MAC_STAT_IFSPEED MAC_STAT_RBYTES
    MAC_STAT_IPACKETS MAC_STAT_OBYTES MAC_STAT_OPACKETS LINK_STATE_UNKNOWN LINK_STATE_DOWN
    LINK_STATE_UP HCK_IPV4_HDRCKSUM HCK_PARTIALCKSUM HCK_FULLCKSUM HCK_FULLCKSUM_OK
    HCK_FLAGS HW_LSO DLD_IOC AGGR_IOC VNIC_IOC OVERLAY_IOC DLDCOPYIN DLDCOPYOUT DLDCOPYINOUT
    AF_UNSPEC AF_INET AF_INET6 SOCK_DGRAM SOCK_STREAM IPPROTO_UDP SOL_SOCKET SO_SNDBUF
    SO_RCVBUF UDP_SRCPORT_HASH UDP_HASH_DISABLE UDP_HASH_VXLAN MSG_OOB MSG_DONTWAIT
    KSOCKET_SLEEP KSOCKET_NOSLEEP T_UNITDATA_REQ T_UNITDATA_IND ETHERTYPE_VLAN
    U8_VALIDATE_ENTIRE QPCTL M_PCPROTO M_FLUSH M_HANGUP M_ERROR M_COPYIN
    M_COPYOUT M_IOCDATA QENAB QWANTR QWANTW QFULL QREADR QUSE QNOENB QPERMOD QWCLOSE MODOPEN
    INFPSZ FLUSHDATA FLUSHALL FLUSHR FLUSHW FLUSHRW FLUSHBAND TRANSPARENT
    I_NREAD I_FLUSH I_STR RS_HIPRI DDI_SLEEP DDI_NOSLEEP
    TASKQ_DEFAULTPRI D_MTQPAIR D_MTPERMOD ALL_ZONES NS_HOOK NS_NETI NS_IP NS_IPNET NS_MAX
    NSF_ZONE_CREATE NSF_ZONE_SHUTDOWN NSF_ZONE_DESTROY NA_ADDRESS NA_PEER NA_BROADCAST
    NA_NETMASK HOOK_VERSION HOOK_RDONLY HH_NONE HH_FIRST HH_LAST HH_BEFORE HH_AFTER NE_PLUMB
    NE_UNPLUMB NE_UP NE_DOWN NE_ADDRESS_CHANGE NE_LIF_UP NE_LIF_DOWN NE_IFINDEX_CHANGE
    IPOBS_HOOK_INBOUND IPOBS_HOOK_OUTBOUND IPOBS_HOOK_LOCAL LIFNAMSIZ IFF_UP IFF_BROADCAST
    IFF_LOOPBACK IFF_RUNNING IFF_MULTICAST IFF_IPV4 IFF_IPV6
}

/// C spells these otherwise, or has a union there.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("nmsghdr.", "msghdr."),
    ("in6_addr.s6_addr", "in6_addr._S6_un"),
    ("mac_propval_range_t.mpr_uint32", "mac_propval_range_t.u"),
    ("netstack_t.nu_modules", "netstack_t.netstack_u.nu_modules"),
];

/// Opaque to drivers behind these: declared shorter than they are.
const PREFIXES: &[&str] = &["dblk_t", "queue_t"];

fn abi() -> Value {
    let root = std::env::var("OVERLAY_SHARED").unwrap_or_else(|_| "/work/shared".into());
    let path = format!("{root}/abi/kernel_abi.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str::<Value>(&text).expect("JSON")["base"].clone()
}

fn c_name(dotted: &str) -> String {
    let other = OTHER_NAMES.iter().find(|(ours, _)| dotted.starts_with(ours));
    other.map_or(dotted.to_string(), |(ours, theirs)| dotted.replacen(ours, theirs, 1))
}

#[test]
fn structures() {
    let abi = abi();
    let mut by_name: BTreeMap<String, &Value> = BTreeMap::new();
    for s in abi["structs"].as_array().expect("structs") {
        for n in s["c_names"].as_array().expect("c_names").iter().chain([&s["name"]]) {
            by_name.insert(n.as_str().expect("name").trim_start_matches("struct ").to_string(), s);
        }
    }
    let mut wrong = Vec::new();
    for (name, size, fields) in layouts() {
        let theirs = c_name(&format!("{name}."));
        let Some(s) = by_name.get(theirs.trim_end_matches('.')) else {
            wrong.push(format!("{name} is not in the headers"));
            continue;
        };
        if s["size"] != size && !PREFIXES.contains(&name) {
            wrong.push(format!("{name} has {size} bytes, not {}", s["size"]));
        }
        for (field, offset, size) in fields {
            let full = c_name(&format!("{name}.{field}"));
            let bare = full.split_once('.').map_or("", |f| f.1);
            let all = s["fields"].as_array().expect("fields");
            match all.iter().find(|f| f["name"] == bare) {
                None => wrong.push(format!("{name}.{field} is not in the headers")),
                Some(f) if f["offset"] != offset || f["size"] != size => wrong.push(format!(
                    "{name}.{field} is {size} bytes at {offset}, not {} at {}",
                    f["size"], f["offset"]
                )),
                Some(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn members_of_the_kstat_union() {
    let abi = abi();
    let all = abi["structs"].as_array().expect("structs");
    let named = all.iter().find(|s| s["name"] == "kstat_named_t").expect("kstat_named_t");
    let at = std::mem::offset_of!(kstat_named_t, value);
    let ours = [
        ("value", at, size_of::<kstat_named_value>()),
        ("value.str.addr", at + std::mem::offset_of!(kstat_named_str, addr), 8),
        ("value.str.len", at + std::mem::offset_of!(kstat_named_str, len), 4),
    ];
    for (name, offset, size) in ours {
        let fields = named["fields"].as_array().expect("fields");
        let f = fields.iter().find(|f| f["name"] == name).expect(name);
        assert_eq!((&f["offset"], &f["size"]), (&offset.into(), &size.into()), "{name}");
    }
}

#[test]
fn numbers() {
    let abi = abi();
    let mut theirs: BTreeMap<&str, i64> = BTreeMap::new();
    for (n, c) in abi["constants"].as_object().expect("constants") {
        // Some are unsigned and larger than an i64; none of ours.
        theirs.extend(c["value"].as_i64().map(|v| (n.as_str(), v)));
    }
    for e in abi["enums"].as_object().expect("enums").values() {
        let values = e["values"].as_object().expect("values");
        theirs.extend(values.iter().filter_map(|(n, v)| Some((n.as_str(), v.as_i64()?))));
    }
    let mut wrong = Vec::new();
    for (name, ours) in constants() {
        // C's are of either sign: the bits of 32 count.
        match theirs.get(name) {
            None => wrong.push(format!("{name} is not in the headers")),
            Some(t) if *t as u32 != ours as u32 => wrong.push(format!("{name} is {ours}, not {t}")),
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_declaration_is_compared() {
    let constants = constants();
    for line in include_str!("../src/constants.rs").lines() {
        let Some((name, kind)) = line.strip_prefix("pub const ").and_then(|l| l.split_once(": "))
        else {
            continue;
        };
        assert!(kind.contains("CStr") || constants.contains_key(name), "{name} is not compared");
    }
    let layouts: Vec<_> = layouts().into_iter().map(|l| l.0).collect();
    for line in include_str!("../src/types.rs").lines() {
        let name = line.strip_prefix("pub struct ").and_then(|l| l.strip_suffix(" {"));
        let Some(name) = name.filter(|n| !n.contains('$') && *n != "kstat_named_str") else {
            continue;
        };
        assert!(layouts.contains(&name), "{name} is not compared");
    }
}
