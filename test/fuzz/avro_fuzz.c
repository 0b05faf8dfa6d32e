/*-------------------------------------------------------------------------
 *
 * avro_fuzz.c
 *	  Damaged messages and schemas against the decoder of Avro, in a plain
 *	  program that is built with sanitizers: avro_fuzz MESSAGES SEED
 *
 * Besides what the sanitizers see it checks what avro_check.h says, and that
 * memory stays in proportion.  It reads pairs of lines from its input, a schema and
 * a message of it in hexadecimal digits, and damages each in turn: of three times
 * the message twice and the schema once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdio.h>

#include "../src/avro_check.h"
#include "../src/generate.h"
#include "shim.h"

#define PAIRS_MAX		64

/* What a byte may take, and any schema, and any message, which a batch has thousands of. */
#define MEMORY_OF_BYTE	400
#define SCHEMA_FREE		(8 * 1024 * 1024)
#define MESSAGE_FREE	(512 * 1024)

typedef struct Bytes
{
	char	   *bytes;
	int			len;
} Bytes;

typedef struct Pair
{
	Bytes		schema;
	Bytes		message;
} Pair;

static Pair pairs[PAIRS_MAX];
static int	npairs = 0;

static void
require(bool condition, const char *what, const Bytes *schema, const Bytes *message)
{
	if (condition)
		return;
	fprintf(stderr, "avro_fuzz: %s\n%.*s\n", what, schema->len, schema->bytes);
	for (int i = 0; i < message->len; i++)
		fprintf(stderr, "%02x", (unsigned char) message->bytes[i]);
	fprintf(stderr, "\n");
	abort();
}

static bool
read_line(Bytes *line)
{
	char	   *text = NULL;
	size_t		size = 0;
	ssize_t		len = getline(&text, &size, stdin);

	if (len < 0)
	{
		free(text);
		return false;
	}
	line->bytes = text;
	line->len = (int) strcspn(text, "\n");
	return true;
}

static void
read_hex(Bytes *bytes)
{
	bytes->len /= 2;
	for (int i = 0; i < bytes->len; i++)
	{
		unsigned	byte;

		sscanf(bytes->bytes + 2 * i, "%2x", &byte);
		bytes->bytes[i] = (char) byte;
	}
}

/* Damaged, in memory that ends where it does. */
static Bytes
damage(DjkGenerator *chance, const Bytes *bytes)
{
	int			size = 2 * bytes->len + 64;
	char	   *large = malloc(size);
	Bytes		damaged;

	memcpy(large, bytes->bytes, bytes->len);
	damaged.len = djk_generate_damage(chance, large, bytes->len, size);
	damaged.bytes = malloc(Max(damaged.len, 1));
	memcpy(damaged.bytes, large, damaged.len);
	free(large);
	return damaged;
}

/* Whether both were taken. */
static bool
try(const Bytes *schema, const Bytes *message)
{
	DjkError	error = {0};
	DjkDecoded	decoded = {0};
	DjkAvroSchema *compiled = djk_avro_compile(schema->bytes, schema->len, NULL, 0, NULL, &error);
	const char *finding = NULL;

	if (compiled == NULL)
		require(error.sqlstate != 0 && error.detail != NULL, "error is not complete", schema, message);
	else
	{
		require(djk_avro_size(compiled) <= SCHEMA_FREE + MEMORY_OF_BYTE * (size_t) schema->len,
				"a schema's memory is out of proportion", schema, message);
		shim_limit(MESSAGE_FREE + MEMORY_OF_BYTE * (size_t) message->len);
		finding = avro_check(compiled, message->bytes, message->len, &decoded, &error);
		shim_limit(0);
		require(finding == NULL, finding, schema, message);
	}
	shim_free_all();
	return decoded.text != NULL;
}

int
main(int argc, char **argv)
{
	long		messages = argc > 1 ? atol(argv[1]) : 10000;
	long		taken = 0;
	DjkGenerator chance;

	while (npairs < PAIRS_MAX && read_line(&pairs[npairs].schema) && read_line(&pairs[npairs].message))
		read_hex(&pairs[npairs++].message);
	for (int i = 0; i < npairs; i++)
		(void) try(&pairs[i].schema, &pairs[i].message);
	djk_generate_init(&chance, argc > 2 ? strtoull(argv[2], NULL, 10) : 1, NULL, 0);
	for (long i = 0; i < messages; i++)
	{
		const Pair *pair = &pairs[i % npairs];
		bool		of_schema = i / npairs % 3 == 2;
		Bytes		damaged = damage(&chance, of_schema ? &pair->schema : &pair->message);

		taken += try(of_schema ? &damaged : &pair->schema, of_schema ? &pair->message : &damaged);
		free(damaged.bytes);
	}
	djk_generate_free(&chance);
	printf("%ld messages and schemas of Avro, %ld taken\n", messages, taken);
	return 0;
}
