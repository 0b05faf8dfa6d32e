-- Mapping: expressions, include and exclude, filters, the order of routes.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA mapping;
CREATE SCHEMA mapping_2;
SET search_path = mapping, public;
CREATE TABLE country (code text PRIMARY KEY, name text);
INSERT INTO country VALUES ('at', 'Austria'), ('fr', 'France');
CREATE TABLE item (id int PRIMARY KEY, name text, country text, price numeric(8,2), made_at timestamptz, note text DEFAULT 'none');

-- expressions over every name that a message has, and full SQL
CREATE TABLE seen (id int PRIMARY KEY, v jsonb, k jsonb, topic text, part int, off bigint, at timestamptz, h djkafka_header[], trace text);
SELECT djkafka_subscribe('seen', 'seen', columns => '{
    "id": "(value->>''n'')::int", "v": "value", "k": "key", "topic": "topic", "part": "partition", "off": "msg_offset", "at": "msg_time",
    "h": "headers", "trace": "convert_from(djkafka_header(headers, ''trace''), ''UTF8'')"}');
SELECT give('[{"key": {"a": 1}, "value": {"n": 1}, "partition": 3, "offset": 17, "timestamp": "2026-01-31 12:00+00", "headers": {"trace": "abc", "empty": null}},
              {"key": "word", "value": {"n": 2}, "timestamp": "2026-01-31 12:00+00"}, {"value": {"n": 3}, "timestamp": "2026-01-31 12:00+00", "key": "42"}]');
SELECT * FROM seen ORDER BY id;
-- a value that is no object is the expressions' alone
SELECT give('[{"value": 4, "timestamp": "2026-01-31 12:00+00"}]');
SELECT dead_letters();
UPDATE djkafka_route SET columns = '{"id": "value::int", "v": "value"}';
SELECT give('[{"value": 4}, {"value": "5"}, {"value": [6]}]');
SELECT id, v FROM seen WHERE id > 3 ORDER BY id;
SELECT dead_letters();
SELECT djkafka_drop_consumer('default');

-- a look-up of a natural key, planned once for all; what has no expression goes by its name
SELECT djkafka_subscribe('items', 'item', columns => '{"country": "(SELECT c.name FROM country c WHERE c.code = lower(value->>''country''))", "name": "upper(value->>''name'')"}');
SELECT give('[{"value": {"id": 1, "name": "cake", "country": "AT", "price": "9.999"}}, {"value": {"id": 2, "country": "xx", "made_at": "2026-07-01 12:00"}}]');
SELECT id, name, country, price, made_at AT TIME ZONE 'UTC' AS made_at, note FROM item ORDER BY id;
-- the zone in which a time without one is read is the route's, not the session's
UPDATE djkafka_route SET time_zone = 'Europe/Vienna';
SET TimeZone = 'Asia/Tokyo';
SELECT give('[{"value": {"id": 3, "made_at": "2026-07-01 12:00"}}, {"value": {"id": 4, "made_at": "2026-07-01 12:00Z"}}]');
SHOW TimeZone;
RESET TimeZone;
SELECT id, made_at AT TIME ZONE 'UTC' AS made_at FROM item WHERE id > 2 ORDER BY id;
-- an expression that fails for one message fails that message
UPDATE djkafka_route SET columns = '{"price": "100 / (value->>''pieces'')::numeric"}';
SELECT give('[{"value": {"id": 5, "pieces": 4}}, {"value": {"id": 6, "pieces": 0}}, {"value": {"id": 7, "pieces": "x"}}, {"value": {"id": 8, "pieces": 8}}, {"value": {"id": 9, "pieces": 0.00001}}]');
SELECT id, price FROM item WHERE id > 4 ORDER BY id;
SELECT regexp_replace(dead_letters(), '\n.*', '');

-- include and exclude: what may be written at all
TRUNCATE item;
UPDATE djkafka_route SET columns = NULL, include = '{id,name}';
SELECT give('[{"value": {"id": 1, "name": "a", "price": 1, "note": "x"}}]');
UPDATE djkafka_route SET include = NULL, exclude = '{price,note}';
SELECT give('[{"value": {"id": 2, "name": "b", "price": 1, "note": "x", "country": "y"}}, {"value": {"id": 1, "price": 5, "country": "z"}}]');
UPDATE djkafka_route SET include = '{name}', exclude = NULL, columns = '{"id": "(value->>''n'')::int"}';
SELECT give('[{"value": {"n": 3, "id": 99, "name": "c", "note": "x"}}]');
SELECT id, name, country, price, note FROM item ORDER BY id;

-- unknown fields: ignored, or errors; what is excluded is not unknown
UPDATE djkafka_route SET include = NULL, columns = NULL, exclude = '{note}', unknown_fields = 'error';
SELECT give('[{"value": {"id": 4, "colour": "red"}}, {"value": {"id": 5, "note": "x", "__deleted": false}}]');
SELECT id FROM item WHERE id > 3;
SELECT dead_letters();
SELECT djkafka_drop_consumer('default');

-- filters: true takes, false and null leave
SELECT djkafka_subscribe('items', 'item', filter => '(value->>''price'')::numeric > 10');
TRUNCATE item;
SELECT give('[{"value": {"id": 1, "price": 11}}, {"value": {"id": 2, "price": 1}}, {"value": {"id": 3}}, {"value": {"id": 4, "price": "x"}}]');
SELECT id FROM item;
SELECT regexp_replace(dead_letters(), '\n.*', '');
-- a tombstone of which the filter knows nothing belongs to a mirror
SELECT give('[{"key": "1", "value": null}]');
SELECT id FROM item;
UPDATE djkafka_route SET filter = 'key = ''"2"''';
INSERT INTO item VALUES (1), (2);
SELECT give('[{"key": "1", "value": null}, {"key": "2", "value": null}]');
SELECT id FROM item;
SELECT djkafka_drop_consumer('default');

-- several routes for a topic: by route_order, then by age; the first whose filter is true takes the message, and no other
CREATE TABLE cheap (LIKE item INCLUDING ALL);
CREATE TABLE rest (LIKE item INCLUDING ALL);
SELECT djkafka_subscribe('items', 'rest', route_order => 9);
SELECT djkafka_subscribe('items', 'item', filter => 'value->>''name'' = ''dear''');
SELECT djkafka_subscribe('items', 'cheap', filter => '(value->>''price'')::numeric < 5');
SELECT djkafka_subscribe('^item', 'item', operation => 'insert', filter => 'false', route_order => -1);
TRUNCATE item;
SELECT give('[{"topic": "items", "value": {"id": 1, "name": "dear", "price": 1}}, {"topic": "items", "value": {"id": 2, "price": 2}}, {"topic": "items", "value": {"id": 3, "price": 6}},
              {"topic": "other", "value": {"id": 4}}, {"topic": "items.more", "value": {"id": 5}}]');
SELECT 'item', id FROM item UNION ALL SELECT 'cheap', id FROM cheap UNION ALL SELECT 'rest', id FROM rest ORDER BY id;
-- two routes into one table keep the order of their messages
UPDATE djkafka_route SET target = 'item', key_columns = NULL WHERE target = 'cheap'::regclass;
SELECT give('[{"topic": "items", "value": {"id": 7, "name": "dear", "note": "1st"}}, {"topic": "items", "value": {"id": 7, "name": "cheap", "price": 1, "note": "2nd"}}, {"topic": "items", "value": {"id": 7, "name": "dear", "note": "3rd"}}]');
SELECT id, name, note FROM item WHERE id = 7;
SELECT djkafka_drop_consumer('default');

-- a pattern of topics
SELECT djkafka_subscribe('^shop\.(\w+)$', 'item', columns => '{"note": "substring(topic from 6)"}');
SELECT give('[{"topic": "shop.cakes", "value": {"id": 10}}, {"topic": "shop.a.b", "value": {"id": 11}}, {"topic": "workshop.cakes", "value": {"id": 12}}]');
SELECT id, note FROM item WHERE id >= 10;
SELECT djkafka_drop_consumer('default');

-- expressions mean what they meant where the route was made
CREATE FUNCTION mapping.tag() RETURNS text LANGUAGE sql AS $$ SELECT 'mapping' $$;
CREATE FUNCTION mapping_2.tag() RETURNS text LANGUAGE sql AS $$ SELECT 'mapping_2' $$;
SELECT djkafka_subscribe('items', 'item', columns => '{"note": "tag()"}');
SET search_path = mapping_2, public;
SELECT give('[{"value": {"id": 20}}]');
SHOW search_path;
SET search_path = '';
SELECT public.give('[{"value": {"id": 21}}]');
SET search_path = mapping, public;
SELECT id, note FROM item WHERE id >= 20 ORDER BY id;
UPDATE djkafka_route SET search_path = 'mapping_2, public';
SELECT give('[{"value": {"id": 22}}]');
SELECT id, note FROM item WHERE id = 22;
SELECT djkafka_drop_consumer('default');

-- a column that nobody fills: the hint says how
CREATE TABLE djangos (id int PRIMARY KEY, created_at timestamptz NOT NULL, name text);
SELECT djkafka_subscribe('djangos', 'djangos');
SELECT give('[{"value": {"id": 1, "name": "a"}}]');
SELECT regexp_replace(dead_letters(), 'Failing row[^\n]*', 'Failing row …');
UPDATE djkafka_route SET columns = '{"created_at": "now()"}';
SELECT give('[{"value": {"id": 1, "name": "a"}}]');
SELECT id, name, created_at = now() AS too_old FROM djangos;
SELECT djkafka_drop_consumer('default');

-- types and units of time, of the route and of a column; a value that is refused is its own message's error
CREATE TABLE timed (id int PRIMARY KEY, day date, at timestamptz, span interval, n int, bytes bytea);
SELECT djkafka_subscribe('timed', 'timed');
SELECT give('[{"value": {"id": 1.0, "day": "2026-11-09", "at": "2026-11-09T03:31:48Z", "span": "PT1H", "n": 5.00, "bytes": "BOw="}}, {"value": {"id": 2, "at": 1731110305}},
              {"value": {"id": 3, "day": "now"}}, {"value": {"id": 4, "at": "12000-01-01"}}, {"value": {"id": 5, "span": {"hours": 2}}}, {"value": {"id": 6, "at": "2026-11-09T03:31:48"}}]');
SELECT dead_letters();
UPDATE djkafka_route SET time_unit = 'ms';
SELECT give('[{"value": {"id": 7, "day": 86400000, "at": 1731110305123, "span": 1500, "n": 1500}}]');
UPDATE djkafka_route SET time_unit = ' {"at": "s", "day": "days"}';
SELECT give('[{"value": {"id": 8, "day": 1, "at": 1731110305, "n": 1}}, {"value": {"id": 9, "span": 5}}]');
UPDATE djkafka_route SET time_zone = 'error';
SELECT give('[{"value": {"id": 10, "at": "2026-11-09T03:31:48"}}, {"value": {"id": 11, "at": "2026-11-09T03:31:48+01"}}, {"value": {"id": 12, "day": "2026-11-09"}}]');
SELECT regexp_replace(dead_letters(), '\n.*', '');
UPDATE djkafka_route SET types = 'postgres', time_zone = 'UTC', time_unit = NULL;
SELECT give('[{"value": {"id": 13, "day": 20261109, "at": "infinity", "span": 5, "bytes": ""}}, {"value": {"id": 14, "bytes": "BOw="}}]');
SELECT regexp_replace(dead_letters(), '\n.*', '');
-- what counts back to before PostgreSQL's first day is no time, and does not become one that nobody can read
UPDATE djkafka_route SET time_unit = 's';
SELECT give('[{"value": {"id": 15, "at": -210866803200, "day": -210866803200}}, {"value": {"id": 16, "at": -210866803201}}, {"value": {"id": 17, "day": -210866803201}},
              {"value": {"id": 18, "at": 390000000000, "day": 390000000000, "span": -390000000000}}, {"value": {"id": 19, "day": 400000000001}}]');
SELECT dead_letters();
SELECT id, day, at AT TIME ZONE 'UTC' AS at, span, n, bytes FROM timed ORDER BY id;
SELECT djkafka_drop_consumer('default');

-- a column whose type is a domain, checked, not null, of an array; a message that its filter leaves out, or that deletes, is not checked
CREATE DOMAIN positive AS bigint NOT NULL CHECK (VALUE > 0);
CREATE DOMAIN small AS positive CHECK (VALUE < 100);
CREATE DOMAIN tags AS text[] CHECK (cardinality(VALUE) < 3);
CREATE TABLE of_domains (id int PRIMARY KEY, a positive, b small, c tags);
SELECT djkafka_subscribe('of_domains', 'of_domains', filter => $$value->>'skip' IS NULL$$,
    columns => $${"a": "(value->>'a')::bigint", "b": "'7'", "c": "ARRAY[value->>'c']"}$$);
SELECT give('[{"value": {"id": 1, "a": 5, "c": "x"}}, {"value": {"id": 2, "a": 0}}, {"value": {"id": 3}}, {"value": {"id": 4, "skip": 1}}, {"value": {"id": 5, "a": 6}}, {"value": {"id": 5, "__deleted": true}}]');
SELECT dead_letters();
UPDATE djkafka_route SET filter = NULL;
SELECT give('[{"value": {"id": 6, "a": 6}}, {"value": {"id": 6, "__deleted": true}}, {"value": {"id": 7, "a": 7}}, {"key": {"id": 7}, "value": null}, {"value": {"id": 8, "a": -8}}]');
SELECT dead_letters();
SELECT * FROM of_domains ORDER BY id;
SELECT djkafka_drop_consumer('default');

-- a backslash is one, whoever runs the route
CREATE TABLE backslash (id int PRIMARY KEY, a text);
SELECT djkafka_subscribe('backslash', 'backslash', columns => $${"a": "regexp_replace(value->>'a', '\\d', '\\\\', 'g')"}$$, filter => $$value->>'a' ~ '\d'$$);
SET standard_conforming_strings = off;
SELECT give('[{"value": {"id": 1, "a": "x5y"}}, {"value": {"id": 2, "a": "xdy"}}]');
RESET standard_conforming_strings;
SELECT * FROM backslash;
SELECT djkafka_drop_consumer('default');

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA mapping, mapping_2 CASCADE;
