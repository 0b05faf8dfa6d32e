-- djkafka_test: what would become of messages, without any of it staying.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA rehearse;
CREATE ROLE rehearse_owner LOGIN;
GRANT CREATE ON SCHEMA rehearse TO rehearse_owner;
GRANT USAGE ON SCHEMA rehearse TO rehearse_owner;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO rehearse_owner;
GRANT ALL ON ALL TABLES IN SCHEMA public TO rehearse_owner;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO rehearse_owner;
SET search_path = rehearse, public;
\c - rehearse_owner
SET search_path = rehearse, public;
CREATE TABLE parent (id bigint PRIMARY KEY);
CREATE TABLE item (id bigint PRIMARY KEY, n int CHECK (n >= 0), note text DEFAULT 'none', parent_id bigint REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
INSERT INTO item (id, n) VALUES (1, 1), (2, 2);
INSERT INTO parent VALUES (7);
SELECT djkafka_create_consumer('c', enabled => false) > 0;
SELECT djkafka_create_route('c', 'item', 'item', filter => 'value IS NULL OR value->>''n'' IS DISTINCT FROM ''99''') AS route \gset
CREATE FUNCTION t(messages jsonb, max_messages int DEFAULT NULL) RETURNS TABLE ("offset" bigint, operation text, fate text, before jsonb, after jsonb, error text) LANGUAGE sql AS $$
    SELECT "offset", operation, fate, row_before, row_after, code || ' ' || error FROM djkafka_test('c', max_messages, messages => messages) $$;

-- each message sees what those before it have written; what each would be
SELECT * FROM t('[{"offset": 0, "value": {"id": 3, "n": 3}}, {"offset": 1, "value": {"id": 3, "note": "new"}}, {"offset": 2, "value": {"id": 1, "n": 10}}, {"offset": 3, "key": "2", "value": null},
    {"offset": 4, "value": {"id": 1, "n": -1}}, {"offset": 5, "value": {"id": 1, "n": 99}}, {"offset": 6, "value": "no object"}, {"offset": 7, "value": {"id": 1, "parent_id": 8}},
    {"offset": 8, "value": {"id": 1, "parent_id": 7}}, {"offset": 9, "key": "77", "value": null}, {"offset": 10, "value": {"n": 5}}, {"offset": 11, "value": {"id": "x", "n": 5}}]');
SELECT topic, partition, route_id = :route, detail, hint, took > '0' AND took < '10 s' FROM djkafka_test('c', messages => '[{"value": {"id": 1, "n": -1}}]');
SELECT count(*) FROM t('[{"value": {"id": 1}}, {"value": {"id": 1}}, {"value": {"id": 1}}]', 2);
SELECT count(*) FROM t('[]');
-- nothing has stayed
TABLE item ORDER BY id;
SELECT count(*) FROM djkafka_dead_letter WHERE consumer = 'c';
SELECT count(*) FROM djkafka_offset;
SELECT count(*) FROM djkafka_event WHERE consumer = 'c';

-- other routes: by another key, by a part of it, appending, a view, a handler, versions, insert_new, what is skipped, a notification, an outbox message
CREATE TABLE line (order_id bigint, n int, code text, "Odd name" int, PRIMARY KEY (order_id, n));
INSERT INTO line VALUES (5, 1, 'a', 1), (5, 2, 'b', 2), (6, 1, 'c', 3);
CREATE TABLE log (at bigint GENERATED ALWAYS AS IDENTITY, what text, time timestamptz);
CREATE VIEW seen AS SELECT id, n FROM item WHERE n < 1000;
CREATE TABLE handled (message jsonb);
CREATE FUNCTION handle(jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO handled VALUES ($1); PERFORM djkafka_produce('rehearsed', $1); NOTIFY rehearsed; PERFORM set_config('rehearse.handled', 'yes', false);
    IF $1->>'id' = 'bad' THEN RAISE 'bad' USING HINT = 'Send a good one.'; END IF; END $$;
CREATE TABLE versioned (id bigint PRIMARY KEY, v int);
INSERT INTO versioned VALUES (1, 5);
SELECT djkafka_create_route('c', 'line', 'line', partial_deletes => true) > 0, djkafka_create_route('c', 'log', 'log', operation => 'insert', exclude => '{at}') > 0,
    djkafka_create_route('c', 'seen', 'seen', key_columns => '{id}') > 0, djkafka_create_route('c', 'handle', handler => 'handle(jsonb)') > 0,
    djkafka_create_route('c', 'versioned', 'versioned', version_column => 'v', on_error => 'skip') > 0, djkafka_create_route('c', 'new', 'item', operation => 'insert_new', on_error => 'stop') > 0;
LISTEN rehearsed;
SELECT * FROM t('[{"topic": "line", "key": {"order_id": 5}, "value": null}, {"topic": "line", "value": {"order_id": 6, "n": 1, "Odd name": 7}}, {"topic": "log", "value": {"what": "x", "time": "2026-01-01T00:00:00Z"}},
    {"topic": "seen", "value": {"id": 2, "n": 20}}, {"topic": "handle", "value": {"id": "good"}}, {"topic": "handle", "value": {"id": "bad"}}, {"topic": "versioned", "value": {"id": 1, "v": 4}},
    {"topic": "versioned", "value": {"id": 1, "v": 6}}, {"topic": "versioned", "value": {"id": 1, "v": "x"}}, {"topic": "new", "value": {"id": 1, "n": 1}}, {"topic": "new", "value": {"id": 4, "n": 4}},
    {"topic": "new", "value": {"id": 4, "n": -4}}, {"topic": "new", "value": {"id": 5, "n": 5}}, {"topic": "nobody", "value": {"id": 5, "n": 5}}]');
SELECT count(*) FROM line;
SELECT (SELECT count(*) FROM log), (SELECT count(*) FROM handled), (SELECT count(*) FROM djkafka_outbox WHERE topic = 'rehearsed'), current_setting('rehearse.handled', true);
TABLE versioned;

-- in any transaction: what it holds is seen, and stays
BEGIN ISOLATION LEVEL REPEATABLE READ;
UPDATE item SET n = 50 WHERE id = 1;
SELECT operation, fate, before, after FROM t('[{"topic": "item", "value": {"id": 1, "n": 51}}, {"topic": "item", "value": {"id": 1, "n": 52}}]');
SELECT n FROM item WHERE id = 1;
SAVEPOINT s;
SELECT fate FROM t('[{"topic": "item", "value": {"id": 1, "n": -1}}]');
ROLLBACK TO s;
DO $$ BEGIN PERFORM t('[{"topic": "item", "value": {"id": 1, "n": 51}}]'); PERFORM 1 / (SELECT count(*) FROM djkafka_test('c', messages => '[]')); EXCEPTION WHEN division_by_zero THEN RAISE NOTICE 'caught'; END $$;
SELECT n FROM item WHERE id = 1;
COMMIT;
SELECT n FROM item WHERE id = 1;
SELECT refused($$SELECT * FROM djkafka_test('c', messages => '{}')$$);
SELECT refused($$SELECT * FROM djkafka_test('c', 0, messages => '[]')$$);
SELECT refused($$SELECT * FROM djkafka_test('c', timeout => '-1 s', messages => '[]')$$);
SELECT refused($$SELECT * FROM djkafka_test(NULL, messages => '[]')$$);
SELECT refused($$SELECT * FROM djkafka_test('none', messages => '[]')$$);
BEGIN READ ONLY;
SELECT * FROM djkafka_test('c', messages => '[]');
ROLLBACK;
-- what is not a message's fault ends it, and a later one is as if it had not been
ALTER TABLE item RENAME COLUMN note TO gone;
ALTER TABLE parent RENAME TO parents;
SELECT djkafka_create_route('c', 'broken', 'item', columns => '{"n": "(SELECT max(id)::int FROM parents WHERE value IS NOT NULL)"}') > 0;
DROP TABLE parents CASCADE;
SELECT refused($$SELECT * FROM djkafka_test('c', messages => '[{"topic": "item", "value": {"id": 1, "n": 60}}, {"topic": "broken", "value": {"id": 1}}]')$$);
SELECT n FROM item WHERE id = 1;
SELECT fate, after FROM t('[{"topic": "item", "value": {"id": 1, "n": 60}}]');

-- as the consumer's owner alone
\c - postgres
SET search_path = rehearse, public;
SELECT refused($$SELECT * FROM djkafka_test('c', messages => '[]')$$);
SELECT djkafka_drop_consumer('c');
DROP SCHEMA rehearse CASCADE;
DROP OWNED BY rehearse_owner;
DROP ROLE rehearse_owner;
