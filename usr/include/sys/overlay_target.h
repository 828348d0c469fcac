/* SPDX-License-Identifier: CDDL-1.0 */
#ifndef _SYS_OVERLAY_TARGET_H
#define	_SYS_OVERLAY_TARGET_H

/*
 * Ioctls of /dev/overlay, by which varpd tells the driver where frames go.
 * Those that change something need the device to be open for writing, which
 * only one process at a time can have, exclusively.
 *
 * Ports are in host byte order, addresses in network order.
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
 * A destination; which members count is said by the plugin's
 * overlay_plugin_dest_t.
 */
typedef struct overlay_target_point {
	uint8_t		otp_mac[6];
	struct in6_addr	otp_ip;		/* IPv4 as v4-mapped */
	uint16_t	otp_port;
} overlay_target_point_t;

typedef enum overlay_targ_info_flags {
	OVERLAY_TARG_INFO_F_ACTIVE	= 0x1,
	OVERLAY_TARG_INFO_F_DEGRADED	= 0x2
} overlay_targ_info_flags_t;

typedef struct overlay_targ_info {
	datalink_id_t	oti_linkid;
	uint32_t	oti_needs;	/* out: overlay_plugin_dest_t */
	uint64_t	oti_flags;	/* out: overlay_targ_info_flags_t */
	uint64_t	oti_vnetid;	/* out */
} overlay_targ_info_t;

typedef struct overlay_targ_associate {
	datalink_id_t	ota_linkid;
	uint32_t	ota_mode;	/* overlay_target_mode_t, not NONE */
	uint64_t	ota_id;		/* varpd's instance, not 0 */
	uint32_t	ota_provides;	/* exactly what INFO said is needed */
	overlay_target_point_t	ota_point;	/* mode POINT */
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
	uint8_t		otl_srcaddr[6];
	uint8_t		otl_dstaddr[6];
	uint32_t	otl_dsttype;	/* mac_addrtype_t: unicast, multicast, broadcast */
	uint32_t	otl_sap;	/* EtherType */
	int32_t		otl_vlan;	/* VLAN id, 0: untagged */
} overlay_targ_lookup_t;

/* Of RESPOND and DROP, which must come from the open that got the lookup. */
typedef struct overlay_targ_resp {
	uint64_t	otr_reqid;
	overlay_target_point_t	otr_answer;
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

typedef struct overlay_targ_cache_entry {
	uint8_t		otce_mac[6];
	uint16_t	otce_flags;
	overlay_target_point_t	otce_dest;
} overlay_targ_cache_entry_t;

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
	uint64_t	otci_marker;
	uint16_t	otci_count;	/* in: room; out: entries */
	uint8_t		otci_pad2[3];
	overlay_targ_cache_entry_t	otci_ents[];
} overlay_targ_cache_iter_t;

#ifdef __cplusplus
}
#endif

#endif	/* _SYS_OVERLAY_TARGET_H */
