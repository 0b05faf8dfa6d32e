-- CloudEvents: as JSON, or with their attributes in headers.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA cloudevents;
SET search_path = cloudevents, public;
SET timezone = 'UTC';

CREATE FUNCTION event(value text, content_type text = NULL, key text = NULL) RETURNS jsonb LANGUAGE sql AS $$SELECT jsonb_build_object('topic', 'orders', 'key', key, 'value', to_jsonb(value), 'headers', coalesce(jsonb_build_object('content-type', content_type), 'null'))$$;
CREATE FUNCTION said(data text, more text = '') RETURNS text LANGUAGE sql AS $$SELECT format('{"specversion":"1.0","id":"e1","source":"/shop","type":"order.made",%s"data":%s}', more, data)$$;
CREATE FUNCTION binary(value text, content_type text = 'application/json', more jsonb = '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('topic', 'orders', 'value', to_jsonb(value),
        'headers', jsonb_strip_nulls('{"ce_specversion": "1.0", "ce_id": "e2", "ce_source": "/shop", "ce_type": "order.made"}' || jsonb_build_object('content-type', content_type) || more))$$;
CREATE FUNCTION bytes(value bytea, content_type text, more jsonb = '{}') RETURNS jsonb LANGUAGE sql AS $$SELECT binary('', content_type, more) || jsonb_build_object('value', jsonb_build_object('base64', encode(value, 'base64')))$$;
CREATE FUNCTION counted(messages jsonb) RETURNS text LANGUAGE sql AS $$SELECT applied || ' applied, ' || filtered || ' filtered, ' || dead || ' dead' FROM djkafka_run('default', messages => messages)$$;

CREATE TABLE orders (id int PRIMARY KEY, customer text, at timestamptz, event text, source text, type text, subject text, tenant text);
SELECT djkafka_subscribe('orders', 'orders', format => 'cloudevents', filter => $$value IS NULL OR value->>'subject' IS DISTINCT FROM 'unwanted'$$,
    columns => $${"event": "value->>'id'", "source": "value->>'source'", "type": "value->>'type'", "subject": "value->>'subject'", "tenant": "value->>'tenant'", "at": "(value->>'time')::timestamptz"}$$);
-- structured, with its media type or without; binary, with any of JSON's; the attributes are not the data's fields
SELECT counted(jsonb_build_array(event(said('{"id":1,"customer":"Ada"}', '"time":"2026-01-31T12:00:00Z","subject":"s","tenant":"a",'), 'application/cloudevents+json; charset=UTF-8'), event(said('{"id":2,"customer":"Bob"}')), event(said('{"id":3}', '"subject":"unwanted",')), event(said('{"id":4}'), 'application/cloudevents'), event(said('{"id":5}'), 'APPLICATION/CLOUDEVENTS+JSON;x'), event(said('{"id":6}'), 'application/json'),
    binary('{"id":11,"customer":"Ada"}', more => '{"ce_time": "2026-01-31T12:00:00.5+01:00", "ce_tenant": "\"\\\u00e9", "CE_subject": "s", "other": "x"}'), binary('{"id":12}', 'application/vnd.shop+json;charset=utf-8'), binary(' {"id":13} ', 'text/json'), binary('{"id":14}', NULL), binary('{"id":15}', more => '{"ce_subject": "unwanted"}'), binary('{"customer":"by key"}') || '{"key": "16"}',
    bytes('{"id":17,"customer":"in base64"}', 'application/cloudevents+json') || jsonb_build_object('value', said('null', format('"data_base64":"%s",', encode('{"id":17,"customer":"in base64"}', 'base64'))))));
SELECT * FROM orders ORDER BY id;
SELECT dead_letters();
-- no value deletes by the key, in either mode; deleted_field and deleted_when too
SELECT counted(jsonb_build_array('{"topic": "orders", "key": "1"}'::jsonb, binary('') || '{"key": "11", "value": null}', event(said('{"id":2,"__deleted":true}'))));
UPDATE djkafka_route SET deleted_when = $$value->>'type' = 'order.gone'$$;
SELECT counted(jsonb_build_array(event('{"specversion":"1.0","id":"e","source":"s","type":"order.gone"}', key => '4'), binary('', NULL, '{"ce_type": "order.gone"}') || '{"key": "5"}', binary('{"id":6}', more => '{"ce_type": "order.gone"}'), binary('text', 'text/plain', '{"ce_type": "order.gone"}') || '{"key": "12"}'));
SELECT id FROM orders ORDER BY id;
SELECT dead_letters();
-- what is no event, or has no row
SELECT counted(jsonb_agg(m)) FROM (VALUES (event('')), (event('null')), (event('5')), (event('[]')), (event('[{"specversion":"1.0"}]', 'application/cloudevents+json')), (event('[]', 'application/cloudevents-batch+json')), (event('[]', 'application/cloudevents-BATCH')), (event('x', 'application/cloudevents+avro')), (event('x', 'application/cloudeventsx')),
    (event('{')), (event('{"id":1}')), (event('{"id":1}', 'application/cloudevents+json')), (event(replace(said('{"id":1}'), '1.0', '0.3'))), (event(replace(said('{"id":1}'), '"1.0"', '1.0'))), (event(replace(said('{"id":1}'), '"e1"', '""'))), (event(replace(said('{"id":1}'), '"/shop"', 'null'))), (event(replace(said('{"id":1}'), '"order.made"', '5'))),
    (event(said('null'))), (event(said('[{"id":1}]'))), (event(said('"text"'))), (event('{"specversion":"1.0","id":"e","source":"s","type":"t"}')), (event(said('{"no":1}'))), (event(said('null', '"data_base64":"?",'))), (event(said('null', '"data_base64":"AAE=",'))), (event(said('{"id":1}', '"data_base64":5,') || 'x')),
    (binary('{"id":1},"id":"forged"')), (binary('1}')), (binary('{"id":1')), (binary('')), (binary('text', 'text/plain')), (binary('text', NULL)), (bytes('\xff', 'application/json')), (bytes('\xff', 'application/octet-stream')), (binary('[1]')), (binary('null')),
    (binary('{"id":1}', more => '{"ce_specversion": "0.3"}')), (binary('{"id":1}', more => '{"ce_id": ""}')), (binary('{"id":1}') #- '{headers,ce_type}'), (binary('{"id":1}') #- '{headers,ce_specversion}'), (binary(repeat('{"a":', 2000)))) v (m);
SELECT dead_letters();
SELECT id FROM orders WHERE id = 1;
-- a header cannot say what the data are
SELECT counted(jsonb_build_array(binary('{"id":21}', more => '{"ce_data": "{}", "ce_data_base64": "eyJpZCI6OTl9", "ce_": "x"}')));
SELECT id, event, tenant FROM orders WHERE id IN (21, 99) ORDER BY id;
SELECT dead_letters();

-- other options work on the data; types of events go to tables of their own
CREATE TABLE line (id int PRIMARY KEY, order_no int, at date);
CREATE TABLE log (n bigint GENERATED ALWAYS AS IDENTITY, type text, data jsonb, whole jsonb);
SELECT djkafka_subscribe('lines', 'line', format => 'cloudevents', root => 'line', naming => 'snake_case', time_unit => 'ms', message_types => '["line.made", "line.changed"]');
SELECT djkafka_subscribe('lines', 'log', format => 'cloudevents', operation => 'insert', message_types => '{"text": true, "ping": false}', columns => $${"type": "value->>'type'", "data": "value->'data'", "whole": "value"}$$);
SELECT counted(jsonb_agg(m || '{"topic": "lines"}')) FROM (VALUES (binary('{"line":{"id":1,"orderNo":5,"at":1769860800123}}', more => '{"ce_type": "line.made"}')), (event(replace(said('{"line":{"id":2,"OrderNo":6}}'), 'order.made', 'line.changed'))),
    (binary('{"line":{"id":3}}', more => '{"ce_type": "ping"}')), (binary('{"line":{"id":3}}', more => '{"ce_type": "line"}')), (binary('{"line":5}', more => '{"ce_type": "line.made"}')), (event('{"specversion":"1.0","id":"e","source":"s","data":{}}')),
    (binary('some text', 'text/plain', '{"ce_type": "text"}')), (binary('"some json"', more => '{"ce_type": "text"}')), (binary('', NULL, '{"ce_type": "text"}')), (bytes('\x00ff', 'application/octet-stream', '{"ce_type": "text"}'))) v (m);
SELECT * FROM line ORDER BY id;
SELECT type, data, whole FROM log ORDER BY n;
SELECT dead_letters();
-- where a column could have a field of them, data that are no object are an error
CREATE TABLE known (event text PRIMARY KEY, note text);
SELECT djkafka_subscribe('known', 'known', format => 'cloudevents', columns => $${"event": "value->>'id'"}$$), djkafka_subscribe('logged', 'known', format => 'logpipe', columns => $${"event": "value->>'type'"}$$);
SELECT counted(jsonb_build_array(binary('{"note":"x"}') || '{"topic": "known"}', binary('text', 'text/plain') || '{"topic": "known"}', binary('', NULL) || '{"topic": "known"}', '{"topic": "logged", "value": "json:{\"type\":\"t\",\"version\":1,\"message\":5}"}'::jsonb));
UPDATE djkafka_route SET include = '{event}' WHERE target = 'known'::regclass;
SELECT counted(jsonb_build_array(binary('text', 'text/plain', '{"ce_id": "e3"}') || '{"topic": "known"}', '{"topic": "logged", "value": "json:{\"type\":\"t\",\"version\":1,\"message\":5}"}'::jsonb));
SELECT * FROM known ORDER BY event;
SELECT dead_letters();
SELECT refused($$SELECT djkafka_subscribe('x', 'line', format => 'cloudevents', message_types => '{"a": 1}')$$);
SELECT refused($$SELECT djkafka_subscribe('x', 'line', format => 'cloudevents', message_types => '{"a": []}')$$);
-- look-ups begin in the row
CREATE TABLE customer (id int PRIMARY KEY, code text UNIQUE);
INSERT INTO customer VALUES (17, 'x'), (18, 'e1'), (19, 'e2');
CREATE TABLE bought (id int PRIMARY KEY, customer_id int, other_id int);
SELECT djkafka_subscribe('bought', 'bought', format => 'cloudevents', parent_timeout => '0', lookups => '{"customer_id": {"table": "customer", "column": "code", "field": "customer"}, "other_id": {"table": "customer", "column": "code", "field": "source"}}');
SELECT counted(jsonb_agg(e || '{"topic": "bought"}')) FROM (VALUES (event(said('{"id":1,"customer":"x","source":"x"}'))), (event(said('{"id":2,"customer":"y"}'))), (event(said('{"id":3}'))), (binary('{"id":4,"customer":"x"}')),
    (event(said('null', format('"data_base64":"%s",', encode('{"id":5,"customer":"x"}', 'base64')))))) e (e);
SELECT * FROM bought ORDER BY id;
SELECT dead_letters();
-- a column that takes a field by an expression takes fields
CREATE TABLE noted (event text PRIMARY KEY, note text);
SELECT djkafka_subscribe('noted', 'noted', format => 'cloudevents', columns => $${"event": "value->>'id'", "note": {"field": "note", "value": "upper(value->'data'->>'note')"}}$$);
SELECT counted(jsonb_agg(e || '{"topic": "noted"}')) FROM (VALUES (event(said('"text"'))), (event(said('null'))), (event(said('{"note":"n"}')))) e (e);
SELECT * FROM noted;
SELECT dead_letters();
-- to json it looks like what it is
SELECT djkafka_subscribe('plain', 'line');
SELECT counted(jsonb_build_array(event(said('{}')) || '{"topic": "plain"}'));
SELECT dead_letters();
