/*-------------------------------------------------------------------------
 *
 * fetch.c
 *	  A schema of a registry, with those that it names.
 *
 * A schema may name others by subject and version, and these others in turn: each
 * is asked for once, and all are given in an order in which each comes before those
 * that name it.  How many there are, and how large they are together, is bounded.
 *
 * What a registry says is hostile: what is not understood is a reason to wait, and
 * no fault of a message's.  Of several addresses each is asked until one has what is
 * wanted; it is absent if none has it, and one at least says so.
 *
 * Older registries, and others' than Confluent's, know no GUIDs, and say of the path
 * what they say of any that is none of theirs.  Whether it is a registry that says so
 * is asked by a question that all of them answer: then it has no such schema.
 *
 *-------------------------------------------------------------------------
 */
#include "registry/fetch.h"

#include <jansson.h>

#include "base/clock.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Schemas that one names, those that these name included, and bytes of all together. */
#define SCHEMAS_MAX		200
#define BYTES_MAX		(16 * 1024 * 1024)

/* Bytes of what a registry says that are shown. */
#define SHOWN_MAX		200

/* Bytes of what several addresses have answered; what goes beyond is left out. */
#define REASONS_MAX		1500

/* Values in one answer; a schema is one string. */
#define VALUES_MAX		100000

/* What every registry answers: with names of formats, or a schema, or that it has none. */
static const char *const controls[] = {"/schemas/types", "/schemas/ids/1"};

/* Codes of what a registry lacks: subject, version, schema; and what was deleted. */
#define ABSENT_FIRST	40401
#define ABSENT_LAST		40404

/* One schema; the first is the one that is wanted, and all others are named. */
typedef struct Named
{
	char	   *subject;		/* NULL: of the first */
	int64		version;
	char	   *text;			/* NULL: it was not asked for yet */
	int		   *names;			/* nodes that it names */
	int			nnames;
	bool		is_placed;		/* in the order */
	bool		is_entered;
} Named;

struct DjkFetch
{
	MemoryContext context;
	MemoryContextCallback callback;
	DjkHttpAccess *access;
	DjkSchemaKey key;
	DjkHttpRequest *request;	/* for nodes[asked]; NULL: none is under way */
	Named	   *nodes;
	int			nnodes;
	int			asked;
	int			first;			/* the address that was asked for it first, */
	int			turn;			/* … behind which so many have been passed by */
	int			control;		/* … and, if not -1, by which question whether it is a registry's */
	char	   *unknown;		/* what it has said before that */
	StringInfoData reasons;		/* of addresses that have not answered, or as none does, for nodes[asked] */
	char	   *absent;			/* why it is absent, for an address has said so; NULL: none has */
	int			absent_at;
	size_t		bytes;
	DjkFetchStatus status;
	DjkSchemaText found;
	char	   *reason;
};

/* ---------- outcomes ---------- */

static DjkFetchStatus
fail(DjkFetch *fetch, char *reason)
{
	fetch->reason = reason;
	return fetch->status = DJK_FETCH_FAILED;
}

/* What an answer is about. */
static char *
describe(const DjkFetch *fetch)
{
	const Named *node = &fetch->nodes[fetch->asked];

	if (node->subject == NULL)
		return djk_schema_describe(&fetch->key);
	return psprintf("version " INT64_FORMAT " of subject \"%s\", which %s names", node->version,
					djk_http_printable(node->subject, strlen(node->subject), SHOWN_MAX), djk_schema_describe(&fetch->key));
}

static char *
misunderstood(const DjkFetch *fetch, const DjkHttpAnswer *answer, const char *what)
{
	return psprintf("%s: the answer for %s is not understood: %s", answer->reason, describe(fetch), what);
}

/* ---------- nodes ---------- */

/* The node of a subject's version, made if need be; -1: there are too many. */
static int
find_node(DjkFetch *fetch, const char *subject, int64 version)
{
	Named	   *node;

	for (int i = 1; i < fetch->nnodes; i++)
	{
		if (fetch->nodes[i].version == version && strcmp(fetch->nodes[i].subject, subject) == 0)
			return i;
	}
	if (fetch->nnodes == SCHEMAS_MAX)
		return -1;
	node = &fetch->nodes[fetch->nnodes];
	node->subject = pstrdup(subject);
	node->version = version;
	return fetch->nnodes++;
}

/* NULL, or what is not understood. */
static const char *
take_references(DjkFetch *fetch, Named *node, json_t *references)
{
	size_t		i;
	json_t	   *reference;

	if (references == NULL || json_is_null(references))
		return NULL;
	if (!json_is_array(references) || json_array_size(references) > SCHEMAS_MAX)
		return "it has no list of references, or one that is too long";
	node->names = palloc(Max(json_array_size(references), 1) * sizeof(int));
	json_array_foreach(references, i, reference)
	{
		json_t	   *subject = json_object_get(reference, "subject");
		json_t	   *version = json_object_get(reference, "version");
		int			n;

		if (!json_is_string(subject) || !json_is_integer(version))
			return "a reference has no subject or no version";
		if ((n = find_node(fetch, json_string_value(subject), json_integer_value(version))) < 0)
			return "it names more than " CppAsString2(SCHEMAS_MAX) " schemas";
		node->names[node->nnames++] = n;
	}
	return NULL;
}

/* Whether a rule of these has fields encrypted. */
static bool
encrypts(json_t *rules)
{
	size_t		i;
	json_t	   *rule;

	json_array_foreach(rules, i, rule)
	{
		json_t	   *type = json_object_get(rule, "type");

		if (json_is_string(type) && pg_strncasecmp(json_string_value(type), "ENCRYPT", 7) == 0 &&
			!json_is_true(json_object_get(rule, "disabled")))
			return true;
	}
	return false;
}

/* NULL, or what is not understood. */
static const char *
take_schema(DjkFetch *fetch, json_t *answer)
{
	Named	   *node = &fetch->nodes[fetch->asked];
	json_t	   *text = json_object_get(answer, "schema");
	json_t	   *type = json_object_get(answer, "schemaType");
	json_t	   *rules = json_object_get(answer, "ruleSet");

	if (type != NULL && !json_is_null(type) && !json_is_string(type))
		return "its schemaType is no string";
	if ((fetch->bytes += json_string_length(text)) > BYTES_MAX)
		return "the schemas that it names are larger than 16 MB together";
	node->text = pstrdup(json_string_value(text));
	if (fetch->asked == 0)
	{
		fetch->found.type = json_is_string(type) ? djk_http_printable(json_string_value(type), json_string_length(type), SHOWN_MAX)
			: pstrdup("AVRO");
		fetch->found.is_encrypted = encrypts(json_object_get(rules, "domainRules")) ||
			encrypts(json_object_get(rules, "encodingRules"));
	}
	return take_references(fetch, node, json_object_get(answer, "references"));
}

/* ---------- the order ---------- */

/* Those that it names come before it.  False: it names itself, by way of others. */
static bool
place(DjkFetch *fetch, int n)
{
	Named	   *node = &fetch->nodes[n];

	if (node->is_placed)
		return true;
	if (node->is_entered)
		return false;
	node->is_entered = true;
	for (int i = 0; i < node->nnames; i++)
	{
		if (!place(fetch, node->names[i]))
			return false;
	}
	node->is_placed = true;
	if (n > 0)
		fetch->found.references[fetch->found.nreferences++] = node->text;
	return true;
}

static DjkFetchStatus
complete(DjkFetch *fetch, const DjkHttpAnswer *answer)
{
	fetch->asked = 0;
	fetch->found.text = fetch->nodes[0].text;
	fetch->found.references = palloc(fetch->nnodes * sizeof(char *));
	if (!place(fetch, 0))
		return fail(fetch, misunderstood(fetch, answer, "the schemas that it names name each other in a circle"));
	return fetch->status = DJK_FETCH_FOUND;
}

/* ---------- asking ---------- */

static char *
path_of(const DjkFetch *fetch)
{
	const Named *node = &fetch->nodes[fetch->asked];

	if (fetch->control >= 0)
		return pstrdup(controls[fetch->control]);
	if (node->subject != NULL)
		return psprintf("/subjects/%s/versions/" INT64_FORMAT "?deleted=true", djk_http_escape(node->subject), node->version);
	/* Registries count in 32 bits with a sign: what is beyond is a negative number, which none has. */
	return fetch->key.by_guid ? psprintf("/schemas/guids/%s", djk_schema_guid_text(&fetch->key)) :
		psprintf("/schemas/ids/%d", (int32) fetch->key.id);
}

/* Other fetches change meanwhile which is the first. */
static int
address_of(const DjkFetch *fetch)
{
	return (fetch->first + fetch->turn) % djk_http_count(fetch->access);
}

static DjkFetchStatus
ask(DjkFetch *fetch)
{
	fetch->request = djk_http_get(fetch->access, address_of(fetch), path_of(fetch));
	if (fetch->request == NULL)
		return fail(fetch, pstrdup("there is no memory, or no thread, to ask the registry"));
	return fetch->status;
}

/* Asks the first address for the next. */
static DjkFetchStatus
begin_node(DjkFetch *fetch)
{
	fetch->first = djk_http_first(fetch->access);
	fetch->turn = 0;
	fetch->control = -1;
	resetStringInfo(&fetch->reasons);
	fetch->absent = NULL;
	return ask(fetch);
}

/* No address has it. */
static DjkFetchStatus
give_up(DjkFetch *fetch)
{
	if (fetch->absent == NULL)
		return fail(fetch, pstrdup(fetch->reasons.data));
	djk_http_prefer(fetch->access, fetch->absent_at);
	fetch->reason = fetch->absent;
	return fetch->status = DJK_FETCH_ABSENT;
}

static DjkFetchStatus
ask_next(DjkFetch *fetch)
{
	fetch->control = -1;
	if (++fetch->turn == djk_http_count(fetch->access))
		return give_up(fetch);
	return ask(fetch);
}

/* The address is of no use for this one. */
static DjkFetchStatus
pass_by(DjkFetch *fetch, const char *reason)
{
	if (fetch->reasons.len + strlen(reason) < REASONS_MAX || fetch->reasons.len == 0)
		appendStringInfo(&fetch->reasons, "%s%s", fetch->reasons.len > 0 ? "; " : "", reason);
	return ask_next(fetch);
}

/* A registry says that it has none. */
static DjkFetchStatus
note_absent(DjkFetch *fetch, char *reason)
{
	if (fetch->absent == NULL)
	{
		fetch->absent = reason;
		fetch->absent_at = address_of(fetch);
	}
	return ask_next(fetch);
}

/* What is known by now is the answer, or leads to the next question. */
static DjkFetchStatus
go_on(DjkFetch *fetch, const DjkHttpAnswer *answer)
{
	djk_http_prefer(fetch->access, address_of(fetch));
	if (++fetch->asked == fetch->nnodes)
		return complete(fetch, answer);
	return begin_node(fetch);
}

/* ---------- answers ---------- */

/*
 * Whether an answer has no more values than any of a registry's.  In memory each takes
 * some fifty times as much as "[]," does.
 */
static bool
has_few_values(const char *json)
{
	int			n = 0;

	for (const char *c = json; *c != '\0' && n <= VALUES_MAX; c++)
	{
		n += *c == ',' || *c == '[' || *c == '{';
		if (*c != '"')
			continue;
		for (c++; *c != '"' && *c != '\0'; c++)
			c += *c == '\\' && c[1] != '\0';
		if (*c == '\0')
			break;
	}
	return n <= VALUES_MAX;
}

/* NULL: it is no JSON, or too much of it. */
static json_t *
read_json(const DjkHttpAnswer *answer)
{
	json_error_t where;

	if (answer->body != NULL && !has_few_values(answer->body))
		return NULL;
	return json_loadb(answer->body ? answer->body : "", answer->len, 0, &where);
}

/* What a registry says beside its status; NULL: nothing. */
static char *
message_of(json_t *json)
{
	json_t	   *message = json_object_get(json, "message");

	return json_is_string(message) && json_string_length(message) > 0 ?
		djk_http_printable(json_string_value(message), json_string_length(message), SHOWN_MAX) : NULL;
}

/* Unlike others who answer 404. */
static bool
says_absent(const DjkHttpAnswer *answer, json_t *json)
{
	json_int_t	code = json_integer_value(json_object_get(json, "error_code"));

	return answer->status == 404 && code >= ABSENT_FIRST && code <= ABSENT_LAST;
}

/*
 * Whether it may be of somebody who knows no such path: neither that it is away for a
 * while, nor that it wants to know who asks.
 */
static bool
may_not_know_path(const DjkHttpAnswer *answer)
{
	switch (answer->status)
	{
		case 0:
		case 401:
		case 403:
		case 407:
		case 408:
		case 425:
		case 429:
			return false;
		default:
			return answer->status < 500 || answer->status == 501;
	}
}

/* One that is of no use: by GUID it may be that the registry knows none. */
static DjkFetchStatus
take_useless(DjkFetch *fetch, const DjkHttpAnswer *answer, char *reason)
{
	if (!fetch->key.by_guid || fetch->asked > 0 || !may_not_know_path(answer))
		return pass_by(fetch, reason);
	fetch->unknown = reason;
	fetch->control = 0;
	return ask(fetch);
}

/* One that cannot be used leaves nothing behind: the next address may say something else. */
static const char *
try_schema(DjkFetch *fetch, json_t *json)
{
	int			nnodes = fetch->nnodes;
	size_t		bytes = fetch->bytes;
	const char *fault = take_schema(fetch, json);

	if (fault == NULL)
		return NULL;
	fetch->nnodes = nnodes;
	fetch->bytes = bytes;
	fetch->nodes[fetch->asked].nnames = 0;
	return fault;
}

static DjkFetchStatus
take_found(DjkFetch *fetch, const DjkHttpAnswer *answer, json_t *json)
{
	const char *fault;

	if (!json_is_object(json))
		return take_useless(fetch, answer, misunderstood(fetch, answer, "it is no object of JSON"));
	if (!json_is_string(json_object_get(json, "schema")))
		return take_useless(fetch, answer, misunderstood(fetch, answer, "it has no schema"));
	fault = try_schema(fetch, json);
	return fault != NULL ? pass_by(fetch, misunderstood(fetch, answer, fault)) : go_on(fetch, answer);
}

static DjkFetchStatus
take_refused(DjkFetch *fetch, const DjkHttpAnswer *answer, json_t *json)
{
	char	   *message = message_of(json);

	if (says_absent(answer, json))
		return note_absent(fetch, psprintf("the registry has no %s", describe(fetch)));
	return take_useless(fetch, answer, message != NULL ? psprintf("%s: %s", answer->reason, message) : answer->reason);
}

/* Whether a list holds nothing but names, of one format at least. */
static bool
is_list_of_names(json_t *json)
{
	size_t		i;
	json_t	   *name;

	json_array_foreach(json, i, name)
	{
		if (!json_is_string(name))
			return false;
	}
	return json_array_size(json) > 0;
}

/* What has been said of the GUID counts if it is a registry that has said it. */
static DjkFetchStatus
take_control(DjkFetch *fetch, const DjkHttpAnswer *answer, json_t *json)
{
	if (says_absent(answer, json) ||
		(answer->status == 200 && (is_list_of_names(json) || json_is_string(json_object_get(json, "schema")))))
		return note_absent(fetch, psprintf("the registry knows no GUIDs, so it has no %s (%s)", describe(fetch), fetch->unknown));
	if (++fetch->control < lengthof(controls))
		return ask(fetch);
	return pass_by(fetch, fetch->unknown);
}

static DjkFetchStatus
take_answer(DjkFetch *fetch, const DjkHttpAnswer *answer)
{
	json_t	   *json;

	if (answer->status == 0)
		return pass_by(fetch, fetch->control >= 0 ? fetch->unknown : answer->reason);
	json = read_json(answer);
	if (fetch->control >= 0)
		(void) take_control(fetch, answer, json);
	else if (answer->status == 200)
		(void) take_found(fetch, answer, json);
	else
		(void) take_refused(fetch, answer, json);
	json_decref(json);
	return fetch->status;
}

/* ---------- the fetch ---------- */

static void
abandon(void *arg)
{
	DjkFetch   *fetch = arg;

	if (fetch->request != NULL)
		djk_http_abandon(fetch->request);
	fetch->request = NULL;
}

DjkFetch *
djk_fetch_begin(DjkHttpAccess *access, const DjkSchemaKey *key, MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "djkafka fetch of a schema", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DjkFetch   *fetch = palloc0(sizeof(DjkFetch));

	fetch->context = context;
	fetch->access = access;
	fetch->key = *key;
	fetch->nodes = palloc0(SCHEMAS_MAX * sizeof(Named));
	fetch->nnodes = 1;
	initStringInfo(&fetch->reasons);
	fetch->callback.func = abandon;
	fetch->callback.arg = fetch;
	MemoryContextRegisterResetCallback(context, &fetch->callback);
	(void) begin_node(fetch);
	MemoryContextSwitchTo(old);
	return fetch;
}

DjkFetchStatus
djk_fetch_wait(DjkFetch *fetch, double until_ms)
{
	DjkHttpAnswer answer;
	MemoryContext old = MemoryContextSwitchTo(fetch->context);

	while (fetch->status == DJK_FETCH_PENDING && djk_http_wait(fetch->request, until_ms, &answer))
	{
		fetch->request = NULL;
		(void) take_answer(fetch, &answer);
		if (answer.body != NULL)
			pfree(answer.body);
	}
	MemoryContextSwitchTo(old);
	return fetch->status;
}

DjkFetchStatus
djk_fetch_finish(DjkFetch *fetch, double until_ms)
{
	DjkFetchStatus status;

	while ((status = djk_fetch_wait(fetch, until_ms)) == DJK_FETCH_PENDING && djk_clock_ms() < until_ms)
		CHECK_FOR_INTERRUPTS();
	return status;
}

const DjkSchemaText *
djk_fetch_text(const DjkFetch *fetch)
{
	return &fetch->found;
}

const char *
djk_fetch_reason(const DjkFetch *fetch)
{
	return fetch->status == DJK_FETCH_PENDING ? "the registry has not answered yet" : fetch->reason;
}

void
djk_fetch_end(DjkFetch *fetch)
{
	MemoryContextDelete(fetch->context);
}
