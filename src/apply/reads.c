/*-------------------------------------------------------------------------
 *
 * reads.c
 *	  What an expression may read besides its message.
 *
 * A filter or a mapped column may look something up, in a table that the batch
 * itself writes: the version that a row has, the id of a parent.  Then a message
 * must see what those before it have written, and be evaluated when they are
 * (piece.c).  That is slower by far, so it is found out which expressions can
 * read at all: those that name a table, and those that call a function which
 * might.  A function is believed to be IMMUTABLE if it says so; of the server's
 * own, those that run queries are known.
 *
 *-------------------------------------------------------------------------
 */
#include "apply/reads.h"

#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "nodes/nodeFuncs.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

static bool
may_read(Oid function, void *context)
{
	switch (function)
	{
		case F_QUERY_TO_XML:
		case F_QUERY_TO_XML_AND_XMLSCHEMA:
		case F_TABLE_TO_XML:
		case F_TABLE_TO_XML_AND_XMLSCHEMA:
		case F_SCHEMA_TO_XML:
		case F_SCHEMA_TO_XML_AND_XMLSCHEMA:
		case F_DATABASE_TO_XML:
		case F_DATABASE_TO_XML_AND_XMLSCHEMA:
		case F_CURSOR_TO_XML:
		case F_TS_STAT_TEXT:
		case F_TS_STAT_TEXT_TEXT:
		case F_TS_REWRITE_TSQUERY_TEXT:
		case F_LO_GET_OID:
		case F_LO_GET_OID_INT8_INT4:
			return true;
		default:
			return function >= FirstUnpinnedObjectId && func_volatile(function) != PROVOLATILE_IMMUTABLE;
	}
}

static void
collect_relation(const RangeTblEntry *rte, DjkReads *reads)
{
	switch (rte->relkind)
	{
		case RELKIND_RELATION:
			/* what is written to a child or a partition is read here too */
			if (has_subclass(rte->relid))
				reads->anything = true;
			else
				reads->tables = list_append_unique_oid(reads->tables, rte->relid);
			break;
		case RELKIND_MATVIEW:
		case RELKIND_VIEW:		/* the rule's own; what it stands for is beside it */
			break;
		default:
			reads->anything = true;
	}
}

static bool
collect(Node *node, void *context)
{
	DjkReads   *reads = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		const RangeTblEntry *rte = (const RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION)
			collect_relation(rte, reads);
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, collect, context, QTW_EXAMINE_RTES_BEFORE);
	if (check_functions_in_node(node, may_read, NULL))
		reads->anything = true;
	return expression_tree_walker(node, collect, context);
}

void
djk_reads_collect(Query *query, DjkReads *reads)
{
	(void) collect((Node *) query, reads);
}
