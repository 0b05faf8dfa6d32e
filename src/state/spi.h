/*-------------------------------------------------------------------------
 *
 * spi.h
 *	  Beginning with SPI, and the rows that a statement reads by a name.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_SPI_H
#define DJK_SPI_H

#include "base/djk.h"

#include "executor/spi.h"
#include "utils/queryenvironment.h"
#include "utils/tuplestore.h"

/* SPI_connect(), or ERROR internal_error. */
static inline void
djk_spi_connect(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

/*
 * Makes rows known by a name until SPI_finish().  Their columns are those of the
 * relation, or of 'desc'; the planner is told that there are so many.
 */
static inline void
djk_spi_register_rows(const char *name, Oid relation, TupleDesc desc, Tuplestorestate *store, int planned_rows)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

	enr->md.name = (char *) name;
	enr->md.reliddesc = relation;
	enr->md.tupdesc = desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = planned_rows;
	enr->reldata = store;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register relation \"%s\"", name);
}

#endif							/* DJK_SPI_H */
