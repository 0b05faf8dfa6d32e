-- Messages of django-logpipe: JSON and MessagePack, routes by type and version.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA logpipe;
SET search_path = logpipe, public;
SET timezone = 'UTC';

-- a value of JSON, and one of any bytes
CREATE FUNCTION said(value text, key text = NULL) RETURNS jsonb LANGUAGE sql AS $$SELECT jsonb_build_object('topic', 'people', 'key', key, 'value', to_jsonb('json:' || value))$$;
CREATE FUNCTION bytes(value bytea) RETURNS jsonb LANGUAGE sql AS $$SELECT jsonb_build_object('topic', 'people', 'value', jsonb_build_object('base64', encode(value, 'base64')))$$;
CREATE FUNCTION msgpack(value text) RETURNS jsonb LANGUAGE sql AS $$SELECT bytes('msgpack:'::bytea || decode(value, 'hex'))$$;
-- … whose "message" these bytes are
CREATE FUNCTION packed(message text) RETURNS jsonb LANGUAGE sql AS $$SELECT msgpack('83a474797065a6706572736f6ea776657273696f6e01a76d657373616765' || message)$$;
CREATE FUNCTION onto(topic text, messages jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT jsonb_agg(m || jsonb_build_object('topic', topic)) FROM jsonb_array_elements(messages) m$$;
CREATE FUNCTION counted(messages jsonb) RETURNS text LANGUAGE sql AS $$SELECT applied || ' applied, ' || filtered || ' filtered, ' || dead || ' dead, ' || skipped || ' skipped' FROM djkafka_run('default', messages => messages)$$;

CREATE TABLE person (id int PRIMARY KEY, name text, amount numeric, at timestamptz, d date, producer text);
SELECT djkafka_subscribe('people', 'person', format => 'logpipe', columns => $${"producer": "value->>'producer'"}$$);
-- as django-logpipe writes them, with a key and without one, in both encodings
SELECT give(jsonb_build_array(said('{"type":"person","version":1,"message":{"id":7,"name":"A\u2028da","amount":"12.50","at":"2026-01-31T06:00:00.000005-06:00","d":"2026-01-31"},"producer":"p1"}', '7'),
    said('{"type":"person","version":1,"message":{"name":"by no key"}}', ''), said('{"type":"person","version":1,"message":{"name":"by key"}}', '8'),
    bytes('msgpack:\204\244type\246person\247version\001\247message\205\242id\011\244name\244Adam\246amount\24512.50\242at\331 2026-01-31T06:00:00.000005-06:00\241d\2522026-01-31\250producer\242p1'::bytea)));
SELECT id, to_json(name), amount, at, d, producer FROM person ORDER BY id;
SELECT dead_letters();
-- the key that is none is null to expressions too, and a message that waits without one holds up no other
SELECT djkafka_create_route('default', 'people', 'person', format => 'logpipe', filter => 'key IS NULL', columns => $${"name": "'no key'"}$$, route_order => -1) AS id \gset
SELECT give(jsonb_build_array(said('{"type":"person","version":1,"message":{"id":10}}', ''), said('{"type":"person","version":1,"message":{"id":11,"name":"key"}}', '11')));
SELECT id, name FROM person WHERE id >= 10 ORDER BY id;
SELECT djkafka_drop_route(:id);

-- what is none of its messages
SELECT give(jsonb_agg(m)) FROM (VALUES (bytes('')), (bytes('json')), (bytes('json:')), (bytes('null')), (bytes('{"type":"person","version":1,"message":{"id":1}}')), (bytes('JSON:{}')), (bytes(' json:{}')), (bytes('pickle:\200\004N.')), (bytes('yaml:a: 1')),
    (said('{')), (said('null')), (said('[]')), (said('{}')), (said('{"type":"person","message":{"id":1}}')), (said('{"version":1,"message":{"id":1}}')), (said('{"type":"person","version":1}')),
    (said('{"type":"person","version":1,"message":null}')), (said('{"type":"person","version":1,"message":[{"id":1}]}')), (said('{"type":"person","version":1,"message":{"no":1}}')), (bytes('json:{"type":"\377"}')),
    (said(repeat('{"a":', 2500)))) v (m);
SELECT dead_letters();
-- of a name that is repeated the last counts; nothing but the message's fields
SELECT give(jsonb_build_array(said('{"message":{"id":1,"name":"no"},"type":1,"version":null,"id":5,"name":"no","message":{"id":1,"name":"no","name":"last"}}')));
SELECT id, name FROM person WHERE id IN (1, 5);
-- to json it looks like what it is
SELECT djkafka_subscribe('plain', 'person');
SELECT give(jsonb_build_array(said('{"type":"person","version":1,"message":{"id":1}}') || '{"topic": "plain"}', packed('80') || '{"topic": "plain"}', bytes('pickle:x') || '{"topic": "plain"}'));
SELECT dead_letters();

-- what other options say works on the message: a root within it, naming, what is not sent, deletions, times
CREATE TABLE thing (id int PRIMARY KEY, first_name text, at timestamptz, left_alone text DEFAULT 'default', kind text, whole jsonb);
SELECT djkafka_subscribe('things', 'thing', format => 'logpipe', root => 'data', naming => 'snake_case', time_unit => 'ms', deleted_when => $$value->>'type' = 'gone'$$, unchanged_value => '?',
    columns => $${"kind": "value->>'type'", "whole": "value"}$$);
SELECT give(jsonb_agg(m || '{"topic": "things"}')) FROM (VALUES (said('{"type":"thing","version":1,"message":{"id":9,"data":{"id":1,"firstName":"Ada","at":1769860800123,"leftAlone":"?"}}}')), (said('{"type":"thing","version":1,"message":{"data":{"id":2,"leftAlone":"x","__deleted":false}}}')),
    (said('{"type":"thing","version":1,"message":{"data":{"id":3}}}')), (said('{"type":"thing","version":1,"message":{"data":{"id":3,"__deleted":"true"}}}')),
    (said('{"type":"gone","version":1,"message":{"data":{"id":2}}}')), (said('{"type":"gone","version":1}', '5')), (said('{"type":"thing","version":1,"message":{"data":5}}')), (said('{"type":"thing","version":1,"message":{"data":{"first_name":1,"id":null}}}', '4'))) v (m);
SELECT * FROM thing ORDER BY id;
SELECT dead_letters();

-- MessagePack: each of its types, to columns and within documents
CREATE TABLE packed (id int PRIMARY KEY, n jsonb, f jsonb, b bytea, s text, nul json, m jsonb, t timestamptz, t0 timestamptz, told jsonb, l text, f8 float8, big numeric);
SELECT djkafka_subscribe('packed', 'packed', format => 'logpipe');
\set all 8ca2696408a16edc0019c0c3c2007fcc80ccffcd0100cdffffce00010000ceffffffffcf0000000100000000cf7fffffffffffffffcf8000000000000000cfffffffffffffffffffe0d0dfd080d1ff7fd18000d2ffff7fffd280000000d3ffffffff7fffffffd38000000000000000a16697cb3fe0000000000000cb3ff0000000000000cb8000000000000000cb7e37e43c8800759ccb7ff8000000000000cb7ff0000000000000cbfff0000000000000a162c40200ffa173ad61225c0ac3a9e282acf09f9880a36e756ca3610062a16d8301a36f6e65fe81a17890a080a174d7ff1d6f3454697deec0a27430d6ff00000001a4746f6c64c70cff00000000fffffff1886e08ffa16cd92878787878787878787878787878787878787878787878787878787878787878787878787878787878a165d6ff697deec0
SELECT give(onto('packed', jsonb_build_array(packed(:'all'), packed('84a2696409a2663a01a26638ca3dcccccda3626967cfffffffffffffffff'), packed('83a269640aa26638cb7ff8000000000000a3626967caff800000'))));
SELECT id, n, f, b, to_json(s), nul, m, t, t0, told, l, f8, big FROM packed ORDER BY id;
SELECT dead_letters();
UPDATE djkafka_route SET invalid_text = 'replace' WHERE topic = 'packed';
SELECT give(jsonb_build_array(packed('82a269640ba36e756ca3610062') || '{"topic": "packed"}', packed('82a269640ca173a261ff') || '{"topic": "packed"}'));
SELECT id, nul, s FROM packed WHERE id > 10 ORDER BY id;
UPDATE djkafka_route SET invalid_text = 'error' WHERE topic = 'packed';
-- cut off, more than there is, not of it, too deep, claims that nothing stands behind
SELECT give(jsonb_agg(msgpack(m) || '{"topic": "packed"}')) FROM unnest(ARRAY['', '81', '81a2', '81a161', '82a16101', '8101', '81c001', '819001', '81cb000000000000000001', '91', '92c0', 'c1', 'a161', '05', '8000', '80c0', 'd9', 'd905a1', 'daffff00', 'dbffffffff00', 'c4', 'c6ffffffff', 'cc', 'cd00', 'ce000000', 'cf00000000000000', 'cb', 'ca00',
    'ddffffffff', 'dfffffffff', 'df7fffffff00', 'dcffff00', 'deffff00', 'c7', 'c701ff00', 'c700ff', 'd40500', 'd7ffffffffffffffffff', 'd6ff', 'c70cff', 'a1ff', '81a16181a1', '81a161a2c328', repeat('91', 1000) || '90', repeat('91', 1001), repeat('81a161', 1001), 'dd00000001']) m;
SELECT dead_letters();
SELECT give(jsonb_agg(msgpack('82a161' || repeat('91', n) || 'c0a16101') || '{"topic": "packed"}')) FROM unnest(ARRAY[999, 1000]) n;
SELECT dead_letters();

-- types and versions, as serializers are registered
SELECT djkafka_unsubscribe('people');
TRUNCATE person;
CREATE TABLE person2 (id int PRIMARY KEY, full_name text);
CREATE TABLE seen (n bigint GENERATED ALWAYS AS IDENTITY, type text, version jsonb, message jsonb);
SELECT djkafka_subscribe('people', 'person', format => 'logpipe', message_types => '{"person": 1, "ping": false}');
SELECT djkafka_subscribe('people', 'person2', format => 'logpipe', message_types => '{"person": [2, "2b"]}', route_order => 1);
SELECT djkafka_subscribe('people', 'seen', format => 'logpipe', operation => 'insert', message_types => '["note", "event"]', route_order => 2, filter => $$value->'message'->>'no' IS NULL$$,
    columns => $${"type": "value->>'type'", "version": "value->'version'", "message": "value->'message'"}$$);
CREATE FUNCTION people() RETURNS SETOF text LANGUAGE sql AS $$SELECT 'person ' || id || ' ' || name FROM person UNION ALL SELECT 'person2 ' || id || ' ' || full_name FROM person2 UNION ALL SELECT 'seen ' || type || ' ' || version || ' ' || message FROM (SELECT * FROM seen ORDER BY n) s$$;
CREATE FUNCTION typed(type text, version text = '1', message text = '{"id":1,"name":"one","full_name":"two"}') RETURNS jsonb LANGUAGE sql AS $$SELECT said(format('{"type":%s,"version":%s,"message":%s}', type, version, message))$$;
SELECT counted(jsonb_build_array(typed('"person"'), typed('"person"', '2', '{"id":2,"full_name":"two"}'), typed('"person"', '"2b"', '{"id":3,"full_name":"2b"}'), typed('"person"', '1.0', '{"id":4,"name":"1.0"}'), typed('"person"', '1e0', '{"id":5,"name":"1e0"}'), typed('"note"'), typed('"event"', '[1, {"x": null}]'), typed('"event"', 'null', '{"no":1}'),
    typed('"ping"'), typed('"ping"', '99')));
SELECT people();
SELECT counted(jsonb_build_array(packed('82a2696406a46e616d65a67061636b6564')));
SELECT people();
SELECT dead_letters();
-- of no route's type or version; what does not say it; a tombstone belongs to the first mirror
SELECT counted(jsonb_build_array(typed('"Person"'), typed('"persons"'), typed('"person"', '3'), typed('"person"', '"1"'), typed('"person"', 'true'), typed('"person"', 'null'), typed('"person"', '[1]'), typed('"person"', '1.0000000000000001'), typed('"person"', '1e400'), typed('"person"', '9007199254740993'),
    typed('null'), typed('5'), typed('["person"]'), typed('"per\u0073on"', '2', '{"id":7,"full_name":"escaped"}'), typed('"\u0000"'), typed('""'), said('{"type":"person","message":{}}'), said('{"version":1,"message":{}}'), said('[]'), said('{'), bytes('x'), typed(to_json(repeat('ä', 100))::text, to_json(repeat('v', 500))::text),
    '{"topic": "people", "key": "1", "value": null}'::jsonb, '{"topic": "people", "key": "2"}'::jsonb));
SELECT people();
SELECT dead_letters();
-- which is on_error's to say, or ignored, or a route's that takes them all
UPDATE djkafka_route SET on_error = 'skip' WHERE target = 'person'::regclass;
SELECT counted(jsonb_build_array(typed('"other"')));
UPDATE djkafka_route SET unknown_types = 'ignore' WHERE target = 'person'::regclass AND topic = 'people';
SELECT counted(jsonb_build_array(typed('"other"')));
SELECT dead_letters();
UPDATE djkafka_route SET unknown_types = 'ignore' WHERE topic = 'people';
SELECT counted(jsonb_build_array(typed('"other"'), typed('"person"', '77'), said('{')));
SELECT dead_letters();
UPDATE djkafka_route SET unknown_types = 'error';
SELECT djkafka_subscribe('people', 'seen', format => 'logpipe', operation => 'insert', route_order => 5, columns => $${"type": "value->>'type'"}$$, unknown_fields => 'ignore_all');
SELECT counted(jsonb_build_array(typed('"other"'), typed('"person"', '77'), typed('"ping"')));
SELECT type FROM seen WHERE version IS NULL ORDER BY n;
SELECT djkafka_unsubscribe('people', 'seen');
-- a route that is made for them takes the letters again
SELECT counted(jsonb_build_array(typed('"late"', '1', '{"id":50,"full_name":"late"}')));
UPDATE djkafka_route SET on_error = NULL;
SELECT counted(jsonb_build_array(typed('"late"', '1', '{"id":50,"full_name":"late"}')));
UPDATE djkafka_route SET message_types = message_types || '{"late": true}' WHERE target = 'person2'::regclass;
SELECT result, code FROM djkafka_replay(sqlstate => '22KFA');
SELECT people();
-- a handler's
CREATE FUNCTION handle(value jsonb) RETURNS void LANGUAGE sql AS $$INSERT INTO logpipe.seen (type, message) VALUES ('handled ' || (value->>'type'), value)$$;
SELECT djkafka_subscribe('handled', handler => 'handle(jsonb)', format => 'logpipe', message_types => '["a"]');
SELECT counted(jsonb_agg(m || '{"topic": "handled"}')) FROM (VALUES (typed('"a"')), (typed('"b"')), (said('{')), (said('{"type": "a"}')), ('{"value": null}'::jsonb)) v (m);
SELECT dead_letters();
SELECT message FROM seen WHERE type LIKE 'handled%' OR type IS NULL ORDER BY n;

-- look-ups begin in the row
CREATE TABLE customer (id int PRIMARY KEY, code text UNIQUE);
INSERT INTO customer VALUES (17, 'x');
CREATE TABLE bought (id int PRIMARY KEY, customer_id int, at_code int);
SELECT djkafka_subscribe('bought', 'bought', format => 'logpipe', parent_timeout => '0', lookups => '{"customer_id": {"table": "customer", "column": "code", "field": "customer"}, "at_code": {"table": "customer", "column": "code", "field": ["at", "code"]}}');
SELECT counted(jsonb_agg(jsonb_build_object('topic', 'bought', 'value', format('json:{"type":"t","version":1,"customer":"x","message":%s}', m)))) FROM unnest(ARRAY['{"id":1,"customer":"x","at":{"code":"x"}}', '{"id":2,"customer":"y"}', '{"id":3}', '{"id":4,"customer":null}']) m;
SELECT * FROM bought ORDER BY id;
SELECT dead_letters();

-- options that are wrong
SELECT refused(format('SELECT djkafka_subscribe(''x'', ''person'', format => ''logpipe'', message_types => %L)', t)) FROM unnest(ARRAY['{}', '[]', '5', '"person"', 'null', '[1]', '[["a"]]', '{"a": null}', '{"a": []}', '{"a": [null]}', '{"a": [[1]]}', '{"a": {"b": 1}}', '{"a": [true]}']) t;
SELECT refused($$SELECT djkafka_subscribe('x', 'person', message_types => '["a"]')$$);
SELECT refused($$SELECT djkafka_subscribe('x', 'person', format => 'logpipe', unknown_types => 'ignore')$$);
SELECT refused($$SELECT djkafka_subscribe('x', 'person', format => 'logpipe', message_types => '["a"]', unknown_types => 'stop')$$);
SELECT refused($$SELECT djkafka_subscribe('x', 'person', unknown_types => 'ignore')$$);
SELECT refused($$SELECT djkafka_subscribe('x', 'person', key_format => 'logpipe')$$);
SELECT djkafka_alter_route('default', 'people', 'person', unknown_types => 'ignore') > 0, djkafka_alter_route('default', 'people', 'person', reset => '{unknown_types}', message_types => '["b", "a"]') > 0;
SELECT message_types, unknown_types FROM djkafka_route WHERE topic = 'people' AND target = 'person'::regclass;
SELECT djkafka_alter_route('default', 'people', 'person', reset => '{message_types}') > 0;
SELECT message_types, unknown_types FROM djkafka_route WHERE topic = 'people' AND target = 'person'::regclass;
