/* SPDX-License-Identifier: CDDL-1.0 */
#ifndef _SYS_OVERLAY_PLUGIN_H
#define	_SYS_OVERLAY_PLUGIN_H

/*
 * What an encapsulation plugin, a kernel module below overlay/, and the
 * overlay driver are to each other.
 *
 * From its _init the module fills a registration it got from
 * overlay_plugin_alloc() and hands it to overlay_plugin_register(); from its
 * _fini it calls overlay_plugin_unregister(), which fails with EBUSY while a
 * link uses the plugin. The driver takes copies, so the registration is freed
 * right after registering.
 */

#include <sys/overlay_common.h>
#ifdef __sun
#include <sys/stream.h>
#include <sys/ksocket.h>
#else
#include <sys/socket.h>
typedef struct msgb	mblk_t;
typedef struct __ksocket	*ksocket_t;
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define	OVEP_VERSION_ONE	0x1
#define	OVEP_VERSION		OVEP_VERSION_ONE

typedef enum overlay_plugin_flags {
	OVEP_F_VLAN_TAG	= 0x1	/* inner frames may carry a VLAN tag */
} overlay_plugin_flags_t;

typedef struct ovep_encap_info {
	uint64_t	ovdi_id;	/* virtual network id; encap in, decap out */
	size_t		ovdi_hdr_size;	/* decap, out: bytes in front of the inner frame */
} ovep_encap_info_t;

typedef struct __overlay_prop_handle	*overlay_prop_handle_t;
typedef struct __overlay_handle		*overlay_handle_t;

/*
 * 0 or an errno. The second argument receives the plugin's private data of the
 * link.
 */
typedef int (*overlay_plugin_init_t)(overlay_handle_t, void **);
typedef void (*overlay_plugin_fini_t)(void *);
/*
 * Puts a header in front of the message and leaves the result, or NULL for a
 * message that was consumed, in the last argument. On an error the message
 * stays the caller's.
 */
typedef int (*overlay_plugin_encap_t)(void *, mblk_t *, ovep_encap_info_t *,
    mblk_t **);
/* Reads the header in front of the message; does not change the message. */
typedef int (*overlay_plugin_decap_t)(void *, mblk_t *, ovep_encap_info_t *);
/*
 * Domain, type and protocol of the socket, and the address it is bound to with
 * its length.
 */
typedef int (*overlay_plugin_socket_t)(void *, int *, int *, int *,
    struct sockaddr *, socklen_t *);
/* May be NULL: sets options of a socket just bound. */
typedef int (*overlay_plugin_sockopt_t)(ksocket_t);
/* Size: in, room; out, bytes of the value, 0 if it is not set. */
typedef int (*overlay_plugin_getprop_t)(void *, const char *, void *,
    uint32_t *);
typedef int (*overlay_plugin_setprop_t)(void *, const char *, const void *,
    uint32_t);
typedef int (*overlay_plugin_propinfo_t)(const char *, overlay_prop_handle_t);

typedef struct overlay_plugin_ops {
	uint_t				ovpo_callbacks;	/* zero */
	overlay_plugin_init_t		ovpo_init;
	overlay_plugin_fini_t		ovpo_fini;
	overlay_plugin_encap_t		ovpo_encap;
	overlay_plugin_decap_t		ovpo_decap;
	overlay_plugin_socket_t		ovpo_socket;
	overlay_plugin_sockopt_t	ovpo_sockopt;
	overlay_plugin_getprop_t	ovpo_getprop;
	overlay_plugin_setprop_t	ovpo_setprop;
	overlay_plugin_propinfo_t	ovpo_propinfo;
} overlay_plugin_ops_t;

typedef struct overlay_plugin_register {
	uint_t				ovep_version;	/* set by overlay_plugin_alloc() */
	const char			*ovep_name;
	const overlay_plugin_ops_t	*ovep_ops;
	const char			**ovep_props;	/* names, then NULL */
	uint_t				ovep_id_size;	/* bytes of the network id, 1 to 8 */
	uint_t				ovep_flags;	/* overlay_plugin_flags_t */
	uint_t				ovep_dest;	/* overlay_plugin_dest_t */
} overlay_plugin_register_t;

/* NULL for a version that the driver does not know. */
extern overlay_plugin_register_t *overlay_plugin_alloc(uint_t);
extern void overlay_plugin_free(overlay_plugin_register_t *);
/* EINVAL, ENOTSUP (id of more than 8 bytes), EEXIST. */
extern int overlay_plugin_register(overlay_plugin_register_t *);
/* ENOENT, EBUSY. */
extern int overlay_plugin_unregister(const char *);

/* For use inside of ovpo_propinfo. */
extern void overlay_prop_set_name(overlay_prop_handle_t, const char *);
extern void overlay_prop_set_prot(overlay_prop_handle_t, overlay_prop_prot_t);
extern void overlay_prop_set_type(overlay_prop_handle_t, overlay_prop_type_t);
extern int overlay_prop_set_default(overlay_prop_handle_t, void *, ssize_t);
extern void overlay_prop_set_nodefault(overlay_prop_handle_t);
extern void overlay_prop_set_range_uint32(overlay_prop_handle_t, uint32_t,
    uint32_t);
extern void overlay_prop_set_range_str(overlay_prop_handle_t, const char *);

#ifdef __cplusplus
}
#endif

#endif	/* _SYS_OVERLAY_PLUGIN_H */
