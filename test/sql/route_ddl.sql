-- Routes: what is checked before a message comes.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA route_ddl;
SET search_path = route_ddl, public;
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric(10,2), made_at timestamptz, total int GENERATED ALWAYS AS (id * 2) STORED);
SELECT djkafka_create_consumer('c');

-- the defaults, through the function and as the ORM inserts
SELECT djkafka_create_route('c', 'items', 'item');
INSERT INTO djkafka_route (consumer_id, topic, target) VALUES (djkafka_consumer_id('c'), 'items.2', 'item') RETURNING id;
SELECT topic, route_order, target, target_name, handler, operation, format, key_format, key_columns, columns, include, exclude, filter,
       deleted_field, unknown_fields, on_error, notify, types, time_zone, time_unit, search_path
  FROM djkafka_route ORDER BY id;
CREATE TABLE before AS SELECT * FROM djkafka_route;
CREATE FUNCTION try(topic text, route text = $$target => 'item'$$) RETURNS text LANGUAGE sql AS
    $$ SELECT refused(format('SELECT djkafka_create_route(%L, %L, %s)', 'c', topic, route)) $$;

-- topics: a name, or a regular expression
SELECT try('');
SELECT try('with space');
SELECT try('schräg');
SELECT try('.');
SELECT try('..');
SELECT try('a/b');
SELECT try(repeat('t', 250));
SELECT try('*');
SELECT try('^items(');
SELECT try('^[');
SELECT try('^' || repeat('x', 1000));
-- … that PostgreSQL and librdkafka read alike
SELECT try('^(?=x)');
SELECT try('^(?:a)12');
SELECT try('^(?i)a');
SELECT try('^x{1,300}');
SELECT try('^a\d+$');
SELECT try('^a\S[\w.]+$');
SELECT try('^(a|[]\d])');
SELECT try('^(.)\1$');
-- … and that the C library can cope with, which librdkafka and the check itself ask: it has no limits of its own
SELECT try('^((){255}){150}');
SELECT try('^(a*)*');
SELECT refused(format('SELECT djkafka_create_route(%L, %L, %L)', 'c', topic, 'item')) ~ '^2201B invalid pattern of topics' AS refused
  FROM unnest(ARRAY['^((){255}){20}', '^((|||||||||){255}){3}', '^(()*){9}', '^(\<)+', '^((a|b|){2})*', '^([a-z]+-?|$)+', '^x(a+|b{0,3}){,3}',
      '^' || repeat('(', 12) || 'a' || repeat(')+', 12), '^(((a{7,}){7,}){7,}){7,}', '^([[:alpha:]]{100}|a){10}', '^(é|[])]{9}){99}']) topic;
SELECT count(djkafka_create_route('c', topic, 'item')) FROM unnest(ARRAY['^' || repeat('x', 999), '^(shop|dev-)?[a-z]{1,255}(\.[a-z]+)*(|-v[0-9]{1,3})$',
    '^((a|b)+-)*c{250}', '^(a[])}{9}]b)*$', '^(\(a?\)|\{b})+', '^' || repeat('a?', 400), '^' || repeat('(', 300) || 'a?' || repeat(')?', 300)]) topic;
SELECT count(djkafka_create_route('c', topic, 'item')) FROM unnest(ARRAY['^', '^[[:alpha:]_.-]+\.v[0-9]{1,2}$', '^\w+\.\S*$', '^[]^.]', '^a.*?b']) topic;
SELECT refused($$SELECT djkafka_create_route('c', NULL, 'item')$$);
SELECT djkafka_create_route('c', '^shop\.(items|articles)$', 'item') > 0;
SELECT djkafka_create_route('c', repeat('t', 249), 'item') > 0;
DELETE FROM djkafka_route WHERE id > 2;

-- one of target and handler
CREATE FUNCTION handle(jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
SELECT refused($$SELECT djkafka_create_route('c', 't')$$);
SELECT refused($$SELECT djkafka_create_route('c', 't', target => 'item', handler => 'handle(jsonb)')$$);
SELECT refused($$SELECT djkafka_subscribe('t', 'no_such_table', consumer => 'c')$$);
SELECT refused($$SELECT djkafka_subscribe('t', handler => 'no_such_function(jsonb)', consumer => 'c')$$);
SELECT refused($$INSERT INTO djkafka_route (consumer_id, topic, handler) VALUES (1, 't', 'no_such_function(jsonb)')$$);
SELECT refused($$INSERT INTO djkafka_route (consumer_id, topic, handler) VALUES (1, 't', 'not a signature')$$) ~ '^(22P02|42883) ';
SELECT refused($$INSERT INTO djkafka_route (consumer_id, topic, target) VALUES (0, 't', 'item')$$);
SELECT refused($$INSERT INTO djkafka_route (consumer_id, topic, target) VALUES (NULL, 't', 'item')$$);
SELECT refused($$SELECT djkafka_create_route('nothing', 't', 'item')$$);
SELECT refused($$SELECT djkafka_create_route(NULL, 't', 'item')$$);
SELECT refused($$SELECT djkafka_drop_route(0)$$);
SELECT refused($$SELECT djkafka_drop_route(NULL)$$);

-- words
SELECT try('t', $$target => 'item', operation => 'replace'$$);
SELECT try('t', $$target => 'item', operation => NULL$$);
SELECT try('t', $$target => 'item', format => 'xml'$$);
SELECT try('t', $$target => 'item', format => NULL$$);
SELECT try('t', $$target => 'item', key_format => 'xml'$$);
SELECT try('t', $$target => 'item', unknown_fields => 'warn'$$);
SELECT try('t', $$target => 'item', on_error => 'ignore'$$);
SELECT try('t', $$target => 'item', notify => 'all'$$);
SELECT try('t', $$target => 'item', time_zone => 'Mars/Base'$$);
SELECT try('t', $$target => 'item', types => 'loose'$$);
SELECT try('t', $$target => 'item', types => 'postgres', time_zone => 'error'$$);
SELECT try('t', $$target => 'item', time_unit => 'min'$$);
SELECT try('t', $$target => 'item', time_unit => '{"made_at": "hours"}'$$);
SELECT try('t', $$target => 'item', time_unit => '{"made_at": 1}'$$);
SELECT try('t', $$target => 'item', time_unit => '{"nowhere": "s"}'$$);
SELECT try('t', $$target => 'item', time_unit => '{"made_at": "s"'$$);
SELECT try('t', $$target => 'item', route_order => NULL$$);

-- columns that are not there, twice, empty lists
SELECT try('t', $$target => 'item', include => '{id,colour}'$$);
SELECT try('t', $$target => 'item', exclude => '{colour}'$$);
SELECT try('t', $$target => 'item', key_columns => '{colour}'$$);
SELECT try('t', $$target => 'item', columns => '{"colour": "value"}'$$);
SELECT try('t', $$target => 'item', columns => '{"total": "1"}'$$);
SELECT try('t', $$target => 'item', columns => '{"name": "1"}', exclude => '{name}'$$);
SELECT try('t', $$target => 'item', include => '{}'$$);
SELECT try('t', $$target => 'item', exclude => '{}'$$);
SELECT try('t', $$target => 'item', key_columns => '{}'$$);
SELECT try('t', $$target => 'item', key_columns => '{id,id}'$$);
SELECT try('t', $$target => 'item', include => '{id,NULL}'$$);
SELECT try('t', $$target => 'item', include => '{""}'$$);
SELECT try('t', $$target => 'item', columns => '[]'$$);
SELECT try('t', $$target => 'item', columns => '{"name": {}}'$$);
SELECT try('t', $$target => 'item', columns => '{"name": null}'$$);
SELECT try('t', $$target => 'item', exclude => '{id}'$$);
SELECT try('t', $$target => 'item', include => '{name}'$$);

-- names with capitals: a table is named as in SQL, its columns as they are
CREATE TABLE "Item" ("Id" int PRIMARY KEY, "madeAt" timestamptz, "kafkaSkip" boolean, madeat int);
SELECT try('t', $$target => 'Item'$$);
SELECT try('t', $$target => '"Item"', key_columns => '{id}'$$);
SELECT try('t', $$target => '"Item"', key_columns => ARRAY['"Id"']$$);
SELECT try('t', $$target => '"Item"', include => '{Id,MADEAT}'$$);
SELECT try('t', $$target => '"Item"', exclude => '{"\"kafkaSkip\""}'$$);
SELECT try('t', $$target => '"Item"', columns => '{"MADEAT": "msg_time"}'$$);
SELECT try('t', $$target => '"Item"', skip_column => 'kafkaskip'$$);
SELECT try('t', $$target => '"Item"', skip_column => 'madeAt'$$);
SELECT try('t', $$target => '"Item"', version_column => '"madeAt"'$$);
SELECT try('t', $$target => '"Item"', time_unit => '{"\"madeAt\"": "s"}'$$);
SELECT try('t', $$target => '"Item"', time_unit => '{"\"": "s"}'$$);
SELECT refused($$SELECT djkafka_publish('"Item"', 't', key_columns => '{id}')$$);
SELECT refused($$SELECT djkafka_publish('"Item"', 't', exclude => '{kafkaskip}')$$);
SELECT djkafka_create_route('c', 't', '"Item"', key_columns => '{Id}', skip_column => 'kafkaSkip', version_column => 'madeAt', time_unit => '{"madeAt": "s"}') > 0;
SELECT target, target_name FROM djkafka_route WHERE topic = 't';
CREATE FUNCTION "onItem"(jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
SELECT refused($$SELECT djkafka_create_route('c', 't', handler => 'onItem(jsonb)')$$);
SELECT djkafka_create_route('c', 't', handler => '"onItem"(jsonb)') > 0;
DELETE FROM djkafka_route WHERE topic = 't';

-- expressions: one value for each message, and nothing else
SELECT try('t', $$target => 'item', columns => '{"name": "colour"}'$$);
SELECT try('t', $$target => 'item', columns => '{"name": "1 +"}'$$);
SELECT try('t', $$target => 'item', columns => '{"name": ""}'$$);
SELECT try('t', $$target => 'item', columns => '{"name": "no_such_function(value)"}'$$);
SELECT try('t', $$target => 'item', columns => '{"made_at": "1"}'$$);
SELECT try('t', $$target => 'item', columns => '{"name": "(SELECT name, id FROM item)"}'$$);
SELECT try('t', $$target => 'item', columns => '{"name": "generate_series(1, 2)"}'$$);
SELECT try('t', $$target => 'item', columns => '{"name": "count(*)"}'$$);
SELECT try('t', $$target => 'item', columns => '{"name": "row_number() OVER ()"}'$$);
SELECT try('t', $$target => 'item', columns => '{"name": "1) AS text), CAST((2"}'$$);
SELECT try('t', $$target => 'item', columns => '{"name": "1) AS text) FROM item; DROP TABLE item; SELECT ((1"}'$$);
SELECT try('t', $$target => 'item', columns => '{"name": "1) AS text) FROM item --"}'$$);
SELECT try('t', $$target => 'item', columns => '{"name": "''x'' -- a comment"}'$$);
DELETE FROM djkafka_route WHERE topic = 't';
SELECT try('t', $$target => 'item', filter => '1'$$);
SELECT try('t', $$target => 'item', filter => 'value->>''x'''$$);
SELECT try('t', $$target => 'item', filter => 'true; DROP TABLE item'$$);
SELECT try('t', $$target => 'item', filter => 'bool_and(true)'$$);
SELECT try('t', $$target => 'item', filter => 'true) AS boolean) FROM djkafka_input UNION ALL SELECT 1, CAST((true'$$);
SELECT try('t', $$target => 'item', filter => 'EXISTS (SELECT FROM nowhere)'$$);
SELECT try('t', $$target => 'item', filter => 'value ? ''x''', format => 'text'$$);

-- keys
CREATE TABLE no_key (id int, name text);
CREATE TABLE with_key (id int PRIMARY KEY DEFERRABLE, code text UNIQUE, tag text UNIQUE DEFERRABLE INITIALLY DEFERRED, half text, body xml);
CREATE UNIQUE INDEX ON with_key (half) WHERE half > 'm';
CREATE UNIQUE INDEX ON with_key (lower(half));
SELECT try('t', $$target => 'no_key'$$);
SELECT try('t', $$target => 'no_key', operation => 'upsert'$$);
SELECT try('t', $$target => 'no_key', operation => 'insert_new'$$);
SELECT try('t', $$target => 'no_key', key_columns => '{id}'$$);
SELECT try('t', $$target => 'with_key'$$);
SELECT try('t', $$target => 'with_key', key_columns => '{tag}'$$);
CREATE TABLE twice_keyed (id int PRIMARY KEY, tag text UNIQUE, UNIQUE (id) DEFERRABLE, UNIQUE (tag) DEFERRABLE);
SELECT try('t', $$target => 'twice_keyed'$$);
SELECT try('t', $$target => 'twice_keyed', key_columns => '{tag}'$$);
SELECT try('t', $$target => 'with_key', key_columns => '{half}'$$);
SELECT try('t', $$target => 'with_key', key_columns => '{code,half}'$$);
SELECT djkafka_create_route('c', 't1', 'with_key', key_columns => '{code}') > 0;
-- WITHOUT OVERLAPS is of PostgreSQL 18
SELECT CASE WHEN current_setting('server_version_num')::int >= 180000 THEN 'WITHOUT OVERLAPS)' ELSE ') DEFERRABLE' END AS rest \gset
CREATE TABLE with_period (id int4range, valid daterange, PRIMARY KEY (id, valid :rest);
SELECT try('t', $$target => 'with_period'$$) ~ '^42P16 the key of "route_ddl.with_period" is a .*constraint';
SELECT try('t', $$target => 'with_period', key_columns => '{valid,id}'$$) ~ '^42P16 the key of "route_ddl.with_period" is a .*constraint';
SELECT djkafka_create_route('c', 't2', 'with_period', operation => 'insert') > 0;
SELECT djkafka_create_route('c', 't2', 'no_key', operation => 'insert') > 0;
DELETE FROM djkafka_route WHERE id > 2;

SELECT try('t', $$target => 'with_key', key_columns => '{body}', operation => 'insert'$$);

-- kinds of targets
CREATE TABLE part (id int PRIMARY KEY, name text) PARTITION BY RANGE (id);
CREATE VIEW plain AS SELECT id, name FROM item;
CREATE VIEW joined AS SELECT i.id, j.name FROM item i JOIN item j USING (id);
CREATE VIEW triggered AS SELECT i.id, j.name FROM item i JOIN item j USING (id);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER triggered INSTEAD OF INSERT OR UPDATE OR DELETE ON triggered FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE VIEW insertable AS SELECT i.id, j.name FROM item i JOIN item j USING (id);
CREATE TRIGGER insertable INSTEAD OF INSERT ON insertable FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE MATERIALIZED VIEW kept AS SELECT id, name FROM item;
CREATE SEQUENCE numbers;
CREATE INDEX item_name ON item (name);
CREATE TYPE pair AS (id int, name text);
CREATE TEMP TABLE temporary (id int PRIMARY KEY);
CREATE FOREIGN DATA WRAPPER route_ddl;
CREATE SERVER route_ddl FOREIGN DATA WRAPPER route_ddl;
CREATE FOREIGN TABLE far (id int, name text) SERVER route_ddl;
SELECT djkafka_create_route('c', 't1', 'part') > 0;
SELECT try('t', $$target => 'plain'$$);
SELECT djkafka_create_route('c', 't2', 'plain', key_columns => '{id}') > 0;
SELECT djkafka_create_route('c', 't3', 'triggered', key_columns => '{id}') > 0;
SELECT try('t', $$target => 'joined', key_columns => '{id}'$$);
SELECT try('t', $$target => 'insertable', key_columns => '{id}'$$);
SELECT try('t', $$target => 'plain', key_columns => '{id}', operation => 'insert_new'$$);
SELECT djkafka_create_route('c', 't4', 'insertable', operation => 'insert') > 0;
SELECT try('t', $$target => 'kept'$$);
SELECT try('t', $$target => 'numbers'$$);
SELECT try('t', $$target => 'item_name'$$);
SELECT try('t', $$target => 'pair'$$);
SELECT regexp_replace(try('t', $$target => 'temporary'$$), 'pg_temp_\d+', 'pg_temp');
SELECT try('t', $$target => 'far'$$);
SELECT try('t', $$target => 'pg_class'$$);
SELECT try('t', $$target => 'pg_authid'$$);
SELECT try('t', $$target => '0'$$);
SELECT try('t', $$target => 'djkafka_offset'$$);
DELETE FROM djkafka_route WHERE id > 2;

-- handlers
CREATE FUNCTION h_message(djkafka_message) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION h_messages(djkafka_message[]) RETURNS void LANGUAGE sql AS 'SELECT';
CREATE FUNCTION h_text(text) RETURNS void LANGUAGE sql AS 'SELECT';
CREATE FUNCTION h_two(jsonb, jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
CREATE FUNCTION h_none() RETURNS void LANGUAGE sql AS 'SELECT';
CREATE FUNCTION h_set(jsonb) RETURNS SETOF int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION h_default(jsonb, x int DEFAULT 1) RETURNS void LANGUAGE sql AS 'SELECT';
CREATE PROCEDURE h_procedure(jsonb) LANGUAGE sql AS 'SELECT';
CREATE AGGREGATE h_aggregate(jsonb) (SFUNC = jsonb_concat, STYPE = jsonb);
SELECT djkafka_create_route('c', 't1', handler => 'handle(jsonb)') > 0;
SELECT djkafka_create_route('c', 't2', handler => 'h_message(djkafka_message)', format => 'raw') > 0;
SELECT djkafka_create_route('c', 't3', handler => 'h_messages(djkafka_message[])') > 0;
INSERT INTO djkafka_route (consumer_id, topic, handler) VALUES (1, 't4', 'handle(jsonb)');
SELECT topic, handler FROM djkafka_route WHERE id > 2 ORDER BY topic;
SELECT try('t', $$handler => 'h_text(text)'$$);
SELECT try('t', $$handler => 'h_two(jsonb,jsonb)'$$);
SELECT try('t', $$handler => 'h_none()'$$);
SELECT try('t', $$handler => 'h_set(jsonb)'$$);
SELECT try('t', $$handler => 'h_default(jsonb,int)'$$);
SELECT try('t', $$handler => 'h_procedure(jsonb)'$$);
SELECT try('t', $$handler => 'h_aggregate(jsonb)'$$);
SELECT try('t', $$handler => 'handle(jsonb)', format => 'text'$$);
SELECT try('t', $$handler => 'handle(jsonb)', columns => '{"id": "1"}'$$);
DELETE FROM djkafka_route WHERE id > 2;

-- duplicates
SELECT try('items');
SELECT try('items', $$target => 'item', filter => 'true'$$);
SELECT try('items', $$target => 'item', filter => 'true', operation => 'insert'$$);
DELETE FROM djkafka_route WHERE id > 2;

-- rows that an ORM writes are checked the same, changes too
SELECT refused($$INSERT INTO djkafka_route (consumer_id, topic, target, columns) VALUES (1, 't', 'item', '{"name": "colour"}')$$);
SELECT refused($$INSERT INTO djkafka_route (consumer_id, topic, target, operation) VALUES (1, 't', 'no_key', 'upsert')$$);
SELECT refused($$UPDATE djkafka_route SET topic = 'a b' WHERE id = 1$$);
SELECT refused($$UPDATE djkafka_route SET filter = 'colour' WHERE id = 1$$);
SELECT refused($$UPDATE djkafka_route SET target = 'no_key' WHERE id = 1$$);
SELECT refused($$UPDATE djkafka_route SET target = NULL, target_name = NULL WHERE id = 1$$);
SELECT refused($$UPDATE djkafka_route SET handler = 'handle(jsonb)' WHERE id = 1$$);
SELECT refused($$UPDATE djkafka_route SET topic = 'items' WHERE id = 2$$);
SELECT refused($$UPDATE djkafka_route SET search_path = NULL, time_zone = '' WHERE id = 1$$);

-- after all these errors nothing has changed
SELECT count(*) FROM (TABLE djkafka_route EXCEPT TABLE before) x;
SELECT count(*) FROM (TABLE before EXCEPT TABLE djkafka_route) x;
SELECT count(*) FROM item;

-- a change of a route is a change of its consumer
SELECT revision AS revision FROM djkafka_consumer \gset
UPDATE djkafka_route SET filter = 'value ? ''id''' WHERE id = 2;
SELECT revision - :revision FROM djkafka_consumer;
SELECT djkafka_drop_route(2);
SELECT revision - :revision FROM djkafka_consumer;

ALTER SEQUENCE djkafka_route_id_seq RESTART WITH 1000;
-- subscribing makes the consumer, once, and none of it if the route is refused
SELECT djkafka_subscribe('a', 'item'), djkafka_subscribe('b', 'item');
SELECT refused($$SELECT djkafka_subscribe('c', 'no_key', consumer => 'other')$$);
SELECT refused($$SELECT djkafka_subscribe('c', 'item', consumer => NULL)$$);
SELECT name FROM djkafka_consumer ORDER BY name;

-- a dropped target keeps its name, and the route waits for it
SET client_min_messages = warning;
DROP TABLE item CASCADE;
RESET client_min_messages;
SELECT topic, target, target_name FROM djkafka_route ORDER BY topic;
SELECT refused($$SELECT djkafka_run('default', messages => '[{"topic": "a", "value": {"id": 1}}]')$$);
SELECT count(*) FROM djkafka_dead_letter;
CREATE TABLE item (id int PRIMARY KEY);
UPDATE djkafka_route SET target = 'item' WHERE topic = 'a';
SELECT give('[{"topic": "a", "value": {"id": 1}}]');
-- a renamed one is the same
ALTER TABLE item RENAME TO article;
SELECT give('[{"topic": "a", "value": {"id": 2}}]');
SELECT target FROM djkafka_route WHERE topic = 'a';
-- so goes one that goes with its schema
CREATE SCHEMA route_ddl_2 CREATE TABLE item (id int PRIMARY KEY);
UPDATE djkafka_route SET target = 'route_ddl_2.item' WHERE topic = 'b';
SET client_min_messages = warning;
DROP SCHEMA route_ddl_2 CASCADE;
SELECT topic, target, target_name FROM djkafka_route WHERE topic = 'b';

-- a type that is altered between two batches, which touches no table that has columns of it
CREATE TYPE point_of AS (x int, y int);
CREATE TYPE line_of AS (a point_of, b point_of);
CREATE DOMAIN checked_point AS point_of CHECK ((VALUE).x > 0);
CREATE TABLE drawn (id int PRIMARY KEY, p point_of, ps point_of[], l line_of, d checked_point);
CREATE TABLE more (id int PRIMARY KEY);
CREATE FUNCTION more() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  ALTER TYPE route_ddl.point_of ADD ATTRIBUTE z int;
  ALTER TYPE route_ddl.point_of DROP ATTRIBUTE y;
  RETURN NULL; END $$;
CREATE TRIGGER more AFTER INSERT ON more FOR EACH ROW EXECUTE FUNCTION more();
SELECT djkafka_create_consumer('altered', enabled => false, batch_messages => 2) > 0;
SELECT djkafka_create_route('altered', 'strict', 'drawn') > 0, djkafka_create_route('altered', 'postgres', 'drawn', types => 'postgres') > 0,
    djkafka_create_route('altered', 'more', 'more') > 0;
SELECT give(format('[{"topic": "strict", "value": {"id": 1, %1$s}}, {"topic": "postgres", "value": {"id": 2, %1$s}},
    {"topic": "more", "value": {"id": 1}}, {"topic": "more", "value": {"id": "x"}},
    {"topic": "strict", "value": {"id": 3, %2$s}}, {"topic": "postgres", "value": {"id": 4, %2$s}}]',
    '"p": {"x": 1, "y": 2}, "ps": [{"x": 1, "y": 2}], "l": {"a": {"x": 1, "y": 2}}, "d": {"x": 1, "y": 2}',
    '"p": {"x": 1, "z": 3}, "ps": [{"x": 1, "z": 3}], "l": {"a": {"x": 1, "z": 3}}, "d": {"x": 1, "z": 3}')::jsonb, 'altered');
TABLE drawn ORDER BY id;
-- … and within one, for rows that are made already
CREATE FUNCTION less(jsonb) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
  IF $1 ? 'less' THEN ALTER TYPE route_ddl.point_of DROP ATTRIBUTE IF EXISTS z; END IF;
  RETURN ($1->>'id')::int; END $$;
SELECT djkafka_create_route('altered', 'less', 'drawn', columns => '{"id": "route_ddl.less(value)"}') > 0;
SELECT give('[{"topic": "less", "value": {"id": 5, "p": {"x": 1, "z": 3}}}, {"topic": "less", "value": {"id": 6, "less": true, "p": {"x": 1, "z": 3}}}]', 'altered');
SELECT id, p FROM drawn WHERE id > 4 ORDER BY id;
SELECT dead_letters();

-- a schema that gets another name between two batches, and its name another schema
CREATE SCHEMA route_ddl_3 CREATE TABLE item (id int PRIMARY KEY);
CREATE TABLE swap (id int PRIMARY KEY);
CREATE FUNCTION swap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  ALTER SCHEMA route_ddl_3 RENAME TO route_ddl_4;
  CREATE SCHEMA route_ddl_3 CREATE TABLE item (id int PRIMARY KEY);
  RETURN NULL; END $$;
CREATE TRIGGER swap AFTER INSERT ON swap FOR EACH ROW EXECUTE FUNCTION swap();
SELECT djkafka_create_consumer('swapped', enabled => false, batch_messages => 1) > 0, djkafka_create_route('swapped', 'item', 'route_ddl_3.item') > 0,
    djkafka_create_route('swapped', 'swap', 'swap') > 0;
SELECT give('[{"topic": "item", "value": {"id": 1}}, {"topic": "swap", "value": {"id": 1}}, {"topic": "item", "value": {"id": 2}}]', 'swapped');
SELECT tableoid::regclass, * FROM route_ddl_4.item UNION ALL SELECT tableoid::regclass, * FROM route_ddl_3.item ORDER BY 2;
SET client_min_messages = warning;
DROP SCHEMA route_ddl_3, route_ddl_4 CASCADE;

SELECT djkafka_drop_consumer(name) FROM djkafka_consumer;
RESET search_path;
DROP SCHEMA route_ddl CASCADE;
DROP FOREIGN DATA WRAPPER route_ddl CASCADE;
