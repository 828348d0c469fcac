/* SPDX-License-Identifier: CDDL-1.0 */
#ifndef EXPECT_H
#define	EXPECT_H

/*
 * Says what is not as it should be, and goes on; main returns failures().
 */
#include <stdio.h>

static int failed;

#define	EXPECT(what) \
	((what) ? (void)0 : (void)(failed++, \
	    printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #what)))

static int
failures(void)
{
	return (failed == 0 ? 0 : 1);
}

#endif	/* EXPECT_H */
