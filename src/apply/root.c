/*-------------------------------------------------------------------------
 *
 * root.c
 *	  The object within a value whose fields fill the columns.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/root.h"

#include "base/compat.h"
#include "catalog/pg_type.h"
#include "codec/connect.h"
#include "codec/json.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

/* ---------- reading the option ---------- */

pg_noreturn static void
refuse_root(const char *root, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for root: \"%s\"", root),
			 errdetail("%s", detail),
			 errhint("Write names with dots between them, such as payload.after, or an array of names, such as {payload,after}.")));
}

static void
add_name(DjkRouteState *state, char *name)
{
	state->root = state->root == NULL ? palloc(sizeof(char *)) :
		repalloc(state->root, (state->nroot + 1) * sizeof(char *));
	state->root[state->nroot++] = name;
}

/* A name that has dots itself must stand in an array. */
static void
split_names(DjkRouteState *state, const char *root)
{
	const char *from = root;

	for (;;)
	{
		const char *to = from + strcspn(from, ".");

		if (to == from)
			refuse_root(root, "A name is empty.");
		add_name(state, pnstrdup(from, to - from));
		if (*to == '\0')
			return;
		from = to + 1;
	}
}

static void
read_array(DjkRouteState *state, const char *root)
{
	Datum		array = OidFunctionCall3(F_ARRAY_IN, CStringGetDatum(root), ObjectIdGetDatum(TEXTOID), Int32GetDatum(-1));
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &n);
	if (n == 0 || ARR_NDIM(DatumGetArrayTypeP(array)) != 1)
		refuse_root(root, "It is not a list of names.");
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			refuse_root(root, "A name is null.");
		add_name(state, TextDatumGetCString(elements[i]));
	}
}

void
djk_root_build(DjkRouteState *state)
{
	const char *root = state->route->root;

	if (root == NULL)
		return;
	if (!state->codec->has_fields || state->codec->connect || state->route->handler != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("root needs a target and format \"json\""),
				 errhint("Leave root null: the whole value is there for a handler, and for expressions.")));
	if (root[0] == '{')
		read_array(state, root);
	else
		split_names(state, root);
}

/* ---------- finding the object ---------- */

/* The last field of a name; NULL if there is none. */
static const DjkField *
find_name(const DjkDecoded *decoded, const char *name)
{
	int			len = strlen(name);

	for (int i = decoded->nfields - 1; i >= 0; i--)
	{
		if (decoded->fields[i].name_len == len && memcmp(decoded->fields[i].name, name, len) == 0)
			return &decoded->fields[i];
	}
	return NULL;
}

static bool
refuse_value(const DjkRouteState *state, int depth, const DjkField *field, DjkError *error)
{
	error->sqlstate = DJK_ERRCODE_NO_ROOT;
	error->message = psprintf("the value has no object at its root \"%s\"", state->route->root);
	error->detail = psprintf("Field \"%s\" is %s.", state->root[depth],
							 field == NULL ? "absent" : field->kind == DJK_FIELD_NULL ? "null" : "not an object");
	error->hint = pstrdup("Set root of the route to where the fields of its messages are; such a message may be a deletion by deleted_when, or be left out by filter.");
	return false;
}

bool
djk_root_enter(const DjkRouteState *state, DjkDecoded *decoded, DjkEffect *effect, DjkError *error)
{
	*effect = DJK_EFFECT_WRITE;
	if (state->codec->open != NULL && !state->codec->open(decoded, effect, error))
		return false;
	for (int depth = 0; depth < state->nroot; depth++)
	{
		const DjkField *field = find_name(decoded, state->root[depth]);
		DjkField	inner;

		if (field == NULL || field->kind != DJK_FIELD_OBJECT)
			return refuse_value(state, depth, field, error);
		inner = *field;			/* decoding overwrites the fields */
		decoded->types = djk_connect_find(decoded->types, field->name, field->name_len, 0);
		if (!djk_json_decode_part(&inner, decoded, error))
			return false;
	}
	return true;
}

/* ---------- the key ---------- */

static bool
is_key_column(const DjkRouteState *state, const char *name)
{
	for (int i = 0; i < state->nkeys; i++)
	{
		if (strcmp(state->columns[state->keys[i]].name, name) == 0)
			return true;
	}
	return false;
}

bool
djk_root_unwrap_key(const DjkRouteState *state, DjkDecoded *decoded, DjkError *error)
{
	/* Debezium's are not told by other names: a column of theirs is in the payload. */
	if (!state->codec->connect && (is_key_column(state, "schema") || is_key_column(state, "payload")))
		return true;
	return djk_connect_unwrap(decoded, error) &&
		(!state->codec->connect || djk_connect_read_schema(decoded, error));
}
