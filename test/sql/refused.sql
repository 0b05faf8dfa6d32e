-- Values that their columns refuse, of every type: what a message may leave
-- behind in its row is what it filled, and a delete needs its key alone.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA refused;
SET search_path = refused, public;
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TYPE pair AS (a int, b numeric);
CREATE DOMAIN positive AS numeric CHECK (VALUE > 0);
CREATE DOMAIN short AS varchar(3);
CREATE DOMAIN filled AS text DEFAULT 'x' NOT NULL;
CREATE DOMAIN pairs AS pair CHECK ((VALUE).a > 0);

-- a column of each type with values that it refuses, as JSON
CREATE TABLE sample (n int GENERATED ALWAYS AS IDENTITY, type text, value jsonb, raw text);
INSERT INTO sample (type, value)
SELECT type, value FROM (VALUES
    ('numeric', '["BOw=", {}, [1], true, "1e", ""]'::jsonb), ('numeric(5,2)', '["BOw=", 123456, "1234.5"]'),
    ('smallint', '["x", 99999, {}]'), ('int', '["x", 1.5, 99999999999, []]'), ('bigint', '["x", 99999999999999999999, false]'),
    ('real', '["x", 1e99, []]'), ('double precision', '["x", {}, true]'), ('boolean', '["maybe", 7, []]'),
    ('uuid', '["x", 5, {}, "0", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1"]'),
    ('bytea', '["B?w=", 5, {}, "\\xZZ", "\\x1"]'), ('varchar(3)', '["abcd", 12345, {"a": 1}]'), ('char(2)', '["abc"]'),
    ('date', '["2026-02-30", 5, "x"]'), ('time', '["25:00", "x"]'), ('timetz', '["x"]'), ('timestamp', '["2026-13-01", "x", {}]'),
    ('timestamptz', '["2026-01-01T99:00:00Z", "x", 1767225600000]'), ('interval', '["x", {}]'),
    ('inet', '["300.1.1.1", {}]'), ('cidr', '["10.0.0.1/8"]'), ('macaddr', '["x"]'), ('bit(3)', '["1111", "2"]'),
    ('varbit(2)', '["111"]'), ('money', '["x"]'), ('point', '["x"]'), ('box', '["x"]'), ('oid', '["x"]'), ('pg_lsn', '["x"]'),
    ('int4range', '["x", [1], "[2,1)"]'), ('numrange', '["[a,b]"]'), ('tstzrange', '["x"]'), ('int4multirange', '["x"]'),
    ('mood', '["cross", 1, {}]'), ('positive', '["BOw=", -1, {}]'), ('short', '["abcd"]'), ('filled', '[null]'),
    ('pair', '[5, "x", {"a": "x"}, {"b": "BOw="}, []]'), ('pairs', '[{"a": -1}, "x", 5]'),
    ('int[]', '["x", ["a"], {"a": 1}, [[1], [2, 3]], 5]'), ('numeric[]', '[["BOw="], [[1], ["x"]]]'), ('uuid[]', '[["x"]]'),
    ('mood[]', '[["cross"]]'), ('positive[]', '[[1, -1]]'), ('pair[]', '[[{"a": "x"}], [5]]'), ('bytea[]', '[["B?w="]]'),
    ('tsvector', '["''"]')
) t(type, refused), jsonb_array_elements(refused) value;
-- what jsonb itself cannot hold
INSERT INTO sample (type, raw)
SELECT type, raw FROM (VALUES ('text', '"\u0000"'), ('text', '"a\ud800"'), ('varchar', '"\u0000"'), ('jsonb', '"\u0000"'), ('jsonb', '{"a": 1e999999}'),
    ('jsonb', '[1, {"\udead": 2}]'), ('text[]', '["a", "\u0000"]'), ('jsonb[]', '["\u0000"]'), ('name', '"\u0000"'),
    ('numeric', '1e999999'), ('numeric', '"\u0000"'), ('uuid', '"\u0000"'), ('bytea', '"\u0000"'), ('mood', '"\u0000"')) t(type, raw);
SELECT count(*), count(DISTINCT type) FROM sample;

CREATE FUNCTION field(s sample) RETURNS text LANGUAGE sql AS $$ SELECT format('%s: %s', to_json('c ' || s.type), coalesce(s.raw, s.value::text)) $$;
CREATE FUNCTION messages(topic text, form text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(jsonb_build_object('topic', topic, 'value', format(form, n, field(s))) ORDER BY n) FROM sample s
$$;
-- a table with a column of each type, once plain, once with a trigger that sees each row
CREATE FUNCTION make(name text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('CREATE TABLE %I (id int PRIMARY KEY, note text, %s)', name,
                   (SELECT string_agg(format('%I %s', 'c ' || type, type), ', ' ORDER BY type) FROM (SELECT DISTINCT type FROM sample) t));
    PERFORM djkafka_subscribe(name, name);
    RETURN name;
END $$;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN coalesce(new, old); END $$;
SELECT make('plain'), make('watched');
CREATE TRIGGER watch BEFORE INSERT OR UPDATE OR DELETE ON watched FOR EACH ROW EXECUTE FUNCTION nothing();

-- an insert: every one is a dead letter, and what stands between them arrives
CREATE FUNCTION with_neighbours(topic text, form text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(m) FROM (SELECT m FROM jsonb_array_elements(messages(topic, form)) WITH ORDINALITY t(m, o)
        UNION ALL SELECT jsonb_build_object('topic', topic, 'value', jsonb_build_object('id', -n, 'note', 'good')) FROM generate_series(1, 20) n
        ORDER BY 1) t(m)
$$;
SELECT give(with_neighbours('plain', '{"id": %s, "note": "bad", %s}'));
SELECT count(*), min(note), max(note) FROM plain;
SELECT sqlstate, count(*) FROM djkafka_dead_letter GROUP BY 1 ORDER BY 1;
-- 15 names the column only where the type's input refuses, not a domain or a range
SELECT type, coalesce(raw, s.value::text), d.sqlstate, d.sqlstate IN ('22000', '23502', '23514')
    OR d.message ~ ('column "' || regexp_replace('c ' || type, '([][()])', '\\\1', 'g') || '": .')
FROM sample s LEFT JOIN djkafka_dead_letter d ON substring(convert_from(d.value, 'UTF8') FROM '"id": (\d+)') = s.n::text
WHERE d.sqlstate NOT IN ('22P02', '22003', '22007', '22008') OR d.sqlstate IS NULL ORDER BY n;
TRUNCATE djkafka_dead_letter;
SELECT give(with_neighbours('watched', '{"id": %s, "note": "bad", %s}'));
SELECT count(*), min(note), max(note) FROM watched;
TRUNCATE djkafka_dead_letter;

-- a partial upsert: the rows stay as they are
INSERT INTO plain (id, note) SELECT n, 'old' FROM sample;
INSERT INTO watched (id, note) SELECT n, 'old' FROM sample;
CREATE FUNCTION sum_of(name text) RETURNS TABLE (rows bigint, hash text) LANGUAGE plpgsql AS $$ BEGIN
    RETURN QUERY EXECUTE format('SELECT count(*), md5(string_agg(t::text, chr(10) ORDER BY id)) FROM %I t WHERE id > 0', name);
END $$;
CREATE TEMP TABLE before AS SELECT name, s.* FROM (VALUES ('plain'), ('watched')) v(name), sum_of(name) s;
SELECT give(with_neighbours('plain', '{%2$s, "id": %1$s, "note": "bad"}'));
SELECT give(with_neighbours('watched', '{%2$s, "id": %1$s, "note": "bad"}'));
SELECT b.name, s = ROW(b.rows, b.hash) FROM before b, sum_of(b.name) s ORDER BY 1;
TRUNCATE djkafka_dead_letter;

-- a delete by the key alone, with what its columns refuse before and after the
-- word, with all of it at once, and beside upserts of the same keys
SELECT give(messages('plain', '{"id": %s, %s, "__deleted": "true"}'));
SELECT give(messages('watched', '{"__deleted": true, "note": 1, %2$s, "id": %1$s}'));
SELECT name, (sum_of(name)).rows FROM (VALUES ('plain'), ('watched')) v(name);
INSERT INTO plain (id, note) SELECT n, 'old' FROM sample;
INSERT INTO watched (id, note) SELECT n, 'old' FROM sample;
CREATE FUNCTION all_at_once(topic text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(jsonb_build_object('topic', topic, 'value', format('{"id": %s, %s, "__deleted": "true"}', n, fields)))
    FROM sample, (SELECT string_agg(field(s), ', ' ORDER BY n DESC) AS fields FROM sample s) f
$$;
SELECT give(all_at_once('plain')), give(all_at_once('watched'));
SELECT name, (sum_of(name)).rows FROM (VALUES ('plain'), ('watched')) v(name);
SELECT give(jsonb_agg(m ORDER BY n, o)) FROM (
    SELECT n, o, jsonb_build_object('topic', topic, 'value', format(form, n, field(s))) AS m
    FROM sample s, (VALUES ('plain'), ('watched')) t(topic),
        (VALUES (1, '{"id": %1$s, "note": "first"}'), (2, '{"id": %1$s, %2$s, "__deleted": true}'), (3, '{"id": %1$s, "note": "last"}')) f(o, form)) t;
SELECT count(*), min(note), max(note) FROM plain WHERE id > 0;
SELECT count(*), min(note), max(note) FROM watched WHERE id > 0;
SELECT count(*) FROM djkafka_dead_letter;
-- the key itself counts, of whatever type
CREATE TABLE keyed (id numeric, at uuid, note text, PRIMARY KEY (id, at));
SELECT djkafka_subscribe('keyed', 'keyed');
SELECT give('[{"topic": "keyed", "value": {"id": "BOw=", "at": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "__deleted": true}},
              {"topic": "keyed", "value": {"id": 1, "at": "BOw=", "__deleted": true}}, {"topic": "keyed", "value": {"id": 1, "__deleted": true}},
              {"topic": "keyed", "key": {"id": 1, "at": "x"}, "value": null}, {"topic": "keyed", "key": "x", "value": null}]');
SELECT dead_letters();
-- and unknown fields where they are errors
UPDATE djkafka_route SET unknown_fields = 'error' WHERE topic = 'plain';
SELECT give('[{"topic": "plain", "value": {"id": 1, "other": 1, "c numeric": "BOw=", "__deleted": true}}]');
SELECT dead_letters();

-- what expressions see, and a row of them all
CREATE TABLE mapped (id int PRIMARY KEY, amount numeric, note text);
SELECT djkafka_subscribe('mapped', 'mapped', columns => '{"note": "coalesce(value->>''x'', key #>> ''{}'')"}');
SELECT give('[{"topic": "mapped", "key": "1", "value": {"id": 1, "amount": 5}}, {"topic": "mapped", "value": {"id": 2, "amount": "BOw=", "x": "X"}},
              {"topic": "mapped", "key": "1", "value": {"id": 1, "amount": "BOw=", "__deleted": true}}, {"topic": "mapped", "value": {"id": 3, "x": "Y"}}]');
SELECT * FROM mapped ORDER BY id;
SELECT dead_letters();

-- an array of many small elements takes no more memory than they need, and as text is not read beyond a length
CREATE TYPE holder AS (a int, r int4range[]);
CREATE TABLE long (id int PRIMARY KEY, r int4range[], j jsonb[], i int[], m int4multirange, h holder, hs holder[]);
CREATE TABLE memory (mb bigint);
CREATE FUNCTION measure() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO memory SELECT sum(total_bytes) / 1000000 FROM pg_backend_memory_contexts WHERE name LIKE 'djkafka%';
    RETURN NULL;
END $$;
CREATE TRIGGER measure AFTER INSERT ON long EXECUTE FUNCTION measure();
SELECT djkafka_subscribe('long', 'long');
SELECT give(jsonb_build_array(jsonb_build_object('topic', 'long', 'value', format('{"id": 1, "r": ["[1,2)"%s]}', repeat(',"[1,2)"', 50000))),
    jsonb_build_object('topic', 'long', 'value', format('{"id": 2, "j": "{1%s}"}', repeat(',1', 50000))),
    jsonb_build_object('topic', 'long', 'value', format('{"id": 3, "j": "{1%s}"}', repeat(',1', 100000))),
    jsonb_build_object('topic', 'long', 'value', format('{"id": 4, "i": "{1%s}", "j": [1%s]}', repeat(',1', 100000), repeat(',1', 100000)))));
SELECT give(jsonb_build_array(jsonb_build_object('topic', 'long', 'value', jsonb_build_object('id', 5, 'm', '{[1,2),[4,5)}', 'h', '(1,"{""[1,2)""}")')),
    jsonb_build_object('topic', 'long', 'value', format('{"id": 6, "m": "{[1,2)%s}"}', repeat(',[1,2)', 50000))),
    jsonb_build_object('topic', 'long', 'value', jsonb_build_object('id', 7, 'h', format('(1,"{""[1,2)""%s}")', repeat(',""[1,2)""', 50000)))),
    jsonb_build_object('topic', 'long', 'value', format('{"id": 8, "h": {"a": 1, "r": ["[1,2)"%s]}}', repeat(',"[1,2)"', 50000)))));
-- nor where PostgreSQL reads what is within a composite value
SELECT djkafka_subscribe('lax', 'long', types => 'postgres');
SELECT give(jsonb_build_array(jsonb_build_object('topic', 'lax', 'value', format('{"id": 9, "h": {"a": 1, "r": ["[1,2)"%s]}}', repeat(',"[1,2)"', 50000))),
    jsonb_build_object('topic', 'lax', 'value', format('{"id": 10, "h": {"a": 1, "r": "{\"[1,2)\"%s}"}}', repeat('\u002c\"[1,2)\"', 50000))),
    jsonb_build_object('topic', 'lax', 'value', format('{"id": 11, "hs": [{}%s]}', repeat(',{}', 100000)))));
SELECT id, m, h FROM long WHERE id = 5;
SELECT id, array_length((h).r, 1), array_length(hs, 1) FROM long WHERE id > 5 ORDER BY id;
SELECT id, array_length(r, 1), array_length(j, 1), array_length(i, 1) FROM long WHERE id < 5 ORDER BY id;
SELECT max(mb) < 40 FROM memory;
SELECT dead_letters();

SET client_min_messages = warning;
SELECT djkafka_drop_consumer('default');
DROP SCHEMA refused CASCADE;
