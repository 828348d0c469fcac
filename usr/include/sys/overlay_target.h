/* SPDX-License-Identifier: CDDL-1.0 */
#ifndef _SYS_OVERLAY_TARGET_H
#define	_SYS_OVERLAY_TARGET_H

/*
 * Ioctls of /dev/overlay, by which varpd tells the driver where frames go.
 * Those that change something need the device to be open for writing, which
 * only one process at a time can have, exclusively.
 *
 * Ports are in host byte order, addresses in network order.
 *
 * An open speaks version 1 until it asks for version 2 with OVERLAY_TARG_ABI;
 * see sys/overlay_common.h. Commands of both have the same numbers.
 */

#include <sys/overlay_common.h>

#ifdef __cplusplus
extern "C" {
#endif

#define	OVERLAY_TARG_IOCTL		0x6f767400	/* 'o' 'v' 't' 0 */

/* Links. */
#define	OVERLAY_TARG_INFO		(OVERLAY_TARG_IOCTL | 0x01)
#define	OVERLAY_TARG_ASSOCIATE		(OVERLAY_TARG_IOCTL | 0x02)
#define	OVERLAY_TARG_DISASSOCIATE	(OVERLAY_TARG_IOCTL | 0x03)
#define	OVERLAY_TARG_DEGRADE		(OVERLAY_TARG_IOCTL | 0x04)
#define	OVERLAY_TARG_RESTORE		(OVERLAY_TARG_IOCTL | 0x05)
/* Lookups. */
#define	OVERLAY_TARG_LOOKUP		(OVERLAY_TARG_IOCTL | 0x10)
#define	OVERLAY_TARG_RESPOND		(OVERLAY_TARG_IOCTL | 0x11)
#define	OVERLAY_TARG_DROP		(OVERLAY_TARG_IOCTL | 0x12)
#define	OVERLAY_TARG_INJECT		(OVERLAY_TARG_IOCTL | 0x13)
#define	OVERLAY_TARG_PKT		(OVERLAY_TARG_IOCTL | 0x14)
#define	OVERLAY_TARG_RESEND		(OVERLAY_TARG_IOCTL | 0x15)
/* All links. */
#define	OVERLAY_TARG_LIST		(OVERLAY_TARG_IOCTL | 0x20)
/* The target cache. */
#define	OVERLAY_TARG_CACHE_GET		(OVERLAY_TARG_IOCTL | 0x30)
#define	OVERLAY_TARG_CACHE_SET		(OVERLAY_TARG_IOCTL | 0x31)
#define	OVERLAY_TARG_CACHE_REMOVE	(OVERLAY_TARG_IOCTL | 0x32)
#define	OVERLAY_TARG_CACHE_FLUSH	(OVERLAY_TARG_IOCTL | 0x33)
#define	OVERLAY_TARG_CACHE_ITER		(OVERLAY_TARG_IOCTL | 0x34)

/*
 * In: the highest version the caller knows. Out: the one that this open speaks
 * from now on. ENOTTY: a driver that has version 1 only.
 */
#define	OVERLAY_TARG_ABI		(OVERLAY_TARG_IOCTL | 0x40)

#if OVERLAY_ABI_VERSION != 1
/* Forgets routes: an overlay_targ_cache_net_t. */
#define	OVERLAY_TARG_CACHE_REMOVE_NET	(OVERLAY_TARG_IOCTL | 0x35)
/* An overlay_targ_route_iter_t. */
#define	OVERLAY_TARG_ROUTE_ITER		(OVERLAY_TARG_IOCTL | 0x41)
#endif

#if OVERLAY_ABI_VERSION == 1
/*
 * A destination; which members count is said by the plugin's
 * overlay_plugin_dest_t.
 */
typedef struct overlay_target_point {
	uint8_t		otp_mac[6];
	struct in6_addr	otp_ip;		/* IPv4 as v4-mapped */
	uint16_t	otp_port;
} overlay_target_point_t;
#else
/*
 * A destination; which members count is said by the plugin's
 * overlay_plugin_dest_t. No address and port 0: not a guest but a router.
 */
typedef struct overlay_target_point {
	struct in6_addr	otp_ip;		/* IPv4 as v4-mapped */
	uint16_t	otp_port;
	uint8_t		otp_mac[6];
} overlay_target_point_t;

/* Where a structure has one it is aligned so. */
#define	OVERLAY_TARGET_POINT_ALIGN	__attribute__((__aligned__(8)))

/* A guest. */
typedef struct overlay_target_mac {
	uint32_t	otm_dcid;	/* data center; in, 0: the link's own */
	uint8_t		otm_mac[6];
} overlay_target_mac_t;

/* What becomes of a packet that is routed. */
typedef struct overlay_target_route {
	uint64_t	otr_vnet;	/* the virtual network it goes to */
	uint8_t		otr_srcmac[6];	/* its new source: the router there */
	uint16_t	otr_vlan;	/* its new VLAN id, 0: untagged */
} overlay_target_route_t;
#endif

typedef enum overlay_targ_info_flags {
	OVERLAY_TARG_INFO_F_ACTIVE	= 0x1,
	OVERLAY_TARG_INFO_F_DEGRADED	= 0x2
} overlay_targ_info_flags_t;

typedef struct overlay_targ_info {
	datalink_id_t	oti_linkid;
	uint32_t	oti_needs;	/* out: overlay_plugin_dest_t */
	uint64_t	oti_flags;	/* out: overlay_targ_info_flags_t */
	uint64_t	oti_vnetid;	/* out */
#if OVERLAY_ABI_VERSION != 1
	uint32_t	oti_dcid;	/* out: the link's data center */
#endif
} overlay_targ_info_t;

typedef struct overlay_targ_associate {
	datalink_id_t	ota_linkid;
	uint32_t	ota_mode;	/* overlay_target_mode_t, not NONE */
	uint64_t	ota_id;		/* varpd's instance, not 0 */
	uint32_t	ota_provides;	/* exactly what INFO said is needed */
#if OVERLAY_ABI_VERSION == 1
	overlay_target_point_t	ota_point;	/* mode POINT */
#else
	overlay_target_point_t	ota_point OVERLAY_TARGET_POINT_ALIGN;
#endif
} overlay_targ_associate_t;

typedef struct overlay_targ_degrade {
	datalink_id_t	otd_linkid;
	uint32_t	otd_pad;
	char		otd_buf[OVERLAY_STATUS_BUFLEN];
} overlay_targ_degrade_t;

/* Of DISASSOCIATE and RESTORE. */
typedef struct overlay_targ_id {
	datalink_id_t	otid_linkid;
} overlay_targ_id_t;

#if OVERLAY_ABI_VERSION != 1
/*
 * In otl2_dsttype: the frame asks a router itself, by ARP or neighbour
 * discovery. varpd answers the latter with the help of vpo_arp by itself.
 */
#define	OVERLAY_TARG_DSTTYPE_ROUTER	0x40

/* What is said of a frame whose destination is wanted. */
typedef struct overlay_targ_l2 {
	uint8_t		otl2_srcaddr[6];
	uint8_t		otl2_dstaddr[6];
	uint32_t	otl2_dsttype;	/* mac_addrtype_t: unicast, multicast, broadcast */
	uint32_t	otl2_sap;	/* EtherType */
} overlay_targ_l2_t;

/* And of a packet whose route is. */
typedef struct overlay_targ_l3 {
	struct in6_addr	otl3_srcip;	/* IPv4 as v4-mapped */
	struct in6_addr	otl3_dstip;
} overlay_targ_l3_t;
#endif

/*
 * Out: a frame whose destination is wanted. LOOKUP waits a second for one,
 * then fails with ETIME.
 */
typedef struct overlay_targ_lookup {
	uint64_t	otl_dlid;	/* link */
	uint64_t	otl_reqid;	/* goes into the answer */
	uint64_t	otl_varpdid;	/* instance */
	uint64_t	otl_vnetid;
	uint64_t	otl_hdrsize;	/* bytes of the frame's Ethernet header */
	uint64_t	otl_pktsize;	/* bytes of the frame behind its header */
#if OVERLAY_ABI_VERSION == 1
	uint8_t		otl_srcaddr[6];
	uint8_t		otl_dstaddr[6];
	uint32_t	otl_dsttype;	/* mac_addrtype_t: unicast, multicast, broadcast */
	uint32_t	otl_sap;	/* EtherType */
	int32_t		otl_vlan;	/* VLAN id, 0: untagged */
#else
	union {
		overlay_targ_l2_t	otlu_l2;
		overlay_targ_l3_t	otlu_l3;
	} otl_addru;
	int32_t		otl_vlan;	/* VLAN id, 0: untagged */
	int		otl_l3req;	/* not 0: a route is wanted, see otlu_l3 */
#endif
} overlay_targ_lookup_t;

/* Of RESPOND and DROP, which must come from the open that got the lookup. */
typedef struct overlay_targ_resp {
	uint64_t	otr_reqid;
#if OVERLAY_ABI_VERSION == 1
	overlay_target_point_t	otr_answer;
#else
	overlay_target_route_t	otr_route;	/* if a route was wanted */
	overlay_target_mac_t	otr_mac;	/* likewise */
	overlay_target_point_t	otr_answer OVERLAY_TARGET_POINT_ALIGN;
#endif
} overlay_targ_resp_t;

/*
 * Of PKT, which copies out the frame of a lookup; INJECT, by which a frame
 * enters the link as if received; and RESEND, by which it leaves the link.
 */
typedef struct overlay_targ_pkt {
	uint64_t	otp_linkid;	/* all ones: the link of otp_reqid */
	uint64_t	otp_reqid;
	uint64_t	otp_size;	/* bytes at otp_buf; PKT, out: bytes copied */
	void		*otp_buf;
} overlay_targ_pkt_t;

/*
 * In: room for so many ids. Out: how many links there are, more than that or
 * not.
 */
typedef struct overlay_targ_list {
	uint32_t	otl_nents;
	uint32_t	otl_ents[];
} overlay_targ_list_t;

#define	OVERLAY_TARGET_CACHE_DROP	0x01	/* frames to this address are dropped */

#if OVERLAY_ABI_VERSION == 1
typedef struct overlay_targ_cache_entry {
	uint8_t		otce_mac[6];
	uint16_t	otce_flags;
	overlay_target_point_t	otce_dest;
} overlay_targ_cache_entry_t;
#else
#define	OVERLAY_TARGET_CACHE_ROUTER	0x02	/* the address is a router's */

typedef struct overlay_targ_cache_entry {
	overlay_target_mac_t	otce_mac;
	uint16_t	otce_flags;	/* one of the above or 0 */
	overlay_target_point_t	otce_dest OVERLAY_TARGET_POINT_ALIGN;
} overlay_targ_cache_entry_t;
#endif

typedef struct overlay_targ_cache {
	datalink_id_t	otc_linkid;
	overlay_targ_cache_entry_t	otc_entry;
} overlay_targ_cache_t;

#define	OVERLAY_TARGET_ITER_MAX	500	/* most entries of one ITER */

/*
 * Starts with a marker of 0, which then goes back as it came; no entries: that
 * was all.
 */
typedef struct overlay_targ_cache_iter {
	datalink_id_t	otci_linkid;
	uint32_t	otci_pad;
#if OVERLAY_ABI_VERSION == 1
	uint64_t	otci_marker;
#else
	uint64_t	otci_marker[2];
#endif
	uint16_t	otci_count;	/* in: room; out: entries */
	uint8_t		otci_pad2[3];
	overlay_targ_cache_entry_t	otci_ents[];
} overlay_targ_cache_iter_t;

#if OVERLAY_ABI_VERSION != 1
/*
 * The routes of packets that come with this VLAN id and whose addresses lie in
 * both prefixes. Those of IPv4 are v4-mapped, and their lengths 96 more.
 */
typedef struct overlay_targ_cache_net_entry {
	struct in6_addr	otcne_src;
	struct in6_addr	otcne_dst;
	uint16_t	otcne_vlan;	/* 0: untagged */
	uint8_t		otcne_src_prefixlen;	/* 0 to 128 */
	uint8_t		otcne_dst_prefixlen;
} overlay_targ_cache_net_entry_t;

typedef struct overlay_targ_cache_net {
	datalink_id_t	otcn_linkid;
	overlay_targ_cache_net_entry_t	otcn_entry;
} overlay_targ_cache_net_t;

/* What the driver knows of a route. */
typedef struct overlay_targ_route_entry {
	overlay_targ_l3_t	otre_addr;	/* what packets say */
	overlay_target_route_t	otre_route;	/* what becomes of them */
	overlay_target_mac_t	otre_mac;	/* whom they are for */
	uint16_t	otre_vlan;	/* VLAN id they come with, 0: none */
	uint16_t	otre_pad;
	overlay_target_point_t	otre_dest;	/* where that guest is; zero: will be asked */
} overlay_targ_route_entry_t;

/* As overlay_targ_cache_iter_t; what is opaque begins as zero. */
typedef struct overlay_targ_route_iter {
	datalink_id_t	otri_linkid;
	uint16_t	otri_count;	/* in: room; out: routes */
	uint16_t	otri_vlan;	/* opaque */
	overlay_targ_l3_t	otri_marker;	/* opaque */
	uint64_t	otri_state;	/* opaque */
	overlay_targ_route_entry_t	otri_ents[];
} overlay_targ_route_iter_t;
#endif

#ifdef __cplusplus
}
#endif

#endif	/* _SYS_OVERLAY_TARGET_H */
