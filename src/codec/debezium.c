/*-------------------------------------------------------------------------
 *
 * debezium.c
 *	  Envelopes of Debezium's connectors.
 *
 * An envelope says what has happened (op) to a row that was (before) and is
 * (after).  Beside rows a connector writes messages of its own: heartbeats,
 * transactions, changes of the schema; they are known by their fields, for topics
 * have names that anybody may choose.
 *
 *-------------------------------------------------------------------------
 */
#include "codec/debezium.h"

#include "codec/connect.h"
#include "codec/json.h"

/* Messages that are no rows: all of the fields, and no more where 'alone'. */
typedef struct Other
{
	const char *fields[4];
	bool		alone;
} Other;

static const Other others[] = {
	{{"ts_ms", NULL}, true},	/* a heartbeat */
	{{"status", "id", "event_count", "data_collections"}, false},	/* a transaction begins or ends */
	{{"source", "databaseName", "tableChanges", NULL}, false}	/* the schema has changed */
};

bool
djk_debezium_decode(const char *bytes, int len, DjkDecoded *out, DjkError *error)
{
	out->schema = NULL;
	out->types = NULL;
	return djk_json_decode(bytes, len, out, error) && djk_connect_unwrap(out, error);
}

static bool
is_other(const DjkDecoded *decoded)
{
	for (int i = 0; i < lengthof(others); i++)
	{
		DjkField	field;
		int			f = 0;

		while (f < lengthof(others[i].fields) && others[i].fields[f] != NULL &&
			   djk_codec_find_named(decoded, others[i].fields[f], &field))
			f++;
		if ((f == lengthof(others[i].fields) || others[i].fields[f] == NULL) &&
			(!others[i].alone || decoded->nfields == f))
			return true;
	}
	return false;
}

/* Makes the row that was, or is, what was decoded. */
static bool
enter(DjkDecoded *decoded, const char *name, const DjkField *row, DjkError *error)
{
	if (!djk_connect_read_schema(decoded, error))
		return false;
	decoded->types = djk_connect_find(decoded->types, name, strlen(name), 0);
	return djk_json_decode_part(row, decoded, error);
}

static bool
open_written(DjkDecoded *decoded, DjkError *error)
{
	DjkField	after;

	if (!djk_codec_find_named(decoded, "after", &after) || after.kind != DJK_FIELD_OBJECT)
		return djk_codec_refuse(decoded, DJK_ERRCODE_NO_ROOT, "the envelope has no row after the change",
								"Its op says that a row was written, and its after is no object.",
								"Look whether a transform has taken it out; what has no row can be left out by filter.", error);
	return enter(decoded, "after", &after, error);
}

/* What was in the row is mostly not sent, and the key is the message's. */
static bool
open_deleted(DjkDecoded *decoded, DjkError *error)
{
	DjkField	before;

	if (djk_codec_find_named(decoded, "before", &before) && before.kind == DJK_FIELD_OBJECT)
		return enter(decoded, "before", &before, error);
	decoded->nfields = 0;
	decoded->types = NULL;
	return true;
}

bool
djk_debezium_open(DjkDecoded *decoded, DjkEffect *effect, DjkError *error)
{
	DjkField	op;
	char		is;

	*effect = DJK_EFFECT_WRITE;
	if (!djk_codec_find_named(decoded, "op", &op))
	{
		if (!is_other(decoded))
			return djk_codec_refuse(decoded, DJK_ERRCODE_NO_ROOT, "the value is not an envelope of Debezium",
									"It has no field \"op\".",
									"Set format of the route to \"debezium_flat\" if the connector unwraps its rows (ExtractNewRecordState), or to \"json\".",
									error);
		*effect = DJK_EFFECT_NONE;
		return true;
	}
	is = op.kind == DJK_FIELD_STRING && op.text != NULL && op.len == 1 ? op.text[0] : '\0';
	switch (is)
	{
		case 'c':
		case 'r':
		case 'u':
			return open_written(decoded, error);
		case 'd':
			*effect = DJK_EFFECT_DELETE;
			return open_deleted(decoded, error);
		case 't':
		case 'm':
			*effect = DJK_EFFECT_NONE;
			return true;
		default:
			return djk_codec_refuse(decoded, DJK_ERRCODE_NO_ROOT, "the envelope's op is none of Debezium's", "They are c, r, u, d, t and m.",
									"Read it with format json and an expression for each column, or leave it out by filter.", error);
	}
}

bool
djk_debezium_open_flat(DjkDecoded *decoded, DjkEffect *effect, DjkError *error)
{
	*effect = is_other(decoded) ? DJK_EFFECT_NONE : DJK_EFFECT_WRITE;
	return djk_connect_read_schema(decoded, error);
}
