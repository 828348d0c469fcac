/* SPDX-License-Identifier: CDDL-1.0 */
#ifndef _LIBVARPD_CLIENT_H
#define	_LIBVARPD_CLIENT_H

/*
 * Talking to a varpd that runs, through its door, which is normally
 * /var/run/varpd/varpd.door. Link with -lvarpd.
 *
 * Functions that return int return 0 or an errno: EINVAL for a NULL where there
 * must be something and for a handle that is none, ENOENT if varpd does not
 * know the instance, EPERM if the caller may not do this, EBADF if this varpd
 * is gone (a new client must be made then), or what varpd or a plugin says.
 *
 * A client may be used by several threads at once, a property handle by one.
 */

#include <sys/overlay_common.h>
#ifdef __sun
#include <sys/ethernet.h>
#else
#include <net/ethernet.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define	LIBVARPD_PROP_NAMELEN	64	/* bytes of a name, its NUL included */
#define	LIBVARPD_PROP_SIZEMAX	256	/* most bytes of a value, default, or set of possible values */

typedef struct __varpd_client_handle		varpd_client_handle_t;
typedef struct __varpd_client_prop_handle	varpd_client_prop_handle_t;

/*
 * Where frames for one Ethernet address of an overlay go.
 */
typedef struct varpd_client_cache_entry {
	struct ether_addr	vcp_mac;	/* if destinations have one */
	uint16_t		vcp_flags;	/* OVERLAY_TARGET_CACHE_DROP: nowhere */
	struct in6_addr		vcp_ip;		/* IPv4 in v4-mapped form */
	uint16_t		vcp_port;	/* host byte order */
} varpd_client_cache_entry_t;

/* Opens a door by its path. */
extern int libvarpd_c_create(varpd_client_handle_t **, const char *);
extern void libvarpd_c_destroy(varpd_client_handle_t *);

/*
 * An instance is made for an overlay link and a plugin, given properties, and
 * activated. EEXIST: the link has an instance; it is active already. EAGAIN, by
 * custom: a property that must be set is not.
 */
extern int libvarpd_c_instance_create(varpd_client_handle_t *, datalink_id_t,
    const char *, uint64_t *);
extern int libvarpd_c_instance_activate(varpd_client_handle_t *, uint64_t);
extern int libvarpd_c_instance_destroy(varpd_client_handle_t *, uint64_t);
/* The instance of a link. */
extern int libvarpd_c_instance_lookup(varpd_client_handle_t *, datalink_id_t,
    uint64_t *);
/* Its destination bits (overlay_plugin_dest_t) and overlay_target_mode_t. */
extern int libvarpd_c_instance_target_mode(varpd_client_handle_t *, uint64_t,
    uint_t *, uint_t *);

/*
 * The kernel's cache of destinations. ENXIO: the instance is not active;
 * ENOTSUP: it has one destination for everything.
 */
extern int libvarpd_c_instance_cache_flush(varpd_client_handle_t *, uint64_t);
extern int libvarpd_c_instance_cache_delete(varpd_client_handle_t *, uint64_t,
    const struct ether_addr *);
extern int libvarpd_c_instance_cache_get(varpd_client_handle_t *, uint64_t,
    const struct ether_addr *, varpd_client_cache_entry_t *);
extern int libvarpd_c_instance_cache_set(varpd_client_handle_t *, uint64_t,
    const struct ether_addr *, const varpd_client_cache_entry_t *);

/* Called for each entry; something else than 0 ends the walk, which is 0 too. */
typedef int (*varpd_client_cache_f)(varpd_client_handle_t *, uint64_t,
    const struct ether_addr *, const varpd_client_cache_entry_t *, void *);
extern int libvarpd_c_instance_cache_walk(varpd_client_handle_t *, uint64_t,
    varpd_client_cache_f, void *);

/*
 * Properties have numbers from 0. A handle must be filled before it is asked.
 */
extern int libvarpd_c_prop_nprops(varpd_client_handle_t *, uint64_t, uint_t *);
extern int libvarpd_c_prop_handle_alloc(varpd_client_handle_t *, uint64_t,
    varpd_client_prop_handle_t **);
extern void libvarpd_c_prop_handle_free(varpd_client_prop_handle_t *);
extern int libvarpd_c_prop_info_fill(varpd_client_prop_handle_t *, uint_t);
/* EINVAL: the name has 64 bytes or more. */
extern int libvarpd_c_prop_info_fill_by_name(varpd_client_prop_handle_t *,
    const char *);
/*
 * Name, overlay_prop_type_t, overlay_prop_prot_t, default, bytes of the
 * default, possible values. What points somewhere is good until the next fill.
 * What is not wanted may be NULL.
 */
extern int libvarpd_c_prop_info(varpd_client_prop_handle_t *, const char **,
    uint_t *, uint_t *, const void **, uint32_t *,
    const mac_propval_range_t **);
/*
 * Size: in, room, at least LIBVARPD_PROP_SIZEMAX or EOVERFLOW; out, bytes of
 * the value, 0 if it is not set.
 */
extern int libvarpd_c_prop_get(varpd_client_prop_handle_t *, void *,
    uint32_t *);
/* EOVERFLOW: more than LIBVARPD_PROP_SIZEMAX bytes; EINVAL: none. */
extern int libvarpd_c_prop_set(varpd_client_prop_handle_t *, const void *,
    uint32_t);

#ifdef __cplusplus
}
#endif

#endif	/* _LIBVARPD_CLIENT_H */
