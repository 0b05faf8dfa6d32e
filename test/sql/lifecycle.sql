-- What an application does with its consumers from its first migration to its last.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA lifecycle;
SET search_path = lifecycle, public;
CREATE TABLE item (id int PRIMARY KEY, name text);
CREATE VIEW consumers AS SELECT name, enabled, (SELECT count(*) FROM djkafka_route r WHERE r.consumer_id = c.id) AS routes FROM djkafka_consumer c;

-- a subscription that does not consume yet, until it is said
SELECT djkafka_subscribe('a', 'item', enabled => false);
TABLE consumers;
SELECT djkafka_resume('default');
TABLE consumers;
-- one that is silent about it leaves a consumer as it is
SELECT djkafka_subscribe('b', 'item');
SELECT djkafka_pause('default');
SELECT djkafka_subscribe('c', 'item');
TABLE consumers;
-- one that is not pauses what runs, or resumes it
SELECT djkafka_subscribe('d', 'item', enabled => true);
TABLE consumers;
SELECT djkafka_subscribe('e', 'item', enabled => false);
SELECT djkafka_subscribe('f', 'item', enabled => false);
TABLE consumers;
SELECT djkafka_set_enabled('default', NULL), djkafka_set_enabled('default', true), djkafka_set_enabled('default', true);
TABLE consumers;
SELECT refused($$SELECT djkafka_set_enabled('nobody', true)$$), refused($$SELECT djkafka_set_enabled(NULL, true)$$);
-- and nothing of it without the route
SELECT refused($$SELECT djkafka_subscribe('g', 'item', operation => 'no', consumer => 'new', enabled => false)$$),
       refused($$SELECT djkafka_subscribe('g', 'item', operation => 'no', enabled => false)$$);
TABLE consumers;
SELECT djkafka_drop_consumer('default');

-- who may not pause a consumer may not subscribe it so
CREATE ROLE lifecycle_one LOGIN;
CREATE ROLE lifecycle_other LOGIN;
GRANT USAGE, CREATE ON SCHEMA lifecycle TO lifecycle_one, lifecycle_other;
GRANT EXECUTE ON FUNCTION djkafka_use_settings, djkafka_subscribe, djkafka_create_consumer, djkafka_create_route, djkafka_consumer_id,
                          djkafka_set_enabled TO lifecycle_one, lifecycle_other;
GRANT SELECT, INSERT ON djkafka_consumer, djkafka_route TO lifecycle_one, lifecycle_other;
SET ROLE lifecycle_one;
CREATE TABLE one (id int PRIMARY KEY);
SELECT djkafka_subscribe('a', 'one', consumer => 'one', enabled => false);
SELECT refused($$SELECT djkafka_subscribe('b', 'one', consumer => 'one', enabled => true)$$);
SELECT djkafka_subscribe('b', 'one', consumer => 'one', enabled => false);
RESET ROLE;
GRANT UPDATE ON djkafka_consumer TO lifecycle_one, lifecycle_other;
SET ROLE lifecycle_other;
SELECT refused($$SELECT djkafka_set_enabled('one', true)$$), refused($$SELECT djkafka_subscribe('b', 'one', consumer => 'one', enabled => true)$$);
SET ROLE lifecycle_one;
SELECT djkafka_subscribe('c', 'one', consumer => 'one', enabled => true);
RESET ROLE;
TABLE consumers;
SET client_min_messages = error;
DROP SCHEMA lifecycle CASCADE;
