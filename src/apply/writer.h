/*-------------------------------------------------------------------------
 *
 * writer.h
 *	  Which schemas messages were written with, in formats that need to know.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_WRITER_H
#define DJK_WRITER_H

#include "apply/route_state.h"
#include "apply/work.h"
#include "state/schema.h"

/* For the formats of a consumer's routes; NULL: none needs to know. */
extern struct DjkWriters *djk_writers_create(const DjkConsumerRow *consumer, MemoryContext context);

/* A batch begins: what was found for messages of earlier ones is used no more. */
extern void djk_writers_begin(DjkApply *apply);

/*
 * Finds the schemas of the messages [from, to), as far as they were fetched; needs
 * a transaction.  One that names another stops there (DJK_FATE_STOP, with its key in
 * DjkWork.schema), unless nobody could fetch it for these: then that is what is
 * wrong with it.  What a worker takes that has waited goes on waiting
 * (DJK_FATE_LOST), and the others are applied.
 */
extern void djk_writers_mark(DjkApply *apply, int from, int to);

/*
 * The next schema that messages of a batch name and that was not fetched, from *at on,
 * which is 0 at first; needs a transaction.  False: there is none.
 */
extern bool djk_writers_missing(DjkApply *apply, const DjkBatch *batch, int *at, DjkSchemaKey *key);

/* Some of the schemas for which messages of the last batch go on waiting; until the next. */
extern const DjkSchemaKey *djk_writers_wanted(const DjkApply *apply, int *n);

/* The registry has no such schema: so it is what is wrong with its messages, for a while. */
extern void djk_writers_note_absent(DjkApply *apply, const DjkSchemaKey *key, const char *reason);

/* No registry says what it is: the same, where nobody waits for one. */
extern void djk_writers_note_unreachable(DjkApply *apply, const DjkSchemaKey *key, const char *reason);

/* One that was fetched and could not be stored. */
extern void djk_writers_keep(DjkApply *apply, const DjkSchemaKey *key, const DjkSchemaText *text);

/*
 * Whose schemas they are: of the consumer's server and these URLs (NULL: none), which
 * whoever asks is to ask; needs a transaction.  Else it is found out at first need.
 */
extern void djk_writers_use(DjkApply *apply, const char *registry);

/* … and whose they are; after djk_writers_mark() has stopped a message, or djk_writers_missing(). */
extern const DjkSchemaSource *djk_writers_source(const DjkApply *apply);

/* Whether there is a key, by the format of its route. */
static inline bool
djk_message_has_key(const DjkRouteState *state, const DjkMessage *message)
{
	return message->key != NULL && (message->key_len > 0 || !state->codec->empty_is_no_key);
}

/* Decodes a value or a key that is not null, by its route. */
static inline bool
djk_message_decode(const DjkRouteState *state, const DjkMessage *message, DjkDecoded *decoded, DjkError *error)
{
	decoded->writer = message->value_writer;
	decoded->message = message;
	return state->codec->decode(message->value, message->value_len, decoded, error);
}

static inline bool
djk_message_decode_key(const DjkRouteState *state, const DjkMessage *message, DjkDecoded *decoded, DjkError *error)
{
	decoded->writer = message->key_writer;
	return djk_codec_decode_key(state->route->key_format, message->key, message->key_len, decoded, error);
}

#endif							/* DJK_WRITER_H */
