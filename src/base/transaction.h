/*-------------------------------------------------------------------------
 *
 * transaction.h
 *	  How a background process begins a transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_TRANSACTION_H
#define DJK_TRANSACTION_H

#include "base/djk.h"

/*
 * StartTransactionCommand(), whatever the owner or the database has chosen as
 * its default: read committed, and able to write.  Its now(), and the
 * statement_timestamp() of Django's Now(), is now: without the call that a
 * backend makes for each statement it would be the moment at which the process
 * began.  Neither lock_timeout nor transaction_timeout is in force, whoever set
 * them.  Must not be called within a transaction.
 */
extern void djk_transaction_start(void);

/* In milliseconds, 0 for none. */
typedef struct DjkSessionLimits
{
	int			lock_ms;		/* lock_timeout */
	int			transaction_ms; /* transaction_timeout; before PostgreSQL 17 always 0 */
} DjkSessionLimits;

/*
 * What the role, the database or the server has chosen for its sessions, as it
 * was when the process began its first transaction.  For a transaction in which
 * the owner's code runs: the caller puts them in force in its own way.
 */
extern DjkSessionLimits djk_transaction_session_limits(void);

#endif							/* DJK_TRANSACTION_H */
