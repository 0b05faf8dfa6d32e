-- Privileges: what a role may do with the documented GRANTs, and with none.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on
\set super :USER

CREATE ROLE privileges_plain LOGIN;
CREATE ROLE privileges_app LOGIN;
CREATE ROLE privileges_other LOGIN;
CREATE ROLE privileges_watch LOGIN;

-- a plain role may do nothing, not even look
SET ROLE privileges_plain;
SELECT refused('TABLE ' || t) FROM unnest(ARRAY['djkafka_home', 'djkafka_consumer', 'djkafka_route', 'djkafka_offset', 'djkafka_dead_letter', 'djkafka_event', 'djkafka_status', 'djkafka_partition_status', 'djkafka_outbox', 'djkafka_outbox_status', 'djkafka_outbox_server', 'djkafka_outbox_dead']) t;
SELECT refused('SELECT * FROM ' || f) FROM unnest(ARRAY[
    $$djkafka_create_consumer('c')$$, $$djkafka_subscribe('t', 'pg_class')$$, $$djkafka_create_route('c', 't')$$, $$djkafka_drop_consumer('c')$$, 'djkafka_drop_route(1)',
    $$djkafka_pause('c')$$, $$djkafka_resume('c')$$, $$djkafka_restart('c')$$, $$djkafka_seek('c', 't', 'earliest')$$, $$djkafka_run('c')$$, $$djkafka_peek('t')$$,
    'djkafka_topics()', 'djkafka_health()', 'djkafka_audit()', 'djkafka_worker_status()', 'djkafka_partition_owner()', 'djkafka_system_state()', 'djkafka_embedded_broker()', 'djkafka_use_settings()']) f;
SELECT refused('CREATE SERVER mine FOREIGN DATA WRAPPER djkafka');
RESET ROLE;

-- the GRANTs below are those of docs/reference.md; to read the status:
GRANT SELECT ON djkafka_status, djkafka_partition_status, djkafka_outbox_status TO privileges_watch;
GRANT EXECUTE ON FUNCTION djkafka_health, djkafka_system_state, djkafka_worker_status,
                          djkafka_partition_owner, djkafka_outbox_waiting, djkafka_suppressed, djkafka_is_home TO privileges_watch;
SET ROLE privileges_watch;
SELECT count(*) FROM djkafka_status;
SELECT count(*) FROM djkafka_partition_status;
SELECT count(*) FROM djkafka_outbox_status;
SELECT count(*) > 0 FROM djkafka_health();
SELECT refused('SELECT * FROM djkafka_audit()');
SELECT refused('TABLE djkafka_consumer');
RESET ROLE;
GRANT EXECUTE ON FUNCTION djkafka_audit TO privileges_watch;
GRANT SELECT ON djkafka_consumer, djkafka_offset TO privileges_watch;
GRANT SELECT (offset_id) ON djkafka_parked TO privileges_watch;
SET ROLE privileges_watch;
SELECT count(*), bool_and(holds) IS NOT false FROM djkafka_audit();
RESET ROLE;

-- to subscribe, and no more than that
GRANT EXECUTE ON FUNCTION djkafka_use_settings TO privileges_app, privileges_other;
GRANT EXECUTE ON FUNCTION djkafka_subscribe, djkafka_create_consumer, djkafka_create_route, djkafka_consumer_id,
                          djkafka_set_enabled TO privileges_app, privileges_other;
GRANT SELECT, INSERT ON djkafka_consumer, djkafka_route TO privileges_app, privileges_other;
CREATE SCHEMA app AUTHORIZATION privileges_app;
CREATE SCHEMA other AUTHORIZATION privileges_other;
SET ROLE privileges_app;
SET search_path = app, public;
CREATE TABLE item (id int PRIMARY KEY, name text);
SELECT djkafka_subscribe('items', 'item', consumer => 'app');
SELECT owner, enabled FROM djkafka_consumer;
SELECT djkafka_create_route(djkafka_subscribe('more', 'item', consumer => 'app'), 'still.more', 'item') > 0;
SELECT refused($$SELECT djkafka_pause('app')$$);
SELECT refused($$DELETE FROM djkafka_route$$);
SELECT refused($$UPDATE djkafka_consumer SET enabled = false$$);
RESET ROLE;

-- by a server of its own, and no right on the connection of the settings
CREATE ROLE privileges_server LOGIN;
CREATE SERVER privileges_kafka FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'kafka:9092');
GRANT USAGE ON FOREIGN SERVER privileges_kafka TO privileges_server;
GRANT EXECUTE ON FUNCTION djkafka_subscribe, djkafka_create_consumer, djkafka_create_route, djkafka_consumer_id, djkafka_set_enabled TO privileges_server;
GRANT SELECT, INSERT ON djkafka_consumer, djkafka_route TO privileges_server;
CREATE SCHEMA server AUTHORIZATION privileges_server;
SET ROLE privileges_server;
CREATE TABLE server.item (id int PRIMARY KEY);
SELECT refused($$SELECT djkafka_subscribe('items', 'server.item', consumer => 'by server')$$);
SELECT djkafka_create_consumer('by server', server => 'privileges_kafka') > 0;
SELECT djkafka_subscribe('items', 'server.item', consumer => 'by server');
RESET ROLE;
SELECT djkafka_drop_consumer('by server');
DROP SCHEMA server CASCADE;
DROP SERVER privileges_kafka;
DROP OWNED BY privileges_server;
DROP ROLE privileges_server;

-- a migration that begins paused, resumes, and is reversed
GRANT EXECUTE ON FUNCTION djkafka_resume, djkafka_unsubscribe TO privileges_app;
GRANT UPDATE (enabled) ON djkafka_consumer TO privileges_app;
GRANT DELETE ON djkafka_route TO privileges_app;
SET ROLE privileges_app;
SELECT djkafka_subscribe('more.yet', 'item', consumer => 'app', enabled => false);
SELECT djkafka_resume('app'), djkafka_unsubscribe('more.yet', 'item', consumer => 'app');
SELECT owner, enabled FROM djkafka_consumer;
SELECT refused($$UPDATE djkafka_consumer SET workers = 2$$);
RESET ROLE;

-- to manage, to look and to test
GRANT UPDATE, DELETE ON djkafka_consumer, djkafka_route TO privileges_app, privileges_other;
GRANT EXECUTE ON FUNCTION djkafka_pause, djkafka_resume, djkafka_restart, djkafka_seek,
                          djkafka_drop_consumer, djkafka_drop_route TO privileges_app, privileges_other;
GRANT EXECUTE ON FUNCTION djkafka_run, djkafka_test, djkafka_peek, djkafka_topics TO privileges_app, privileges_other;
GRANT SELECT ON djkafka_offset, djkafka_dead_letter, djkafka_event TO privileges_app;
\c - privileges_app
SET search_path = app, public;
DELETE FROM djkafka_route WHERE topic ~ 'more';
SELECT fate, code, row_after FROM djkafka_test('app', messages => '[{"value": {"id": 1}}, {"value": {"id": "x"}}]');
SELECT give('[{"value": {"id": 1}}, {"value": {"id": "x"}}]', 'app');
TABLE item;
SELECT djkafka_pause('app'), djkafka_restart('app'), djkafka_resume('app');
-- its dead letters it sees, but offsets, dead letters and events are not its to write
SELECT sqlstate FROM djkafka_dead_letter;
SELECT refused($$INSERT INTO djkafka_offset (consumer_id, topic, partition) VALUES (1, 't', 0)$$);
SELECT refused($$DELETE FROM djkafka_dead_letter$$);
SELECT refused($$INSERT INTO djkafka_event (kind) VALUES ('x')$$);
SELECT refused($$UPDATE djkafka_home SET home = gen_random_uuid()$$);
SELECT refused($$CREATE TRIGGER mine BEFORE INSERT ON djkafka_route FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()$$);
SELECT refused($$ALTER TABLE djkafka_route DISABLE TRIGGER ALL$$);
\c - :super

-- another role with the same rights cannot touch what is not its own
SET ROLE privileges_other;
SET search_path = other, public;
SELECT refused($$SELECT djkafka_pause('app')$$);
SELECT refused($$SELECT djkafka_drop_consumer('app')$$);
SELECT refused($$SELECT djkafka_drop_route(1)$$);
SELECT refused($$SELECT djkafka_seek('app', 'items', 'latest')$$);
SELECT refused($$SELECT djkafka_run('app', messages => '[]')$$);
SELECT refused($$SELECT djkafka_create_route('app', 'more', 'app.item')$$);
SELECT refused($$UPDATE djkafka_route SET filter = 'false'$$);
SELECT refused($$UPDATE djkafka_consumer SET owner = 'privileges_other'$$);
CREATE TABLE mine (id int PRIMARY KEY);
SELECT djkafka_subscribe('t', 'mine', consumer => 'other');
-- nor move a route of its own there, nor take one
SELECT refused($$UPDATE djkafka_route SET consumer_id = 1 WHERE id = (SELECT max(id) FROM djkafka_route)$$);
SELECT refused($$UPDATE djkafka_route SET consumer_id = djkafka_consumer_id('other') WHERE id = 1$$);
-- a table of another's can be named, but not written
SELECT refused($$SELECT djkafka_create_route('other', 'steal', 'app.item')$$);
RESET ROLE;
GRANT USAGE ON SCHEMA app TO privileges_other;
SET ROLE privileges_other;
SELECT refused($$SELECT djkafka_create_route('other', 'steal', 'app.item')$$);
RESET ROLE;
SET search_path = app, public;
GRANT SELECT, INSERT, UPDATE, DELETE ON item TO privileges_other;
SET ROLE privileges_other;
SELECT djkafka_create_route('other', 'steal', 'app.item') > 0;
RESET ROLE;
-- what is taken away later breaks the route, and costs no message
REVOKE DELETE ON item FROM privileges_other;
\c - privileges_other
SELECT regexp_replace(refused($$SELECT give('[{"topic": "steal", "value": {"id": 2}}]', 'other')$$), 'route \d+', 'route N');
\c - :super
SET search_path = app, public;
SELECT count(*) FROM djkafka_dead_letter WHERE consumer = 'other';
GRANT DELETE ON item TO privileges_other;
\c - privileges_other
SELECT give('[{"topic": "steal", "value": {"id": 2}}]', 'other');
\c - :super
SET search_path = app, public;
TABLE item;

-- a superuser may change what is another's, but what runs then runs as its owner
CREATE FUNCTION app.who() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE NOTICE 'runs as %', current_user; RETURN current_user; END $$;
ALTER FUNCTION app.who() OWNER TO privileges_app;
SET ROLE privileges_app;
UPDATE djkafka_route SET columns = '{"name": "app.who()"}' WHERE id = 1;
RESET ROLE;
UPDATE djkafka_route SET notify = 'batch' WHERE id = 1;
SELECT refused($$SELECT djkafka_run('app', messages => '[]')$$);
-- nor by a session that its code could turn back into the superuser's, be it at COMMIT
SET ROLE privileges_app;
SELECT refused($$SELECT djkafka_run('app', messages => '[]')$$);
RESET ROLE;
SET SESSION AUTHORIZATION privileges_app;
SELECT refused($$SELECT djkafka_run('app', messages => '[]')$$);
RESET SESSION AUTHORIZATION;
GRANT privileges_other TO privileges_app;
\c - privileges_app
SELECT give('[{"value": {"id": 3}}]', 'app');
TABLE app.item;
-- a member of the owner is no superuser
SET ROLE privileges_other;
SELECT give('[]', 'other');
\c - :super
SET search_path = app, public;
REVOKE privileges_other FROM privileges_app;

-- the offsets are workers' and djkafka_seek's alone, whoever asks
INSERT INTO djkafka_consumer (name) VALUES ('super');
SELECT refused($$INSERT INTO djkafka_offset (consumer_id, topic, partition, next_offset) VALUES (djkafka_consumer_id('super'), 't', 0, 5)$$);
SELECT refused($$SELECT djkafka_seek('super', 't', 'earliest')$$);
SELECT refused($$SELECT djkafka_seek('super', 't', 'earliest', -1)$$);
SELECT refused($$SELECT djkafka_seek('super', 't', 'soon')$$);
SELECT refused($$SELECT djkafka_seek('super', NULL, 'earliest')$$);
SELECT refused($$SELECT djkafka_seek('super', 't', NULL)$$);
SELECT refused($$TRUNCATE djkafka_consumer$$);
SELECT count(*) FROM djkafka_offset;

-- row security of the target is the owner's
ALTER TABLE item ENABLE ROW LEVEL SECURITY;
CREATE POLICY low ON item FOR ALL TO privileges_other USING (id < 100) WITH CHECK (id < 100);
\c - privileges_other
SELECT give('[{"topic": "steal", "value": {"id": 4}}, {"topic": "steal", "value": {"id": 400}}, {"topic": "steal", "value": {"id": 4, "name": "x"}}]', 'other');
\c - :super
SET search_path = app, public;
SELECT id, name FROM item WHERE id >= 4;
SELECT dead_letters();

-- rights on columns are enough for the columns
CREATE TABLE app.narrow (id int PRIMARY KEY, name text, secret text DEFAULT 'mine');
GRANT SELECT, INSERT (id, name), UPDATE (name) ON app.narrow TO privileges_other;
\c - privileges_other
SELECT djkafka_create_route('other', 'narrow', 'app.narrow', operation => 'upsert', exclude => '{secret}') > 0;
SELECT give('[{"topic": "narrow", "value": {"id": 1, "name": "a", "secret": "yours"}}, {"topic": "narrow", "value": {"id": 1, "name": "b"}}]', 'other');
\c - :super
TABLE app.narrow;

SET client_min_messages = error;
RESET search_path;
SELECT djkafka_drop_consumer(name) FROM djkafka_consumer;
DROP SCHEMA app, other CASCADE;
DROP OWNED BY privileges_app, privileges_other, privileges_watch;
DROP ROLE privileges_plain, privileges_app, privileges_other, privileges_watch;
