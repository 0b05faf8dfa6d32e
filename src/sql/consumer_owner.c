/*-------------------------------------------------------------------------
 *
 * consumer_owner.c
 *	  Who may change a consumer and what is of it, and who may own one.
 *
 *-------------------------------------------------------------------------
 */
#include "sql/consumer_owner.h"

#include "access/htup_details.h"
#include "base/compat.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "state/catalog.h"
#include "state/consumer_row.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

void
djk_require_existing_owner(Oid owner)
{
	if (SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(owner)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the consumer's owner does not exist"),
			 errdetail("The role with OID %u was dropped.", owner),
			 errhint("Let a superuser drop the consumer, or give it one that exists with djkafka_alter_consumer(name, owner => ...).")));
}

void
djk_require_consumer_owner(Oid owner)
{
	if (superuser())
		return;
	djk_require_existing_owner(owner);
	if (djk_may_become(GetUserId(), owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be a member of role \"%s\"", GetUserNameFromId(owner, true)),
			 errdetail("A consumer's routes run with the rights of its owner."),
			 errhint("Become a member of the role, or ask one.")));
}

void
djk_require_usable_owner(Oid owner)
{
	HeapTuple	tuple;
	bool		can_login;

	djk_require_existing_owner(owner);
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for role %u", owner);
	can_login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);

	if (!can_login && !DJK_OWNER_MAY_BE_NOLOGIN)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" is not permitted to log in", GetUserNameFromId(owner, true)),
				 errdetail("The consumer's workers connect as its owner."),
				 errhint("Name a role that may log in with owner =>, or ALTER ROLE … LOGIN.")));
	if (djk_aclcheck_database(MyDatabaseId, owner) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not connect to the database", GetUserNameFromId(owner, true)),
				 errdetail("The consumer's workers connect as its owner."),
				 errhint("GRANT CONNECT ON DATABASE %s TO %s.", quote_identifier(get_database_name(MyDatabaseId)),
						 quote_identifier(GetUserNameFromId(owner, false)))));
}

int64
djk_find_owned_consumer(const char *name)
{
	static DjkStatement select_consumer = {
		.sql = "SELECT id, owner::oid FROM @.djkafka_consumer WHERE name = $1 FOR NO KEY UPDATE",
		.nargs = 1,
		.argtypes = {TEXTOID}
	};
	Datum		values[1] = {CStringGetTextDatum(name)};
	DjkIdentity identity;
	int64		id = 0;
	Oid			owner = InvalidOid;
	bool		isnull;

	djk_catalog_enter(&identity);
	if (djk_catalog_execute(&select_consumer, values, NULL) == 1)
	{
		id = djk_row_int64(0, 1, 0);
		owner = DatumGetObjectId(djk_row_datum(0, 2, &isnull));
	}
	djk_catalog_leave(&identity);
	if (id == 0)
		djk_consumer_row_throw_missing(name);
	djk_require_consumer_owner(owner);
	return id;
}
