-- Errors: the bad message alone, and what is kept of it.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA errors;
SET search_path = errors, public;
CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL, n int CHECK (n > 0));
SELECT djkafka_subscribe('items', 'item');

-- poison among good ones: each of the bad, and nothing else, is dead
SELECT give(jsonb_agg(jsonb_build_object('key', i, 'value', CASE
        WHEN i % 100 = 7 THEN '"{"'::jsonb
        WHEN i % 100 = 8 THEN jsonb_build_object('id', i)
        WHEN i % 100 = 9 THEN jsonb_build_object('id', i, 'name', 'x', 'n', -i)
        WHEN i % 100 = 10 THEN jsonb_build_object('id', i, 'name', 'x', 'n', 'many')
        ELSE jsonb_build_object('id', i, 'name', 'x', 'n', i) END) ORDER BY i)) FROM generate_series(1, 1000) i;
SELECT count(*), count(*) FILTER (WHERE id % 100 BETWEEN 7 AND 10) FROM item;
SELECT sqlstate, count(*), min("offset"), max("offset") FROM djkafka_dead_letter GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM djkafka_dead_letter WHERE convert_from(key, 'UTF8')::int <> "offset" + 1;
-- nothing but poison
DELETE FROM djkafka_dead_letter;
SELECT give(jsonb_agg('{"value": "{"}'::jsonb)) FROM generate_series(1, 100);
SELECT give(jsonb_agg('{"value": {"id": 1, "n": -1}}'::jsonb)) FROM generate_series(1, 100);
DELETE FROM djkafka_dead_letter;

-- byte for byte, with position, time, headers and where it happened
SELECT give('[{"key": "k\u00e4", "value": "{\"id\": 1, \"n\": \"\u00fc", "headers": {"h": "1", "n": null}, "partition": 4, "offset": 99, "timestamp": "2026-01-31 12:00:00.123+00"}, {"key": null, "value": "", "timestamp": "2026-01-31 12:00+00"}]');
SELECT consumer, consumer_id = djkafka_consumer_id('default') AS its, (SELECT r.topic FROM djkafka_route r WHERE r.id = route_id) AS route, topic, partition, "offset",
       message_time AT TIME ZONE 'UTC' AS at, key, value, headers, sqlstate, message FROM djkafka_dead_letter ORDER BY id;
DELETE FROM djkafka_dead_letter;

-- skip: counted elsewhere, kept nowhere; stop: nothing of it and an error that tells
UPDATE djkafka_route SET on_error = 'skip';
SELECT give('[{"value": {"id": 2001, "name": "a"}}, {"value": {"id": 2002}}, {"value": "{"}, {"value": {"id": 2003, "name": "c"}}]');
SELECT id FROM item WHERE id > 2000 ORDER BY id;
SELECT count(*) FROM djkafka_dead_letter;
UPDATE djkafka_route SET on_error = 'stop';
SELECT regexp_replace(refused($$SELECT give('[{"value": {"id": 2004, "name": "a"}}, {"value": {"id": 2005}}, {"value": {"id": 2006, "name": "c"}}]')$$), 'Failing row[^\n]*', 'Failing row …');
SELECT refused($$SELECT give('[{"value": {"id": 2004, "name": "a"}}, {"value": "{"}, {"value": {"id": 2006, "name": "c"}}]')$$);
SELECT count(*) FROM item WHERE id > 2003;
-- the consumer's word counts where the route has none
UPDATE djkafka_route SET on_error = NULL;
UPDATE djkafka_consumer SET on_error = 'skip';
SELECT give('[{"value": "{"}]');
SELECT count(*) FROM djkafka_dead_letter;
UPDATE djkafka_consumer SET on_error = 'dead_letter';

-- Django's foreign keys are deferred: a child before its parent is no error
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE strict_child (id int PRIMARY KEY, parent_id int REFERENCES parent);
SELECT djkafka_subscribe('child', 'child'), djkafka_subscribe('parent', 'parent'), djkafka_subscribe('strict_child', 'strict_child', route_order => -1);
SELECT give('[{"topic": "child", "value": {"id": 1, "parent_id": 1}}, {"topic": "child", "value": {"id": 2, "parent_id": 2}}, {"topic": "parent", "value": {"id": 2}}, {"topic": "parent", "value": {"id": 1}}]');
-- beside poison as well; one without a parent is dead
SELECT give('[{"topic": "child", "value": {"id": 3, "parent_id": 3}}, {"topic": "child", "value": {"id": 4, "parent_id": 99}}, {"topic": "child", "value": {"id": "x"}}, {"topic": "parent", "value": {"id": 3}}]');
SELECT * FROM child ORDER BY id;
SELECT regexp_replace(dead_letters(), 'column "id": ', '');
-- an immediate one is an error where it stands, and none after its parent
SELECT give('[{"topic": "strict_child", "value": {"id": 1, "parent_id": 5}}, {"topic": "parent", "value": {"id": 5}}, {"topic": "strict_child", "value": {"id": 2, "parent_id": 5}}]');
SELECT * FROM strict_child;
SELECT dead_letters();
-- a parent that is still wanted cannot be deleted: the hint says why Django does not see it
SELECT give('[{"topic": "parent", "key": "5", "value": null}, {"topic": "parent", "key": "1", "value": null}]');
SELECT id FROM parent ORDER BY id;
SELECT dead_letters();
SELECT give('[{"topic": "parent", "value": {"id": 5, "__deleted": true}}]');
SELECT dead_letters();
-- children and parent in one batch go together
SELECT give('[{"topic": "parent", "key": "1", "value": null}, {"topic": "child", "key": "1", "value": null}]');
SELECT count(*) FROM parent WHERE id = 1;

-- deferred in the caller's transaction: what djkafka_run has checked stays as deferred as it was
BEGIN;
SELECT give('[{"topic": "child", "value": {"id": 10, "parent_id": 10}}, {"topic": "parent", "value": {"id": 10}}]');
INSERT INTO child VALUES (11, 11);
INSERT INTO parent VALUES (11);
COMMIT;
SELECT count(*) FROM child WHERE id IN (10, 11);

-- no message's fault: all of it fails and nothing is kept
CREATE FUNCTION fail(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'as asked' USING ERRCODE = $1; END $$;
SELECT djkafka_subscribe('fail', 'item', columns => '{"n": "fail(value->>''code'')", "name": "''x''"}');
SELECT refused(format($$SELECT give('[{"topic": "parent", "value": {"id": 500}}, {"topic": "fail", "value": {"id": 5000, "code": "%s"}}]')$$, code)) FROM unnest(ARRAY['40001', '40P01', '55P03', '53200']) code;
SELECT count(*) FROM parent WHERE id = 500;
SELECT count(*) FROM djkafka_dead_letter;

-- what names a definition is the message's fault if it does not fail without it
SELECT give('[{"topic": "fail", "value": {"id": 1, "code": "42P01"}}, {"topic": "fail", "value": {"id": 2, "code": "42501"}}]');
SELECT dead_letters();
CREATE FUNCTION fail_some(text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF $1 IS NULL THEN RETURN 1; END IF; RAISE EXCEPTION 'as asked' USING ERRCODE = $1; END $$;
UPDATE djkafka_route SET columns = '{"n": "fail_some(value->>''code'')", "name": "''x''"}' WHERE topic = 'fail';
SELECT give('[{"topic": "fail", "value": {"id": 6001, "code": "42P01"}}, {"topic": "fail", "value": {"id": 6002}}]');
SELECT dead_letters();
-- a column that is dropped, and one that is added
ALTER TABLE item DROP COLUMN n;
SELECT give('[{"topic": "items", "value": {"id": 7001, "name": "a", "n": 5}}]');
ALTER TABLE item ADD COLUMN m int;
SELECT give('[{"topic": "items", "value": {"id": 7001, "m": 5}}]');
SELECT * FROM item WHERE id = 7001;
SELECT regexp_replace(refused($$SELECT give('[{"topic": "fail", "value": {"id": 1}}]')$$), 'route \d+', 'route N');

-- the route that is broken is named, also where another one looks at what it would write
CREATE TABLE coded (id int PRIMARY KEY, c int);
CREATE TABLE other (id int PRIMARY KEY);
SELECT djkafka_subscribe('two', 'coded', filter => $$value->>'kind' = 'a'$$, columns => '{"c": "(SELECT p.id FROM errors.parent p WHERE p.id = (value->>''code'')::int)"}');
SELECT djkafka_subscribe('two', 'other', route_order => 1);
ALTER TABLE other DROP CONSTRAINT other_pkey;
SELECT regexp_replace(refused($$SELECT give('[{"topic": "two", "value": {"kind": "a", "id": 1, "code": 1}}]')$$), 'route \d+', 'route N');
SELECT count(*) FROM dead_letters();
ALTER TABLE other ADD PRIMARY KEY (id);
SELECT give('[{"topic": "two", "value": {"kind": "a", "id": 1, "code": 1}}]');
-- what a column of the key is filled with, of which no message speaks, is none's fault
CREATE TABLE owned (tenant int DEFAULT current_setting('errors.tenant')::int, id int, n int, PRIMARY KEY (tenant, id));
SELECT djkafka_subscribe('owned', 'owned');
SELECT regexp_replace(refused($$SELECT give('[{"topic": "owned", "value": {"tenant": 1, "id": 1}}, {"topic": "owned", "value": {"id": 1}}]')$$), 'route \d+', 'route N');
SELECT give('[{"topic": "owned", "value": {"tenant": 1, "id": 1}}, {"topic": "owned", "value": {"tenant": 1, "id": "x"}}, {"topic": "owned", "value": {"tenant": 1, "id": 2, "n": "x"}}]');
SELECT dead_letters();
SET errors.tenant = 2;
SELECT give('[{"topic": "owned", "value": {"id": 1, "n": 2}}]');
TABLE owned ORDER BY 1;

-- where it was: consumer, topic, partition, offset
CREATE FUNCTION context_of(messages jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE context text;
BEGIN
    PERFORM djkafka_run('default', messages => context_of.messages);
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS context = PG_EXCEPTION_CONTEXT;
    RETURN substring(context from 'consumer[^\n]*');
END $$;
SELECT context_of('[{"topic": "fail", "partition": 3, "offset": 77, "value": {"id": 1, "code": "40001"}}]');
SELECT context_of('[{"topic": "parent", "offset": 5, "value": {"id": 600}}, {"topic": "fail", "partition": 3, "offset": 77, "value": {"id": 1, "code": "40001"}}]');
UPDATE djkafka_route SET columns = '{"m": "fail_some(value->>''code'')", "name": "''x''"}' WHERE topic = 'fail';
SELECT give('[{"topic": "parent", "value": {"id": 601}}, {"topic": "fail", "partition": 3, "offset": 78, "value": {"id": 8001, "code": "ZZ001"}}, {"topic": "fail", "value": {"id": 8002}}]');
SELECT substring(context from 'consumer[^\n]*') FROM djkafka_dead_letter;

SELECT djkafka_drop_consumer('default');
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA errors CASCADE;
