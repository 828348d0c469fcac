/* SPDX-License-Identifier: CDDL-1.0 */
/*
 * A small varpd: varpd PLUGINS DOOR DIRECTORY. It tries the functions of
 * libvarpd.h on link 1, says "ready", serves until the end of its standard
 * input, and stops. Instances are kept in the directory.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <libvarpd.h>
#include <libvarpd_client.h>
#include "expect.h"

#define	THREADS	3

static varpd_handle_t *varpd;

static int
name(varpd_handle_t *handle, const char *plugin, void *arg)
{
	int *left = arg;

	EXPECT(handle == varpd);
	printf("plugin %s\n", plugin);
	/* Calls from inside are allowed. */
	EXPECT(libvarpd_instance_lookup(varpd, 4711) == NULL);
	return (--*left == 0);
}

static void
plugins(const char *dir)
{
	int left = -1;

	EXPECT(libvarpd_plugin_load(varpd, NULL) == EINVAL);
	EXPECT(libvarpd_plugin_load(varpd, "/no/such/directory") == ENOENT);
	EXPECT(libvarpd_plugin_load(varpd, dir) == 0);
	EXPECT(libvarpd_plugin_walk(varpd, name, &left) == 0);
	EXPECT(left == -3);
	left = 1;
	EXPECT(libvarpd_plugin_walk(varpd, name, &left) == 1);
	EXPECT(libvarpd_plugin_walk(varpd, NULL, NULL) == EINVAL);
}

static void
properties(varpd_instance_handle_t *inst)
{
	varpd_prop_handle_t *prop;
	const char *text;
	const void *def;
	const mac_propval_range_t *poss;
	char value[LIBVARPD_PROP_SIZEMAX];
	uint32_t size = sizeof (value);
	uint_t n, type, prot;

	EXPECT(libvarpd_prop_nprops(inst, &n) == 0 && n == 2);
	EXPECT(libvarpd_prop_nprops(inst, NULL) == EINVAL);
	EXPECT(libvarpd_prop_handle_alloc(varpd, NULL, &prop) == EINVAL);
	EXPECT(libvarpd_prop_handle_alloc(varpd, inst, NULL) == EINVAL);
	EXPECT(libvarpd_prop_handle_alloc(varpd, inst, &prop) == 0);
	/* Not filled. */
	EXPECT(libvarpd_prop_get(prop, value, &size) == EINVAL);
	EXPECT(libvarpd_prop_set(prop, "one", 4) == EINVAL);
	EXPECT(libvarpd_prop_info(prop, &text, &type, &prot, &def, &size,
	    &poss) == 0);
	EXPECT(*text == '\0' && type == 0 && prot == 0 && size == 0);
	EXPECT(poss->mpr_count == 0);

	EXPECT(libvarpd_prop_info_fill(prop, 0) == 0);
	EXPECT(libvarpd_prop_info(prop, &text, &type, &prot, NULL, &size,
	    &poss) == 0);
	EXPECT(strcmp(text, "search") == 0 && type == OVERLAY_PROP_T_STRING);
	EXPECT(prot == OVERLAY_PROP_PERM_READ && size == 0);
	EXPECT(poss->mpr_count == 2 && poss->mpr_type == MAC_PROPVAL_STR);
	size = 4;
	EXPECT(libvarpd_prop_get(prop, value, &size) == EOVERFLOW);
	size = 5;
	EXPECT(libvarpd_prop_get(prop, value, &size) == 0);
	EXPECT(size == 5 && strcmp(value, "test") == 0);
	EXPECT(libvarpd_prop_get(prop, NULL, &size) == EINVAL);
	EXPECT(libvarpd_prop_get(prop, value, NULL) == EINVAL);
	EXPECT(libvarpd_prop_set(prop, "test", 5) == EPERM);

	EXPECT(libvarpd_prop_info_fill(prop, 2) == EINVAL);
	EXPECT(libvarpd_prop_info_fill(prop, 1) == 0);
	EXPECT(libvarpd_prop_info(prop, &text, NULL, NULL, &def, &size,
	    NULL) == 0);
	EXPECT(strcmp(text, "test/text") == 0);
	EXPECT(size == 4 && memcmp(def, "one", 4) == 0);
	EXPECT(libvarpd_prop_set(prop, NULL, 4) == EINVAL);
	EXPECT(libvarpd_prop_set(prop, "two", 4) == 0);
	size = sizeof (value);
	EXPECT(libvarpd_prop_get(prop, value, &size) == 0);
	EXPECT(size == 4 && strcmp(value, "two") == 0);
	libvarpd_prop_handle_free(prop);
	libvarpd_prop_handle_free(prop);
	libvarpd_prop_handle_free(NULL);
	EXPECT(libvarpd_prop_info_fill(prop, 1) == EINVAL);
}

static void
instances(void)
{
	varpd_instance_handle_t *inst, *other;
	uint64_t id;

	EXPECT(libvarpd_instance_create(varpd, 1, "none", &inst) == ENOENT);
	EXPECT(libvarpd_instance_create(varpd, 99, "test", &inst) == ENOENT);
	EXPECT(libvarpd_instance_create(varpd, 1, NULL, &inst) == EINVAL);
	EXPECT(libvarpd_instance_create(varpd, 1, "test", NULL) == EINVAL);
	EXPECT(libvarpd_instance_create(NULL, 1, "test", &inst) == EINVAL);
	EXPECT(libvarpd_instance_create(varpd, 1, "test", &inst) == 0);
	EXPECT(libvarpd_instance_create(varpd, 1, "test", &other) == EEXIST);
	id = libvarpd_instance_id(inst);
	EXPECT(id != 0);
	EXPECT(libvarpd_instance_lookup(varpd, id) == inst);
	EXPECT(libvarpd_instance_lookup(varpd, id + 100) == NULL);
	properties(inst);
	EXPECT(libvarpd_instance_activate(inst) == 0);
	EXPECT(libvarpd_instance_activate(inst) == EEXIST);

	libvarpd_instance_destroy(inst);
	/* It is gone, and nothing happens to its handle. */
	libvarpd_instance_destroy(inst);
	libvarpd_instance_destroy(NULL);
	EXPECT(libvarpd_instance_activate(inst) == EINVAL);
	EXPECT(libvarpd_instance_id(inst) == 0);
	EXPECT(libvarpd_instance_lookup(varpd, id) == NULL);
}

static void
persistence(const char *file, const char *dir)
{
	EXPECT(libvarpd_persist_restore(varpd) == ENOENT);
	EXPECT(libvarpd_persist_disable(varpd) == ENOENT);
	EXPECT(libvarpd_persist_enable(varpd, NULL) == EINVAL);
	EXPECT(libvarpd_persist_enable(varpd, "/no/such/place") == ENOENT);
	EXPECT(libvarpd_persist_enable(varpd, file) == EINVAL);
	EXPECT(libvarpd_persist_enable(NULL, dir) == EINVAL);
	EXPECT(libvarpd_persist_enable(varpd, dir) == 0);
	EXPECT(libvarpd_persist_enable(varpd, dir) == EEXIST);
	EXPECT(libvarpd_persist_disable(varpd) == 0);
	EXPECT(libvarpd_persist_enable(varpd, dir) == 0);
	EXPECT(libvarpd_persist_restore(varpd) == 0);
}

static void *
lookups(void *arg)
{
	libvarpd_overlay_lookup_run(varpd);
	return (arg);
}

static void
run(pthread_t *threads)
{
	int i;

	for (i = 0; i < THREADS; i++)
		EXPECT(pthread_create(&threads[i], NULL, lookups, NULL) == 0);
}

static void
stop(pthread_t *threads)
{
	int i;

	libvarpd_overlay_lookup_quiesce(varpd);
	for (i = 0; i < THREADS; i++)
		EXPECT(pthread_join(threads[i], NULL) == 0);
}

int
main(int argc, char **argv)
{
	varpd_handle_t *second;
	pthread_t threads[THREADS];
	char c;

	if (argc != 4)
		return (2);
	EXPECT(libvarpd_create(NULL) == EINVAL);
	EXPECT(libvarpd_create(&varpd) == 0);
	EXPECT(libvarpd_create(&second) == EEXIST);
	plugins(argv[1]);
	persistence(argv[0], argv[3]);
	instances();

	EXPECT(libvarpd_door_server_create(varpd, NULL) == EINVAL);
	EXPECT(libvarpd_door_server_create(varpd, "/no/such/place") == ENOENT);
	EXPECT(libvarpd_door_server_create(varpd, argv[2]) == 0);
	EXPECT(libvarpd_door_server_create(varpd, argv[2]) == EEXIST);
	libvarpd_door_server_destroy(varpd);
	libvarpd_door_server_destroy(varpd);
	EXPECT(libvarpd_door_server_create(varpd, argv[2]) == 0);

	printf("ready\n");
	fflush(stdout);
	/* Each byte has the lookup threads stopped and started once more. */
	run(threads);
	while (read(0, &c, 1) == 1) {
		/* Threads that have not begun yet are not stopped. */
		sleep(1);
		stop(threads);
		run(threads);
		printf("again\n");
		fflush(stdout);
	}
	sleep(1);
	stop(threads);
	libvarpd_destroy(varpd);
	libvarpd_destroy(varpd);
	libvarpd_destroy(NULL);
	EXPECT(libvarpd_instance_lookup(varpd, 1) == NULL);
	/* The device is free again. */
	EXPECT(libvarpd_create(&second) == 0);
	libvarpd_destroy(second);
	return (failures());
}
