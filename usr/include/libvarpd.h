/* SPDX-License-Identifier: CDDL-1.0 */
#ifndef _LIBVARPD_H
#define	_LIBVARPD_H

/*
 * A varpd as a library: what a program needs that wants to be one. Link with
 * -lvarpd. What its plugins call is in libvarpd_provider.h and comes from the
 * library as well.
 *
 *	libvarpd_create		opens /dev/overlay; one process at a time can
 *	libvarpd_plugin_load	loads the plugins of a directory
 *	libvarpd_persist_enable, libvarpd_persist_restore
 *	libvarpd_overlay_lookup_run	by several threads, until
 *	libvarpd_overlay_lookup_quiesce
 *	libvarpd_door_server_create	dladm can come
 *	libvarpd_destroy
 *
 * Functions that return int return 0 or an errno: EINVAL for a NULL where there
 * must be something and for a handle that is none or was freed, else what is
 * said below, or what a plugin or the kernel says. All may be called from
 * several threads at once; a property handle is for one. What goes wrong is
 * written to standard error, in records for bunyan(1).
 */

#include <libvarpd_provider.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct __varpd_handle		varpd_handle_t;
typedef struct __varpd_instance_handle	varpd_instance_handle_t;

/* EEXIST: another process has /dev/overlay. */
extern int libvarpd_create(varpd_handle_t **);
/*
 * Ends lookups and closes everything. Instances are not destroyed: their links
 * go on with what the kernel knows until the next varpd takes them over.
 */
extern void libvarpd_destroy(varpd_handle_t *);

/* Keeping active instances in files of a directory. EEXIST: enabled. */
extern int libvarpd_persist_enable(varpd_handle_t *, const char *);
/* Makes the instances that the files of the directory are of. */
extern int libvarpd_persist_restore(varpd_handle_t *);
/* ENOENT: not enabled. */
extern int libvarpd_persist_disable(varpd_handle_t *);

/*
 * ENOENT: no such plugin, or the link is no overlay; EEXIST: the link has an
 * instance.
 */
extern int libvarpd_instance_create(varpd_handle_t *, datalink_id_t,
    const char *, varpd_instance_handle_t **);
extern uint64_t libvarpd_instance_id(varpd_instance_handle_t *);
/* NULL if no instance has this id. */
extern varpd_instance_handle_t *libvarpd_instance_lookup(varpd_handle_t *,
    uint64_t);
extern void libvarpd_instance_destroy(varpd_instance_handle_t *);
/* EEXIST: it is active. */
extern int libvarpd_instance_activate(varpd_instance_handle_t *);

/*
 * Loads the files *.so of the directory 64 in this one, or, without that, of
 * this one.
 */
extern int libvarpd_plugin_load(varpd_handle_t *, const char *);
/* Called with each name; something else than 0 ends the walk, which is 1 then. */
typedef int (*libvarpd_plugin_walk_f)(varpd_handle_t *, const char *, void *);
extern int libvarpd_plugin_walk(varpd_handle_t *, libvarpd_plugin_walk_f,
    void *);

/*
 * Properties have numbers from 0, which is "search", the plugin's name. A
 * handle must be filled before it is asked.
 */
extern int libvarpd_prop_handle_alloc(varpd_handle_t *,
    varpd_instance_handle_t *, varpd_prop_handle_t **);
extern void libvarpd_prop_handle_free(varpd_prop_handle_t *);
extern int libvarpd_prop_nprops(varpd_instance_handle_t *, uint_t *);
extern int libvarpd_prop_info_fill(varpd_prop_handle_t *, uint_t);
/*
 * Name, overlay_prop_type_t, overlay_prop_prot_t, default, bytes of the
 * default, possible values. What points somewhere is good until the next fill.
 * What is not wanted may be NULL.
 */
extern int libvarpd_prop_info(varpd_prop_handle_t *, const char **, uint_t *,
    uint_t *, const void **, uint32_t *, const mac_propval_range_t **);
/*
 * Size: in, room; out, bytes of the value, 0 if it is not set. EOVERFLOW: too
 * little room.
 */
extern int libvarpd_prop_get(varpd_prop_handle_t *, void *, uint32_t *);
/* EPERM: "search". */
extern int libvarpd_prop_set(varpd_prop_handle_t *, const void *, uint32_t);

/* EEXIST: it has one. */
extern int libvarpd_door_server_create(varpd_handle_t *, const char *);
extern void libvarpd_door_server_destroy(varpd_handle_t *);

/* Answers lookups until it is told to stop. */
extern void libvarpd_overlay_lookup_run(varpd_handle_t *);
/* Tells them all and waits; they may be run again afterwards. */
extern void libvarpd_overlay_lookup_quiesce(varpd_handle_t *);

#ifdef __cplusplus
}
#endif

#endif	/* _LIBVARPD_H */
