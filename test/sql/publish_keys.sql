-- Keys that are equal in SQL are the same bytes in Kafka; names, nulls and sizes of what is published.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on
SET djkafka.topic_prefix = 'shop';
CREATE EXTENSION citext;
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE shown (id bigint);
INSERT INTO shown VALUES (0);
CREATE FUNCTION news() RETURNS TABLE (topic text, key text, value text) LANGUAGE sql AS $$
    WITH seen AS (UPDATE shown SET id = coalesce((SELECT max(o.id) FROM djkafka_outbox o), 0) RETURNING id)
    SELECT o.topic, convert_from(o.key, 'UTF8'), convert_from(o.value, 'UTF8')
      FROM djkafka_outbox o WHERE o.id > (SELECT s.id FROM shown s) AND (SELECT true FROM seen) ORDER BY o.id
$$;

-- Numbers have one form in a key; their columns keep theirs.
CREATE DOMAIN amount AS numeric;
CREATE DOMAIN price AS numeric(10,2);
CREATE TABLE n (a numeric, b amount, c price, d numeric(4,1), e real, f float8, PRIMARY KEY (a, b, c, d, e, f));
SELECT djkafka_publish('n', 'n') > 0;
INSERT INTO n VALUES (1, 100, 1, 1, 0, 0);
UPDATE n SET a = 1.00, b = 1e2, c = 1.00, d = 1.0, e = '-0', f = '-0';
UPDATE n SET a = 10.50, b = 'NaN', f = 'NaN', e = 0.1;
DELETE FROM n;
SELECT key, value FROM news();
CREATE TABLE n1 (a numeric PRIMARY KEY, v text);
SELECT djkafka_publish('n1', 'n1', key_format => 'text') > 0;
INSERT INTO n1 VALUES (1.50, 'a'), (0.00, 'b'), (-0.0100, 'c');
CALL djkafka_snapshot('n1', chunk => 1);
SELECT key, value FROM news();

-- Others are refused, unless somebody says how to write them.
CREATE TYPE two AS (a int, b numeric);
CREATE TYPE exact AS (a int, b text);
CREATE DOMAIN mail AS citext;
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE keys (
    c citext NOT NULL, m mail NOT NULL, t text COLLATE nocase NOT NULL, v varchar(9) COLLATE nocase NOT NULL, i interval NOT NULL, j jsonb NOT NULL,
    r numrange NOT NULL, na numeric[] NOT NULL, two two NOT NULL, b bpchar NOT NULL, mr nummultirange NOT NULL, ta text[] COLLATE nocase NOT NULL,
    ok_t text NOT NULL, ok_c text COLLATE "C" NOT NULL, ok_i int[] NOT NULL, ok_r int4range NOT NULL, ok_e exact NOT NULL, ok_b char(3) NOT NULL, ok_u uuid NOT NULL,
    ok_d date NOT NULL, ok_m mood NOT NULL, ok_ta text[] NOT NULL, ok_n name NOT NULL, ok_tz timetz NOT NULL, ok_ip inet NOT NULL, ok_y bytea NOT NULL
);
SELECT refused(format('SELECT djkafka_publish(''keys'', %L, key_columns => ARRAY[%L], key_spelling => %L)', attname || spelling, attname, spelling))
  FROM pg_attribute, unnest('{exact,lower,any}'::text[]) WITH ORDINALITY s (spelling, n)
 WHERE attrelid = 'keys'::regclass AND attnum > 0 AND attname NOT LIKE 'ok%' ORDER BY attnum, n;
SELECT refused(format('SELECT djkafka_publish(''keys'', %L, key_columns => ARRAY[%L])', attname, attname))
  FROM pg_attribute WHERE attrelid = 'keys'::regclass AND attname LIKE 'ok%' ORDER BY attnum;
SELECT refused($$SELECT djkafka_publish('keys', 'k', key_columns => '{ok_t}', key_spelling => 'upper')$$);
DROP TABLE keys;
CREATE TABLE member (mail mail PRIMARY KEY, name text COLLATE nocase NOT NULL UNIQUE, v int);
SELECT djkafka_publish('member', 'lower', key_spelling => 'lower', key_format => 'text') > 0,
    djkafka_publish('member', 'names', key_columns => '{name}', key_spelling => 'lower') > 0,
    djkafka_publish('member', 'any', key_spelling => 'any') > 0;
INSERT INTO member VALUES ('Ada@Example.ORG', 'ADA', 1);
UPDATE member SET mail = 'ada@example.org', name = 'Ada';
DELETE FROM member;
SELECT * FROM news();
-- a key that becomes one of these later is told to who writes
CREATE TABLE later (k text PRIMARY KEY);
SELECT djkafka_publish('later', 'later') > 0;
ALTER TABLE later ALTER k TYPE citext;
SELECT refused($$INSERT INTO later VALUES ('x')$$);
UPDATE djkafka_publication SET key_spelling = 'lower' WHERE relation = 'later'::regclass;
INSERT INTO later VALUES ('X');
SELECT * FROM news();

-- Any name may be a table's, a column's or a field's.
CREATE TABLE djk_value (djk_key int PRIMARY KEY, djk_value text, djk_key_ text);
SELECT djkafka_publish('djk_value', 'a') > 0;
INSERT INTO djk_value VALUES (1, 'v', 'k');
UPDATE djk_value SET djk_key = 2, djk_value = 'w';
CALL djkafka_snapshot('djk_value');
CREATE TABLE djk_key (k int PRIMARY KEY, v text, djk_t int, djk_r int, djk_s int, o int, n int);
SELECT djkafka_publish('djk_key', 'b', columns => '{"djk_value": "v", "djk_key": "k", "djk_value_": "djk_key.k"}', filter => 'djk_key.k > 0') > 0;
INSERT INTO djk_key VALUES (1, 'v', 1, 2, 3, 4, 5);
DELETE FROM djk_key;
SELECT * FROM news();

-- Null of SQL and null of JSON
CREATE TABLE doc (id int PRIMARY KEY, j jsonb, "a ""b""" json, t text);
SELECT djkafka_publish('doc', 'docs', omit_nulls => '{j,"a \"b\"",extra}', columns => '{"extra": "j->''x''"}') > 0;
INSERT INTO doc VALUES (1, NULL, NULL, NULL), (2, 'null', 'null', NULL), (3, '{"x": null}', '"null"', '}'), (4, '{"x": [1]}', '{ "a":1}', '"');
SELECT value FROM news();
ALTER TABLE doc RENAME j TO info;
SELECT omit_nulls FROM djkafka_publication WHERE topic = 'docs';
UPDATE djkafka_publication SET columns = '{"extra": "info->''x''"}' WHERE topic = 'docs';
UPDATE doc SET info = 'null' WHERE info IS NULL;
UPDATE doc SET info = NULL WHERE id = 2;
SELECT value FROM news();
SELECT refused($$SELECT djkafka_publish('doc', 'other', omit_nulls => '{nothing}')$$);
-- and back, with a route
CREATE TABLE copied (id int PRIMARY KEY, info jsonb, t text);
SELECT djkafka_subscribe('docs', 'copied', columns => '{"info": {"always": "value->''info''"}}');
SELECT give('[{"topic": "docs", "value": {"id": 1, "t": "a"}}, {"topic": "docs", "value": {"id": 2, "info": null}}, {"topic": "docs", "value": {"id": 3, "info": {}}}]');
SELECT id, info, info IS NULL FROM copied ORDER BY id;
-- bounds of an array are kept as text
CREATE TABLE bounds (id int PRIMARY KEY, a int[]);
SELECT djkafka_publish('bounds', 'bounds', columns => '{"a": "a::text"}') > 0;
INSERT INTO bounds VALUES (1, '[0:1]={7,8}'), (2, '{1}');
SELECT djkafka_subscribe('bounds', 'bounds');
SELECT give((SELECT jsonb_agg(jsonb_build_object('topic', topic, 'value', replace(value, '"id":', '"id":1')::jsonb)) FROM news()));
SELECT * FROM bounds ORDER BY id;

-- Default topics
CREATE SCHEMA "x.y";
CREATE TABLE "a b" (id int PRIMARY KEY);
CREATE TABLE a_b (id int PRIMARY KEY);
CREATE TABLE "это" (id int PRIMARY KEY);
CREATE TABLE "тот" (id int PRIMARY KEY);
CREATE TABLE "x.y".z (id int PRIMARY KEY);
SELECT refused(format('SELECT djkafka_publish(%L)', quote_ident(t))) FROM unnest('{"a b",a_b,это,тот}'::text[]) t;
SELECT djkafka_publish('"x.y".z') > 0, djkafka_publish('a_b', 'shop.public.a_b') > 0, djkafka_publish('a_b', 'own') > 0;
SELECT topic, relation FROM djkafka_publication WHERE topic LIKE 'shop.%' ORDER BY id;

SELECT refused($$SELECT djkafka_publish('a_b', '__consumer_offsets')$$);
CREATE TABLE own (id int, aggregatetype text, aggregateid text, type text, payload text);
SELECT djkafka_publish_outbox('own', '__') > 0;
SELECT refused($$INSERT INTO own VALUES (1, 'consumer_offsets', '1', 't', 'p')$$);
DROP TABLE own;

-- A row that is too large: which one, but not to whom may not read it; a snapshot goes on past it.
CREATE TABLE big (id int PRIMARY KEY, v text);
INSERT INTO big SELECT i, repeat('x', CASE WHEN i IN (2, 5) THEN 1100000 ELSE 1 END) FROM generate_series(1, 6) i;
SELECT djkafka_publish('big', 'bigs') > 0;
SELECT refused($$UPDATE big SET v = repeat('y', 1100000) WHERE id = 3$$);
SELECT refused($$SELECT djkafka_produce('t', repeat('y', 1100000), key => '\xff00'::bytea)$$);
SELECT refused($$SELECT djkafka_produce('t', repeat('y', 1100000), key => repeat('ä', 150))$$);
SELECT refused($$SELECT djkafka_produce('t', repeat('y', 1100000))$$);
CREATE ROLE djk_blind;
GRANT INSERT, UPDATE ON big TO djk_blind;
SET ROLE djk_blind;
SELECT refused($$INSERT INTO big VALUES (7, repeat('y', 1100000))$$);
RESET ROLE;
GRANT SELECT ON big TO djk_blind;
ALTER TABLE big ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON big TO djk_blind USING (true);
SET ROLE djk_blind;
SELECT refused($$INSERT INTO big VALUES (7, repeat('y', 1100000))$$);
RESET ROLE;
CALL djkafka_snapshot('big', chunk => 2);
SELECT count(*) FROM news();
CALL djkafka_snapshot('big', chunk => 2, skip_too_large => true);
SELECT key, length(value) FROM news();
CALL djkafka_snapshot('big', chunk => 1, skip_too_large => NULL);
UPDATE big SET v = 'x';
CALL djkafka_snapshot('big', skip_too_large => true);

SET client_min_messages = warning;
DROP TABLE big, bounds, copied, doc, djk_key, djk_value, later, member, n, n1, "a b", a_b, "это", "тот", "x.y".z, shown;
DROP SCHEMA "x.y";
DROP TYPE two, exact, mood, price, amount, mail;
DROP ROLE djk_blind;
DROP COLLATION nocase;
DROP FUNCTION news();
SELECT djkafka_uninstall(cascade => true);
DROP EXTENSION citext CASCADE;
