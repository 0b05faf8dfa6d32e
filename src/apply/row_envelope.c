/*-------------------------------------------------------------------------
 *
 * row_envelope.c
 *	  Columns that are parts of the message, in the formats text and raw.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/row_fields.h"

#include "apply/message_row.h"
#include "base/clock.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "state/catalog.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

static int
compare_names(const void *a, const void *b)
{
	const DjkHeader *x = *(const DjkHeader *const *) a;
	const DjkHeader *y = *(const DjkHeader *const *) b;

	if (x->name_len != y->name_len)
		return x->name_len < y->name_len ? -1 : 1;
	return memcmp(x->name, y->name, x->name_len);
}

/* A message may have as many headers as fit into it: sorted, not each with each. */
static bool
names_repeat(const DjkHeader *headers, int nheaders)
{
	const DjkHeader **sorted = palloc(Max(nheaders, 1) * sizeof(DjkHeader *));
	bool		repeat = false;

	for (int i = 0; i < nheaders; i++)
		sorted[i] = &headers[i];
	qsort(sorted, nheaders, sizeof(DjkHeader *), compare_names);
	for (int i = 1; i < nheaders && !repeat; i++)
		repeat = compare_names(&sorted[i - 1], &sorted[i]) == 0;
	pfree(sorted);
	return repeat;
}

/*
 * Headers as JSON: an object, or pairs where a name repeats.  A value that is no
 * text of the database is hex.
 */
static char *
headers_json(const DjkHeader *headers, int nheaders)
{
	StringInfoData buf;
	bool		repeated = names_repeat(headers, nheaders);

	initStringInfo(&buf);
	appendStringInfoChar(&buf, repeated ? '[' : '{');
	for (int i = 0; i < nheaders; i++)
	{
		const DjkHeader *h = &headers[i];
		DjkError	not_text;
		const char *value;
		int			len;

		appendStringInfoString(&buf, i > 0 ? ", " : "");
		appendStringInfoString(&buf, repeated ? "[" : "");
		escape_json(&buf, text_to_cstring(djk_codec_escaped_text(h->name, h->name_len)));
		appendStringInfoString(&buf, repeated ? ", " : ": ");
		if (h->value == NULL)
			appendStringInfoString(&buf, "null");
		else if (djk_codec_to_server_text(h->value, h->value_len, CurrentMemoryContext, &value, &len, &not_text))
			escape_json(&buf, pnstrdup(value, len));
		else
			escape_json(&buf, DatumGetCString(DirectFunctionCall1(byteaout, djk_bytea_datum(h->value, h->value_len))));
		appendStringInfoString(&buf, repeated ? "]" : "");
	}
	appendStringInfoChar(&buf, repeated ? ']' : '}');
	return buf.data;
}

static bool
headers_field(DjkRowBuilder *builder, DjkRow *row, DjkColumn *column, const DjkMessage *message, DjkError *error)
{
	DjkHeader  *headers = NULL;
	int			nheaders = 0;
	int			c = column - builder->state->columns;
	DjkField	field = {0};

	if (builder->apply->batch->load_headers != NULL)
		nheaders = builder->apply->batch->load_headers(builder->apply->batch, message, &headers);
	if (column->type == get_array_type(builder->state->header_type))
	{
		row->values[c] = djk_headers_datum(builder->state->header_type, headers, nheaders);
		row->nulls[c] = nheaders == 0;
		builder->present = bms_add_member(builder->present, c);
		return true;
	}
	field.kind = DJK_FIELD_OBJECT;
	field.raw = field.text = headers_json(headers, nheaders);
	field.raw_len = field.len = strlen(field.text);
	return djk_row_put_field(builder, row, column, &field, NULL, error);
}

/* Key or value as a field: bytes for a bytea column, else as the format reads it. */
static bool
part_field(DjkRowBuilder *builder, DjkColumn *column, const DjkMessage *message, DjkField *field, DjkError *error)
{
	bool		is_key = column->source == DJK_SOURCE_KEY;
	const char *bytes = is_key ? message->key : message->value;
	int			len = is_key ? message->key_len : message->value_len;

	if (bytes == NULL)
		return true;
	if (column->type == BYTEAOID)
	{
		field->kind = DJK_FIELD_BYTES;
		field->text = bytes;
		field->len = len;
		return true;
	}
	if (!is_key)
	{
		if (!builder->state->codec->decode(bytes, len, &builder->decoded, error))
			return false;
		*field = builder->decoded.bare;
		return true;
	}
	/* A text column takes the key as it was sent, whatever it looks like. */
	field->kind = DJK_FIELD_STRING;
	if (djk_codec_to_server_text(bytes, len, builder->decoded.context, &field->text, &field->len, error))
		return true;
	djk_codec_blame_key(error, builder->decoded.context);
	return false;
}

/*
 * A part that is of the column's type as it is: true then.  What the column
 * makes of other parts it makes of their text.
 */
static bool
put_as_it_is(DjkRowBuilder *builder, DjkRow *row, const DjkColumn *column, const DjkMessage *message)
{
	const DjkBatchPartition *partition = &builder->apply->batch->partitions[message->partition];
	int			c = column - builder->state->columns;
	Oid			type = InvalidOid;

	if (column->source == DJK_SOURCE_PARTITION)
	{
		type = INT4OID;
		row->values[c] = Int32GetDatum(partition->partition);
	}
	else if (column->source == DJK_SOURCE_OFFSET)
	{
		type = INT8OID;
		row->values[c] = Int64GetDatum(message->offset);
	}
	else if (column->source == DJK_SOURCE_TIMESTAMP && message->timestamp_ms >= 0)
	{
		type = TIMESTAMPTZOID;
		row->values[c] = TimestampTzGetDatum(djk_timestamp_from_kafka(message->timestamp_ms));
	}
	if (column->type != type || column->typmod >= 0)
		return false;
	row->nulls[c] = false;
	builder->present = bms_add_member(builder->present, c);
	return true;
}

bool
djk_row_put_envelope(DjkRowBuilder *builder, DjkRow *row, const DjkMessage *message, DjkError *error)
{
	const DjkBatchPartition *partition = &builder->apply->batch->partitions[message->partition];
	char		number[32];
	Datum		time;

	for (int c = 0; c < builder->state->ncolumns; c++)
	{
		DjkColumn  *column = &builder->state->columns[c];
		DjkField	field = {0};

		if (put_as_it_is(builder, row, column, message))
			continue;
		field.kind = DJK_FIELD_NULL;
		builder->in_key = column->source == DJK_SOURCE_KEY;
		switch (column->source)
		{
			case DJK_SOURCE_TOPIC:
				field.kind = DJK_FIELD_STRING;
				field.text = partition->topic;
				field.len = strlen(partition->topic);
				break;
			case DJK_SOURCE_PARTITION:
			case DJK_SOURCE_OFFSET:
				field.kind = DJK_FIELD_NUMBER;
				field.len = snprintf(number, sizeof(number), INT64_FORMAT,
									 column->source == DJK_SOURCE_OFFSET ? message->offset :
									 (int64) partition->partition);
				field.text = number;
				break;
			case DJK_SOURCE_TIMESTAMP:
				if (message->timestamp_ms >= 0)
				{
					field.kind = DJK_FIELD_STRING;
					time = TimestampTzGetDatum(djk_timestamp_from_kafka(message->timestamp_ms));
					field.text = DatumGetCString(DirectFunctionCall1(timestamptz_out, time));
					field.len = strlen(field.text);
				}
				break;
			case DJK_SOURCE_KEY:
			case DJK_SOURCE_VALUE:
				if (!part_field(builder, column, message, &field, error))
					return false;
				break;
			case DJK_SOURCE_HEADERS:
				if (!headers_field(builder, row, column, message, error))
					return false;
				continue;
			case DJK_SOURCE_FIELD:
			case DJK_SOURCE_PATH:
			case DJK_SOURCE_EXPRESSION:
				continue;
		}
		if (!djk_row_put_field(builder, row, column, &field, NULL, error))
			return false;
	}
	builder->in_key = false;
	return true;
}
