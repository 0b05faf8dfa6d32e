/*-------------------------------------------------------------------------
 *
 * message_type.c
 *	  Which types of messages a route takes, in formats whose messages say their
 *	  type, and perhaps its version.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/message_type.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

/* Bytes of a number that is no integer, and may be a version nevertheless. */
#define NUMBER_MAX		60

/* A number as JSON has it, or a string. */
typedef struct Version
{
	DjkFieldKind kind;
	char	   *text;
	int			len;
} Version;

typedef struct MessageType
{
	char	   *name;
	int			len;
	bool		is_ignored;
	Version    *versions;		/* NULL: all of them */
	int			nversions;
} MessageType;

struct DjkMessageTypes
{
	MessageType *types;
	int			ntypes;
};

/* ---------- reading the option ---------- */

pg_noreturn static void
refuse(const char *detail, bool has_versions)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid message_types"),
			 errdetail("%s", detail),
			 has_versions ?
			 errhint("Write an array of types, or an object of type -> a version, an array of versions, true (all of them) or false (ignored), such as {\"person\": [1, 2], \"ping\": false}.") :
			 errhint("Write an array of types, or an object of type -> true, or false (ignored), such as {\"person\": true, \"ping\": false}.")));
}

static MessageType *
add_type(DjkMessageTypes *types, const JsonbValue *name)
{
	MessageType *type = &types->types[types->ntypes++];

	memset(type, 0, sizeof(*type));
	type->name = pnstrdup(name->val.string.val, name->val.string.len);
	type->len = name->val.string.len;
	return type;
}

static void
add_version(MessageType *type, const JsonbValue *value)
{
	Version    *version = &type->versions[type->nversions++];

	if (value->type == jbvString)
	{
		version->kind = DJK_FIELD_STRING;
		version->text = pnstrdup(value->val.string.val, value->val.string.len);
	}
	else if (value->type == jbvNumeric)
	{
		version->kind = DJK_FIELD_NUMBER;
		version->text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	}
	else
		refuse(psprintf("A version of \"%s\" is neither a number nor a string.", type->name), true);
	version->len = strlen(version->text);
}

/* What stands beside the name of a type. */
static void
read_versions(MessageType *type, const JsonbValue *value, bool has_versions)
{
	JsonbContainer *array = value->type == jbvBinary ? value->val.binary.data : NULL;
	int			n = array != NULL && JsonContainerIsArray(array) ? (int) JsonContainerSize(array) : -1;

	if (value->type == jbvBool)
	{
		type->is_ignored = !value->val.boolean;
		return;
	}
	if (!has_versions)
		refuse(psprintf("What stands beside \"%s\" is neither true nor false, and messages of this format have no version.", type->name), false);
	if (n == 0)
		refuse(psprintf("\"%s\" has no version.", type->name), true);
	type->versions = palloc(Max(n, 1) * sizeof(Version));
	if (n < 0)
		add_version(type, value);
	for (int i = 0; i < n; i++)
		add_version(type, getIthJsonbValueFromContainer(array, i));
}

static DjkMessageTypes *
read_types(Jsonb *json, bool has_versions)
{
	DjkMessageTypes *types = palloc0(sizeof(DjkMessageTypes));
	JsonbIterator *iterator = JsonbIteratorInit(&json->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	MessageType *type = NULL;

	if (JB_ROOT_IS_SCALAR(json) || JB_ROOT_COUNT(json) == 0)
		refuse("It names no type.", has_versions);
	types->types = palloc(JB_ROOT_COUNT(json) * sizeof(MessageType));
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM && value.type != jbvString)
			refuse("An element is no string.", has_versions);
		if (token == WJB_ELEM || token == WJB_KEY)
			type = add_type(types, &value);
		else if (token == WJB_VALUE)
			read_versions(type, &value, has_versions);
	}
	return types;
}

void
djk_message_types_build(DjkRouteState *state)
{
	const DjkRouteRow *route = state->route;

	if (route->message_types == NULL && route->unknown_types_are_errors)
		return;
	if (state->codec->type_field == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s needs a format whose messages say their type", route->message_types == NULL ? "unknown_types" : "message_types"),
				 errhint("Such formats are \"logpipe\" and \"cloudevents\"; with others use filter.")));
	if (route->message_types == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown_types needs message_types"),
				 errhint("Without these the route takes messages of all types.")));
	state->types = read_types(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(route->message_types))),
							  state->codec->version_field != NULL);
}

/* ---------- looking at a message ---------- */

static bool
is_integer(const char *text, int len)
{
	for (int i = 0; i < len; i++)
	{
		if (text[i] != '-' && (text[i] < '0' || text[i] > '9'))
			return false;
	}
	return true;
}

/* Whether two numbers of JSON are the same, as 1 and 1.0 are. */
static bool
same_number(const char *a, int a_len, const Version *b)
{
	char	   *text;
	double		x;

	if (a_len > NUMBER_MAX || (is_integer(a, a_len) && is_integer(b->text, b->len)))
		return false;
	text = pnstrdup(a, a_len);
	x = strtod(text, NULL);
	pfree(text);
	return isfinite(x) && x == strtod(b->text, NULL);
}

static bool
is_version(const Version *version, const DjkField *field)
{
	if (version->kind != field->kind || field->text == NULL)
		return false;
	if (version->len == field->len && memcmp(version->text, field->text, field->len) == 0)
		return true;
	return field->kind == DJK_FIELD_NUMBER && same_number(field->text, field->len, version);
}

static bool
takes_version(const MessageType *type, const DjkField *version)
{
	for (int i = 0; i < type->nversions; i++)
	{
		if (is_version(&type->versions[i], version))
			return true;
	}
	return type->versions == NULL;
}

static const MessageType *
find_type(const DjkMessageTypes *types, const DjkField *field)
{
	if (field->kind != DJK_FIELD_STRING || field->text == NULL)
		return NULL;
	for (int i = 0; i < types->ntypes; i++)
	{
		if (types->types[i].len == field->len && memcmp(types->types[i].name, field->text, field->len) == 0)
			return &types->types[i];
	}
	return NULL;
}

bool
djk_message_type_read(const DjkRouteState *state, DjkDecoded *decoded, DjkMessageSays *says, DjkError *error)
{
	const DjkCodec *codec = state->codec;

	memset(says, 0, sizeof(*says));
	if (decoded->is_object && djk_codec_find_named(decoded, codec->type_field, &says->type) &&
		(codec->version_field == NULL || djk_codec_find_named(decoded, codec->version_field, &says->version)))
		return true;
	error->sqlstate = DJK_ERRCODE_MALFORMED;
	error->message = psprintf("message does not say of which type%s it is", codec->version_field == NULL ? "" : " and version");
	error->hint = pstrdup("Look what else writes to the topic.");
	return false;
}

DjkTypeFate
djk_message_type_find(const DjkRouteState *state, const DjkMessageSays *says)
{
	const MessageType *type = find_type(state->types, &says->type);

	if (type == NULL)
		return DJK_TYPE_UNKNOWN;
	if (type->is_ignored)
		return DJK_TYPE_IGNORED;
	return takes_version(type, &says->version) ? DJK_TYPE_TAKEN : DJK_TYPE_OF_OTHER_VERSION;
}
