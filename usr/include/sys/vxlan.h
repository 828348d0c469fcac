/* SPDX-License-Identifier: CDDL-1.0 */
#ifndef _SYS_VXLAN_H
#define	_SYS_VXLAN_H

/*
 * The header of VXLAN (RFC 7348, section 5), 8 bytes between UDP header and inner Ethernet frame.
 *
 *	 0                   1                   2                   3
 *	|R|R|R|R|I|R|R|R|            reserved                           |
 *	|          VXLAN network identifier (24 bits)   |   reserved    |
 *
 * Both words are in network byte order. The reserved bits are sent as zero and ignored on receipt.
 */

#include <sys/types.h>
#ifndef __sun
#include <stdint.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define	VXLAN_HDR_LEN	8		/* bytes of the header */
#define	VXLAN_ID_LEN	3		/* bytes of the identifier */
#define	VXLAN_F_VDI	0x08000000	/* of vxlan_flags, host order: I, the identifier is valid */
#define	VXLAN_ID_SHIFT	8		/* of vxlan_id, host order: what stands behind the identifier */

#pragma pack(1)
typedef struct vxlan_hdr {
	uint32_t	vxlan_flags;
	uint32_t	vxlan_id;
} vxlan_hdr_t;
#pragma pack()

#ifdef __cplusplus
}
#endif

#endif	/* _SYS_VXLAN_H */
