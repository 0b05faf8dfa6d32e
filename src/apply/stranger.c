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

#include "mb/pg_wchar.h"

/* Names that are told of a value at most. */
#define NAMES_MAX	8

typedef struct Envelope
{
	const char *fields[3];
	const char *looks_like;
	const char *hint;
} Envelope;

static const Envelope envelopes[] = {
	{{"schema", "payload", NULL}, "JSON of Kafka Connect with its schema",
	"Let the producer leave the schema out (schemas.enable=false), or map the columns with expressions over value->'payload'."},
	{{"before", "after", "op"}, "an envelope of Debezium",
	"Let the connector unwrap it (ExtractNewRecordState), or map the columns with expressions over value->'after'."},
	{{"database", "table", "data"}, "a change of Maxwell's",
	"Map the columns with expressions over value->'data'."},
	{{"specversion", "type", "data"}, "a CloudEvent",
	"Map the columns with expressions over value->'data'."}
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

/* Whether names differ in case, and in signs between words, alone. */
static bool
is_spelt_like(const DjkField *field, const char *name)
{
	int			i = 0;

	for (;; i++, name++)
	{
		while (i < field->name_len && (field->name[i] == '_' || field->name[i] == '-' || field->name[i] == '.'))
			i++;
		while (*name == '_')
			name++;
		if (i >= field->name_len || *name == '\0')
			return i >= field->name_len && *name == '\0';
		if (pg_ascii_tolower((unsigned char) field->name[i]) != pg_ascii_tolower((unsigned char) *name))
			return false;
	}
}

static char *
name_of(const DjkField *field)
{
	return pnstrdup(field->name, pg_mbcliplen(field->name, field->name_len, NAMEDATALEN - 1));
}

/* The first field that is another spelling of a column; NULL if there is none. */
static const DjkField *
find_spelling(const DjkRouteState *state, const DjkDecoded *decoded, const char **column)
{
	for (int i = 0; i < decoded->nfields; i++)
	{
		for (int c = 0; c < state->ncolumns; c++)
		{
			*column = state->columns[c].name;
			if (is_spelt_like(&decoded->fields[i], *column))
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
		appendStringInfo(&buf, "%s\"%s\"", i > 0 ? ", " : "", name_of(&decoded->fields[i]));
	if (decoded->nfields > NAMES_MAX)
		appendStringInfoString(&buf, ", …");
	return buf.data;
}

bool
djk_stranger_refuse(const DjkRouteState *state, const DjkDecoded *decoded, DjkError *error)
{
	const Envelope *envelope = find_envelope(decoded);
	const char *column;
	const DjkField *field;

	error->sqlstate = DJK_ERRCODE_NO_COLUMN;
	error->message = pstrdup("no field of the value has a column");
	if (envelope != NULL)
	{
		error->detail = psprintf("It looks like %s.", envelope->looks_like);
		error->hint = pstrdup(envelope->hint);
	}
	else if ((field = find_spelling(state, decoded, &column)) != NULL)
	{
		error->detail = psprintf("Field \"%s\" looks like column \"%s\".", name_of(field), column);
		error->hint = psprintf("Map it, as with columns => '{\"%s\": \"value->>''%s''\"}'.", column, name_of(field));
	}
	else
	{
		error->detail = psprintf("Its fields are %s.", list_names(decoded));
		error->hint = pstrdup("Map the columns with expressions over \"value\", or set unknown_fields of the route to \"ignore_all\".");
	}
	return false;
}
