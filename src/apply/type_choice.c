/*-------------------------------------------------------------------------
 *
 * type_choice.c
 *	  Messages that go to routes by their type.
 *
 * What no route of a topic knows is nobody's, so it is judged when all of them
 * have been asked.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/type_choice.h"

#include "apply/message_type.h"
#include "apply/park.h"
#include "apply/row.h"
#include "apply/writer.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Bytes of a type, or of a version, that an error shows. */
#define SHOWN_MAX		60

static bool
read_type(const DjkRouteState *state, const DjkMessage *message, DjkDecoded *decoded, DjkMessageSays *says, DjkError *error)
{
	return djk_message_decode(state, message, decoded, error) &&
		djk_message_type_read(state, decoded, says, error);
}

static void
init_decoded(const DjkApply *apply, const DjkRouteState *state, MemoryContext fields_context, DjkDecoded *decoded)
{
	djk_decoded_init(decoded, fields_context, CurrentMemoryContext);
	decoded->batch = apply->batch;
	decoded->replace_invalid = state->route->replace_invalid_text;
}

/* Whether the route takes a message. */
static bool
takes(DjkApply *apply, int route, int message, DjkDecoded *decoded, DjkTypeChoice *choice)
{
	const DjkRouteState *state = apply->states[route];
	const DjkMessage *m = &apply->batch->messages[message];
	DjkMessageSays says;
	DjkError	error = {0};
	DjkTypeFate fate;

	/* It says nothing, as to a filter: it belongs to a mirror. */
	if (djk_row_is_tombstone(state, m))
	{
		choice->is_known = true;
		return state->route->operation == DJK_OPERATION_MIRROR;
	}
	if (!read_type(state, m, decoded, &says, &error))
	{
		apply->work[message].route = route;
		djk_park_note_unprepared(apply, message, &error);
		return false;
	}
	fate = djk_message_type_find(state, &says);
	if (fate == DJK_TYPE_TAKEN || fate == DJK_TYPE_IGNORED)
		choice->is_known = true;
	else if (choice->refused_by < 0 && state->route->unknown_types_are_errors)
		choice->refused_by = route;
	return fate == DJK_TYPE_TAKEN;
}

int
djk_type_choice_make(DjkApply *apply, int route, int *indexes, int n, int from, DjkTypeChoice *choices)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "djkafka type of a message", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	DjkDecoded	decoded;
	int			taken = 0;

	init_decoded(apply, apply->states[route], old, &decoded);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(scratch);
		apply->current = indexes[i];
		if (takes(apply, route, indexes[i], &decoded, &choices[indexes[i] - from]))
			indexes[taken++] = indexes[i];
	}
	apply->current = -1;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	if (decoded.fields != NULL)
		pfree(decoded.fields);
	return taken;
}

/* ---------- what nobody takes ---------- */

/* As JSON, so that 1 and "1" are told apart. */
static char *
show(const DjkField *field)
{
	return pnstrdup(field->raw, pg_mbcliplen(field->raw, field->raw_len, SHOWN_MAX));
}

static void
refuse_type(DjkApply *apply, int message, int route)
{
	const DjkRouteState *state = apply->states[route];
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "djkafka type of a message", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	DjkDecoded	decoded;
	DjkMessageSays says;
	DjkError	error = {0};

	init_decoded(apply, state, scratch, &decoded);
	if (read_type(state, &apply->batch->messages[message], &decoded, &says, &error))
	{
		error.sqlstate = DJK_ERRCODE_UNKNOWN_TYPE;
		error.message = djk_message_type_find(state, &says) == DJK_TYPE_OF_OTHER_VERSION ?
			psprintf("no route takes version %s of messages of type %s", show(&says.version), show(&says.type)) :
			psprintf("no route takes messages of type %s", show(&says.type));
		error.hint = pstrdup("Name it in message_types of a route, with false where it is to be ignored, or set unknown_types to \"ignore\".");
	}
	apply->work[message].route = route;
	djk_park_note_unprepared(apply, message, &error);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

bool
djk_type_choice_is_forgiven(DjkApply *apply, int message, const DjkTypeChoice *choice)
{
	if (choice->is_known || choice->refused_by < 0)
		return true;
	refuse_type(apply, message, choice->refused_by);
	return false;
}
