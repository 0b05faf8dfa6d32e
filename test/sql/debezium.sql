-- Formats debezium and debezium_flat: what Debezium's connectors write, as JSON with schemas and without.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA dbz;
SET search_path = dbz, public;
SET timezone = 'UTC';
SET datestyle = ISO;
SET intervalstyle = postgres;
CREATE TABLE customer (id int PRIMARY KEY, name text, email text NOT NULL DEFAULT '-');

-- what became of messages, with what was filtered
CREATE FUNCTION fates(messages jsonb) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(', ', applied || ' applied', nullif(filtered, 0) || ' filtered', nullif(stale, 0) || ' stale', nullif(dead, 0) || ' dead') FROM djkafka_run('default', messages => messages)
$$;
-- an envelope
CREATE FUNCTION envelope(op text, before jsonb, after jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('before', before, 'after', after, 'source', '{"version": "3.5.0.Final", "connector": "postgresql", "name": "shop", "ts_ms": 1764547200000, "snapshot": "false",
        "db": "shop", "sequence": "[\"24023128\",\"24023232\"]", "ts_us": 1764547200000000, "ts_ns": 1764547200000000000, "schema": "public", "table": "customer", "txId": 757, "lsn": 24023232, "xmin": null}'::jsonb,
        'transaction', NULL, 'op', op, 'ts_ms', 1764547200100, 'ts_us', 1764547200100000, 'ts_ns', 1764547200100000000)
$$;
CREATE FUNCTION msg(key jsonb, value jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_array(jsonb_build_object('key', key, 'value', value)) $$;
-- a field of a schema
CREATE FUNCTION f(field text, type text, name text = NULL, parameters jsonb = NULL) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_strip_nulls(jsonb_build_object('type', type, 'optional', true, 'field', field, 'name', name, 'version', 1, 'parameters', parameters))
$$;

-- the envelope: all operations, merged and one by one
SELECT djkafka_subscribe('shop.public.customer', 'customer', format => 'debezium');
SELECT fates(msg('{"id": 1}', envelope('c', NULL, '{"id": 1, "name": "Ada", "email": "a@x"}')) || msg('{"id": 2}', envelope('r', NULL, '{"id": 2, "name": "Bob", "email": "b@x"}'))
             || msg('{"id": 3}', envelope('c', NULL, '{"id": 3, "name": "Cid", "email": "c@x"}')) || msg('{"id": 2}', envelope('u', NULL, '{"id": 2, "name": null, "email": "b@y"}')));
TABLE customer;
-- deletions: by the message's key, by the row before; and the tombstones behind them
SELECT fates(msg('{"id": 1}', envelope('d', '{"id": 1, "name": null, "email": null}', NULL)) || msg('{"id": 1}', NULL) || msg(NULL, envelope('d', '{"id": 2, "name": null, "email": ""}', NULL))
             || msg('{"id": 3}', envelope('d', NULL, NULL)) || msg('{"id": 3}', NULL));
TABLE customer;
-- without a key; with nulls for one
SELECT fates(msg(NULL, envelope('d', NULL, NULL)) || msg('{}', envelope('d', '{"id": null}', NULL)));
SELECT dead_letters();
-- a key that changes is a deletion and a row
SELECT fates(msg('{"id": 5}', envelope('c', NULL, '{"id": 5, "name": "Eve"}')) || msg('{"id": 5}', envelope('d', '{"id": 5}', NULL)) || msg('{"id": 5}', NULL) || msg('{"id": 6}', envelope('c', NULL, '{"id": 6, "name": "Eve"}')));
TABLE customer;
-- what is no row: truncations, messages, heartbeats, transactions, changes of the schema
SELECT fates(msg(NULL, envelope('t', NULL, NULL)) || msg('{"prefix": "p"}', '{"op": "m", "ts_ms": 1, "source": {}, "message": {"prefix": "p", "content": "Zm9v"}}')
             || msg('{"serverName": "shop"}', '{"ts_ms": 1764547200000}')
             || msg('{"id": "757:24023232"}', '{"status": "BEGIN", "id": "757:24023232", "event_count": null, "data_collections": null, "ts_ms": 1764547200000}')
             || msg('{"id": "757:24023232"}', '{"status": "END", "id": "757:24023232", "event_count": 1, "data_collections": [{"data_collection": "public.customer", "event_count": 1}], "ts_ms": 1764547200000}')
             || msg('{"databaseName": "shop"}', '{"source": {}, "ts_ms": 1, "databaseName": "shop", "schemaName": null, "ddl": "CREATE TABLE x ()", "tableChanges": []}'));
TABLE customer;
-- what is no envelope
SELECT fates(msg('{"id": 7}', '{"id": 7, "name": "flat"}') || msg('{"id": 7}', '{"op": "x", "after": {"id": 7}}') || msg('{"id": 7}', '{"op": 5, "after": {"id": 7}}') || msg('{"id": 7}', '{"op": "c", "after": null}')
             || msg('{"id": 7}', '{"op": "u", "after": [{"id": 7}]}') || msg('{"id": 7}', '{"op": "u"}') || msg('{"id": 7}', '[]') || msg('{"id": 7}', '"c"') || msg('{"id": 7}', '{"op": "c", "after": {"Id": 7, "Name": "x"}}'));
SELECT dead_letters();
-- a field named twice: the last counts, as everywhere
SELECT give('[{"value": "{\"op\": \"d\", \"after\": {\"id\": 1}, \"after\": {\"id\": 8, \"name\": \"last\"}, \"op\": \"c\"}"}]');
TABLE customer;

-- what was not sent leaves its column alone, but a string that looks so is a name's
SELECT fates(msg('{"id": 8}', envelope('u', NULL, '{"id": 8, "name": "__debezium_unavailable_value", "email": "h@x"}')));
SELECT * FROM customer WHERE id = 8;

-- with schemas, in key and value independently; a deletion may be a null beside its schema
CREATE FUNCTION wrapped(value jsonb, fields jsonb = NULL) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('schema', jsonb_build_object('type', 'struct', 'optional', false, 'fields', coalesce(fields, jsonb_build_array(f('id', 'int32'), f('name', 'string')))), 'payload', value)
$$;
CREATE FUNCTION wrapped_envelope(op text, before jsonb, after jsonb, fields jsonb = NULL) RETURNS jsonb LANGUAGE sql AS $$
    SELECT wrapped(envelope(op, before, after), jsonb_build_array(
        jsonb_build_object('type', 'struct', 'optional', true, 'field', 'before', 'fields', rows), jsonb_build_object('type', 'struct', 'optional', true, 'field', 'after', 'fields', rows), f('op', 'string')))
    FROM (SELECT coalesce(fields, jsonb_build_array(f('id', 'int32'), f('name', 'string'))) AS rows) given
$$;
TRUNCATE customer;
SELECT fates(msg(wrapped('{"id": 1}'), wrapped_envelope('c', NULL, '{"id": 1, "name": "both"}')) || msg('{"id": 2}', wrapped_envelope('c', NULL, '{"id": 2, "name": "value"}'))
             || msg(wrapped('{"id": 3}'), envelope('c', NULL, '{"name": "key"}')) || msg(wrapped('{"id": 4}'), wrapped_envelope('c', NULL, '{"name": "no key"}')));
TABLE customer;
SELECT fates(msg(wrapped('{"id": 1}'), wrapped_envelope('d', '{"id": 1}', NULL)) || msg(wrapped('{"id": 1}'), NULL) || msg('{"id": 2}', wrapped(NULL)) || msg(wrapped('{"id": 3}'), 'null')
             || msg(wrapped('{"id": 4}'), '{"schema": null, "payload": null}') || msg(wrapped('{"id": 4}'), '"null"'));
TABLE customer;
INSERT INTO customer VALUES (5, 'x');
SELECT give('[{"key": "5", "value": "{\"schema\": {}, \"payload\" : null\n}\t\n"}]');
TABLE customer;
-- what only looks like that
SELECT give('[{"key": "9", "value": "{\"schema\": {}, \"payload\": {\"payload\":null}}"}, {"key": "9", "value": "{\"schema\": {}, \"payload\": null, }"}, {"key": "9", "value": "x null}"}, {"key": "9", "value": "null}"}, {"key": "9", "value": "}"}]');
SELECT regexp_replace(dead_letters(), '\n  HINT.*', '');

-- source, before and after are there for expressions and filters, whatever is round them
ALTER TABLE customer ADD lsn bigint, ADD old_name text;
UPDATE djkafka_route SET filter = $$value->'source'->>'table' = 'customer'$$, version_column = 'lsn',
    columns = $${"lsn": "(value->'source'->>'lsn')::bigint", "old_name": "value->'before'->>'name'"}$$;
SELECT fates(msg('{"id": 1}', envelope('c', NULL, '{"id": 1, "name": "a"}')) || msg('{"id": 1}', envelope('u', '{"id": 1, "name": "a"}', '{"id": 1, "name": "b"}'))
             || msg(wrapped('{"id": 2}'), wrapped_envelope('u', '{"id": 2, "name": "x"}', '{"id": 2, "name": "y"}')));
TABLE customer;
SELECT fates(msg('{"id": 1}', jsonb_set(envelope('d', '{"id": 1, "name": "a"}', NULL), '{source,lsn}', '24023231')) || msg('{"id": 2}', jsonb_set(envelope('d', NULL, NULL), '{source,lsn}', '24023233')));
TABLE customer;
-- what is no envelope is not taken for what is no row, nor for a deletion, where there are expressions
SELECT fates(msg('{"id": 1}', '{"id": 1, "name": "flat", "source": {"table": "customer"}}') || msg('{"id": 1}', '{"source": {"table": "customer"}, "op": "c", "after": null}') || msg('{"id": 1}', '{"source": {"table": "customer"}, "op": "t"}'));
SELECT regexp_replace(dead_letters(), '\n  HINT.*', '');
-- a version that is the row's own comes from after alone
UPDATE djkafka_route SET filter = NULL, columns = NULL, include = '{id,name,lsn}';
SELECT fates(msg('{"id": 1}', envelope('u', '{"id": 1, "lsn": 5}', '{"id": 1, "lsn": 24023234}')) || msg('{"id": 1}', envelope('u', '{"id": 1, "lsn": 5}', '{"id": 1, "lsn": 7}'))
             || msg('{"id": 1}', envelope('d', '{"id": 1, "lsn": 24023234}', NULL)));
TABLE customer;
SELECT djkafka_drop_consumer('default');

-- the key is another than the source's
CREATE TABLE by_email (email text UNIQUE NOT NULL, name text);
SELECT djkafka_subscribe('shop.public.customer', 'by_email', format => 'debezium', key_columns => '{email}');
SELECT fates(msg('{"id": 1}', envelope('c', NULL, '{"id": 1, "email": "a@x", "name": "a"}')) || msg('{"id": 2}', envelope('c', NULL, '{"id": 2, "email": "b@x", "name": "b"}')));
SELECT fates(msg('{"id": 1}', envelope('d', '{"id": 1, "email": "a@x", "name": "a"}', NULL)) || msg('{"id": 2}', envelope('d', '{"id": 2, "email": null, "name": null}', NULL)));
TABLE by_email;
SELECT dead_letters();
-- lookups and fields by their paths begin in the row
CREATE TABLE country (id int PRIMARY KEY, code text UNIQUE);
INSERT INTO country VALUES (49, 'de'), (33, 'fr');
ALTER TABLE by_email ADD country_id int, ADD city text;
UPDATE djkafka_route SET columns = '{"country_id": {"lookup": {"table": "country", "column": "code", "field": "country"}}, "city": {"field": "town"}}';
SELECT fates(msg(NULL, envelope('c', NULL, '{"email": "c@x", "country": "de", "town": "Bonn"}')) || msg(NULL, envelope('c', NULL, '{"email": "d@x", "country": "xx"}')));
TABLE by_email;
SELECT dead_letters();
SELECT djkafka_drop_consumer('default');

-- types by the schema
CREATE TABLE typed (id int PRIMARY KEY, d date, t time, t3 time, tn time, ts timestamp, ts3 timestamp(3), tn9 timestamp, tz timestamptz, zone timestamptz, tt timetz, iv interval, ivs interval,
    amount numeric(12,2), big numeric, free numeric, bits bit(10), one bit(1), raw bytea, doc jsonb, plain json, note text, da date[], na numeric[], ja jsonb[], ba bytea[], at point, mood text, "year" int);
CREATE FUNCTION base64(hex text) RETURNS text LANGUAGE sql AS $$ SELECT encode(decode(hex, 'hex'), 'base64') $$;
CREATE FUNCTION fields() RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_array(f('id', 'int32'), f('d', 'int32', 'io.debezium.time.Date'), f('t', 'int64', 'io.debezium.time.MicroTime'), f('t3', 'int32', 'io.debezium.time.Time'), f('tn', 'int64', 'io.debezium.time.NanoTime'),
        f('ts', 'int64', 'io.debezium.time.MicroTimestamp'), f('ts3', 'int64', 'io.debezium.time.Timestamp'), f('tn9', 'int64', 'io.debezium.time.NanoTimestamp'), f('tz', 'string', 'io.debezium.time.ZonedTimestamp'),
        f('zone', 'int64', 'org.apache.kafka.connect.data.Timestamp'), f('tt', 'string', 'io.debezium.time.ZonedTime'), f('iv', 'int64', 'io.debezium.time.MicroDuration'), f('ivs', 'string', 'io.debezium.time.Interval'),
        f('amount', 'bytes', 'org.apache.kafka.connect.data.Decimal', '{"scale": "2", "connect.decimal.precision": "12"}'), f('big', 'bytes', 'org.apache.kafka.connect.data.Decimal', '{"scale": "0"}'),
        f('free', 'struct', 'io.debezium.data.VariableScaleDecimal'), f('bits', 'bytes', 'io.debezium.data.Bits', '{"length": "10"}'), f('one', 'boolean'), f('raw', 'bytes'),
        f('doc', 'string', 'io.debezium.data.Json'), f('plain', 'string', 'io.debezium.data.Json'), f('note', 'string'),
        jsonb_build_object('type', 'array', 'field', 'da', 'items', f(NULL, 'int32', 'io.debezium.time.Date')),
        jsonb_build_object('type', 'array', 'field', 'na', 'items', f(NULL, 'bytes', 'org.apache.kafka.connect.data.Decimal', '{"scale": "1"}')),
        jsonb_build_object('type', 'array', 'field', 'ja', 'items', f(NULL, 'string', 'io.debezium.data.Json')), jsonb_build_object('type', 'array', 'field', 'ba', 'items', f(NULL, 'bytes')),
        f('at', 'struct', 'io.debezium.data.geometry.Point'), f('mood', 'string', 'io.debezium.data.Enum', '{"allowed": "ok,sad"}'), f('year', 'int32', 'io.debezium.time.Year'))
$$;
CREATE FUNCTION typed(VARIADIC rows jsonb[]) RETURNS text LANGUAGE sql AS $$
    SELECT fates(jsonb_agg(jsonb_build_object('key', NULL, 'value', wrapped_envelope('c', NULL, given, fields())))) FROM unnest(rows) given
$$;
SELECT djkafka_subscribe('shop.public.typed', 'typed', format => 'debezium');
\pset tuples_only off
\pset expanded on
SELECT typed(jsonb_build_object('id', 1, 'd', 20423, 't', 45045123456, 't3', 45045123, 'tn', 45045123456789, 'ts', 1764547200123456, 'ts3', 1764547200123, 'tn9', 1764547200123456789, 'tz', '2025-12-01T00:00:00.123456Z',
    'zone', 1764547200123, 'tt', '12:30:45.5Z', 'iv', 93784000000, 'ivs', 'P1Y2M3DT4H5M6.5S', 'amount', base64('3039'), 'big', base64('0de0b6b3a7640000'), 'free', jsonb_build_object('scale', 5, 'value', base64('ff')),
    'bits', base64('0502'), 'one', true, 'raw', base64('00ff10'), 'doc', '{"a": [1, "\u00e4"]}', 'plain', '{"b":  2}', 'note', '{"c": 3}', 'da', '[20423, null, -1]'::jsonb, 'na', jsonb_build_array(base64('7b'), base64('ff')),
    'ja', jsonb_build_array('{"d": 4}', '[1]'), 'ba', jsonb_build_array(base64('00'), base64('ffff')), 'at', '{"x": 1.5, "y": -2, "wkb": "AQEAAAA=", "srid": null}'::jsonb, 'mood', 'ok', 'year', 2025));
TABLE typed;
-- bounds: infinity, years beyond four digits, before the epoch and before Christ, negative decimals, the end of the day
TRUNCATE typed;
SELECT typed(jsonb_build_object('id', 1, 'd', -719893, 't', 86400000000, 'ts', 9223372036825200000, 'ts3', 9223372036825200, 'tn9', 9223372036854775807, 'tz', 'infinity', 'amount', base64('ff85'), 'big', base64('80'), 'free', jsonb_build_object('scale', -3, 'value', base64('05'))),
    jsonb_build_object('id', 2, 'd', 2932897, 't', 0, 'ts', -9223372036832400000, 'ts3', -9223372036832400, 'tn9', '-9223372036854775808'::numeric, 'tz', '-infinity', 'amount', base64('00'), 'big', base64('00ffffffffffffffffffffffffffffffff'), 'free', jsonb_build_object('scale', 0, 'value', base64('00'))),
    jsonb_build_object('id', 3, 'd', 0, 'ts', -1, 'ts3', -62135596800001, 'tn9', -1500, 'tz', '9999-12-31T23:59:59Z', 'iv', -1, 'amount', base64('01'), 'big', 12.5, 'free', jsonb_build_object('scale', 3, 'value', base64('007b')), 'bits', base64(''), 'da', '[]'::jsonb),
    jsonb_build_object('id', 4, 'd', NULL, 'ts', NULL, 'amount', NULL, 'free', NULL, 'bits', NULL, 'raw', NULL, 'doc', NULL, 'da', NULL, 'at', NULL));
SELECT id, d, t, ts, ts3, tn9, tz, iv, amount, big, free, bits, da FROM typed ORDER BY id;
\pset expanded off
\pset tuples_only on
-- the numbers that a row of PostgreSQL cannot be
SELECT typed('{"id": 1, "d": 99999999999}', '{"id": 2, "d": "2025-12-01"}', '{"id": 3, "t": -1}', '{"id": 4, "t": 86400000001}', '{"id": 5, "ts": 9223372036854775807}', '{"id": 6, "ts3": 9223372036854775807}', '{"id": 7, "ts": 1.5}', '{"id": 8, "ts": 99999999999999999999}',
    '{"id": 9, "amount": "***"}', '{"id": 10, "amount": ""}', '{"id": 11, "free": "AQ=="}', '{"id": 12, "free": {"scale": 99999, "value": "AQ=="}}', '{"id": 13, "free": {"value": "AQ=="}}', '{"id": 14, "raw": [1]}', '{"id": 15, "doc": "{\"a\": }"}',
    '{"id": 16, "da": [1, "x"]}', '{"id": 17, "at": {"x": 1}}', '{"id": 18, "bits": 5}');
SELECT regexp_replace(dead_letters(), '\n  DETAIL.*', '');
SELECT typed(jsonb_build_object('id', 1, 'amount', repeat('A', 12000)), jsonb_build_object('id', 2, 'big', repeat('/w', 1)), jsonb_build_object('id', 3, 'big', 'f' || repeat('/', 10919)));
SELECT id, length(big::text) FROM typed WHERE length(big::text) > 1000;
SELECT regexp_replace(dead_letters(), '\n  DETAIL.*', '');
-- a few bytes do not become many: zeros, bits, arrays of them, and arrays within arrays
CREATE FUNCTION many(id int, what text, name text, parameters jsonb, given text) RETURNS text LANGUAGE sql AS $$
    SELECT fates(jsonb_build_array(jsonb_build_object('value', format('{"schema": %s, "payload": {"op": "c", "after": {"id": %s, "%s": %s}}}', jsonb_build_object('type', 'struct', 'fields', jsonb_build_array(
        jsonb_build_object('type', 'struct', 'field', 'after', 'fields', jsonb_build_array(field)))), id, what, given))))
    FROM (SELECT CASE WHEN given LIKE '[%' THEN jsonb_build_object('type', 'array', 'field', what, 'items', f(NULL, 'bytes', name, parameters)) ELSE f(what, 'bytes', name, parameters) END AS field) s
$$;
CREATE FUNCTION many_decimals(id int, what text, scale text, given text) RETURNS text LANGUAGE sql AS $$ SELECT many(id, what, 'org.apache.kafka.connect.data.Decimal', jsonb_build_object('scale', scale), given) $$;
SELECT many_decimals(80, 'note', '16383', '"AQ=="'), many_decimals(81, 'big', '16383', '"AQ=="'), many_decimals(82, 'big', '-5000', '"gA=="'), many_decimals(83, 'year', '-16383', '"AA=="'), many_decimals(84, 'note', '-1000', '"AQ=="'), many_decimals(85, 'big', '0', '"gAAAAAAAAAAA"');
SELECT id, left(note, 20), length(note), scale(big), length(big::text), right(big::text, 20), year FROM typed WHERE id BETWEEN 80 AND 89 ORDER BY id;
SELECT many(90, 'bits', 'io.debezium.data.Bits', '{"length": "60000"}', '""'), many_decimals(91, 'note', '900', '[' || repeat('"AQ==",', 1000) || '"AQ=="]'), many_decimals(92, 'doc', '2', '[' || repeat('"AQ==",', 1000) || '"AQ=="]'),
    many_decimals(93, 'doc', '2', repeat('[', 1000) || '"AQ=="' || repeat(']', 1000)), many(94, 'doc', NULL, NULL, '[[["AQ=="], []], [["AA==", null]]]');
SELECT id, left(doc::text, 40), jsonb_array_length(doc) FROM typed WHERE id BETWEEN 90 AND 99 ORDER BY id;
SELECT regexp_replace(dead_letters(), '\n  DETAIL.*', '');
-- an array of arrays by its schema
SELECT fates(jsonb_build_array(jsonb_build_object('value', wrapped_envelope('c', NULL, '{"id": 95, "da": [[20423, 0], [1, null]]}', '[{"type": "array", "field": "da", "items": {"type": "array", "items": {"type": "int32", "name": "io.debezium.time.Date"}}}]'))));
SELECT da FROM typed WHERE id = 95;
-- documents that are null, and arrays of documents that are arrays themselves: what is null to SQL is another thing
SELECT typed('{"id": 96, "doc": "null", "plain": " null ", "ja": ["[1]", "[2, 3]", "null", null, "\"a\\\"b\\\\c\"", "{\"k\": [\"x,y\"]}"]}', '{"id": 97, "doc": null, "ja": [["[1]", "2"], ["null", null]]}', '{"id": 98, "ja": []}', '{"id": 99, "ja": ["[1]", "x"]}');
SELECT id, doc, plain, doc IS NULL AS is_null, ja, ja[3] IS NULL AS third_is_null, array_dims(ja) FROM typed WHERE id BETWEEN 96 AND 98 ORDER BY id;
SELECT dead_letters();
-- schemas that are none
CREATE FUNCTION schemed(schema text) RETURNS text LANGUAGE sql AS $$
    SELECT fates(jsonb_build_array(jsonb_build_object('value', format('{"schema": %s, "payload": {"op": "c", "after": {"id": 77, "note": "x", "d": 1, "amount": 5}}}', schema))))
$$;
SELECT schemed('{}'), schemed('null'), schemed('{"type": "struct"}'), schemed('{"type": "struct", "fields": 5}'), schemed('{"type": "struct", "fields": [5, null, [], {"field": 5}, {"field": "after"}]}'),
    schemed('{"type": "struct", "fields": [{"field": "after", "type": "struct", "fields": [{"field": "d", "name": ["x"], "type": {}}, {"field": "amount", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "99999999999"}}]}]}'),
    schemed('{"type": "struct", "fields": [{"field": "after", "type": "struct", "fields": [{"field": "amount", "name": "org.apache.kafka.connect.data.Decimal", "parameters": 7}]}]}');
SELECT schemed('{"type": "struct", "fields": [' || repeat('{},', 30000) || '{}]}');
SELECT schemed(repeat('{"type": "array", "items": ', 100) || '{}' || repeat('}', 100));
SELECT schemed('{"type": "struct", "fields": [{"field": "after", "type": "struct", "fields": [' || repeat('{"type": "array", "items": ', 40) || '{}' || repeat('}', 40) || ']}]}');
SELECT dead_letters();
SELECT id, d, amount FROM typed WHERE id = 77;
-- a schema that is another with the next message, many of them, and one that is as long as messages are
SELECT fates(jsonb_agg(jsonb_build_object('value', wrapped_envelope('c', NULL, jsonb_build_object('id', 100 + i, 'ts', 1764547200000 * scale), jsonb_build_array(f('id', 'int32'), f(repeat('x', i), 'string'), f('ts', 'int64', name)))) ORDER BY i))
    FROM generate_series(1, 12) i, LATERAL (SELECT (ARRAY['io.debezium.time.Timestamp', 'io.debezium.time.MicroTimestamp'])[i % 2 + 1] AS name, (ARRAY[1, 1000])[i % 2 + 1] AS scale) given;
SELECT ts, count(*) FROM typed WHERE id > 100 GROUP BY ts;
SELECT djkafka_drop_consumer('default');

-- types without a schema: by the column, as the connector chooses by the source's; or as time_unit says
SELECT djkafka_subscribe('shop.public.typed', 'typed', format => 'debezium');
TRUNCATE typed;
ALTER TABLE typed ALTER t3 TYPE time(3);
CREATE FUNCTION bare(given jsonb) RETURNS text LANGUAGE sql AS $$ SELECT fates(msg(NULL, envelope('c', NULL, given))) $$;
\pset tuples_only off
\pset expanded on
SELECT bare(jsonb_build_object('id', 1, 'd', 20423, 't', 45045123456, 't3', 45045123, 'ts', 1764547200123456, 'ts3', 1764547200123, 'tn9', 9223372036825200000, 'tz', '2025-12-01T00:00:00.123456Z', 'zone', 1764547200123456, 'tt', '12:30:45.5Z', 'iv', 93784000000,
    'amount', '123.45', 'one', false, 'raw', base64('00ff10'), 'doc', '{"a": [1, "\u00e4"]}', 'plain', '{"b":  2}', 'note', '{"c": 3}', 'at', '{"x": 1.5, "y": -2, "wkb": "AQEAAAA=", "srid": null}'::jsonb));
SELECT * FROM typed;
UPDATE djkafka_route SET time_unit = '{"ts": "ns"}';
SELECT bare('{"id": 2, "ts": 1764547200123456789, "ts3": 1764547200123, "d": 20423}');
SELECT ts, ts3, d FROM typed WHERE id = 2;
-- a unit for all columns is that of times: dates are days in each mode, and spans microseconds
UPDATE djkafka_route SET time_unit = 'ms';
SELECT bare('{"id": 10, "ts": 1764547200123, "t": 45045123, "d": 20423, "da": [20423, null], "iv": 93784000000}');
UPDATE djkafka_route SET time_unit = '{"d": "ms", "iv": "s"}';
SELECT bare('{"id": 11, "d": 1764547200123, "iv": 5, "t": 86400000000}');
-- where nobody has said a unit digits in a string may be ISO 8601
UPDATE djkafka_route SET time_unit = NULL;
SELECT bare('{"id": 12, "d": "20251201", "t": "123045"}'), fates(msg(NULL, wrapped_envelope('c', NULL, '{"id": 13, "d": "20251201"}', jsonb_build_array(f('id', 'int32'), f('d', 'string'))))), bare('{"id": 14, "iv": "5"}'),
    fates(msg(NULL, wrapped_envelope('c', NULL, '{"id": 14, "tz": 1764547200123}', jsonb_build_array(f('id', 'int32'), f('tz', 'int64')))));
UPDATE djkafka_route SET time_unit = '{"tz": "ms"}';
SELECT fates(msg(NULL, wrapped_envelope('c', NULL, '{"id": 15, "tz": 1764547200123}', jsonb_build_array(f('id', 'int32'), f('tz', 'int64')))));
SELECT id, ts, t, tz, d, da, iv FROM typed WHERE id BETWEEN 10 AND 15 ORDER BY id;
SELECT dead_letters();
UPDATE djkafka_route SET time_unit = '{"ts": "ns"}';
-- documents in arrays are documents too
SELECT bare('{"id": 16, "doc": "null", "plain": null, "ja": ["[1]", "null", null, {"a": "b\"c"}]}');
SELECT doc, plain IS NULL AS is_null, ja FROM typed WHERE id = 16;
\pset expanded off
\pset tuples_only on
SELECT bare('{"id": 5, "ts": 9223372036854775807}'), bare('{"id": 6, "ts": 99999999999999999999}');
SELECT id, ts FROM typed WHERE id IN (5, 6);
-- what the clock showed, with a schema or without
UPDATE djkafka_route SET time_unit = NULL, time_zone = 'Asia/Tokyo';
SELECT bare('{"id": 7, "ts": 1764547200123456, "zone": 1764547200123456}'), typed('{"id": 8, "ts": 1764547200123456, "zone": 1764547200123}'), bare('{"id": 9, "zone": -210866803200000000}');
SELECT id, ts, zone FROM typed WHERE id IN (7, 8, 9) ORDER BY id;
SELECT regexp_replace(dead_letters(), '\n  DETAIL.*', '');
UPDATE djkafka_route SET time_unit = 'none', time_zone = 'UTC';
SELECT bare('{"id": 3, "ts": 1764547200123456}'), bare('{"id": 4, "doc": "no JSON"}');
SELECT dead_letters();
-- what no text can hold is replaced in documents too
SELECT bare('{"id": 17, "doc": "{\"a\\u0000\": 1}", "plain": "\"\\u0000\""}'), bare('{"id": 18, "ja": ["\"\\ud800\""]}');
UPDATE djkafka_route SET invalid_text = 'replace';
SELECT bare('{"id": 17, "doc": "{\"a\\u0000\": 1}", "plain": "\"\\u0000\""}'), bare('{"id": 18, "ja": ["\"\\ud800\"", null]}');
SELECT id, doc = '{"a\ufffd": 1}' AS doc, plain, ja = ARRAY['"\ufffd"', NULL]::jsonb[] AS ja FROM typed WHERE id IN (17, 18) ORDER BY id;
SELECT regexp_replace(dead_letters(), '\n.*', '');
SELECT djkafka_drop_consumer('default');

-- flat: rows as ExtractNewRecordState leaves them
TRUNCATE customer;
ALTER TABLE customer DROP lsn, DROP old_name, ADD seen timestamp, ADD __op text;
SELECT djkafka_subscribe('shop.public.customer', 'customer', format => 'debezium_flat');
SELECT fates(msg('{"id": 1}', '{"id": 1, "name": "Ada", "seen": 1764547200123456, "__op": "c", "__table": "customer", "__deleted": "false"}')
             || msg(wrapped('{"id": 2}'), wrapped('{"id": 2, "name": "Bob", "seen": 1764547200123, "__op": "r"}', jsonb_build_array(f('seen', 'int64', 'io.debezium.time.Timestamp'))))
             || msg('{"id": 3}', '{"name": "by key"}') || msg('{"id": 4}', '{"id": 4, "name": "__debezium_unavailable_value"}'));
TABLE customer;
-- deletions: rewritten, a null with its schema or without, the tombstone behind; what is no row
SELECT fates(msg('{"id": 1}', '{"id": 1, "name": "", "__deleted": "true", "__op": "d"}') || msg('{"id": 1}', NULL) || msg(wrapped('{"id": 2}'), wrapped(NULL)) || msg('{"id": 3}', '"null"') || msg('{"id": 3}', NULL)
             || msg(wrapped('{"id": 4}'), wrapped('{"id": 4, "__deleted": "true"}')) || msg('{"serverName": "shop"}', '{"ts_ms": 1}')
             || msg('{"id": "7"}', '{"status": "BEGIN", "id": "7", "event_count": null, "data_collections": null, "ts_ms": 1}'));
TABLE customer;
-- fields of Debezium's are known; an envelope is told
UPDATE djkafka_route SET unknown_fields = 'error';
SELECT fates(msg('{"id": 1}', '{"id": 1, "__source_ts_ms": 5, "__lsn": 7}') || msg('{"id": 1}', '{"id": 1, "nickname": "x"}'));
UPDATE djkafka_route SET unknown_fields = 'ignore';
SELECT fates(msg('{"id": 1}', envelope('c', NULL, '{"id": 1}')) || msg('{"id": 1}', wrapped_envelope('c', NULL, '{"id": 1}')) || msg('{"id": 1}', '{"nickname": "x"}'));
SELECT dead_letters();
-- a rewritten deletion says the version that the row had: that of the change counts
ALTER TABLE customer ADD lsn bigint;
UPDATE djkafka_route SET version_column = 'lsn', columns = '{"lsn": {"field": "__lsn"}}';
SELECT fates(msg('{"id": 1}', '{"id": 1, "name": "a", "__lsn": 5}') || msg('{"id": 1}', '{"id": 1, "__lsn": 4, "__deleted": "true"}') || msg('{"id": 1}', '{"id": 1, "__lsn": 6, "__deleted": "true"}') || msg('{"id": 2}', '{"id": 2, "__lsn": 6}'));
SELECT id, lsn FROM customer;
UPDATE djkafka_route SET columns = NULL;
SELECT fates(msg('{"id": 2}', '{"id": 2, "lsn": 7}') || msg('{"id": 2}', '{"id": 2, "lsn": 7, "__deleted": "true"}'));
SELECT id, lsn FROM customer;
SELECT djkafka_drop_consumer('default');

-- bare keys with a schema; a handler gets the envelope without one
TRUNCATE customer;
ALTER TABLE customer DROP lsn;
SELECT djkafka_subscribe('shop.public.customer', 'customer', format => 'debezium_flat');
SELECT fates(msg('{"schema": {"type": "int32"}, "payload": 5}', '{"name": "bare"}'));
SELECT id, name FROM customer;
SELECT djkafka_drop_consumer('default');
-- when it has happened is an instant, and counts what its name says
CREATE TABLE happened (id int PRIMARY KEY, ms timestamptz, us timestamp, ns timestamptz, __ts_ms timestamptz(0), __source_ts_ms bigint);
SELECT djkafka_subscribe('happened', 'happened', format => 'debezium_flat', time_zone => 'Asia/Tokyo', columns => '{"ms": {"field": "__source_ts_ms"}, "us": {"field": "__ts_us"}, "ns": {"field": "__ts_ns"}}');
SELECT fates(msg(NULL, '{"id": 1, "__source_ts_ms": 1764547200123, "__ts_us": 1764547200123456, "__ts_ns": 1764547200123456789, "__ts_ms": 1764547200623}')
             || msg(NULL, wrapped('{"id": 2, "__source_ts_ms": 1764547200123, "__ts_ns": 1764547200123456789, "__ts_us": null}', jsonb_build_array(f('__source_ts_ms', 'int64'), f('__ts_ns', 'int64'))))
             || msg(NULL, '{"id": 3, "__ts_us": "x"}') || msg(NULL, '{"id": 4, "__ts_ns": 1.5}'));
TABLE happened;
SELECT regexp_replace(dead_letters(), '\n  DETAIL.*', '');
SELECT djkafka_drop_consumer('default');
-- a column of the key that is called as what is round it
CREATE TABLE tenant (schema text PRIMARY KEY, payload text);
SELECT djkafka_subscribe('tenants', 'tenant', format => 'debezium_flat');
SELECT fates(msg('{"schema": "a"}', '{"schema": "a", "payload": "x"}') || msg('{"schema": "b"}', '{"schema": "b", "payload": "y"}') || msg('{"schema": {"type": "struct", "fields": []}, "payload": {"schema": "a"}}', NULL) || msg('{"schema": "b"}', NULL));
TABLE tenant;
SELECT dead_letters();
SELECT djkafka_drop_consumer('default');
CREATE TABLE seen (what jsonb);
CREATE FUNCTION note(value jsonb) RETURNS void LANGUAGE sql AS 'INSERT INTO dbz.seen SELECT value - ''source''';
SELECT djkafka_subscribe('shop.public.customer', handler => 'note(jsonb)', format => 'debezium');
SELECT fates(msg('{"id": 1}', wrapped('{"op": "t", "source": {}}')));
TABLE seen;
SELECT djkafka_drop_consumer('default');

-- what does not go together
SELECT refused($$SELECT djkafka_subscribe('x', 'customer', format => 'debezium', root => 'after')$$);
SELECT refused($$SELECT djkafka_subscribe('x', 'customer', format => 'debezum')$$);
SELECT refused($$SELECT djkafka_subscribe('x', 'customer', key_format => 'debezium')$$);

-- what else a value looks like
SELECT djkafka_subscribe('people', 'customer');
SELECT give('[{"value": "json:{\"type\": \"person\", \"version\": 1, \"message\": {\"id\": 1}}"}, {"value": "msgpack:x"}, {"value": "pickle:x"}, {"value": {"base64": "AAAAAAcCAg=="}}, {"value": {"base64": "H4sIAAAA"}}, {"value": {"base64": "T2JqAQQW"}},
    {"value": "<?xml version=\"1.0\"?><a/>"}, {"value": [{"id": 1}]}, {"key": "1", "value": {"type": "person", "version": 1, "message": {"id": 1}}}, {"key": "1", "value": {"schema": {}, "payload": {"before": null, "after": {"id": 1}, "op": "c"}}}]');
SELECT dead_letters();
UPDATE djkafka_route SET invalid_text = 'replace';
SELECT give('[{"value": {"base64": "AAAAAAcCAg=="}}, {"value": {"base64": "H4sIAAAA"}}]');
SELECT dead_letters();
SELECT djkafka_drop_consumer('default');
SET client_min_messages = warning;
DROP SCHEMA dbz CASCADE;

-- without a schema: dates in an array, and what is infinite
CREATE TABLE endless (id int PRIMARY KEY, d date, da date[], tz timestamptz, ts timestamp(3)[]);
SELECT djkafka_create_consumer('endless', enabled => false) > 0;
SELECT djkafka_create_route('endless', 'endless', 'endless', format => 'debezium') > 0;
SELECT applied, dead FROM djkafka_run('endless', messages => '[
    {"topic": "endless", "key": {"id": 1}, "value": {"op": "c", "after": {"id": 1, "d": 0, "da": [20423, null, -1], "tz": "infinity", "ts": [0, 9223372036825200]}, "source": {}, "ts_ms": 1}},
    {"topic": "endless", "key": {"id": 2}, "value": {"op": "c", "after": {"id": 2, "d": -1, "da": [], "tz": "-infinity", "ts": [[1], [2]]}, "source": {}, "ts_ms": 1}},
    {"topic": "endless", "key": {"id": 3}, "value": {"op": "c", "after": {"id": 3, "d": -2147472692}, "source": {}, "ts_ms": 1}},
    {"topic": "endless", "key": {"id": 4}, "value": {"op": "c", "after": {"id": 4, "tz": "Infinity"}, "source": {}, "ts_ms": 1}}]');
SELECT * FROM endless ORDER BY id;
SELECT sqlstate, message FROM djkafka_dead_letter WHERE consumer = 'endless' ORDER BY "offset";
