/*-------------------------------------------------------------------------
 *
 * message_type.h
 *	  Which types of messages a route takes, in formats whose messages say their
 *	  type, and perhaps its version.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_MESSAGE_TYPE_H
#define DJK_MESSAGE_TYPE_H

#include "apply/route_state.h"

/* What a message says of its type. */
typedef struct DjkMessageSays
{
	DjkField	type;
	DjkField	version;
} DjkMessageSays;

/* What a route has to do with it. */
typedef enum DjkTypeFate
{
	DJK_TYPE_TAKEN,
	DJK_TYPE_IGNORED,
	DJK_TYPE_UNKNOWN,
	DJK_TYPE_OF_OTHER_VERSION
} DjkTypeFate;

/*
 * Reads a route's message_types and unknown_types into state->types, in
 * CurrentMemoryContext; NULL if it takes all.  ERROR invalid_parameter_value where
 * they are not what they should be.
 */
extern void djk_message_types_build(DjkRouteState *state);

/* Of a value that was decoded.  False and *error, in CurrentMemoryContext, where it says nothing. */
extern bool djk_message_type_read(const DjkRouteState *state, DjkDecoded *decoded, DjkMessageSays *says,
								  DjkError *error);

/* By state->types, which is not NULL. */
extern DjkTypeFate djk_message_type_find(const DjkRouteState *state, const DjkMessageSays *says);

#endif							/* DJK_MESSAGE_TYPE_H */
