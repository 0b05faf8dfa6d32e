-- Formats text and raw, keys and headers: a message log is one call.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA formats;
SET search_path = formats, public;

-- columns fill by their names
CREATE TABLE log (n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, topic text, partition int, "offset" bigint, "timestamp" timestamptz, key text, value text, headers jsonb);
SELECT djkafka_subscribe('log', 'log', format => 'text', operation => 'insert');
SELECT give('[{"key": "k", "value": "anything {", "partition": 2, "offset": 5, "timestamp": "2026-01-31 12:00+00", "headers": {"a": "1", "b": null, "c": "x\"y"}},
              {"key": {"a": 1}, "value": {"b": 2}, "timestamp": "2026-01-31 12:00+00"}, {"value": "", "key": "", "timestamp": "2026-01-31 12:00+00"}, {"value": null, "timestamp": "2026-01-31 12:00+00"}]');
SELECT topic, partition, "offset", "timestamp" AT TIME ZONE 'UTC' AS at, key, value, headers FROM log ORDER BY n;
SELECT value IS NULL, key IS NULL FROM log WHERE n >= 3 ORDER BY n;
-- whatever time a producer has written: microseconds are a year after 9999
SELECT give('[{"value": "in microseconds", "timestamp": 1769860800123456}]');
SELECT "timestamp" AT TIME ZONE 'UTC' AS at FROM log WHERE value = 'in microseconds';

-- raw, by bytes; headers as they are
CREATE TABLE raw (topic text, partition int, "offset" bigint, key bytea, value bytea, headers djkafka_header[], PRIMARY KEY (topic, partition, "offset"));
SELECT djkafka_subscribe('raw', 'raw', format => 'raw', operation => 'insert_new');
SELECT give('[{"topic": "raw", "key": "k", "value": "v\u00e4", "headers": {"h": "1", "n": null}}, {"topic": "raw", "value": null}, {"topic": "raw", "offset": 0, "value": "again"}]');
SELECT * FROM raw ORDER BY "offset";
-- the position is a key like any other: the same again is a duplicate
SELECT give('[{"topic": "raw", "offset": 1, "value": "again"}]');

-- a mirror of values by key: a compacted topic as a table
CREATE TABLE settings (key text PRIMARY KEY, value text);
SELECT djkafka_subscribe('settings', 'settings', format => 'text', operation => 'upsert');
SELECT give('[{"topic": "settings", "key": "a", "value": "1"}, {"topic": "settings", "key": "b", "value": "2"}, {"topic": "settings", "key": "a", "value": "3"}, {"topic": "settings", "key": "b", "value": null}]');
SELECT * FROM settings ORDER BY key;

-- expressions over a value that is text or bytea
CREATE TABLE csv (id int PRIMARY KEY, name text);
SELECT djkafka_subscribe('csv', 'csv', format => 'text', operation => 'upsert', columns => '{"id": "split_part(value, '';'', 1)", "name": "split_part(value, '';'', 2)"}');
SELECT djkafka_subscribe('bytes', 'csv', format => 'raw', operation => 'upsert', columns => '{"id": "get_byte(value, 0)", "name": "encode(value, ''hex'')"}');
SELECT give('[{"topic": "csv", "value": "1;one"}, {"topic": "csv", "value": "x;two"}, {"topic": "bytes", "value": "\u0002\u00e4"}, {"topic": "bytes", "value": ""}]');
SELECT * FROM csv ORDER BY id;
SELECT regexp_replace(dead_letters(), '\n.*', '');

-- keys in each format
CREATE TABLE code (code text PRIMARY KEY, v int);
SELECT djkafka_subscribe(f, 'code', key_format => f) FROM unnest(ARRAY['auto', 'json', 'text', 'raw']) f;
SELECT give(format('[{"topic": "%1$s", "key": "\"q %1$s\"", "value": {"v": 1}}, {"topic": "%1$s", "key": "w %1$s", "value": {"v": 2}},
                     {"topic": "%1$s", "key": {"code": "o %1$s"}, "value": {"v": 3}}]', f)::jsonb) FROM unnest(ARRAY['auto', 'json', 'text', 'raw']) f;
SELECT * FROM code ORDER BY code COLLATE "C";
SELECT dead_letters();

-- JSON as the serializers of a schema registry write it: behind an id or a GUID, or plain where a header names the schema
CREATE TABLE framed (id int PRIMARY KEY, name text);
CREATE FUNCTION frame(value text, prefix text = '0000000007') RETURNS jsonb LANGUAGE sql AS $$SELECT jsonb_build_object('base64', encode(decode(prefix, 'hex') || convert_to(value, 'UTF8'), 'base64'))$$;
SELECT djkafka_subscribe('framed', 'framed', format => 'json_schema', key_format => 'json_schema', filter => $$value IS NULL OR value->>'name' IS DISTINCT FROM 'not wanted'$$);
SELECT give(jsonb_agg(jsonb_build_object('topic', 'framed', 'value', value)))
FROM (VALUES (frame('{"id": 7}', '00000000')), ('{"base64": "AAAAAAd7ImlkIjo3fQ=="}'), (frame('{"id": 8, "name": "by GUID"}', '01' || repeat('ab', 16))), (frame('{"id": 9, "name": "by header"}', '')),
             (frame('{"id": 10, "name": "not wanted"}')), (frame('{"id": 11}')), (frame('')), (frame('', '00000000')), (frame('{"id": 7}', '01' || repeat('ab', 15))), (frame('0206')), (frame('\"', '0000000007000206')),
             (frame('{"id": 12}', '0300')), (frame('[7]')), (frame('"x"'))) AS message (value);
SELECT * FROM framed ORDER BY id;
SELECT dead_letters();
-- keys too; null behind an id is none
SELECT give(jsonb_agg(jsonb_build_object('topic', 'framed', 'key', key, 'value', value)))
FROM (VALUES (frame('{"id": 7}'), 'null'::jsonb), (frame('8'), frame('null')), (frame('{"id": 20}'), frame('{"name": "by key"}')), (frame('21', ''), frame(' {"name": "by plain key"}')),
             (frame('', '0000000007000206'), frame('{"name": "no key"}'))) AS message (key, value);
SELECT * FROM framed ORDER BY id;
SELECT dead_letters();

-- numbers as they are written, also beyond every type
CREATE TABLE big (id numeric PRIMARY KEY, v jsonb, f float8, t text);
SELECT djkafka_subscribe('big', 'big');
SELECT give('[{"topic": "big", "value": {"id": 123456789012345678901234567890.12345, "v": 1e400, "f": 0.1, "t": 1.50}}, {"topic": "big", "value": "{\"id\": 2, \"t\": 1.50, \"f\": 1e308}"},
              {"topic": "big", "value": {"id": 3, "f": 1e309}}, {"topic": "big", "value": "{\"id\": 4, \"t\": {\"a\":  1, \"a\": 2}, \"v\": {\"a\":  1, \"a\": 2}}"}]');
SELECT id, left(v::text, 20), f, t FROM big ORDER BY id;
SELECT regexp_replace(dead_letters(), '1(0+)\M', '1…');

-- what is not JSON, not text, or not what a column takes, is that message's error
SELECT give('[{"topic": "big", "value": "{"}, {"topic": "big", "value": ""}, {"topic": "big", "value": "[]"}, {"topic": "big", "value": 5}, {"topic": "big", "value": "{\"id\": 5, \"t\": \"\\u0000\"}"},
              {"topic": "big", "value": "{\"id\": 6, \"t\": \"\\ud800\"}"}, {"topic": "big", "value": "{\"id\": 7} x"}, {"topic": "big", "value": "{\"id\": 8}"}]');
SELECT id FROM big WHERE id BETWEEN 5 AND 9;
SELECT regexp_replace(dead_letters(), '\n.*', '');

-- the messages of the caller's
SELECT refused($$SELECT djkafka_run('default', messages => '{}')$$);
SELECT refused($$SELECT djkafka_run('default', messages => '5')$$);
SELECT refused($$SELECT djkafka_run('default', messages => '[5]')$$);
SELECT refused($$SELECT djkafka_run('default', messages => '[{"value": 1}]')$$);
SELECT refused($$SELECT djkafka_run('default', messages => '[{"topic": 1}]')$$);
SELECT refused($$SELECT djkafka_run('default', messages => '[{"topic": "log", "partition": "x"}]')$$);
SELECT refused($$SELECT djkafka_run('default', messages => '[{"topic": "log", "partition": -1}]')$$);
SELECT refused($$SELECT djkafka_run('default', messages => '[{"topic": "log", "offset": -5}]')$$);
SELECT refused($$SELECT djkafka_run('default', messages => '[{"topic": "log", "partition": 99999999999}]')$$);
SELECT refused($$SELECT djkafka_run('default', messages => '[{"topic": "log", "offset": 9223372036854775807}]')$$);
SELECT refused($$SELECT djkafka_run('default', messages => '[{"topic": "log", "partition": 9, "offset": 9223372036854775806}, {"topic": "log", "partition": 9}]')$$);
SELECT refused(format($$SELECT djkafka_run('default', messages => '[{"topic": "%s"}]')$$, repeat('t', 250)));
SELECT refused($$SELECT djkafka_run('default', messages => '[{"topic": "log", "timestamp": 5}]')$$);
SELECT refused($$SELECT djkafka_run('default', messages => '[{"topic": "log", "headers": []}]')$$);
SELECT refused($$SELECT djkafka_run('default', messages => '[{"topic": "log", "colour": "red"}]')$$);
SELECT refused($$SELECT djkafka_run('default', max_messages => 0, messages => '[]')$$);
SELECT refused($$SELECT djkafka_run('default', until => 'end', messages => '[]')$$);
SELECT refused($$SELECT djkafka_run('default', idle => '0', messages => '[]')$$);
SELECT refused($$SELECT djkafka_run('default', timeout => NULL, messages => '[]')$$);
SELECT refused($$SELECT djkafka_run('default', timeout => '-1 s', messages => '[]')$$);
SELECT refused($$SELECT djkafka_run(NULL, messages => '[]')$$);
SELECT give('[]');
BEGIN READ ONLY;
SELECT djkafka_run('default', messages => '[]');
ROLLBACK;

-- bytes that no text can hold, times in milliseconds, and offsets that go on from call to call
CREATE TABLE given (topic text, key bytea, value bytea, headers djkafka_header[], "timestamp" timestamptz, "offset" bigint UNIQUE);
SELECT djkafka_create_consumer('given', enabled => false);
SELECT djkafka_subscribe('given', 'given', consumer => 'given', operation => 'insert', format => 'raw');
SELECT give('[{"key": {"base64": "AAE="}, "value": {"base64": "/wD+"}, "headers": {"h": {"base64": "gA=="}, "o": {"base64": 1, "x": 2}}, "timestamp": 1769860800123}, {"value": {"base64": ""}}]', 'given');
SELECT give('[{"value": {"base64": "AA==", "more": 1}}, {"value": "a", "offset": 9}, {"value": "b"}]', 'given');
SELECT give('[{"value": "c"}]', 'given');
SELECT key, value, headers, "offset", CASE WHEN key IS NOT NULL THEN "timestamp" AT TIME ZONE 'UTC' END FROM given ORDER BY "offset";
SELECT refused($$SELECT give('[{"value": {"base64": "?"}}]', 'given')$$);
SELECT refused($$SELECT give('[{"value": {"base64": 5}}]', 'given')$$);

-- bytes that are no text, for a type that is read as text: none of them are shown, since what tells of them is text
CREATE TYPE span AS (day date);
CREATE FUNCTION keyed(type text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE keyed (id %s PRIMARY KEY, v int)', type);
    PERFORM djkafka_subscribe('keyed', 'keyed', time_unit => 'ms'), give('[{"topic": "keyed", "key": {"base64": "Lf/+"}, "value": {"v": 1}}]');
    DROP TABLE keyed;
    PERFORM djkafka_drop_route(id) FROM djkafka_route WHERE topic = 'keyed';
    RETURN (SELECT convert_from(textsend(concat_ws(' ', message, detail, hint)), 'UTF8') FROM djkafka_dead_letter ORDER BY id DESC LIMIT 1);
END $$;
SELECT type, keyed(type) FROM unnest('{bool,int8,numeric,oid,date,time,timetz,timestamp,timestamptz,interval,daterange,int4range,tstzmultirange,date[],span,uuid,inet,text,char(3)}'::text[]) type;

SELECT djkafka_drop_consumer('default');
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA formats CASCADE;
