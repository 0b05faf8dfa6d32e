/*-------------------------------------------------------------------------
 *
 * decode_fuzz.c
 *	  Hostile messages against the codecs, in a plain program that is built
 *	  with sanitizers: decode_fuzz MESSAGES SEED
 *
 * Besides what the sanitizers see it checks that every slice lies in the
 * message or in memory made for it, that a value's own text scans as that
 * value, and that memory and error texts stay in proportion.  It prints a hash
 * of all results: builds with and without SIMD must agree.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdio.h>

#include "mb/pg_wchar.h"

#include "base/message.h"
#include "codec/codec.h"
#include "codec/connect.h"
#include "codec/json.h"

#include "../src/generate.h"
#include "shim.h"

static uint64 hash = UINT64CONST(14695981039346656037);
static long fields_seen = 0;

static void
add_to_hash(const char *bytes, int len)
{
	int			i;

	for (i = 0; i < len; i++)
		hash = (hash ^ (unsigned char) bytes[i]) * UINT64CONST(1099511628211);
}

static void
require(bool condition, const char *what)
{
	if (!condition)
	{
		fprintf(stderr, "decode_fuzz: %s\n", what);
		abort();
	}
}

static bool
lies_within(const char *slice, int len, const char *bytes, int bytes_len)
{
	return slice >= bytes && slice + len <= bytes + bytes_len;
}

/* Reads every byte of the field, and the field again from its own text. */
static void
check_field(const DjkField *field, const char *bytes, int len)
{
	DjkJsonScan scan;
	DjkJsonArray array;
	DjkField	again;
	bool		escaped;

	fields_seen++;
	add_to_hash(field->name, field->name_len);
	add_to_hash(field->text, field->len);
	require(lies_within(field->raw, field->raw_len, bytes, len), "raw text is not in the message");
	require(pg_encoding_verifymbstr(PG_UTF8, field->raw, field->raw_len) == field->raw_len,
			"raw text is not UTF-8");
	require(pg_encoding_verifymbstr(PG_UTF8, field->text, field->len) == field->len,
			"text is not UTF-8 or has NUL");
	djk_json_scan_init(&scan, field->raw, field->raw_len, true);
	require(djk_json_scan_value(&scan, &again, &escaped) && scan.at == scan.end &&
			again.kind == field->kind, "raw text does not scan as its value");
	if (field->kind != DJK_FIELD_ARRAY)
		return;
	djk_json_array_begin(&array, field->raw, field->raw_len, NULL);
	while (djk_json_array_next(&array, &again))
		add_to_hash(again.text, again.len);
	require(array.scan.at == array.scan.end - 1, "array ends before its end");
}

/* Each field is found again by its name; what is within it is looked for, and costs no memory but its own. */
static void
check_paths(const DjkDecoded *decoded)
{
	for (int i = 0; i < Min(decoded->nfields, 20); i++)
	{
		char	   *path[3];
		DjkField	field;
		size_t		before = shim_allocated();

		path[0] = strndup(decoded->fields[i].name, decoded->fields[i].name_len);
		path[1] = "no such name";
		(void) djk_codec_find_field(decoded, path, 2, &field);
		require(shim_allocated() == before, "looking in vain for a field uses memory");
		path[1] = path[2] = path[0];
		if ((int) strlen(path[0]) == decoded->fields[i].name_len)
			require(djk_codec_find_field(decoded, path, 1, &field), "a field is not found by its name");
		for (int depth = 2; depth <= 3; depth++)
		{
			if (djk_codec_find_field(decoded, path, depth, &field) && field.text != NULL)
				add_to_hash(field.text, field.len);
		}
		free(path[0]);
	}
}

/* With what no text can hold replaced. */
static void
check_mended(const char *bytes, int len)
{
	DjkDecoded	decoded;
	DjkError	error = {0};

	djk_decoded_init(&decoded, NULL, NULL);
	decoded.replace_invalid = true;
	if (djk_codec_find("json")->decode(bytes, len, &decoded, &error) && !decoded.is_object)
		check_field(&decoded.bare, decoded.text, decoded.text_len);
	for (int i = 0; i < decoded.nfields; i++)
		check_field(&decoded.fields[i], decoded.text, decoded.text_len);
	check_paths(&decoded);
	require(djk_codec_find("text")->decode(bytes, len, &decoded, &error), "not all bytes can be repaired");
	require(pg_encoding_verifymbstr(PG_UTF8, decoded.text, decoded.text_len) == decoded.text_len,
			"repaired text is not UTF-8");
	add_to_hash(decoded.text, decoded.text_len);
}

/* The bytes as Debezium's, opened. */
static void
check_opened(const char *format, const char *bytes, int len)
{
	const DjkCodec *codec = djk_codec_find(format);
	DjkDecoded	decoded;
	DjkError	error = {0};
	DjkEffect	effect = DJK_EFFECT_WRITE;

	djk_decoded_init(&decoded, NULL, NULL);
	decoded.schemas = djk_connect_cache_create(NULL);
	if (codec->decode(bytes, len, &decoded, &error) && decoded.is_object && codec->open(&decoded, &effect, &error))
	{
		hash = (hash ^ effect) * UINT64CONST(1099511628211);
		for (int i = 0; i < decoded.nfields; i++)
		{
			const DjkField *field = &decoded.fields[i];
			const DjkConnectType *type = djk_connect_find(decoded.types, field->name, field->name_len, i);

			check_field(field, bytes, len);
			if (type != NULL)
				hash = (hash ^ (type->kind + type->parameter)) * UINT64CONST(1099511628211);
		}
	}
	else if (error.sqlstate != 0)
		require(error.message != NULL, "error is not complete");
}

/* The bytes as a whole message, and as each part of an envelope. */
static void
check_debezium(const char *bytes, int len)
{
	static const char *const around[] = {
		"{\"schema\":%.*s,\"payload\":{\"op\":\"c\",\"after\":{\"id\":1}}}",
		"{\"op\":\"u\",\"before\":null,\"after\":%.*s}", "{\"op\":\"d\",\"before\":%.*s}", "{\"op\":%.*s,\"after\":{}}",
		"{\"schema\":{\"type\":\"struct\",\"fields\":[{\"field\":\"after\",\"type\":\"struct\",\"fields\":[%.*s,5]}]},\"payload\":{\"op\":\"c\",\"after\":{\"id\":1}}}"
	};

	check_opened("debezium", bytes, len);
	check_opened("debezium_flat", bytes, len);
	for (int i = 0; i < lengthof(around); i++)
	{
		size_t		size = strlen(around[i]) + len + 1;
		char	   *wrapped = malloc(size);
		const char *place = strstr(around[i], "%.*s");
		int			before = (int) (place - around[i]);
		char	   *exact;

		/* by hand: the bytes may have zeros */
		memcpy(wrapped, around[i], before);
		memcpy(wrapped + before, bytes, len);
		strcpy(wrapped + before + len, place + 4);
		size = before + len + strlen(place + 4);
		exact = malloc(size);
		memcpy(exact, wrapped, size);
		check_opened("debezium", exact, (int) size);
		check_opened("debezium_flat", exact, (int) size);
		free(wrapped);
		free(exact);
	}
	require(shim_allocated() <= 3000 * (size_t) len + 3000000, "memory is out of proportion");
}

/* Opens what was decoded, of django-logpipe; its fields lie in the text that it was then. */
static void
check_logpipe_opened(const DjkCodec *codec, DjkDecoded *decoded)
{
	const char *text = decoded->text;
	int			len = decoded->text_len;
	DjkEffect	effect;
	DjkError	error = {0};

	if (!decoded->is_object)
		check_field(&decoded->bare, text, len);
	else if (codec->open(decoded, &effect, &error))
	{
		for (int i = 0; i < decoded->nfields; i++)
			check_field(&decoded->fields[i], text, len);
	}
	else
		require(error.message != NULL, "error is not complete");
}

static void
check_logpipe(const char *encoding, const char *bytes, int len, bool replace_invalid)
{
	const DjkCodec *codec = djk_codec_find("logpipe");
	int			before = strlen(encoding);
	char	   *message = malloc(before + len);
	DjkDecoded	decoded;
	DjkError	error = {0};

	memcpy(message, encoding, before);
	memcpy(message + before, bytes, len);
	djk_decoded_init(&decoded, NULL, NULL);
	decoded.replace_invalid = replace_invalid;
	if (codec->decode(message, before + len, &decoded, &error))
		check_logpipe_opened(codec, &decoded);
	else
		require(error.sqlstate == DJK_ERRCODE_MALFORMED && error.message != NULL && error.detail != NULL, "error is not complete");
	require(shim_allocated() <= 100 * (size_t) len + 100000, "memory is out of proportion");
	free(message);
	shim_free_all();
}

/* A message of each of MessagePack's types, damaged. */
static void
check_msgpack(DjkGenerator *chance)
{
	static const char seed[] =
	"\x83\xa4\x74\x79\x70\x65\xa6\x70\x65\x72\x73\x6f\x6e\xa7\x76\x65\x72\x73\x69\x6f\x6e\x01\xa7\x6d"
	"\x65\x73\x73\x61\x67\x65\x8c\xa2\x69\x64\x08\xa1\x6e\xdc\x00\x19\xc0\xc3\xc2\x00\x7f\xcc\x80\xcc"
	"\xff\xcd\x01\x00\xcd\xff\xff\xce\x00\x01\x00\x00\xce\xff\xff\xff\xff\xcf\x00\x00\x00\x01\x00\x00"
	"\x00\x00\xcf\x7f\xff\xff\xff\xff\xff\xff\xff\xcf\x80\x00\x00\x00\x00\x00\x00\x00\xcf\xff\xff\xff"
	"\xff\xff\xff\xff\xff\xff\xe0\xd0\xdf\xd0\x80\xd1\xff\x7f\xd1\x80\x00\xd2\xff\xff\x7f\xff\xd2\x80"
	"\x00\x00\x00\xd3\xff\xff\xff\xff\x7f\xff\xff\xff\xd3\x80\x00\x00\x00\x00\x00\x00\x00\xa1\x66\x97"
	"\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\xcb\x80\x00\x00\x00\x00"
	"\x00\x00\x00\xcb\x7e\x37\xe4\x3c\x88\x00\x75\x9c\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00\xcb\x7f\xf0"
	"\x00\x00\x00\x00\x00\x00\xcb\xff\xf0\x00\x00\x00\x00\x00\x00\xa1\x62\xc4\x02\x00\xff\xa1\x73\xad"
	"\x61\x22\x5c\x0a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xa3\x6e\x75\x6c\xa3\x61\x00\x62\xa1\x6d\x83"
	"\x01\xa3\x6f\x6e\x65\xfe\x81\xa1\x78\x90\xa0\x80\xa1\x74\xd7\xff\x1d\x6f\x34\x54\x69\x7d\xee\xc0"
	"\xa2\x74\x30\xd6\xff\x00\x00\x00\x01\xa4\x74\x6f\x6c\x64\xc7\x0c\xff\x00\x00\x00\x00\xff\xff\xff"
	"\xf1\x88\x6e\x08\xff\xa1\x6c\xd9\x28\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78"
	"\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78\x78"
	"\x78\xa1\x65\xd6\xff\x69\x7d\xee\xc0";
	char		damaged[2 * sizeof(seed)];
	int			len;

	memcpy(damaged, seed, sizeof(seed) - 1);
	len = djk_generate_damage(chance, damaged, sizeof(seed) - 1, sizeof(damaged));
	check_logpipe("msgpack:", damaged, len, djk_generate_below(chance, 2) == 0);
}

/* Headers of the event that is being checked. */
static DjkHeader event_headers[5];

static int
load_event_headers(const DjkBatch *batch, const DjkMessage *message, DjkHeader **headers)
{
	*headers = event_headers;
	return lengthof(event_headers);
}

/* The bytes as an event, or as one's data, with an attribute of such bytes. */
static void
check_event(DjkGenerator *chance, const char *bytes, int len)
{
	static const char *const types[] = {"application/json", "text/plain", "application/cloudevents+json", "x/y"};
	const char *type = types[djk_generate_below(chance, lengthof(types))];
	const DjkCodec *codec = djk_codec_find("cloudevents");
	DjkBatch	batch = {.load_headers = load_event_headers};
	DjkMessage	message = {0};
	DjkDecoded	decoded;
	DjkError	error = {0};

	event_headers[0] = (DjkHeader) {"ce_specversion", 14, "1.0", 3};
	event_headers[1] = (DjkHeader) {"ce_id", 5, bytes, Min(len, 30)};
	event_headers[2] = (DjkHeader) {"ce_type", 7, "t", 1};
	event_headers[3] = (DjkHeader) {"ce_source", 9, "s", 1};
	event_headers[4] = (DjkHeader) {"content-type", 12, type, (int) strlen(type)};
	djk_decoded_init(&decoded, NULL, NULL);
	decoded.batch = &batch;
	decoded.message = &message;
	decoded.replace_invalid = djk_generate_below(chance, 2) == 0;
	if (codec->decode(bytes, len, &decoded, &error))
	{
		const char *text = decoded.text;
		int			text_len = decoded.text_len;
		DjkEffect	effect;

		for (int i = 0; i < decoded.nfields; i++)
			check_field(&decoded.fields[i], text, text_len);
		if (codec->open(&decoded, &effect, &error))
			check_paths(&decoded);
	}
	else
		require(error.sqlstate == DJK_ERRCODE_MALFORMED && error.message != NULL, "error is not complete");
	require(shim_allocated() <= 100 * (size_t) len + 100000, "memory is out of proportion");
	shim_free_all();
}

static bool
check_message(const char *bytes, int len)
{
	static const char *const key_formats[] = {"auto", "json", "json_schema", "text", "raw"};
	DjkDecoded	decoded;
	DjkError	error = {0};
	bool		taken;
	int			i;

	djk_decoded_init(&decoded, NULL, NULL);
	taken = djk_codec_find("json")->decode(bytes, len, &decoded, &error);
	if (!taken)
	{
		require(error.sqlstate == DJK_ERRCODE_MALFORMED && error.message != NULL &&
				error.detail != NULL && strlen(error.detail) < 300, "error is not complete");
		add_to_hash(error.detail, (int) strlen(error.detail));
	}
	else if (!decoded.is_object)
		check_field(&decoded.bare, bytes, len);
	for (i = 0; i < decoded.nfields; i++)
		check_field(&decoded.fields[i], bytes, len);
	require(shim_allocated() <= 100 * (size_t) len + 100000, "memory is out of proportion");
	check_paths(&decoded);
	check_mended(bytes, len);
	for (i = 0; i < lengthof(key_formats); i++)
		djk_codec_decode_key(key_formats[i], bytes, len, &decoded, &error);
	shim_free_all();
	check_debezium(bytes, len);
	shim_free_all();
	check_logpipe("json:", bytes, len, false);
	check_logpipe("msgpack:", bytes, len, false);
	return taken;
}

int
main(int argc, char **argv)
{
	static const char *const names[] = {"id", "customer", "amount", "created_at"};
	long		messages = argc > 1 ? atol(argv[1]) : 10000;
	long		taken = 0;
	long		i;
	DjkGenerator generator;

	djk_generate_init(&generator, argc > 2 ? strtoull(argv[2], NULL, 10) : 1, names, lengthof(names));
	for (i = 0; i < messages; i++)
	{
		char	   *bytes;

		djk_generate_hostile(&generator);
		bytes = malloc(generator.len > 0 ? generator.len : 1);
		memcpy(bytes, generator.buf, generator.len);
		taken += check_message(bytes, generator.len);
		check_event(&generator, bytes, generator.len);
		free(bytes);
		check_msgpack(&generator);
	}
	djk_generate_free(&generator);
	printf("%ld messages, %ld taken, %ld fields, hash %016llx\n", messages, taken, fields_seen,
		   (unsigned long long) hash);
	return 0;
}
