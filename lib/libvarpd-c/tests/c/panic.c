/* SPDX-License-Identifier: CDDL-1.0 */
/*
 * What a debugger finds after libvarpd_panic(): here the handler of SIGABRT,
 * which ends the program well if all is there.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <libvarpd_provider.h>
#include "expect.h"

extern char varpd_panic_buf[1024];
extern int varpd_panic_errno;
extern pthread_t varpd_panic_thread;

static void
aborted(int sig)
{
	EXPECT(sig == SIGABRT);
	EXPECT(strcmp(varpd_panic_buf, "1 two 3 4 5 6 7 8.50 9 ten") == 0);
	EXPECT(varpd_panic_errno == ENOTSUP);
	EXPECT(pthread_equal(varpd_panic_thread, pthread_self()));
	fflush(stdout);
	_exit(failures());
}

static void *
give_up(void *arg)
{
	errno = ENOTSUP;
	/* More than there are registers for, of both kinds. */
	libvarpd_panic("%d %s %d %d %ld %d %d %.2f %d %s", 1, "two", 3, 4, 5L,
	    6, 7, 8.5, 9, "ten");
	return (arg);
}

int
main(void)
{
	pthread_t thread;

	(void) signal(SIGABRT, aborted);
	EXPECT(varpd_panic_buf[0] == '\0' && varpd_panic_errno == 0);
	if (pthread_create(&thread, NULL, give_up, NULL) == 0)
		(void) pthread_join(thread, NULL);
	return (2);
}
