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

-- unsubscribing: the consumer stays with its offsets
SELECT djkafka_drop_consumer('one');
CREATE TABLE more (id int PRIMARY KEY, name text);
CREATE FUNCTION handle(jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
SELECT djkafka_subscribe('a', 'item'), djkafka_subscribe('a', 'item', filter => 'false'), djkafka_subscribe('a', 'more'),
       djkafka_subscribe('a', handler => 'handle(jsonb)'), djkafka_subscribe('b', 'item'), djkafka_subscribe('b', 'item', consumer => 'own');
SELECT djkafka_unsubscribe('a', 'item');
SELECT djkafka_unsubscribe('a', handler => 'handle(jsonb)');
SELECT djkafka_unsubscribe('b', 'item', consumer => 'own');
SELECT c.name, r.topic, r.target, r.handler FROM djkafka_route r JOIN djkafka_consumer c ON c.id = r.consumer_id ORDER BY r.id;
SELECT djkafka_unsubscribe('a');
SELECT refused($$SELECT djkafka_unsubscribe('a')$$), refused($$SELECT djkafka_unsubscribe('b', 'more')$$),
       refused($$SELECT djkafka_unsubscribe('b', 'item', consumer => 'nobody')$$), refused($$SELECT djkafka_unsubscribe(NULL)$$),
       refused($$SELECT djkafka_unsubscribe('b', consumer => NULL)$$);
GRANT EXECUTE ON FUNCTION djkafka_unsubscribe TO lifecycle_other;
GRANT DELETE ON djkafka_route TO lifecycle_other;
SET ROLE lifecycle_other;
SELECT refused($$SELECT djkafka_unsubscribe('b', 'item')$$) ~ '^42501 must be a member of role';
RESET ROLE;
TABLE consumers;
SELECT djkafka_drop_consumer('default'), djkafka_drop_consumer('own');

-- where a consumer stopped is kept for the next one of its owner in its group; offsets are the workers' to write
CREATE FUNCTION set_offset(consumer text, topic text, partition int, next_offset bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    ALTER TABLE djkafka_offset DISABLE TRIGGER USER;
    INSERT INTO djkafka_offset (consumer_id, topic, partition, first_offset, next_offset, applied, cluster_id, topic_uuid, anchor_offset, anchor_hash)
    VALUES (djkafka_consumer_id(consumer), $2, $3, 0, $4, $4, 'c', 't', $4 - 1, 7);
    ALTER TABLE djkafka_offset ENABLE ALWAYS TRIGGER djkafka_offset_guard;
END $$;
SET client_min_messages = warning;
CREATE VIEW offsets AS SELECT c.name, o.topic, o.partition, o.start_at, o.first_offset, o.next_offset, o.applied, o.state, o.cluster_id, o.topic_uuid, o.anchor_offset, o.anchor_hash
  FROM djkafka_offset o JOIN djkafka_consumer c ON c.id = o.consumer_id ORDER BY 1, 2, 3;
SELECT djkafka_subscribe('a', 'item'), djkafka_subscribe('b', 'item');
SELECT set_offset('default', 'a', 0, 10), set_offset('default', 'a', 1, 20), set_offset('default', 'b', 0, 30);
SELECT djkafka_seek('default', 'b', '2026-01-01');
SELECT djkafka_unsubscribe('a', 'item'), djkafka_unsubscribe('b', 'item');
SELECT djkafka_subscribe('a', 'item');
TABLE offsets;
SELECT djkafka_drop_consumer('default');
SELECT consumer, topic, partition, start_at, next_offset FROM djkafka_offset_left ORDER BY id;
SELECT djkafka_subscribe('a', 'item');
TABLE offsets;
SELECT holds FROM djkafka_audit();
SELECT count(*) FROM djkafka_offset_left;
-- dropped in every way, and under another name; the last drop counts
DELETE FROM djkafka_consumer;
RESET client_min_messages;
UPDATE djkafka_offset_left SET group_id = 'a group';
SELECT djkafka_create_consumer('renamed', group_id => 'a group') > 0;
TABLE offsets;
SELECT djkafka_seek('renamed', 'a', '15', 1);
DROP TABLE item CASCADE;
SELECT djkafka_drop_consumer('renamed');
SELECT djkafka_create_consumer('default', group_id => 'a group') > 0;
TABLE offsets;
SELECT djkafka_drop_consumer('default');
-- not in another group, or at another server, or for another owner, who is told
SELECT djkafka_create_consumer('other') > 0;
CREATE SERVER lifecycle FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'kafka:9092');
SELECT djkafka_create_consumer('default', server => 'lifecycle', group_id => 'a group') > 0;
SELECT djkafka_drop_consumer('default');
SET client_min_messages = warning;
SELECT djkafka_create_consumer('default', owner => 'lifecycle_one', group_id => 'a group') > 0;
RESET client_min_messages;
SELECT set_offset('default', 'a', 0, 50);
SELECT djkafka_drop_consumer('default');
TABLE offsets;
SELECT owner = 'lifecycle_one'::regrole, topic, partition, next_offset FROM djkafka_offset_left ORDER BY id;
SELECT djkafka_create_consumer('default', owner => 'lifecycle_other', group_id => 'a group') > 0;
SELECT djkafka_drop_consumer('default');
-- with 'group' it is Kafka that says where
SELECT djkafka_create_consumer('default', start_from => 'group', group_id => 'a group') > 0;
TABLE offsets;
SELECT djkafka_drop_consumer('default');
SELECT djkafka_create_consumer('default', group_id => 'a group') > 0;
TABLE offsets;
SELECT djkafka_drop_consumer('default'), djkafka_drop_consumer('other');

SET client_min_messages = warning;
-- what waits and what failed is not lost either, and comes back with its consumer
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent_id int NOT NULL REFERENCES parent);
SET djkafka.bootstrap_servers = 'embedded';
SELECT djkafka_subscribe('child', 'child', parent_timeout => '1 h');
SELECT set_offset('default', 'child', 0, 10);
CREATE FUNCTION park(route bigint, key int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    ALTER TABLE djkafka_parked DISABLE TRIGGER USER;
    ALTER TABLE djkafka_offset DISABLE TRIGGER USER;
    INSERT INTO djkafka_parked (consumer_id, offset_id, route_id, topic, partition, "offset", value, lane, sqlstate, message)
    SELECT consumer_id, id, $1, topic, partition, $2, convert_to(format('{"id": %s, "parent_id": 1}', $2), 'UTF8'), 1, '23503', 'no parent' FROM djkafka_offset;
    UPDATE djkafka_offset SET parked = parked + 1, applied = applied - 1;
    ALTER TABLE djkafka_parked ENABLE ALWAYS TRIGGER djkafka_parked_guard;
    ALTER TABLE djkafka_offset ENABLE ALWAYS TRIGGER djkafka_offset_guard;
END $$;
SELECT park(id, 7), park(id, 8) FROM djkafka_route;
-- of an unsubscribed topic they wait for the next route
SELECT djkafka_unsubscribe('child', 'child');
SELECT parked, dead FROM djkafka_offset;
SELECT holds FROM djkafka_audit();
SELECT djkafka_drop_consumer('default');
SELECT consumer, topic, "offset", sqlstate, message, detail, hint FROM djkafka_dead_letter ORDER BY "offset";
-- no other's letter gets in among them, though the consumer is gone
GRANT SELECT, INSERT ON djkafka_dead_letter TO lifecycle_one;
GRANT USAGE ON SEQUENCE djkafka_dead_letter_id_seq TO lifecycle_one;
SET ROLE lifecycle_one;
SELECT refused(format('INSERT INTO djkafka_dead_letter (consumer_id, consumer, topic, partition, "offset", sqlstate, message) VALUES (%s, ''default'', ''child'', 0, 9, ''x'', ''x'')', consumer_id)) ~ '^42501 must be a member' FROM djkafka_dead_letter LIMIT 1;
RESET ROLE;
SELECT djkafka_subscribe('child', 'child');
INSERT INTO parent VALUES (1);
SELECT result FROM djkafka_replay((SELECT array_agg(id) FROM djkafka_dead_letter));
TABLE child;
SELECT djkafka_drop_consumer('default');
DELETE FROM djkafka_offset_left;
DELETE FROM djkafka_dead_letter;

-- an id that another's consumer takes, named or by the sequence, is not the old one's any more, nor what fails under it
SELECT djkafka_create_consumer('default', owner => 'lifecycle_one', group_id => 'a group') AS id \gset
SELECT set_offset('default', 'a', 0, 10);
SELECT djkafka_drop_consumer('default');
INSERT INTO djkafka_consumer (id, name, owner, group_id) VALUES (:id, 'theirs', 'lifecycle_other', 'their group');
INSERT INTO djkafka_dead_letter (consumer_id, consumer, topic, partition, "offset", sqlstate, message) VALUES (:id, 'theirs', 'b', 0, 1, '22000', 'theirs');
SELECT djkafka_create_consumer('default', owner => 'lifecycle_one', group_id => 'a group') > 0;
TABLE offsets;
SELECT consumer, consumer_id = :id FROM djkafka_dead_letter;
SELECT set_offset('theirs', 'b', 0, 20);
SELECT djkafka_drop_consumer('theirs'), djkafka_drop_consumer('default');
-- nor by one that says that it came with a copy, and could be adopted
SELECT refused(format('INSERT INTO djkafka_consumer (id, name, owner, home, group_id) VALUES (%s, ''copied'', ''lifecycle_one'', gen_random_uuid(), ''copied'')', :id)) ~ '^23505 id \d+ was another';
SELECT djkafka_create_consumer('theirs again', owner => 'lifecycle_other', group_id => 'their group') > 0;
SELECT consumer, consumer_id = djkafka_consumer_id('theirs again') FROM djkafka_dead_letter;
-- where nothing was left, what it leaves itself is its own
SELECT djkafka_drop_consumer('theirs again');
DELETE FROM djkafka_dead_letter;
INSERT INTO djkafka_consumer (id, name, owner, home, group_id) SELECT consumer_id, 'copied', 'lifecycle_one', gen_random_uuid(), 'copied' FROM djkafka_offset_left WHERE consumer = 'theirs again';
SELECT owner = 'lifecycle_other'::regrole, consumer, topic, consumer_id IS NULL FROM djkafka_offset_left WHERE group_id = 'their group';
SELECT adopted.consumers FROM djkafka_adopt() adopted;
INSERT INTO djkafka_dead_letter (consumer_id, consumer, topic, partition, "offset", sqlstate, message) VALUES (djkafka_consumer_id('copied'), 'copied', 'b', 0, 1, '22000', 'copied');
SELECT djkafka_create_consumer('theirs again', owner => 'lifecycle_other', group_id => 'their group') > 0;
SELECT consumer, consumer_id = djkafka_consumer_id('copied') FROM djkafka_dead_letter;
DELETE FROM djkafka_consumer WHERE name = 'copied';
-- the same consumer under the same id goes on
SELECT djkafka_create_consumer('default', owner => 'lifecycle_one', group_id => 'a group') AS id \gset
SELECT djkafka_drop_consumer('default');
INSERT INTO djkafka_consumer (id, name, owner, group_id) VALUES (:id, 'default', 'lifecycle_one', 'a group');
TABLE offsets;
DELETE FROM djkafka_consumer;
DELETE FROM djkafka_offset_left;
DELETE FROM djkafka_dead_letter;

RESET client_min_messages;
-- the extension is not dropped while it holds something
CREATE VIEW on_it AS SELECT consumer, state FROM djkafka_status;
SELECT djkafka_subscribe('child', 'child'), djkafka_publish('child', 'published') > 0;
INSERT INTO child VALUES (9, 1);
DROP EXTENSION djkafka;
DROP EXTENSION IF EXISTS djkafka CASCADE;
DROP SCHEMA public CASCADE;
DROP OWNED BY CURRENT_USER;
-- nor with its schema, whoever owns that
BEGIN;
ALTER SCHEMA public OWNER TO lifecycle_one;
SAVEPOINT owned;
DROP OWNED BY lifecycle_one CASCADE;
ROLLBACK TO owned;
SELECT refused('DROP OWNED BY lifecycle_one') ~ '^2BP01 cannot drop';
SET LOCAL ROLE lifecycle_other;
SELECT split_part(refused('DROP OWNED BY lifecycle_one CASCADE'), E'\n', 1);
ROLLBACK;
SELECT refused('DROP EXTENSION djkafka') ~ '2BP01';
SELECT djkafka_drop_consumer('default'), djkafka_unpublish('child');
SELECT refused('DROP EXTENSION djkafka');
-- what may not be dropped anyway says what it always said, and so does what has nothing to do with it
SET ROLE lifecycle_other;
SELECT refused('DROP EXTENSION djkafka');
SELECT refused('SELECT djkafka_uninstall()');
-- from 16 on with a DETAIL
SELECT split_part(refused('DROP OWNED BY lifecycle_one'), E'\n', 1);
RESET ROLE;
SELECT refused('DROP EXTENSION nothing'), refused('DROP SCHEMA public') ~ '^2BP01 cannot drop schema';
CREATE SCHEMA lifecycle_schema;
DROP SCHEMA lifecycle_schema CASCADE;
-- all of it, but not what depends on it
SELECT refused('SELECT djkafka_uninstall()');
SELECT refused('SELECT djkafka_uninstall(NULL)');
BEGIN;
SELECT djkafka_uninstall(cascade => true);
SELECT count(*) FROM pg_extension WHERE extname = 'djkafka';
ROLLBACK;
SELECT count(*) FROM djkafka_outbox;
DROP EXTENSION djkafka;
SELECT djkafka_uninstall(true);
SELECT count(*) FROM pg_extension WHERE extname = 'djkafka';
DROP EXTENSION IF EXISTS djkafka;
-- what is empty is dropped as ever
CREATE EXTENSION djkafka;
DROP EXTENSION djkafka;
CREATE EXTENSION djkafka;
SELECT djkafka_uninstall();
CREATE EXTENSION djkafka;
SET client_min_messages = error;
DROP SCHEMA lifecycle CASCADE;
