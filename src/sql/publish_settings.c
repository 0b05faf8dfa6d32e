/*-------------------------------------------------------------------------
 *
 * publish_settings.c
 *	  The settings by which a publication reads SQL and writes values.
 *
 * Whoever writes to a published table brings a session of their own, and must
 * not decide by its settings what others get to read.  Where one value is as
 * good as another all publications have the same: times in UTC and ISO's form,
 * numbers with all their digits.  What an owner may have written expressions for
 * (the order of a date's parts, languages, abbreviations of zones) is kept with
 * the publication, as search_path is.
 *
 * Most sessions have nearly all of these as they are needed, so each is compared
 * before it is set.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/publish.h"

#include "access/gin.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "parser/parse_expr.h"
#include "parser/parser.h"
#include "pgtime.h"
#include "tsearch/ts_cache.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/rls.h"
#include "utils/xml.h"

/* The server's header that has them wants ICU's, which its packages need not bring. */
extern PGDLLIMPORT char *locale_monetary;
extern PGDLLIMPORT char *locale_numeric;
extern PGDLLIMPORT char *locale_time;

#define DATE_STYLE		"DateStyle"

/* ---------- the same for all publications ---------- */

typedef struct Switch
{
	const char *name;
	const char *text;
	const bool *variable;
	bool		value;
} Switch;

static const Switch switches[] = {
	{"standard_conforming_strings", "on", &standard_conforming_strings, true},
	{"transform_null_equals", "off", &Transform_null_equals, false},
	{"row_security", "on", &row_security, true},
	{"array_nulls", "on", &Array_nulls, true},
	{"quote_all_identifiers", "off", &quote_all_identifiers, false},
};

typedef struct Choice
{
	const char *name;
	const char *text;
	const int  *variable;
	int			value;
} Choice;

static const Choice choices[] = {
	{"IntervalStyle", "postgres", &IntervalStyle, INTSTYLE_POSTGRES},
	{"bytea_output", "hex", &bytea_output, BYTEA_OUTPUT_HEX},
	{"backslash_quote", "safe_encoding", &backslash_quote, BACKSLASH_QUOTE_SAFE_ENCODING},
	{"xmlbinary", "base64", &xmlbinary, XMLBINARY_BASE64},
	{"xmloption", "content", &xmloption, XMLOPTION_CONTENT},
	{"gin_fuzzy_search_limit", "0", &GinFuzzySearchLimit, 0},
};

/* ---------- of a publication ---------- */

/* 'variable' is what the session has; NULL: ask for it by its name. */
typedef struct Kept
{
	const char *name;
	char	  **variable;
} Kept;

static const Kept kept[] = {
	{DATE_STYLE, NULL},
	{"default_text_search_config", &TSCurrentConfig},
	{"lc_monetary", &locale_monetary},
	{"lc_numeric", &locale_numeric},
	{"lc_time", &locale_time},
	{"timezone_abbreviations", NULL},
};

static const char *
order_of_dates(void)
{
	return DateOrder == DATEORDER_YMD ? "YMD" : DateOrder == DATEORDER_DMY ? "DMY" : "MDY";
}

/* What the session has of kept[i]. */
static const char *
current_value(int i)
{
	if (strcmp(kept[i].name, DATE_STYLE) == 0)
		return order_of_dates();
	return kept[i].variable != NULL ? *kept[i].variable : GetConfigOption(kept[i].name, false, false);
}

/* What a publication has of a setting; NULL: nothing. */
static const char *
find_value(const DjkPublicationRow *row, const char *name)
{
	for (int i = 0; i < row->nsettings; i++)
	{
		if (strcmp(row->setting_names[i], name) == 0)
			return row->setting_values[i];
	}
	return NULL;
}

static void
require_known(const char *name)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < lengthof(kept); i++)
	{
		if (strcmp(kept[i].name, name) == 0)
			return;
		appendStringInfo(&names, "%s\"%s\"", i > 0 ? ", " : "", kept[i].name);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no setting of a publication", name),
			 errhint("Those that a publication keeps are %s.", names.data)));
}

static void
require_order(const char *value)
{
	if (value == NULL || strcmp(value, "MDY") == 0 || strcmp(value, "DMY") == 0 || strcmp(value, "YMD") == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for the " DATE_STYLE " of a publication: \"%s\"", value),
			 errdetail("It is the order in which dates are read; they are written as ISO has them."),
			 errhint("Valid values are \"MDY\", \"DMY\", \"YMD\".")));
}

void
djk_publish_settings_complete(DjkCatalogRow *row)
{
	DjkPublicationRow given = {0};
	StringInfoData json;

	given.nsettings = djk_catalog_row_object(row, "settings", false, &given.setting_names, &given.setting_values);
	for (int i = 0; i < given.nsettings; i++)
		require_known(given.setting_names[i]);
	require_order(find_value(&given, DATE_STYLE));
	initStringInfo(&json);
	for (int i = 0; i < lengthof(kept); i++)
	{
		const char *value = find_value(&given, kept[i].name);

		appendStringInfoString(&json, i == 0 ? "{" : ", ");
		escape_json(&json, kept[i].name);
		appendStringInfoString(&json, ": ");
		escape_json(&json, value != NULL ? value : current_value(i));
	}
	appendStringInfoChar(&json, '}');
	djk_catalog_row_set(row, "settings", DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)), false);
}

/* ---------- setting them ---------- */

static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

static void
pin_dates(const DjkPublicationRow *row)
{
	const char *order = find_value(row, DATE_STYLE);

	if (DateStyle != USE_ISO_DATES || (order != NULL && strcmp(order, order_of_dates()) != 0))
		set_local(DATE_STYLE, order == NULL ? "ISO" : psprintf("ISO, %s", order));
}

void
djk_publish_settings_pin(const DjkPublicationRow *row, const char *search_path)
{
	set_local("search_path", search_path);
	for (int i = 0; i < lengthof(switches); i++)
	{
		if (*switches[i].variable != switches[i].value)
			set_local(switches[i].name, switches[i].text);
	}
	for (int i = 0; i < lengthof(choices); i++)
	{
		if (*choices[i].variable != choices[i].value)
			set_local(choices[i].name, choices[i].text);
	}
	/* From 1 on all digits are written. */
	if (extra_float_digits < 1)
		set_local("extra_float_digits", "1");
	if (strcmp(pg_get_timezone_name(session_timezone), "UTC") != 0)
		set_local("TimeZone", "UTC");
	pin_dates(row);
	for (int i = 0; i < lengthof(kept); i++)
	{
		const char *value = find_value(row, kept[i].name);

		if (strcmp(kept[i].name, DATE_STYLE) != 0 && value != NULL && strcmp(value, current_value(i)) != 0)
			set_local(kept[i].name, value);
	}
}
