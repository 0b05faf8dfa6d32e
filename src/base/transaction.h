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
 * began.  Must not be called within a transaction.
 */
extern void djk_transaction_start(void);

#endif							/* DJK_TRANSACTION_H */
