-- What is shown where nothing runs: status, health, partitions, positions, audit, events.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA status;
SET search_path = status, public;
SET djkafka.bootstrap_servers = 'embedded';
CREATE TABLE item (id int PRIMARY KEY);

-- the views and functions have these columns
SELECT c.relname, string_agg(a.attname, ' ' ORDER BY a.attnum) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
 WHERE c.relname IN ('djkafka_status', 'djkafka_partition_status') GROUP BY 1;

-- this database is not in djkafka.databases
SELECT state, reason, hint FROM djkafka_system_state();
SELECT * FROM djkafka_health();
SELECT kind, consumer_id, worker FROM djkafka_worker_status() ORDER BY kind;
SELECT count(*) FROM djkafka_partition_owner();
SELECT djkafka_embedded_broker() ~ '^127\.0\.0\.1:\d+$';
SELECT djkafka_library_version() ~ '^\d+\.\d+\.\d+';
SELECT djkafka_is_home(home), djkafka_is_home('00000000-0000-0000-0000-000000000000'), djkafka_is_home(NULL) FROM djkafka_home;

-- a consumer
SELECT djkafka_create_consumer('empty');
SELECT djkafka_subscribe('status.items', 'item');
SELECT djkafka_pause('default');
SELECT consumer, wanted, state, reason, hint, since, workers_wanted, workers_running, partitions, lag, applied, dead, batches, last_error, attempt, next_retry, owner = current_user::regrole FROM djkafka_status ORDER BY 1;
SELECT verdict, consumer, state FROM djkafka_health();

-- positions: a topic of four partitions and no messages
SELECT * FROM djkafka_topics(topic_name => 'status.items');
SELECT * FROM djkafka_peek('status.items', start_at => 'earliest', timeout => '5 s');
SELECT * FROM djkafka_run('default', until => 'eof');
SELECT * FROM djkafka_run('default', idle => '10 ms');
SELECT * FROM djkafka_run('default', timeout => '1 s');
SELECT consumer, topic, partition, state, reason, worker, pid, first_offset, next_offset, high_watermark, lag, last_message_at, applied, filtered, duplicates, dead, parked, gaps, skipped, start_at, generation
  FROM djkafka_partition_status ORDER BY partition;
SELECT * FROM djkafka_audit();
SELECT partitions, lag, applied FROM djkafka_status WHERE consumer = 'default';

-- messages of the caller's move none of them
SELECT give('[{"value": {"id": 1}}]');
SELECT sum(next_offset), sum(applied) FROM djkafka_offset;

-- a seek stores the wish, begins counting again, and tells
SELECT revision FROM djkafka_consumer WHERE name = 'default' \gset
SELECT djkafka_seek('default', 'status.items', 'latest');
SELECT djkafka_seek('default', 'status.items', '42', 1), djkafka_seek('default', 'status.items', '2026-01-31 12:00+00', 2);
SELECT partition, start_at, first_offset, next_offset, generation, applied, state FROM djkafka_offset ORDER BY partition;
SELECT revision > :revision FROM djkafka_consumer WHERE name = 'default';
SELECT kind, consumer, topic, partition, state, reason, role = session_user FROM djkafka_event ORDER BY id;
SELECT consumer, partition, state, start_at FROM djkafka_partition_status ORDER BY partition;
SELECT * FROM djkafka_audit();
SELECT refused($$SELECT djkafka_seek('default', 'status.items', 'latest', 4)$$);
SELECT refused($$SELECT djkafka_seek('default', 'status.other', 'latest')$$);
SELECT refused($$SELECT djkafka_seek('default', 'status.items', '-5')$$);
SELECT refused($$SELECT djkafka_seek('default', 'status.items', '99999999999999999999')$$);
-- the end is where it says, and what lies beyond it waits there
SELECT applied, reason FROM djkafka_run('default', until => 'eof');
SELECT partition, start_at, next_offset FROM djkafka_offset ORDER BY partition;
-- nobody else writes them
SELECT refused($$UPDATE djkafka_offset SET next_offset = 0$$);
SELECT refused($$DELETE FROM djkafka_offset$$);

-- what the group has committed is the worker's to read
SELECT djkafka_create_consumer('takes over', start_from => 'group');
SELECT djkafka_subscribe('status.items', 'item', consumer => 'takes over');
SELECT refused($$SELECT djkafka_run('takes over')$$);

-- a pattern finds its topics
SELECT djkafka_subscribe('^status\.', 'item', consumer => 'empty');
SELECT applied, reason FROM djkafka_run('empty', until => 'eof');
SELECT topic, count(*) FROM djkafka_offset WHERE consumer_id = djkafka_consumer_id('empty') GROUP BY 1;

-- dead letters that nobody has decided about are a warning
CREATE TABLE owner (id int PRIMARY KEY);
CREATE TABLE pet (id int PRIMARY KEY, owner_id int REFERENCES owner);
SELECT djkafka_create_consumer('letters', enabled => false) > 0;
SELECT djkafka_create_route('letters', 'pets', 'pet', parent_timeout => '1 hour') > 0;
SELECT applied, dead FROM djkafka_run('letters', messages => '[{"topic": "pets", "key": 1, "value": {"id": 1, "owner_id": "x"}}, {"topic": "pets", "key": 2, "value": {"id": 2, "owner_id": null}}]');
SELECT letters FROM djkafka_status WHERE consumer = 'letters';
SELECT verdict, state, reason, hint FROM djkafka_health() WHERE consumer = 'letters';
SELECT djkafka_discard(consumer => 'letters', reason => 'no pet');
SELECT verdict, state FROM djkafka_health() WHERE consumer = 'letters';
DROP TABLE pet, owner;

-- dropping a consumer takes its positions along, and leaves events
SELECT djkafka_drop_consumer(name) FROM djkafka_consumer;
SELECT count(*) FROM djkafka_offset;
SELECT count(*) > 0 FROM djkafka_event;

-- a row of another home came with a copy of the database: it is shown, and nothing of it is checked or runs
INSERT INTO djkafka_consumer (name, home, server) VALUES ('copied', '00000000-0000-0000-0000-000000000000', 'no_such_server');
INSERT INTO djkafka_route (consumer_id, topic, handler) SELECT id, 't', 'nowhere.nothing(jsonb)' FROM djkafka_consumer;
INSERT INTO djkafka_offset (consumer_id, topic, partition, first_offset, next_offset, applied) SELECT id, 't', 0, 5, 9, 3 FROM djkafka_consumer;
SELECT consumer, wanted, state, reason, hint FROM djkafka_status;
SELECT verdict, consumer, state FROM djkafka_health();
SELECT * FROM djkafka_audit();
SELECT djkafka_drop_consumer('copied');

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA status CASCADE;
RESET client_min_messages;

-- the hint is right for a name that needs quotes too
CREATE DATABASE "Djkafka status";
SELECT current_database() AS home \gset
\c "Djkafka status"
CREATE EXTENSION djkafka;
SELECT hint FROM djkafka_system_state();
\c :home
DROP DATABASE "Djkafka status";
