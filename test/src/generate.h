/*-------------------------------------------------------------------------
 *
 * generate.h
 *	  Random JSON for tests, valid or hostile.  Pure C: the server's tests and
 *	  the stand-alone fuzzer share it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_TEST_GENERATE_H
#define DJK_TEST_GENERATE_H

#include <stdint.h>

typedef struct DjkGenerator
{
	uint64_t	state;			/* not 0 */
	const char *const *names;	/* field names that are used often */
	int			nnames;
	char	   *buf;			/* the text made last, malloc()ed, NUL-terminated */
	int			len;
	int			size;
} DjkGenerator;

extern void djk_generate_init(DjkGenerator *generator, uint64_t seed,
							  const char *const *names, int nnames);
extern void djk_generate_free(DjkGenerator *generator);

/* A number from 0 to bound - 1. */
extern int	djk_generate_below(DjkGenerator *generator, int bound);

/* One valid JSON value, of the kinds columns are filled from. */
extern void djk_generate_value(DjkGenerator *generator);

/* One message: mostly an object of such values, mostly damaged in some way. */
extern void djk_generate_hostile(DjkGenerator *generator);

/* Damages bytes at some places, in a buffer of 'size'; returns how many they are then. */
extern int	djk_generate_damage(DjkGenerator *generator, char *bytes, int len, int size);

#endif							/* DJK_TEST_GENERATE_H */
