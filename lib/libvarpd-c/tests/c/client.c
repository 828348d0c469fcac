/* SPDX-License-Identifier: CDDL-1.0 */
/*
 * A client of varpd's door: client DOOR. It expects an overlay link 7 with an
 * active instance 1 of the plugin "test", whose kernel has 250 destinations
 * cached, for 2:0:0:0:0:0 and so on, and a link 8 without an instance.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <libvarpd_client.h>
#include <sys/overlay_target.h>
#include "expect.h"

#define	ENTRIES	250

static varpd_client_handle_t *client;

static struct ether_addr
mac(int n)
{
	struct ether_addr addr;

	memset(&addr, 0, sizeof (addr));
	((uint8_t *)&addr)[0] = 2;
	((uint8_t *)&addr)[5] = (uint8_t)n;
	return (addr);
}

static void
handles(const char *door)
{
	varpd_client_handle_t *other;
	varpd_client_prop_handle_t *prop;
	uint64_t id = 0;
	uint_t n;

	EXPECT(libvarpd_c_create(NULL, door) == EINVAL);
	EXPECT(libvarpd_c_create(&other, NULL) == EINVAL);
	EXPECT(libvarpd_c_create(&other, "/no/such/door") == ENOENT);
	EXPECT(libvarpd_c_create(&other, door) == 0);
	EXPECT(libvarpd_c_prop_handle_alloc(other, 1, &prop) == 0);
	libvarpd_c_destroy(other);
	libvarpd_c_destroy(other);
	libvarpd_c_destroy(NULL);
	/* A freed handle is none; its property handle has the door still. */
	EXPECT(libvarpd_c_instance_lookup(other, 7, &id) == EINVAL);
	EXPECT(libvarpd_c_prop_info_fill(prop, 0) == 0);
	libvarpd_c_prop_handle_free(prop);
	libvarpd_c_prop_handle_free(prop);
	libvarpd_c_prop_handle_free(NULL);
	EXPECT(libvarpd_c_prop_info_fill(prop, 0) == EINVAL);
	EXPECT(libvarpd_c_prop_nprops(NULL, 1, &n) == EINVAL);
	EXPECT(libvarpd_c_prop_nprops((varpd_client_handle_t *)prop, 1, &n) ==
	    EINVAL);
}

static void
instances(void)
{
	static const char *const name64 =
	    "0123456789012345678901234567890123456789012345678901234567890123";
	uint64_t id = 0, found = 0;
	uint_t dest, mode;

	EXPECT(libvarpd_c_instance_lookup(client, 7, &id) == 0);
	EXPECT(id == 1);
	EXPECT(libvarpd_c_instance_lookup(client, 8, &id) == ENOENT);
	EXPECT(libvarpd_c_instance_lookup(client, 7, NULL) == EINVAL);
	EXPECT(libvarpd_c_instance_target_mode(client, 1, &dest, &mode) == 0);
	EXPECT(dest == (OVERLAY_PLUGIN_D_IP | OVERLAY_PLUGIN_D_PORT));
	EXPECT(mode == OVERLAY_TARGET_DYNAMIC);
	EXPECT(libvarpd_c_instance_target_mode(client, 1, NULL, NULL) == 0);
	EXPECT(libvarpd_c_instance_target_mode(client, 99, &dest, &mode) ==
	    ENOENT);

	EXPECT(libvarpd_c_instance_create(client, 8, name64, &id) == EINVAL);
	EXPECT(libvarpd_c_instance_create(client, 8, NULL, &id) == EINVAL);
	EXPECT(libvarpd_c_instance_create(client, 8, "test", NULL) == EINVAL);
	EXPECT(libvarpd_c_instance_create(client, 8, "none", &id) == ENOENT);
	EXPECT(libvarpd_c_instance_create(client, 99, "test", &id) == ENOENT);
	EXPECT(libvarpd_c_instance_create(client, 7, "test", &id) == EEXIST);
	EXPECT(libvarpd_c_instance_create(client, 8, "test", &id) == 0);
	EXPECT(libvarpd_c_instance_lookup(client, 8, &found) == 0);
	EXPECT(found == id);
	EXPECT(libvarpd_c_instance_activate(client, id) == 0);
	EXPECT(libvarpd_c_instance_activate(client, id) == EEXIST);
	EXPECT(libvarpd_c_instance_destroy(client, id) == 0);
	EXPECT(libvarpd_c_instance_destroy(client, id) == ENOENT);
	EXPECT(libvarpd_c_instance_activate(client, id) == ENOENT);
}

/* Lists them, for the test to read. */
static void
list(void)
{
	varpd_client_prop_handle_t *prop;
	uint_t n, i;

	EXPECT(libvarpd_c_prop_handle_alloc(client, 1, &prop) == 0);
	EXPECT(libvarpd_c_prop_nprops(client, 1, &n) == 0);
	for (i = 0; i < n; i++) {
		const char *name;
		const void *def;
		const mac_propval_range_t *poss;
		uint_t type, prot;
		uint32_t defsize, size = LIBVARPD_PROP_SIZEMAX;
		char value[LIBVARPD_PROP_SIZEMAX];

		EXPECT(libvarpd_c_prop_info_fill(prop, i) == 0);
		EXPECT(libvarpd_c_prop_info(prop, &name, &type, &prot, &def,
		    &defsize, &poss) == 0);
		EXPECT(libvarpd_c_prop_get(prop, value, &size) == 0);
		printf("property %u %s type %u prot %u default %.*s (%u) "
		    "possible %u value %.*s (%u)\n", i, name, type, prot,
		    (int)defsize, (const char *)def, defsize, poss->mpr_count,
		    (int)size, value, size);
	}
	EXPECT(libvarpd_c_prop_info_fill(prop, n) == EINVAL);
	/* What cannot be filled stays what it was. */
	EXPECT(libvarpd_c_prop_info(prop, NULL, NULL, NULL, NULL, NULL,
	    NULL) == 0);
	libvarpd_c_prop_handle_free(prop);
}

static void
properties(void)
{
	varpd_client_prop_handle_t *prop;
	char value[LIBVARPD_PROP_SIZEMAX + 1];
	uint32_t size = sizeof (value);
	const mac_propval_range_t *poss;
	const char *name;
	uint_t prot;

	EXPECT(libvarpd_c_prop_nprops(client, 1, NULL) == EINVAL);
	EXPECT(libvarpd_c_prop_handle_alloc(client, 1, NULL) == EINVAL);
	EXPECT(libvarpd_c_prop_handle_alloc(client, 1, &prop) == 0);
	/* Not filled. */
	EXPECT(libvarpd_c_prop_info(prop, &name, NULL, NULL, NULL, NULL,
	    NULL) == EINVAL);
	EXPECT(libvarpd_c_prop_get(prop, value, &size) == EINVAL);
	EXPECT(libvarpd_c_prop_set(prop, "x", 2) == EINVAL);

	EXPECT(libvarpd_c_prop_info_fill_by_name(prop, NULL) == EINVAL);
	EXPECT(libvarpd_c_prop_info_fill_by_name(prop, "nothing") == ENOENT);
	memset(value, 'n', 64);
	value[64] = '\0';
	EXPECT(libvarpd_c_prop_info_fill_by_name(prop, value) == EINVAL);
	EXPECT(libvarpd_c_prop_info_fill_by_name(prop, "test/text") == 0);
	EXPECT(libvarpd_c_prop_info(prop, &name, NULL, &prot, NULL, NULL,
	    &poss) == 0);
	EXPECT(strcmp(name, "test/text") == 0);
	EXPECT(prot == OVERLAY_PROP_PERM_RW);
	EXPECT(poss->mpr_type == MAC_PROPVAL_STR && poss->mpr_count == 2);

	EXPECT(libvarpd_c_prop_set(prop, NULL, 3) == EINVAL);
	EXPECT(libvarpd_c_prop_set(prop, "one", 0) == EINVAL);
	memset(value, 'v', sizeof (value));
	EXPECT(libvarpd_c_prop_set(prop, value, 257) == EOVERFLOW);
	EXPECT(libvarpd_c_prop_set(prop, value, 256) == EINVAL);
	EXPECT(libvarpd_c_prop_set(prop, "two", 4) == 0);
	EXPECT(libvarpd_c_prop_get(prop, value, NULL) == EINVAL);
	EXPECT(libvarpd_c_prop_get(prop, NULL, &size) == EINVAL);
	size = LIBVARPD_PROP_SIZEMAX - 1;
	EXPECT(libvarpd_c_prop_get(prop, value, &size) == EOVERFLOW);
	size = LIBVARPD_PROP_SIZEMAX;
	EXPECT(libvarpd_c_prop_get(prop, value, &size) == 0);
	EXPECT(size == 4 && strcmp(value, "two") == 0);

	EXPECT(libvarpd_c_prop_info_fill(prop, 0) == 0);
	EXPECT(libvarpd_c_prop_set(prop, "test", 5) == EPERM);
	libvarpd_c_prop_handle_free(prop);

	EXPECT(libvarpd_c_prop_handle_alloc(client, 99, &prop) == 0);
	EXPECT(libvarpd_c_prop_info_fill(prop, 0) == ENOENT);
	EXPECT(libvarpd_c_prop_info_fill_by_name(prop, "search") == ENOENT);
	libvarpd_c_prop_handle_free(prop);
}

typedef struct {
	int seen, stop;
} walk_t;

static int
each(varpd_client_handle_t *h, uint64_t id, const struct ether_addr *key,
    const varpd_client_cache_entry_t *entry, void *arg)
{
	walk_t *walk = arg;
	struct ether_addr wanted = mac(walk->seen);

	EXPECT(h == client && id == 1);
	EXPECT(memcmp(key, &wanted, sizeof (wanted)) == 0);
	EXPECT(((const uint8_t *)&entry->vcp_ip)[15] == walk->seen);
	EXPECT(entry->vcp_port == 4789 && entry->vcp_flags == 0);
	/* Calls from inside are allowed. */
	EXPECT(libvarpd_c_instance_lookup(client, 7, &id) == 0);
	return (++walk->seen == walk->stop);
}

static void
cache(void)
{
	varpd_client_cache_entry_t entry, back;
	struct ether_addr key = mac(77), other = mac(255);
	walk_t walk = { 0, 0 };

	EXPECT(libvarpd_c_instance_cache_walk(client, 1, each, &walk) == 0);
	EXPECT(walk.seen == ENTRIES);
	walk.seen = 0;
	walk.stop = 150;
	EXPECT(libvarpd_c_instance_cache_walk(client, 1, each, &walk) == 0);
	EXPECT(walk.seen == 150);
	EXPECT(libvarpd_c_instance_cache_walk(client, 1, NULL, NULL) == EINVAL);
	EXPECT(libvarpd_c_instance_cache_walk(client, 99, each, &walk) ==
	    ENOENT);

	EXPECT(libvarpd_c_instance_cache_get(client, 1, &key, &entry) == 0);
	EXPECT(((uint8_t *)&entry.vcp_ip)[15] == 77);
	EXPECT(libvarpd_c_instance_cache_get(client, 1, NULL, &entry) == EINVAL);
	EXPECT(libvarpd_c_instance_cache_get(client, 1, &key, NULL) == EINVAL);
	EXPECT(libvarpd_c_instance_cache_get(client, 1, &other, &entry) ==
	    ENOENT);

	memset(&entry, 0, sizeof (entry));
	EXPECT(inet_pton(AF_INET6, "2001:db8::9", &entry.vcp_ip) == 1);
	entry.vcp_port = 4711;
	EXPECT(libvarpd_c_instance_cache_set(client, 1, &other, &entry) == 0);
	EXPECT(libvarpd_c_instance_cache_get(client, 1, &other, &back) == 0);
	EXPECT(memcmp(&entry.vcp_ip, &back.vcp_ip, 16) == 0);
	EXPECT(back.vcp_port == 4711 && back.vcp_flags == 0);
	memset(&entry, 0, sizeof (entry));
	entry.vcp_flags = OVERLAY_TARGET_CACHE_DROP;
	EXPECT(libvarpd_c_instance_cache_set(client, 1, &other, &entry) == 0);
	EXPECT(libvarpd_c_instance_cache_get(client, 1, &other, &back) == 0);
	EXPECT(back.vcp_flags == OVERLAY_TARGET_CACHE_DROP);
	entry.vcp_flags = 0x8000;
	EXPECT(libvarpd_c_instance_cache_set(client, 1, &other, &entry) ==
	    EINVAL);
	EXPECT(libvarpd_c_instance_cache_set(client, 1, NULL, &entry) == EINVAL);
	EXPECT(libvarpd_c_instance_cache_set(client, 1, &key, NULL) == EINVAL);

	EXPECT(libvarpd_c_instance_cache_delete(client, 1, NULL) == EINVAL);
	EXPECT(libvarpd_c_instance_cache_delete(client, 1, &key) == 0);
	EXPECT(libvarpd_c_instance_cache_delete(client, 1, &key) == ENOENT);
	EXPECT(libvarpd_c_instance_cache_get(client, 1, &key, &back) == ENOENT);
	EXPECT(libvarpd_c_instance_cache_flush(client, 99) == ENOENT);
	EXPECT(libvarpd_c_instance_cache_flush(client, 1) == 0);
	walk.seen = walk.stop = 0;
	EXPECT(libvarpd_c_instance_cache_walk(client, 1, each, &walk) == 0);
	EXPECT(walk.seen == 0);
}

int
main(int argc, char **argv)
{
	if (argc != 2)
		return (2);
	handles(argv[1]);
	EXPECT(libvarpd_c_create(&client, argv[1]) == 0);
	instances();
	properties();
	list();
	cache();
	libvarpd_c_destroy(client);
	return (failures());
}
