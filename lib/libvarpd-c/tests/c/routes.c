/* SPDX-License-Identifier: CDDL-1.0 */
/*
 * A plugin of version 2: "routes" knows networks that are routed to one
 * another. Network n has the virtual network id 100 + n and the subnet
 * 10.n.0.0/16; in it 10.n.x.y with x > 0 or y > 1 is a guest 2:8:20:n:x:y, and
 * 10.n.0.1 the router.
 *
 *	routes/at	IP, required	where all guests live, on port 4789
 *	routes/router	ETHER, required	the router of the instance's network
 *	routes/closed	UINT		the network that nothing is routed to, 0: none
 *
 * ARP requests are answered by these rules. A packet's network is not looked
 * up: its source and destination say it.
 */
#define	OVERLAY_ABI_VERSION	2
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <libvarpd_provider.h>

#define	NAME	"routes"
#define	NEEDS	(OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT)
#define	NPROPS	3
#define	VNET	100

typedef struct routes {
	varpd_provider_handle_t	*r_handle;
	pthread_mutex_t		r_lock;		/* all below */
	int			r_hasat;
	struct in6_addr		r_at;
	int			r_hasrouter;
	uint8_t			r_router[6];
	uint64_t		r_closed;
} routes_t;

static const char *const props[NPROPS] = {
	NAME "/at", NAME "/router", NAME "/closed"
};

static int
routes_create(varpd_provider_handle_t *handle, void **out,
    overlay_plugin_dest_t dest)
{
	routes_t *r;

	if (dest != NEEDS)
		return (ENOTSUP);
	if ((r = calloc(1, sizeof (*r))) == NULL)
		return (ENOMEM);
	r->r_handle = handle;
	(void) pthread_mutex_init(&r->r_lock, NULL);
	*out = r;
	return (0);
}

static int
routes_start(void *arg)
{
	routes_t *r = arg;
	int ready;

	(void) pthread_mutex_lock(&r->r_lock);
	ready = r->r_hasat && r->r_hasrouter;
	(void) pthread_mutex_unlock(&r->r_lock);
	return (ready ? 0 : EAGAIN);
}

static void
routes_stop(void *arg)
{
	(void) arg;
}

static void
routes_destroy(void *arg)
{
	routes_t *r = arg;

	(void) pthread_mutex_destroy(&r->r_lock);
	free(r);
}

/* The router of a network, as all instances have it by convention. */
static void
put_router(uint8_t *out, uint8_t network)
{
	const uint8_t mac[6] = { 2, 8, 0x20, 0xff, 0, network };

	(void) memcpy(out, mac, sizeof (mac));
}

static void
put_guest(uint8_t *out, const uint8_t *v4)
{
	const uint8_t mac[6] = { 2, 8, 0x20, v4[1], v4[2], v4[3] };

	(void) memcpy(out, mac, sizeof (mac));
}

/* The bytes of an IPv4 address of ours, or NULL. */
static const uint8_t *
ours(const struct in6_addr *addr)
{
	static const uint8_t mapped[12] = {
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff
	};
	const uint8_t *v4 = addr->s6_addr + 12;

	return (memcmp(addr, mapped, 12) == 0 && v4[0] == 10 ? v4 : NULL);
}

/* Answers for a route; whether there is one. */
static int
find(routes_t *r, const overlay_targ_lookup_t *request,
    overlay_target_route_t *route, overlay_target_mac_t *mac)
{
	const overlay_targ_l3_t *l3 = &request->otl_addru.otlu_l3;
	const uint8_t *src = ours(&l3->otl3_srcip);
	const uint8_t *dst = ours(&l3->otl3_dstip);

	if (src == NULL || dst == NULL || request->otl_vlan != 0 ||
	    VNET + (uint64_t)src[1] != libvarpd_plugin_vnetid(r->r_handle) ||
	    dst[1] == r->r_closed)
		return (0);
	route->otr_vnet = VNET + (uint64_t)dst[1];
	put_router(route->otr_srcmac, dst[1]);
	route->otr_vlan = 0;
	mac->otm_dcid = libvarpd_plugin_dcid(r->r_handle);
	put_guest(mac->otm_mac, dst);
	return (1);
}

static void
routes_lookup(void *arg, varpd_query_handle_t *query,
    const overlay_targ_lookup_t *request, overlay_target_point_t *point,
    overlay_target_route_t *route, overlay_target_mac_t *mac)
{
	routes_t *r = arg;
	const overlay_targ_l2_t *l2 = &request->otl_addru.otlu_l2;
	int action = VARPD_LOOKUP_OK;

	if (!request->otl_l3req && l2->otl2_sap == 0x0806) {
		libvarpd_plugin_proxy_arp(r->r_handle, query, request);
		return;
	}
	(void) pthread_mutex_lock(&r->r_lock);
	point->otp_ip = r->r_at;
	point->otp_port = 4789;
	if (request->otl_l3req) {
		if (!find(r, request, route, mac))
			action = VARPD_LOOKUP_DROP;
	} else if (l2->otl2_dstaddr[0] & 1) {
		action = VARPD_LOOKUP_DROP;
	} else if (memcmp(l2->otl2_dstaddr, r->r_router, 6) == 0) {
		(void) memset(point, 0, sizeof (*point));
	}
	(void) pthread_mutex_unlock(&r->r_lock);
	libvarpd_plugin_query_reply(query, action);
}

static void
routes_arp(void *arg, varpd_arp_handle_t *handle, int type,
    const struct sockaddr *addr, uint16_t vlan, uint8_t *out)
{
	routes_t *r = arg;
	const struct sockaddr_in *in = (const void *)addr;
	const uint8_t *v4 = (const uint8_t *)&in->sin_addr;

	if (type != VARPD_QTYPE_ETHERNET || vlan != 0 ||
	    addr->sa_family != AF_INET || v4[0] != 10 ||
	    VNET + (uint64_t)v4[1] != libvarpd_plugin_vnetid(r->r_handle)) {
		libvarpd_plugin_arp_reply(handle, VARPD_LOOKUP_DROP);
		return;
	}
	if (v4[2] == 0 && v4[3] == 1) {
		(void) pthread_mutex_lock(&r->r_lock);
		(void) memcpy(out, r->r_router, 6);
		(void) pthread_mutex_unlock(&r->r_lock);
	} else {
		put_guest(out, v4);
	}
	libvarpd_plugin_arp_reply(handle, VARPD_LOOKUP_OK);
}

static int
routes_nprops(void *arg, uint_t *nprops)
{
	(void) arg;
	*nprops = NPROPS;
	return (0);
}

static int
routes_propinfo(void *arg, const uint_t id, varpd_prop_handle_t *prop)
{
	static const overlay_prop_type_t types[NPROPS] = {
		OVERLAY_PROP_T_IP, OVERLAY_PROP_T_ETHER, OVERLAY_PROP_T_UINT
	};

	(void) arg;
	if (id >= NPROPS)
		return (EINVAL);
	libvarpd_prop_set_name(prop, props[id]);
	libvarpd_prop_set_prot(prop,
	    id == 2 ? OVERLAY_PROP_PERM_RW : OVERLAY_PROP_PERM_RRW);
	libvarpd_prop_set_type(prop, types[id]);
	libvarpd_prop_set_nodefault(prop);
	if (id == 2)
		libvarpd_prop_set_range_uint32(prop, 0, 255);
	return (0);
}

/* Gives a value out, if there is room for it. */
static int
give(void *buf, uint32_t *size, const void *value, size_t len)
{
	if (*size < len)
		return (EOVERFLOW);
	(void) memcpy(buf, value, len);
	*size = (uint32_t)len;
	return (0);
}

static int
routes_getprop(void *arg, const char *name, void *buf, uint32_t *size)
{
	routes_t *r = arg;
	int err = EINVAL;

	(void) pthread_mutex_lock(&r->r_lock);
	if (strcmp(name, props[0]) == 0)
		err = give(buf, size, &r->r_at, r->r_hasat ? 16 : 0);
	else if (strcmp(name, props[1]) == 0)
		err = give(buf, size, r->r_router, r->r_hasrouter ? 6 : 0);
	else if (strcmp(name, props[2]) == 0)
		err = give(buf, size, &r->r_closed, sizeof (r->r_closed));
	(void) pthread_mutex_unlock(&r->r_lock);
	return (err);
}

/* Nothing goes to that network any more, or may again. */
static void
forget(routes_t *r, uint64_t network)
{
	uint8_t any[16] = { 0 };
	uint8_t to[16] = { 0 };

	to[10] = to[11] = 0xff;
	to[12] = 10;
	to[13] = (uint8_t)network;
	libvarpd_route_flush(r->r_handle, any, to, 0, 96 + 16, 0);
}

static int
routes_setprop(void *arg, const char *name, const void *buf,
    const uint32_t size)
{
	routes_t *r = arg;
	uint64_t closed;

	if (strcmp(name, props[0]) == 0 && size == 16) {
		(void) pthread_mutex_lock(&r->r_lock);
		(void) memcpy(&r->r_at, buf, size);
		r->r_hasat = 1;
	} else if (strcmp(name, props[1]) == 0 && size == 6) {
		(void) pthread_mutex_lock(&r->r_lock);
		(void) memcpy(r->r_router, buf, size);
		r->r_hasrouter = 1;
	} else if (strcmp(name, props[2]) == 0 && size == sizeof (closed)) {
		(void) memcpy(&closed, buf, size);
		if (closed > 255)
			return (EINVAL);
		(void) pthread_mutex_lock(&r->r_lock);
		r->r_closed = closed;
	} else {
		return (EINVAL);
	}
	(void) pthread_mutex_unlock(&r->r_lock);
	/* Not with the lock: the kernel may wait for packets on their way. */
	if (strcmp(name, props[2]) == 0 && closed != 0)
		forget(r, closed);
	return (0);
}

/* This plugin does not survive its varpd. */
static int
routes_save(void *arg, nvlist_t *list)
{
	(void) arg;
	(void) list;
	return (0);
}

static int
routes_restore(nvlist_t *list, varpd_provider_handle_t *handle,
    overlay_plugin_dest_t dest, void **out)
{
	(void) list;
	(void) handle;
	(void) dest;
	(void) out;
	return (ENOTSUP);
}

static const varpd_plugin_ops_t routes_ops = {
	0,
	routes_create,
	routes_start,
	routes_stop,
	routes_destroy,
	NULL,
	routes_lookup,
	routes_nprops,
	routes_propinfo,
	routes_getprop,
	routes_setprop,
	routes_save,
	routes_restore,
	routes_arp,
	NULL
};

static void routes_init(void) __attribute__((constructor));

static void
routes_init(void)
{
	varpd_plugin_register_t *reg;
	int err;

	if ((reg = libvarpd_plugin_alloc(VARPD_CURRENT_VERSION, &err)) == NULL)
		return;
	reg->vpr_mode = OVERLAY_TARGET_DYNAMIC;
	reg->vpr_name = NAME;
	reg->vpr_ops = &routes_ops;
	(void) libvarpd_plugin_register(reg);
	libvarpd_plugin_free(reg);
}
