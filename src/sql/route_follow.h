/*-------------------------------------------------------------------------
 *
 * route_follow.h
 *	  The routes that a command on their targets changes.
 *
 * A route of a foreign consumer is not checked, so anybody who may write routes may
 * name any table in one, and keep its row locked.  Nobody waits for such a row: it
 * does nothing before it is adopted, and is checked then.
 *
 *-------------------------------------------------------------------------
 */
#ifndef DJK_ROUTE_FOLLOW_H
#define DJK_ROUTE_FOLLOW_H

/*
 * Names for a WITH of a statement, after others or not; "routes" has the ids of
 * those whose targets a query of one column gives.
 */
#define DJK_ROUTES_OF(targets) \
	"named AS MATERIALIZED (SELECT r.id, c.home = h.home AS is_home FROM @.djkafka_route r" \
	" JOIN @.djkafka_consumer c ON c.id = r.consumer_id CROSS JOIN @.djkafka_home h WHERE r.target::oid IN (" targets "))," \
	" free AS MATERIALIZED (SELECT id FROM @.djkafka_route WHERE id IN (SELECT id FROM named WHERE NOT is_home)" \
	" FOR NO KEY UPDATE SKIP LOCKED)," \
	" routes AS (SELECT id FROM named WHERE is_home UNION ALL SELECT id FROM free)"

#endif							/* DJK_ROUTE_FOLLOW_H */
