/*-------------------------------------------------------------------------
 *
 * start_at.c
 *	  Where to start: earliest, latest, group, an offset or a time.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/start_at.h"

#include "base/compat.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static bool
is_time(const char *word)
{
	struct pg_tm tm;
	fsec_t		fsec;
	int			tz;
	int			type;
	int			nf;
	char	   *field[MAXDATEFIELDS];
	int			ftype[MAXDATEFIELDS];
	char		work[MAXDATELEN + MAXDATEFIELDS];

	if (strlen(word) >= MAXDATELEN ||
		ParseDateTime(word, work, sizeof(work), field, ftype, MAXDATEFIELDS, &nf) != 0)
		return false;
	return djk_decode_date_time(field, ftype, nf, &type, &tm, &fsec, &tz) == 0 && type == DTK_DATE;
}

char *
djk_start_at_normalize(const char *word, const char *what, bool offset_allowed)
{
	bool		is_number = word[0] != '\0' && strspn(word, "0123456789") == strlen(word);

	if (strcmp(word, "earliest") == 0 || strcmp(word, "latest") == 0 || strcmp(word, "group") == 0)
		return pstrdup(word);
	if (is_number && offset_allowed)
		return psprintf(INT64_FORMAT, pg_strtoint64(word));
	if (!is_number && is_time(word))
		return pstrdup(timestamptz_to_str(DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
																				  CStringGetDatum(word),
																				  ObjectIdGetDatum(InvalidOid),
																				  Int32GetDatum(-1)))));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for %s: \"%s\"", what, word),
			 offset_allowed ?
			 errhint("Valid values are \"earliest\", \"latest\", \"group\", an offset, or a time such as '2026-01-31 12:00+00'.") :
			 errhint("Valid values are \"earliest\", \"latest\", \"group\", or a time such as '2026-01-31 12:00+00'.")));
}
