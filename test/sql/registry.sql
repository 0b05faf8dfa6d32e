-- Messages that name their schema in a registry, with what was fetched from it; nobody is asked here.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA registry;
SET search_path = registry, public;
SET djkafka.registry_url = 'http://127.0.0.1:1';

-- what a worker would have fetched
CREATE FUNCTION know(id bigint, text text, type text = 'AVRO', named text[] = '{}', guid uuid = NULL) RETURNS void LANGUAGE sql AS $$
    INSERT INTO public.djkafka_schema (registry, schema_id, guid, type, schema, "references", is_encrypted) VALUES ('http://127.0.0.1:1', id, guid, type, text, named, false)
$$;
SELECT know(1, '{"type": "record", "name": "Order", "namespace": "shop", "fields": [{"name": "id", "type": "int"}, {"name": "note", "type": ["null", "string"]},
    {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}}, {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "d", "type": {"type": "int", "logicalType": "date"}}, {"name": "u", "type": {"type": "string", "logicalType": "uuid"}}]}');
SELECT know(2, '{"type": "record", "name": "Id", "fields": [{"name": "id", "type": "int"}]}');
SELECT know(3, '"int"');
SELECT know(4, '{"type": "record", "name": "Part", "fields": [{"name": "id", "type": "int"}, {"name": "part", "type": "Piece"}]}',
    named => ARRAY['{"type": "record", "name": "Name", "fields": [{"name": "name", "type": "string"}]}', '{"type": "record", "name": "Piece", "fields": [{"name": "name", "type": "Name"}]}']);
SELECT know(5, 'syntax = "proto3";', 'PROTOBUF'), know(6, '{"type": "record", "name": "Broken"}'), know(7, '"string"');
UPDATE djkafka_schema SET is_encrypted = true WHERE schema_id = 7;
SELECT know(NULL, '{"type": "record", "name": "Id", "fields": [{"name": "id", "type": "int"}]}', guid => '61626364-6566-6768-696a-6b6c6d6e6f70');

-- as confluent-kafka's serializer writes them
CREATE TABLE shop_order (id int PRIMARY KEY, note text, total numeric, at timestamptz, d date, u uuid);
SELECT djkafka_subscribe('orders', 'shop_order', format => 'avro', key_format => 'avro');
CREATE FUNCTION message(value text, key text = NULL, headers jsonb = '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('topic', 'orders', 'headers', headers) || jsonb_object_agg(part, CASE WHEN hex IS NOT NULL THEN jsonb_build_object('base64', encode(decode(hex, 'hex'), 'base64')) END)
    FROM (VALUES ('value', value), ('key', key)) AS p (part, hex)
$$;
CREATE FUNCTION give_all(VARIADIC messages jsonb[]) RETURNS text LANGUAGE sql AS $$SELECT give(to_jsonb(messages))$$;
SELECT give_all(message('00000000010e0204686904fb2e8af0969a97d4b006e2c4024830313930643161322d303030302d373030302d383030302d303030303030303030303031'));
SELECT id, note, total, at AT TIME ZONE 'UTC' AS at, d, u FROM shop_order;
-- by GUID before the value and in a header, by id in a header, whatever is before the value; of several headers of a name jsonb keeps the last
SELECT give_all(message('016162636465666768696a6b6c6d6e6f7010'), message('12', headers => '{"__value_schema_id": "\u0001abcdefghijklmnop"}'),
                message('00', headers => '{"__value_schema_id": "\u0001abcdefghijklmnop"}'), message('000000000216', headers => '{"__value_schema_id": "cut"}'));
SELECT id FROM shop_order ORDER BY id;
-- keys: of a record, of one value, in a header
SELECT give_all(message(NULL, '000000000210'), message(NULL, '000000000312'), message(NULL, '16', '{"__key_schema_id": "\u0001abcdefghijklmnop"}'));
SELECT id FROM shop_order ORDER BY id;
-- what cannot be
SELECT give_all(message('0206'), message(''), message('00000000'), message('016162'), message('000000000502'), message('000000000602'), message('00000000070261'), message('000000006302'),
                message('0000000002'), message('00000000020202'), message('0000000002ffffffffffffffffffff01'), message('000000000302'), message('000000000202', '0000000063'),
                message('000000000204', '7b7d'), message('010000000000000000000000000000000002'));
SELECT id FROM shop_order ORDER BY id;
SELECT dead_letters();

-- value is JSON to expressions; schemas that name others; several routes, of which one takes it
CREATE TABLE part (id int PRIMARY KEY, name text, whole jsonb);
SELECT djkafka_subscribe('parts', 'part', format => 'avro', filter => $$value ? 'part'$$, columns => $${"name": "value->'part'->'name'->>'name'", "whole": "value"}$$);
SELECT djkafka_subscribe('parts', 'shop_order', format => 'avro', operation => 'insert');
SELECT give(jsonb_agg(m || '{"topic": "parts"}')) FROM unnest(ARRAY[message('00000000040206626f6c'), message('00000000022a')]) m;
SELECT * FROM part;
SELECT id FROM shop_order ORDER BY id;
SELECT fate, error FROM djkafka_test('default', messages => jsonb_build_array(message('00000000027e'), message('00000000637e')));
SELECT dead_letters();

-- dead letters come back once their schema is known
SELECT give_all(message('000000000806'));
SELECT know(8, '{"type": "record", "name": "Id", "fields": [{"name": "id", "type": "int"}]}');
SELECT result, code, error FROM djkafka_replay(consumer => 'default');
SELECT id FROM shop_order WHERE id = 3;

-- what a field does not say by itself, its schema does: Connect's names, in an envelope too
SELECT know(20, '{"type": "record", "name": "Typed", "fields": [{"name": "id", "type": "int"}, {"name": "doc", "type": ["null", {"type": "string", "connect.name": "io.debezium.data.Json"}]},
    {"name": "docs", "type": {"type": "array", "items": {"type": "string", "connect.name": "io.debezium.data.Json"}}}, {"name": "at", "type": {"type": "string", "connect.name": "io.debezium.time.ZonedTimestamp"}},
    {"name": "place", "type": {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "double"}, {"name": "y", "type": "double"}], "connect.name": "io.debezium.data.geometry.Point"}}, {"name": "raw", "type": "bytes"}]}');
SELECT know(21, '{"type": "record", "name": "Envelope", "fields": [{"name": "doc", "type": "string"}, {"name": "after", "type": ["null", "Typed"]}]}', named => ARRAY[schema]) FROM djkafka_schema WHERE schema_id = 20;
CREATE TABLE typed (id int PRIMARY KEY, doc jsonb, docs jsonb[], at timestamptz, place point, raw bytea DEFAULT '\xaa');
SELECT djkafka_subscribe('typed', 'typed', format => 'avro', unchanged_value => 'gone'), djkafka_subscribe('enveloped', 'typed', format => 'avro', root => 'after');
\set typed 020e7b2261223a317d040231045b5d0010696e66696e697479000000000000f83f0000000000000040
SELECT give(jsonb_build_array(message('0000000014' || '02' || :'typed' || '04ff00') || '{"topic": "typed"}', message('0000000014' || '04' || :'typed' || '08676f6e65') || '{"topic": "typed"}',
    message('0000000015' || '027802' || '06' || :'typed' || '00') || '{"topic": "enveloped"}'));
SELECT * FROM typed ORDER BY id;
-- envelopes of Debezium: a row is made, changed and gone, by its message's key
SELECT know(25, '{"type": "record", "name": "Changed", "fields": [{"name": "before", "type": ["null", {"type": "record", "name": "Value", "fields": [{"name": "id", "type": "int"}, {"name": "note", "type": ["null", "string"]}]}]}, {"name": "after", "type": ["null", "Value"]}, {"name": "op", "type": "string"}]}');
SELECT djkafka_subscribe('changes', 'shop_order', format => 'avro', key_format => 'avro', root => 'after', deleted_when => $$value->>'op' = 'd'$$);
CREATE FUNCTION change(id text, value text) RETURNS jsonb LANGUAGE sql AS $$ SELECT message('0000000019' || value, '0000000002' || id) || '{"topic": "changes"}' $$;
SELECT give_all(change('28', '00' || '022800' || '0263'), change('2a', '00' || '022a020261' || '0263'), change('28', '022800' || '0228020262' || '0275'), change('2a', '022a020261' || '00' || '0264'),
    message(NULL, '00000000022a') || '{"topic": "changes"}', change('2c', '00' || '00' || '0264'), change('2e', '00' || '00' || '0275'));
SELECT id, note FROM shop_order WHERE id BETWEEN 20 AND 23;
SELECT dead_letters();
-- one after the other of other schemas, and of a row that is gone
SELECT know(22, '{"type": "record", "name": "Turned", "fields": [{"name": "note", "type": "string"}, {"name": "id", "type": "int"}]}'), know(23, '{"type": "record", "name": "Two", "fields": [{"name": "id", "type": "int"}, {"name": "note", "type": "string"}]}');
SELECT give_all(message('000000001602613c'), message('00000000173c0262'), message('0000000016026340'), message(NULL, '00000000023c'), message('0000000016026444'), message('000000000246'), message('0000000016026548'));
SELECT id, note FROM shop_order WHERE id >= 30 ORDER BY id;

-- what a few bytes become is not kept of all messages of a batch
SELECT know(24, jsonb_build_object('type', 'record', 'name', 'Long', 'fields', ARRAY['{"name": "id", "type": "string"}', jsonb_build_object('name', 'all', 'type', jsonb_build_object('type', 'array', 'items',
    jsonb_build_object('type', 'record', 'name', 'Part', 'fields', ARRAY[jsonb_build_object('name', repeat('n', 1000), 'type', 'null')])))])::text);
CREATE TABLE short (id int PRIMARY KEY, first text);
CREATE TABLE memory (mb bigint);
CREATE FUNCTION measure() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO memory SELECT sum(total_bytes) / 1000000 FROM pg_backend_memory_contexts WHERE name LIKE 'djkafka%';
    RETURN NULL;
END $$;
CREATE TRIGGER measure AFTER INSERT ON short EXECUTE FUNCTION measure();
SELECT djkafka_subscribe('shorts', 'short', format => 'avro');
SELECT give(jsonb_agg(message('0000000018' || '08' || encode(to_char(n, 'FM0000')::bytea, 'hex') || '1e00') || '{"topic": "shorts"}')) FROM generate_series(1, 1000) n;
SELECT max(mb) < 4 FROM memory;

-- schemas are another registry's under another address, or under none
SET djkafka.registry_url = 'http://127.0.0.1:2';
SELECT give_all(message('000000000206'));
SET djkafka.registry_url = '';
SELECT give_all(message('000000000206'));
DELETE FROM djkafka_dead_letter;

-- who may write what decodes messages: nobody; who may forget it: the extension's owner
CREATE ROLE registry_other;
GRANT USAGE ON SCHEMA registry TO registry_other;
SET ROLE registry_other;
SELECT refused('SELECT FROM public.djkafka_schema'), refused('SELECT registry.know(9, ''"int"'')');
RESET ROLE;
SELECT privilege_type FROM information_schema.role_table_grants WHERE table_name = 'djkafka_schema' AND grantee <> 'postgres' AND grantee <> current_user ORDER BY 1;

-- what a server's registry has said goes with the server
GRANT USAGE ON FOREIGN DATA WRAPPER djkafka TO registry_other;
SET ROLE registry_other;
CREATE SERVER registry_k FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1', registry_url 'https://[::1]:8081/apis/ccompat/v7, http://registry/contexts/:.shop:/');
RESET ROLE;
INSERT INTO djkafka_schema (server, registry, schema_id, type, schema, "references", is_encrypted) VALUES ('registry_k', 'x', 1, 'AVRO', '"int"', '{}', false);
SET ROLE registry_other;
DROP SERVER registry_k;
RESET ROLE;
SELECT count(*) FROM djkafka_schema WHERE server = 'registry_k';

-- addresses and secrets
CREATE SERVER registry_s FOREIGN DATA WRAPPER djkafka;
ALTER SERVER registry_s OWNER TO registry_other;
SET ROLE registry_other;
SELECT refused(format('ALTER SERVER registry_s OPTIONS (ADD registry_url %L)', url)) FROM unnest(ARRAY['', ' ', ',', 'registry:8081', 'ftp://r', 'file:///etc/passwd', 'http://', 'http:///x', 'http://r:0', 'http://r:99999',
    'http://r:', 'http://user:secret@r', 'user:secret@r', 'http://r?x', 'http://r/#x', 'http://r/a b', E'http://r/\nx', 'http://r,,http://s', 'http://[::1', 'http://ä', 'http://' || repeat('r', 1000)]) url;
SELECT refused(format('ALTER SERVER registry_s OPTIONS (ADD %I ''x'')', name)) FROM unnest(ARRAY['registry_password', 'registry_username', 'registry_token', 'registry_ssl_key_pem', 'registry_ssl_ca_location', 'registry_uri']) name;
ALTER SERVER registry_s OPTIONS (ADD registry_url 'http://a/b@c,HTTPS://b:1', ADD registry_ssl_ca_pem 'x');
SELECT refused(format('CREATE USER MAPPING FOR registry_other SERVER registry_s OPTIONS (%s)', options)) FROM unnest(ARRAY['registry_url ''http://r''', 'registry_ssl_ca_pem ''x''', 'registry_ssl_key_location ''/etc/passwd''', E'registry_token E''a\\nb''']) options;
CREATE USER MAPPING FOR registry_other SERVER registry_s OPTIONS (registry_username 'u', registry_password 'p', registry_token 'a.b-c=', registry_ssl_key_pem 'k', registry_ssl_certificate_pem 'c', registry_ssl_key_password 'p');
SELECT refused('SET djkafka.registry_url = ''http://r''');
RESET ROLE;
SELECT refused('SET djkafka.registry_url = ''registry''');
SELECT refused($$SELECT djkafka_create_consumer('o', options => '{"registry.url": "http://r"}')$$);
DROP SERVER registry_s CASCADE;

DROP SCHEMA registry CASCADE;
DROP OWNED BY registry_other;
DROP ROLE registry_other;
