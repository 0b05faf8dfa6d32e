-- What a column takes with strict types, and what numbers count by a unit of time
CREATE SCHEMA codec_strict;
SET search_path = codec_strict;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
SET IntervalStyle = 'postgres';
SET bytea_output = 'hex';
\getenv abs_srcdir PG_ABS_SRCDIR
\set functions :abs_srcdir '/sql/include/codec.sql'
\set ECHO none
\i :functions
\set ECHO all
\pset format unaligned
\pset tuples_only on
\pset null NULL
CREATE TYPE level AS ENUM ('low', 'high');
CREATE DOMAIN day AS date;
CREATE TYPE span AS (day date, n int, bytes bytea);
-- whether an input function throws or returns its error depends on the server's version
CREATE FUNCTION conv(type regtype, field text, unit text = 'none', strict bool = true) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	RETURN test_convert('json', convert_to(field, 'UTF8'), type, -1, strict, unit);
EXCEPTION WHEN others THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', SQLSTATE || ': ' || SQLERRM, nullif(detail, ''));
END $$;
-- the whole error once, elsewhere its code
CREATE FUNCTION brief(type regtype, field text, unit text = 'none', strict bool = true) RETURNS text
RETURN regexp_replace(conv(type, field, unit, strict), '^([0-9A-Z]{5}): .*$', '\1');
-- the same by types => postgres: some of it is another value each day
CREATE FUNCTION lenient(type regtype, field text) RETURNS text
RETURN regexp_replace(brief(type, field, 'none', false), '^([^0-9].*|.{0,4}|.{6,})$', 'taken');
SELECT conv(type::regtype, json) FROM (VALUES ('date', '1731110305'), ('date', '"now"'), ('timestamptz', '"9999-12-31T23:59:59-05:00"'),
	('time', '"24:00:00"'), ('interval', '{"hours":2,"minutes":30}'), ('interval', '"10:15"'), ('int4range', '[1,5]'), ('daterange', '"[now,)"'),
	('float8', '"NaN"'), ('int4', '{}'), ('bool', '[]'), ('uuid', '5'), ('date[]', '"{now}"'), ('span', '"(now,,)"'), ('bytea', '"hello world"')) AS v (type, json);

-- dates and times: ISO 8601, finite, years 1 to 9999
SELECT json, brief('date', json), brief('timestamptz', json), brief('timestamp', json),
	lenient('date', json), lenient('timestamptz', json)
FROM unnest(ARRAY['"2026-11-09"', '"20261109"', '"2026-11-09T03:31:48Z"', '"2026-11-09t03:31:48z"', '"2026-11-09T03:31"', '"2026-11-09 03:31:48.123456789+0200"',
	'"2026-11-09T033148Z"', '"2026-11-09T03:31:48+02:00"', '"0001-01-01"', '"9999-12-31"', '"0000-01-01"', '"2026-02-29"', '"2026-11-09T25:00:00Z"',
	'"2026-11-09T24:00:00Z"', '"2026-11-09T23:59:60Z"', '"12000-01-01"', '"0044-03-15 BC"', '"infinity"', '"epoch"', '"tomorrow"', '"Nov 9 2026"', '"09/11/2026"', '"9.11.2026"',
	'"2026-11-09 03:31:48 Europe/Berlin"', '""', '" 2026-11-09"', '20261109', '1731110305', '2026.5', 'true', '{"year":2026}', '[2026,11,9]', '"2026-11-09\u0000"']) AS json;
SELECT json, brief('time', json), brief('timetz', json), lenient('time', json)
FROM unnest(ARRAY['"03:31:48"', '"03:31"', '"033148"', '"03:31:48.5"', '"03:31:48Z"', '"03:31:48+02"', '"24:00:00"', '"23:59:60"', '"23:59:59.9999999"',
	'"3:31 PM"', '"now"', '"allballs"', '"2026-11-09T03:31:48"', '33148', '{}', '""']) AS json;
-- PostgreSQL 17 has a closer look at a unit before its number
SELECT json, brief('interval', json), CASE WHEN json LIKE '%hours%:%' THEN 'by version' ELSE lenient('interval', json) END
FROM unnest(ARRAY['"P1DT2H30M"', '"PT36H"', '"-P1D"', '"1 day 02:30:00"', '"1 day, 2:30:00"', '"1 02:30:00"', '"-02:30:00"', '"2 hours"', '"@ 1 hour ago"',
	'"5"', '5', '"10:15"', '"{\"hours\":2}"', '"[1,2]"', '{"hours":2,"minutes":30}', '[1]', '""', 'false']) AS json;
-- the zone of the session, which is the route's
SET TimeZone = 'Europe/Vienna';
SELECT json, conv('timestamptz', json), conv('timestamp', json), conv('timestamp', json, 'none', false)
FROM unnest(ARRAY['"2026-07-09T03:31:48"', '"2026-07-09T03:31:48Z"', '"2026-12-09T03:31:48-05:00"']) AS json;
SELECT conv('timestamp', '1731110305', 's'), conv('timestamptz', '1731110305', 's'), conv('date', '1731110305', 's');
SET TimeZone = 'UTC';

-- epochs
SELECT type, unit, json, brief(type::regtype, json, unit)
FROM (VALUES ('timestamptz', 's', '1731110305'), ('timestamptz', 's', '1731110305.123456'), ('timestamptz', 's', '"1731110305"'), ('timestamptz', 's', '1.731110305e9'),
	('timestamptz', 'ms', '1731110305123'), ('timestamptz', 'us', '1731110305123456'), ('timestamptz', 'ns', '1731110305123456789'), ('timestamptz', 'days', '20000'),
	('timestamptz', 'ms', '"2026-11-09T03:31:48Z"'), ('timestamptz', 's', '0'), ('timestamptz', 's', '-62135596800'), ('timestamptz', 's', '-62135596801'),
	('timestamptz', 's', '1731110305123'), ('timestamptz', 's', '1e400'), ('timestamptz', 's', '1e99'), ('timestamptz', 's', '""'), ('timestamptz', 's', '"-"'), ('timestamptz', 's', '"1.2.3"'),
	('timestamptz', 's', 'true'), ('timestamptz', 's', '"NaN"'), ('timestamptz', 'ms', 'null'), ('timestamp', 'ms', '1731110305123'),
	('date', 'days', '20000'), ('date', 'ms', '-1'), ('date', 's', '-86400'), ('time', 'ms', '33148000'), ('time', 'us', '86399999999'), ('time', 'us', '86400000000'), ('time', 's', '-1'),
	('interval', 'us', '90061000001'), ('interval', 'days', '1.5'), ('interval', 'ms', '-1'), ('int4', 'ms', '5'), ('timetz', 's', '5'), ('timestamptz[]', 's', '[0, "1970-01-02"]'), ('day', 'days', '1')) AS v (type, unit, json);
SELECT conv('timestamptz', '1731110305123', 's'), conv('timestamptz', '0', 'min');

-- numbers
SELECT json, brief('int2', json), brief('int8', json), brief('numeric', json), brief('float8', json), lenient('int4', json)
FROM unnest(ARRAY['1.0', '5.00', '50e-1', '-0.0', '1e3', '1.5', '1e-1', '32768.0', '"1"', '"1.0"', '"NaN"', '"Infinity"', '"-inf"', 'true', '{}', '[1]', '""']) AS json;

-- what has a text form that JSON could slip into
SELECT type, json, brief(type::regtype, json), lenient(type::regtype, json)
FROM (VALUES ('int4range', '[1,5]'), ('int4range', '"[1,5)"'), ('int4multirange', '[]'), ('int4multirange', '"{[1,2]}"'), ('tstzrange', '["2026-01-01","2026-02-01"]'),
	('tstzrange', '"[2026-01-01T00:00:00Z,)"'), ('tstzrange', '"[2026-01-01,infinity)"'), ('daterange', '"[now,)"'), ('daterange', '"empty"'), ('datemultirange', '"{[now,)}"'),
	('point', '[1,2]'), ('point', '"(1,2)"'), ('lseg', '[[1,2],[3,4]]'), ('inet', '5'), ('inet', '"10.0.0.1"'), ('bit(3)', '101'), ('uuid', '5'), ('tsvector', '{"a":1}'), ('xml', '5'),
	('pg_lsn', '"0/5"'), ('bool', '1'), ('bool', '"yes"'), ('bool', '[]'), ('level', '"low"'), ('level', '5'), ('text', '{"a":1}'), ('text', '5'), ('varchar', 'true'), ('jsonb', '"now"'),
	('date[]', '["2026-11-09",null]'), ('date[]', '["now"]'), ('date[]', '"{now}"'), ('int4[]', '[1.0,2]'), ('int4[]', '"{1,2}"'), ('interval[]', '[5]'),
	('day', '"now"'), ('day[]', '"{now}"'), ('span', '{"day":"2026-11-09","n":1.0,"bytes":"AA=="}'), ('span', '{"day":1}'), ('span', '{"n":"x","n":5}'), ('span', '"(now,,)"'),
	('span[]', '[{"day":"now"}]'), ('span', '{}')) AS v (type, json);

-- bytes: hexadecimal, or base64 of either alphabet
SELECT json, brief('bytea', json), lenient('bytea', json)
FROM unnest(ARRAY['""', '"\\x00ff"', '"\\xzz"', '"\\x0"', '"BOw="', '"BOw"', '"AP+/"', '"AP-_"', '"A"', '"AB=="', '"AA=A"', '"="', '"hello world"',
	'"123e4567-e89b-12d3-a456-426614174000"', '5', 'true', '{}', '"AA\u0000"']) AS json;
SET client_min_messages = warning;
DROP SCHEMA codec_strict CASCADE;
