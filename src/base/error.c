/*-------------------------------------------------------------------------
 *
 * error.c
 *	  Errors that are kept as values.
 *
 *-------------------------------------------------------------------------
 */
#include "base/error.h"

void
djk_error_throw(const DjkError *error)
{
	ereport(ERROR,
			(errcode(error->sqlstate != 0 ? error->sqlstate : DJK_ERRCODE_KAFKA),
			 errmsg("%s", error->message),
			 error->detail ? errdetail("%s", error->detail) : 0,
			 error->hint ? errhint("%s", error->hint) : 0));
	pg_unreachable();
}
