/*-------------------------------------------------------------------------
 *
 * options.c
 *	  Properties written as a JSON object.
 *
 *-------------------------------------------------------------------------
 */
#include "base/options.h"

#include <jansson.h>

/* The value as the library wants it, or NULL if it is no scalar. */
static char *
scalar_text(const json_t *value)
{
	switch (json_typeof(value))
	{
		case JSON_STRING:
			if (strlen(json_string_value(value)) != json_string_length(value))
				return NULL;
			return pstrdup(json_string_value(value));
		case JSON_INTEGER:
			return psprintf(INT64_FORMAT, (int64) json_integer_value(value));
		case JSON_REAL:
			return psprintf("%g", json_real_value(value));
		case JSON_TRUE:
			return pstrdup("true");
		case JSON_FALSE:
			return pstrdup("false");
		default:
			return NULL;
	}
}

static bool
fail(DjkError *error, char *message)
{
	memset(error, 0, sizeof(*error));
	error->sqlstate = DJK_ERRCODE_PROPERTY;
	error->message = message;
	error->hint = pstrdup("Properties are written as {\"name\": \"value\", ...}.");
	return false;
}

static bool
copy_members(json_t *object, DjkProperty **properties, int *count, DjkError *error)
{
	const char *name;
	json_t	   *value;

	*count = 0;
	*properties = palloc((json_object_size(object) + 1) * sizeof(DjkProperty));
	json_object_foreach(object, name, value)
	{
		char	   *text = scalar_text(value);

		if (text == NULL)
			return fail(error, psprintf("value of property \"%s\" is neither a string, a number nor a boolean", name));
		(*properties)[*count].name = pstrdup(name);
		(*properties)[*count].value = text;
		(*count)++;
	}
	return true;
}

bool
djk_options_parse(const char *json, DjkProperty **properties, int *count, DjkError *error)
{
	json_error_t reason;
	json_t	   *object;
	bool		ok;

	*properties = NULL;
	*count = 0;
	if (json[strspn(json, " \t\r\n")] == '\0')
		return true;
	object = json_loads(json, JSON_REJECT_DUPLICATES, &reason);
	if (object == NULL)
		/* The parser's own message quotes the text, which may be a secret. */
		return fail(error, psprintf("properties are not valid JSON, see line %d, column %d", reason.line, reason.column));
	if (!json_is_object(object))
		ok = fail(error, pstrdup("properties are not a JSON object"));
	else
		ok = copy_members(object, properties, count, error);
	json_decref(object);
	return ok;
}
