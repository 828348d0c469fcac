/* SPDX-License-Identifier: CDDL-1.0 */
/*
 * A whole plugin, as somebody would write one: "table" finds a destination by
 * the last byte of the Ethernet address.
 *
 *	table/network	IP, required	its last byte is replaced by that byte,
 *	table/step	INT		to which this is added
 *	table/port	UINT, 1-65535	default 4789
 *	table/name	STRING		of the whole thing
 *
 * ARP requests and neighbour solicitations are answered with 2:8:20:0:0:N for
 * an address that ends in N, if N is not 0; DHCP goes to 2:8:20:0:0:43.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <libvarpd_provider.h>

#ifndef __sun
/* Of libnvpair, which has a header on illumos only. */
extern int nvlist_add_byte_array(nvlist_t *, const char *, unsigned char *,
    uint_t);
extern int nvlist_add_int64(nvlist_t *, const char *, int64_t);
extern int nvlist_add_uint16(nvlist_t *, const char *, uint16_t);
extern int nvlist_add_string(nvlist_t *, const char *, const char *);
extern int nvlist_lookup_byte_array(nvlist_t *, const char *, unsigned char **,
    uint_t *);
extern int nvlist_lookup_int64(nvlist_t *, const char *, int64_t *);
extern int nvlist_lookup_uint16(nvlist_t *, const char *, uint16_t *);
extern int nvlist_lookup_string(nvlist_t *, const char *, char **);
#endif

#define	NAME		"table"
#define	PORT		4789
#define	NEEDS		(OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT)
#define	NPROPS		4

typedef struct table {
	varpd_provider_handle_t	*t_handle;
	pthread_mutex_t		t_lock;		/* all below */
	int			t_hasnet;
	struct in6_addr		t_net;
	int64_t			t_step;
	uint16_t		t_port;
	char			t_name[OVERLAY_PROP_SIZEMAX];
} table_t;

static const char *const props[NPROPS] = {
	NAME "/network", NAME "/step", NAME "/port", NAME "/name"
};

static int
table_create(varpd_provider_handle_t *handle, void **out,
    overlay_plugin_dest_t dest)
{
	table_t *t;

	if (dest != NEEDS)
		return (ENOTSUP);
	if ((t = calloc(1, sizeof (*t))) == NULL)
		return (ENOMEM);
	t->t_handle = handle;
	t->t_port = PORT;
	(void) pthread_mutex_init(&t->t_lock, NULL);
	*out = t;
	return (0);
}

static int
table_start(void *arg)
{
	table_t *t = arg;
	int ready;

	(void) pthread_mutex_lock(&t->t_lock);
	ready = t->t_hasnet;
	(void) pthread_mutex_unlock(&t->t_lock);
	return (ready ? 0 : EAGAIN);
}

static void
table_stop(void *arg)
{
	(void) arg;
}

static void
table_destroy(void *arg)
{
	table_t *t = arg;

	(void) pthread_mutex_destroy(&t->t_lock);
	free(t);
}

static void
table_lookup(void *arg, varpd_query_handle_t *query,
    const overlay_targ_lookup_t *request, overlay_target_point_t *point)
{
	table_t *t = arg;
	const uint8_t *dst = request->otl_dstaddr;

	if (request->otl_sap == 0x0806) {
		libvarpd_plugin_proxy_arp(t->t_handle, query, request);
		return;
	}
	if (request->otl_sap == 0x86dd && dst[0] == 0x33 && dst[1] == 0x33) {
		libvarpd_plugin_proxy_ndp(t->t_handle, query, request);
		return;
	}
	if (request->otl_sap == 0x0800 && dst[0] == 0xff) {
		libvarpd_plugin_proxy_dhcp(t->t_handle, query, request);
		return;
	}
	if (dst[0] & 1) {
		libvarpd_plugin_query_reply(query, VARPD_LOOKUP_DROP);
		return;
	}
	(void) pthread_mutex_lock(&t->t_lock);
	point->otp_ip = t->t_net;
	point->otp_ip.s6_addr[15] = (uint8_t)(dst[5] + t->t_step);
	point->otp_port = t->t_port;
	(void) pthread_mutex_unlock(&t->t_lock);
	libvarpd_plugin_query_reply(query, VARPD_LOOKUP_OK);
}

static void
put_mac(uint8_t *out, uint8_t last)
{
	static const uint8_t prefix[5] = { 2, 8, 0x20, 0, 0 };

	(void) memcpy(out, prefix, sizeof (prefix));
	out[5] = last;
}

static void
table_arp(void *arg, varpd_arp_handle_t *handle, int type,
    const struct sockaddr *addr, uint8_t *out)
{
	uint8_t last = 0;

	(void) arg;
	if (addr->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)addr;

		last = ((const uint8_t *)&in->sin_addr)[3];
	} else if (addr->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)addr;

		last = in6->sin6_addr.s6_addr[15];
	}
	if (type != VARPD_QTYPE_ETHERNET || last == 0) {
		libvarpd_plugin_arp_reply(handle, VARPD_LOOKUP_DROP);
		return;
	}
	put_mac(out, last);
	libvarpd_plugin_arp_reply(handle, VARPD_LOOKUP_OK);
}

static void
table_dhcp(void *arg, varpd_dhcp_handle_t *handle, int type,
    const overlay_targ_lookup_t *request, uint8_t *out)
{
	(void) arg;
	(void) request;
	if (type != VARPD_QTYPE_ETHERNET) {
		libvarpd_plugin_dhcp_reply(handle, VARPD_LOOKUP_DROP);
		return;
	}
	put_mac(out, 0x43);
	libvarpd_plugin_dhcp_reply(handle, VARPD_LOOKUP_OK);
}

static int
table_nprops(void *arg, uint_t *nprops)
{
	(void) arg;
	*nprops = NPROPS;
	return (0);
}

static int
table_propinfo(void *arg, const uint_t id, varpd_prop_handle_t *prop)
{
	uint64_t port = PORT;

	(void) arg;
	if (id >= NPROPS)
		return (EINVAL);
	libvarpd_prop_set_name(prop, props[id]);
	libvarpd_prop_set_prot(prop, OVERLAY_PROP_PERM_RW);
	libvarpd_prop_set_nodefault(prop);
	switch (id) {
	case 0:
		libvarpd_prop_set_prot(prop, OVERLAY_PROP_PERM_RRW);
		libvarpd_prop_set_type(prop, OVERLAY_PROP_T_IP);
		break;
	case 1:
		libvarpd_prop_set_type(prop, OVERLAY_PROP_T_INT);
		break;
	case 2:
		libvarpd_prop_set_type(prop, OVERLAY_PROP_T_UINT);
		libvarpd_prop_set_range_uint32(prop, 1, 1023);
		libvarpd_prop_set_range_uint32(prop, 1024, 65535);
		return (libvarpd_prop_set_default(prop, &port, sizeof (port)));
	default:
		libvarpd_prop_set_type(prop, OVERLAY_PROP_T_STRING);
		break;
	}
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
table_getprop(void *arg, const char *name, void *buf, uint32_t *size)
{
	table_t *t = arg;
	uint64_t port;
	int err = EINVAL;

	(void) pthread_mutex_lock(&t->t_lock);
	if (strcmp(name, props[0]) == 0) {
		err = give(buf, size, &t->t_net,
		    t->t_hasnet ? sizeof (t->t_net) : 0);
	} else if (strcmp(name, props[1]) == 0) {
		err = give(buf, size, &t->t_step, sizeof (t->t_step));
	} else if (strcmp(name, props[2]) == 0) {
		port = t->t_port;
		err = give(buf, size, &port, sizeof (port));
	} else if (strcmp(name, props[3]) == 0) {
		size_t len = strlen(t->t_name);

		err = give(buf, size, t->t_name, len == 0 ? 0 : len + 1);
	}
	(void) pthread_mutex_unlock(&t->t_lock);
	return (err);
}

static int
table_setprop(void *arg, const char *name, const void *buf,
    const uint32_t size)
{
	table_t *t = arg;
	uint64_t port;
	int err = 0;

	(void) pthread_mutex_lock(&t->t_lock);
	if (strcmp(name, props[0]) == 0) {
		if (size == sizeof (t->t_net)) {
			(void) memcpy(&t->t_net, buf, size);
			t->t_hasnet = 1;
		} else {
			err = EOVERFLOW;
		}
	} else if (strcmp(name, props[1]) == 0) {
		if (size == sizeof (t->t_step))
			(void) memcpy(&t->t_step, buf, size);
		else
			err = EOVERFLOW;
	} else if (strcmp(name, props[2]) == 0) {
		if (size != sizeof (port)) {
			err = EOVERFLOW;
		} else {
			(void) memcpy(&port, buf, size);
			if (port == 0 || port > UINT16_MAX)
				err = EINVAL;
			else
				t->t_port = (uint16_t)port;
		}
	} else if (strcmp(name, props[3]) == 0) {
		const char *text = buf;

		if (size == 0 || text[size - 1] != '\0' ||
		    strlen(text) + 1 != size)
			err = EINVAL;
		else if (size > sizeof (t->t_name))
			err = EOVERFLOW;
		else
			(void) memcpy(t->t_name, text, size);
	} else {
		err = EINVAL;
	}
	(void) pthread_mutex_unlock(&t->t_lock);
	return (err);
}

static int
table_save(void *arg, nvlist_t *list)
{
	table_t *t = arg;
	int err;

	(void) pthread_mutex_lock(&t->t_lock);
	if ((err = nvlist_add_byte_array(list, props[0],
	    (unsigned char *)&t->t_net, sizeof (t->t_net))) == 0 &&
	    (err = nvlist_add_int64(list, props[1], t->t_step)) == 0 &&
	    (err = nvlist_add_uint16(list, props[2], t->t_port)) == 0)
		err = nvlist_add_string(list, props[3], t->t_name);
	(void) pthread_mutex_unlock(&t->t_lock);
	return (err);
}

static int
table_restore(nvlist_t *list, varpd_provider_handle_t *handle,
    overlay_plugin_dest_t dest, void **out)
{
	table_t *t;
	unsigned char *net;
	uint_t len;
	char *name;
	void *priv;
	int err;

	if ((err = table_create(handle, &priv, dest)) != 0)
		return (err);
	t = priv;
	if ((err = nvlist_lookup_byte_array(list, props[0], &net, &len)) != 0 ||
	    (err = nvlist_lookup_int64(list, props[1], &t->t_step)) != 0 ||
	    (err = nvlist_lookup_uint16(list, props[2], &t->t_port)) != 0 ||
	    (err = nvlist_lookup_string(list, props[3], &name)) != 0) {
		table_destroy(t);
		return (err);
	}
	if (len != sizeof (t->t_net) || strlen(name) >= sizeof (t->t_name)) {
		table_destroy(t);
		return (EINVAL);
	}
	(void) memcpy(&t->t_net, net, len);
	(void) strcpy(t->t_name, name);
	t->t_hasnet = 1;
	*out = t;
	return (0);
}

static const varpd_plugin_ops_t table_ops = {
	0,
	table_create,
	table_start,
	table_stop,
	table_destroy,
	NULL,
	table_lookup,
	table_nprops,
	table_propinfo,
	table_getprop,
	table_setprop,
	table_save,
	table_restore,
	table_arp,
	table_dhcp
};

static void table_init(void) __attribute__((constructor));

static void
table_init(void)
{
	varpd_plugin_register_t *reg;
	int err;

	if ((reg = libvarpd_plugin_alloc(VARPD_CURRENT_VERSION, &err)) == NULL)
		return;
	reg->vpr_mode = OVERLAY_TARGET_DYNAMIC;
	reg->vpr_name = NAME;
	reg->vpr_ops = &table_ops;
	(void) libvarpd_plugin_register(reg);
	libvarpd_plugin_free(reg);
}
