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

-- what waits holds up what is of its key, and nothing of another route, least of all where it keeps no order itself
CREATE TABLE one (id int PRIMARY KEY, v text);
CREATE TABLE two (id int PRIMARY KEY, parent_id bigint REFERENCES parent);
SELECT djkafka_create_consumer('l', enabled => false);
SELECT djkafka_create_route('l', 'both', 'one', filter => 'value ? ''v''');
SELECT djkafka_create_route('l', 'both', 'two', parent_timeout => '0', retry => '{"max_retries": 3, "delay": "1 hour"}', ordering => 'none');
SELECT by_worker('l', ARRAY['[{"topic": "both", "offset": 0, "value": {"id": 1, "parent_id": 99}}]',
    '[{"topic": "both", "offset": 1, "value": {"id": 1, "v": "a"}}, {"topic": "both", "offset": 2, "value": {"id": 1, "parent_id": 99}}, {"topic": "both", "offset": 3, "value": {"id": 1, "v": "b"}}]'])->>'state';
TABLE one;
SELECT "offset", sqlstate FROM djkafka_parked WHERE topic = 'both' ORDER BY 1;
SELECT djkafka_drop_consumer('l');

-- where the type of the key has changed all of its table wait until it is tried again, whichever other routes the table has
SELECT djkafka_create_consumer('k', enabled => false);
SELECT djkafka_create_route('k', 'k1', 'two', parent_timeout => '0', retry => '{"max_retries": 3, "delay": "1 hour"}');
SELECT djkafka_create_route('k', 'k2', 'two', parent_timeout => '0', retry => '{"max_retries": 3, "delay": "1 hour"}');
SELECT by_worker('k', ARRAY['[{"topic": "k1", "offset": 0, "value": {"id": 1, "parent_id": 99}}, {"topic": "k2", "offset": 0, "value": {"id": 2}}]',
    'ALTER TABLE parked.two ALTER id TYPE bigint', '[{"topic": "k1", "offset": 1, "value": {"id": 1}}]', '[{"topic": "k2", "offset": 1, "value": {"id": 3}}]'])->>'state';
TABLE two ORDER BY id;
-- so do those of a route that has kept no order, where it keeps one
UPDATE djkafka_route SET ordering = 'none' WHERE topic = 'k2';
SELECT by_worker('k', ARRAY['[{"topic": "k2", "offset": 2, "value": {"id": 4, "parent_id": 99}}, {"topic": "k2", "offset": 3, "value": {"id": 4}}]'])->>'state';
UPDATE djkafka_route SET ordering = 'key';
SELECT by_worker('k', ARRAY['[{"topic": "k2", "offset": 4, "value": {"id": 5}}]'])->>'state';
TABLE two ORDER BY id;
SELECT djkafka_drop_consumer('k');

-- what is behind one that fails before deferred constraints are looked at has not failed in them
CREATE TABLE late (id varbit PRIMARY KEY, parent_id bigint REFERENCES parent DEFERRABLE INITIALLY DEFERRED, n int);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.n > 0 THEN RAISE 'again' USING ERRCODE = 'KFR01'; END IF; RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON late FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE FUNCTION let_pass() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public SET session_replication_role = replica AS $$ UPDATE djkafka_parked SET due_at = due_at - interval '1 day', parked_at = parked_at - interval '1 day' $$;
SELECT djkafka_create_consumer('d', enabled => false);
SELECT djkafka_create_route('d', topic, 'late', parent_timeout => '1 hour', retry => jsonb_build_object('max_retries', 3, 'delay', '1 hour', 'include', '{KFR01}'::text[], 'blocking', topic = 'd3'))
  FROM unnest('{d1,d2,d3}'::text[]) topic;
CREATE FUNCTION late(topic text, id text, parent_id int, n int, "offset" int) RETURNS text LANGUAGE sql AS $$
    SELECT jsonb_build_object('topic', topic, 'offset', "offset", 'value', jsonb_build_object('id', id, 'parent_id', parent_id, 'n', n))::text $$;
SELECT by_worker('d', ARRAY['[' || late('d1', '101', 98, 0, 0) || ',' || late('d1', '11', NULL, 1, 1) || ',' || late('d1', '100', 97, 0, 2) || ']',
    'SELECT parked.let_pass()'])->>'state';
SELECT by_worker('d', ARRAY['[' || late('d2', '101', 98, 0, 0) || ']', '[' || late('d2', '11', NULL, 1, 1) || ']', '[' || late('d2', '100', 97, 0, 2) || ']',
    'SELECT parked.let_pass()'])->>'state';
SELECT topic, "offset", sqlstate, attempt, due_at IS NOT NULL AS due FROM djkafka_parked WHERE topic LIKE 'd_' ORDER BY 1, 2;
SELECT topic, "offset", sqlstate FROM djkafka_dead_letter WHERE topic LIKE 'd_' ORDER BY 1, 2;
-- … and has not been tried where its partition waits for it
SELECT by_worker('d', ARRAY['[' || late('d3', '101', 98, 0, 0) || ',' || late('d3', '11', NULL, 1, 1) || ']'])->>'state';
SELECT "offset", sqlstate, attempt, due_at IS NOT NULL AS due FROM djkafka_parked WHERE topic = 'd3' ORDER BY 1;
-- … but is behind none that does not wait, which costs no other that is before its parent
CREATE TABLE self (id text PRIMARY KEY, parent text REFERENCES self DEFERRABLE INITIALLY DEFERRED, n int CHECK (n > 0));
SELECT djkafka_create_route('d', 'd4', 'self', parent_timeout => '0');
SELECT by_worker('d', ARRAY['[{"topic": "d4", "offset": 0, "value": {"id": "a", "n": 0}}, {"topic": "d4", "offset": 1, "value": {"id": "child", "parent": "b"}},
    {"topic": "d4", "offset": 2, "value": {"id": "a", "parent": "none"}}, {"topic": "d4", "offset": 3, "value": {"id": "b"}}]'])->>'state';
TABLE self;
SELECT "offset", sqlstate FROM djkafka_dead_letter WHERE topic = 'd4' ORDER BY 1;
-- nor has what is behind one that fails in them, too, and goes on waiting
CREATE TABLE seat (id text PRIMARY KEY, parent_id bigint REFERENCES parent DEFERRABLE INITIALLY DEFERRED, n int UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO seat VALUES ('taken', NULL, 1);
SELECT djkafka_create_route('d', '^d[56]$', 'seat', parent_timeout => '1 hour');
SELECT by_worker('d', ARRAY['[{"topic": "d5", "offset": 0, "value": {"id": "a", "parent_id": 96}}, {"topic": "d5", "offset": 1, "value": {"id": "a", "parent_id": null, "n": 1}},
    {"topic": "d5", "offset": 2, "value": {"id": "b", "n": 1}}]'])->>'state';
SELECT by_worker('d', ARRAY['[{"topic": "d6", "offset": 0, "value": {"id": "a", "parent_id": 96}}]', '[{"topic": "d6", "offset": 1, "value": {"id": "a", "parent_id": null, "n": 1}}]',
    '[{"topic": "d6", "offset": 2, "value": {"id": "b", "n": 1}}]'])->>'state';
SELECT topic, "offset", sqlstate FROM djkafka_parked WHERE topic IN ('d5', 'd6') ORDER BY 1, 2;
SELECT topic, "offset", sqlstate FROM djkafka_dead_letter WHERE topic IN ('d5', 'd6') ORDER BY 1, 2;
SELECT djkafka_drop_consumer('d');
DELETE FROM djkafka_dead_letter WHERE topic LIKE 'd_';

-- a handler is not given what is behind a message that it cannot be given
CREATE TABLE handled (at bigint GENERATED ALWAYS AS IDENTITY, v jsonb);
CREATE FUNCTION handle(jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO handled (v) VALUES ($1) $$;
SELECT djkafka_create_consumer('h', enabled => false);
SELECT djkafka_create_route('h', 't', handler => 'handle(jsonb)', retry => '{"max_retries": 3, "delay": "1 hour", "include": ["22"]}');
SELECT by_worker('h', ARRAY['[{"topic": "t", "offset": 0, "key": "k", "value": "{"}, {"topic": "t", "offset": 1, "key": "k", "value": {"n": 1}}, {"topic": "t", "offset": 2, "key": "l", "value": {"n": 2}}]'])->>'state';
SELECT "offset", sqlstate FROM djkafka_parked WHERE topic = 't' ORDER BY 1;
SELECT v FROM handled;
SELECT djkafka_drop_consumer('h');

-- nobody writes there but workers, and whoever restores a dump
SELECT refused($$INSERT INTO djkafka_parked (consumer_id, offset_id, route_id, topic, partition, "offset")
    SELECT id, 1, 1, 'child', 0, 0 FROM djkafka_consumer WHERE name = 'c'$$);

SELECT djkafka_drop_consumer('c');

-- those of a batch that lack a parent are found together, and told of as each would be alone
CREATE TABLE shape (n int, ddl text);
INSERT INTO shape VALUES (1, 'parent_id bigint REFERENCES parent'), (2, 'parent_id int REFERENCES parent, other_id bigint REFERENCES parent'),
    (3, 'parent_id bigint REFERENCES parent DEFERRABLE INITIALLY DEFERRED'), (4, 'parent_id bigint REFERENCES kid'), (5, 'parent_id text REFERENCES named'),
    (6, 'parent_id smallint DEFAULT 1 REFERENCES parted'),
    (7, 'parent_id bigint REFERENCES parent, w int UNIQUE DEFERRABLE');
CREATE TABLE named (id text PRIMARY KEY);
CREATE TABLE parted (id bigint PRIMARY KEY) PARTITION BY LIST (id);
CREATE TABLE parted_one PARTITION OF parted DEFAULT;
INSERT INTO parent VALUES (1) ON CONFLICT DO NOTHING;
INSERT INTO parted VALUES (1);
INSERT INTO named VALUES (1);
CREATE TABLE kid ();
CREATE TABLE told (shape int, one_by_one bool, what text);
CREATE PROCEDURE try(which int, one_by_one bool) LANGUAGE plpgsql AS $$ DECLARE
    given text[] := ARRAY['"id": 1, "parent_id": 1', '"id": 2, "parent_id": 77', '"id": 3, "parent_id": 77, "n": -1', '"id": 4, "parent_id": 78, "u": 1',
        '"id": 5, "parent_id": 79, "u": 1', '"id": 2, "parent_id": 1', '"id": 6', '"id": 7, "parent_id": null', '"id": 1, "parent_id": 77', '"id": 8, "parent_id": 1, "other_id": 80',
        '"id": 9, "parent_id": 81, "other_id": 80', '"id": 4, "__deleted": true', '"id": 77, "parent_id": 1', '"id": 10, "parent_id": 77', '"id": 11, "parent_id": 1, "n": 5'] ||
        ARRAY(SELECT format('"id": %s, "parent_id": %s, "n": 1', i, CASE i % 3 WHEN 0 THEN 1 ELSE 80 + i END) FROM generate_series(20, 40) i) ||
        ARRAY['"id": 50, "parent_id": 1, "w": 7', '"id": 51, "parent_id": 99', '"id": 52, "parent_id": 99, "w": 7'];
    batches text[];
    name text := format('o%s%s', which, one_by_one);
BEGIN
    DROP TABLE kid;
    EXECUTE 'CREATE TABLE kid (id int PRIMARY KEY, n int CHECK (n > 0), u int UNIQUE, ' || (SELECT ddl FROM shape WHERE n = which) || ')';
    PERFORM djkafka_create_consumer(name, enabled => false), djkafka_create_route(name, name, 'kid');
    SELECT array_agg(b ORDER BY m) INTO batches FROM (SELECT min(i) AS m, '[' || string_agg(format('{"topic": "%s", "offset": %s, "value": {%s}}', name, i, g), ',' ORDER BY i) || ']' AS b
        FROM unnest(given) WITH ORDINALITY x(g, i) GROUP BY CASE WHEN one_by_one THEN i END) b;
    COMMIT;
    PERFORM by_worker(name, batches);
    INSERT INTO told SELECT which, one_by_one, w FROM (SELECT format('%s waits: %s %s %s %s %s', "offset", sqlstate, message, detail, hint, missing_key) FROM djkafka_parked WHERE topic = name
        UNION ALL SELECT format('%s failed: %s %s %s %s', "offset", sqlstate, message, detail, hint) FROM djkafka_dead_letter WHERE topic = name
        UNION ALL SELECT format('row: %s', kid) FROM kid) x (w);
    PERFORM djkafka_drop_consumer(name);
    DELETE FROM djkafka_dead_letter WHERE topic = name;
END $$;
DO $$ BEGIN FOR n IN 1 .. 7 LOOP CALL try(n, false); CALL try(n, true); END LOOP; END $$;
SELECT shape, what, count(*) FROM told GROUP BY 1, 2 HAVING count(*) <> 2;
SELECT shape, count(*) FILTER (WHERE what LIKE '% waits%') AS waiting, count(*) FILTER (WHERE what LIKE '% failed%') AS failed, count(*) FROM told WHERE one_by_one GROUP BY 1 ORDER BY 1;
SELECT what FROM told WHERE shape = 1 AND NOT one_by_one ORDER BY 1;

DROP SCHEMA parked CASCADE;
