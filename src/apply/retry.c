/*-------------------------------------------------------------------------
 *
 * retry.c
 *	  What an error's SQLSTATE says, and how long to wait.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/retry.h"

DjkVerdict
djk_retry_verdict(int sqlstate)
{
	switch (sqlstate)
	{
			/* One lock or snapshot away from success. */
		case ERRCODE_LOCK_NOT_AVAILABLE:
		case ERRCODE_OBJECT_IN_USE:
		case ERRCODE_READ_ONLY_SQL_TRANSACTION:
		case ERRCODE_IO_ERROR:
		case ERRCODE_INDEX_CORRUPTED:
		case ERRCODE_DATA_CORRUPTED:
			return DJK_VERDICT_TRANSIENT;
			/* A value too large for its type is the message's own. */
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
		case ERRCODE_STATEMENT_TOO_COMPLEX:
			/* What Kafka refused somebody's trigger. */
		case DJK_ERRCODE_KAFKA:
			return DJK_VERDICT_MESSAGE;
			/* What djkafka says of a definition; or a trigger that calls it, or says so itself. */
		case DJK_ERRCODE_BROKEN:
		case DJK_ERRCODE_PROPERTY:
			return DJK_VERDICT_DOUBTFUL;
		default:
			break;
	}

	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:	/* 40: serialization, deadlock */
		case ERRCODE_INSUFFICIENT_RESOURCES:	/* 53 */
		case ERRCODE_OPERATOR_INTERVENTION: /* 57: a person's cancel, shutdown */
		case ERRCODE_SYSTEM_ERROR:	/* 58 */
		case ERRCODE_CONNECTION_EXCEPTION:	/* 08: a foreign table's server */
			return DJK_VERDICT_TRANSIENT;

			/* Of names, rights and states: nothing of the kind is in most values. */
		case ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION: /* 42 */
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:	/* 55 */
		case ERRCODE_FEATURE_NOT_SUPPORTED: /* 0A */
		case ERRCODE_INVALID_TRANSACTION_STATE: /* 25 */
		case ERRCODE_INVALID_TRANSACTION_TERMINATION:	/* 2D */
		case ERRCODE_INVALID_SCHEMA_NAME:	/* 3F */
		case ERRCODE_INVALID_CATALOG_NAME:	/* 3D */
		case ERRCODE_CONFIG_FILE_ERROR: /* F0 */
		case ERRCODE_FDW_ERROR: /* HV */
		case ERRCODE_INTERNAL_ERROR:	/* XX */
			return DJK_VERDICT_DOUBTFUL;
		default:
			return DJK_VERDICT_MESSAGE;
	}
}

/* A handler or trigger says by its code that it wants another try: KFR and two more characters. */
static bool
is_asked_for(int sqlstate)
{
	return (sqlstate & ((1 << 18) - 1)) == MAKE_SQLSTATE('K', 'F', 'R', '0', '0');
}

bool
djk_retry_helps(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_FOREIGN_KEY_VIOLATION:
		case ERRCODE_RESTRICT_VIOLATION:
		case ERRCODE_UNIQUE_VIOLATION:
		case ERRCODE_EXCLUSION_VIOLATION:
			return true;
		default:
			return is_asked_for(sqlstate) || djk_retry_verdict(sqlstate) == DJK_VERDICT_TRANSIENT;
	}
}

int64
djk_retry_delay_ms(int attempt, int64 base_ms, int64 max_ms, double random)
{
	int64		delay = base_ms;

	for (int i = 1; i < attempt && delay < max_ms; i++)
		delay *= 2;
	delay = Min(delay, max_ms);
	return delay - (int64) (delay / 4 * random);
}
