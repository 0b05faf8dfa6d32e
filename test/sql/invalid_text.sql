-- What no text can hold: it fails its message where it is used alone, or is replaced.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on
\pset null -

CREATE SCHEMA invalid_text;
SET search_path = invalid_text, public;
-- values as the bytes that they are; a value that begins with \x is written in hexadecimal
CREATE FUNCTION send(VARIADIC vals text[]) RETURNS text LANGUAGE sql AS $$
    SELECT give(jsonb_agg(jsonb_build_object('value', CASE WHEN v LIKE '\\x%' THEN jsonb_build_object('base64', encode(v::bytea, 'base64')) ELSE to_jsonb(v) END) ORDER BY n)) FROM unnest(vals) WITH ORDINALITY u(v, n)
$$;
CREATE TABLE plain (id int PRIMARY KEY, name text, n numeric, v jsonb, kind text);

-- nobody uses the field: neither its value nor its name count, nor in an object, nor what is repeated
SELECT djkafka_subscribe('plain', 'plain', columns => $${"name": "upper(value->>'title')"}$$);
SELECT send('{"id": 1, "title": "nul", "junk": "\u0000"}', '{"id": 2, "title": "half", "junk": "a\ud83d!"}', '{"id": 3, "title": "number", "junk": 1e400000}', '{"id": 4, "title": "deep", "junk": {"a": ["\udc00", {"\u0000": 1e-400000}]}}',
    '{"id": 5, "title": "name", "\u0000": 1, "\ud83dx": 2}', '{"id": 6, "title": "\u0000", "title": "last"}', '{"id": 7, "junk": "\u0000"}');
SELECT id, name FROM plain ORDER BY id;
-- somebody does
SELECT send('{"id": 11, "title": "\u0000"}', '{"id": 12, "title": "half \ud83d"}', '{"id": 13, "title": 1e400000}', '{"id": 14, "title": {"\udc00": 1}}', '{"id": 15, "title": "last", "title": "\u0000"}', '{"id": 16, "kind": "\u0000"}', '{"id": 17, "title": "fine"}');
SELECT id, name FROM plain WHERE id > 10 ORDER BY id;
SELECT dead_letters();
-- of a deletion the key alone; the word value in a string or comment is no use
SELECT send('{"id": 17, "title": "\u0000", "__deleted": true}');
SELECT count(*) FROM plain WHERE id = 17;
UPDATE djkafka_route SET columns = $${"name": "/* value */ 'value'"}$$;
SELECT send('{"id": 18, "title": "\u0000"}');
SELECT id, name FROM plain WHERE id = 18;
-- value as a whole: all of it counts, but not for what the filter leaves out, nor for a deletion
UPDATE djkafka_route SET columns = $${"v": "value"}$$, filter = $$value->>'kind' = 'mine'$$;
SELECT send('{"id": 21, "kind": "mine", "junk": "\u0000"}', '{"id": 22, "kind": "other", "junk": "\u0000"}', '{"id": 23, "kind": "mine"}', '{"id": 18, "kind": "mine", "junk": "\ud83d", "__deleted": true}', '{"id": 24, "kind": "\u0000"}');
SELECT id, v FROM plain WHERE id > 17 ORDER BY id;
SELECT dead_letters();
SELECT djkafka_drop_consumer('default');
-- a handler takes the whole, whatever the filter takes
CREATE FUNCTION handle(jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO plain (id, v) VALUES (($1->>'id')::int, $1) $$;
SELECT djkafka_subscribe('handled', handler => 'handle(jsonb)', filter => $$value->>'kind' = 'mine'$$);
SELECT send('{"id": 31, "kind": "mine", "junk": "\u0000"}', '{"id": 32, "kind": "other", "junk": "\u0000"}', '{"id": 33, "kind": "mine", "other": 1}');
SELECT id, v FROM plain WHERE id > 30 ORDER BY id;
SELECT dead_letters();
SELECT djkafka_drop_consumer('default');

-- what one route's columns could not take says nothing of the message where it is another's
CREATE TABLE other (id int PRIMARY KEY, kind text);
CREATE TABLE rest ("offset" bigint PRIMARY KEY, value text);
SELECT djkafka_subscribe('both', 'plain', columns => $${"name": "upper(value->>'title')"}$$, filter => $$value->>'kind' = 'mine'$$), djkafka_subscribe('both', 'other');
SELECT give('[{"topic": "both", "value": "{\"id\": 41, \"kind\": \"other\", \"title\": \"\\u0000\"}"}, {"topic": "both", "value": "{\"id\": 42, \"kind\": \"mine\", \"title\": \"\\u0000\"}"}]');
TABLE other;
SELECT dead_letters();
SELECT djkafka_drop_consumer('default');

-- … nor that its value is no JSON, where the filter does not ask for the value
SELECT djkafka_subscribe('both', 'plain', columns => $${"name": "upper(value->>'title')"}$$, filter => $$key->>'kind' = 'mine'$$), djkafka_subscribe('both', 'rest', format => 'text', key_columns => '{offset}', operation => 'insert');
SELECT give('[{"key": {"kind": "other"}, "value": "{no JSON"}, {"key": {"kind": "mine"}, "value": "{no JSON"}, {"key": {"kind": "mine"}, "value": {"id": 29, "title": "x"}}]');
SELECT value FROM rest;
SELECT id, name FROM plain WHERE id = 29;
SELECT dead_letters();
SELECT djkafka_drop_consumer('default');

-- … nor what tells the row, in the value or in the key
SELECT djkafka_subscribe('both', 'plain', columns => $${"id": "length(value->>'title')", "name": "key->>'name'"}$$, filter => $$key->>'kind' = 'mine' AND value->>'kind' IS DISTINCT FROM 'other'$$),
    djkafka_subscribe('both', 'rest', format => 'text', key_columns => '{offset}', operation => 'insert');
SELECT give('[{"offset": 60, "key": {"kind": "other"}, "value": "{\"title\": \"\\u0000\", \"kind\": \"mine\"}"}, {"offset": 61, "key": {"kind": "mine"}, "value": "{\"title\": \"\\u0000\", \"kind\": \"other\"}"},
    {"offset": 62, "key": {"kind": "mine"}, "value": "{\"title\": \"\\u0000\", \"kind\": \"mine\"}"}, {"offset": 63, "key": "{\"kind\": \"other\", \"name\": \"\\u0000\"}", "value": {"title": "x"}},
    {"offset": 64, "key": "{\"kind\": \"mine\", \"name\": \"\\u0000\"}", "value": {"title": "12"}}, {"offset": 65, "key": {"kind": "mine", "name": "n"}, "value": {"title": "123"}}]');
SELECT value FROM rest WHERE "offset" >= 60 ORDER BY "offset";
SELECT id, name FROM plain WHERE id IN (1, 2, 3);
SELECT dead_letters();
SELECT djkafka_drop_consumer('default');

-- of the key, too, the fields that are named
SELECT djkafka_subscribe('keys', 'plain', columns => $${"id": "(key->>'id')::int", "name": "'by key'"}$$);
SELECT give('[{"key": "{\"id\": 51, \"junk\": \"\\u0000\"}", "value": {"n": 1}}, {"key": "{\"id\": \"\\ud83d\"}", "value": {"n": 2}}, {"key": "{\"\\u0000\": 1, \"id\": 53}", "value": {"n": 3}}]');
UPDATE djkafka_route SET columns = $${"id": "(key->>'id')::int", "v": "key"}$$;
SELECT give('[{"key": "{\"id\": 54, \"junk\": \"\\u0000\"}", "value": {"n": 4}}, {"key": "{\"id\": 55, \"junk\": 0}", "value": {"n": 5}}]');
SELECT id, name, n, v FROM plain WHERE id > 50 ORDER BY id;
SELECT regexp_replace(dead_letters(), '\n.*', '');
SELECT djkafka_drop_consumer('default');

-- replaced: in columns, in jsonb at any depth, in names, in arrays and composites, in bytes that are no UTF-8
CREATE TYPE pair AS (x text, y jsonb);
CREATE TABLE fixed (id int PRIMARY KEY, t text, c varchar(8), j jsonb, js json, a text[], p pair, w jsonb);
CREATE FUNCTION hexed(text) RETURNS text LANGUAGE sql AS $$ SELECT replace(replace($1, U&'\FFFD', '<FFFD>'), U&'\+01F600', '<1F600>') $$;
SELECT djkafka_subscribe('fixed', 'fixed', invalid_text => 'replace', columns => $${"w": "value->'w'"}$$);
SELECT send('{"id": 1, "t": "a\u0000b", "c": "\ud83d", "j": {"\u0000k": ["\ud83d\ud83d", "\ude00\ud83d", "\ud83d\ude00", "\\u0000", "\\\u0000"]}, "js": {"\u0000": 1}, "a": ["\u0000", "ok"], "p": {"x": "\udc00", "y": {"\udc00": "\u0000"}}, "w": ["\u0000"]}',
    '{"id": 2, "t": {"x": "\u0000"}, "j": "\u0000", "\u0000": 1}', '{"id": 3, "t": "\ud83dA\u0041\n\"", "j": 1e400000}', '{"id": 4, "t": "\uZZZZ"}',
    '\x7b226964223a352c2274223a2261ff62c3f09f98227d', '\x7b226964223a362c2274223a22f09f9880c0806564227d', '\x7b226964223a372c2274223a226500227d', '\x7b226964223a382c22ff223a317dff');
SELECT id, hexed(t), hexed(c), hexed(j::text), hexed(js::text), hexed(a::text), hexed(p::text), hexed(w::text) FROM fixed ORDER BY id;
SELECT regexp_replace(dead_letters(), '\n.*', '');
SELECT hexed(t) FROM (SELECT t FROM fixed WHERE id = 5) x;
UPDATE djkafka_route SET types = 'postgres';
SELECT send('{"id": 9, "p": {"x": "\udc00", "y": {"\udc00": "\u0000"}}, "a": [["\u0000"]]}');
SELECT hexed(a::text), hexed(p::text) FROM fixed WHERE id = 9;
SELECT djkafka_drop_consumer('default');
-- in keys of JSON; a key that is no text stays the bytes that it is
CREATE TABLE keyed (id text PRIMARY KEY, k bytea, v text);
SELECT djkafka_subscribe('keyed', 'keyed', invalid_text => 'replace');
SELECT give('[{"key": "{\"id\": \"a\\u0000\"}", "value": {"v": "object"}}, {"key": "\"b\\ud83d\"", "value": {"v": "string"}}, {"key": {"base64": "AAE="}, "value": {"v": "bytes"}}]');
SELECT hexed(id), v FROM keyed ORDER BY v;
SELECT regexp_replace(dead_letters(), '\n.*', '');
SELECT djkafka_drop_consumer('default');
-- in the format text, and for a handler
CREATE TABLE texts ("offset" bigint PRIMARY KEY, value text);
SELECT djkafka_subscribe('texts', 'texts', format => 'text', key_columns => '{offset}', operation => 'insert', invalid_text => 'replace');
SELECT send('\x610062', '\xff', 'fine', '\xf09f9880f09f98');
SELECT "offset", hexed(value) FROM texts ORDER BY 1;
UPDATE djkafka_route SET invalid_text = 'error';
SELECT send('\x610062');
SELECT regexp_replace(dead_letters(), '\n.*', '');
SELECT djkafka_drop_consumer('default');
SELECT djkafka_subscribe('handled', handler => 'handle(jsonb)', invalid_text => 'replace');
SELECT send('{"id": 41, "junk": "\u0000", "\ud83d": {"\u0000": "x"}}');
SELECT id, hexed(v::text) FROM plain WHERE id > 40 ORDER BY id;
SELECT djkafka_drop_consumer('default');
SELECT refused($$SELECT djkafka_subscribe('plain', 'plain', invalid_text => 'remove')$$);

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA invalid_text CASCADE;
