/*-------------------------------------------------------------------------
 *
 * mapping.c
 *	  How a route's 'columns' fill a column.
 *
 *	"expression"							depends on the fields of 'value' that it names
 *	{"field": path}							the field itself
 *	{"field": path, "value": "expression"}	depends on this field
 *	{"insert": "expression"}				for new rows alone
 *	{"always": "expression"}				whatever the message has
 *	{"lookup": {"table": …, "column": …, "value" or "field": …}}
 *											what a row of another table has (lookup.c)
 *
 * A column is absent where its message has none of the fields that it depends
 * on.  One would do, since coalesce(value->>'a', value->>'b') says something as
 * soon as one of them is there.  An expression that takes 'value' as a whole, or
 * none of its fields, or asks whether one is there, is never absent.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/mapping.h"

#include "base/compat.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#define FORMS_HINT "Write an SQL expression, or an object: {\"field\": \"a.b\"}, {\"field\": \"a.b\", \"value\": expression}, {\"insert\": expression}, {\"always\": expression} or {\"lookup\": {\"table\": name, \"column\": name, \"value\": expression}}."

/* ---------- the forms ---------- */

pg_noreturn static void
refuse(const char *column, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid mapping of column \"%s\"", column),
			 errdetail("%s", detail),
			 errhint("%s", FORMS_HINT)));
}

static char *
string_of(const char *column, const char *key, const JsonbValue *value)
{
	if (value->type != jbvString || value->val.string.len == 0)
		refuse(column, psprintf("\"%s\" is not a string, or is empty.", key));
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static void
add_step(DjkMapping *mapping, const char *name, int len)
{
	if (len == 0)
		refuse(mapping->column, "A name in \"field\" is empty.");
	mapping->path[mapping->npath++] = pnstrdup(name, len);
}

/* Names with points between them. */
static void
split_path(DjkMapping *mapping, const char *text)
{
	mapping->path = palloc((strlen(text) + 1) * sizeof(char *));
	for (;;)
	{
		size_t		len = strcspn(text, ".");

		add_step(mapping, text, len);
		if (text[len] == '\0')
			break;
		text += len + 1;
	}
}

static void
list_path(DjkMapping *mapping, JsonbContainer *list)
{
	JsonbIterator *iterator = JsonbIteratorInit(list);
	JsonbIteratorToken token;
	JsonbValue	value;

	mapping->path = palloc((JsonContainerSize(list) + 1) * sizeof(char *));
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (value.type != jbvString)
			refuse(mapping->column, "A name in \"field\" is not a string.");
		add_step(mapping, value.val.string.val, value.val.string.len);
	}
	if (mapping->npath == 0)
		refuse(mapping->column, "\"field\" is empty.");
}

static void
read_field(DjkMapping *mapping, const JsonbValue *value)
{
	if (value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data))
		list_path(mapping, value->val.binary.data);
	else
		split_path(mapping, string_of(mapping->column, "field", value));
}

static void read_member(DjkMapping *mapping, const char *key, const JsonbValue *value);

/* Calls 'read' for each member. */
static void
read_members(DjkMapping *mapping, JsonbContainer *object,
			 void (*read) (DjkMapping *mapping, const char *key, const JsonbValue *value))
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *key = NULL;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
			read(mapping, key, &value);
	}
}

static void
read_lookup_member(DjkMapping *mapping, const char *key, const JsonbValue *value)
{
	DjkLookup  *lookup = mapping->lookup;
	const char *missing;

	if (strcmp(key, "table") == 0)
		lookup->table = string_of(mapping->column, key, value);
	else if (strcmp(key, "column") == 0)
		lookup->column = string_of(mapping->column, key, value);
	else if (strcmp(key, "returns") == 0)
		lookup->returns = string_of(mapping->column, key, value);
	else if (strcmp(key, "missing") == 0)
	{
		missing = string_of(mapping->column, key, value);
		lookup->missing_is_null = strcmp(missing, "null") == 0;
		if (!lookup->missing_is_null && strcmp(missing, "error") != 0)
			refuse(mapping->column, "\"missing\" is neither \"error\" nor \"null\".");
	}
	else if (strcmp(key, "value") == 0 || strcmp(key, "field") == 0)
		read_member(mapping, key, value);
	else
		refuse(mapping->column, psprintf("Its lookup has \"%s\".", key));
}

static void
read_lookup(DjkMapping *mapping, const JsonbValue *value)
{
	if (mapping->lookup != NULL || mapping->expression != NULL || mapping->path != NULL)
		refuse(mapping->column, "\"lookup\" goes alone.");
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		refuse(mapping->column, "\"lookup\" is not an object.");
	mapping->lookup = palloc0(sizeof(DjkLookup));
	read_members(mapping, value->val.binary.data, read_lookup_member);
	if (mapping->lookup->table == NULL || mapping->lookup->column == NULL ||
		(mapping->expression == NULL) == (mapping->path == NULL))
		refuse(mapping->column, "Its lookup needs \"table\", \"column\", and one of \"value\" and \"field\".");
}

static void
read_member(DjkMapping *mapping, const char *key, const JsonbValue *value)
{
	if (strcmp(key, "field") == 0)
	{
		read_field(mapping, value);
		return;
	}
	if (strcmp(key, "lookup") == 0)
	{
		read_lookup(mapping, value);
		return;
	}
	if (strcmp(key, "value") != 0 && strcmp(key, "insert") != 0 && strcmp(key, "always") != 0)
		refuse(mapping->column, psprintf("It has \"%s\".", key));
	if (mapping->expression != NULL)
		refuse(mapping->column, "It has more than one of \"value\", \"insert\" and \"always\".");
	mapping->expression = string_of(mapping->column, key, value);
	mapping->insert_only = strcmp(key, "insert") == 0;
	mapping->always = strcmp(key, "always") == 0;
}

void
djk_mapping_parse(const char *column, const char *text, DjkMapping *mapping)
{
	Jsonb	   *object;

	memset(mapping, 0, sizeof(*mapping));
	mapping->column = column;
	/* No expression begins so. */
	if (text[strspn(text, " \t\r\n")] != '{')
	{
		mapping->expression = text;
		return;
	}
	object = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	read_members(mapping, &object->root, read_member);
	if (mapping->expression == NULL && mapping->path == NULL)
		refuse(column, "It is empty.");
	if (mapping->path != NULL && (mapping->always || mapping->insert_only))
		refuse(column, "\"field\" goes with \"value\" alone.");
}

/* ---------- what a message has ---------- */

bool
djk_mapping_is_conditional(const DjkMapping *mapping)
{
	if (mapping->always)
		return false;
	return mapping->path != NULL || (mapping->uses.fields != NIL && !mapping->uses.whole && !mapping->uses.asks);
}

static bool
is_named(const DjkField *field, const char *name)
{
	return (int) strlen(name) == field->name_len && memcmp(name, field->name, field->name_len) == 0;
}

bool
djk_mapping_takes(const DjkMapping *mapping, const DjkField *field, bool top)
{
	return (mapping->path != NULL && is_named(field, mapping->path[0])) ||
		(top && djk_uses_name(&mapping->uses, field->name, field->name_len));
}

bool
djk_mapping_is_field(const DjkMapping *mapping, const DjkField *field)
{
	return mapping->npath == 1 && mapping->expression == NULL && is_named(field, mapping->path[0]);
}
