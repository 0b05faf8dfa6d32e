/*-------------------------------------------------------------------------
 *
 * transaction.c
 *	  How a background process begins a transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "base/transaction.h"

#include "access/xact.h"
#include "access/xlog.h"

void
djk_transaction_start(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = RecoveryInProgress();
	XactDeferrable = false;
}
