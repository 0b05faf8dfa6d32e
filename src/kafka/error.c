/*-------------------------------------------------------------------------
 *
 * error.c
 *	  Errors of librdkafka: what they mean for us, and how they are reported.
 *
 * The library has some two hundred codes.  A worker needs to know five things
 * about one: start again, wait, ask a person, wait for the topic, or change the
 * credentials.  Whatever is not listed is informative: it is shown, and the
 * library goes on by itself.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/error.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

/* Newer than the oldest library that we build with. */
#define ERR_UNKNOWN_TOPIC_ID	100

DjkConsumerErrorClass
djk_kafka_error_classify(rd_kafka_resp_err_t code)
{
	switch ((int) code)
	{
		case RD_KAFKA_RESP_ERR__FATAL:
		case RD_KAFKA_RESP_ERR__FENCED:
		case RD_KAFKA_RESP_ERR__DESTROY:
		case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
			return DJK_KAFKA_FATAL;

		case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
		case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
			return DJK_KAFKA_OUT_OF_RANGE;

		case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
		case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
		case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
		case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
		case ERR_UNKNOWN_TOPIC_ID:
			return DJK_KAFKA_UNKNOWN_TOPIC;

		case RD_KAFKA_RESP_ERR__AUTHENTICATION:
		case RD_KAFKA_RESP_ERR__SSL:
		case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
		case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
		case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
			return DJK_KAFKA_DENIED;

		case RD_KAFKA_RESP_ERR__TRANSPORT:
		case RD_KAFKA_RESP_ERR__RESOLVE:
		case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
		case RD_KAFKA_RESP_ERR__TIMED_OUT:
		case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
		case RD_KAFKA_RESP_ERR__WAIT_COORD:
		case RD_KAFKA_RESP_ERR__WAIT_CACHE:
		case RD_KAFKA_RESP_ERR__NODE_UPDATE:
		case RD_KAFKA_RESP_ERR__OUTDATED:
		case RD_KAFKA_RESP_ERR__IN_PROGRESS:
		case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
		case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
		case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
		case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
		case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
		case RD_KAFKA_RESP_ERR_NOT_CONTROLLER:
		case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
		case RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH:
		case RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH:
		case RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_PREFERRED_LEADER_NOT_AVAILABLE:
		case RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT:
			return DJK_KAFKA_RETRIABLE;

		default:
			/* The group's affairs (MAX_POLL_EXCEEDED, ILLEGAL_GENERATION) too: the library joins it again. */
			return DJK_KAFKA_OTHER;
	}
}

DjkConsumerErrorClass
djk_kafka_error_classify_client(rd_kafka_resp_err_t code)
{
	return code == RD_KAFKA_RESP_ERR__BAD_MSG ? DJK_KAFKA_RETRIABLE : djk_kafka_error_classify(code);
}

rd_kafka_resp_err_t
djk_kafka_error_code(rd_kafka_event_t *rkev)
{
	rd_kafka_resp_err_t code = rd_kafka_event_error(rkev);
	const char *text = rd_kafka_event_error_string(rkev);

	if (code == RD_KAFKA_RESP_ERR__TRANSPORT && text != NULL &&
		strstr(text, "in state SSL_HANDSHAKE") != NULL && strstr(text, "timed out") == NULL)
		return RD_KAFKA_RESP_ERR__SSL;
	return code;
}

int
djk_kafka_error_sqlstate(DjkConsumerErrorClass error_class)
{
	switch (error_class)
	{
		case DJK_KAFKA_RETRIABLE:
			return DJK_ERRCODE_UNREACHABLE;
		case DJK_KAFKA_UNKNOWN_TOPIC:
			return ERRCODE_UNDEFINED_OBJECT;
		default:
			return DJK_ERRCODE_KAFKA;
	}
}

static const char *
hint_for(rd_kafka_resp_err_t code)
{
	/* Names are those of a home: nobody else has them. */
	if (code == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID)
		return "Another server reads as this consumer: mostly a copy of this database, an old primary or a backup that was opened. Stop one of the two, or see \"Copies of a database\" in the documentation.";
	switch (djk_kafka_error_classify(code))
	{
		case DJK_KAFKA_RETRIABLE:
			return "Check that the brokers run, that bootstrap_servers names them, and that the addresses they advertise can be reached from the database server.";
		case DJK_KAFKA_DENIED:
			return "Check security_protocol, the credentials, and the rights that Kafka grants to them.";
		case DJK_KAFKA_UNKNOWN_TOPIC:
			return "Create the topic, or see djkafka_topics() for those that exist.";
		default:
			return NULL;
	}
}

/* One character of UTF-8 where the server takes it, else its bytes in hex; returns its length. */
static int
append_character(StringInfo buf, const char *text, int len)
{
	int			encoding = GetDatabaseEncoding();
	int			valid = pg_encoding_verifymbchar(PG_UTF8, text, len);
	int			n = Max(valid, 1);

	if (valid == 1 || (valid > 1 && (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)))
		appendBinaryStringInfo(buf, text, valid);
	else
	{
		for (int i = 0; i < n; i++)
			appendStringInfo(buf, "\\x%02x", (unsigned char) text[i]);
	}
	return n;
}

char *
djk_kafka_text(const char *text)
{
	int			len = (int) strlen(text);
	bool		is_utf8 = pg_encoding_verifymbstr(PG_UTF8, text, len) == len;
	StringInfoData buf;

	/* What is no UTF-8 is quoted from our own settings, if it is text of the server. */
	if (!is_utf8 && pg_verify_mbstr(GetDatabaseEncoding(), text, len, true))
		return pstrdup(text);
	initStringInfo(&buf);
	while (len > 0)
	{
		int			n = append_character(&buf, text, len);

		text += n;
		len -= n;
	}
	return buf.data;
}

void
djk_kafka_error_fill(DjkError *error, rd_kafka_resp_err_t code, const char *text)
{
	DjkConsumerErrorClass error_class = djk_kafka_error_classify(code);
	const char *hint = hint_for(code);

	error->sqlstate = djk_kafka_error_sqlstate(error_class);
	if (text != NULL && text[0] != '\0')
		error->message = djk_kafka_text(text);
	else if (error_class == DJK_KAFKA_RETRIABLE)
		error->message = psprintf("Kafka does not answer: %s", rd_kafka_err2str(code));
	else
		error->message = psprintf("Kafka refuses: %s", rd_kafka_err2str(code));
	error->detail = psprintf("librdkafka's error is %s.", rd_kafka_err2name(code));
	error->hint = hint ? pstrdup(hint) : NULL;
	error->name = pstrdup(rd_kafka_err2name(code));
}

const char *
djk_kafka_closed_connection(const char *facility, const char *text)
{
	const char *end_of_thread = strstr(text, "]: ");	/* "[thrd:…]: address: …" */

	if (strcmp(facility, "FAIL") != 0 || strstr(text, "isconnected") == NULL ||
		strstr(text, "security.protocol") == NULL)
		return NULL;
	return end_of_thread != NULL ? end_of_thread + strlen("]: ") : text;
}

/* "…: Disconnected (after 2102ms in state UP)"; a listener of SASL that is spoken to without it may be there as well. */
bool
djk_kafka_is_hangup(rd_kafka_resp_err_t code, const char *text)
{
	return code == RD_KAFKA_RESP_ERR__TRANSPORT && text != NULL && strstr(text, "isconnected") != NULL &&
		strstr(text, "in state UP") != NULL && strstr(text, "security.protocol") == NULL;
}

void
djk_kafka_error_throw(rd_kafka_resp_err_t code, const char *text, const char *action)
{
	DjkConsumerErrorClass error_class = djk_kafka_error_classify(code);
	const char *hint = hint_for(code);

	ereport(ERROR,
			(errcode(djk_kafka_error_sqlstate(error_class)),
			 errmsg("could not %s: %s", action,
					text != NULL && text[0] != '\0' ? djk_kafka_text(text) : rd_kafka_err2str(code)),
			 hint ? errhint("%s", hint) : 0));
	pg_unreachable();
}
