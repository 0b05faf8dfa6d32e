/*-------------------------------------------------------------------------
 *
 * message.h
 *	  Messages on their way between Kafka and SQL: plain structs.
 *
 * This is the only bridge between kafka/ and what writes and reads rows: a
 * DjkBatch on the way in, DjkOutgoing on the way out.  It holds no type of
 * librdkafka and no Datum, so apply can be tested without a broker and kafka
 * without a transaction.
 *
 * All bytes are hostile: length-counted, any encoding, NUL included.  They
 * belong to the batch and stay valid until it is cleared.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_MESSAGE_H
#define DJK_MESSAGE_H

#include "base/djk.h"

#include "datatype/timestamp.h"

#define DJK_TIMESTAMP_NONE	(-1)
#define DJK_OFFSET_UNRESOLVED	INT64CONST(-1)	/* of an offset row: start_at is a wish yet */

/* A header as Kafka has it: names repeat, values are binary and may be null. */
typedef struct DjkHeader
{
	const char *name;			/* not NUL-terminated as far as we care */
	int			name_len;
	const char *value;			/* NULL: null value */
	int			value_len;
} DjkHeader;

/* Whether it has this name. */
static inline bool
djk_header_is(const DjkHeader *header, const char *name)
{
	return header->name_len == strlen(name) && memcmp(header->name, name, header->name_len) == 0;
}

/* ---------- the way in ---------- */

typedef struct DjkMessage
{
	int			partition;		/* index into the batch's partitions */
	int64		offset;
	int64		timestamp_ms;	/* since 1970, DJK_TIMESTAMP_NONE if Kafka has none */
	const char *key;			/* NULL: null key */
	int			key_len;
	const char *value;			/* NULL: null value, a tombstone */
	int			value_len;
	const struct DjkWriter *key_writer; /* what they were written with; set by apply, where a format needs it */
	const struct DjkWriter *value_writer;
	void	   *source;			/* a handle of whoever made the batch */
} DjkMessage;

/*
 * The last message of a partition that was applied, by which the partition is
 * known again: a topic that was deleted and made again has another one there, or
 * none.
 */
typedef struct DjkAnchor
{
	int64		offset;			/* -1: none */
	uint32		crc;			/* CRC-32C of its time, key and value */
} DjkAnchor;

extern uint32 djk_message_crc(const DjkMessage *message);

/* What has become of recent messages of a partition: apply/storm.c. */
typedef struct DjkRecent
{
	int64		messages;
	int64		failed;
} DjkRecent;

/*
 * One partition of a batch, and what its offset row must say for the batch to
 * be ours.  end_offset lies behind the last message; it is beyond last + 1
 * where Kafka told us that nothing (or only control records) stands between.
 */
typedef struct DjkBatchPartition
{
	const char *topic;
	int			partition;		/* Kafka's number */
	int64		offset_id;		/* djkafka_offset.id */
	int64		load;			/* tells when its row was loaded last from when it was before */
	int64		generation;		/* djkafka_offset.generation when loaded */
	int64		next_offset;	/* what the row must hold: where this batch starts */
	int64		end_offset;		/* where the row goes if all is applied */
	int64		high_watermark; /* as last seen, -1 unknown */
	DjkAnchor	anchor;			/* of what was applied so far; kept by apply */
	bool		lost;			/* set by apply: the row is no longer ours */
	int64		held_offset;	/* the partition waited for this message, */
	int			held_attempt;	/* … which was tried again so often */
	int			vain;			/* tries in a row at what comes next that came to nothing; kept by apply */
	int64		vain_to;		/* … of which the last one ended before here */
	int64		parked;			/* messages of it that wait; kept by apply */
	TimestampTz next_due;		/* when the first of them is to be tried that is not due yet; 0: none is known */
	bool		lacking;		/* some wait for something else, as far as is known; both kept by apply */
	bool		unwatched;		/* … and nobody wakes the worker for what; kept by apply */
	TimestampTz deadline;		/* when the first of those has waited for too long; 0: none is known */
	bool		again_omits;	/* of those, a batch leaves out what is not due */
	int64		watched;		/* hash by which its dead letters are found; set by apply */
	bool		has_letters;	/* some of these a newer message may overtake; set by apply */
	int64		skip_offset;	/* of the message to be passed by unseen, -1: none; read with the row's lock */
	DjkRecent	recent;			/* what has become of messages before this; read with the row's lock */
	bool		storms;			/* too many have failed: it has stopped; set by apply */
	int64		again_end;		/* of those, a round has what waits before here, */
	bool		again_all;		/* … and all of it: else but for what lacks its parent still */
	int64		again_from;		/* of those, a batch has what waits from here … */
	int64		again_to;		/* … and has committed what becomes of them before here; kept by apply */
} DjkBatchPartition;

typedef struct DjkBatch DjkBatch;

struct DjkBatch
{
	DjkBatchPartition *partitions;
	int			npartitions;
	DjkMessage *messages;		/* by offset within a partition; as they came, unless order.c says else */
	int			nmessages;
	Size		bytes;			/* of keys and values, and of headers but for those that are given */
	bool		detached;		/* not from Kafka: there are no offset rows to move */
	bool		replayed;		/* … but dead letters: what fails is the caller's to note, whatever on_error says */
	bool		again;			/* messages that waited: no offset moves, and each source is a DjkParked */

	/*
	 * Headers are parsed on demand, most routes never look.  Returns the
	 * number of headers and sets *headers to an array, which may be made in
	 * CurrentMemoryContext; what it points to lives as long as the batch.  NULL
	 * callback: no message has any.
	 */
	int			(*load_headers) (const DjkBatch *batch, const DjkMessage *message,
								 DjkHeader **headers);
};

/* ---------- the way out ---------- */

/* What became of a message on its way to Kafka. */
typedef enum DjkDelivery
{
	DJK_DELIVERY_PENDING,		/* not known yet */
	DJK_DELIVERY_DONE,			/* acknowledged: partition and offset are known */
	DJK_DELIVERY_REFUSED,		/* this message, for good: too large, invalid */
	DJK_DELIVERY_BLOCKED,		/* its topic: it does not exist, or we may not write to it */
	DJK_DELIVERY_FAILED			/* neither's fault: to be sent again */
} DjkDelivery;

/* A message on its way from the outbox to Kafka; its bytes belong to its batch. */
typedef struct DjkOutgoing
{
	int64		id;				/* of the outbox */
	const char *topic;
	int			partition;		/* -1: by the key */
	int64		timestamp_ms;	/* since 1970 */
	const char *key;			/* NULL: null key */
	int			key_len;
	const char *value;			/* NULL: null value, a tombstone */
	int			value_len;
	DjkHeader  *headers;		/* names are NUL-terminated here */
	int			nheaders;

	/* the answer */
	DjkDelivery delivery;
	int			sent_partition;
	int64		sent_offset;
	DjkError	error;			/* REFUSED, BLOCKED, FAILED; its strings are never freed */
} DjkOutgoing;

#endif							/* DJK_MESSAGE_H */
