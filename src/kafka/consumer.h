/*-------------------------------------------------------------------------
 *
 * consumer.h
 *	  One librdkafka consumer, read by the events API only.
 *
 * A DjkConsumer is owned by a memory context: resetting the context closes
 * (with a deadline) and destroys it, so an ERROR leaks nothing.  Nothing here
 * needs or may be called with a PostgreSQL transaction open, but for
 * djkafka_run, djkafka_peek and djkafka_topics, which hold their caller's.
 *
 * The consumer's own offset machinery is off: the caller tells every position
 * by djk_consumer_assign() and owns what has been applied.  Stale messages of
 * an earlier assignment may still arrive after a new one; the caller drops
 * what lies below its expectation and verifies jumps.
 *
 * No call blocks longer than DJK_KAFKA_SLICE_MS without CHECK_FOR_INTERRUPTS.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_KAFKA_CONSUMER_H
#define DJK_KAFKA_CONSUMER_H

#include "base/djk.h"
#include "base/message.h"
#include "base/property.h"
#include "base/start.h"

#define DJK_KAFKA_SLICE_MS	1000

/* Special offsets, the values are our own. */
#define DJK_OFFSET_EARLIEST		INT64CONST(-2)
#define DJK_OFFSET_LATEST		INT64CONST(-1)
#define DJK_OFFSET_UNKNOWN		INT64CONST(-1001)

/* Messages fetched ahead, of all partitions together: at most, and where all of them are large. */
#define DJK_QUEUE_MESSAGES		20000
#define DJK_QUEUE_MESSAGES_MIN	16

/*
 * The library has one request under way to a broker, so what its answer may hold
 * of a partition, the partition's share, is what a lone busy one gets for each
 * round trip.  A batch that is larger comes when its partition is the first with
 * something to give.  But a full queue makes the library forget whose turn it
 * is: so an answer must hold the share of every busy partition, or the last ones
 * wait until the first are read.  That is the least that any answer may hold.
 */
#define DJK_ANSWER_BYTES		(2 * 1024 * 1024)
#define DJK_SHARE_MIN_BYTES		(16 * 1024)
#define DJK_SHARE_MAX_BYTES		(1024 * 1024)

typedef struct DjkConsumer DjkConsumer;

typedef struct DjkTopicPartition
{
	char	   *topic;
	int			partition;
	int64		offset;
	char	   *metadata;		/* what was committed with the offset; NULL: nothing, or not asked */
	DjkError	error;			/* of this partition alone; sqlstate 0 = none */
} DjkTopicPartition;

typedef enum DjkConsumerEventKind
{
	DJK_CONSUMER_NONE,			/* the queue is empty: wait on the fd */
	DJK_CONSUMER_MESSAGE,		/* topic, partition, offset and all else of a message */
	DJK_CONSUMER_EOF,			/* topic, partition, offset = end of the partition */
	DJK_CONSUMER_ASSIGN,		/* rebalance: partitions[] given (all, or more if cooperative) */
	DJK_CONSUMER_REVOKE,		/* rebalance: partitions[] taken (all, or some if cooperative) */
	DJK_CONSUMER_PARTITION_ERROR,	/* topic, partition, error; e.g. offset out of range.  partition
								 * is -1 if the topic as a whole is meant: unknown, denied */
	DJK_CONSUMER_ERROR,			/* error, error_class: the whole consumer; only FATAL needs a new one */
	DJK_CONSUMER_DOUBT,			/* topic: it was gone for a moment, and may be another one now */
	DJK_CONSUMER_LOG			/* a line of the library: log_level, log_text */
} DjkConsumerEventKind;

typedef enum DjkConsumerErrorClass
{
	DJK_KAFKA_FATAL,			/* destroy the handle and start again */
	DJK_KAFKA_RETRIABLE,		/* passes: brokers down, leader moved */
	DJK_KAFKA_OUT_OF_RANGE,		/* the wanted offset does not exist (auto.offset.reset=error) */
	DJK_KAFKA_UNKNOWN_TOPIC,	/* topic or partition does not exist (yet) */
	DJK_KAFKA_DENIED,			/* authentication or authorization */
	DJK_KAFKA_OTHER				/* of a partition: it cannot be read on; else informative */
} DjkConsumerErrorClass;

/* What helps where a partition cannot be read at some offset. */
#define DJK_UNREADABLE_HINT	"If it does not pass by itself, go on behind what cannot be read: djkafka_seek(consumer, topic, start_at, partition)."

typedef struct DjkConsumerEvent
{
	DjkConsumerEventKind kind;

	/* MESSAGE, EOF, PARTITION_ERROR */
	const char *topic;			/* valid until the next poll, or as long as the message is held */
	int			partition;
	int64		offset;

	/* MESSAGE: hold it in a batch by storing 'message.source', see below */
	DjkMessage	message;		/* message.partition is not set */

	/* ASSIGN, REVOKE: in the event's memory, valid until the next poll */
	DjkTopicPartition *partitions;
	int			npartitions;

	/* errors */
	DjkConsumerErrorClass error_class;
	DjkError	error;			/* strings valid until the next poll */
	bool		unreachable;	/* ERROR: no broker answers, which is no cause by itself */

	/* LOG */
	int			log_level;		/* syslog's numbers */
	const char *log_text;
} DjkConsumerEvent;

typedef struct DjkConsumerConfig
{
	const DjkProperty *properties;	/* already checked against the allow-list */
	int			nproperties;
	const char *group_id;		/* NULL: joins no group (run, peek, topics) */
	const char *group_instance_id;	/* static membership, or NULL */
	const char *client_id;
	const char *assignment_strategy;	/* "range", "roundrobin", "cooperative-sticky" or NULL */
	int			queue_kbytes;	/* cap of what the library holds for us, in kB */
	int			queue_messages; /* the same in messages; 0: DJK_QUEUE_MESSAGES */
	int			share_bytes;	/* what an answer may hold of a partition; 0: DJK_SHARE_MIN_BYTES */
	bool		embedded;		/* the embedded broker, which lacks what newer brokers can */
	bool		skip_internal;	/* topics whose names begin with "__" do not exist for it */
} DjkConsumerConfig;

/*
 * Creates a consumer in 'context', which then owns it.  ERRORs:
 * DJK_ERRCODE_PROPERTY for a value the library refuses, DJK_ERRCODE_KAFKA else.
 * Signals are blocked while the library makes its threads.
 */
extern DjkConsumer *djk_consumer_create(MemoryContext context, const DjkConsumerConfig *config);

/* Closes within 'timeout_ms' and destroys; on a missed deadline the handle is left behind. */
extern void djk_consumer_destroy(DjkConsumer *consumer, int timeout_ms);

/* Topics, or patterns that begin with '^'. */
extern void djk_consumer_subscribe(DjkConsumer *consumer, const char *const *topics, int ntopics);

/*
 * A wanted departure.  It is over when the group does not count us any more;
 * until then the library's questions are answered by djk_consumer_decline_all(),
 * which is true once no partition is ours.
 */
extern void djk_consumer_unsubscribe(DjkConsumer *consumer);
extern bool djk_consumer_decline_all(DjkConsumer *consumer);

/* True if the assignor in use is cooperative: assign and revoke are increments then. */
extern bool djk_consumer_is_cooperative(DjkConsumer *consumer);

/* True while the group waits for us to give back what it has taken: by an assign, or an assign_less. */
extern bool djk_consumer_is_revoking(DjkConsumer *consumer);

/*
 * Sets what is fetched, each partition from its offset.  The first replaces
 * all (eager, or manual assignment), the others change a part (cooperative).
 * Partitions may be fewer than the group gave: those left out are not fetched.
 */
extern void djk_consumer_assign(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n);
extern void djk_consumer_assign_more(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n);
extern void djk_consumer_assign_less(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n);

/*
 * Sends partitions that are assigned to another offset, without waiting.  What
 * was queued of their old position never comes; the other partitions' stays.
 */
extern void djk_consumer_seek(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n);

/*
 * Partitions that are assigned are not fetched any more, or again, without waiting.
 * What is queued of them never comes.  They stay paused through an assignment.
 */
extern void djk_consumer_pause(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n);
extern void djk_consumer_resume(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n);

/* The pipe that becomes readable when the queue goes from empty to non-empty. */
extern int	djk_consumer_fd(DjkConsumer *consumer);
extern void djk_consumer_drain_fd(DjkConsumer *consumer);

/*
 * Takes the next event; never blocks.  A MESSAGE's bytes live until
 * djk_consumer_release(message.source): exactly one release for each.
 */
extern bool djk_consumer_poll(DjkConsumer *consumer, DjkConsumerEvent *event);
extern void djk_consumer_release(void *source);
extern int	djk_consumer_headers(const DjkMessage *message, MemoryContext context, DjkHeader **headers);

/* What a message's headers take in memory. */
extern Size djk_consumer_headers_size(const DjkMessage *message);

/* Messages (and other events) that wait to be polled. */
extern int64 djk_consumer_queued(DjkConsumer *consumer);

/* Tells Kafka what has been applied, without waiting: advice for lag tools. */
extern void djk_consumer_advise(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n);

/* Cached high watermark of the last fetch, -1 if unknown; no network. */
extern int64 djk_consumer_high_watermark(DjkConsumer *consumer, const char *topic, int partition);

/* The cluster's id, or NULL while unknown; palloc'd. No network beyond 'timeout_ms'. */
extern char *djk_consumer_cluster_id(DjkConsumer *consumer, int timeout_ms);

/*
 * The id of a topic, which one that is made again under its name does not have,
 * in CurrentMemoryContext; NULL where library (before 2.3) or broker (before 2.8)
 * know none, or there is no answer within 'timeout_ms'.
 */
extern char *djk_consumer_topic_id(DjkConsumer *consumer, const char *topic, int timeout_ms);

/*
 * Look-ups that wait on the network, in slices with CHECK_FOR_INTERRUPTS, up to
 * timeout_ms in all; each fills offset or error per partition and returns false
 * (with *error) only if nothing could be asked.  Results in CurrentMemoryContext.
 */
extern bool djk_consumer_watermarks(DjkConsumer *consumer, const char *topic, int partition,
									int64 *low, int64 *high, int timeout_ms, DjkError *error);

/* timestamp_ms may be DJK_OFFSET_EARLIEST or DJK_OFFSET_LATEST: the ends of the partitions. */
extern bool djk_consumer_offsets_for_time(DjkConsumer *consumer, DjkTopicPartition *partitions, int n,
										  int64 timestamp_ms, int timeout_ms, DjkError *error);

/* DJK_OFFSET_UNKNOWN where the group has committed nothing. */
extern bool djk_consumer_committed(DjkConsumer *consumer, DjkTopicPartition *partitions, int n,
								   int timeout_ms, DjkError *error);

/*
 * Where 'start' is in each partition: offset >= 0, or the partition's error.
 * DJK_START_GROUP takes the beginning where the group has committed nothing.
 */
extern bool djk_consumer_resolve_start(DjkConsumer *consumer, DjkTopicPartition *partitions, int n,
									   const DjkStart *start, int timeout_ms, DjkError *error);

/*
 * The same without waiting; the consumer's fd becomes readable when there is an
 * answer.  NULL: it could not be started, or there is no answer yet.  Taking the
 * answer ends the look; each partition has its offset or its error.
 */
typedef struct DjkStartLook DjkStartLook;

extern DjkStartLook *djk_consumer_start_look(DjkConsumer *consumer, const DjkTopicPartition *partitions, int n,
											 const DjkStart *start, int timeout_ms);
extern DjkTopicPartition *djk_consumer_start_take(DjkStartLook *look, int *n);

typedef struct DjkTopicInfo
{
	char	   *name;
	int			npartitions;
	int		   *leaders;		/* broker that leads each partition; -1: none */
	DjkError	error;
} DjkTopicInfo;

typedef struct DjkBrokerInfo
{
	int			id;
	char	   *address;		/* host:port, as it says itself */
} DjkBrokerInfo;

/* Topics of the cluster (topic == NULL: all).  Never creates a topic. */
extern bool djk_consumer_topics(DjkConsumer *consumer, const char *topic, DjkTopicInfo **topics, int *ntopics,
								int timeout_ms, DjkError *error);

/*
 * A broker makes a member's id of its group.instance.id if it has one, else of
 * its client.id, and a dash and a UUID; that tells what it is, for the answer
 * does not say it otherwise.
 */
typedef struct DjkGroupMember
{
	char	   *member_id;
	char	   *client_id;		/* NULL if empty: what a member says of itself */
	char	   *host;			/* NULL if unknown */
	DjkTopicPartition *partitions;	/* that it was given; none while the group is not settled */
	int			npartitions;
} DjkGroupMember;

/*
 * A group as its brokers see it.  Members are the live ones, ours included, and
 * static ones whose session has not ended; not those with the new protocol of
 * Kafka 4 (group.protocol=consumer), which brokers hide from this request.  A
 * group that nobody ever joined has none; neither has one whose coordinator is
 * just moving: no broker lists it then.
 */
typedef struct DjkGroupView
{
	bool		answered;		/* false: only 'error' is set */
	DjkError	error;
	bool		settled;		/* nobody joins or leaves: the partitions are told */
	char	   *strategy;		/* by which the leader shared them out; NULL if there is none */
	DjkGroupMember *members;
	int			nmembers;

	bool		topics_known;	/* false: the look-up of the topics failed, or none were asked for */
	DjkTopicInfo *topics;		/* those asked for, or all of the cluster if one of them is a pattern */
	int			ntopics;
	DjkBrokerInfo *brokers;		/* told with the topics */
	int			nbrokers;
} DjkGroupView;

/*
 * Looks at a group, and at topics (or patterns) if there are any, waiting up to
 * 'timeout_ms' for each.  The answer is in CurrentMemoryContext.
 */
extern DjkGroupView *djk_consumer_look(DjkConsumer *consumer, const char *group_id,
									   const char *const *topics, int ntopics, int timeout_ms);

/*
 * The same without waiting.  The consumer's fd becomes readable when there is
 * an answer; taking it ends the look.  NULL: it could not be started, or there
 * is no answer yet.
 */
typedef struct DjkGroupLook DjkGroupLook;

extern DjkGroupLook *djk_consumer_look_start(DjkConsumer *consumer, const char *group_id,
											 const char *const *topics, int ntopics, int timeout_ms);
extern DjkGroupView *djk_consumer_look_take(DjkGroupLook *look);

#endif							/* DJK_KAFKA_CONSUMER_H */
