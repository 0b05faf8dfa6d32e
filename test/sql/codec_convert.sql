-- Fields in columns of each type; the random comparison with
-- jsonb_populate_record() is in codec_random
CREATE SCHEMA codec_convert;
SET search_path = codec_convert;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET bytea_output = 'hex';
\getenv abs_srcdir PG_ABS_SRCDIR
\set functions :abs_srcdir '/sql/include/codec.sql'
\set ECHO none
\i :functions
\set ECHO all
\pset format unaligned
\pset tuples_only on
\pset null NULL
-- whether an input function throws or returns its error depends on the server's version
CREATE FUNCTION conv(type regtype, field text, typmod int = -1) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	RETURN test_convert('json', convert_to(field, 'UTF8'), type, typmod);
EXCEPTION WHEN others THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE || ': ' || SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;

-- NULL is NULL
SELECT type, conv(type::regtype, 'null') FROM unnest(ARRAY['text', 'int', 'jsonb', 'json', 'int[]', 'bytea']) AS type;

-- the edges of numbers
SELECT type, json, conv(type::regtype, json)
FROM (VALUES ('int2', '32767'), ('int2', '32768'), ('int2', '-32768'), ('int4', '2147483648'), ('int4', '"42"'), ('int4', '" 42 "'),
	('int4', '1e3'), ('int4', '1.0'), ('int4', 'true'), ('int4', '"x"'), ('int4', '{}'), ('int4', '-0'),
	('int8', '9223372036854775807'), ('int8', '9223372036854775808'), ('int8', '-9223372036854775808'),
	('float8', '0.1'), ('float8', '1e400'), ('float8', '0.30000000000000004'), ('float8', '"NaN"'), ('float8', '-0.0'), ('float8', '1e22'),
	('float4', '16777217'), ('float4', '1e39'), ('float4', '0.1'),
	('numeric', '1e400000'), ('numeric', '1.10'), ('numeric', '"1.10"'), ('numeric', '-0.00'), ('numeric', '123456789012345678.9'),
	('numeric', '999999999999999999'), ('numeric', '1e3'), ('numeric', '"NaN"'), ('numeric', '"x"')) AS v (type, json);
-- numeric(12,2) and numeric(3,5)
SELECT json, conv('numeric', json, ((12 << 16) | 2) + 4), conv('numeric', json, ((3 << 16) | 5) + 4)
FROM unnest(ARRAY['867.97', '"867.97"', '1', '0.005', '-0.00499', '9999999999.99', '9999999999.999', '10000000000', '0.00999', '0.01']) AS json;

-- text takes everything, numbers as jsonb prints them, nested values as they came
SELECT json, conv('text', json)
FROM unnest(ARRAY['"x"', '""', '1.50', '1e3', '1e-3', '-0', '1e131071', 'true', '{ "b" : 1, "a": 2 }', '[1,  2]', '"\u0000"', '"\ud800"']) AS json;
-- varchar(5) and char(5)
SELECT json, conv('varchar', json, 9), conv('bpchar', json, 9)
FROM unnest(ARRAY['"abc"', '"abcde"', '"abcde  "', '"abcdef"', '"ééééé"', '"éééééé"', '123456', 'true', '{}']) AS json;

-- bool
SELECT json, conv('bool', json)
FROM unnest(ARRAY['true', 'false', '"t"', '"FALSE"', '"yes"', '"of"', '" on "', '"o"', '1', '0', '2', '""', '"truely"']) AS json;

-- uuid, times
SELECT type, json, conv(type::regtype, json)
FROM (VALUES ('uuid', '"123E4567-e89b-12d3-a456-426614174000"'), ('uuid', '"{123e4567e89b12d3a456426614174000}"'),
	('uuid', '"123e4567-e89b-12d3-a456-42661417400g"'),
	('date', '"2026-11-09"'), ('date', '"2026-02-29"'), ('date', '"2026-11-09T03:31:48Z"'), ('date', '"nonsense"'),
	('timestamptz', '"2026-11-09T03:31:48Z"'), ('timestamptz', '"2026-11-09T03:31:48.123456+05:45"'), ('timestamptz', '"2026-11-09 03:31:48-0800"'),
	('timestamptz', '"2026-11-09T03:31:48"'), ('timestamptz', '"2026-11-09T24:00:00Z"'), ('timestamptz', '"2026-11-09T03:31:48 Nowhere/City"'),
	('timestamptz', '"2026-11-09T25:00:00Z"'), ('timestamptz', 'true'),
	('timestamp', '"2026-11-09T03:31:48.5"'), ('timestamp', '"2026-11-09T03:31:48+02"'), ('interval', '"P1DT2H"'), ('time', '"03:31:48"')) AS v (type, json);
-- timestamptz(0)
SELECT conv('timestamptz', '"2026-11-09T03:31:48.5Z"', 0);

-- json keeps, jsonb builds
SELECT json, conv('json', json), conv('jsonb', json)
FROM unnest(ARRAY['{ "b" : 1e3, "a": [1, {"c": null}], "a": -0.0 }', '"x"', '1', 'true', '"\u00e9\n"', '"\u0000"', '["\ud800"]', '{"\udc00": 1}', '[1e400000]', '[]', '{}', '[[],{}]']) AS json;
SELECT json::json::jsonb::text = conv('jsonb', json)
FROM (SELECT '{' || string_agg(format('"k%s":[%s,"%s",{"x":%s}]', n % 90, n, repeat('é', n), n * 1.5), ',') || '}' AS json FROM generate_series(1, 200) AS n) AS j;

-- bytea: hexadecimal only
SELECT json, conv('bytea', json)
FROM unnest(ARRAY['"\\x"', '"\\x00fF"', '"\\x 00 ff "', '"\\x0"', '"\\x0g"', '"aGVsbG8="', '""', '1', '{}']) AS json;
SELECT conv('bytea', '"' || repeat('x', 1000000) || '"');

-- arrays
SELECT type, json, conv(type::regtype, json)
FROM (VALUES ('int[]', '[]'), ('int[]', '[1,null,"3"]'), ('int[]', '[[1,2],[3,4]]'), ('int[]', '[[1,2],[3]]'), ('int[]', '[[1],2]'), ('int[]', '[1,[2]]'),
	('int[]', '[[],[]]'), ('int[]', '[[[[[[1]]]]]]'), ('int[]', '[[[[[[[1]]]]]]]'), ('int[]', '"{1,2}"'), ('int[]', '1'), ('int[]', '{"a":1}'), ('int[]', '["x"]'),
	('text[]', '["a,b","c\"d","",null,"null",1,true,[1]]'), ('text[]', '["\u0000"]'), ('jsonb[]', '[{"a":1},2,"x",null,[3]]'), ('timestamptz[]', '["2026-11-09T03:31:48Z"]')) AS v (type, json);

-- enums, domains, composites
CREATE TYPE mood AS ENUM ('new', 'paid');
CREATE DOMAIN short AS text CHECK (length(value) < 5);
CREATE DOMAIN required AS int NOT NULL;
CREATE TYPE pair AS (a int, b text[]);
SELECT conv('mood', '"paid"'), conv('mood', '"lost"'), conv('mood', to_json(repeat('x', 100))::text), conv('mood', '1'), conv('mood[]', '["new"]');
SELECT conv('short', '"abc"'), conv('short', 'null');
SELECT conv('short', '"abcdef"');
SELECT conv('required', '1');
SELECT conv('required', 'null');
SELECT conv('pair', '{"a":1,"b":["x"]}'), conv('pair', '"(2,{y})"'), conv('pair', '[1]'), conv('pair', '7'), conv('pair[]', '[{"a":1},{"b":[]}]');
SELECT conv('pair', '{"a":"x"}');

-- messages show a little of the value only
SELECT length(conv('int', '"' || repeat('é', 100000) || '"')), length(conv('uuid', '"' || repeat('é', 100000) || '"'));

-- vectors look like arrays and are none: an array of another shape could be written, and never be read
SELECT type, json, conv(type::regtype, json)
FROM unnest(ARRAY['oidvector', 'int2vector']) AS type, unnest(ARRAY['[]', '[1, 2]', '[1, null]', '[[1], [2]]', '"1 2"', '""', 'null']) AS json;

SET client_min_messages = warning;
DROP SCHEMA codec_convert CASCADE;
