-- A mapped column is absent where its message has none of the fields that it depends on.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on
\pset null -

CREATE SCHEMA mapped_absent;
SET search_path = mapped_absent, public;

-- what an expression names of value decides: an insert takes the default, an update leaves the column as it is; null is no absence
CREATE TABLE orders (id int PRIMARY KEY, status text DEFAULT 'default', n int);
SELECT djkafka_subscribe('orders', 'orders', columns => $${"status": "coalesce(value->>'status', 'new')"}$$);
SELECT give('[{"value": {"id": 1, "status": "paid"}}, {"value": {"id": 2, "status": null}}, {"value": {"id": 3}}]');
SELECT * FROM orders ORDER BY id;
SELECT give('[{"value": {"id": 1, "n": 1}}, {"value": {"id": 2, "n": 2, "status": "sent"}}, {"value": {"id": 2, "n": 3}}, {"value": {"id": 3, "status": null}}, {"value": {"id": 4, "n": 4}}, {"value": {"id": 4, "status": "late"}}]');
SELECT * FROM orders ORDER BY id;
-- each form of naming a field; several: absent where all are absent
CREATE TABLE form (expression text PRIMARY KEY, columns jsonb);
INSERT INTO form SELECT e, jsonb_build_object('status', e) FROM unnest(ARRAY[
    $$value->>'a'$$, $$value->'a'->>'b'$$, $$(value #> '{a,b}')::text$$, $$value #>> ARRAY['a','b']$$, $$value['a']['b']$$,
    $$jsonb_extract_path_text(value, 'a', 'b')$$, $$jsonb_path_query_first(value, '$.a.b')$$, $$jsonb_path_query_first(value, '$.a ? (@.b > $.z)')$$,
    $$value @@ '$.a.b == 1'$$, $$(SELECT count(x) FROM unnest(ARRAY[value->'a']) x)$$, $$(WITH w AS (SELECT value->'a' AS a) SELECT a FROM w)$$,
    $$CASE WHEN value->>'a' = 'x' THEN upper(value->>'z') ELSE topic END$$, $$concat(value->>'a', '/', value->>'z', msg_offset)$$,
    -- never absent: value as a whole, none of its fields, a question, a name that is no constant
    $$value$$, $$value::text$$, $$md5(value::text || (value->>'a'))$$, $$msg_time$$, $$'const'$$, $$key->>'a'$$, $$value ? 'a'$$, $$value ?| '{a,b}'$$, $$value @> '{"a": 1}'$$, $$value->>lower('A')$$,
    $$jsonb_path_query_first(value, '$.*')$$, $$(SELECT string_agg(k, ',') FROM jsonb_object_keys(value) k)$$, $$(SELECT i.value->>'a' FROM djkafka_input i LIMIT 1)$$]) e;
CREATE FUNCTION absence(form) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE djkafka_route SET columns = $1.columns;
    TRUNCATE orders;
    INSERT INTO orders VALUES (1, 'there'), (2, 'there');
    PERFORM give('[{"value": {"id": 1, "other": 1}}, {"value": {"id": 2, "a": null, "other": 1}}]');
    RETURN (SELECT string_agg(CASE WHEN o.status = 'there' THEN 'kept' ELSE 'written' END, ' ' ORDER BY id) FROM orders o);
END $$;
SELECT absence(form), expression FROM form ORDER BY 1, expression COLLATE "C";
SELECT dead_letters();
SELECT djkafka_drop_consumer('default');

-- a field, by its name or a path; converted as that of an unmapped column, or by an expression
TRUNCATE orders;
CREATE TABLE person (id int PRIMARY KEY, name varchar(10) DEFAULT 'nobody', city text DEFAULT 'nowhere', tags text[], day date, dotted text, loud text DEFAULT 'quiet');
SELECT djkafka_subscribe('people', 'person', time_unit => 'days', unknown_fields => 'error', columns => $${
    "id": {"field": "personId"}, "name": {"field": "fullName"}, "city": {"field": "address.city"}, "tags": {"field": ["meta", "more", "tags"]},
    "day": {"field": "meta.day"}, "dotted": {"field": ["a.b"]}, "loud": {"field": "meta.more.word", "value": "upper(value #>> '{meta,more,word}')"}}$$);
SELECT give($$[{"value": {"personId": 1, "fullName": "Ann", "address": {"city": "Graz", "street": "x"}, "meta": {"day": 1, "more": {"tags": ["a", "b"], "word": "hi"}}, "a.b": "dot"}},
    {"value": {"personId": 2}}, {"value": {"personId": 3, "address": null, "meta": {"more": "none"}}}, {"value": {"personId": 4, "address": {"city": null}, "meta": [1], "fullName": 5}}]$$);
SELECT * FROM person ORDER BY id;
SELECT give($$[{"value": {"personId": 1, "address": {"street": "y"}}}, {"value": {"personId": 1, "meta": {"more": {"word": "ho"}}}}, {"value": {"personId": 2, "address": {"city": "Linz"}, "address": {"city": "Wien"}}},
    {"value": {"personId": 3, "fullName": "much too long"}}, {"value": {"personId": 3, "meta": {"more": {"tags": "x"}}}}, {"value": {"personId": 3, "city": "not from here"}}, {"value": {"personId": 3, "street": "y"}},
    {"key": {"personId": 4}, "value": null}, {"key": "3", "value": {"personId": null, "fullName": "by key"}}]$$);
SELECT * FROM person ORDER BY id;
SELECT dead_letters();
SELECT djkafka_drop_consumer('default');

-- beside a root: paths begin there, expressions name fields of the whole value
SELECT djkafka_subscribe('people', 'person', root => 'after', naming => 'snake_case', columns => $${
    "name": {"field": "person.name"}, "city": "value->'after'->>'town'", "dotted": {"insert": "value->'source'->>'ts'"}, "loud": {"field": "person.word", "value": "upper(value #>> '{after,person,word}')"}}$$);
SELECT give($$[{"value": {"after": {"id": 11, "person": {"name": "Eve", "word": "oh"}, "town": "Wien"}, "source": {"ts": 1}}}, {"value": {"after": {"id": 11, "town": null, "person": {"name": "Eva"}}, "source": {"ts": 2}}},
    {"value": {"after": {"id": 12}, "person": {"name": "no"}}}, {"value": {"source": {"ts": 3}}}]$$);
SELECT id, name, city, dotted, loud FROM person WHERE id > 10 ORDER BY id;
SELECT regexp_replace(dead_letters(), '\n.*', '');
SELECT djkafka_drop_consumer('default');

-- what was not sent is not there: for a path, for what an expression names, and for one of several
CREATE TABLE document (id int PRIMARY KEY, body text DEFAULT 'no body', title text, file bytea, both_of text);
SELECT djkafka_subscribe('documents', 'document', columns => $${"body": {"field": "content.body"}, "title": {"field": "name", "value": "upper(value->>'name')"},
    "file": "decode(value->>'raw', 'base64')", "both_of": "concat(value->>'a', '+', value->>'b')"}$$);
SELECT give($$[{"value": {"id": 1, "content": {"body": "x"}, "name": "n", "raw": "YWI=", "a": "a", "b": "b"}},
    {"value": {"id": 1, "content": {"body": "__debezium_unavailable_value"}, "name": "__debezium_unavailable_value", "raw": "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==", "a": "__debezium_unavailable_value", "b": "__debezium_unavailable_value"}},
    {"value": {"id": 2, "content": {"body": "__debezium_unavailable_value"}, "a": "__debezium_unavailable_value", "b": "c"}}]$$);
SELECT * FROM document ORDER BY id;
SELECT djkafka_drop_consumer('default');

-- for new rows alone, and always
CREATE TABLE dated (id int PRIMARY KEY, created timestamptz NOT NULL, updated timestamptz, origin varchar(5) DEFAULT 'none', n int);
SELECT djkafka_subscribe('dated', 'dated', columns => $${"created": {"insert": "msg_time"}, "updated": "msg_time", "origin": {"insert": "value->>'by'"}, "n": {"always": "(value->>'n')::int"}}$$);
SELECT give('[{"value": {"id": 1, "by": "a", "n": 1}, "timestamp": "2026-01-01 12:00+00"}, {"value": {"id": 1, "by": "b", "n": 2}, "timestamp": "2026-01-02 12:00+00"}, {"value": {"id": 2, "n": 2}, "timestamp": "2026-01-03 12:00+00"},
              {"value": {"id": 2, "by": "late"}, "timestamp": "2026-01-04 12:00+00"}, {"value": {"id": 3, "by": "a"}, "timestamp": "2026-01-05 12:00+00"}, {"value": {"id": 3, "__deleted": true}, "timestamp": "2026-01-06 12:00+00"}, {"value": {"id": 3, "by": "c"}, "timestamp": "2026-01-07 12:00+00"}]');
SELECT id, created::date, updated::date, origin, n FROM dated ORDER BY id;
SELECT give('[{"value": {"id": 1, "by": "z"}, "timestamp": "2026-02-01 12:00+00"}, {"value": {"id": 4}, "timestamp": "2026-02-02 12:00+00"}, {"value": {"id": 4, "by": "too long"}, "timestamp": "2026-02-03 12:00+00"}]');
SELECT id, created::date, updated::date, origin, n FROM dated ORDER BY id;
SELECT regexp_replace(dead_letters(), '\n.*', '');
-- where the order of rows can be seen, and by a view
CREATE TABLE log (line text);
CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (concat_ws(' ', TG_OP, NEW.id, NEW.created::date, NEW.origin, NEW.n)); RETURN NEW; END $$;
CREATE TRIGGER log AFTER INSERT OR UPDATE ON dated FOR EACH ROW EXECUTE FUNCTION log();
SELECT give('[{"value": {"id": 5, "n": 1}, "timestamp": "2026-03-01 12:00+00"}, {"value": {"id": 5, "by": "x", "n": 2}, "timestamp": "2026-03-02 12:00+00"}, {"value": {"id": 6, "by": "y", "n": 3}, "timestamp": "2026-03-03 12:00+00"}, {"value": {"id": 1, "n": 4}, "timestamp": "2026-03-04 12:00+00"}]');
SELECT * FROM log;
SELECT djkafka_drop_consumer('default');
CREATE VIEW dated_view AS SELECT * FROM dated;
SELECT djkafka_subscribe('dated', 'dated_view', key_columns => '{id}', columns => $${"created": {"insert": "msg_time"}, "n": "(value->>'m')::int"}$$);
SELECT give('[{"value": {"id": 7, "m": 1}, "timestamp": "2026-04-01 12:00+00"}, {"value": {"id": 7}, "timestamp": "2026-04-02 12:00+00"}, {"value": {"id": 1, "m": 9}, "timestamp": "2026-04-03 12:00+00"}]');
SELECT id, created::date, n FROM dated WHERE id IN (1, 7) ORDER BY id;
SELECT djkafka_drop_consumer('default');

-- what is absent is not evaluated: a domain that takes no null, a function that refuses it
CREATE DOMAIN positive AS int NOT NULL CHECK (VALUE > 0);
CREATE TABLE of_domain (id int PRIMARY KEY, a positive DEFAULT 7, b int);
SELECT djkafka_subscribe('of_domain', 'of_domain', columns => $${"a": "(value->>'a')::int", "b": "length(value->>'b') / coalesce((value->>'c')::int, 0)"}$$);
SELECT give('[{"value": {"id": 1, "a": 5}}, {"value": {"id": 1, "b": "xx", "c": 1}}, {"value": {"id": 2}}, {"value": {"id": 3, "c": 0}}, {"value": {"id": 1, "a": null}}]');
SELECT * FROM of_domain ORDER BY id;
SELECT dead_letters();
SELECT djkafka_drop_consumer('default');

-- a key that is mapped, and that the value lacks, is the message's key
SELECT djkafka_subscribe('keyed', 'orders', columns => $${"id": "(value->>'nr')::int", "n": "1"}$$);
SELECT give('[{"value": {"nr": 50}}, {"key": "51", "value": {"status": "by key"}}, {"key": "50", "value": null}, {"value": {}}]');
SELECT * FROM orders ORDER BY id;
SELECT dead_letters();
SELECT djkafka_drop_consumer('default');

-- a value that is no object is the expressions' alone, whatever they name
SELECT djkafka_subscribe('arrays', 'orders', columns => $${"id": "(value #>> '{0,id}')::int", "status": "value #>> '{1}'"}$$);
SELECT give('[{"value": [{"id": 60}, "one"]}, {"value": [{"id": 60}]}]');
SELECT * FROM orders WHERE id = 60;
SELECT djkafka_drop_consumer('default');

-- a version is no value of new rows alone
SELECT refused($$SELECT djkafka_subscribe('versions', 'orders', version_column => 'n', columns => '{"n": {"insert": "msg_offset::int"}}')$$);

-- the forms are checked when the route is made
CREATE FUNCTION refusal(columns jsonb, format text = 'json') RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text; hint text;
BEGIN
    PERFORM djkafka_subscribe('orders', 'orders', columns => refusal.columns, format => refusal.format);
    RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, nullif(detail, ''), nullif(hint, ''));
END $$;
SELECT refusal('{"n": {}}');
SELECT refusal(c) FROM jsonb_array_elements('[{"n": {"feild": "a"}}, {"n": {"field": ""}}, {"n": {"field": "a..b"}}, {"n": {"field": []}}, {"n": {"field": ["a", 1]}}, {"n": {"field": {"a": 1}}}, {"n": {"insert": "1", "always": "2"}},
    {"n": {"field": "a", "always": "1"}}, {"n": {"field": "a", "insert": "1"}}, {"n": {"value": 5}}, {"n": null}, {"n": [1]}, {"n": {"insert": "oops"}}, {"n": {"always": "1) , (2"}}, {"gone": {"field": "a"}}]') c;
SELECT refusal('{"value": {"field": "a"}}', 'text');
SELECT refusal('{"n": {"value": "1"}}');
SELECT djkafka_drop_consumer('default');

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA mapped_absent CASCADE;
