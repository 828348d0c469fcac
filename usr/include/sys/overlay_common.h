/* SPDX-License-Identifier: CDDL-1.0 */
#ifndef _SYS_OVERLAY_COMMON_H
#define	_SYS_OVERLAY_COMMON_H

/*
 * What the overlay driver, its plugins, varpd and varpd's plugins have in
 * common.
 *
 * A property's value is bytes: numbers are 8 (readers take 1, 2 and 4 as
 * well), an address is a struct in6_addr with IPv4 in its v4-mapped form, text
 * has its NUL. No bytes at all: the property is not set.
 *
 * There are two versions of what varpd says to the driver and to its plugins.
 * Version 2 is that of routed overlays: it has data centers, routers and routes,
 * and structures of the same names with other layouts. Who wants it defines
 * OVERLAY_ABI_VERSION as 2 before including any of these headers.
 */

#ifndef OVERLAY_ABI_VERSION
#define	OVERLAY_ABI_VERSION	1
#endif

#include <sys/types.h>
#include <netinet/in.h>
#ifdef __sun
#include <sys/mac.h>
#else
/*
 * So that programs against these headers compile where the system's own do not
 * name these types.
 */
#include <stdint.h>
typedef unsigned int	uint_t;
typedef uint32_t	datalink_id_t;

/* What a property may be; at most 256 bytes. */
typedef enum {
	MAC_PROPVAL_UINT8,
	MAC_PROPVAL_UINT32,
	MAC_PROPVAL_STR
} mac_propval_type_t;

typedef struct mac_propval_uint32_range_s {
	uint32_t	mpur_min;
	uint32_t	mpur_max;
} mac_propval_uint32_range_t;

typedef struct mac_propval_str_range_s {
	uint32_t	mpur_nextbyte;	/* bytes in use */
	char		mpur_data[1];	/* texts, one behind the other */
} mac_propval_str_range_t;

typedef struct mac_propval_range_s {
	uint_t			mpr_count;
	mac_propval_type_t	mpr_type;
	union {
		mac_propval_uint32_range_t	mpr_uint32[1];
		mac_propval_str_range_t		mpr_str;
	} u;
} mac_propval_range_t;

#define	mpr_range_uint32	u.mpr_uint32
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* How an overlay finds out where a frame goes. */
typedef enum overlay_target_mode {
	OVERLAY_TARGET_NONE	= 0,	/* not at all: nothing is associated */
	OVERLAY_TARGET_POINT	= 1,	/* all frames go to one place */
	OVERLAY_TARGET_DYNAMIC	= 2	/* varpd is asked for each address */
} overlay_target_mode_t;

/* The parts of a destination that an encapsulation needs; a set of bits. */
typedef enum overlay_plugin_dest {
	OVERLAY_PLUGIN_D_INVALID	= 0x0,
	OVERLAY_PLUGIN_D_ETHERNET	= 0x1,
	OVERLAY_PLUGIN_D_IP		= 0x2,
	OVERLAY_PLUGIN_D_PORT		= 0x4,
	OVERLAY_PLUGIN_D_MASK		= 0x7
} overlay_plugin_dest_t;

typedef enum overlay_prop_type {
	OVERLAY_PROP_T_INT	= 0x1,
	OVERLAY_PROP_T_UINT	= 0x2,
	OVERLAY_PROP_T_IP	= 0x3,
	OVERLAY_PROP_T_STRING	= 0x4,
	OVERLAY_PROP_T_ETHER	= 0x5	/* 6 bytes; with version 2 */
} overlay_prop_type_t;

/*
 * A set of bits. REQ: there must be a value before the overlay is activated.
 */
typedef enum overlay_prop_prot {
	OVERLAY_PROP_PERM_REQ	= 0x1,
	OVERLAY_PROP_PERM_READ	= 0x2,
	OVERLAY_PROP_PERM_WRITE	= 0x4,
	OVERLAY_PROP_PERM_RW	= 0x6,
	OVERLAY_PROP_PERM_RRW	= 0x7,
	OVERLAY_PROP_PERM_MASK	= 0x7
} overlay_prop_prot_t;

#define	OVERLAY_PROP_NAMELEN	64	/* bytes of a name, its NUL included */
#define	OVERLAY_PROP_SIZEMAX	256	/* most bytes of a value, default, or set of possible values */
#define	OVERLAY_STATUS_BUFLEN	256	/* bytes of a message, its NUL included */

#ifdef __cplusplus
}
#endif

#endif	/* _SYS_OVERLAY_COMMON_H */
