/* SPDX-License-Identifier: CDDL-1.0 */
/*
 * A small kernel module in C: a MAC provider that sends every frame back, and
 * functions that use lists, trees, locks, messages and sockets of the kernel.
 * Each returns 0, or the line on which something was not as it must be.
 *
 * The declarations are our own, from the manual's section 9F; the sizes are
 * those of illumos on amd64.
 */
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef unsigned long uint64_t;
typedef unsigned long size_t;
typedef long clock_t;
#define	NULL	((void *)0)
#define	offsetof(type, member)	__builtin_offsetof(type, member)

#define	KM_SLEEP	0
#define	MUTEX_DRIVER	4
#define	CV_DRIVER	1
#define	DDI_SUCCESS	0
#define	DDI_FAILURE	(-1)

typedef struct { uint64_t word; } kmutex_t;
typedef struct { uint16_t word; } kcondvar_t;
typedef struct list_node { struct list_node *next, *prev; } list_node_t;
typedef struct { size_t size, offset; list_node_t head; } list_t;
typedef struct { void *child[2]; uint64_t pcb; } avl_node_t;
typedef struct {
	void *root;
	int (*compare)(const void *, const void *);
	size_t offset;
	uint64_t numnodes;
	size_t size;
} avl_tree_t;
typedef struct mblk {
	struct mblk *b_next, *b_prev, *b_cont;
	uint8_t *b_rptr, *b_wptr;
	struct dblk { void *frtn; uint8_t *db_base, *db_lim; uint8_t db_ref, db_type; } *b_datap;
	uint8_t b_band, b_tag;
	uint16_t b_flag;
	void *b_queue;
} mblk_t;
typedef struct cred cred_t;
typedef struct dev_info dev_info_t;
typedef struct mac_handle *mac_handle_t;
typedef struct ksocket *ksocket_t;

struct dev_ops {
	int rev, refcnt;
	void *getinfo, *identify, *probe;
	int (*attach)(dev_info_t *, int);
	int (*detach)(dev_info_t *, int);
	void *reset, *cb_ops, *bus_ops, *power;
	int (*quiesce)(dev_info_t *);
};
struct modldrv { const void *ops; const char *text; struct dev_ops *dev_ops; };
struct modlinkage { int rev; const void *linkage[7]; };

struct mac_callbacks {
	uint32_t callbacks;
	int (*getstat)(void *, uint32_t, uint64_t *);
	int (*start)(void *);
	void (*stop)(void *);
	int (*setpromisc)(void *, int);
	int (*multicst)(void *, int, const uint8_t *);
	int (*unicst)(void *, const uint8_t *);
	mblk_t *(*tx)(void *, mblk_t *);
	void *reserved, *ioctl, *getcapab, *open, *close, *setprop, *getprop, *propinfo;
};
struct mac_register {
	uint32_t version;
	const char *type;
	void *driver;
	dev_info_t *dip;
	uint32_t instance;
	uint8_t *src_addr, *dst_addr;
	const struct mac_callbacks *callbacks;
	uint32_t min_sdu, max_sdu;
	void *pdata;
	size_t pdata_size;
	char **priv_props;
	uint32_t margin, v12n, multicast_sdu;
};

struct sockaddr_in6 {
	uint16_t family, port;
	uint32_t flowinfo;
	uint8_t addr[16];
	uint32_t scope_id, src_id;
};
struct nmsghdr {
	void *name;
	uint32_t namelen;
	void *iov;
	int iovlen;
	void *control;
	uint32_t controllen;
	int flags;
};

extern const char mod_driverops[];
extern cred_t *kcred;
extern int mod_install(const struct modlinkage *);
extern int mod_remove(const struct modlinkage *);
extern int mod_info(const struct modlinkage *, void *);
extern void cmn_err(int, const char *, ...);
extern void *kmem_zalloc(size_t, int);
extern void kmem_free(void *, size_t);
extern void *memcpy(void *, const void *, size_t);
extern void mutex_init(kmutex_t *, const char *, int, void *);
extern void mutex_destroy(kmutex_t *);
extern void mutex_enter(kmutex_t *);
extern void mutex_exit(kmutex_t *);
extern int mutex_owned(const kmutex_t *);
extern void cv_init(kcondvar_t *, const char *, int, void *);
extern void cv_destroy(kcondvar_t *);
extern clock_t cv_timedwait(kcondvar_t *, kmutex_t *, clock_t);
extern void cv_broadcast(kcondvar_t *);
extern void *timeout(void (*)(void *), void *, clock_t);
extern clock_t untimeout(void *);
extern clock_t ddi_get_lbolt(void);
extern clock_t drv_usectohz(clock_t);
extern int ddi_quiesce_not_supported(dev_info_t *);
extern void list_create(list_t *, size_t, size_t);
extern void list_destroy(list_t *);
extern void list_insert_head(list_t *, void *);
extern void list_insert_tail(list_t *, void *);
extern void *list_remove_head(list_t *);
extern void list_remove(list_t *, void *);
extern void *list_next(list_t *, void *);
extern void *list_head(list_t *);
extern int list_is_empty(list_t *);
extern void avl_create(avl_tree_t *, int (*)(const void *, const void *), size_t, size_t);
extern void avl_destroy(avl_tree_t *);
extern void *avl_find(avl_tree_t *, const void *, size_t *);
extern void avl_insert(avl_tree_t *, void *, size_t);
extern void *avl_first(avl_tree_t *);
extern void *avl_walk(avl_tree_t *, void *, int);
extern void avl_remove(avl_tree_t *, void *);
extern mblk_t *allocb(size_t, uint32_t);
extern void freemsg(mblk_t *);
extern mblk_t *dupmsg(mblk_t *);
extern mblk_t *msgpullup(mblk_t *, long);
extern int adjmsg(mblk_t *, long);
extern void linkb(mblk_t *, mblk_t *);
extern size_t msgdsize(mblk_t *);
extern void mac_init_ops(struct dev_ops *, const char *);
extern void mac_fini_ops(struct dev_ops *);
extern struct mac_register *mac_alloc(uint32_t);
extern void mac_free(struct mac_register *);
extern int mac_register(struct mac_register *, mac_handle_t *);
extern int mac_disable(mac_handle_t);
extern int mac_unregister(mac_handle_t);
extern void mac_rx(mac_handle_t, void *, mblk_t *);
extern void mac_link_update(mac_handle_t, int);
extern int dls_devnet_create(mac_handle_t, uint32_t, int);
extern int dls_devnet_destroy(mac_handle_t, uint32_t *, int);
extern int ksocket_socket(ksocket_t *, int, int, int, int, cred_t *);
extern int ksocket_bind(ksocket_t, void *, uint32_t, cred_t *);
extern int ksocket_sendmblk(ksocket_t, struct nmsghdr *, int, mblk_t **, cred_t *);
extern int ksocket_krecv_set(ksocket_t,
    int (*)(ksocket_t, mblk_t *, size_t, int, void *), void *);
extern int ksocket_close(ksocket_t, cred_t *);
extern void __dtrace_probe_ctest__tick(uint64_t, uint64_t);
extern void __dtrace_probe_overlay__tx(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
/* Nobody has it, and nobody must. */
extern void ctest_nowhere(void) __attribute__((weak));

/* krtld looks for this where there is no dynamic section. */
const char _depends_on[] = "misc/mac misc/dls misc/ksocket drv/nothing";

/* Tunables: one in .data, one that is common. */
uint32_t ctest_linkid = 9;
__attribute__((common)) uint64_t ctest_frames;

#define	CHECK(what)	do { if (!(what)) return (__LINE__); } while (0)

/* --- lists and trees --- */

struct item {
	uint32_t key;
	list_node_t link;
	avl_node_t node;
};

static int
compare(const void *a, const void *b)
{
	uint32_t x = ((const struct item *)a)->key;
	uint32_t y = ((const struct item *)b)->key;

	/* AVL wants exactly -1, 0 or 1. */
	return (x < y ? -1 : x > y);
}

int
ctest_list(void)
{
	struct item *items = kmem_zalloc(10 * sizeof (*items), KM_SLEEP);
	struct item *i;
	list_t list;
	uint32_t n;

	list_create(&list, sizeof (*items), offsetof(struct item, link));
	CHECK(list_is_empty(&list));
	for (n = 0; n < 10; n++) {
		items[n].key = n;
		if (n % 2 == 0)
			list_insert_tail(&list, &items[n]);
		else
			list_insert_head(&list, &items[n]);
	}
	list_remove(&list, &items[4]);
	/* 9 7 5 3 1 0 2 6 8 */
	n = 0;
	for (i = list_head(&list); i != NULL; i = list_next(&list, i))
		n = n * 10 + i->key;
	CHECK(n == 975310268);
	while (list_remove_head(&list) != NULL)
		;
	list_destroy(&list);
	kmem_free(items, 10 * sizeof (*items));
	return (0);
}

int
ctest_avl(void)
{
	struct item *items = kmem_zalloc(100 * sizeof (*items), KM_SLEEP);
	struct item *i, probe;
	avl_tree_t tree;
	uint32_t n;
	size_t where;

	avl_create(&tree, compare, sizeof (*items), offsetof(struct item, node));
	for (n = 0; n < 100; n++) {
		items[n].key = n * 37 % 100;
		CHECK(avl_find(&tree, &items[n], &where) == NULL);
		avl_insert(&tree, &items[n], where);
	}
	CHECK(tree.numnodes == 100);
	n = 0;
	for (i = avl_first(&tree); i != NULL; i = avl_walk(&tree, i, 1))
		CHECK(i->key == n++);
	probe.key = 50;
	i = avl_find(&tree, &probe, &where);
	CHECK(i != NULL && i->key == 50);
	for (n = 0; n < 100; n++)
		avl_remove(&tree, &items[n]);
	avl_destroy(&tree);
	kmem_free(items, 100 * sizeof (*items));
	return (0);
}

/* --- locks: a condition that another thread makes true --- */

static kmutex_t lock;
static kcondvar_t changed;
static int ticked;

static void
tick(void *arg)
{
	mutex_enter(&lock);
	ticked = *(int *)arg;
	cv_broadcast(&changed);
	mutex_exit(&lock);
}

static clock_t
soon(void)
{
	return (ddi_get_lbolt() + drv_usectohz(5000000));
}

int
ctest_cv(void)
{
	int forty_two = 42;
	void *id;
	clock_t left = 0;

	mutex_enter(&lock);
	CHECK(mutex_owned(&lock));
	ticked = 0;
	id = timeout(tick, &forty_two, 1);
	while (ticked == 0 && left != -1)
		left = cv_timedwait(&changed, &lock, soon());
	mutex_exit(&lock);
	(void) untimeout(id);
	CHECK(left != -1);
	CHECK(ticked == 42);
	CHECK(!mutex_owned(&lock));
	return (0);
}

/* --- messages --- */

static mblk_t *
message(const char *text, size_t len)
{
	mblk_t *mp = allocb(len, 0);

	if (mp != NULL) {
		memcpy(mp->b_wptr, text, len);
		mp->b_wptr += len;
	}
	return (mp);
}

int
ctest_mblk(void)
{
	mblk_t *mp = message("hello, ", 7);
	mblk_t *two = message("kernel", 6);
	mblk_t *flat, *dup;

	CHECK(mp != NULL && two != NULL);
	linkb(mp, two);
	CHECK(mp->b_cont == two && msgdsize(mp) == 13);
	dup = dupmsg(mp);
	CHECK(dup != NULL && dup->b_datap == mp->b_datap && mp->b_datap->db_ref == 2);
	flat = msgpullup(mp, -1);
	CHECK(flat != NULL && flat->b_cont == NULL && flat->b_wptr - flat->b_rptr == 13);
	CHECK(flat->b_rptr[7] == 'k');
	CHECK(adjmsg(flat, 7) == 1 && flat->b_rptr[0] == 'k');
	freemsg(dup);
	freemsg(flat);
	freemsg(mp);
	return (0);
}

/* --- sockets: a datagram from one to the other --- */

#define	AF_INET6	26
#define	SOCK_DGRAM	1
#define	IPPROTO_UDP	17
#define	MSG_DONTWAIT	0x80
#define	M_DATA		0

static size_t got;
static uint8_t got_byte;

static int
arrived(ksocket_t ks, mblk_t *mp, size_t len, int oob, void *arg)
{
	mblk_t *m, *next, *data;

	for (m = mp; m != NULL; m = next) {
		next = m->b_next;
		m->b_next = NULL;
		data = m->b_datap->db_type == M_DATA ? m : m->b_cont;
		mutex_enter(&lock);
		got += msgdsize(data);
		got_byte = *data->b_rptr;
		cv_broadcast(&changed);
		mutex_exit(&lock);
		freemsg(m);
	}
	return (1);
}

/* `address` is that of two IPv4 addresses, big-endian, to which nobody is bound. */
int
ctest_socket(const uint8_t *address)
{
	struct sockaddr_in6 a[2] = { { 0 }, { 0 } };
	struct nmsghdr hdr = { 0 };
	ksocket_t ks[2];
	mblk_t *mp;
	clock_t left = 0;
	int i;

	for (i = 0; i < 2; i++) {
		a[i].family = AF_INET6;
		a[i].port = 0xb512; /* 4789 */
		a[i].addr[10] = a[i].addr[11] = 0xff;
		memcpy(&a[i].addr[12], address + 4 * i, 4);
		CHECK(ksocket_socket(&ks[i], AF_INET6, SOCK_DGRAM, IPPROTO_UDP, 0, kcred) == 0);
		CHECK(ksocket_bind(ks[i], &a[i], sizeof (a[i]), kcred) == 0);
	}
	got = 0;
	CHECK(ksocket_krecv_set(ks[1], arrived, NULL) == 0);
	mp = message("datagram", 8);
	CHECK(mp != NULL);
	hdr.name = &a[1];
	hdr.namelen = sizeof (a[1]);
	hdr.flags = MSG_DONTWAIT;
	CHECK(ksocket_sendmblk(ks[0], &hdr, MSG_DONTWAIT, &mp, kcred) == 0);
	mutex_enter(&lock);
	while (got == 0 && left != -1)
		left = cv_timedwait(&changed, &lock, soon());
	mutex_exit(&lock);
	CHECK(got == 8 && got_byte == 'd');
	CHECK(ksocket_close(ks[0], kcred) == 0);
	CHECK(ksocket_close(ks[1], kcred) == 0);
	return (0);
}

/* --- what relocations and sections give --- */

static const char *
name_of(uint32_t n)
{
	/* A table of addresses in .rodata. */
	static const char *const names[] = { "zero", "one", "two" };

	return (n < 3 ? names[n] : "many");
}

int
ctest_image(void)
{
	static uint8_t zeros[10000];
	uint32_t n;

	for (n = 0; n < sizeof (zeros); n++)
		CHECK(zeros[n] == 0);
	CHECK(name_of(2)[0] == 't' && name_of(2)[1] == 'w');
	CHECK(name_of(7)[0] == 'm');
	CHECK(ctest_nowhere == NULL);
	CHECK(kcred != NULL);
	return (0);
}

void
ctest_tick(uint64_t n)
{
	__dtrace_probe_ctest__tick(n, n + 1);
	__dtrace_probe_overlay__tx(n, 0, 0, 0, 0);
	/* So that the call is not the function's end. */
	__asm__ volatile ("");
}

/* Makes and keeps 24 bytes. */
void
ctest_leak(void)
{
	(void) kmem_zalloc(24, KM_SLEEP);
	__asm__ volatile ("");
}

/* --- the link: whoever sends gets his frame back --- */

static mac_handle_t handle;

static int yes(void *arg) { return (0); }
static void stop(void *arg) { }
static int set(void *arg, int on) { return (0); }
static int multicast(void *arg, int add, const uint8_t *addr) { return (0); }
static int unicast(void *arg, const uint8_t *addr) { return (0); }
static int stat(void *arg, uint32_t what, uint64_t *value) { return (48); }

static mblk_t *
tx(void *arg, mblk_t *chain)
{
	mblk_t *mp, *next;
	uint8_t mac[6];

	for (mp = chain; mp != NULL; mp = next) {
		next = mp->b_next;
		mp->b_next = NULL;
		memcpy(mac, mp->b_rptr, 6);
		memcpy(mp->b_rptr, mp->b_rptr + 6, 6);
		memcpy(mp->b_rptr + 6, mac, 6);
		ctest_frames++;
		mac_rx(handle, NULL, mp);
	}
	return (NULL);
}

static const struct mac_callbacks callbacks = {
	.getstat = stat,
	.start = yes,
	.stop = stop,
	.setpromisc = set,
	.multicst = multicast,
	.unicst = unicast,
	.tx = tx,
};

static int
attach(dev_info_t *dip, int cmd)
{
	struct mac_register *reg = mac_alloc(1);
	uint8_t addr[6] = { 2, 8, 0x20, 0, 0, 1 };
	int err;

	if (reg == NULL)
		return (DDI_FAILURE);
	reg->type = "mac_ether";
	reg->dip = dip;
	reg->instance = (uint32_t)-1;
	reg->src_addr = addr;
	reg->callbacks = &callbacks;
	reg->max_sdu = 1500;
	reg->margin = 4;
	err = mac_register(reg, &handle);
	mac_free(reg);
	if (err != 0)
		return (DDI_FAILURE);
	if (dls_devnet_create(handle, ctest_linkid, 0) != 0) {
		(void) mac_unregister(handle);
		return (DDI_FAILURE);
	}
	mac_link_update(handle, 1);
	return (DDI_SUCCESS);
}

static int
detach(dev_info_t *dip, int cmd)
{
	uint32_t linkid;

	if (dls_devnet_destroy(handle, &linkid, 1) != 0)
		return (DDI_FAILURE);
	if (linkid != ctest_linkid || mac_disable(handle) != 0 || mac_unregister(handle) != 0) {
		(void) dls_devnet_create(handle, ctest_linkid, 0);
		return (DDI_FAILURE);
	}
	return (DDI_SUCCESS);
}

static struct dev_ops ops = {
	.rev = 4,
	.attach = attach,
	.detach = detach,
	.quiesce = ddi_quiesce_not_supported,
};
static const struct modldrv driver = { mod_driverops, "test driver in C", &ops };
static const struct modlinkage linkage = { 1, { &driver, NULL } };

int
_init(void)
{
	int err;

	mutex_init(&lock, NULL, MUTEX_DRIVER, NULL);
	cv_init(&changed, NULL, CV_DRIVER, NULL);
	mac_init_ops(&ops, "ctest");
	err = mod_install(&linkage);
	if (err != 0) {
		mac_fini_ops(&ops);
		cv_destroy(&changed);
		mutex_destroy(&lock);
	}
	return (err);
}

int
_fini(void)
{
	int err = mod_remove(&linkage);

	if (err == 0) {
		mac_fini_ops(&ops);
		cv_destroy(&changed);
		mutex_destroy(&lock);
	}
	return (err);
}

int
_info(void *modinfo)
{
	return (mod_info(&linkage, modinfo));
}
