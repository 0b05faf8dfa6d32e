/*-------------------------------------------------------------------------
 *
 * stranger.c
 *	  A value that has nothing to do with the table.
 *
 * Its key may be found in the message's key, so without a look it would become
 * a row of nulls, or be applied without any effect.  Mostly it is an envelope
 * of somebody else's, or its names are written in another way.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/stranger.h"

#include "apply/naming.h"
#include "codec/connect.h"
#include "codec/json.h"

/* Names that are told of a value at most. */
#define NAMES_MAX	8

/* Fields at most that are compared with each column. */
#define FIELDS_COMPARED	100

typedef struct Envelope
{
	const char *fields[3];
	const char *looks_like;
	const char *root;			/* where its fields are */
	const char *other;			/* what else would do */
} Envelope;

static const Envelope envelopes[] = {
	{{"schema", "payload", NULL}, "JSON of Kafka Connect with its schema", "payload",
	", or format to \"debezium_flat\", which takes the types that the schema tells"},
	{{"database", "table", "data"}, "a change of Maxwell's", "data", ""},
	{{"specversion", "type", "data"}, "a CloudEvent", "data", ", or format to \"cloudevents\""},
	{{"type", "version", "message"}, "a message of django-logpipe", "message", ""}
};

static bool
has_field(const DjkDecoded *decoded, const char *name)
{
	int			len = strlen(name);

	for (int i = 0; i < decoded->nfields; i++)
	{
		if (decoded->fields[i].name_len == len && memcmp(decoded->fields[i].name, name, len) == 0)
			return true;
	}
	return false;
}

static const Envelope *
find_envelope(const DjkDecoded *decoded)
{
	for (int e = 0; e < lengthof(envelopes); e++)
	{
		bool		fits = true;

		for (int f = 0; fits && f < lengthof(envelopes[e].fields) && envelopes[e].fields[f] != NULL; f++)
			fits = has_field(decoded, envelopes[e].fields[f]);
		if (fits)
			return &envelopes[e];
	}
	return NULL;
}

static bool
is_envelope(const DjkDecoded *decoded)
{
	return has_field(decoded, "before") && has_field(decoded, "after") && has_field(decoded, "op");
}

/* Whether it is one of Debezium's, with its schema or without. */
static bool
is_debezium(const DjkDecoded *decoded)
{
	DjkDecoded	inner;
	DjkField	schema;
	DjkField	payload;
	DjkError	ignored = {0};
	bool		is;

	if (is_envelope(decoded))
		return true;
	if (!djk_connect_is_wrapped(decoded, &schema, &payload) || payload.kind != DJK_FIELD_OBJECT)
		return false;
	djk_decoded_init(&inner, CurrentMemoryContext, CurrentMemoryContext);
	is = djk_json_decode_part(&payload, &inner, &ignored) && is_envelope(&inner);
	if (inner.fields != NULL)
		pfree(inner.fields);
	return is;
}

/* The first field that is another spelling of a column; NULL if there is none. */
static const DjkField *
find_spelling(const DjkRouteState *state, const DjkDecoded *decoded, const char **column)
{
	for (int i = 0; i < Min(decoded->nfields, FIELDS_COMPARED); i++)
	{
		for (int c = 0; c < state->ncolumns; c++)
		{
			*column = state->columns[c].name;
			if (djk_fold_is_same(DJK_NAMING_INSENSITIVE, &decoded->fields[i], *column))
				return &decoded->fields[i];
		}
	}
	return NULL;
}

static char *
list_names(const DjkDecoded *decoded)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < Min(decoded->nfields, NAMES_MAX); i++)
		appendStringInfo(&buf, "%s\"%s\"", i > 0 ? ", " : "", djk_naming_show(&decoded->fields[i]));
	if (decoded->nfields > NAMES_MAX)
		appendStringInfoString(&buf, ", …");
	return buf.data;
}

/* The root that leads to an object within the one that the route's leads to. */
static char *
inner_root(const DjkRouteState *state, const char *name)
{
	const char *root = state->route->root;

	if (root == NULL)
		return pstrdup(name);
	if (root[0] == '{')
		return psprintf("%.*s,%s}", (int) (strrchr(root, '}') - root), root, name);
	return psprintf("%s.%s", root, name);
}

bool
djk_stranger_refuse(const DjkRouteState *state, const DjkDecoded *decoded, DjkError *error)
{
	const Envelope *envelope = find_envelope(decoded);
	const char *column;
	const DjkField *field;

	error->sqlstate = DJK_ERRCODE_NO_COLUMN;
	error->message = pstrdup("no field of the value has a column");
	if (is_debezium(decoded))
	{
		error->detail = pstrdup("It looks like an envelope of Debezium.");
		if (state->codec->registered)
			error->hint = pstrdup("Set root of the route to \"after\", and deleted_when to value->>'op' = 'd'.");
		else
			error->hint = psprintf("Set format of the route to \"debezium\"%s.", state->nroot > 0 ? ", and root to null" : "");
	}
	else if (envelope != NULL && !state->codec->connect)
	{
		error->detail = psprintf("It looks like %s.", envelope->looks_like);
		error->hint = psprintf("Set root of the route to \"%s\"%s.", inner_root(state, envelope->root),
							   state->nroot == 0 ? envelope->other : "");
	}
	else if ((field = find_spelling(state, decoded, &column)) != NULL)
	{
		error->detail = psprintf("Field \"%s\" looks like column \"%s\".", djk_naming_show(field), column);
		error->hint = psprintf("Set naming of the route to \"%s\", or map the columns with columns.",
							   djk_fold_is_same(DJK_NAMING_SNAKE_CASE, field, column) ? "snake_case" : "insensitive");
	}
	else
	{
		error->detail = psprintf("Its fields are %s.", list_names(decoded));
		error->hint = pstrdup("Map the columns with expressions over \"value\", or set unknown_fields of the route to \"ignore_all\".");
	}
	return false;
}
