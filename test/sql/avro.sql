-- the decoder of Avro: schemas, values, hostile ones of both
CREATE SCHEMA avro;
SET search_path = avro;
\getenv abs_srcdir PG_ABS_SRCDIR
\set functions :abs_srcdir '/sql/include/avro.sql'
\set row :abs_srcdir '/sql/include/codec_row.sql'
\set ECHO none
\i :functions
\i :row
\set ECHO all
\pset format unaligned
\pset tuples_only on
SET TimeZone = 'Europe/Paris';
-- a record of one field
CREATE FUNCTION one(type text) RETURNS text LANGUAGE sql AS $$ SELECT '{"type":"record","name":"R","fields":[{"name":"a","type":' || type || '}]}' $$;

-- as Confluent's serializer for Python writes it, behind its prefix
\set order '{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"int"},{"name":"note","type":["null","string"],"default":null},{"name":"total","type":{"type":"bytes","logicalType":"decimal","precision":10,"scale":2}},{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"d","type":{"type":"int","logicalType":"date"}},{"name":"u","type":{"type":"string","logicalType":"uuid"}}]}'
\set value '\\x0e0204686904fb2e8af0969a97d4b006e2c4024830313930643161322d303030302d373030302d383030302d303030303030303030303031'
SELECT test_avro_schema(:'order');
SELECT test_avro(:'order', :'value');
SELECT test_avro_text(:'order', :'value');
SELECT test_avro('"bytes"', '\x010203', true), test_avro('"bytes"', '\x06010203'), test_avro('"bytes"', '\x010203');
SELECT test_avro('"string"', '\x06616263', true);

-- primitive types
SELECT type, bytes, test_avro(type, bytes), CASE WHEN test_avro(type, bytes) !~ '^22KF0' THEN test_avro_text(type, bytes) END FROM (VALUES
    ('"null"', ''::bytea), ('"boolean"', '\x01'), ('"boolean"', '\x00'), ('"boolean"', '\x02'), ('"boolean"', ''),
    ('"int"', '\x00'), ('"int"', '\x01'), ('"int"', '\x8001'), ('"int"', '\xfeffffff0f'), ('"int"', '\xffffffff0f'), ('"int"', '\x8080808010'), ('"int"', '\x80'), ('"int"', '\x0000'),
    ('"long"', '\xfeffffffffffffffff01'), ('"long"', '\xffffffffffffffffff01'), ('"long"', '\xffffffffffffffffff02'), ('"long"', '\x8080808080808080808000'), ('"long"', '\x808000'),
    ('"float"', '\x0000c03f'), ('"float"', '\x0000c07f'), ('"float"', '\xcdcccc3d'), ('"float"', '\x00000080'), ('"float"', '\x0000c0'),
    ('"double"', '\x000000000000f83f'), ('"double"', '\x000000000000f07f'), ('"double"', '\x000000000000f0ff'), ('"double"', '\xea8ca039593e2946'), ('"double"', '\x00'),
    ('"bytes"', '\x00'), ('"bytes"', '\x04ff00'), ('"bytes"', '\x01'), ('"bytes"', '\xfeffffff0f'), ('"bytes"', '\xfeffffffffffffffff01'),
    ('"string"', '\x04c3a9'), ('"string"', '\x02c3'), ('"string"', '\x06610062'), ('"string"', '\x06225c0a'), ('"string"', '\x0661'),
    ('{"type":"fixed","name":"f","size":2}', '\x0102'), ('{"type":"fixed","name":"f","size":0}', ''), ('{"type":"fixed","name":"f","size":2}', '\x01'),
    ('{"type":"enum","name":"e","symbols":["A","B"]}', '\x02'), ('{"type":"enum","name":"e","symbols":["A"]}', '\xc601'), ('{"type":"enum","name":"e","symbols":["A"]}', '\x01')) v(type, bytes);

-- values within values
SELECT type, bytes, test_avro(type, bytes), CASE WHEN test_avro(type, bytes) !~ '^22KF0' THEN test_avro_text(type, bytes) END FROM (VALUES
    ('["null","int"]', '\x00'::bytea), ('["null","int"]', '\x0254'), ('["null","int"]', '\x04'), ('["null","int"]', '\x01'), ('[]', '\x00'), ('["int","null"]', '\x02'),
    ('{"type":"array","items":"int"}', '\x00'), ('{"type":"array","items":"int"}', '\x040204020600'), ('{"type":"array","items":"int"}', '\x04020402060700'), ('{"type":"array","items":"int"}', '\x0304020400'), ('{"type":"array","items":"int"}', '\x0302020400'), ('{"type":"array","items":"int"}', '\x0306020400'), ('{"type":"array","items":"int"}', '\x0301020400'), ('{"type":"array","items":"int"}', '\xffffffffffffffffff01'), ('{"type":"array","items":"int"}', '\x02'),
    ('{"type":"map","values":"string"}', '\x0202610262040262026302640000'), ('{"type":"map","values":"string"}', '\x0202610262040262026302640002'), ('{"type":"map","values":["null","long"]}', '\x0406c3a9220002620254'), ('{"type":"map","values":["null","long"]}', '\x0406c3a922000262025400'),
    ('{"type":"map","values":"int"}', '\x0202000200'),
    ('{"type":"array","items":{"type":"array","items":"string"}}', '\x02020261000200'), ('{"type":"array","items":{"type":"array","items":"string"}}', '\x0202026100020000'),
    ('{"type":"record","name":"r","fields":[]}', ''), ('{"type":"record","name":"r","fields":[]}', '\x00')) v(type, bytes);
SELECT test_avro(s, b), test_avro_text(s, b) FROM (VALUES (one('{"type":"record","name":"S","fields":[{"name":"b","type":{"type":"array","items":"R"}},{"name":"q\"é","type":["null","S"]}]}'), '\x0200000000'::bytea),
    (one('["null","R"]'), '\x020200'), (one('["null",{"type":"map","values":"R"}]'), '\x020202780000')) v(s, b);
SELECT test_avro('["null",{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}]', '\x0254'), test_avro('["null",{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}]', '\x00');

-- logical types
CREATE FUNCTION logical(type text, logical text, more text = '') RETURNS text LANGUAGE sql AS $$ SELECT format('{"type":"%s","logicalType":"%s"%s}', type, logical, more) $$;
SELECT type, bytes, test_avro(type, bytes), CASE WHEN test_avro(type, bytes) !~ '^22KF0' THEN test_avro_text(type, bytes) END FROM (VALUES
    (logical('int', 'date'), '\xe2c402'::bytea), (logical('int', 'date'), '\xfeffffff0f'), (logical('long', 'date'), '\xe2c402'),
    (logical('int', 'time-millis'), '\xfeefb252'), (logical('int', 'time-millis'), '\x82f0b252'), (logical('int', 'time-millis'), '\x01'), (logical('long', 'time-micros'), '\x02'),
    (logical('long', 'timestamp-millis'), '\x02'), (logical('long', 'timestamp-micros'), '\x01'), (logical('long', 'timestamp-nanos'), '\xd00f'), (logical('long', 'timestamp-nanos'), '\xfeffffffffffffffff01'), (logical('long', 'timestamp-millis'), '\xfeffffffffffffffff01'),
    (logical('long', 'local-timestamp-millis'), '\x02'), (logical('long', 'local-timestamp-micros'), '\x02'), (logical('long', 'local-timestamp-nanos'), '\xd20f'),
    (logical('int', 'timestamp-millis'), '\x02'), (logical('long', 'of nobody'), '\x02'), (logical('string', 'uuid'), '\x0261'),
    (logical('fixed', 'uuid', ',"name":"u","size":16'), '\x0190d1a2000070008000000000000001'), (logical('fixed', 'uuid', ',"name":"u","size":2'), '\x0190'),
    (logical('fixed', 'duration', ',"name":"d","size":12'), '\x010000000200000003000000'), (logical('fixed', 'duration', ',"name":"d","size":12'), '\xffffffff0200000003000000'),
    (logical('bytes', 'decimal', ',"precision":4,"scale":2'), '\x04fb2e'), (logical('bytes', 'decimal', ',"precision":4,"scale":2'), '\x00'), (logical('bytes', 'decimal', ',"precision":4'), '\x0205'),
    (logical('fixed', 'decimal', ',"name":"f","size":8,"precision":4,"scale":2'), '\xfffffffffffffb2e'), (logical('fixed', 'decimal', ',"name":"f","size":9,"precision":20,"scale":2'), '\x800000000000000000'),
    (logical('bytes', 'decimal', ',"precision":2,"scale":3'), '\x0205'), (logical('bytes', 'decimal', ',"precision":0'), '\x0205'), (logical('bytes', 'decimal'), '\x0205'), (logical('bytes', 'decimal', ',"precision":1000000000,"scale":999999999'), '\x0205'), (logical('bytes', 'decimal', ',"precision":1000000000,"scale":5000'), '\x0205')) v(type, bytes);

-- what Connect and Debezium add
CREATE FUNCTION connect(type text, name text, more text = '') RETURNS text LANGUAGE sql AS $$ SELECT format('{"type":"%s","connect.version":1,"connect.name":"%s"%s}', type, name, more) $$;
SELECT type, bytes, test_avro(type, bytes), CASE WHEN test_avro(type, bytes) !~ '^22KF0' THEN test_avro_text(type, bytes) END FROM (VALUES
    (connect('int', 'io.debezium.time.Date'), '\xe2c402'::bytea), (connect('int', 'io.debezium.time.Time'), '\x02'), (connect('long', 'io.debezium.time.MicroTime'), '\x8080bbdd8305'), (connect('long', 'io.debezium.time.NanoTime'), '\xd00f'),
    (connect('long', 'io.debezium.time.Timestamp'), '\x02'), (connect('long', 'io.debezium.time.MicroTimestamp'), '\x02'), (connect('long', 'io.debezium.time.MicroTimestamp'), '\x80d6e5e3ffffffffff01'), (connect('long', 'io.debezium.time.NanoTimestamp'), '\xfeffffffffffffffff01'),
    (connect('long', 'org.apache.kafka.connect.data.Timestamp', ',"logicalType":"timestamp-millis"'), '\x02'), (connect('int', 'org.apache.kafka.connect.data.Date', ',"logicalType":"date"'), '\x02'), (connect('int', 'org.apache.kafka.connect.data.Time', ',"logicalType":"time-millis"'), '\x02'),
    (connect('bytes', 'org.apache.kafka.connect.data.Decimal', ',"scale":2,"precision":64,"connect.parameters":{"scale":"2"},"logicalType":"decimal"'), '\x04fb2e'), (connect('bytes', 'org.apache.kafka.connect.data.Decimal', ',"connect.parameters":{"scale":"-2"}'), '\x0205'), (connect('bytes', 'org.apache.kafka.connect.data.Decimal'), '\x0205'),
    (connect('long', 'io.debezium.time.MicroDuration'), '\x80c098ccc507'), (connect('long', 'io.debezium.time.NanoDuration'), '\x02'),
    (connect('bytes', 'io.debezium.data.Bits', ',"connect.parameters":{"length":"10"}'), '\x040502'), (connect('bytes', 'io.debezium.data.Bits', ',"connect.parameters":{"length":"1000000000"}'), '\x0205'), (connect('bytes', 'io.debezium.data.Bits'), '\x020f'),
    (connect('string', 'io.debezium.time.ZonedTimestamp'), '\x06323032'), (connect('string', 'io.debezium.time.MicroTimestamp'), '\x0261'), (connect('long', 'io.debezium.time.Year'), '\x02')) v(type, bytes);
\set variable '{"type":"record","name":"VariableScaleDecimal","namespace":"io.debezium.data","fields":[{"name":"scale","type":"int"},{"name":"value","type":"bytes"}],"connect.name":"io.debezium.data.VariableScaleDecimal"}'
SELECT test_avro(one(:'variable'), '\x0604fb2e'), test_avro_text(one(:'variable'), '\x0604fb2e'), test_avro_text(one(:'variable'), '\x010205'), test_avro_text(one('{"type":"array","items":' || :'variable' || '}'), '\x020604fb2e00'), test_avro_text(:'variable', '\x0604fb2e');

-- to columns: as it is, and as text where the type is another; with strict types too
CREATE DOMAIN document AS jsonb;
CREATE DOMAIN day AS date;
CREATE DOMAIN ratio AS float8;
SELECT type, bytes, columns, replace(test_avro_convert(one(type), bytes, columns::regtype), '"DateStyle"', '"datestyle"'), test_avro_convert(one(type), bytes, columns::regtype, -1, true) FROM (VALUES
    ('"int"', '\x54'::bytea, ARRAY['int2', 'int4', 'int8', 'numeric', 'float4', 'float8', 'text', 'varchar', 'jsonb', 'json', 'bool', 'date', 'money', 'oid']),
    ('"long"', '\xfeffffffffffffffff01', ARRAY['int2', 'int4', 'int8', 'numeric', 'float8', 'text']), ('"long"', '\xffffffffffffffffff01', ARRAY['int8', 'numeric', 'text', 'jsonb']),
    ('"double"', '\x000000000000f83f', ARRAY['int4', 'float4', 'float8', 'numeric', 'text', 'jsonb']), ('"double"', '\x000000000000f07f', ARRAY['float4', 'float8', 'numeric', 'jsonb']), ('"float"', '\xcdcccc3d', ARRAY['float4', 'float8', 'avro.ratio', 'numeric', 'text', 'jsonb']),
    ('"boolean"', '\x01', ARRAY['bool', 'int4', 'text', 'jsonb']), ('"bytes"', '\x04c3a9', ARRAY['bytea', 'text', 'jsonb', 'uuid']), ('"bytes"', '\x02ff', ARRAY['bytea', 'text', 'jsonb', 'json']), ('"string"', '\x043432', ARRAY['int4', 'text', 'varchar', 'jsonb', 'bytea']), ('"string"', '\x06610062', ARRAY['text', 'jsonb', 'json']),
    (logical('int', 'date'), '\xe2c402', ARRAY['date', 'timestamp', 'timestamptz', 'text', 'int4', 'jsonb']), (logical('int', 'date'), '\xfeffffff0f', ARRAY['date', 'text', 'jsonb', 'avro.document']), (logical('int', 'date'), '\xc282e602', ARRAY['date', 'avro.document']), (connect('int', 'io.debezium.time.Date'), '\xc282e602', ARRAY['date', 'avro.day']),
    (logical('long', 'time-micros'), '\x8080bbdd8305', ARRAY['time', 'timetz', 'interval', 'text']),
    (logical('long', 'timestamp-micros'), '\x8af0969a97d4b006', ARRAY['timestamptz', 'timestamp', 'date', 'time', 'text', 'jsonb', 'avro.document', 'int8']), (logical('long', 'timestamp-millis'), '\xfeffffffffffffffff01', ARRAY['timestamptz', 'text', 'jsonb']),
    (logical('long', 'local-timestamp-micros'), '\x8af0969a97d4b006', ARRAY['timestamptz', 'timestamp', 'date', 'text', 'jsonb']), (logical('long', 'timestamp-millis'), '\x80f0fea1fa9d73', ARRAY['timestamptz', 'timestamp', 'text']),
    (logical('bytes', 'decimal', ',"precision":4,"scale":2'), '\x04fb2e', ARRAY['numeric', 'float8', 'int4', 'text', 'jsonb', 'bytea', 'money']),
    (logical('fixed', 'uuid', ',"name":"u","size":16'), '\x0190d1a2000070008000000000000001', ARRAY['uuid', 'text', 'bytea', 'jsonb']), (logical('fixed', 'duration', ',"name":"d","size":12'), '\x010000000200000003000000', ARRAY['interval', 'text', 'jsonb']), (logical('fixed', 'duration', ',"name":"d","size":12'), '\xffffff7f0200000003000000', ARRAY['interval']),
    (connect('long', 'io.debezium.time.MicroTimestamp'), '\x80d6e5e3ffffffffff01', ARRAY['timestamp', 'timestamptz', 'date', 'text']), (connect('bytes', 'io.debezium.data.Bits', ',"connect.parameters":{"length":"10"}'), '\x040502', ARRAY['varbit', 'text', 'jsonb']),
    ('{"type":"array","items":"int"}', '\x040204020600', ARRAY['int[]']), ('{"type":"array","items":"int"}', '\x04020400', ARRAY['int[]', 'text[]', 'jsonb', 'text']), ('{"type":"map","values":"int"}', '\x0202610400', ARRAY['jsonb', 'json', 'text']), ('{"type":"array","items":' || logical('int', 'date') || '}', '\x02e2c40200', ARRAY['date[]', 'jsonb']),
    ('{"type":"record","name":"p","fields":[{"name":"a","type":"int"},{"name":"b","type":"string"}]}', '\x54026f', ARRAY['avro.codec_pair', 'jsonb'])) v(type, bytes, types), unnest(types) AS columns;
SELECT test_avro_convert(one(logical('bytes', 'decimal', ',"precision":4,"scale":2')), '\x04fb2e', 'numeric', ((12 << 16) | 1) + 4), test_avro_convert(one(logical('bytes', 'decimal', ',"precision":4,"scale":2')), '\x04fb2e', 'numeric', ((12 << 16) | 4) + 4), test_avro_convert(one(logical('bytes', 'decimal', ',"precision":4,"scale":2')), '\x04fb2e', 'numeric', ((3 << 16) | 2) + 4);
SELECT test_avro_convert(one('"string"'), '\x06616263', 'varchar', 6), test_avro_convert(one(logical('long', 'timestamp-micros')), '\x8af0969a97d4b006', 'timestamptz', 0);
SELECT test_native_random('codec_row', 1, 5000);

-- schemas: what is allowed
SELECT s, test_avro_schema(s) FROM unnest(ARRAY['"int"', '{"type":"int"}', '{"type":{"type":"int"}}', '["null",{"type":"record","name":"a.b.C","fields":[]}]', '{"type":"error","name":"E","namespace":"a.b","fields":[]}', '{"type":"record","name":".x","fields":[]}',
    '{"type":"record","name":"A","namespace":"x","fields":[{"name":"b","type":{"type":"record","name":"y.B","fields":[{"name":"c","type":{"type":"enum","name":"C","symbols":["S"]}},{"name":"d","type":"C"},{"name":"e","type":"y.C"},{"name":"a","type":["null","x.A"]}]}},{"name":"f","type":["null","A","y.C"]}]}',
    '{"type":"record","name":"A","namespace":"x","fields":[{"name":"b","type":{"type":"record","name":"B","namespace":"","fields":[]}},{"name":"c","type":"B"}]}',
    '{"type":"record","name":"A","fields":[{"name":"a","type":"int","default":"not an int","aliases":["b"],"order":"ignore","doc":"…"}],"aliases":["z.B"],"doc":"\u00e9"}',
    '{"type":"record","name":"A","fields":[{"name":"order-id","type":"int"}]}']) s;
-- a schema that names others
\set address '{"type":"record","name":"Address","namespace":"shop","fields":[{"name":"city","type":"string"}]}'
SELECT test_avro_schema(one('"shop.Address"'), :'address'), test_avro_schema(one('"shop.Address"')), test_avro_schema(one('"shop.Person"'), :'address', '{"type":"record","name":"Person","namespace":"shop","fields":[{"name":"at","type":"Address"}]}'), test_avro_schema(:'address', :'address');
-- … and what is none
SELECT s, test_avro_schema(s) FROM unnest(ARRAY['', 'int', '5', 'null', '"nothing"', '{}', '{"type":null}', '{"type":5}', '{"type":"x.y"}', '[["int"]]', '["int",{"type":["null"]}]', '[5]',
    '{"type":"record","name":"A"}', '{"type":"record","fields":[]}', '{"type":"record","name":"","fields":[]}', '{"type":"record","name":5,"fields":[]}', '{"type":"record","name":"A\u0000","fields":[]}', '{"type":"record","name":"A","fields":{}}', '{"type":"record","name":"A","fields":[5]}', '{"type":"record","name":"A","fields":[{"name":"a"}]}', '{"type":"record","name":"A","fields":[{"type":"int"}]}', '{"type":"record","name":"A","fields":[{"name":"","type":"int"}]}', '{"type":"record","name":"A","fields":[{"name":"a","type":{"type":"enum","name":"A","symbols":[]}}]}',
    '{"type":"enum","name":"E"}', '{"type":"enum","name":"E","symbols":[5]}', '{"type":"enum","name":"E","symbols":["\u0000"]}', '{"type":"fixed","name":"F"}', '{"type":"fixed","name":"F","size":-1}', '{"type":"fixed","name":"F","size":1e3}', '{"type":"fixed","name":"F","size":99999999999}', '{"type":"fixed","name":"F","size":2000000000}', '{"type":"array"}', '{"type":"map","items":"int"}', '{"type":"array","items":"A"}', '{"type":"int"', '"int" "int"']) s;

-- hostile schemas: long, deep, of many branches, cycles
SELECT test_avro_schema('"' || repeat('x', 10 * 1024 * 1024) || '"');
SELECT left(test_avro_schema('"' || repeat('x', 1024 * 1024) || '"'), 200);
SELECT test_avro_schema(repeat('{"type":"array","items":', 63) || '"int"' || repeat('}', 63)), test_avro_schema(repeat('{"type":"array","items":', 64) || '"int"' || repeat('}', 64)), test_avro_schema(repeat('[', 1000) || repeat(']', 1000)), test_avro_schema(repeat('[', 100000)), test_avro_schema(repeat('{"type":', 500) || '"int"' || repeat('}', 500));
SELECT test_avro_schema('["int"' || repeat(',"int"', 99999) || ']'), test_avro_schema('["int"' || repeat(',"int"', 39999) || ']');
SELECT test_avro_schema('{"type":"record","name":"A","fields":[' || string_agg(format('{"name":"f%s","type":{"type":"enum","name":"E%s","symbols":["a"]}}', n, n), ',') || ']}') FROM generate_series(1, 10001) n;
SELECT test_avro_schema('{"type":"record","name":"A","namespace":"' || repeat('n', 1030) || '","fields":[]}'), test_avro_schema('{"type":"record","name":"' || repeat('n', 1025) || '","fields":[]}'), test_avro_schema('{"type":"record","name":"A","fields":[{"name":"' || repeat('n', 1025) || '","type":"int"}]}'), test_avro_schema('{"type":"enum","name":"E","symbols":["' || repeat('n', 1025) || '"]}');
-- a value of each has no end
SELECT test_avro(one('"R"'), ''), test_avro(one('{"type":"record","name":"S","fields":[{"name":"r","type":"R"}]}'), '');
-- 2^40 nulls of no byte: records of two of the next one each
SELECT test_avro(string_agg(format('{"type":"record","name":"R%s","fields":[{"name":"a","type":', n), '' ORDER BY n) || '"null"' || string_agg(format('},{"name":"b","type":"%s"}]}', CASE WHEN n = 40 THEN 'null' ELSE 'R' || n + 1 END), '' ORDER BY n DESC), '') FROM generate_series(1, 40) n;

-- hostile values: seven that libavro dies of, hangs at, or takes
SELECT test_avro(one('["null","R"]'), decode(repeat('02', 2000000), 'hex'));
SELECT test_avro('{"type":"array","items":"null"}', '\x8080808010'), test_avro('{"type":"array","items":"null"}', '\x808080801000'), test_avro_text('{"type":"array","items":"null"}', '\x0600'), left(test_avro_text('{"type":"array","items":"null"}', '\xd00f00'), 20), test_avro('{"type":"array","items":"null"}', '\xa09c0100'), test_avro('{"type":"array","items":"null"}', '\xc09d0100');
SELECT test_avro('{"type":"enum","name":"E","symbols":["A"]}', '\xc601');
SELECT test_avro('"bytes"', '\xfeffffff0f'), test_avro('"string"', '\x80808080808080808001');
SELECT test_avro('["null","int"]', '\x04');
SELECT test_avro('{"type":"fixed","name":"F","size":1000000000}', '\x00');
SELECT left(test_avro_text(logical('bytes', 'decimal', ',"precision":2000000,"scale":0'), '\x80897a' || decode(repeat('7f', 1000000), 'hex')), 40), left(test_avro_convert(one(logical('bytes', 'decimal', ',"precision":2000000,"scale":0')), '\x80897a' || decode(repeat('7f', 1000000), 'hex'), 'numeric'), 300);
SELECT test_avro_convert(one(logical('bytes', 'decimal', ',"precision":20000,"scale":0')), '\x808001' || decode(repeat('7f', 8192), 'hex'), 'numeric') ~ '^[0-9]*$';
SELECT test_avro('{"type":"array","items":"int"}', '\xffffffffffffffffff0102'), test_avro('{"type":"array","items":"int"}', '\x01ffffffffffffffffff01');
-- JSON that is much longer than the message
SELECT test_avro('{"type":"array","items":{"type":"record","name":"R","fields":[{"name":"' || repeat('n', 1000) || '","type":"int"}]}}', '\x808002' || decode(repeat('02', 16384), 'hex') || '\x00');
SELECT length(test_avro_text('{"type":"array","items":{"type":"record","name":"R","fields":[{"name":"' || repeat('n', 50) || '","type":"int"}]}}', '\x808002' || decode(repeat('02', 16384), 'hex') || '\x00'));
-- deep, where it is allowed
SELECT test_avro_text(one('["null","R"]'), decode(repeat('02', 998) || '00', 'hex')) ~ '^\{"a":', test_avro_text(one('["null","R"]'), decode(repeat('02', 999) || '00', 'hex')) ~ '^\{"a":', test_avro_text(one('["null","R"]'), decode(repeat('02', 1000) || '00', 'hex'));
-- strings that no text can hold, replaced
SELECT test_avro('"string"', '\x06610062', false, true), test_avro('"string"', '\x04c361', false, true), test_avro('{"type":"map","values":"string"}', '\x0206610062066162ff00'), test_avro('{"type":"map","values":"string"}', '\x0206610062066162ff00', false, true), test_avro('{"type":"map","values":"string"}', '\x020661006204616200', false, false), test_avro(one('"string"'), '\x04c361');

-- damaged messages and schemas
\set cases 1000
\getenv cases DJK_RANDOM_CASES
\set all '{"type":"record","name":"All","fields":[{"name":"i","type":"int"},{"name":"s","type":["null","string"]},{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":30,"scale":2}},{"name":"t","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"]}},{"name":"m","type":{"type":"map","values":["null","double",{"type":"array","items":"string"}]}},{"name":"r","type":["null","All"]},{"name":"f","type":{"type":"fixed","name":"F","size":12,"logicalType":"duration"}},{"name":"b","type":{"type":"array","items":{"type":"int","logicalType":"date"}}}]}'
\set all_value '\\x54020861c3a96204fb2e8af0969a97d4b0060206026100026202000000000000f83f04c3a90406027802790000000254020861c3a96204fb2e8af0969a97d4b0060206026100026202000000000000f83f04c3a90406027802790000000001000000020000000300000004e2c402000001000000020000000300000004e2c4020000'
SELECT test_avro_text(:'all', :'all_value');
SELECT test_avro_fuzz(:'order', :'value', 1, 3 * :cases), test_avro_fuzz(:'all', :'all_value', 2, 3 * :cases), test_avro_fuzz(one('["null","R"]'), decode(repeat('02', 500) || '00', 'hex'), 3, :cases),
    test_avro_fuzz('{"type":"map","values":"bytes"}', '\x0202610661626304026206ffffff0263000002', 4, 3 * :cases);
SELECT test_avro_schema_fuzz(:'order', :'value', 1, 3 * :cases), test_avro_schema_fuzz(:'all', :'all_value', 2, 3 * :cases);

-- LATIN1: names and strings are converted, what it lacks is that message's error
\set home :DBNAME
CREATE DATABASE avro_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0;
\c avro_latin1
SET client_encoding = 'UTF8';
\set ECHO none
\i :functions
\set ECHO all
SELECT test_avro('{"type":"record","name":"R","fields":[{"name":"\u00e9","type":"string"}]}', '\x04c3a9');
SELECT test_avro('"string"', '\x06e282ac'), test_avro('"string"', '\x0ac3a900c3a8'), test_avro('"string"', '\x0ae282ac0061'), test_avro('"string"', '\x06e282ac', false, true), test_avro('{"type":"array","items":"string"}', '\x0406c3a961080061c3a900');
\c :home
DROP DATABASE avro_latin1;
SET client_min_messages = warning;
DROP SCHEMA avro CASCADE;
