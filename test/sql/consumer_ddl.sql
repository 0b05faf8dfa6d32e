-- Consumers: defaults, what is checked, who may change what.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

-- the defaults
SELECT djkafka_create_consumer('default');
SELECT name, owner = current_user::regrole, home = (SELECT home FROM djkafka_home), server, workers, assignment, start_from, enabled, options,
       on_error, notify, batch_messages, batch_bytes, synchronous_commit, revision
  FROM djkafka_consumer;
SELECT group_id = 'djkafka-' || left((SELECT home::text FROM djkafka_home), 8) || '-default' FROM djkafka_consumer;
SELECT djkafka_drop_consumer('default');

-- everything said, and as the ORM says it
SELECT djkafka_create_consumer(name => 'all', group_id => 'a-group', server => NULL, workers => 4, start_from => 'latest',
    enabled => false, options => '{"fetch.wait.max.ms": 50}', on_error => 'stop', notify => 'keys', assignment => 'roundrobin',
    batch_messages => 10, batch_bytes => 65536, synchronous_commit => true, owner => current_user);
INSERT INTO djkafka_consumer (name, options, enabled) VALUES ('orm', '{}', true) RETURNING id, workers, revision;
SELECT name, group_id, workers, start_from, enabled, options, on_error, notify, assignment, batch_messages, batch_bytes, synchronous_commit
  FROM djkafka_consumer WHERE name = 'all';

CREATE TABLE before AS SELECT * FROM djkafka_consumer;

-- names
SELECT refused($$SELECT djkafka_create_consumer(NULL)$$);
SELECT refused($$SELECT djkafka_create_consumer('')$$);
SELECT refused($$SELECT djkafka_create_consumer(E'a\nb')$$);
SELECT refused(format('SELECT djkafka_create_consumer(%L)', repeat('n', 64)));
SELECT refused(format('SELECT djkafka_create_consumer(%L)', repeat('ä', 32)));
SELECT refused($$SELECT djkafka_create_consumer('all')$$);
SELECT refused($$UPDATE djkafka_consumer SET name = NULL WHERE name = 'orm'$$);
SELECT refused($$UPDATE djkafka_consumer SET name = 'all' WHERE name = 'orm'$$);

-- groups: one consumer each, for a connection
SELECT refused($$SELECT djkafka_create_consumer('other', group_id => 'a-group')$$);
SELECT refused(format('SELECT djkafka_create_consumer(''other'', group_id => %L)', repeat('g', 256)));
-- nor in the group where an outbox keeps what it has sent
SELECT regexp_replace(refused(format('SELECT djkafka_create_consumer(''other'', group_id => %L)', 'djkafka-outbox-' || home || '-1')), home::text, '<home>') FROM djkafka_home;
SELECT refused($$UPDATE djkafka_consumer SET group_id = 'djkafka-outbox-x' WHERE name = 'orm'$$);
SELECT refused($$UPDATE djkafka_consumer SET group_id = 'a-group' WHERE name = 'orm'$$);

-- numbers
SELECT refused($$SELECT djkafka_create_consumer('other', workers => 0)$$);
SELECT refused($$SELECT djkafka_create_consumer('other', workers => 257)$$);
SELECT refused($$SELECT djkafka_create_consumer('other', workers => NULL)$$);
SELECT refused($$SELECT djkafka_create_consumer('other', batch_messages => 0)$$);
SELECT refused($$SELECT djkafka_create_consumer('other', batch_messages => 1000001)$$);
SELECT refused($$SELECT djkafka_create_consumer('other', batch_bytes => 1023)$$);
SELECT refused($$SELECT djkafka_create_consumer('other', batch_bytes => 2147483647)$$);

-- words
SELECT refused($$SELECT djkafka_create_consumer('other', on_error => 'ignore')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', on_error => NULL)$$);
SELECT refused($$SELECT djkafka_create_consumer('other', notify => 'all')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', notify => NULL)$$);
SELECT refused($$SELECT djkafka_create_consumer('other', assignment => 'sticky')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', assignment => NULL)$$);
SELECT refused($$SELECT djkafka_create_consumer('other', enabled => NULL)$$);
SELECT refused($$SELECT djkafka_create_consumer('other', synchronous_commit => NULL)$$);
SELECT refused($$SELECT djkafka_create_consumer('other', on_new_topic => 'latest')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', on_new_topic => NULL)$$);

-- where to start
SELECT refused($$SELECT djkafka_create_consumer('other', start_from => 'beginning')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', start_from => '')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', start_from => NULL)$$);
SELECT refused($$SELECT djkafka_create_consumer('other', start_from => '42')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', start_from => '-5')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', start_from => '2026-02-30')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', start_from => 'infinity')$$);

-- options: the library's properties that belong to a consumer
SELECT refused($$SELECT djkafka_create_consumer('other', options => NULL)$$);
SELECT refused($$SELECT djkafka_create_consumer('other', options => '[]')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', options => '"x"')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', options => '{"fetch.wait.max.ms": {}}')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', options => '{"fetch.wait.max.ms": null}')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', options => '{"fetch.error.backoff.ms": "soon"}')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', options => '{"fetch.wait.max.m": "1"}')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', options => '{"group.id": "x"}')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', options => '{"auto.offset.reset": "latest"}')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', options => '{"bootstrap.servers": "evil:9092"}')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', options => '{"sasl.password": "secret"}')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', options => '{"plugin.library.paths": "/tmp/evil.so"}')$$);
-- nor asks with another's credentials for more rights
SELECT refused($$SELECT djkafka_create_consumer('other', options => '{"sasl.oauthbearer.scope": "admin"}')$$);
SELECT refused($$SELECT djkafka_create_consumer('other', options => '{"SASL_oauthbearer_extensions": "identityPoolId=other"}')$$);

-- connections
SELECT refused($$SELECT djkafka_create_consumer('other', server => 'nowhere')$$);
CREATE FOREIGN DATA WRAPPER consumer_ddl;
CREATE SERVER consumer_ddl FOREIGN DATA WRAPPER consumer_ddl;
SELECT refused($$SELECT djkafka_create_consumer('other', server => 'consumer_ddl')$$);

-- owners
SELECT refused($$SELECT djkafka_create_consumer('other', owner => 'nobody_at_all')$$);
CREATE ROLE consumer_ddl_group NOLOGIN;
CREATE ROLE consumer_ddl_a LOGIN;
CREATE ROLE consumer_ddl_b LOGIN IN ROLE consumer_ddl_a;
GRANT SELECT, INSERT, UPDATE, DELETE ON djkafka_consumer, djkafka_route TO consumer_ddl_a;
GRANT EXECUTE ON FUNCTION djkafka_use_settings(), djkafka_pause(text), djkafka_drop_consumer(text), djkafka_seek(text, text, text, integer) TO consumer_ddl_a;
SET ROLE consumer_ddl_a;
INSERT INTO djkafka_consumer (name) VALUES ('of a') RETURNING owner;
SELECT refused($$INSERT INTO djkafka_consumer (name, owner) VALUES ('of b', 'consumer_ddl_b')$$);
SELECT refused($$INSERT INTO djkafka_consumer (name, owner) VALUES ('of g', 'consumer_ddl_group')$$);
SELECT refused($$UPDATE djkafka_consumer SET enabled = false WHERE name = 'all'$$);
SELECT refused($$DELETE FROM djkafka_consumer WHERE name = 'all'$$);
SELECT refused($$SELECT djkafka_pause('all')$$);
SELECT refused($$SELECT djkafka_drop_consumer('all')$$);
SELECT refused($$SELECT djkafka_seek('all', 't', 'earliest')$$);
SELECT refused($$UPDATE djkafka_consumer SET owner = current_user::regrole WHERE name = 'all'$$);
SET ROLE consumer_ddl_b;
INSERT INTO djkafka_consumer (name, owner) VALUES ('also of a', 'consumer_ddl_a') RETURNING owner;
UPDATE djkafka_consumer SET enabled = false WHERE name = 'of a' RETURNING revision;
RESET ROLE;
-- a connection that the owner may not use
REVOKE EXECUTE ON FUNCTION djkafka_use_settings() FROM consumer_ddl_a;
CREATE SERVER consumer_ddl_2 FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'kafka:9092');
SET ROLE consumer_ddl_a;
SELECT refused($$INSERT INTO djkafka_consumer (name) VALUES ('settings')$$);
SELECT refused($$INSERT INTO djkafka_consumer (name, server) VALUES ('server', 'consumer_ddl_2')$$);
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER consumer_ddl_2 TO consumer_ddl_a;
SET ROLE consumer_ddl_a;
INSERT INTO djkafka_consumer (name, server) VALUES ('server', 'consumer_ddl_2') RETURNING server;
RESET ROLE;
DELETE FROM djkafka_consumer WHERE owner = 'consumer_ddl_a'::regrole;

-- a group may be the same on another connection
SELECT djkafka_create_consumer('elsewhere', group_id => 'a-group', server => 'consumer_ddl_2') > 0;
SELECT djkafka_drop_consumer('elsewhere');

-- what does not exist
SELECT refused($$SELECT djkafka_pause('nothing')$$);
SELECT refused($$SELECT djkafka_resume('nothing')$$);
SELECT refused($$SELECT djkafka_restart('nothing')$$);
SELECT refused($$SELECT djkafka_drop_consumer('nothing')$$);
SELECT refused($$SELECT djkafka_consumer_id('nothing')$$);
SELECT refused($$SELECT djkafka_seek('nothing', 't', 'earliest')$$);
SELECT refused($$SELECT djkafka_run('nothing')$$);
SELECT refused($$SELECT djkafka_pause(NULL)$$);
SELECT refused($$SELECT djkafka_drop_consumer(NULL)$$);

-- after all these errors nothing has changed
SELECT count(*) FROM (TABLE djkafka_consumer EXCEPT TABLE before) x;
SELECT count(*) FROM (TABLE before EXCEPT TABLE djkafka_consumer) x;
SELECT count(*) FROM djkafka_event;

-- every change raises the revision, and only by one
SELECT djkafka_pause('orm'), djkafka_pause('orm');
SELECT enabled, revision FROM djkafka_consumer WHERE name = 'orm';
SELECT djkafka_resume('orm');
SELECT djkafka_restart('orm');
SELECT enabled, revision, updated_at >= created_at FROM djkafka_consumer WHERE name = 'orm';
UPDATE djkafka_consumer SET workers = 2, revision = 1 WHERE name = 'orm' RETURNING workers, revision;
UPDATE djkafka_consumer SET name = 'renamed' WHERE name = 'orm' RETURNING name, group_id ~ '-orm$', revision;
SELECT refused($$UPDATE djkafka_consumer SET home = gen_random_uuid() WHERE name = 'all'$$);

-- times are kept in a form that does not depend on who reads them
SET TimeZone = 'Asia/Tokyo';
UPDATE djkafka_consumer SET start_from = '2026-01-31 12:00' WHERE name = 'all';
SET TimeZone = 'UTC';
SELECT start_from::timestamptz AT TIME ZONE 'UTC' FROM djkafka_consumer WHERE name = 'all';
RESET TimeZone;

-- dropping takes routes and offsets along
CREATE TABLE item (id int PRIMARY KEY);
SELECT djkafka_create_route('all', 'items', 'item');
SELECT djkafka_drop_consumer('all');
SELECT count(*) FROM djkafka_route;

-- the commands that hints name can be given as they are
CREATE ROLE "it's-odd" LOGIN;
CREATE TABLE odd (id int PRIMARY KEY);
ALTER TABLE odd OWNER TO "it's-odd";
SELECT refused($$SELECT djkafka_create_consumer('odd', owner => '"it''s-odd"')$$);
GRANT EXECUTE ON FUNCTION djkafka_use_settings() TO "it's-odd";
BEGIN;
DO $$ BEGIN EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database()); END $$;
SELECT replace(refused($$SELECT djkafka_create_consumer('odd', owner => '"it''s-odd"')$$), quote_ident(current_database()), 'here');
ROLLBACK;
SELECT djkafka_subscribe('odd', 'odd', consumer => 'odd', enabled => false);
SELECT djkafka_alter_consumer('odd', owner => '"it''s-odd"') > 0;
CREATE SERVER "an ""odd"" one" FOREIGN DATA WRAPPER djkafka;
SELECT refused($$SELECT djkafka_topics('an "odd" one')$$);

-- when it was made tells it from another one of its id, and is nobody's to say
INSERT INTO djkafka_consumer (name, enabled, created_at) VALUES ('dated', false, '2001-01-01') RETURNING created_at = now();

SELECT djkafka_drop_consumer(name) FROM djkafka_consumer;
DROP TABLE item, before, odd;
DROP SERVER "an ""odd"" one";
DROP SERVER consumer_ddl, consumer_ddl_2;
DROP FOREIGN DATA WRAPPER consumer_ddl;
REVOKE ALL ON djkafka_consumer, djkafka_route FROM consumer_ddl_a;
REVOKE ALL ON FUNCTION djkafka_use_settings(), djkafka_pause(text), djkafka_drop_consumer(text), djkafka_seek(text, text, text, integer) FROM consumer_ddl_a;
REVOKE ALL ON FUNCTION djkafka_use_settings() FROM "it's-odd";
DROP ROLE "it's-odd", consumer_ddl_a, consumer_ddl_b, consumer_ddl_group;
