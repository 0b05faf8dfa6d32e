-- What came with a copy of a database is made this one's: djkafka_adopt().
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

-- as a restored dump finds the database; as a clone
CREATE FUNCTION restored() RETURNS void LANGUAGE sql AS $$UPDATE djkafka_home SET home = gen_random_uuid()$$;
CREATE FUNCTION cloned() RETURNS void LANGUAGE sql AS $$UPDATE djkafka_home SET database = 1$$;
-- what was done, and whether the home is another one
CREATE FUNCTION adopt(arguments text = '') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    old uuid = (SELECT home FROM djkafka_home);
    done record;
BEGIN
    EXECUTE format('SELECT * FROM djkafka_adopt(%s)', arguments) INTO done;
    ASSERT done.home = (SELECT home FROM djkafka_home);
    RETURN format('%s home; consumers %s, publications %s, outboxes %s; deleted: offsets %s, parked %s, messages %s, dead %s; kept: messages %s',
        CASE WHEN done.home = old THEN 'same' ELSE 'new' END, done.consumers, done.publications, done.outboxes,
        done.offsets_deleted, done.parked_deleted, done.messages_deleted, done.dead_deleted, done.messages_kept);
END $$;
-- groups, with the 8 digits of homes named
CREATE FUNCTION groups() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT name || ': ' || regexp_replace(replace(group_id, left((SELECT home FROM djkafka_home)::text, 8), '<home>'), '[0-9a-f]{8}', '<other>', 'g') ||
           CASE WHEN djkafka_is_home(home) THEN '' ELSE ' (foreign)' END FROM djkafka_consumer ORDER BY id
$$;

CREATE ROLE adopt_owner LOGIN;
CREATE ROLE adopt_other LOGIN;
CREATE ROLE adopt_stranger LOGIN;
GRANT EXECUTE ON FUNCTION djkafka_use_settings TO adopt_owner, adopt_other;
CREATE TABLE item (id bigint PRIMARY KEY, name text, part_of bigint REFERENCES item);
ALTER TABLE item OWNER TO adopt_owner;

-- nothing to adopt; arguments
SELECT refused('SELECT djkafka_adopt()');
SELECT refused('SELECT djkafka_adopt(NULL)');
SELECT refused('SELECT djkafka_adopt(keep_outbox => NULL)');
SELECT refused('SELECT djkafka_adopt(keep_groups => NULL)');
SELECT refused('SELECT djkafka_adopt(new_home => NULL)');
BEGIN READ ONLY; SELECT refused('SELECT djkafka_adopt()'); ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT refused('SELECT djkafka_adopt()'); ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT refused('SELECT djkafka_adopt()'); ROLLBACK;

-- consumers, routes and offsets, which only a dump brings
SELECT djkafka_create_consumer('c', enabled => false, owner => 'adopt_owner');
SELECT djkafka_create_consumer('own group', group_id => 'billing', enabled => false, owner => 'adopt_owner');
SELECT djkafka_create_route('c', 'items', 'item') > 0, djkafka_create_route('own group', 'items', 'item') > 0;
SELECT groups();
SELECT refused('INSERT INTO djkafka_offset (consumer_id, topic, partition) VALUES (1, ''items'', 0)');

SELECT restored();
SELECT groups();
INSERT INTO djkafka_offset (consumer_id, topic, partition, first_offset, next_offset, applied, parked)
SELECT id, 'items', 0, 0, 2, 1, 1 FROM djkafka_consumer;
INSERT INTO djkafka_parked (consumer_id, offset_id, route_id, topic, partition, "offset", value, lane)
SELECT o.consumer_id, o.id, r.id, 'items', 0, 1, '{"id": 2, "part_of": 7}', 1 FROM djkafka_offset o JOIN djkafka_route r USING (consumer_id);
-- what comes before its consumer, or its offset, as pg_restore -j may bring it
SELECT refused('INSERT INTO djkafka_route (consumer_id, topic, target) VALUES (4711, ''t'', ''item'')');
SELECT refused('INSERT INTO djkafka_offset (consumer_id, topic, partition) VALUES (4711, ''items'', 0)');
SELECT refused(format('INSERT INTO djkafka_parked (consumer_id, offset_id, route_id, topic, partition, "offset", lane) VALUES (%s, 4711, 1, ''items'', 0, 1, 1)', min(id))) FROM djkafka_consumer;
-- numbers of tables are others here: what waits is in the lane of no route until it is tried again
SELECT count(*), count(*) FILTER (WHERE lane = 1) FROM djkafka_parked;
SELECT state, hint FROM djkafka_status;
SELECT adopt();
SELECT groups();
SELECT count(*), sum(next_offset) FROM djkafka_offset;
SELECT count(*) FROM djkafka_parked;
SELECT refused('INSERT INTO djkafka_offset (consumer_id, topic, partition) VALUES (1, ''items'', 1)');
SELECT refused('SELECT djkafka_adopt()');
SELECT kind, consumer, reason LIKE 'it belonged to home %' FROM djkafka_event WHERE kind = 'adopted' ORDER BY id;
-- again, as a clone; a group id that was changed for a home before is not made longer
SELECT cloned();
SELECT groups();
SELECT adopt('keep_offsets => false');
SELECT groups();
SELECT count(*) FROM djkafka_offset;
-- group ids stay if that is wanted
SELECT restored();
SELECT group_id AS before FROM djkafka_consumer WHERE name = 'c' \gset
SELECT adopt('keep_groups => true');
SELECT group_id = :'before' FROM djkafka_consumer WHERE name = 'c';
-- a home of its own for a server that was opened beside its origin
SELECT adopt('new_home => true');
SELECT groups();

-- what cannot work here is refused, and then nothing is adopted
CREATE FUNCTION handle(jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
SELECT djkafka_create_route('own group', 'handled', handler => 'handle(jsonb)') > 0;
SELECT restored();
DROP FUNCTION handle(jsonb);
SELECT refused('SELECT djkafka_adopt()');
DO $$
DECLARE context text;
BEGIN
    PERFORM djkafka_adopt();
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
    RAISE NOTICE '%', substring(context FROM '(?n)^adoption of .*$');
END $$;
SELECT groups();
DELETE FROM djkafka_route WHERE topic = 'handled';
SELECT adopt();

-- what does not fit any more to its consumer, another route or this server is in the dump all the same, and is said here
SET client_min_messages = error;
CREATE TABLE gone (id bigint PRIMARY KEY);
CREATE TABLE gone_too (id bigint PRIMARY KEY);
SELECT djkafka_create_consumer('changed', group_id => 'shop', enabled => false) AS changed \gset
SELECT djkafka_create_route('changed', '^shop[.]', 'item') > 0, djkafka_create_route('changed', 'retried', 'item', ordering => 'none', retry => '{"through": "topics"}') > 0,
       djkafka_create_route('changed', 'items', 'gone') > 0, djkafka_create_route('changed', 'items', 'gone_too') > 0;
SELECT djkafka_alter_consumer('changed', dead_letters => 'topic', retry => '{"blocking": true}') > 0;
DROP TABLE gone, gone_too;
CREATE TEMP TABLE dump AS SELECT * FROM djkafka_route WHERE consumer_id = :changed;
DELETE FROM djkafka_route WHERE consumer_id = :changed;
SELECT restored();
INSERT INTO djkafka_route SELECT * FROM dump;
INSERT INTO djkafka_route (consumer_id, topic, target, time_zone) VALUES (:changed, 'zone', 'item', 'Mars/Base');
SELECT topic, target, target_name, time_zone FROM djkafka_route WHERE consumer_id = :changed ORDER BY id;
SELECT refused('SELECT djkafka_adopt()');
SELECT djkafka_drop_consumer('changed');
RESET client_min_messages;
SELECT adopt();

-- publications
CREATE TABLE published (id bigint PRIMARY KEY, name text);
SELECT djkafka_publish('published', 'published') > 0;
INSERT INTO published VALUES (1, 'a');
SELECT restored();
SELECT adopt('keep_outbox => true');
SELECT djkafka_is_home(home) FROM djkafka_publication;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'published'::regclass ORDER BY 1;

-- what a session has built for one says the new home
SELECT djkafka_publish('published', 'origin', origin => true) AS p \gset
INSERT INTO published VALUES (11);
SELECT adopt('new_home => true');
INSERT INTO published VALUES (12);
SELECT convert_from(djkafka_header(headers, 'djkafka-origin'), 'UTF8') = h.home::text FROM djkafka_outbox, djkafka_home h WHERE topic = 'origin';
SELECT djkafka_unpublish('published', 'origin');
DELETE FROM published;
SELECT adopt('new_home => true');
INSERT INTO published VALUES (1, 'a');

-- the outbox: what was not sent is produced again, in the old order
INSERT INTO published VALUES (2, 'b');
SELECT djkafka_produce('t', 'c', key => 'k', headers => '{"h": "x"}', partition => 3, at_time => '2020-01-01 00:00:00Z') > 0;
SELECT key, convert_from(value, 'UTF8'), partition, message_time < '2021-01-01', state FROM djkafka_outbox ORDER BY id;
UPDATE djkafka_outbox_server SET enabled = false, sent = 7;
SELECT restored();
INSERT INTO djkafka_outbox_dead (id, txid, message_time, topic, error, message) VALUES (999, '1', now(), 't', 'E', 'e');
INSERT INTO djkafka_outbox_held (id, txid, message_time, topic, value) VALUES (-1, '1', now(), 'h', 'held');
SELECT state, hint FROM djkafka_outbox_status;
SELECT max(id) AS last FROM djkafka_outbox \gset
SELECT adopt('keep_outbox => true');
SELECT key, convert_from(value, 'UTF8'), partition, message_time < '2021-01-01', headers, state, id > :last FROM djkafka_outbox ORDER BY id;
SELECT server, enabled, batch, confirmed, sent, djkafka_is_home(home) FROM djkafka_outbox_server;
SELECT id FROM djkafka_outbox_dead;

-- what was sent is not, by the numbers that came with it
SELECT restored();
UPDATE djkafka_outbox_server SET done = '1000000000:1000000000:', target = '1000000001:1000000001:', target_next = '1000000001', target_id = 0, cursor_id = 0;
INSERT INTO djkafka_outbox_0 (id, txid, message_time, topic, value) VALUES (-3, '1000000000', now(), 't', 'not sent, of a higher number than there is'), (-2, '999999999', now(), 't', 'sent');
SELECT convert_from(value, 'UTF8'), djkafka_outbox_is_sent(id, txid, '1000000000:1000000000:', '1000000001:1000000001:', 0, NULL) FROM djkafka_outbox_message WHERE id < 0 ORDER BY id;
UPDATE djkafka_outbox_server SET cursor_id = -4;
-- what is produced in the copy waits, whatever these numbers say, and is kept
SELECT djkafka_produce('t', 'produced here') IS NOT NULL;
SELECT convert_from(value, 'UTF8'), state FROM djkafka_outbox ORDER BY id;
SELECT depth FROM djkafka_outbox_status;
BEGIN;
SELECT adopt('keep_outbox => true');
SELECT convert_from(value, 'UTF8'), state FROM djkafka_outbox ORDER BY id;
SELECT count(*) FROM djkafka_outbox_message;
SELECT count(*) FROM djkafka_outbox_dead;
ROLLBACK;
SELECT adopt();
SELECT convert_from(value, 'UTF8'), state FROM djkafka_outbox ORDER BY id;
SELECT count(*) FROM djkafka_outbox_message;
SELECT count(*) FROM djkafka_outbox_dead;
SELECT server, enabled, batch, confirmed, djkafka_is_home(home), copied_id FROM djkafka_outbox_server;
-- a message that djkafka_produce would refuse is
SELECT restored();
INSERT INTO djkafka_outbox_0 (id, txid, message_time, topic) VALUES (-2, '1000000000', now(), 'no topic');
SELECT refused('SELECT djkafka_adopt(keep_outbox => true)');
SELECT adopt('new_home => true');
-- the outbox of a server that is gone
SELECT restored();
INSERT INTO djkafka_outbox_server (server, home, done, done_next, done_id, done_floor) VALUES ('gone', gen_random_uuid(), '1:1:', '1', 0, 0);
INSERT INTO djkafka_outbox_0 (id, txid, message_time, topic, server) VALUES (-2, '1000000000', now(), 't', 'gone');
SELECT refused('SELECT djkafka_adopt(keep_outbox => true)');
SELECT adopt();
SELECT server FROM djkafka_outbox_server;
-- and one that is there stays as long as messages for it may be adopted
CREATE SERVER adopt_server FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
SELECT djkafka_produce('t', 'x', server => 'adopt_server') > 0;
SELECT restored();
SELECT refused('DROP SERVER adopt_server');
SELECT adopt();
DROP SERVER adopt_server;
SELECT server FROM djkafka_outbox_server;
-- what a clone is the first to produce for a server is kept, also where the transaction itself has made the server's row
SELECT cloned();
BEGIN;
CREATE SERVER adopt_server FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
SELECT djkafka_produce('t', 'produced in the clone', server => 'adopt_server') > 0;
COMMIT;
SELECT adopt();
SELECT server, convert_from(value, 'UTF8'), state FROM djkafka_outbox WHERE server IS NOT NULL;
TRUNCATE djkafka_outbox_0, djkafka_outbox_1, djkafka_outbox_2;
DROP SERVER adopt_server;

-- a dump from before the first message: what the publication tells in the copy waits
DELETE FROM djkafka_outbox_server;
SELECT restored();
ALTER TABLE published ADD COLUMN fresh int;
INSERT INTO published VALUES (31);
SELECT server, djkafka_is_home(home) FROM djkafka_outbox_server;
SELECT adopt();
SELECT convert_from(value, 'UTF8'), djkafka_is_home(home) FROM djkafka_outbox, djkafka_outbox_server;
-- and is left out where what is produced in the copy is sent
TRUNCATE djkafka_outbox_0, djkafka_outbox_1, djkafka_outbox_2;
DELETE FROM djkafka_outbox_server;
SELECT restored();
SELECT djkafka_produce('t', 'own') > 0;
ALTER TABLE published DROP COLUMN fresh;
INSERT INTO published VALUES (32);
SELECT convert_from(value, 'UTF8'), djkafka_is_home(home) FROM djkafka_outbox, djkafka_outbox_server;
CALL djkafka_snapshot('published');
SELECT adopt();
INSERT INTO published VALUES (33);
SELECT convert_from(value, 'UTF8') FROM djkafka_outbox ORDER BY id;

-- a clone with nothing in it has a home of its own as soon as it needs one
SELECT djkafka_unpublish('published');
SELECT djkafka_drop_consumer('c'), djkafka_drop_consumer('own group');
TRUNCATE djkafka_outbox_0, djkafka_outbox_1, djkafka_outbox_2, djkafka_outbox_held;
DELETE FROM djkafka_outbox_server;
CREATE FUNCTION own_home() RETURNS boolean LANGUAGE sql AS $$SELECT djkafka_is_home(home) FROM djkafka_home$$;
SELECT cloned(), own_home();
BEGIN; SELECT djkafka_create_consumer('c', enabled => false) > 0; SELECT own_home(), groups(); ROLLBACK;
BEGIN; SELECT djkafka_publish('published', 'p') > 0; SELECT own_home(), djkafka_is_home(home) FROM djkafka_publication; ROLLBACK;
SELECT own_home();
SELECT adopt();
SELECT own_home();
SELECT cloned();
BEGIN; SELECT djkafka_produce('t', 'x') > 0; SELECT own_home(), count(*) FROM djkafka_outbox; ROLLBACK;
SELECT own_home();

-- rights: what is adopted is the caller's, or nothing is
GRANT ALL ON TABLE djkafka_consumer, djkafka_route, djkafka_publication TO adopt_other, adopt_stranger;
GRANT INSERT ON djkafka_offset, djkafka_parked, djkafka_outbox_server TO adopt_other;
GRANT EXECUTE ON FUNCTION djkafka_publish, djkafka_unpublish TO adopt_owner;
SET ROLE adopt_stranger;
SELECT refused('SELECT djkafka_adopt()');
RESET ROLE;
GRANT EXECUTE ON FUNCTION djkafka_adopt TO adopt_other, adopt_stranger, adopt_owner;
SELECT djkafka_create_consumer('c', enabled => false, owner => 'adopt_owner') AS c \gset
SELECT djkafka_create_route('c', 'items', 'item') > 0;
SELECT restored();
SET ROLE adopt_other;
SELECT refused('SELECT djkafka_adopt()');
-- nor may others put offsets and messages beside it, which would be applied then
SELECT refused('INSERT INTO djkafka_offset (consumer_id, topic, partition) VALUES (' || :c || ', ''items'', 0)');
SET ROLE adopt_owner;
SELECT refused('SELECT djkafka_adopt()');
RESET ROLE;
GRANT SELECT, UPDATE ON djkafka_consumer, djkafka_route TO adopt_owner;
SET ROLE adopt_owner;
SELECT consumers, publications FROM djkafka_adopt();
RESET ROLE;
-- a table's publication is its owner's, and an outbox those who may produce for it
SELECT djkafka_publish('published', 'published') > 0;
SELECT restored();
SET ROLE adopt_other;
SELECT refused('SELECT djkafka_adopt()');
RESET ROLE;
SELECT djkafka_drop_consumer('c');
SET ROLE adopt_other;
SELECT refused('SELECT djkafka_adopt()');
RESET ROLE;
SELECT djkafka_unpublish('published');
SELECT djkafka_produce('t', 'x') > 0;
SELECT restored();
SET ROLE adopt_stranger;
SELECT refused('SELECT djkafka_adopt()');
SET ROLE adopt_other;
SELECT outboxes, messages_kept FROM djkafka_adopt(keep_outbox => true);
RESET ROLE;

DROP TABLE item, published;
DROP FUNCTION restored, cloned, adopt, groups, own_home;
SET client_min_messages = warning;
SELECT djkafka_uninstall(cascade => true);
DROP ROLE adopt_owner, adopt_other, adopt_stranger;
