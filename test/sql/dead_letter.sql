-- Dead letters that are applied again.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA dead_letter;
SET search_path = dead_letter, public;
SET TimeZone = 'UTC';
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE item (id int PRIMARY KEY, parent_id int REFERENCES parent, k jsonb, at timestamptz, trace text, part int, off bigint, twice text);
CREATE VIEW letters AS SELECT id, topic, partition, "offset" AS off, sqlstate, key, value, message_time AT TIME ZONE 'UTC' AS at, cardinality(headers) AS headers FROM djkafka_dead_letter;
SELECT djkafka_subscribe('item', 'item', columns => '{"k": "key", "at": "msg_time", "part": "partition", "off": "msg_offset", "trace": "djkafka_header(headers, ''trace'')",
    "twice": "(SELECT string_agg(convert_from(h.value, ''UTF8''), '','') FROM unnest(headers) h WHERE h.name = ''two'')"}');
-- it has what the message had: key, time, headers, place
SELECT give('[{"key": {"k": "é"}, "value": {"id": 1, "parent_id": 1}, "partition": 3, "offset": 7, "timestamp": "2026-01-31 12:00+00", "headers": {"trace": "abc", "two": "1"}},
              {"key": null, "value": {"id": 2, "parent_id": 2}, "timestamp": "2026-01-31 12:01+00"}]');
SELECT * FROM letters ORDER BY id;
-- a header that repeats, and one without a value
UPDATE djkafka_dead_letter SET headers = headers || ARRAY[('two', '2'), ('none', NULL)]::djkafka_header[] WHERE id = 1;
SELECT id, result, code, error FROM djkafka_replay(ARRAY[1]);
SELECT * FROM letters ORDER BY id;
INSERT INTO parent VALUES (1);
SELECT id, result, code, error FROM djkafka_replay(ARRAY[2, 1, 2, 77]);
SELECT id, k, at, trace, part, off, twice FROM item;
SELECT * FROM letters ORDER BY id;
-- the caller may think better of it
INSERT INTO parent VALUES (2);
BEGIN;
SELECT id, result FROM djkafka_replay(ARRAY[2]);
ROLLBACK;
SELECT count(*) FROM item WHERE id = 2;
SELECT id, result FROM djkafka_replay(ARRAY[2]);
SELECT count(*) FROM letters;
SELECT * FROM djkafka_replay(ARRAY[2]);
SELECT refused('SET TRANSACTION READ ONLY; SELECT djkafka_replay(ARRAY[2])');
SELECT refused('SELECT djkafka_replay(NULL)');

-- bytes that are no text; no time; a tombstone; the error of another day
CREATE TABLE raw (topic text, key bytea, value bytea, "timestamp" timestamptz, CHECK (length(value) <> 3));
SELECT djkafka_subscribe('raw', 'raw', operation => 'insert', format => 'raw', consumer => 'raw');
INSERT INTO djkafka_dead_letter (consumer_id, consumer, topic, partition, "offset", key, value, sqlstate, message)
VALUES (djkafka_consumer_id('raw'), 'raw', 'raw', 0, 5, '\x00ff', '\xff00fe01', 'XX000', 'once'), (djkafka_consumer_id('raw'), 'raw', 'raw', 0, 6, '\x', NULL, 'XX000', 'once'),
       (djkafka_consumer_id('raw'), 'raw', 'raw', 0, 7, NULL, '\x', 'XX000', 'once'), (djkafka_consumer_id('raw'), 'raw', 'raw', 0, 8, NULL, '\x010203', 'XX000', 'once');
SELECT result, code, error FROM djkafka_replay(consumer => 'raw');
SELECT topic, key, value, "timestamp" FROM raw ORDER BY key, value;
SELECT off, sqlstate, value FROM letters;

-- filtered; what fails stays, whatever on_error says
UPDATE djkafka_route SET filter = 'false' WHERE topic = 'raw';
SELECT result FROM djkafka_replay(consumer => 'raw');
SELECT count(*) FROM letters;
UPDATE djkafka_route SET on_error = 'skip', filter = NULL WHERE topic = 'raw';
INSERT INTO djkafka_dead_letter (consumer_id, consumer, topic, partition, "offset", value, sqlstate, message) VALUES (djkafka_consumer_id('raw'), 'raw', 'raw', 0, 8, '\x010203', 'XX000', 'once') RETURNING id AS letter \gset
SELECT result, code FROM djkafka_replay(ARRAY[:letter]);
UPDATE djkafka_route SET on_error = 'stop' WHERE topic = 'raw';
SELECT result, code FROM djkafka_replay(ARRAY[:letter]);
SELECT l.off, l.sqlstate, d.attempts FROM letters l JOIN djkafka_dead_letter d USING (id);
SELECT refused(format('SELECT djkafka_replay(ARRAY[%s])', :letter)) FROM (SELECT djkafka_drop_consumer('raw')) AS dropped;

-- only its owner's
CREATE ROLE letter_other;
GRANT USAGE ON SCHEMA dead_letter TO letter_other;
GRANT EXECUTE ON FUNCTION djkafka_replay TO letter_other;
SELECT give('[{"value": {"id": 9, "parent_id": 9}}]');
SELECT max(id) AS letter FROM djkafka_dead_letter \gset
SET ROLE letter_other;
SELECT refused(format('SELECT djkafka_replay(ARRAY[%s])', :letter));
RESET ROLE;
REVOKE EXECUTE ON FUNCTION djkafka_replay FROM letter_other;
SET ROLE letter_other;
SELECT refused(format('SELECT djkafka_replay(ARRAY[%s])', :letter));
RESET ROLE;

SELECT djkafka_drop_consumer('default');
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA dead_letter CASCADE;
DROP OWNED BY letter_other;
DROP ROLE letter_other;
