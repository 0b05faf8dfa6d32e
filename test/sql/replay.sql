-- Dead letters: replayed in order, refused where they are overtaken, edited, sent, discarded; and the log of it.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on
\set super :USER

CREATE SCHEMA replay;
SET search_path = replay, public;
SET TimeZone = 'UTC';
SET djkafka.bootstrap_servers = 'embedded';
CREATE TABLE item (id text PRIMARY KEY, n int CHECK (n < 100), part int, off bigint);
CREATE TABLE history (n int, off bigint);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO history VALUES (NEW.n, NEW.off); RETURN NULL; END';
CREATE TRIGGER note AFTER INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION note();
SELECT djkafka_subscribe('item', 'item', columns => '{"part": "partition", "off": "msg_offset"}', key_columns => '{id}');
CREATE VIEW letters AS SELECT id, topic, partition AS part, "offset" AS off, sqlstate, attempts, newer_offset AS newer FROM djkafka_dead_letter ORDER BY id;
CREATE VIEW log AS SELECT action, letter_id, consumer, topic, partition AS part, "offset" AS off, result, sqlstate, reason, role = session_user AS mine FROM djkafka_dead_letter_log ORDER BY id;

--
-- What is overtaken
--

-- a value that its column does not take, and what comes of its key and of another
SELECT give('[{"key": "a", "value": {"n": "x"}, "offset": 10}, {"key": "b", "value": {"n": "x"}, "offset": 11}, {"key": null, "value": {"id": "c", "n": "x"}, "offset": 12}]');
SELECT * FROM letters;
SELECT give('[{"key": "a", "value": {"n": 1}, "offset": 13}, {"key": null, "value": {"id": "c", "n": 2}, "offset": 14}]');
-- in the same batch, a later one of another key, an earlier one, another partition, and a deletion
SELECT give('[{"key": "d", "value": {"n": "x"}, "offset": 20}, {"key": "d", "value": {"n": 3}, "offset": 21}, {"key": "e", "value": {"n": 4}, "offset": 22}, {"key": "e", "value": {"n": "x"}, "offset": 23},
              {"key": "f", "value": {"n": "x"}, "partition": 1, "offset": 1}, {"key": "f", "value": {"n": 5}, "offset": 24}, {"key": "g", "value": {"n": "x"}, "offset": 25}, {"key": "g", "value": null, "offset": 26},
              {"key": "d", "value": {"n": 3}, "offset": 27}]');
SELECT * FROM letters;
-- the first that is newer is told; one that fails too says nothing
SELECT give('[{"key": "b", "value": {"n": "y"}, "offset": 30}]');
SELECT * FROM letters WHERE off IN (11, 30);
SELECT id, result, code, error, hint FROM djkafka_replay(consumer => 'default');
SELECT * FROM letters;
UPDATE djkafka_dead_letter SET value = convert_to(replace(convert_from(value, 'UTF8'), '"x"', '7'), 'UTF8');
-- what is refused, what is not, in which order
TRUNCATE history;
SELECT l.off, r.result FROM letters l JOIN djkafka_replay(consumer => 'default') r USING (id);
SELECT * FROM history;
SELECT * FROM letters;
SELECT id, n FROM item ORDER BY id;
-- forced
SELECT result FROM djkafka_replay((SELECT array_agg(id) FROM letters WHERE off IN (10, 25)), force => true);
SELECT id, n FROM item ORDER BY id;
-- a letter that was replayed overtakes those before it
SELECT give('[{"key": "h", "value": {"n": "x"}, "offset": 40}, {"key": "h", "value": {"n": "x"}, "offset": 41}, {"key": "h", "value": {"n": "x"}, "offset": 42}]');
UPDATE djkafka_dead_letter SET value = '{"n": 8}' WHERE "offset" = 41;
SELECT result FROM djkafka_replay(ARRAY[(SELECT id FROM letters WHERE off = 41)]);
SELECT off, newer FROM letters WHERE off IN (40, 42);
-- the message itself is read again
SELECT give('[{"key": "h", "value": {"n": 9}, "offset": 42}]');
SELECT off, newer FROM letters WHERE off = 42;
SELECT result, error FROM djkafka_replay(ARRAY[(SELECT id FROM letters WHERE off = 42)]);
-- a message that was read twice, and failed twice, is applied once; a letter that fails says nothing of the other
SELECT give('[{"key": "i", "value": {"n": "x"}, "offset": 45}, {"key": "i", "value": {"n": "x"}, "offset": 46}]') FROM generate_series(1, 3);
UPDATE djkafka_dead_letter SET value = '{"n": 10}' WHERE "offset" = 45 OR id = (SELECT max(id) FROM letters WHERE off = 46);
TRUNCATE history;
SELECT l.off, r.result, r.error FROM djkafka_replay((SELECT array_agg(id) FROM letters WHERE off IN (45, 46))) r JOIN letters l USING (id);
SELECT result, code, error FROM djkafka_replay((SELECT array_agg(id) FROM letters WHERE off IN (45, 46)));
SELECT * FROM history;
-- what is taken back was not applied
BEGIN;
SAVEPOINT s;
SELECT give('[{"key": "b", "value": {"n": 1}, "offset": 50}]');
SELECT newer FROM letters WHERE off = 30;
ROLLBACK TO s;
SELECT newer FROM letters WHERE off = 30;
COMMIT;
SELECT * FROM djkafka_discard(reason => 'done', consumer => 'default');
SELECT count(*) FROM letters;

--
-- Edited
--

TRUNCATE item;
SELECT give('[{"key": "k", "value": {"n": 500}, "headers": {"a": "1"}, "offset": 60}]');
SELECT max(id) AS letter FROM djkafka_dead_letter \gset
SELECT refused(format('UPDATE djkafka_dead_letter SET %s WHERE id = %s', c, :letter)) FROM unnest(ARRAY['topic = ''x''', '"offset" = 1', 'consumer_id = 1000', 'message = ''fine''', 'attempts = 0', 'newer_offset = NULL, first_failed_at = ''2020-01-01''', 'id = 7']) c;
SELECT refused(format('UPDATE djkafka_dead_letter SET headers = ARRAY[NULL]::djkafka_header[] WHERE id = %s', :letter));
-- worse, and then better; the bookkeeping is not written by hand
UPDATE djkafka_dead_letter SET value = '\xff00', edited_by = 'somebody', edited_at = '2000-01-01', key_hash = 7 WHERE id = :letter;
SELECT result, code FROM djkafka_replay(ARRAY[:letter]);
SELECT sqlstate, attempts, edited_by = session_user AS by_me, edited_at > now() - interval '1 min' AS now, last_failed_at > first_failed_at AS later FROM djkafka_dead_letter WHERE id = :letter;
UPDATE djkafka_dead_letter SET value = value, edited_by = 'somebody' WHERE id = :letter;
UPDATE djkafka_dead_letter SET key = 'l', value = '{"n": 5}', headers = NULL WHERE id = :letter;
SELECT result FROM djkafka_replay(ARRAY[:letter]);
SELECT id, n, off FROM item;
SELECT action, convert_from(old_key, 'UTF8') AS key, encode(old_value, 'escape') AS value, cardinality(old_headers) AS headers, result, sqlstate, message FROM djkafka_dead_letter_log WHERE letter_id = :letter ORDER BY id;

--
-- Which
--

SELECT djkafka_subscribe('second', 'item', columns => '{"part": "partition", "off": "msg_offset"}', key_columns => '{id}', consumer => 'other');
SELECT give('[{"topic": "item", "key": "a", "value": {"n": "x"}, "partition": 2, "offset": 1}, {"topic": "item", "key": "b", "value": {"n": 500}, "partition": 1, "offset": 9}, {"topic": "item", "key": "c", "value": "{", "partition": 1, "offset": 2}]');
SELECT give('[{"key": "z", "value": {"n": 500}}]', 'other');
SELECT id AS first FROM letters ORDER BY id LIMIT 1 \gset
SELECT string_agg((r.id - :first)::text || ' ' || code, ', ') FROM djkafka_replay(consumer => 'default') r;
SELECT string_agg((r.id - :first)::text, ',') FROM djkafka_replay(consumer => 'default', topic => 'second') r;
SELECT string_agg((r.id - :first)::text, ',') FROM djkafka_replay(consumer => 'default', sqlstate => '23514') r;
SELECT string_agg((r.id - :first)::text, ',') FROM djkafka_replay(consumer => 'default', sqlstate => '22') r;
SELECT string_agg((r.id - :first)::text, ',') FROM djkafka_replay(consumer => 'default', max_letters => 2) r;
SELECT string_agg((r.id - :first)::text, ',') FROM djkafka_replay(consumer => 'default', since => now() - interval '1 hour', until => now() + interval '1 hour') r;
SELECT count(*) FROM djkafka_replay(consumer => 'default', since => now() + interval '1 hour');
SELECT count(*) FROM djkafka_replay(consumer => 'default', until => '2000-01-01 UTC');
-- of several consumers; ids of which some are not there, or not asked for
SELECT r.id - :first, result, code FROM djkafka_replay(ARRAY[:first, :first + 3]) r;
SELECT r.id - :first, result, code, error ~ 'does not exist' FROM djkafka_replay(ARRAY[:first, :first + 3, :first + 4], consumer => 'other') r;
SELECT attempts, count(*) FROM letters GROUP BY 1 ORDER BY 1;
SELECT refused(s) FROM unnest(ARRAY['SELECT djkafka_replay()', 'SELECT djkafka_replay(topic => ''item'')', 'SELECT djkafka_replay(ARRAY[1, NULL])', 'SELECT djkafka_replay(consumer => ''nobody'')',
    'SELECT djkafka_replay(ARRAY[1], sqlstate => ''2350'')', 'SELECT djkafka_replay(ARRAY[1], sqlstate => ''2350x'')', 'SELECT djkafka_replay(ARRAY[1], max_letters => 0)', 'SELECT djkafka_replay(ARRAY[1], force => NULL)',
    'SELECT djkafka_replay(ARRAY[1], to_topic => ''a b'')', 'SELECT djkafka_replay(ARRAY[1], to_topic => ''__consumer_offsets'')', 'SELECT djkafka_discard(ARRAY[1])', 'SELECT djkafka_discard(ARRAY[1], '' '')',
    'SELECT djkafka_discard(reason => ''r'')']) s;
SELECT count(*) FROM djkafka_replay('{}');
-- a handler may not replay what it is given
CREATE FUNCTION again(jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM djkafka_replay(consumer => ''handled''); END';
SELECT djkafka_subscribe('handled', handler => 'again(jsonb)', consumer => 'handled');
SELECT give('[{"value": {}}]', 'handled');
SELECT sqlstate, message FROM djkafka_dead_letter WHERE consumer = 'handled';
SELECT result, code, error FROM djkafka_replay(consumer => 'handled');
-- nor delete what it comes from
CREATE OR REPLACE FUNCTION again(jsonb) RETURNS void LANGUAGE sql AS 'DELETE FROM djkafka_dead_letter WHERE consumer = ''handled''';
SELECT refused('SELECT djkafka_replay(consumer => ''handled'')');
-- a definition that is broken is nobody's but the definition's
ALTER TABLE item RENAME TO gone;
DROP FUNCTION again;
SELECT refused('SELECT djkafka_replay(consumer => ''handled'')');
ALTER TABLE gone RENAME TO item;
SELECT djkafka_drop_consumer('handled');
SELECT refused('SELECT djkafka_replay(ids => (SELECT array_agg(id) FROM djkafka_dead_letter WHERE consumer = ''handled''))');
SELECT djkafka_discard(reason => 'its consumer is gone', consumer => 'handled');
-- a topic that no route is for any more: the letter stays, whatever is forced
SELECT djkafka_subscribe('left', 'item', columns => '{"part": "partition", "off": "msg_offset"}', key_columns => '{id}', consumer => 'other');
SELECT give('[{"topic": "left", "key": "q", "value": {"n": 500}}]', 'other');
SELECT djkafka_unsubscribe('left', 'item', consumer => 'other');
SELECT result, code, error, hint FROM djkafka_replay(consumer => 'other', topic => 'left', force => true);
SELECT djkafka_subscribe('left', 'item', columns => '{"part": "partition", "off": "msg_offset"}', key_columns => '{id}', consumer => 'other');
SELECT result, code FROM djkafka_replay(consumer => 'other', topic => 'left');
SELECT djkafka_unsubscribe('left', 'item', consumer => 'other');
SELECT djkafka_discard(reason => 'q', consumer => 'other', topic => 'left');
-- a deferred constraint: children before their parents, in one replay
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
SELECT djkafka_subscribe('a_child', 'child', consumer => 'family', parent_timeout => '0');
SELECT djkafka_subscribe('b_parent', 'parent', consumer => 'family', columns => '{"id": "(value->>''id'')::int / (value->>''by'')::int"}');
SELECT give('[{"topic": "a_child", "value": {"id": 1, "parent_id": 1}}, {"topic": "a_child", "value": {"id": 2, "parent_id": 2}}, {"topic": "b_parent", "value": {"id": 1, "by": 0}}]', 'family');
UPDATE djkafka_dead_letter SET value = '{"id": 1, "by": 1}' WHERE topic = 'b_parent';
SELECT result, code FROM djkafka_replay(consumer => 'family');

--
-- Sent
--

CREATE TABLE raw (topic text, key bytea, value bytea);
SELECT djkafka_subscribe('raw', 'raw', operation => 'insert', format => 'raw', consumer => 'raw', filter => 'false');
INSERT INTO djkafka_dead_letter (consumer_id, consumer, topic, partition, "offset", message_time, key, value, headers, sqlstate, message, newer_offset)
VALUES (djkafka_consumer_id('raw'), 'raw', 'raw', 0, 5, '2026-01-31 12:00:00.123', '\x00ff', '\xff00fe01', ARRAY[('a', '\x00'), ('b', NULL), ('a', 'é'::bytea)]::djkafka_header[], '22000', 'once', 7),
       (djkafka_consumer_id('raw'), 'raw', 'raw', 0, 6, NULL, NULL, NULL, NULL, '22000', 'once', NULL), (djkafka_consumer_id('raw'), 'raw', 'raw', 0, 7, NULL, NULL, convert_to(repeat('x', 2000000), 'UTF8'), NULL, '22000', 'once', NULL);
BEGIN;
SET LOCAL djkafka.suppress = on;
SELECT refused('SELECT djkafka_replay(consumer => ''raw'', to_topic => ''again'')');
COMMIT;
SELECT result, code, error FROM djkafka_replay(consumer => 'raw', to_topic => 'again');
SELECT topic, server IS NULL AS by_settings, partition, key, value, message_time, headers FROM djkafka_outbox WHERE topic = 'again' AND key IS NOT NULL;
SELECT topic, message_time > now() - interval '1 hour' FROM djkafka_outbox WHERE topic = 'again' AND key IS NULL;
SELECT off, attempts FROM letters WHERE topic = 'raw';
SELECT action, off, result, reason FROM log WHERE topic = 'raw';
-- the outbox is the transaction's
BEGIN;
UPDATE djkafka_dead_letter SET value = 'x' WHERE topic = 'raw';
SELECT result FROM djkafka_replay(consumer => 'raw', to_topic => 'again');
ROLLBACK;
SELECT count(*) FROM djkafka_outbox WHERE topic = 'again';
SELECT off, length(value) FROM letters JOIN djkafka_dead_letter USING (id) WHERE letters.topic = 'raw';

--
-- Whose
--

CREATE ROLE replay_owner LOGIN;
CREATE ROLE replay_other LOGIN;
GRANT USAGE ON SCHEMA replay TO replay_owner, replay_other;
GRANT INSERT, SELECT, UPDATE ON raw TO replay_owner;
GRANT EXECUTE ON FUNCTION djkafka_use_settings, djkafka_create_consumer, djkafka_consumer_id TO replay_owner;
GRANT SELECT, UPDATE (workers) ON djkafka_consumer TO replay_owner;
SELECT djkafka_create_consumer('owned', owner => 'replay_owner', enabled => false) > 0 AS made;
INSERT INTO djkafka_dead_letter (consumer_id, consumer, topic, partition, "offset", value, sqlstate, message) VALUES (djkafka_consumer_id('owned'), 'owned', 'raw', 0, 5, 'v', '22000', 'once') RETURNING id AS letter \gset
GRANT EXECUTE ON FUNCTION djkafka_replay, djkafka_discard TO replay_owner, replay_other;
\c - replay_other
SET search_path = replay, public;
SELECT refused(format(s, :letter)) FROM unnest(ARRAY['SELECT djkafka_replay(ARRAY[%s])', 'SELECT djkafka_replay(ARRAY[%s], to_topic => ''t'')', 'SELECT djkafka_replay(consumer => ''owned'')',
    'SELECT djkafka_discard(ARRAY[%s], ''r'')', 'SELECT * FROM djkafka_dead_letter_log', 'UPDATE djkafka_dead_letter SET value = ''x'' WHERE id = %s']) s;
\c - replay_owner
SET search_path = replay, public;
SELECT result FROM djkafka_replay(ARRAY[:letter]);
SELECT refused('SELECT * FROM djkafka_dead_letter_log'), refused('INSERT INTO djkafka_dead_letter_log (action) VALUES (''edit'')'), refused('DELETE FROM djkafka_dead_letter');
\c - :super
SET search_path = replay, public;
SET djkafka.bootstrap_servers = 'embedded';
SELECT action, result, role FROM djkafka_dead_letter_log WHERE letter_id = :letter;
-- who may delete letters may discard those of others, and by hand; that is logged too
GRANT SELECT, UPDATE, DELETE ON djkafka_dead_letter TO replay_other;
SET SESSION AUTHORIZATION replay_other;
SELECT refused('UPDATE djkafka_dead_letter SET value = ''x'' WHERE consumer = ''other''');
DELETE FROM djkafka_dead_letter WHERE consumer = 'other';
SELECT djkafka_discard(consumer => 'default', reason => 'no use', sqlstate => '22');
RESET SESSION AUTHORIZATION;
SELECT action, consumer, role, reason FROM djkafka_dead_letter_log WHERE role = 'replay_other' ORDER BY id;

-- under a snapshot
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) > 0 FROM djkafka_replay(consumer => 'default', sqlstate => '23514');
ROLLBACK;
BEGIN READ ONLY;
SELECT refused('SELECT djkafka_discard(ARRAY[1], ''r'')');
COMMIT;

RESET search_path;
SET client_min_messages = warning;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM replay_owner, replay_other;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM replay_owner, replay_other;
SELECT djkafka_uninstall(cascade => true);
DROP SCHEMA replay CASCADE;
DROP OWNED BY replay_owner, replay_other;
DROP ROLE replay_owner, replay_other;
