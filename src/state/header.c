/*-------------------------------------------------------------------------
 *
 * header.c
 *	  djkafka_header[] as it was stored.
 *
 *-------------------------------------------------------------------------
 */
#include "state/header.h"

#include "access/htup_details.h"
#include "mb/pg_wchar.h"
#include "state/catalog.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/* What a header takes on the wire besides its name and value, at most. */
#define HEADER_OVERHEAD	10

/* As Kafka has them: names are UTF-8. */
static void
read_header(HeapTupleHeader row, TupleDesc desc, DjkHeader *header)
{
	HeapTupleData tuple = {0};
	Datum		values[2];
	bool		nulls[2];
	char	   *name;

	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	tuple.t_data = row;
	heap_deform_tuple(&tuple, desc, values, nulls);
	name = nulls[0] ? pstrdup("") : TextDatumGetCString(values[0]);
	header->name = pg_server_to_any(name, strlen(name), PG_UTF8);
	header->name_len = strlen(header->name);
	header->value = NULL;
	header->value_len = 0;
	if (!nulls[1])
	{
		bytea	   *value = DatumGetByteaPP(values[1]);

		header->value = VARDATA_ANY(value);
		header->value_len = VARSIZE_ANY_EXHDR(value);
	}
}

int
djk_headers_read(Datum array, DjkHeader **headers)
{
	Oid			type = djk_catalog_type("djkafka_header");
	TupleDesc	desc;
	Datum	   *elements;
	int16		typlen;
	bool		typbyval;
	char		typalign;
	int			n;

	*headers = NULL;
	if (array == (Datum) 0)
		return 0;
	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	deconstruct_array(DatumGetArrayTypeP(array), type, typlen, typbyval, typalign, &elements, NULL, &n);
	*headers = palloc0(Max(n, 1) * sizeof(DjkHeader));
	desc = lookup_rowtype_tupdesc(type, -1);
	for (int i = 0; i < n; i++)
		read_header(DatumGetHeapTupleHeader(elements[i]), desc, &(*headers)[i]);
	ReleaseTupleDesc(desc);
	return n;
}

Size
djk_headers_bytes(Datum array)
{
	DjkHeader  *headers;
	int			n = djk_headers_read(array, &headers);
	Size		bytes = 0;

	for (int i = 0; i < n; i++)
		bytes += HEADER_OVERHEAD + headers[i].name_len + headers[i].value_len;
	return bytes;
}
