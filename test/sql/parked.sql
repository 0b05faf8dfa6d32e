-- Messages that wait for a row that they refer to: what can be seen without a worker.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA parked;
SET search_path = parked, public;
CREATE TABLE parent (id bigint PRIMARY KEY);
CREATE TABLE child (id bigint PRIMARY KEY, parent_id bigint NOT NULL REFERENCES parent);
SELECT djkafka_create_consumer('c', enabled => false);

-- how long: a minute, as the route says, not at all; nothing else
SELECT djkafka_create_route('c', 'child', 'child');
SELECT djkafka_create_route('c', 'parent', 'parent', parent_timeout => '1 h');
SELECT topic, parent_timeout FROM djkafka_route ORDER BY id;
SELECT refused($$UPDATE djkafka_route SET parent_timeout = '-1 s'$$);
SELECT refused($$UPDATE djkafka_route SET parent_timeout = '1 month -40 days'$$);
SELECT refused($$UPDATE djkafka_route SET parent_timeout = NULL$$);
SELECT refused($$SELECT djkafka_subscribe('x', 'parent', parent_timeout => 'soon')$$);
UPDATE djkafka_route SET parent_timeout = '0';
UPDATE djkafka_route SET parent_timeout = '1000 years';
SELECT topic, parent_timeout FROM djkafka_route ORDER BY id;

-- messages that are given have no place in Kafka, so they do not wait
SELECT applied, dead, parked FROM djkafka_run('c', messages => '[{"topic": "child", "value": {"id": 1, "parent_id": 1}}, {"topic": "parent", "value": {"id": 1}},
    {"topic": "child", "value": {"id": 2, "parent_id": 1}}]');
SELECT sqlstate, message, hint FROM djkafka_dead_letter WHERE consumer = 'c';
SELECT result FROM djkafka_replay(consumer => 'c');
TABLE child ORDER BY id;
SELECT count(*) FROM djkafka_parked;

-- what deletes by a part of the key waits behind each message of the table, whichever route it came by
CREATE FUNCTION by_worker(consumer text, batches text[]) RETURNS jsonb LANGUAGE c STRICT AS '$libdir/djkafka', 'djkafka_test_apply_waiting';
CREATE TABLE line (parent_id bigint, n int, other_id bigint REFERENCES parent, PRIMARY KEY (parent_id, n));
SELECT djkafka_create_consumer('p', enabled => false);
SELECT djkafka_create_route('p', 't', 'line', filter => 'value ? ''n''');
SELECT djkafka_create_route('p', 't', 'line', filter => 'NOT value ? ''n''', partial_deletes => true);
SELECT djkafka_create_route('p', 'parent', 'parent');
SELECT by_worker('p', ARRAY['[{"topic": "t", "offset": 0, "value": {"parent_id": 5, "n": 1, "other_id": 90}}, {"topic": "t", "offset": 1, "value": {"parent_id": 5, "__deleted": true}}]',
    '[{"topic": "parent", "offset": 0, "value": {"id": 90}}]'])->>'state';
TABLE line;
SELECT count(*) FROM djkafka_parked;
SELECT djkafka_drop_consumer('p');

-- what cannot even become a row has not been tried while it is behind one of its key, in whatever batch
CREATE TABLE item (id int PRIMARY KEY, parent_id bigint REFERENCES parent, line_n int, CHECK (parent_id > 0));
CREATE VIEW seen AS SELECT topic, "offset", sqlstate, attempt, due_at IS NOT NULL AS due FROM djkafka_parked WHERE topic IN ('a', 'b');
SELECT djkafka_create_consumer('u', enabled => false);
SELECT djkafka_create_route('u', '^[ab]$', 'item', lookups => '{"line_n": {"table": "line", "column": "n", "returns": "n", "field": "n"}}',
    parent_timeout => '0', retry => '{"max_retries": 3, "delay": "1 hour", "include": ["23503", "22P02"]}');
SELECT by_worker('u', ARRAY['[{"topic": "a", "offset": 0, "value": {"id": 1, "parent_id": 91, "n": null}}, {"topic": "a", "offset": 1, "value": {"id": 1, "n": 7}},
    {"topic": "a", "offset": 2, "value": {"id": 1, "n": "x"}}, {"topic": "a", "offset": 3, "value": {"id": 2, "n": 7}}, {"topic": "a", "offset": 4, "value": {"id": "x"}}]'])->>'state';
SELECT * FROM seen ORDER BY 1, 2, 3;
SELECT by_worker('u', ARRAY['[{"topic": "b", "offset": 0, "value": {"id": 1, "parent_id": 91, "n": null}}]', '[{"topic": "b", "offset": 1, "value": {"id": 1, "n": 7}}]',
    '[{"topic": "b", "offset": 2, "value": {"id": 1, "n": "x"}}, {"topic": "b", "offset": 3, "value": {"id": 2, "n": 7}}, {"topic": "b", "offset": 4, "value": {"id": "x"}}]'])->>'state';
SELECT * FROM seen ORDER BY 1, 2, 3;
DROP VIEW seen;
SELECT djkafka_drop_consumer('u');

-- nobody writes there but workers, and whoever restores a dump
SELECT refused($$INSERT INTO djkafka_parked (consumer_id, offset_id, route_id, topic, partition, "offset")
    SELECT id, 1, 1, 'child', 0, 0 FROM djkafka_consumer WHERE name = 'c'$$);

SELECT djkafka_drop_consumer('c');
DROP SCHEMA parked CASCADE;
