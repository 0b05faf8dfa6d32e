/*-------------------------------------------------------------------------
 *
 * group.c
 *	  A group as its brokers see it: who is in it, and who was given what.
 *
 * The library has a request to the group's coordinator alone for this
 * (DescribeConsumerGroups), which aborts the whole process in every version so
 * far if the connection is lost while it runs (librdkafka's issues 3663, 4605).
 * So every broker is asked which groups it has, and the one that has ours for
 * its members.
 *
 * What a member was given comes as the bytes that the group's leader made, who
 * may be anybody: they are read with their length in hand.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/consumer.h"

#include <unistd.h>

#include "base/clock.h"
#include "kafka/consumer_int.h"
#include "kafka/error.h"

/* Pause between two tries, in µs. */
#define RETRY_US			50000

/* More topics than this are cheaper to ask for all at once. */
#define SINGLE_TOPICS		8

/* The library should have given up by itself when this much more has passed. */
#define GRACE_MS			2000

/* malloc'd: the thread may outlive whoever asked. */
typedef struct Look
{
	rd_kafka_t *rk;
	int			timeout_ms;
	char	   *group;
	char	  **topics;			/* to be asked for one by one; NULL: all of the cluster */
	int			ntopics;		/* 0: topics are not asked for */

	rd_kafka_resp_err_t group_code;
	rd_kafka_resp_err_t topics_code;
	const struct rd_kafka_group_list *groups;
	const struct rd_kafka_metadata **metadata;
	int			nmetadata;
} Look;

struct DjkGroupLook
{
	DjkCall    *call;
	Look	   *look;
};

/* ---------- in the thread ---------- */

static rd_kafka_resp_err_t
ask_group(Look *look, int timeout_ms)
{
	rd_kafka_resp_err_t code = rd_kafka_list_groups(look->rk, look->group, &look->groups, timeout_ms);

	/* Another broker did not answer, which does not matter. */
	if (code == RD_KAFKA_RESP_ERR__PARTIAL)
		code = RD_KAFKA_RESP_ERR_NO_ERROR;
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
		return code;
	for (int i = 0; i < look->groups->group_cnt && code == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
		code = look->groups->groups[i].err;
	if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		rd_kafka_group_list_destroy(look->groups);
		look->groups = NULL;
	}
	return code;
}

/* The next of the topics that has no answer yet, or all. */
static rd_kafka_resp_err_t
ask_topic(Look *look, int timeout_ms)
{
	rd_kafka_topic_t *topic = look->topics != NULL ? rd_kafka_topic_new(look->rk, look->topics[look->nmetadata], NULL) : NULL;
	rd_kafka_resp_err_t code = rd_kafka_metadata(look->rk, topic == NULL, topic,
												 &look->metadata[look->nmetadata], timeout_ms);

	if (topic != NULL)
		rd_kafka_topic_destroy(topic);
	if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
		look->nmetadata++;
	return code;
}

static rd_kafka_resp_err_t
ask_until(Look *look, rd_kafka_resp_err_t (*ask) (Look *, int), double until)
{
	for (;;)
	{
		double		left = until - djk_clock_ms();
		rd_kafka_resp_err_t code = ask(look, (int) Max(left, 1));

		if (djk_kafka_error_classify(code) != DJK_KAFKA_RETRIABLE || until - djk_clock_ms() <= RETRY_US / 1000)
			return code;
		usleep(RETRY_US);
	}
}

static void
run_look(void *arg)
{
	Look	   *look = arg;
	int			nasked = look->topics != NULL ? look->ntopics : Min(look->ntopics, 1);
	double		until;

	look->group_code = ask_until(look, ask_group, djk_clock_ms() + look->timeout_ms);
	until = djk_clock_ms() + look->timeout_ms;
	look->topics_code = look->group_code;
	while (look->topics_code == RD_KAFKA_RESP_ERR_NO_ERROR && look->nmetadata < nasked)
		look->topics_code = ask_until(look, ask_topic, until);
}

static void
discard_look(void *arg)
{
	Look	   *look = arg;

	if (look->groups != NULL)
		rd_kafka_group_list_destroy(look->groups);
	for (int i = 0; i < look->nmetadata; i++)
		rd_kafka_metadata_destroy(look->metadata[i]);
	for (int i = 0; look->topics != NULL && i < look->ntopics; i++)
		free(look->topics[i]);
	free(look->topics);
	free(look->metadata);
	free(look->group);
	free(look);
}

/* ---------- asking ---------- */

static bool
asks_for_all(const char *const *topics, int ntopics)
{
	for (int i = 0; i < ntopics; i++)
	{
		if (topics[i][0] == '^')
			return true;
	}
	return ntopics > SINGLE_TOPICS;
}

/* False if there is no memory. */
static bool
fill_look(Look *look, const char *group_id, const char *const *topics, int ntopics)
{
	look->group = strdup(group_id);
	look->metadata = calloc(Max(ntopics, 1), sizeof(struct rd_kafka_metadata *));
	if (look->group == NULL || look->metadata == NULL)
		return false;
	look->ntopics = ntopics;
	if (asks_for_all(topics, ntopics))
		return true;
	look->topics = calloc(Max(ntopics, 1), sizeof(char *));
	for (int i = 0; look->topics != NULL && i < ntopics; i++)
	{
		if ((look->topics[i] = strdup(topics[i])) == NULL)
			return false;
	}
	return look->topics != NULL;
}

static Look *
create_look(DjkConsumer *consumer, const char *group_id, const char *const *topics, int ntopics, int timeout_ms)
{
	Look	   *look = calloc(1, sizeof(Look));

	if (look == NULL || !fill_look(look, group_id, topics, ntopics))
	{
		if (look != NULL)
			discard_look(look);
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	look->rk = consumer->handle->rk;
	look->timeout_ms = timeout_ms;
	return look;
}

/* ---------- reading the answer ---------- */

/* Bytes that somebody sent, and what is left of them. */
typedef struct Bytes
{
	const unsigned char *at;
	int			left;
} Bytes;

/* A big-endian number of 2 or 4 bytes, -1 if there are none left. */
static int32
take_number(Bytes *bytes, int size)
{
	uint32		number = 0;

	if (bytes->left < size)
	{
		bytes->left = 0;
		return -1;
	}
	for (int i = 0; i < size; i++)
		number = number << 8 | bytes->at[i];
	bytes->at += size;
	bytes->left -= size;
	return size == 2 ? (int16) number : (int32) number;
}

/* NULL if it is none, or longer than a topic's name. */
static char *
take_topic(Bytes *bytes)
{
	int			length = take_number(bytes, 2);
	char	   *name;

	if (length < 0 || length > DJK_TOPIC_MAX || length > bytes->left)
	{
		bytes->left = 0;
		return NULL;
	}
	name = pnstrdup((const char *) bytes->at, length);
	bytes->at += length;
	bytes->left -= length;
	return name;
}

/* An assignment: version, then topics with the numbers of their partitions, and what is the leader's own. */
static void
read_assignment(DjkGroupMember *member, const void *data, int size)
{
	Bytes		bytes = {data, size};
	int			room = Max(size / 4, 1);	/* no partition takes less */
	int			ntopics;

	(void) take_number(&bytes, 2);
	ntopics = take_number(&bytes, 4);
	member->partitions = palloc0(room * sizeof(DjkTopicPartition));
	for (int i = 0; i < ntopics && bytes.left > 0; i++)
	{
		char	   *topic = take_topic(&bytes);
		int			n = take_number(&bytes, 4);

		for (int j = 0; j < n && bytes.left >= 4; j++)
		{
			DjkTopicPartition *partition = &member->partitions[member->npartitions++];

			partition->topic = topic;
			partition->partition = take_number(&bytes, 4);
			partition->offset = DJK_OFFSET_UNKNOWN;
		}
	}
}

static char *
copy_text(const char *text)
{
	return text != NULL && text[0] != '\0' ? djk_kafka_text(text) : NULL;
}

static void
read_group(DjkGroupView *view, const struct rd_kafka_group_info *group)
{
	for (int i = 0; i < group->member_cnt; i++)
	{
		const struct rd_kafka_group_member_info *from = &group->members[i];
		DjkGroupMember *to = &view->members[view->nmembers++];

		to->member_id = djk_kafka_text(from->member_id ? from->member_id : "");
		to->client_id = copy_text(from->client_id);
		to->host = copy_text(from->client_host);
		if (from->member_assignment != NULL && from->member_assignment_size > 0)
			read_assignment(to, from->member_assignment, from->member_assignment_size);
	}
	if (group->member_cnt > 0)
	{
		view->settled = group->state != NULL && strcmp(group->state, "Stable") == 0;
		view->strategy = copy_text(group->protocol);
	}
}

static void
read_brokers(DjkGroupView *view, const struct rd_kafka_metadata *metadata)
{
	view->nbrokers = metadata->broker_cnt;
	view->brokers = palloc(Max(view->nbrokers, 1) * sizeof(DjkBrokerInfo));
	for (int i = 0; i < view->nbrokers; i++)
	{
		view->brokers[i].id = metadata->brokers[i].id;
		view->brokers[i].address = psprintf("%s:%d", djk_kafka_text(metadata->brokers[i].host),
											metadata->brokers[i].port);
	}
}

static void
read_topics(DjkGroupView *view, const Look *look)
{
	int			n = 0;

	for (int i = 0; i < look->nmetadata; i++)
		n += look->metadata[i]->topic_cnt;
	view->topics = palloc0(Max(n, 1) * sizeof(DjkTopicInfo));
	for (int i = 0; i < look->nmetadata; i++)
		for (int j = 0; j < look->metadata[i]->topic_cnt; j++)
			djk_topic_info_fill(&view->topics[view->ntopics++], &look->metadata[i]->topics[j]);
	read_brokers(view, look->metadata[0]);
	view->topics_known = true;
}

static DjkGroupView *
read_look(const Look *look)
{
	DjkGroupView *view = palloc0(sizeof(DjkGroupView));
	int			n = 0;

	view->answered = look->group_code == RD_KAFKA_RESP_ERR_NO_ERROR;
	if (!view->answered)
	{
		djk_kafka_error_fill(&view->error, look->group_code, NULL);
		return view;
	}
	for (int i = 0; i < look->groups->group_cnt; i++)
		n += look->groups->groups[i].member_cnt;
	view->members = palloc0(Max(n, 1) * sizeof(DjkGroupMember));
	for (int i = 0; i < look->groups->group_cnt; i++)
		read_group(view, &look->groups->groups[i]);
	if (look->ntopics > 0 && look->topics_code == RD_KAFKA_RESP_ERR_NO_ERROR)
		read_topics(view, look);
	return view;
}

/* ---------- looking ---------- */

DjkGroupView *
djk_consumer_look(DjkConsumer *consumer, const char *group_id, const char *const *topics, int ntopics,
				  int timeout_ms)
{
	Look	   *look = create_look(consumer, group_id, topics, ntopics, timeout_ms);
	DjkGroupView *view;

	if (!djk_handle_call(consumer->handle, run_look, discard_look, look, 2 * timeout_ms + GRACE_MS))
	{
		view = palloc0(sizeof(DjkGroupView));
		djk_kafka_error_fill(&view->error, RD_KAFKA_RESP_ERR__TIMED_OUT, NULL);
		return view;
	}
	view = read_look(look);
	discard_look(look);
	return view;
}

DjkGroupLook *
djk_consumer_look_start(DjkConsumer *consumer, const char *group_id, const char *const *topics, int ntopics,
						int timeout_ms)
{
	DjkGroupLook *started = MemoryContextAlloc(consumer->context, sizeof(DjkGroupLook));

	started->look = create_look(consumer, group_id, topics, ntopics, timeout_ms);
	started->call = djk_handle_start(consumer->handle, run_look, discard_look, started->look);
	if (started->call != NULL)
		return started;
	pfree(started);
	return NULL;
}

DjkGroupView *
djk_consumer_look_take(DjkGroupLook *started)
{
	Look	   *look = started->look;
	DjkGroupView *view;

	if (!djk_call_ended(started->call))
		return NULL;
	pfree(started);
	view = read_look(look);
	discard_look(look);
	return view;
}
