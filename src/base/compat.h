/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between PostgreSQL 15 and 18, in one place.
 *
 * Callers are written against the newest server; each wrapper names the
 * change it hides.  No other file tests PG_VERSION_NUM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_COMPAT_H
#define DJK_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "djkafka needs PostgreSQL 15 or newer"
#endif

/* For what may differ from one to the next, such as what hash functions make of a value. */
#define DJK_SERVER_MAJOR (PG_VERSION_NUM / 10000)

#include "miscadmin.h"
#include "utils/wait_event.h"

/* 16 moved the varlena macros out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 18 has a word for functions that never return; it stands before all else. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn	pg_attribute_noreturn()
#endif

/*
 * 17 lets a worker run as a role that cannot log in.  Before that such an owner
 * is refused when the consumer is created.
 */
#if PG_VERSION_NUM >= 170000
#define DJK_BGWORKER_FLAGS		BGWORKER_BYPASS_ROLELOGINCHECK
#define DJK_OWNER_MAY_BE_NOLOGIN	true
#else
#define DJK_BGWORKER_FLAGS		0
#define DJK_OWNER_MAY_BE_NOLOGIN	false
#endif

/*
 * 17 added named wait events of extensions; before that
 * all of an extension's waits show as "Extension".
 */
#if PG_VERSION_NUM >= 170000
#define djk_wait_event_new(name)	WaitEventExtensionNew(name)
#else
#define djk_wait_event_new(name)	((void) (name), PG_WAIT_EXTENSION)
#endif

/* 16 keeps what belongs to settings in a context, and gives it out to check hooks. */
#if PG_VERSION_NUM >= 160000
#define djk_guc_malloc(size)	guc_malloc(LOG, size)
#else
#define djk_guc_malloc(size)	malloc(size)
#endif

/* 17 added transaction_timeout. */
#if PG_VERSION_NUM >= 170000
#define DJK_HAVE_TRANSACTION_TIMEOUT
#endif

/* The minor versions of August 2023 mark a database of which DROP DATABASE has left the half. */
#include "catalog/pg_database.h"
#ifdef DATCONNLIMIT_INVALID_DB
#define djk_database_is_invalid(form)	((form)->datconnlimit == DATCONNLIMIT_INVALID_DB)
#else
#define djk_database_is_invalid(form)	((void) (form), false)
#endif

/* 16 renamed the privilege functions' families. */
#if PG_VERSION_NUM >= 160000
#include "utils/acl.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#define djk_aclcheck_function(oid, role)	object_aclcheck(ProcedureRelationId, oid, role, ACL_EXECUTE)
#define djk_aclcheck_server(oid, role)		object_aclcheck(ForeignServerRelationId, oid, role, ACL_USAGE)
#define djk_aclcheck_database(oid, role)	object_aclcheck(DatabaseRelationId, oid, role, ACL_CONNECT)
#define djk_ownercheck_database(oid, role)	object_ownercheck(DatabaseRelationId, oid, role)
#else
#include "utils/acl.h"
#define djk_aclcheck_function(oid, role)	pg_proc_aclcheck(oid, role, ACL_EXECUTE)
#define djk_aclcheck_server(oid, role)		pg_foreign_server_aclcheck(oid, role, ACL_USAGE)
#define djk_aclcheck_database(oid, role)	pg_database_aclcheck(oid, role, ACL_CONNECT)
#define djk_ownercheck_database(oid, role)	pg_database_ownercheck(oid, role)
#endif

/*
 * 16 tells a member that may become a role from one that may only inherit from
 * it or administer it.
 */
#if PG_VERSION_NUM >= 160000
#define djk_may_become(member, role)		member_can_set_role(member, role)
#else
#define djk_may_become(member, role)		is_member_of_role(member, role)
#endif

/*
 * 16 gave input functions a way to report a bad value without throwing;
 * 17 gave domains one.
 */
#if PG_VERSION_NUM >= 160000
#include "nodes/miscnodes.h"
#define DJK_HAVE_SOFT_ERRORS
#endif
#if PG_VERSION_NUM >= 170000
#define djk_domain_check(value, isnull, type, extra, mcxt, escontext) \
	domain_check_safe(value, isnull, type, extra, mcxt, escontext)
#else
#define djk_domain_check(value, isnull, type, extra, mcxt, escontext) \
	(domain_check(value, isnull, type, extra, mcxt), true)
#endif

/* 18 has generated columns that are not stored; their constraints judge a row as others do. */
#if PG_VERSION_NUM >= 180000
#define DJK_HAS_GENERATED(constr)	((constr)->has_generated_stored || (constr)->has_generated_virtual)
#else
#define DJK_HAS_GENERATED(constr)	((constr)->has_generated_stored)
#endif

/* 16 tells indexes that summarize from others, which counts for an UPDATE alone. */
#if PG_VERSION_NUM >= 160000
#define djk_insert_index_tuples(info, slot, estate) \
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL, false)
#else
#define djk_insert_index_tuples(info, slot, estate) \
	ExecInsertIndexTuples(info, slot, estate, false, false, NULL, NIL)
#endif

/* 18 has foreign keys that nothing checks. */
#if PG_VERSION_NUM >= 180000
#define DJK_IS_ENFORCED(constraint)		((constraint)->conenforced)
#else
#define DJK_IS_ENFORCED(constraint)		((void) (constraint), true)
#endif

/* … and others over times, which may be met by several rows together. */
#if PG_VERSION_NUM >= 180000
#define DJK_IS_TEMPORAL(constraint)		((constraint)->conperiod)
#else
#define DJK_IS_TEMPORAL(constraint)		((void) (constraint), false)
#endif

/* 16 gave DecodeDateTime a place for what it could not tell. */
#include "utils/datetime.h"

static inline int
djk_decode_date_time(char **field, int *ftype, int nf, int *dtype, struct pg_tm *tm, fsec_t *fsec, int *tzp)
{
#if PG_VERSION_NUM >= 160000
	DateTimeErrorExtra extra;

	return DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tzp, &extra);
#else
	return DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tzp);
#endif
}

#endif							/* DJK_COMPAT_H */
