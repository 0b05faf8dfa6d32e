/*
 * bare_producer.c: a file's messages to a topic by nothing but librdkafka.
 *
 *	bare_producer SERVERS TOPIC FILE
 *
 * FILE has a line for each message, its key and its value with a tab between
 * them.  Idempotent as the outbox's producer is, lz4, and otherwise as the
 * library comes.  The messages are in memory when the clock starts, and are not
 * copied; it stops at the last acknowledgement.  Prints the seconds.
 */
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static long acknowledged;

static void
fail(const char *what, const char *detail)
{
	fprintf(stderr, "%s: %s\n", what, detail);
	exit(1);
}

static void
take_report(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void) rk;
	(void) opaque;
	if (message->err)
		fail("a message was refused", rd_kafka_err2str(message->err));
	acknowledged++;
}

static char *
read_file(const char *name, size_t *size)
{
	FILE	   *file = fopen(name, "rb");
	struct stat status;
	char	   *bytes;

	if (file == NULL || fstat(fileno(file), &status) != 0)
		fail("could not open", name);
	*size = status.st_size;
	bytes = malloc(*size);
	if (bytes == NULL || fread(bytes, 1, *size, file) != *size)
		fail("could not read", name);
	fclose(file);
	return bytes;
}

static rd_kafka_t *
create_producer(const char *servers)
{
	static const char *const properties[][2] = {
		{"enable.idempotence", "true"},
		{"enable.gapless.guarantee", "true"},
		{"acks", "all"},
		{"compression.type", "lz4"},
		{"log_level", "3"},
	};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	char		text[512];

	if (rd_kafka_conf_set(conf, "bootstrap.servers", servers, text, sizeof(text)) != RD_KAFKA_CONF_OK)
		fail("could not configure", text);
	for (size_t i = 0; i < sizeof(properties) / sizeof(properties[0]); i++)
		if (rd_kafka_conf_set(conf, properties[i][0], properties[i][1], text, sizeof(text)) != RD_KAFKA_CONF_OK)
			fail("could not configure", text);
	rd_kafka_conf_set_dr_msg_cb(conf, take_report);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
	if (rk == NULL)
		fail("could not make a producer", text);
	return rk;
}

static void
produce(rd_kafka_t *rk, rd_kafka_topic_t *topic, char *key, size_t nkey, char *value, size_t nvalue)
{
	while (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, 0, value, nvalue, key, nkey, NULL) != 0)
	{
		if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			fail("could not produce", rd_kafka_err2str(rd_kafka_last_error()));
		rd_kafka_poll(rk, 10);
	}
}

static long
produce_all(rd_kafka_t *rk, rd_kafka_topic_t *topic, char *bytes, size_t size)
{
	long		count = 0;

	for (char *line = bytes; line < bytes + size; count++)
	{
		char	   *end = memchr(line, '\n', bytes + size - line);
		char	   *tab = end ? memchr(line, '\t', end - line) : NULL;

		if (tab == NULL)
			fail("a line is not as it should be", "no tab or no end");
		produce(rk, topic, line, tab - line, tab + 1, end - tab - 1);
		if (count % 1000 == 0)
			rd_kafka_poll(rk, 0);
		line = end + 1;
	}
	return count;
}

int
main(int argc, char **argv)
{
	const struct rd_kafka_metadata *metadata;
	struct timespec start;
	struct timespec stop;
	rd_kafka_topic_t *topic;
	rd_kafka_t *rk;
	size_t		size;
	char	   *bytes;
	long		count;

	if (argc != 4)
		fail("usage", "bare_producer SERVERS TOPIC FILE");
	bytes = read_file(argv[3], &size);
	rk = create_producer(argv[1]);
	topic = rd_kafka_topic_new(rk, argv[2], NULL);
	if (topic == NULL || rd_kafka_metadata(rk, 0, topic, &metadata, 10000) != RD_KAFKA_RESP_ERR_NO_ERROR)
		fail("could not reach the topic", argv[2]);
	rd_kafka_metadata_destroy(metadata);

	clock_gettime(CLOCK_MONOTONIC, &start);
	count = produce_all(rk, topic, bytes, size);
	while (acknowledged < count)
		rd_kafka_poll(rk, 100);
	clock_gettime(CLOCK_MONOTONIC, &stop);
	printf("%.6f\n", (stop.tv_sec - start.tv_sec) + (stop.tv_nsec - start.tv_nsec) / 1e9);
	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(rk);
	free(bytes);
	return 0;
}
