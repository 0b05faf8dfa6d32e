/*-------------------------------------------------------------------------
 *
 * position.h
 *	  Where somebody stands in a partition that is read.
 *
 * A worker's come from its group (consumer/position.h), those of djkafka_run()
 * from its arguments (sql/run_read.c); what is taken of either is in kafka/collect.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_BASE_POSITION_H
#define DJK_BASE_POSITION_H

#include "base/djk.h"
#include "base/message.h"
#include "base/registry.h"

#include "datatype/timestamp.h"

/* Which follows which: djk_position_move(), and drawn in design.md. */
typedef enum DjkPositionState
{
	DJK_POSITION_GIVEN,			/* it is ours to read; its row is not known */
	DJK_POSITION_LOADED,		/* the row was locked once, so an earlier owner is done with it */
	DJK_POSITION_RESOLVED,		/* it is known from which offset on */
	DJK_POSITION_FETCHING,		/* what the library delivers is taken */
	DJK_POSITION_HELD,			/* nothing is fetched until what comes next is tried again */
	DJK_POSITION_STOPPED		/* until a person decides */
} DjkPositionState;

typedef struct DjkPositionKey
{
	char		topic[DJK_TOPIC_MAX + 1];
	int			partition;
} DjkPositionKey;

typedef struct DjkPosition
{
	DjkPositionKey key;
	DjkPositionState state;
	int64		offset_id;		/* 0: not loaded */
	int64		load;			/* counts the times that rows were loaded in this process */
	int64		generation;
	int64		next_offset;	/* in the row, or DJK_OFFSET_UNRESOLVED */
	int64		expected;		/* of the next message */
	int64		high_watermark; /* -1: unknown */
	int			leader;			/* broker, as last looked up; negative: none */
	bool		heard;			/* something of it has come since leader.c looked last */
	bool		denied;			/* it may not be read, and nothing has come since that was told */
	int64		question;		/* that Kafka was asked about its start; 0: none */
	bool		assigned;		/* the library fetches it, wanted or not, */
	bool		paused;			/* … unless it has been told not to */
	bool		verified;		/* a jump of this assignment has been seen twice */
	int64		jump_to;		/* the jump seen once, -1: none */
	DjkAnchor	anchor;			/* the last message that was applied */
	bool		anchoring;		/* it is read from its anchor, which has not come yet */
	bool		reborn;			/* another message has come in the anchor's place: nothing more is taken */
	TimestampTz short_since;	/* the partition seems to end at or before the anchor; 0: it does not */
	int			vain;			/* see DjkBatchPartition */
	int			waiting_vain;	/* the same, of what waits for rows that it refers to */
	int64		waiting_vain_to;
	int64		parked;			/* messages of it that wait: */
	bool		waiting_known;	/* they have been tried by the routes as they are, or are in this round */
	bool		waiting_all;	/* the round tries all of them, whatever they lack; */
	int64		waiting_end;	/* … those before here */
	int64		held_offset;	/* it waits, or has waited, for this message; -1: for none */
	int			held_attempt;	/* … which has been tried again so often, or is next */
	TimestampTz held_until;		/* … then, by the time of day */
	bool		lacks_schema;	/* … or until the schema that it was written with was fetched: */
	DjkSchemaKey schema;
	int			batch_index;	/* in the batch being collected, -1: not in it */
} DjkPosition;

extern void djk_position_make_key(DjkPositionKey *key, const char *topic, int partition);

/* All but the key as of a partition of which nothing is known yet. */
extern void djk_position_clear(DjkPosition *position);

/* The only place where its state changes. */
extern void djk_position_move(DjkPosition *position, DjkPositionState to);

/* What its row says is forgotten, so that it is loaded again. */
extern void djk_position_forget(DjkPosition *position);

/* It is known from where it is read. */
extern bool djk_position_is_resolved(const DjkPosition *position);

/* … and nothing keeps it from that. */
extern bool djk_position_is_ready(const DjkPosition *position);

/* Where the library is to begin: at the anchor, if there is one. */
extern int64 djk_position_start(const DjkPosition *position);

/* It begins now. */
extern void djk_position_begin(DjkPosition *position);

/* The position as a partition of a batch; and what became of it in one that Kafka brought. */
extern void djk_position_describe(const DjkPosition *position, DjkBatchPartition *partition);
extern void djk_position_settle(DjkPosition *position, const DjkBatchPartition *partition);

/* Of two partitions the one that is named, if one is. */
extern bool djk_position_precedes(const DjkPosition *a, const DjkPosition *b);

#endif							/* DJK_BASE_POSITION_H */
