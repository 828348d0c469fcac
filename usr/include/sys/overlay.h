/* SPDX-License-Identifier: CDDL-1.0 */
#ifndef _SYS_OVERLAY_H
#define	_SYS_OVERLAY_H

/*
 * Ioctls that administer overlay links, on the control device /dev/dld. Each
 * takes the structure of its name; all layouts are the same for 32- and 64-bit
 * programs. Every one but STATUS needs the privilege to configure links.
 */

#include <sys/overlay_common.h>

#ifdef __cplusplus
extern "C" {
#endif

#define	OVERLAY_IOC_CREATE	0x20050001
#define	OVERLAY_IOC_DELETE	0x20050002
#define	OVERLAY_IOC_PROPINFO	0x20050003
#define	OVERLAY_IOC_GETPROP	0x20050004
#define	OVERLAY_IOC_SETPROP	0x20050005
#define	OVERLAY_IOC_NPROPS	0x20050006
#define	OVERLAY_IOC_ACTIVATE	0x20050007
#define	OVERLAY_IOC_STATUS	0x20050008

typedef struct overlay_ioc_create {
	datalink_id_t	oic_linkid;	/* a link id in use by no device */
#if OVERLAY_ABI_VERSION == 1
	uint32_t	oic_filler;	/* zero */
#else
	uint32_t	oic_dcid;	/* data center, 0: none */
#endif
	uint64_t	oic_vnetid;
	char		oic_encap[32];	/* encapsulation plugin */
} overlay_ioc_create_t;

typedef struct overlay_ioc_activate {
	datalink_id_t	oia_linkid;
} overlay_ioc_activate_t;

typedef struct overlay_ioc_delete {
	datalink_id_t	oid_linkid;
} overlay_ioc_delete_t;

typedef struct overlay_ioc_nprops {
	datalink_id_t	oipn_linkid;
	int32_t		oipn_nprops;	/* out */
} overlay_ioc_nprops_t;

typedef struct overlay_ioc_propinfo {
	datalink_id_t	oipi_linkid;
	int32_t		oipi_id;	/* from 0; -1 in: look for oipi_name */
	char		oipi_name[OVERLAY_PROP_NAMELEN];
	uint_t		oipi_type;	/* out: overlay_prop_type_t */
	uint_t		oipi_prot;	/* out: overlay_prop_prot_t */
	uint8_t		oipi_default[OVERLAY_PROP_SIZEMAX];
	uint32_t	oipi_defsize;	/* out: 0 if there is no default */
	uint32_t	oipi_posssize;
	uint8_t		oipi_poss[OVERLAY_PROP_SIZEMAX];	/* out: mac_propval_range_t */
} overlay_ioc_propinfo_t;

/* Of GETPROP and SETPROP. */
typedef struct overlay_ioc_prop {
	datalink_id_t	oip_linkid;
	int32_t		oip_id;		/* as oipi_id */
	char		oip_name[OVERLAY_PROP_NAMELEN];
	uint8_t		oip_value[OVERLAY_PROP_SIZEMAX];
	uint32_t	oip_size;	/* bytes of oip_value that count */
} overlay_ioc_prop_t;

typedef enum overlay_status {
	OVERLAY_I_OK		= 0,
	OVERLAY_I_DEGRADED	= 1
} overlay_status_t;

typedef struct overlay_ioc_status {
	datalink_id_t	ois_linkid;
	uint_t		ois_status;	/* out: overlay_status_t */
	char		ois_message[OVERLAY_STATUS_BUFLEN];	/* out: why it is degraded */
} overlay_ioc_status_t;

#ifdef __cplusplus
}
#endif

#endif	/* _SYS_OVERLAY_H */
