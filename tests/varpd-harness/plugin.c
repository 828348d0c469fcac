/* SPDX-License-Identifier: CDDL-1.0 */
/*
 * A plugin for tests, well-behaved unless told otherwise by definitions:
 *
 *	NAME		its name, default "test"
 *	MODE		1 point, 2 dynamic (default)
 *	TWICE		registers a second time
 *	SILENT		does not register
 *	VERSION		registers with this version
 *	CALLBACKS	vpo_callbacks
 *	ANSWER		what lookups are answered with
 *	ANSWERS		how often, default 1; 0: never
 *	PREFIX		first three bytes of all destinations
 *	PEER		last byte of the destination of all multicasts
 *	ZERO		answers with an empty destination
 *	SLOW		lookups take so many microseconds
 *	BOTH		has functions of both modes
 *	NULLED		the function at this offset of the vector is missing
 *	NO_OPS, NO_NAME	registers without
 *	LATER		whatever is answered is answered by another thread
 *			after so many microseconds
 *	HELD		whatever is answered is answered by another thread,
 *			which waits until a test sets "go" and then first
 *			writes to the answer
 *	PROXY		lookups of ARP, ND and DHCP are handed to the proxies,
 *			and vpo_arp and vpo_dhcp answered like lookups: with
 *			2:8:20:0:0:N, where N is the last byte of the address
 *			asked for, or 67 for DHCP
 *	PROXY_HANDLE	the handle given to the proxies
 *	PROXY_TOO	replies to the query that it gave to a proxy
 *	MAC		the answer to vpo_arp and vpo_dhcp
 *	GARBAGE		what lies between the members of points is not zero
 *	PANIC		gives up in vpo_start
 *	START		result of vpo_start
 *	DENY		a file; while it is there vpo_start fails with EAGAIN
 *	DENY_RESTORE	a file; while it is there vpo_restore fails with ENOENT
 *	DENY_SAVE	a file; while it is there vpo_save fails with ENOMEM
 *	DEGRADE		degrades its link in vpo_start
 *	BUNYAN		wants a logger of libbunyan in vpo_start, which fails
 *			with ENOTSUP without
 *	SIZE		size that vpo_getprop claims
 *	REPORT		what it tells of an instance, as often as REPORTS says
 *			(default 1), one after the other
 *	REPORT_SIZE	how much more than there is it says that it told
 *	NAMELESS	its property has no name
 *	UNKNOWN		calls a function that varpd does not have
 *	FAIL		this function of the vector fails with ENXIO, or has no
 *			destination
 *	CRASH		dies in this function of the vector, or in
 *			"initialization"
 *	CRASH_BY	of this signal, default SIGSEGV; 0 is a stack
 *			overflow
 *
 * It counts calls and notices those that come when they should not.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <libvarpd_provider.h>

/* Of libnvpair, or of whoever stands in for it. */
extern int nvlist_add_string(nvlist_t *, const char *, const char *);
extern int nvlist_add_uint32_array(nvlist_t *, const char *, uint32_t *,
    unsigned int);
extern int nvlist_lookup_string(nvlist_t *, const char *, char **);
extern int nvlist_lookup_uint32_array(nvlist_t *, const char *, uint32_t **,
    unsigned int *);

#ifndef NAME
#define	NAME "test"
#endif
#ifndef MODE
#define	MODE 2
#endif
#ifndef ANSWER
#define	ANSWER VARPD_LOOKUP_OK
#endif
#ifndef PREFIX
#define	PREFIX 192, 0, 2
#endif
#ifndef ANSWERS
#define	ANSWERS 1
#endif
#ifndef START
#define	START 0
#endif
#ifndef CALLBACKS
#define	CALLBACKS 0
#endif
#ifndef VERSION
#define	VERSION VARPD_CURRENT_VERSION
#endif

struct {
	int create, start, stop, destroy, running, wrong, registered;
	int answered;
} calls;

typedef struct {
	varpd_provider_handle_t *handle;
	int started, stopped, inside;
	char text[64];
} test_t;

#define	COUNT(what)	__atomic_add_fetch(&calls.what, 1, __ATOMIC_SEQ_CST)

#ifdef CRASH
#ifndef CRASH_BY
#define	CRASH_BY SIGSEGV
#endif
static int
overflow(volatile int *outer)
{
	volatile int inner[1000];

	inner[0] = *outer + 1;
	return (inner[0] == 0 ? 0 : overflow(inner) + inner[0]);
}

static void
crash_in(const char *function)
{
	volatile int zero = 0;

	if (strcmp(function, CRASH) != 0)
		return;
	switch (CRASH_BY) {
	case SIGSEGV:
		*(volatile int *)0x40 = 1;
		break;
	case SIGBUS:
		/* A page of a file that has none. */
		*(volatile int *)mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_SHARED, fileno(tmpfile()), 0) = 1;
		break;
	case SIGFPE:
		zero = 4711 / zero;
		break;
	case SIGILL:
		__builtin_trap();
	case SIGABRT:
		abort();
	default:
		overflow(&zero);
	}
}
#else
#define	crash_in(function)	((void)0)
#endif

#ifdef FAIL
#define	fail_in(function, result) \
	do { \
		crash_in(function); \
		if (strcmp(function, FAIL) == 0) \
			return (result); \
	} while (0)
#else
#define	fail_in(function, result)	crash_in(function)
#endif

static int
test_create(varpd_provider_handle_t *handle, void **out,
    overlay_plugin_dest_t dest)
{
	test_t *t = calloc(1, sizeof (*t));

	fail_in("vpo_create", ENXIO);
	COUNT(create);
	t->handle = handle;
	/* Callbacks are allowed from anywhere, also from here. */
	if (libvarpd_plugin_vnetid(handle) == 0)
		COUNT(wrong);
	*out = t;
	return (dest == 0 ? ENOTSUP : 0);
}

static int
test_start(void *arg)
{
	test_t *t = arg;

	fail_in("vpo_start", ENXIO);
	COUNT(start);
#ifdef PANIC
	libvarpd_panic("link %d of %s: %lx %.2f %d %d %d %s", 4711, NAME,
	    0x17L, 2.5, 5, 6, 7, "8");
#endif
	if (START != 0)
		return (START);
#ifdef DENY
	if (access(DENY, F_OK) == 0)
		return (EAGAIN);
#endif
#ifdef DEGRADE
	libvarpd_fma_degrade(t->handle, "the plugin says so");
#endif
#ifdef BUNYAN
	if (libvarpd_plugin_bunyan(t->handle) == NULL)
		return (ENOTSUP);
#endif
	if (t->started++)
		COUNT(wrong);
	return (0);
}

static void
test_stop(void *arg)
{
	test_t *t = arg;

	crash_in("vpo_stop");
	COUNT(stop);
	if (!t->started || __atomic_load_n(&t->inside, __ATOMIC_SEQ_CST))
		COUNT(wrong);
	t->started = 0;
}

static void
test_destroy(void *arg)
{
	test_t *t = arg;

	crash_in("vpo_destroy");
	COUNT(destroy);
	if (t->started || __atomic_load_n(&t->inside, __ATOMIC_SEQ_CST))
		COUNT(wrong);
	memset(t, 0xdd, sizeof (*t));
	free(t);
}

static void
point(overlay_target_point_t *p)
{
	static const uint8_t addr[16] = { [10] = 0xff, [11] = 0xff, PREFIX, 7 };

#ifdef GARBAGE
	memset(p, 0xa5, sizeof (*p));
#endif
	memcpy(&p->otp_ip, addr, sizeof (addr));
	p->otp_port = 4789;
}

static int
test_default(void *arg, overlay_target_point_t *p)
{
	fail_in("vpo_default", VARPD_LOOKUP_DROP);
	point(p);
	return (ANSWER);
}

/* The three kinds of answers are of one form. */
typedef void (*reply_f)(void *, int);

typedef struct {
	reply_f reply;
	void *handle;
	volatile uint8_t *out;
} answer_t;

/* Set by tests, see HELD. */
int go;

#if defined(LATER) || defined(HELD)
#define	THREAD
#endif

static void *
answer_now(void *arg)
{
	answer_t *a = arg;
	int i;

#ifdef LATER
	usleep(LATER);
#endif
#ifdef HELD
	while (__atomic_load_n(&go, __ATOMIC_SEQ_CST) == 0)
		usleep(1000);
	a->out[0] = 2;
#endif
	for (i = 0; i < ANSWERS; i++)
		a->reply(a->handle, ANSWER);
	COUNT(answered);
	free(a);
	return (NULL);
}

static void
answer(reply_f reply, void *handle, void *out)
{
	answer_t *a = calloc(1, sizeof (*a));
#ifdef THREAD
	pthread_t thread;
#endif

	a->reply = reply;
	a->handle = handle;
	a->out = out;
#ifdef THREAD
	if (pthread_create(&thread, NULL, answer_now, a) == 0)
		pthread_detach(thread);
#else
	(void) answer_now(a);
#endif
}

#ifdef PROXY
#ifndef PROXY_HANDLE
#define	PROXY_HANDLE t->handle
#endif

/* Whether the frame asks for an address; then it is answered. */
static int
proxied(test_t *t, varpd_query_handle_t *query,
    const overlay_targ_lookup_t *request)
{
	const uint8_t *dst = request->otl_dstaddr;

	if (request->otl_sap == 0x0806)
		libvarpd_plugin_proxy_arp(PROXY_HANDLE, query, request);
	else if (request->otl_sap == 0x86dd && dst[0] == 0x33)
		libvarpd_plugin_proxy_ndp(PROXY_HANDLE, query, request);
	else if (request->otl_sap == 0x0800 && dst[0] == 0xff)
		libvarpd_plugin_proxy_dhcp(PROXY_HANDLE, query, request);
	else
		return (0);
#ifdef PROXY_TOO
	libvarpd_plugin_query_reply(query, VARPD_LOOKUP_OK);
#endif
	return (1);
}
#endif

static void
put_mac(uint8_t *out, int last)
{
#ifdef MAC
	static const uint8_t mac[6] = { MAC };
#else
	const uint8_t mac[6] = { 2, 8, 0x20, 0, 0, last };
#endif

	memcpy(out, mac, sizeof (mac));
}

static void
test_arp(void *arg, varpd_arp_handle_t *handle, int type,
    const struct sockaddr *addr, uint8_t *out)
{
	test_t *t = arg;
	const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;

	crash_in("vpo_arp");
	COUNT(running);
	if (!t->started || type != VARPD_QTYPE_ETHERNET)
		COUNT(wrong);
	if (addr->sa_family == AF_INET)
		put_mac(out, ntohl(in->sin_addr.s_addr) & 0xff);
	else if (addr->sa_family == AF_INET6)
		put_mac(out, in6->sin6_addr.s6_addr[15]);
	else
		COUNT(wrong);
	answer((reply_f)libvarpd_plugin_arp_reply, handle, out);
}

static void
test_dhcp(void *arg, varpd_dhcp_handle_t *handle, int type,
    const overlay_targ_lookup_t *request, uint8_t *out)
{
	test_t *t = arg;

	crash_in("vpo_dhcp");
	COUNT(running);
	if (!t->started || type != VARPD_QTYPE_ETHERNET ||
	    request->otl_sap != 0x0800)
		COUNT(wrong);
	put_mac(out, 67);
	answer((reply_f)libvarpd_plugin_dhcp_reply, handle, out);
}

static void
test_lookup(void *arg, varpd_query_handle_t *query,
    const overlay_targ_lookup_t *request, overlay_target_point_t *p)
{
	test_t *t = arg;

	crash_in("vpo_lookup");
	__atomic_add_fetch(&t->inside, 1, __ATOMIC_SEQ_CST);
	COUNT(running);
	if (!t->started)
		COUNT(wrong);
#ifdef SLOW
	usleep(SLOW);
#endif
	/* A broadcast makes callbacks, which change the link. */
#if !defined(PEER) && !defined(PROXY)
	if (request->otl_dstaddr[0] == 0xff) {
		struct in_addr ip = { htonl(0x0a010009) };

		libvarpd_fma_degrade(t->handle, "told by a broadcast");
#ifdef GARBAGE
		point(p);
		libvarpd_inject_varp(t->handle, request->otl_dstaddr, p);
#else
		libvarpd_inject_varp(t->handle, request->otl_dstaddr, NULL);
#endif
		libvarpd_inject_arp(t->handle, 5, request->otl_dstaddr, &ip,
		    request->otl_dstaddr);
	}
#endif
	point(p);
	/* The last byte of the address is that of the destination. */
	((uint8_t *)&p->otp_ip)[15] = request->otl_dstaddr[5];
#ifdef PEER
	if (request->otl_dstaddr[0] & 1)
		((uint8_t *)&p->otp_ip)[15] = PEER;
#endif
#ifdef ZERO
	memset(p, 0, sizeof (*p));
#endif
#ifdef PROXY
	if (!proxied(t, query, request))
#endif
	answer((reply_f)libvarpd_plugin_query_reply, query, p);
	__atomic_sub_fetch(&t->inside, 1, __ATOMIC_SEQ_CST);
}

static int
test_nprops(void *arg, uint_t *n)
{
	fail_in("vpo_nprops", ENXIO);
	*n = 1;
	return (0);
}

static int
test_propinfo(void *arg, const uint_t id, varpd_prop_handle_t *prop)
{
	fail_in("vpo_propinfo", ENXIO);
	if (id != 0)
		return (EINVAL);
#ifndef NAMELESS
	libvarpd_prop_set_name(prop, NAME "/text");
#endif
	libvarpd_prop_set_prot(prop, OVERLAY_PROP_PERM_RW);
	libvarpd_prop_set_type(prop, OVERLAY_PROP_T_STRING);
	libvarpd_prop_set_range_str(prop, "one");
	libvarpd_prop_set_range_str(prop, "two");
	if (libvarpd_prop_set_default(prop, "one", 257) != E2BIG ||
	    libvarpd_prop_set_default(prop, "one", -1) != EOVERFLOW)
		COUNT(wrong);
	return (libvarpd_prop_set_default(prop, "one", 4));
}

static int
test_getprop(void *arg, const char *name, void *buf, uint32_t *size)
{
	test_t *t = arg;
	size_t len = strlen(t->text);

	fail_in("vpo_getprop", ENXIO);
	if (strcmp(name, NAME "/text") != 0)
		return (EINVAL);
	if (*size != 256)
		COUNT(wrong);
	memcpy(buf, t->text, len + 1);
	*size = len == 0 ? 0 : len + 1;
#ifdef SIZE
	*size = SIZE;
#endif
	return (0);
}

static int
test_setprop(void *arg, const char *name, const void *value,
    const uint32_t size)
{
	test_t *t = arg;

	fail_in("vpo_setprop", ENXIO);
	if (strcmp(name, NAME "/text") != 0 || size == 0 ||
	    ((const char *)value)[size - 1] != '\0')
		return (EINVAL);
	if (size > sizeof (t->text))
		return (EOVERFLOW);
	memcpy(t->text, value, size);
	return (0);
}

static int
test_save(void *arg, nvlist_t *list)
{
	test_t *t = arg;
	uint32_t words[2] = { 1, 0xfffffffe };
	int err;

	fail_in("vpo_save", ENXIO);
#ifdef DENY_SAVE
	if (access(DENY_SAVE, F_OK) == 0)
		return (ENOMEM);
#endif
	if (!t->started)
		COUNT(wrong);
	if ((err = nvlist_add_string(list, "text", t->text)) != 0)
		return (err);
	return (nvlist_add_uint32_array(list, "words", words, 2));
}

static int
test_restore(nvlist_t *list, varpd_provider_handle_t *handle,
    overlay_plugin_dest_t dest, void **out)
{
	test_t *t;
	uint32_t *words;
	uint_t n;
	char *text;
	int err;

	fail_in("vpo_restore", ENXIO);
#ifdef DENY_RESTORE
	if (access(DENY_RESTORE, F_OK) == 0)
		return (ENOENT);
#endif
	if ((err = nvlist_lookup_string(list, "text", &text)) != 0 ||
	    (err = nvlist_lookup_uint32_array(list, "words", &words, &n)) != 0)
		return (err);
	if (n != 2 || words[1] != 0xfffffffe || strlen(text) >= 64)
		return (EINVAL);
	if ((err = test_create(handle, out, dest)) != 0)
		return (err);
	t = *out;
	strcpy(t->text, text);
	return (0);
}

#ifdef REPORT
#ifndef REPORTS
#define	REPORTS	1
#endif
#ifndef REPORT_SIZE
#define	REPORT_SIZE	0
#endif
static int
test_report(void *private, char *buf, uint32_t *size)
{
	const char *text = REPORT;
	uint32_t room = *size, len = strlen(text), i;

	*size = len * REPORTS + REPORT_SIZE;
	if (len * REPORTS > room)
		return (EOVERFLOW);
	for (i = 0; i < REPORTS; i++)
		memcpy(buf + i * len, text, len);
	return (0);
}
#endif

static varpd_plugin_ops_t ops = {
	.vpo_callbacks = CALLBACKS,
	.vpo_create = test_create,
	.vpo_start = test_start,
	.vpo_stop = test_stop,
	.vpo_destroy = test_destroy,
#if MODE == 1 || defined(BOTH)
	.vpo_default = test_default,
#endif
#if MODE == 2 || defined(BOTH)
	.vpo_lookup = test_lookup,
#endif
	.vpo_nprops = test_nprops,
	.vpo_propinfo = test_propinfo,
	.vpo_getprop = test_getprop,
	.vpo_setprop = test_setprop,
	.vpo_save = test_save,
	.vpo_restore = test_restore,
#ifdef PROXY
	.vpo_arp = test_arp,
	.vpo_dhcp = test_dhcp
#endif
};

extern void libvarpd_no_such_function(void);

__attribute__((constructor)) static void
test_init(void)
{
	varpd_plugin_register_t *reg;
	int err;

	crash_in("initialization");
#ifdef UNKNOWN
	libvarpd_no_such_function();
#endif
#ifdef SILENT
	return;
#endif
#ifdef NULLED
	memset((char *)&ops + NULLED, 0, sizeof (void *));
#endif
#ifdef REPORT
	libvarpd_plugin_reporter(test_report);
#endif
	reg = libvarpd_plugin_alloc(VARPD_CURRENT_VERSION, &err);
	reg->vpr_version = VERSION;
	reg->vpr_mode = MODE;
	reg->vpr_name = NAME;
	reg->vpr_ops = &ops;
#ifdef NO_OPS
	reg->vpr_ops = NULL;
#endif
#ifdef NO_NAME
	reg->vpr_name = NULL;
#endif
	calls.registered = libvarpd_plugin_register(reg);
#ifdef TWICE
	calls.registered = libvarpd_plugin_register(reg);
#endif
	libvarpd_plugin_free(reg);
	/* Each of these is used in one mode only. */
	(void) test_default;
	(void) test_lookup;
	(void) test_arp;
	(void) test_dhcp;
}
