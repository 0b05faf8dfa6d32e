/*-------------------------------------------------------------------------
 *
 * msgpack.h
 *	  MessagePack -> JSON.  Only codec/ includes this.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_MSGPACK_H
#define DJK_MSGPACK_H

#include "base/djk.h"

#include "lib/stringinfo.h"

/*
 * Appends one value, which the bytes are as a whole, as JSON in the server's
 * encoding.  False and *error, in CurrentMemoryContext, if they are none.  What no
 * text can hold is replaced, where that is wanted; else it is an error, but for
 * NULs, which JSON has.
 */
extern bool djk_msgpack_append_json(const char *bytes, int len, bool replace_invalid, StringInfo json, DjkError *error);

#endif							/* DJK_MSGPACK_H */
