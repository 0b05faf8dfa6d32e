-- What is published does not depend on the settings of whoever writes.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on
SET DateStyle = 'Postgres, DMY';
SET default_text_search_config = 'english';
SET timezone_abbreviations = 'Australia';
SET lc_time = 'POSIX';
SET lc_numeric = 'POSIX';
SET lc_monetary = 'POSIX';

CREATE TABLE memo (
    id int PRIMARY KEY, day text, words text, parts text, at timestamptz, long interval, bytes bytea, f float8, price money, xml text
);
SELECT djkafka_publish('memo', 'memos', key_format => 'text', filter => $$'x\' <> 'y' AND NOT (words = NULL) IS TRUE$$, columns => $${
    "day": "day::date",
    "since": "'01/02/2026 10:00 EST'::timestamptz",
    "words": "to_tsvector(words)",
    "parts": "parts::text[]",
    "at": "at::text",
    "long": "long::text",
    "bytes": "bytes::text",
    "f": "f::text",
    "price": "price::text",
    "month": "to_char(at, 'TMMonth')",
    "number": "to_char(f, '9D9')",
    "expression": "pg_get_viewdef('djkafka_outbox'::regclass) LIKE '%\"id\"%'",
    "xml": "xmlelement(name x, bytes)::text",
    "settings": "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN ('DateStyle', 'IntervalStyle', 'TimeZone', 'array_nulls', 'backslash_quote', 'bytea_output', 'default_text_search_config', 'gin_fuzzy_search_limit', 'lc_monetary', 'lc_numeric', 'lc_time', 'quote_all_identifiers', 'row_security', 'standard_conforming_strings', 'timezone_abbreviations', 'transform_null_equals', 'xmlbinary', 'xmloption')"
}$$) AS id \gset
SELECT settings FROM djkafka_publication;
CREATE VIEW published AS SELECT id, convert_from(key, 'UTF8') AS key, convert_from(value, 'UTF8') AS value FROM djkafka_outbox;
PREPARE write AS INSERT INTO memo VALUES ($1, '01/02/2026', 'the foxes ran', '{NULL,a}', '2026-05-06 07:08Z', '-1 day +02:00', '\x00ff', 0.1::float8 + 0.2::float8, '1.5', '<a/>');
EXECUTE write (1);
-- the same row, whatever the session is like

CREATE TABLE setting (name text, value text);
INSERT INTO setting VALUES ('DateStyle', 'SQL, MDY'), ('DateStyle', 'German, YMD'), ('IntervalStyle', 'iso_8601'), ('IntervalStyle', 'sql_standard'),
    ('TimeZone', 'America/New_York'), ('array_nulls', 'off'), ('backslash_quote', 'off'), ('bytea_output', 'escape'),
    ('default_text_search_config', 'simple'), ('default_text_search_config', 'german'), ('extra_float_digits', '-10'),
    ('gin_fuzzy_search_limit', '1'), ('lc_monetary', 'C'), ('lc_numeric', 'C'), ('lc_time', 'C'), ('quote_all_identifiers', 'on'),
    ('row_security', 'off'), ('standard_conforming_strings', 'off'), ('timezone_abbreviations', 'Default'), ('timezone_abbreviations', 'India'),
    ('transform_null_equals', 'on'), ('xmlbinary', 'hex'), ('xmloption', 'document');
SET escape_string_warning = off;
CREATE FUNCTION write_upset() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    was text;
    s record;
    n int := 100;
BEGIN
    FOR s IN SELECT * FROM setting LOOP
        was := current_setting(s.name);
        PERFORM set_config(s.name, s.value, false);
        n := n + 1;
        EXECUTE format('INSERT INTO memo SELECT %s, day, words, parts, at, long, bytes, f, price, xml FROM memo WHERE id = 1', n);
        PERFORM set_config(s.name, was, false);
    END LOOP;
END $$;
SELECT write_upset();
SELECT count(*), count(DISTINCT value::jsonb - 'id') FROM published;
SELECT field.* FROM published, json_each(published.value::json) field WHERE published.key = '1';
-- all of them at once, in a new plan too, for every kind of statement, and the writer gets them back
DO $$ BEGIN PERFORM set_config(name, value, false) FROM setting; END $$;
INSERT INTO memo SELECT 2, day, words, parts, at, long, bytes, f, price, xml FROM memo WHERE id = 1;
DISCARD PLANS;
UPDATE memo SET id = 3 WHERE id = 2;
CALL djkafka_snapshot('memo');
DELETE FROM memo WHERE id > 100;
SELECT count(DISTINCT value::jsonb - 'id'), count(*) FILTER (WHERE value IS NULL) FROM published;
SELECT s.name FROM setting s GROUP BY s.name
HAVING NOT bool_or(current_setting(s.name) IN (s.value, 'pg_catalog.' || s.value)) ORDER BY s.name;
RESET ALL;
\pset format unaligned

-- The owner may write other ones; nobody else's are taken, and no others.
UPDATE djkafka_publication SET settings = '{"DateStyle": "MDY"}';
SELECT settings FROM djkafka_publication;
SELECT refused(s) FROM (VALUES
    ($$UPDATE djkafka_publication SET settings = '{"DateStyle": "German"}'$$),
    ($$UPDATE djkafka_publication SET settings = '{"role": "postgres"}'$$),
    ($$UPDATE djkafka_publication SET settings = '{"lc_time": "nowhere"}'$$),
    ($$UPDATE djkafka_publication SET settings = '{"default_text_search_config": "nothing"}'$$),
    ($$UPDATE djkafka_publication SET settings = '[]'$$)
) AS t (s);
EXECUTE write (4);
SELECT value::json->>'day', value::json->>'words' FROM published ORDER BY id DESC LIMIT 1;

SET client_min_messages = warning;
SELECT djkafka_uninstall(cascade => true);
DROP TABLE memo, setting;
DROP FUNCTION write_upset;
