/*-------------------------------------------------------------------------
 *
 * produce_value.c
 *	  Values, keys and headers as the bytes that Kafka gets.
 *
 * Text is UTF-8 for Kafka, whatever the database's encoding.  A type gets a
 * form only if everybody would expect the same one: for others the caller says
 * what is meant, by a cast.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/produce_value.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "state/catalog.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "base/compat.h"

/* What a header takes beside its bytes: the lengths of name and value. */
#define HEADER_OVERHEAD	10

/* ---------- values and keys ---------- */

static bool
find_kind(Oid type, DjkPayloadKind *kind)
{
	*kind = DJK_PAYLOAD_TEXT;
	switch (type)
	{
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case JSONOID:
			*kind = DJK_PAYLOAD_TEXT;
			return true;
		case BYTEAOID:
			*kind = DJK_PAYLOAD_BYTES;
			return true;
		case JSONBOID:
			*kind = DJK_PAYLOAD_JSONB;
			return true;
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
		case UUIDOID:
			*kind = DJK_PAYLOAD_OUTPUT;
			return true;
		case UNKNOWNOID:
			*kind = DJK_PAYLOAD_UNKNOWN;
			return true;
		default:
			return false;
	}
}

void
djk_payload_init(DjkPayload *payload, Oid type, const char *what, MemoryContext context)
{
	Oid			base = OidIsValid(type) ? getBaseType(type) : InvalidOid;
	Oid			output;
	bool		is_varlena;

	if (!find_kind(base, &payload->kind))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s of a message cannot be of type %s", what, format_type_be(type)),
				 errdetail("It is text, json, jsonb, bytea, a number or a uuid."),
				 errhint("Cast it to text, or use to_jsonb().")));
	if (payload->kind != DJK_PAYLOAD_OUTPUT)
		return;
	getTypeOutputInfo(base, &output, &is_varlena);
	fmgr_info_cxt(output, &payload->output, context);
}

static struct varlena *
utf8_from_string(char *string, int len)
{
	char	   *utf8 = pg_server_to_any(string, len, PG_UTF8);

	return (struct varlena *) cstring_to_text_with_len(utf8, utf8 == string ? len : (int) strlen(utf8));
}

static struct varlena *
utf8_from_text(Datum value)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(value);

	if (GetDatabaseEncoding() == PG_UTF8)
		return text;
	return utf8_from_string(VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
}

struct varlena *
djk_payload_bytes(DjkPayload *payload, Datum value)
{
	char	   *string;

	switch (payload->kind)
	{
		case DJK_PAYLOAD_TEXT:
			return utf8_from_text(value);
		case DJK_PAYLOAD_BYTES:
			return PG_DETOAST_DATUM_PACKED(value);
		case DJK_PAYLOAD_JSONB:
			{
				Jsonb	   *jsonb = DatumGetJsonbP(value);

				string = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
				break;
			}
		case DJK_PAYLOAD_OUTPUT:
			string = OutputFunctionCall(&payload->output, value);
			break;
		default:
			string = DatumGetCString(value);
			break;
	}
	return utf8_from_string(string, strlen(string));
}

/* ---------- headers ---------- */

typedef struct Headers
{
	Oid			type;			/* djkafka_header */
	TupleDesc	desc;
	Datum	   *items;
	int			n;
	int			allocated;
	Size		bytes;
} Headers;

static void
refuse_headers(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("headers are not as a message takes them"),
			 errdetail("%s", detail),
			 errhint("Use an object such as {\"name\": \"value\"}, or an array of pairs where names repeat: [[\"name\", \"value\"], ...]. "
					 "A value is a string, a number, a boolean, null, or {\"base64\": \"...\"}.")));
}

/* {"base64": "..."}: the bytes. */
static struct varlena *
decode_base64(JsonbContainer *object)
{
	JsonbValue *value = getKeyJsonValueFromContainer(object, "base64", 6, NULL);

	if (JsonContainerSize(object) != 1 || value == NULL || value->type != jbvString)
		refuse_headers("A value that is an object has the one field \"base64\", a string.");
	return (struct varlena *)
		DatumGetPointer(DirectFunctionCall2(binary_decode,
											PointerGetDatum(cstring_to_text_with_len(value->val.string.val,
																					 value->val.string.len)),
											CStringGetTextDatum("base64")));
}

/* NULL: a null value. */
static struct varlena *
header_value(const JsonbValue *value)
{
	char	   *string;

	switch (value->type)
	{
		case jbvNull:
			return NULL;
		case jbvString:
			return utf8_from_string(pnstrdup(value->val.string.val, value->val.string.len), value->val.string.len);
		case jbvNumeric:
			string = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
			return utf8_from_string(string, strlen(string));
		case jbvBool:
			string = value->val.boolean ? "true" : "false";
			return utf8_from_string(string, strlen(string));
		case jbvBinary:
			if (JsonContainerIsObject(value->val.binary.data))
				return decode_base64(value->val.binary.data);
			/* FALLTHROUGH */
		default:
			refuse_headers("A value is an array.");
	}
	return NULL;
}

/* ERROR if it cannot be converted, which would stop the worker. */
static int
utf8_length(char *string, int len)
{
	char	   *utf8 = pg_server_to_any(string, len, PG_UTF8);

	return utf8 == string ? len : (int) strlen(utf8);
}

static void
add_header(Headers *headers, const JsonbValue *name, const JsonbValue *value)
{
	struct varlena *bytes = header_value(value);
	int			name_len = utf8_length(name->val.string.val, name->val.string.len);
	Datum		values[2];
	bool		nulls[2] = {false, bytes == NULL};

	if (name->val.string.len == 0)
		refuse_headers("A name is empty.");
	if (headers->n == headers->allocated)
	{
		headers->allocated = Max(8, headers->allocated * 2);
		headers->items = headers->items == NULL
			? palloc(headers->allocated * sizeof(Datum))
			: repalloc(headers->items, headers->allocated * sizeof(Datum));
	}
	/* In the database's encoding, as it is text; it is converted when it is sent. */
	values[0] = PointerGetDatum(cstring_to_text_with_len(name->val.string.val, name->val.string.len));
	values[1] = PointerGetDatum(bytes);
	headers->items[headers->n++] = HeapTupleGetDatum(heap_form_tuple(headers->desc, values, nulls));
	headers->bytes += HEADER_OVERHEAD + name_len + (bytes == NULL ? 0 : VARSIZE_ANY_EXHDR(bytes));
}

static void
add_pair(Headers *headers, const JsonbValue *pair)
{
	JsonbValue *name = NULL;

	if (pair->type == jbvBinary && JsonContainerIsArray(pair->val.binary.data) &&
		!JsonContainerIsScalar(pair->val.binary.data) && JsonContainerSize(pair->val.binary.data) == 2)
		name = getIthJsonbValueFromContainer(pair->val.binary.data, 0);
	if (name == NULL || name->type != jbvString)
		refuse_headers("An element of the array is not a pair of a name and a value.");
	add_header(headers, name, getIthJsonbValueFromContainer(pair->val.binary.data, 1));
}

static void
add_all(Headers *headers, Jsonb *jsonb)
{
	JsonbIterator *it = JsonbIteratorInit(&jsonb->root);
	JsonbIteratorToken token;
	JsonbValue	item;
	JsonbValue	name;

	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = item;
		else if (token == WJB_VALUE)
			add_header(headers, &name, &item);
		else if (token == WJB_ELEM)
			add_pair(headers, &item);
	}
}

Size
djk_produce_headers(DjkOutboxMessage *message, Datum datum)
{
	Jsonb	   *jsonb = DatumGetJsonbP(datum);
	Headers		headers = {0};

	message->has_headers = false;
	if (JB_ROOT_IS_SCALAR(jsonb))
	{
		JsonbValue *scalar = getIthJsonbValueFromContainer(&jsonb->root, 0);

		if (scalar->type != jbvNull)
			refuse_headers("They are neither an object nor an array.");
		return 0;
	}
	if (JB_ROOT_COUNT(jsonb) == 0)
		return 0;
	headers.type = djk_catalog_type("djkafka_header");
	headers.desc = lookup_rowtype_tupdesc(headers.type, -1);
	add_all(&headers, jsonb);
	ReleaseTupleDesc(headers.desc);
	message->headers = PointerGetDatum(construct_array(headers.items, headers.n, headers.type,
													   -1, false, TYPALIGN_DOUBLE));
	message->has_headers = true;
	return headers.bytes;
}
