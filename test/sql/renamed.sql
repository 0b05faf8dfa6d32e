-- Columns of a target that are renamed: the route names them again, and fields of the old name still fill them.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA renamed;
SET search_path = renamed, public;

-- every option that names a column
CREATE TABLE item (code text, part int, name text, price numeric, made timestamptz, secret text, mark boolean, version int, UNIQUE (code, part));
SELECT djkafka_subscribe('items', 'item', key_columns => '{code,part}', exclude => '{secret}', skip_column => 'mark', version_column => 'version',
    time_unit => '{"made": "ms"}', columns => '{"price": "(value->>''cents'')::numeric / 100"}') AS id \gset
SELECT djkafka_create_route('default', 'included', 'item', key_columns => '{code,part}', include => '{name,price}', time_unit => ' { "made": "days", "name": "none" }');
SELECT djkafka_create_route('default', 'plain', 'item', key_columns => '{code,part}', time_unit => 's');
SELECT give('[{"topic": "items", "value": {"code": "a", "part": 1, "name": "one", "cents": 150, "made": 0, "secret": "x", "version": 1}}]');
SELECT revision AS before FROM djkafka_consumer \gset
ALTER TABLE item RENAME code TO isbn;
ALTER TABLE item RENAME name TO title;
ALTER TABLE item RENAME price TO "Price";
ALTER TABLE item RENAME made TO made_at;
ALTER TABLE item RENAME secret TO hidden;
ALTER TABLE item RENAME mark TO kafka_skip;
ALTER TABLE item RENAME version TO row_version;
SELECT topic, key_columns, include, exclude, skip_column, version_column, time_unit, columns FROM djkafka_route ORDER BY id;
SELECT revision > :before FROM djkafka_consumer;
SELECT give('[{"topic": "items", "value": {"isbn": "a", "part": 1, "title": "two", "cents": 250, "made_at": 86400000, "hidden": "x", "row_version": 2}},
              {"topic": "items", "value": {"isbn": "a", "part": 1, "title": "three", "row_version": 2}}]');
SELECT isbn, part, title, "Price", made_at AT TIME ZONE 'UTC', hidden, kafka_skip, row_version FROM item;
-- … by the names that its producer may go on sending, in the value and in the key
SELECT give('[{"topic": "items", "value": {"code": "a", "part": 1, "name": "four", "cents": 350, "made": 0, "secret": "x", "version": 3}},
              {"topic": "items", "key": {"code": "b", "part": 2}, "value": {"name": "five", "version": 1}},
              {"topic": "included", "value": {"code": "c", "part": 3, "name": "six", "price": 1.5, "made": 5}}]');
SELECT isbn, part, title, "Price", made_at AT TIME ZONE 'UTC', hidden, kafka_skip, row_version FROM item ORDER BY isbn;
SELECT dead_letters();
SELECT give('[{"topic": "items", "key": {"code": "b", "part": 2}, "value": null}]');
SELECT isbn FROM item ORDER BY isbn;
-- what is excluded is known under its old name too
UPDATE djkafka_route SET unknown_fields = 'error' WHERE topic = 'items';
SELECT give('[{"topic": "items", "value": {"code": "d", "part": 1, "secret": "x", "mark": true, "version": 1}}, {"topic": "items", "value": {"code": "d", "part": 1, "colour": "x", "version": 2}}]');
SELECT dead_letters();
SELECT djkafka_drop_consumer('default');

-- the new name wins, whichever comes first; two old names do not say which is meant
CREATE TABLE note (id int PRIMARY KEY, a text, n int DEFAULT 7);
SELECT djkafka_subscribe('notes', 'note') AS id \gset
ALTER TABLE note RENAME a TO b;
SELECT give('[{"value": {"id": 1, "a": "old", "b": "new"}}, {"value": {"id": 2, "b": "new", "a": "old"}}, {"value": {"id": 3, "a": "old"}}, {"value": {"id": 4, "b": null, "a": "old"}}]');
SELECT id, b FROM note ORDER BY id;
ALTER TABLE note RENAME b TO c;
SELECT renamed FROM djkafka_route;
SELECT give('[{"value": {"id": 1, "a": "a"}}, {"value": {"id": 2, "b": "b"}}, {"value": {"id": 3, "c": "c"}}, {"value": {"id": 4, "a": "a", "b": "b"}}, {"value": {"id": 5, "a": "a", "b": "b", "c": "c"}}]');
SELECT id, c FROM note ORDER BY id;
SELECT dead_letters();
-- back again, and what is undone
ALTER TABLE note RENAME c TO a;
SELECT renamed FROM djkafka_route;
BEGIN;
ALTER TABLE note RENAME a TO z;
ROLLBACK;
ALTER TABLE note RENAME CONSTRAINT note_pkey TO a;
SELECT renamed FROM djkafka_route;
-- a new column of an old name is that column
ALTER TABLE note RENAME a TO b;
ALTER TABLE note ADD a text;
SELECT give('[{"value": {"id": 1, "a": "a", "b": "b"}}, {"key": 1, "value": {"a": "A"}}, {"key": 1, "value": {"c": "C"}}]');
SELECT id, a, b FROM note WHERE id = 1;
-- the key by an old name, alone in the message's key too
ALTER TABLE note RENAME id TO number;
SELECT give('[{"value": {"id": 1, "n": 8}}, {"key": {"id": 2}, "value": {"n": 9}}, {"key": {"id": 3}, "value": null}, {"key": 4, "value": null}]');
SELECT number, n FROM note ORDER BY number;
ALTER TABLE note ADD id int;
SELECT give('[{"key": {"id": 5}, "value": {"n": 9}}]');
SELECT dead_letters();
-- ended by hand, and with another target
SELECT refused($$UPDATE djkafka_route SET renamed = '["a"]'$$);
SELECT refused($$UPDATE djkafka_route SET renamed = '{"a": "b"}'$$);
SELECT refused($$UPDATE djkafka_route SET renamed = '{"a": [1]}'$$);
SELECT refused($$UPDATE djkafka_route SET renamed = '{"a": {"b": ["c"]}}'$$);
UPDATE djkafka_route SET renamed = '{"n": ["b", "q"], "nothing": ["gone"]}';
SELECT give('[{"value": {"number": 6, "n": 9, "gone": 1}}, {"value": {"number": 7, "q": 9, "b": "b"}}]');
SELECT * FROM note WHERE number > 5 ORDER BY number;
CREATE TABLE other (id int PRIMARY KEY, v text);
UPDATE djkafka_route SET target = 'other';
SELECT renamed FROM djkafka_route;
SELECT djkafka_drop_consumer('default');
DROP TABLE note;

-- with a naming, the old name is spelled as freely as the new one
CREATE TABLE person (id int PRIMARY KEY, first_name text);
SELECT djkafka_subscribe('people', 'person', naming => 'snake_case') AS id \gset
ALTER TABLE person RENAME first_name TO given_name;
SELECT give('[{"value": {"id": 1, "firstName": "Ada"}}, {"value": {"id": 2, "givenName": "Eve"}}, {"value": {"id": 3, "first_name": "Ann"}}]');
SELECT * FROM person ORDER BY id;
SELECT djkafka_drop_consumer('default');

-- a log of messages: a part of the message fills the column that had its name
CREATE TABLE log (topic text, "offset" bigint, value text, key text, PRIMARY KEY (topic, "offset"));
SELECT djkafka_subscribe('lines', 'log', format => 'text', operation => 'insert_new') AS id \gset
ALTER TABLE log RENAME value TO line;
ALTER TABLE log RENAME "offset" TO position;
ALTER TABLE log RENAME key TO value;
SELECT give('[{"key": "k", "value": "text", "offset": 5}]');
SELECT topic, position, line, value FROM log;
ALTER TABLE log ADD key text;
ALTER TABLE log RENAME value TO partition;
ALTER TABLE log RENAME key TO message_key;
SELECT renamed FROM djkafka_route;
SELECT give('[{"key": "k2", "value": "text2", "offset": 6}]');
SELECT topic, position, line, partition, message_key FROM log WHERE position = 6;
SELECT djkafka_drop_consumer('default');

-- where columns are renamed with the parent's or the type's, and by a view's name
CREATE TABLE whole (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE piece PARTITION OF whole FOR VALUES FROM (0) TO (10);
CREATE TYPE shape AS (id int, v text);
CREATE TABLE typed OF shape (PRIMARY KEY (id));
CREATE TABLE base (id int PRIMARY KEY, v text);
CREATE VIEW seen AS SELECT * FROM base;
SELECT djkafka_subscribe('whole', 'whole', include => '{id,v}') AS a, djkafka_subscribe('piece', 'piece', include => '{id,v}') AS b,
    djkafka_subscribe('typed', 'typed', include => '{id,v}') AS c, djkafka_subscribe('seen', 'seen', include => '{id,v}', operation => 'insert') AS d,
    djkafka_subscribe('base', 'base', include => '{id,v}') AS e \gset
ALTER TABLE whole RENAME v TO w;
ALTER TYPE shape RENAME ATTRIBUTE v TO w CASCADE;
ALTER VIEW seen RENAME v TO w;
SELECT topic, include, renamed FROM djkafka_route ORDER BY id;
SELECT give('[{"topic": "whole", "value": {"id": 1, "v": "a"}}, {"topic": "piece", "value": {"id": 2, "v": "b"}}, {"topic": "typed", "value": {"id": 1, "v": "c"}},
    {"topic": "seen", "value": {"id": 1, "v": "d"}}, {"topic": "base", "value": {"id": 2, "v": "e"}}]');
SELECT 'whole', * FROM whole UNION ALL SELECT 'typed', * FROM typed UNION ALL SELECT 'seen', * FROM seen ORDER BY 1, 2;
-- the table and its schema are the same under any name
ALTER TABLE base RENAME TO ground;
ALTER SCHEMA renamed RENAME TO renamed_2;
SELECT give('[{"topic": "base", "value": {"id": 3, "v": "f"}}]');
SELECT target, target_name FROM djkafka_route WHERE topic = 'base';
ALTER TABLE renamed_2.ground SET SCHEMA public;
SELECT target, target_name FROM djkafka_route WHERE topic = 'base';
ALTER TABLE public.ground SET SCHEMA renamed_2;
ALTER SCHEMA renamed_2 RENAME TO renamed;
SELECT djkafka_drop_consumer('default');

-- a column that takes the name of one that was dropped: it is named once, and mapped as it was
CREATE TABLE offer (id int PRIMARY KEY, price text, price_new numeric, made date, made_new timestamptz);
SELECT djkafka_subscribe('offers', 'offer', include => '{id,price,price_new}', time_unit => '{"made": "days", "made_new": "ms"}',
    columns => '{"made": "NULL::date", "price": "value->>''price''", "price_new": "(value->>''cents'')::numeric / 100"}'),
    djkafka_subscribe('bargains', 'offer', exclude => '{price,price_new,made}');
BEGIN;
ALTER TABLE offer DROP price, DROP made;
ALTER TABLE offer RENAME price_new TO price;
ALTER TABLE offer RENAME made_new TO made;
COMMIT;
SELECT topic, include, exclude, time_unit, columns FROM djkafka_route ORDER BY id;
SELECT topic, evaluation, reason FROM djkafka_route_status ORDER BY id;
SELECT give('[{"topic": "offers", "value": {"id": 1, "cents": 150, "price_new": 1}}, {"topic": "bargains", "value": {"id": 2, "price": 2}}]');
SELECT id, price FROM offer ORDER BY id;
SELECT djkafka_drop_consumer('default');

-- lookups: the column that is filled, those of the table that is looked in, under whatever search_path
CREATE SCHEMA renamed_3 CREATE TABLE customer (code text);
CREATE TABLE customer (id int PRIMARY KEY, code text, number int);
INSERT INTO customer VALUES (17, 'x', 170);
CREATE TABLE category (id int PRIMARY KEY, slug text, parent_id int, customer int, numbered int);
SELECT djkafka_subscribe('categories', 'category', lookups => '{"parent_id": {"table": "category", "column": "slug", "field": "parent"},
    "customer": {"table": "customer", "column": "code", "field": "customer"}, "numbered": {"table": "renamed.customer", "column": "code", "returns": "number", "field": "customer"}}');
CREATE TABLE unmatched (code text);
SET search_path = renamed_3, public;
ALTER TABLE customer RENAME code TO other;
ALTER TABLE renamed.unmatched RENAME code TO other;
ALTER TABLE renamed.customer RENAME code TO sign;
ALTER TABLE renamed.customer RENAME number TO "No";
ALTER TABLE renamed.category RENAME slug TO label;
ALTER TABLE renamed.category RENAME parent_id TO above;
SET search_path = renamed, public;
ALTER TABLE category RENAME TO "Category";
ALTER TABLE renamed_3.customer RENAME TO nothing;
ALTER TABLE customer RENAME TO client;
ALTER TABLE "Category" RENAME CONSTRAINT category_pkey TO customer;
SELECT jsonb_pretty(columns) FROM djkafka_route;
SELECT give('[{"value": {"id": 1, "label": "top", "customer": "x"}}, {"value": {"id": 2, "slug": "below", "parent": "top"}}]');
SELECT * FROM "Category" ORDER BY id;
SELECT djkafka_drop_consumer('default');
SET client_min_messages = warning;
DROP SCHEMA renamed_3 CASCADE;
RESET client_min_messages;

-- a lookup of a route without a target is checked by nobody: whoever renames something else does not fail by it
CREATE TABLE gone (id int PRIMARY KEY, a int);
CREATE TABLE bystander (x int);
SELECT djkafka_subscribe('gone', 'gone');
DROP TABLE gone;
UPDATE djkafka_route SET columns = '{"a": {"lookup": {"column": "x"}}, "b": {"lookup": {"column": "x", "table": ""}}, "c": {"lookup": {"column": "x", "table": "a..b"}}, "d": {"lookup": {"column": "x", "table": "a.b.c.d"}}, "e": {"lookup": {"column": "x", "table": null}}, "f": {"lookup": {"column": "x", "table": {"x": 1}}}}';
ALTER TABLE bystander RENAME x TO y;
ALTER TABLE bystander RENAME TO onlooker;
SELECT djkafka_drop_consumer('default');

-- messages that have no field but the key are counted
CREATE TABLE thing (id int PRIMARY KEY, name text, price int, big text, seen timestamptz, made timestamptz);
SELECT djkafka_subscribe('things', 'thing', columns => '{"seen": "msg_time", "made": {"insert": "msg_time"}, "price": {"field": "cost"}}');
CREATE FUNCTION key_only(messages jsonb, name text = 'default') RETURNS text LANGUAGE sql AS
    $$ SELECT format('%s applied, %s of these only by key, %s duplicates, %s dead', applied, key_only, duplicates, dead) FROM public.djkafka_run(name, messages => messages) $$;
SELECT key_only('[{"value": {"id": 1, "name": "a", "cost": 1}}]');
SELECT key_only('[{"value": {"id": 1}}, {"value": {"id": 1, "label": "b", "price": 2}}, {"key": 1, "value": {"label": "b"}}, {"key": 1, "value": {}},
                  {"value": {"id": 1, "big": "__debezium_unavailable_value"}}, {"value": {"id": 2, "label": "b"}}]');
-- … but not those that say something, if only null; nor deletions, nor what fails
SELECT key_only('[{"value": {"id": 1, "name": null}}, {"key": 1, "value": {"cost": 2}}, {"key": 3, "value": null}, {"value": {"id": 3, "__deleted": true}}, {"value": {"id": "x"}}]');
SELECT id, name, price, seen IS NOT NULL, made IS NOT NULL FROM thing ORDER BY id;
ALTER TABLE thing DROP name;
SELECT key_only('[{"key": 1, "value": {"name": "a"}}]');
UPDATE djkafka_route SET operation = 'insert_new';
SELECT key_only('[{"value": {"id": 4, "label": "b"}}, {"value": {"id": 4, "label": "b"}}]');
UPDATE djkafka_route SET columns = '{"price": "(value->>''cost'')::int"}', operation = 'upsert';
SELECT key_only('[{"value": {"id": 4, "label": "b"}}, {"value": {"id": 4, "cost": 5}}]');
UPDATE djkafka_route SET columns = NULL, operation = 'insert';
SELECT key_only('[{"value": {"id": 5, "label": "b"}}]');
SELECT djkafka_drop_consumer('default');
-- a table of keys has nothing else, a message log is filled in any case
CREATE TABLE keys (a int, b int, PRIMARY KEY (a, b));
SELECT djkafka_subscribe('keys', 'keys');
SELECT key_only('[{"value": {"a": 1, "b": 1, "c": 1}}, {"value": {"a": 1, "b": 1}}]');
SELECT djkafka_drop_consumer('default');
CREATE TABLE places (topic text, "offset" bigint, note text, PRIMARY KEY (topic, "offset"));
SELECT djkafka_subscribe('lines', 'places', format => 'raw', operation => 'insert_new');
SELECT key_only('[{"key": "k", "value": "text", "offset": 7}]');
SELECT djkafka_drop_consumer('default');

-- a name that two columns had is the later one's, whatever the fields come in
CREATE TABLE taken (id int PRIMARY KEY, name text);
SELECT djkafka_subscribe(format, 'taken', format => format) FROM unnest(ARRAY['json', 'debezium', 'debezium_flat', 'logpipe', 'cloudevents', 'avro', 'json_schema']) format;
ALTER TABLE taken RENAME name TO title;
ALTER TABLE taken ADD name text;
ALTER TABLE taken RENAME name TO label;
SELECT format, renamed FROM djkafka_route ORDER BY format;
SELECT applied, dead FROM djkafka_run('default', messages => '[{"topic": "json", "value": {"id": 1, "name": "json"}}, {"topic": "debezium", "value": {"op": "c", "after": {"id": 2, "name": "debezium"}}},
    {"topic": "debezium_flat", "value": {"id": 3, "name": "flat"}}, {"topic": "logpipe", "value": "json:{\"type\":\"t\",\"version\":1,\"message\":{\"id\":4,\"name\":\"logpipe\"}}"},
    {"topic": "cloudevents", "value": {"specversion": "1.0", "id": "e", "source": "s", "type": "t", "data": {"id": 5, "name": "event"}}}]');
SELECT * FROM taken ORDER BY id;
SELECT djkafka_drop_consumer('default');

SET client_min_messages = warning;
DROP SCHEMA renamed CASCADE;
