/*-------------------------------------------------------------------------
 *
 * describe.h
 *	  What was decoded, for tests to look at.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_TEST_DESCRIBE_H
#define DJK_TEST_DESCRIBE_H

#include "codec/codec.h"

extern text *describe_error(const DjkError *error);

/* The bare value, or the first fields. */
extern text *describe_decoded(const DjkDecoded *decoded);

#endif							/* DJK_TEST_DESCRIBE_H */
