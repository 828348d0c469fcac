// SPDX-License-Identifier: CDDL-1.0
//! Compares every structure, number and ioctl with what a C compiler said about the headers.
//!
//! `../shared/abi/abi.json` lists them for three models. Each of the three must be covered: a
//! structure, constant or enumeration of an overlay or varpd header that is neither here nor
//! excluded below with a reason fails the test.
use overlay_abi::{dld, door, encap, errno::Errno, props, provider, target, vnic, vxlan};
use serde_json::Value;
use std::collections::BTreeMap;

/// A member: name, offset, size.
type Field = (&'static str, usize, usize);

struct Layout {
    size: usize,
    align: usize,
    fields: Vec<Field>,
}

fn pointee_size<T>(_: *const T) -> usize {
    size_of::<T>()
}

macro_rules! layouts {
    ($($name:literal $t:ty { $($f:ident)* })*) => {
        BTreeMap::from([$((
            $name,
            Layout {
                size: size_of::<$t>(),
                align: align_of::<$t>(),
                fields: vec![$({
                    let place = core::mem::MaybeUninit::<$t>::uninit();
                    // SAFETY: only the address of the member is formed; nothing is read.
                    let member = unsafe { &raw const (*place.as_ptr()).$f };
                    (stringify!($f), core::mem::offset_of!($t, $f), pointee_size(member))
                }),*],
            },
        )),*])
    };
}

fn lp64() -> BTreeMap<&'static str, Layout> {
    layouts! {
        "overlay_ioc_create_t" dld::overlay_ioc_create_t {
            oic_linkid oic_dcid oic_vnetid oic_encap
        }
        "overlay_ioc_activate_t" dld::overlay_ioc_activate_t { oia_linkid }
        "overlay_ioc_delete_t" dld::overlay_ioc_delete_t { oid_linkid }
        "overlay_ioc_nprops_t" dld::overlay_ioc_nprops_t { oipn_linkid oipn_nprops }
        "overlay_ioc_propinfo_t" dld::overlay_ioc_propinfo_t {
            oipi_linkid oipi_id oipi_name oipi_type oipi_prot oipi_default oipi_defsize
            oipi_posssize oipi_poss
        }
        "overlay_ioc_prop_t" dld::overlay_ioc_prop_t {
            oip_linkid oip_id oip_name oip_value oip_size
        }
        "overlay_ioc_status_t" dld::overlay_ioc_status_t { ois_linkid ois_status ois_message }
        "overlay_target_point_t" target::overlay_target_point_t { otp_mac otp_ip otp_port }
        "overlay_targ_info_t" target::overlay_targ_info_t {
            oti_linkid oti_needs oti_flags oti_vnetid
        }
        "overlay_targ_associate_t" target::overlay_targ_associate_t {
            ota_linkid ota_mode ota_id ota_provides ota_point
        }
        "overlay_targ_degrade_t" target::overlay_targ_degrade_t { otd_linkid otd_pad otd_buf }
        "overlay_targ_id_t" target::overlay_targ_id_t { otid_linkid }
        "overlay_targ_lookup_t" target::overlay_targ_lookup_t {
            otl_dlid otl_reqid otl_varpdid otl_vnetid otl_hdrsize otl_pktsize otl_srcaddr
            otl_dstaddr otl_dsttype otl_sap otl_vlan
        }
        "overlay_targ_resp_t" target::overlay_targ_resp_t { otr_reqid otr_answer }
        "overlay_targ_pkt_t" target::overlay_targ_pkt_t { otp_linkid otp_reqid otp_size otp_buf }
        "overlay_targ_pkt32_t" target::overlay_targ_pkt32_t {
            otp_linkid otp_reqid otp_size otp_buf
        }
        "overlay_targ_list_t" target::overlay_targ_list_t { otl_nents }
        "overlay_targ_cache_entry_t" target::overlay_targ_cache_entry_t {
            otce_mac otce_flags otce_dest
        }
        "overlay_targ_cache_t" target::overlay_targ_cache_t { otc_linkid otc_entry }
        "overlay_targ_cache_iter_t" target::overlay_targ_cache_iter_t {
            otci_linkid otci_pad otci_marker otci_count otci_pad2
        }
        "ovep_encap_info_t" encap::ovep_encap_info_t { ovdi_id ovdi_hdr_size }
        "overlay_plugin_ops_t" encap::overlay_plugin_ops_t {
            ovpo_callbacks ovpo_init ovpo_fini ovpo_encap ovpo_decap ovpo_socket ovpo_sockopt
            ovpo_getprop ovpo_setprop ovpo_propinfo
        }
        "overlay_plugin_register_t" encap::overlay_plugin_register_t {
            ovep_version ovep_name ovep_ops ovep_props ovep_id_size ovep_flags ovep_dest
        }
        "vxlan_hdr_t" vxlan::vxlan_hdr_t { vxlan_flags vxlan_id }
        "varpd_client_cache_entry_t" door::varpd_client_cache_entry_t {
            vcp_mac vcp_flags vcp_ip vcp_port
        }
        "varpd_plugin_ops_t" provider::varpd_plugin_ops_t {
            vpo_callbacks vpo_create vpo_start vpo_stop vpo_destroy vpo_default vpo_lookup
            vpo_nprops vpo_propinfo vpo_getprop vpo_setprop vpo_save vpo_restore vpo_arp vpo_dhcp
        }
        "varpd_plugin_register_t" provider::varpd_plugin_register_t {
            vpr_version vpr_mode vpr_name vpr_ops
        }
        "varpd_client_create_arg_t" door::varpd_client_create_arg_t {
            vcca_linkid vcca_id vcca_plugin
        }
        "varpd_client_instance_arg_t" door::varpd_client_instance_arg_t { vcia_id }
        "varpd_client_nprops_arg_t" door::varpd_client_nprops_arg_t { vcna_id vcna_nprops vcna_pad }
        "varpd_client_propinfo_arg_t" door::varpd_client_propinfo_arg_t {
            vcfa_id vcfa_propid vcfa_type vcfa_prot vcfa_defsize vcfa_psize vcfa_pad vcfa_name
            vcfa_default vcfa_poss
        }
        "varpd_client_prop_arg_t" door::varpd_client_prop_arg_t {
            vcpa_id vcpa_propid vcpa_buf vcpa_bufsize
        }
        "varpd_client_lookup_arg_t" door::varpd_client_lookup_arg_t { vcla_linkid vcla_pad vcla_id }
        "varpd_client_target_mode_arg_t" door::varpd_client_target_mode_arg_t {
            vtma_id vtma_dest vtma_mode
        }
        "varpd_client_target_cache_arg_t" door::varpd_client_target_cache_arg_t {
            vtca_id vtca_key vtca_pad vtca_entry
        }
        "varpd_client_target_walk_arg_t" door::varpd_client_target_walk_arg_t {
            vtcw_id vtcw_marker vtcw_count
        }
        "varpd_client_arg_t" door::varpd_client_arg_t { vca_command vca_errno vca_un }
        "varpd_client_eresp_t" door::varpd_client_eresp_t { vce_command vce_errno }
    }
}

/// The LP64 forms with those replaced that differ in ILP32 by more than alignment.
fn ilp32() -> BTreeMap<&'static str, Layout> {
    let mut all = lp64();
    all.extend(layouts! {
        "overlay_targ_resp_t" target::ilp32::overlay_targ_resp_t { otr_reqid otr_answer }
        "overlay_targ_pkt_t" target::ilp32::overlay_targ_pkt_t {
            otp_linkid otp_reqid otp_size otp_buf
        }
        "varpd_client_create_arg_t" door::ilp32::varpd_client_create_arg_t {
            vcca_linkid vcca_id vcca_plugin
        }
        "varpd_client_prop_arg_t" door::ilp32::varpd_client_prop_arg_t {
            vcpa_id vcpa_propid vcpa_buf vcpa_bufsize
        }
        "varpd_client_target_cache_arg_t" door::ilp32::varpd_client_target_cache_arg_t {
            vtca_id vtca_key vtca_pad vtca_entry
        }
    });
    all
}

/// The LP64 forms of v2: those of v1 with the changed ones replaced and the new ones added.
fn v2_lp64() -> BTreeMap<&'static str, Layout> {
    use overlay_abi::{door, provider, target};
    let mut all = lp64();
    all.extend(layouts! {
        "overlay_target_point_t" target::v2::overlay_target_point_t { otp_ip otp_port otp_mac }
        "overlay_target_mac_t" target::v2::overlay_target_mac_t { otm_dcid otm_mac }
        "overlay_target_route_t" target::v2::overlay_target_route_t {
            otr_vnet otr_srcmac otr_vlan
        }
        "overlay_targ_info_t" target::v2::overlay_targ_info_t {
            oti_linkid oti_needs oti_flags oti_vnetid oti_dcid
        }
        "overlay_targ_associate_t" target::v2::overlay_targ_associate_t {
            ota_linkid ota_mode ota_id ota_provides ota_point
        }
        "overlay_targ_l2_t" target::v2::overlay_targ_l2_t {
            otl2_srcaddr otl2_dstaddr otl2_dsttype otl2_sap
        }
        "overlay_targ_l3_t" target::v2::overlay_targ_l3_t { otl3_srcip otl3_dstip }
        "overlay_targ_lookup_t" target::v2::overlay_targ_lookup_t {
            otl_dlid otl_reqid otl_varpdid otl_vnetid otl_hdrsize otl_pktsize otl_addru otl_vlan
            otl_l3req
        }
        "overlay_targ_resp_t" target::v2::overlay_targ_resp_t {
            otr_reqid otr_route otr_mac otr_answer
        }
        "overlay_targ_cache_entry_t" target::v2::overlay_targ_cache_entry_t {
            otce_mac otce_flags otce_dest
        }
        "overlay_targ_cache_net_entry_t" target::v2::overlay_targ_cache_net_entry_t {
            otcne_src otcne_dst otcne_vlan otcne_src_prefixlen otcne_dst_prefixlen
        }
        "overlay_targ_cache_t" target::v2::overlay_targ_cache_t { otc_linkid otc_entry }
        "overlay_targ_cache_net_t" target::v2::overlay_targ_cache_net_t { otcn_linkid otcn_entry }
        "overlay_targ_cache_iter_t" target::v2::overlay_targ_cache_iter_t {
            otci_linkid otci_pad otci_marker otci_count otci_pad2
        }
        "varpd_plugin_ops_t" provider::v2::varpd_plugin_ops_t {
            vpo_callbacks vpo_create vpo_start vpo_stop vpo_destroy vpo_default vpo_lookup
            vpo_nprops vpo_propinfo vpo_getprop vpo_setprop vpo_save vpo_restore vpo_arp vpo_dhcp
        }
        "varpd_client_target_cache_arg_t" door::v2::varpd_client_target_cache_arg_t {
            vtca_id vtca_dcid vtca_key vtca_pad vtca_entry
        }
        "varpd_client_target_walk_arg_t" door::v2::varpd_client_target_walk_arg_t {
            vtcw_id vtcw_marker vtcw_count
        }
    });
    all
}

/// Those of v2 with the ones replaced that differ in ILP32.
fn v2_ilp32() -> BTreeMap<&'static str, Layout> {
    let (mut all, v1) = (v2_lp64(), ilp32());
    for (name, layout) in v1 {
        let differs =
            ["overlay_targ_pkt_t", "varpd_client_create_arg_t", "varpd_client_prop_arg_t"];
        if differs.contains(&name) {
            all.insert(name, layout);
        }
    }
    all.extend(layouts! {
        "overlay_targ_info_t" target::v2::ilp32::overlay_targ_info_t {
            oti_linkid oti_needs oti_flags oti_vnetid oti_dcid
        }
    });
    all
}

/// Structures of the headers that are not part of any boundary, each with the reason.
fn excluded_struct(name: &str, model: &str) -> Option<&'static str> {
    let in_c_driver = "memory of the C driver (sys/overlay_impl.h), seen by nobody else";
    let in_c_varpd = "memory of the C libvarpd (libvarpd_impl.h), seen by nobody else";
    Some(match name {
        "dld_ioc_info_t" => "kernel interface between dld and drivers: illumos-sys-hdrs",
        "overlay_plugin_t"
        | "overlay_mux_t"
        | "struct overlay_target_dyn"
        | "overlay_target_t"
        | "overlay_dev_t"
        | "overlay_target_entry_t"
        | "overlay_target_vl2_t"
        | "overlay_target_vl3_t"
        | "qqcache_link_t"
        | "qqcache_list_t"
        | "qqcache_t" => in_c_driver,
        "varpd_plugin_t" | "varpd_impl_t" | "varpd_instance_t" | "varpd_query_t" => in_c_varpd,
        "nvlist_parse_json_error_t" => "memory of the C files plugin",
        "dladm_overlay_point_t" | "dladm_overlay_status_t" => "C API of libdladm: lib/libdladm",
        "varpd_plugin_ops_t" | "varpd_plugin_register_t" if model == "user_i386" => {
            "we build varpd and plugins for 64 bits only; shared between programs of one model"
        }
        _ if name.starts_with("svp_") => "the svp plugin and its protocol: lib/svp",
        _ => return None,
    })
}

fn json() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/abi/abi.json");
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| {
        panic!("cannot read {path}: {e}; it comes with the project's shared files")
    });
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn number(v: &Value) -> usize {
    v.as_u64().expect("a number") as usize
}

fn text(v: &Value) -> &str {
    v.as_str().expect("a text")
}

/// Whether we do on purpose other than the C header.
fn better(version: &str, name: &str) -> bool {
    // Without the packing that v1 has the kernel would read and write 4 bytes behind a 32-bit
    // program's structure (hazard `pkt32-pack`): v2 keeps the 28 bytes of v1.
    version == "vpc" && name == "overlay_targ_pkt32_t"
}

fn compare(version: &str, model: &str, ours: &BTreeMap<&str, Layout>) {
    let json = json();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for c in json[version][model]["structs"].as_array().expect("structs") {
        let name = text(&c["name"]);
        if excluded_struct(name, model).is_some() || better(version, name) {
            continue;
        }
        let Some(rust) = ours.get(name) else {
            wrong.push(format!("{name} ({}) is neither here nor excluded", c["header"]));
            continue;
        };
        seen += 1;
        if rust.size != number(&c["size"]) {
            wrong.push(format!("{name}: size {} but C has {}", rust.size, c["size"]));
        }
        // In ILP32 u64 aligns to 4. That changes the alignment of a structure as a whole but never
        // its bytes, which are checked by the offsets; ours may therefore align to 8.
        let align = number(&c["align"]);
        if rust.align != align && !(model == "user_i386" && align == 4 && rust.align == 8) {
            wrong.push(format!("{name}: align {} but C has {align}", rust.align));
        }
        let mut fields: BTreeMap<&str, (usize, usize)> =
            rust.fields.iter().map(|(n, o, s)| (*n, (*o, *s))).collect();
        for f in c["fields"].as_array().expect("fields") {
            let (field, offset, size) =
                (text(&f["name"]), number(&f["offset"]), number(&f["size"]));
            // One field, two names: see overlay_ioc_create_t.
            let field = if field == "oic_filler" { "oic_dcid" } else { field };
            let (o, s) = if let Some(found) = fields.remove(field) {
                found
            } else if size == 0 {
                // A flexible array: it begins where our structure ends.
                (rust.size, 0)
            } else if let Some((union, _)) = field.split_once('.') {
                let member = ours.get(text(&f["type"])).map_or(0, |l| l.size);
                let at = rust.fields.iter().find(|(n, ..)| *n == union).expect("the union").1;
                (at, member)
            } else {
                wrong.push(format!("{name}.{field} is missing"));
                continue;
            };
            if (o, s) != (offset, size) {
                wrong
                    .push(format!("{name}.{field}: {s} bytes at {o} but C has {size} at {offset}"));
            }
        }
        wrong.extend(fields.keys().map(|f| format!("{name}.{f} is not in C")));
    }
    assert!(wrong.is_empty(), "{model}:\n{}", wrong.join("\n"));
    assert!(seen >= 18, "{model}: only {seen} structures in abi.json");
}

#[test]
fn structures_of_the_kernel() {
    compare("base", "kernel_amd64", &lp64());
}

#[test]
fn structures_of_64_bit_programs() {
    compare("base", "user_amd64", &lp64());
}

#[test]
fn structures_of_32_bit_programs() {
    compare("base", "user_i386", &ilp32());
}

#[test]
fn v2_structures_of_the_kernel() {
    compare("vpc", "kernel_amd64", &v2_lp64());
}

#[test]
fn v2_structures_of_64_bit_programs() {
    compare("vpc", "user_amd64", &v2_lp64());
}

#[test]
fn v2_structures_of_32_bit_programs() {
    compare("vpc", "user_i386", &v2_ilp32());
}

/// The original's 32-bit PKT lost its packing in the routed form: 32 bytes, of which its callers
/// have 28.
#[test]
fn s10_pkt_of_a_32_bit_program_stays_28_bytes_in_v2() {
    assert_eq!(size_of::<target::overlay_targ_pkt32_t>(), 28);
    let theirs = json()["vpc"]["user_i386"]["structs"]
        .as_array()
        .expect("structs")
        .iter()
        .find(|s| s["name"] == "overlay_targ_pkt_t")
        .map(|s| number(&s["size"]));
    assert_eq!(theirs, Some(28));
}

/// Structures of v2 that the original does not have keep their sizes: both ends are built apart.
#[test]
fn v2_structures_of_our_own() {
    assert_eq!(size_of::<target::v2::overlay_targ_route_entry_t>(), 88);
    assert_eq!(size_of::<target::v2::overlay_targ_route_iter_t>(), 48);
    assert_eq!(size_of::<door::v2::varpd_client_route_walk_arg_t>(), 64);
    assert_eq!(door::v2::walk_len(2), 8 + 32 + 2 * 40);
    assert_eq!(door::v2::route_walk_len(2), 8 + 64 + 2 * 88);
}

/// A lookup says what it is about, and is not taken for the other kind.
#[test]
fn v2_lookups_are_about_one_thing() {
    use target::v2::*;
    use zerocopy::FromZeros;
    let mut a = overlay_targ_lookup_t::new_zeroed();
    let l3 = About::L3(overlay_targ_l3_t { otl3_srcip: [1; 16], otl3_dstip: [2; 16] });
    a.set_about(l3);
    assert_eq!((a.about(), a.otl_l3req), (l3, 1));
    assert_eq!(a.otl_addru[16..], [2; 16]);
    let l2 = About::L2(overlay_targ_l2_t {
        otl2_srcaddr: [3; 6],
        otl2_dstaddr: [4; 6],
        otl2_dsttype: 1,
        otl2_sap: 0x806,
    });
    a.set_about(l2);
    assert_eq!((a.about(), a.otl_l3req), (l2, 0));
    assert_eq!(a.otl_addru[20..], [0; 12], "nothing of the route is left");
}

macro_rules! numbers {
    ($($m:ident :: { $($c:ident)* })*) => {
        BTreeMap::from([$($((stringify!($c), $m::$c as i64)),*),*])
    };
}

fn our_numbers() -> BTreeMap<&'static str, i64> {
    numbers! {
        dld::{
            DLD_IOC VNIC_IOC OVERLAY_IOC DLDCOPYIN DLDCOPYOUT DLDCOPYINOUT
            OVERLAY_PROP_NAMELEN OVERLAY_PROP_SIZEMAX OVERLAY_STATUS_BUFLEN MAXLINKNAMELEN
            OVERLAY_IOC_CREATE OVERLAY_IOC_DELETE OVERLAY_IOC_PROPINFO OVERLAY_IOC_GETPROP
            OVERLAY_IOC_SETPROP OVERLAY_IOC_NPROPS OVERLAY_IOC_ACTIVATE OVERLAY_IOC_STATUS
            OVERLAY_I_OK OVERLAY_I_DEGRADED
        }
        target::{
            OVERLAY_TARG_IOCTL OVERLAY_TARG_INFO OVERLAY_TARG_ASSOCIATE OVERLAY_TARG_DISASSOCIATE
            OVERLAY_TARG_DEGRADE OVERLAY_TARG_RESTORE OVERLAY_TARG_LOOKUP OVERLAY_TARG_RESPOND
            OVERLAY_TARG_DROP OVERLAY_TARG_INJECT OVERLAY_TARG_PKT OVERLAY_TARG_RESEND
            OVERLAY_TARG_LIST OVERLAY_TARG_CACHE_GET OVERLAY_TARG_CACHE_SET
            OVERLAY_TARG_CACHE_REMOVE OVERLAY_TARG_CACHE_FLUSH OVERLAY_TARG_CACHE_ITER
            OVERLAY_TARGET_ITER_MAX OVERLAY_TARGET_CACHE_DROP
            OVERLAY_TARGET_NONE OVERLAY_TARGET_POINT OVERLAY_TARGET_DYNAMIC
            OVERLAY_PLUGIN_D_INVALID OVERLAY_PLUGIN_D_ETHERNET OVERLAY_PLUGIN_D_IP
            OVERLAY_PLUGIN_D_PORT OVERLAY_PLUGIN_D_MASK
            OVERLAY_TARG_INFO_F_ACTIVE OVERLAY_TARG_INFO_F_DEGRADED
        }
        props::{
            OVERLAY_PROP_T_INT OVERLAY_PROP_T_UINT OVERLAY_PROP_T_IP OVERLAY_PROP_T_STRING
            OVERLAY_PROP_PERM_REQ OVERLAY_PROP_PERM_READ OVERLAY_PROP_PERM_WRITE
            OVERLAY_PROP_PERM_RW OVERLAY_PROP_PERM_RRW OVERLAY_PROP_PERM_MASK
        }
        door::{
            VARPD_CLIENT_INVALID VARPD_CLIENT_CREATE VARPD_CLIENT_ACTIVATE VARPD_CLIENT_DESTROY
            VARPD_CLIENT_NPROPS VARPD_CLIENT_PROPINFO VARPD_CLIENT_GETPROP VARPD_CLIENT_SETPROP
            VARPD_CLIENT_LOOKUP VARPD_CLIENT_TARGET_MODE VARPD_CLIENT_CACHE_FLUSH
            VARPD_CLIENT_CACHE_DELETE VARPD_CLIENT_CACHE_GET VARPD_CLIENT_CACHE_SET
            VARPD_CLIENT_CACHE_WALK VARPD_CLIENT_MAX
            LIBVARPD_PROP_NAMELEN LIBVARPD_PROP_SIZEMAX LIBVARPD_ID_MIN LIBVARPD_ID_MAX
        }
        provider::{
            VARPD_VERSION_ONE VARPD_CURRENT_VERSION VARPD_LOOKUP_OK VARPD_LOOKUP_DROP
            VARPD_QTYPE_ETHERNET
        }
        encap::{ OVEP_VERSION_ONE OVEP_VERSION OVEP_F_VLAN_TAG }
        vxlan::{ VXLAN_HDR_LEN VXLAN_ID_LEN VXLAN_F_VDI VXLAN_ID_SHIFT IPPORT_VXLAN }
    }
}

/// All numbers of v2.
fn v2_numbers() -> BTreeMap<&'static str, i64> {
    use target::v2;
    let mut all = our_numbers();
    all.extend(numbers! {
        v2::{ OVERLAY_TARG_CACHE_REMOVE_NET OVERLAY_TARGET_CACHE_ROUTER }
        props::{ OVERLAY_PROP_T_ETHER }
    });
    all
}

/// Constants and enumerators of our headers that are no part of a boundary.
fn excluded_number(name: &str) -> bool {
    // Flags and results inside of the C driver (sys/overlay_impl.h) and of the C libvarpd.
    const INSIDE: [&str; 5] = [
        "OVERLAY_CTL",
        "OVERLAY_TARGET_OK",
        "OVERLAY_TARGET_DROP",
        "OVERLAY_TARGET_ASYNC",
        "NVJSON",
    ];
    const INSIDE_PREFIX: [&str; 5] =
        ["OVERLAY_T_TEARDOWN", "OVERLAY_F_", "OVERLAY_ENTRY_F_", "VARPD_INSTANCE_F_", "QQCACHE_"];
    // Module ids of drivers we do not talk to, and a path, compared on its own.
    const OTHERS: [&str; 6] =
        ["AGGR_IOC", "SIMNET_IOC", "IPTUN_IOC", "BRIDGE_IOC", "IBPART_IOC", "DLD_CONTROL_DEV"];
    INSIDE.contains(&name)
        || INSIDE_PREFIX.iter().any(|p| name.starts_with(p))
        || OTHERS.contains(&name)
}

/// Whether a header is one of those this crate stands for.
fn our_header(header: &str) -> bool {
    let name = header.rsplit('/').next().unwrap_or(header);
    (name.starts_with("overlay") || name.starts_with("libvarpd") || name.starts_with("vxlan"))
        && !name.starts_with("libvarpd_svp")
        && !name.starts_with("libvarpd_files")
        || header == "sys/dld_ioc.h"
}

/// Compares the numbers of one version in all models.
fn compare_numbers(version: &str, ours: &BTreeMap<&str, i64>) {
    let json = json();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for model in ["kernel_amd64", "user_amd64", "user_i386"] {
        let theirs = &json[version][model];
        let mut all: Vec<(&str, &str, Option<i64>)> = Vec::new();
        for (name, c) in theirs["constants"].as_object().expect("constants") {
            all.push((name, text(&c["header"]), c["value"].as_i64()));
        }
        for (_, e) in theirs["enums"].as_object().expect("enums") {
            for (name, value) in e["values"].as_object().expect("values") {
                all.push((name, text(&e["header"]), value.as_i64()));
            }
        }
        for (name, header, value) in all {
            match ours.get(name) {
                Some(our) if Some(*our) == value => seen += 1,
                Some(our) => wrong.push(format!("{model} {name}: {our} but C has {value:?}")),
                None if our_header(header) && !excluded_number(name) => {
                    wrong.push(format!("{model} {name} ({header}) is neither here nor excluded"));
                }
                None => {}
            }
        }
    }
    let path = &json[version]["kernel_amd64"]["constants"]["DLD_CONTROL_DEV"]["string"];
    assert_eq!(path.as_str(), Some(dld::DLD_CONTROL_DEV));
    assert_eq!(json[version]["ioctls"]["target_device"].as_str(), Some(target::OVERLAY_DEV));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 150, "only {seen} numbers compared");
}

#[test]
fn constants_and_enumerations() {
    compare_numbers("base", &our_numbers());
}

#[test]
fn v2_constants_and_enumerations() {
    compare_numbers("vpc", &v2_numbers());
}

/// Compares which structure goes with which ioctl; how many ioctls there are.
fn compare_ioctls(
    version: &str,
    (ours, ours32): (BTreeMap<&str, Layout>, BTreeMap<&str, Layout>),
    numbers: &BTreeMap<&str, i64>,
) -> usize {
    let json = json();
    let mut seen = 0;
    for (group, size, size32) in
        [("dld", "argsize", "argsize_ilp32"), ("target", "argsize_kernel", "argsize_ilp32_user")]
    {
        for i in json[version]["ioctls"][group].as_array().expect("ioctls") {
            let (name, arg) = (text(&i["name"]), text(&i["arg"]));
            assert_eq!(numbers.get(name), i["value"].as_i64().as_ref(), "{name}");
            assert_eq!(ours[arg].size, number(&i[size]), "{name}");
            assert_eq!(ours32[arg].size, number(&i[size32]), "{name}");
            seen += 1;
        }
    }
    seen
}

#[test]
fn ioctls_take_the_structures_they_should() {
    let numbers = our_numbers();
    assert_eq!(compare_ioctls("base", (lp64(), ilp32()), &numbers), 25);
    assert!(!numbers.values().any(|n| *n == i64::from(target::OVERLAY_TARG_ABI)));
}

#[test]
fn v2_ioctls_take_the_structures_they_should() {
    let numbers = v2_numbers();
    assert_eq!(compare_ioctls("vpc", (v2_lp64(), v2_ilp32()), &numbers), 26);
    for ours in [target::OVERLAY_TARG_ABI, target::v2::OVERLAY_TARG_ROUTE_ITER] {
        assert!(!numbers.values().any(|n| *n == i64::from(ours)));
    }
}

#[test]
fn error_numbers() {
    let json = json();
    let mut seen = 0;
    for (name, c) in json["base"]["kernel_amd64"]["constants"].as_object().expect("constants") {
        if c["header"] != "sys/errno.h" {
            continue;
        }
        let value = c["value"].as_i64().expect("a number") as i32;
        let expected = if name == "EWOULDBLOCK" { "EAGAIN" } else { name };
        assert_eq!(Errno(value).name(), expected);
        seen += 1;
    }
    assert!(seen > 120, "only {seen} error numbers");
}

#[cfg(target_os = "linux")]
#[test]
fn error_numbers_of_the_host() {
    for (illumos, host) in [
        (Errno::ENOENT, libc::ENOENT),
        (Errno::EAGAIN, libc::EAGAIN),
        (Errno::EDEADLK, libc::EDEADLK),
        (Errno::ENAMETOOLONG, libc::ENAMETOOLONG),
        (Errno::ECANCELED, libc::ECANCELED),
        (Errno::ENOTSUP, libc::ENOTSUP),
        (Errno::ETIME, libc::ETIME),
        (Errno::EPROTO, libc::EPROTO),
        (Errno::EOVERFLOW, libc::EOVERFLOW),
        (Errno::ENOSYS, libc::ENOSYS),
        (Errno::ELOOP, libc::ELOOP),
        (Errno::EBADMSG, libc::EBADMSG),
        (Errno::EILSEQ, libc::EILSEQ),
        (Errno::EUSERS, libc::EUSERS),
        (Errno::ENOTSOCK, libc::ENOTSOCK),
        (Errno::EMSGSIZE, libc::EMSGSIZE),
        (Errno::EAFNOSUPPORT, libc::EAFNOSUPPORT),
        (Errno::EADDRINUSE, libc::EADDRINUSE),
        (Errno::EADDRNOTAVAIL, libc::EADDRNOTAVAIL),
        (Errno::ENETUNREACH, libc::ENETUNREACH),
        (Errno::ECONNRESET, libc::ECONNRESET),
        (Errno::ENOBUFS, libc::ENOBUFS),
        (Errno::ETIMEDOUT, libc::ETIMEDOUT),
        (Errno::ECONNREFUSED, libc::ECONNREFUSED),
        (Errno::EHOSTUNREACH, libc::EHOSTUNREACH),
        (Errno::EINPROGRESS, libc::EINPROGRESS),
        (Errno::ESTALE, libc::ESTALE),
    ] {
        assert_eq!(illumos.to_host(), host, "{illumos:?}");
        assert_eq!(Errno::from_host(host), illumos, "{illumos:?}");
    }
    assert_eq!(Errno::from_host(-1), Errno::EIO);
    assert_eq!(Errno::from_host(12345), Errno::EIO);
    assert_eq!(Errno(4711).to_host(), libc::EIO);
}

/// The standard dld structures and those of VNICs, against `kernel_abi.json`.
#[test]
fn structures_of_dld_and_vnics() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/abi/kernel_abi.json");
    let file = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {path}: {e}"));
    let json: Value = serde_json::from_str(&file).unwrap_or_else(|e| panic!("{path}: {e}"));
    let structs = json["base"]["structs"].as_array().expect("structs");
    let find = |name: &str| structs.iter().find(|s| s["name"] == name).expect("a structure");
    let ours = layouts! {
        "dld_ioc_attr_t" dld::dld_ioc_attr_t { dia_linkid dia_max_sdu }
        "dld_ioc_macaddrget_t" dld::dld_ioc_macaddrget_t { dig_linkid dig_count dig_size }
        "dld_macaddrinfo_t" dld::dld_macaddrinfo_t {
            dmi_slot dmi_flags dmi_addrlen dmi_addr dmi_client_name dma_client_linkid
        }
        "dld_ioc_macprop_t" dld::dld_ioc_macprop_t {
            pr_flags pr_linkid pr_num pr_perm_flags pr_name pr_valsize pr_val
        }
    };
    for (name, rust) in &ours {
        let c = find(name);
        assert_eq!((rust.size, rust.align), (number(&c["size"]), number(&c["align"])), "{name}");
        let fields: Vec<_> = c["fields"]
            .as_array()
            .expect("fields")
            .iter()
            .map(|f| (text(&f["name"]), number(&f["offset"]), number(&f["size"])))
            .collect();
        assert_eq!(rust.fields, fields, "{name}");
    }
    assert_eq!(core::mem::offset_of!(dld::dld_ioc_macprop_t, pr_val), dld::DLD_MACPROP_VAL);
    assert_eq!(number(&find("mac_resource_props_t")["size"]), vnic::MAC_RESOURCE_PROPS_SIZE);
    assert_eq!(number(&json["base"]["scalar_types"]["vrid_t"]["size"]), 4);
    for (name, value) in [
        ("DLDIOC_ATTR", dld::DLDIOC_ATTR),
        ("DLDIOC_MACADDRGET", dld::DLDIOC_MACADDRGET),
        ("DLDIOC_SETMACPROP", dld::DLDIOC_SETMACPROP),
        ("DLDIOC_GETMACPROP", dld::DLDIOC_GETMACPROP),
        ("DLDIOCMACADDR_USED", dld::DLDIOCMACADDR_USED),
        ("MAC_PROP_PERM_RW", dld::MAC_PROP_PERM_RW),
        ("VNIC_IOC", vnic::VNIC_IOC_CREATE >> 16),
    ] {
        assert_eq!(json["base"]["constants"][name]["value"].as_u64(), Some(value.into()), "{name}");
    }
    let mtu = &json["base"]["enums"]["mac_prop_id_t"]["values"]["MAC_PROP_MTU"];
    assert_eq!(mtu.as_i64(), Some(dld::MAC_PROP_MTU.into()));
    // Not in the file; by the order of members in sys/vnic.h with 4-byte packing.
    assert_eq!(core::mem::offset_of!(vnic::vnic_ioc_create_t, vc_vid), 44);
    assert_eq!(core::mem::offset_of!(vnic::vnic_ioc_create_t, vc_vrid), 48);
    assert_eq!(size_of::<vnic::vnic_ioc_create_t>(), 68 + vnic::MAC_RESOURCE_PROPS_SIZE);
    assert_eq!(size_of::<vnic::vnic_info_t>(), 60 + vnic::MAC_RESOURCE_PROPS_SIZE);
}
