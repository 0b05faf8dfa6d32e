/*-------------------------------------------------------------------------
 *
 * message_row.c
 *	  Messages as the SQL types djkafka_message and djkafka_header[].
 *
 *-------------------------------------------------------------------------
 */
#include "apply/message_row.h"

#include "access/htup_details.h"
#include "base/clock.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "codec/codec.h"
#include "funcapi.h"
#include "state/catalog.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

Datum
djk_headers_datum(Oid header_type, const DjkHeader *headers, int nheaders)
{
	TupleDesc	desc;
	Datum	   *elements;
	ArrayType  *array;

	if (nheaders == 0)
		return (Datum) 0;

	desc = lookup_rowtype_tupdesc(header_type, -1);
	elements = palloc(nheaders * sizeof(Datum));
	for (int i = 0; i < nheaders; i++)
	{
		const DjkHeader *h = &headers[i];
		bool		nulls[2] = {false, h->value == NULL};
		Datum		values[2];

		values[0] = PointerGetDatum(djk_codec_escaped_text(h->name, h->name_len));
		values[1] = h->value ? djk_bytea_datum(h->value, h->value_len) : (Datum) 0;
		elements[i] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	ReleaseTupleDesc(desc);

	array = construct_array(elements, nheaders, header_type, -1, false, TYPALIGN_DOUBLE);
	return PointerGetDatum(array);
}

Datum
djk_message_datum(TupleDesc message_desc, Oid header_type, const char *topic, int partition,
				  const DjkMessage *message, const DjkHeader *headers, int nheaders)
{
	Datum		values[7];
	bool		nulls[7] = {false};

	values[0] = CStringGetTextDatum(topic);
	values[1] = Int32GetDatum(partition);
	values[2] = Int64GetDatum(message->offset);
	nulls[3] = message->timestamp_ms < 0;
	values[3] = nulls[3] ? (Datum) 0 : TimestampTzGetDatum(djk_timestamp_from_kafka(message->timestamp_ms));
	nulls[4] = message->key == NULL;
	values[4] = nulls[4] ? (Datum) 0 : djk_bytea_datum(message->key, message->key_len);
	nulls[5] = message->value == NULL;
	values[5] = nulls[5] ? (Datum) 0 : djk_bytea_datum(message->value, message->value_len);
	values[6] = djk_headers_datum(header_type, headers, nheaders);
	nulls[6] = values[6] == (Datum) 0;
	return HeapTupleGetDatum(heap_form_tuple(message_desc, values, nulls));
}
