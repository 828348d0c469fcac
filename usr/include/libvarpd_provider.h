/* SPDX-License-Identifier: CDDL-1.0 */
#ifndef _LIBVARPD_PROVIDER_H
#define	_LIBVARPD_PROVIDER_H

/*
 * What a lookup plugin and varpd are to each other.
 *
 * This is version 1. Version 2, of routed overlays, is had by defining
 * OVERLAY_ABI_VERSION as 2 before anything is included: there a plugin is asked
 * for routes too, and destinations and requests have other layouts. varpd takes
 * plugins of both, side by side. A plugin of version 1 is never asked for a
 * route, and varpd on a driver of version 1 asks no plugin for one.
 *
 * A plugin is a shared object whose initialization function (one that runs
 * inside of dlopen) fills a registration from libvarpd_plugin_alloc(), hands
 * it to libvarpd_plugin_register() and frees it. It is not linked with
 * libvarpd: the functions below are those of the process that loads it.
 *
 * varpd calls vpo_lookup, vpo_default, vpo_save, vpo_arp and vpo_dhcp only
 * between vpo_start and vpo_stop of an instance, from any number of threads at
 * once. A plugin may call back at any time, from any thread. Functions that
 * return int return 0 or an errno unless said otherwise.
 */

#include <sys/overlay_target.h>
#include <sys/socket.h>
#ifdef __sun
#include <libnvpair.h>
#else
typedef struct nvlist	nvlist_t;
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define	VARPD_VERSION_ONE	1
#define	VARPD_VERSION_TWO	2
#if OVERLAY_ABI_VERSION == 1
#define	VARPD_CURRENT_VERSION	VARPD_VERSION_ONE
#else
#define	VARPD_CURRENT_VERSION	VARPD_VERSION_TWO
#endif

typedef struct __varpd_provider_handle	varpd_provider_handle_t;
typedef struct __varpd_query_handle	varpd_query_handle_t;
typedef struct __varpd_prop_handle	varpd_prop_handle_t;
typedef struct __varpd_arp_handle	varpd_arp_handle_t;
typedef struct __varpd_dhcp_handle	varpd_dhcp_handle_t;

/* Answers: use what was stored, or drop the frame. */
#define	VARPD_LOOKUP_OK		(0)
#define	VARPD_LOOKUP_DROP	(-1)

/*
 * The only kind of query: the Ethernet address behind an address of a family.
 */
#define	VARPD_QTYPE_ETHERNET	0x0

/*
 * Makes the private data of an instance. ENOTSUP for a kind of destination
 * that the plugin cannot give.
 */
typedef int (*varpd_plugin_create_f)(varpd_provider_handle_t *, void **,
    overlay_plugin_dest_t);
/* EAGAIN, by custom, if a required property is not set. */
typedef int (*varpd_plugin_start_f)(void *);
typedef void (*varpd_plugin_stop_f)(void *);
typedef void (*varpd_plugin_destroy_f)(void *);
/* Mode POINT: the one destination. VARPD_LOOKUP_OK or VARPD_LOOKUP_DROP. */
typedef int (*varpd_plugin_default_f)(void *, overlay_target_point_t *);
/*
 * Mode DYNAMIC. Ends, now or later and in any thread, in one
 * libvarpd_plugin_query_reply() or in a call of one of the proxies, which then
 * replies. Request and destination are gone after that.
 */
#if OVERLAY_ABI_VERSION == 1
typedef void (*varpd_plugin_lookup_f)(void *, varpd_query_handle_t *,
    const overlay_targ_lookup_t *, overlay_target_point_t *);
#else
/*
 * For a route, that is if otl_l3req is not 0, all three are stored: where the
 * guest is, what becomes of the packet, and whom it is for. For a frame the
 * first one is, with no address and port 0 if its destination is a router.
 */
typedef void (*varpd_plugin_lookup_f)(void *, varpd_query_handle_t *,
    const overlay_targ_lookup_t *, overlay_target_point_t *,
    overlay_target_route_t *, overlay_target_mac_t *);
#endif
/* Stores the address and ends in one libvarpd_plugin_arp_reply(). */
#if OVERLAY_ABI_VERSION == 1
typedef void (*varpd_plugin_arp_f)(void *, varpd_arp_handle_t *, int,
    const struct sockaddr *, uint8_t *);
#else
/* The number in front of the result is the VLAN id of who asks, 0: none. */
typedef void (*varpd_plugin_arp_f)(void *, varpd_arp_handle_t *, int,
    const struct sockaddr *, uint16_t, uint8_t *);
#endif
/*
 * Stores the address of the DHCP server and ends in one
 * libvarpd_plugin_dhcp_reply().
 */
typedef void (*varpd_plugin_dhcp_f)(void *, varpd_dhcp_handle_t *, int,
    const overlay_targ_lookup_t *, uint8_t *);
typedef int (*varpd_plugin_nprops_f)(void *, uint_t *);
/* EINVAL for an id that is none; ids start at 0. */
typedef int (*varpd_plugin_propinfo_f)(void *, const uint_t,
    varpd_prop_handle_t *);
/*
 * Size: in, room; out, bytes of the value, 0 if it is not set. EOVERFLOW: too
 * little room.
 */
typedef int (*varpd_plugin_getprop_f)(void *, const char *, void *, uint32_t *);
typedef int (*varpd_plugin_setprop_f)(void *, const char *, const void *,
    const uint32_t);
typedef int (*varpd_plugin_save_f)(void *, nvlist_t *);
/* vpo_create and the properties of what vpo_save stored. */
typedef int (*varpd_plugin_restore_f)(nvlist_t *, varpd_provider_handle_t *,
    overlay_plugin_dest_t, void **);

typedef struct varpd_plugin_ops {
	uint_t			vpo_callbacks;	/* zero */
	varpd_plugin_create_f	vpo_create;
	varpd_plugin_start_f	vpo_start;
	varpd_plugin_stop_f	vpo_stop;
	varpd_plugin_destroy_f	vpo_destroy;
	varpd_plugin_default_f	vpo_default;	/* POINT, else NULL */
	varpd_plugin_lookup_f	vpo_lookup;	/* DYNAMIC, else NULL */
	varpd_plugin_nprops_f	vpo_nprops;
	varpd_plugin_propinfo_f	vpo_propinfo;
	varpd_plugin_getprop_f	vpo_getprop;
	varpd_plugin_setprop_f	vpo_setprop;
	varpd_plugin_save_f	vpo_save;
	varpd_plugin_restore_f	vpo_restore;
	varpd_plugin_arp_f	vpo_arp;	/* may be NULL */
	varpd_plugin_dhcp_f	vpo_dhcp;	/* may be NULL */
} varpd_plugin_ops_t;

typedef struct varpd_plugin_register {
	uint_t				vpr_version;	/* set by libvarpd_plugin_alloc() */
	uint_t				vpr_mode;	/* overlay_target_mode_t */
	const char			*vpr_name;	/* at most 63 characters, no '/' */
	const varpd_plugin_ops_t	*vpr_ops;
} varpd_plugin_register_t;

/*
 * NULL and an errno in the second argument for a version that varpd does not
 * know.
 */
extern varpd_plugin_register_t *libvarpd_plugin_alloc(uint_t, int *);
extern void libvarpd_plugin_free(varpd_plugin_register_t *);
extern int libvarpd_plugin_register(varpd_plugin_register_t *);
/*
 * Before registering: who puts what there is to say of an instance, a JSON
 * object, into a buffer of so many bytes, and how many it has.  EOVERFLOW and
 * the size when the buffer is short.  varpdadm shows it.  No other varpd has
 * this function, so who is to load there as well finds it with dlsym(3C).
 */
typedef int (*varpd_plugin_report_f)(void *, char *, uint32_t *);
extern void libvarpd_plugin_reporter(varpd_plugin_report_f);

/* For use inside of vpo_propinfo. */
extern void libvarpd_prop_set_name(varpd_prop_handle_t *, const char *);
extern void libvarpd_prop_set_prot(varpd_prop_handle_t *, overlay_prop_prot_t);
extern void libvarpd_prop_set_type(varpd_prop_handle_t *, overlay_prop_type_t);
extern int libvarpd_prop_set_default(varpd_prop_handle_t *, void *, ssize_t);
extern void libvarpd_prop_set_nodefault(varpd_prop_handle_t *);
extern void libvarpd_prop_set_range_uint32(varpd_prop_handle_t *, uint32_t,
    uint32_t);
extern void libvarpd_prop_set_range_str(varpd_prop_handle_t *, const char *);

/* The virtual network id of the instance's link. */
extern uint64_t libvarpd_plugin_vnetid(varpd_provider_handle_t *);
/* The data center of the instance's link; 0 where there are none. */
extern uint32_t libvarpd_plugin_dcid(varpd_provider_handle_t *);
/*
 * Makes the kernel forget routes of packets that come with this VLAN id, from
 * the first prefix to the second: 16 bytes each, lengths 0 to 128. Those of
 * IPv4 are v4-mapped, and their lengths 96 more.
 */
extern void libvarpd_route_flush(varpd_provider_handle_t *, uint8_t *,
    uint8_t *, uint8_t, uint8_t, uint16_t);

/*
 * A logger of libbunyan for who logs with that; NULL where there is none.
 */
struct bunyan_logger;
extern const struct bunyan_logger *libvarpd_plugin_bunyan(
    varpd_provider_handle_t *);

/* Answers; each ends what it answers. */
extern void libvarpd_plugin_query_reply(varpd_query_handle_t *, int);
extern void libvarpd_plugin_arp_reply(varpd_arp_handle_t *, int);
extern void libvarpd_plugin_dhcp_reply(varpd_dhcp_handle_t *, int);
/*
 * Answers a query as well: nobody can say now.  The frame is dropped, and what
 * the kernel knew of its destination before varpd was started stays.  To be
 * found with dlsym(3C), too.
 */
extern void libvarpd_plugin_query_unknown(varpd_query_handle_t *);

/*
 * Answer a query whose frame asks for an address, with the help of vpo_arp or
 * vpo_dhcp.
 */
extern void libvarpd_plugin_proxy_arp(varpd_provider_handle_t *,
    varpd_query_handle_t *, const overlay_targ_lookup_t *);
extern void libvarpd_plugin_proxy_ndp(varpd_provider_handle_t *,
    varpd_query_handle_t *, const overlay_targ_lookup_t *);
extern void libvarpd_plugin_proxy_dhcp(varpd_provider_handle_t *,
    varpd_query_handle_t *, const overlay_targ_lookup_t *);

/*
 * Sets the destination of an address in the link's target cache; with NULL
 * forgets it.
 */
extern void libvarpd_inject_varp(varpd_provider_handle_t *, const uint8_t *,
    const overlay_target_point_t *);
/*
 * Lets a gratuitous ARP request enter the link: VLAN id or 0, sender's MAC and
 * address, receiver's MAC.
 */
extern void libvarpd_inject_arp(varpd_provider_handle_t *, const uint16_t,
    const uint8_t *, const struct in_addr *, const uint8_t *);
/*
 * Lets an unsolicited neighbour advertisement enter the link: VLAN id or 0,
 * MAC and address of whom it is about.  No other varpd has this function.
 */
extern void libvarpd_inject_ndp(varpd_provider_handle_t *, const uint16_t,
    const uint8_t *, const struct in6_addr *);

/* The link cannot do its work, and why; it can again. */
extern void libvarpd_fma_degrade(varpd_provider_handle_t *, const char *);
extern void libvarpd_fma_restore(varpd_provider_handle_t *);

/* Ends the process with a message. */
extern void libvarpd_panic(const char *, ...);

#ifdef __cplusplus
}
#endif

#endif	/* _LIBVARPD_PROVIDER_H */
