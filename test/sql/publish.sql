-- Published tables: what each statement writes into the outbox.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on
SET djkafka.topic_prefix = 'shop';

-- The messages that were not shown yet.
CREATE TABLE shown (id bigint);
INSERT INTO shown VALUES (0);
CREATE FUNCTION news() RETURNS TABLE (topic text, key text, value text, headers text) LANGUAGE sql AS $$
    WITH seen AS (UPDATE shown SET id = coalesce((SELECT max(o.id) FROM djkafka_outbox o), 0) RETURNING id)
    SELECT o.topic, convert_from(o.key, 'UTF8'), convert_from(o.value, 'UTF8'),
           (SELECT string_agg(h.name || '=' || convert_from(h.value, 'UTF8'), ' ') FROM unnest(o.headers) h)
      FROM djkafka_outbox o WHERE o.id > (SELECT s.id FROM shown s) AND (SELECT true FROM seen) ORDER BY o.id
$$;

CREATE TABLE shop_order (
    id int PRIMARY KEY, status text, amount numeric(10,2), placed timestamptz DEFAULT '2026-01-01 12:00+02', tags text[], info jsonb
);
SELECT djkafka_publish('shop_order');
SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'shop_order'::regclass ORDER BY 1;

-- Insert, update, delete
INSERT INTO shop_order VALUES (1, 'new', 10, DEFAULT, '{a,b}', '{"x": [1, 2]}'), (2, 'new "quoted"', NULL, NULL, NULL, NULL);
SELECT * FROM news();
UPDATE shop_order SET status = 'paid' WHERE id = 1;
SELECT * FROM news();
DELETE FROM shop_order WHERE id = 1;
SELECT * FROM news();

-- What changes nothing says nothing.
UPDATE shop_order SET status = status;
UPDATE shop_order SET status = 'x' WHERE false;
DELETE FROM shop_order WHERE false;
SELECT * FROM news();

-- A changed key: a tombstone of the old one and the row under the new.
UPDATE shop_order SET id = 3;
SELECT * FROM news();

-- Kinds of statements
COPY shop_order (id, status) FROM stdin;
10	copied
11	copied
\.
INSERT INTO shop_order (id, status) VALUES (11, 'conflict'), (12, 'fresh') ON CONFLICT (id) DO UPDATE SET status = EXCLUDED.status;
INSERT INTO shop_order (id) VALUES (11) ON CONFLICT DO NOTHING;
MERGE INTO shop_order o USING (VALUES (10), (11), (13)) v (id) ON o.id = v.id
    WHEN MATCHED AND o.id = 10 THEN DELETE
    WHEN MATCHED THEN UPDATE SET status = 'merged'
    WHEN NOT MATCHED THEN INSERT (id, status) VALUES (v.id, 'merged');
WITH gone AS (DELETE FROM shop_order WHERE id = 12 RETURNING id)
    UPDATE shop_order SET status = 'with' WHERE id = 13 AND EXISTS (SELECT FROM gone);
SELECT * FROM news();

-- Savepoints and roll back
BEGIN;
INSERT INTO shop_order (id) VALUES (20);
SAVEPOINT s;
INSERT INTO shop_order (id) VALUES (21);
ROLLBACK TO s;
COMMIT;
SELECT key FROM news();

-- TRUNCATE is a deletion of every row, unless it is silenced.
TRUNCATE shop_order;
SELECT * FROM news();
INSERT INTO shop_order (id) VALUES (1);
BEGIN;
SET LOCAL djkafka.suppress = 'other, shop.public.shop_order';
TRUNCATE shop_order;
INSERT INTO shop_order (id) VALUES (2);
SET LOCAL djkafka.suppress = 'other';
INSERT INTO shop_order (id) VALUES (3);
COMMIT;
SELECT key, value IS NULL AS tombstone FROM news();

-- Migrations: columns come and go, and are renamed.
ALTER TABLE shop_order ADD COLUMN extra int DEFAULT 5;
ALTER TABLE shop_order DROP COLUMN placed, DROP COLUMN tags, DROP COLUMN info;
ALTER TABLE shop_order RENAME COLUMN status TO state;
INSERT INTO shop_order (id) VALUES (4);
ALTER TABLE shop_order RENAME COLUMN id TO number;
UPDATE shop_order SET state = 'renamed' WHERE number = 4;
ALTER TABLE shop_order RENAME TO shop_sale;
ALTER TABLE shop_sale ALTER COLUMN number TYPE text;
UPDATE shop_sale SET number = 'x' || number WHERE number = '4';
SELECT * FROM news();
SELECT relation, topic FROM djkafka_publication;

-- Off and on
UPDATE djkafka_publication SET enabled = false;
INSERT INTO shop_sale (number) VALUES ('off');
UPDATE djkafka_publication SET enabled = true;
INSERT INTO shop_sale (number) VALUES ('on');
SELECT key FROM news();

SELECT djkafka_unpublish('shop_sale');
SELECT refused($$SELECT djkafka_unpublish('shop_sale')$$);
SELECT refused($$SELECT djkafka_unpublish(0)$$);
SELECT refused($$SELECT djkafka_unpublish(4294967295, 't')$$);
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'shop_sale'::regclass;
INSERT INTO shop_sale (number) VALUES ('unpublished');
SELECT * FROM news();

-- Mapping
CREATE TABLE customer (a int, b text, name text, secret text, vip bool NOT NULL DEFAULT false, PRIMARY KEY (b, a));
CREATE TABLE country (code text PRIMARY KEY, label text);
INSERT INTO country VALUES ('de', 'Germany');
SELECT djkafka_publish('customer', 'customers', exclude => '{secret}', filter => 'vip', origin => true,
    columns => '{"full": "upper(name) -- comment", "country": "SELECT label FROM country WHERE code = customer.b", "vip": "CASE WHEN vip THEN 1 END"}') AS id \gset
INSERT INTO customer VALUES (1, 'de', 'ann', 'x', true), (2, 'fr', 'bob', 'y', false);
SELECT topic, key, value, headers = 'djkafka-origin=' || (SELECT home FROM djkafka_home) AS origin FROM news();
-- what is excluded changes: nothing; the filter lets a row pass, and no longer
UPDATE customer SET secret = 'z';
SELECT key FROM news();
UPDATE customer SET vip = NOT vip;
SELECT topic, key, value FROM news();
DELETE FROM customer;
SELECT topic, key, value FROM news();
-- two publications of a table
SELECT djkafka_publish('customer', 'names', key_columns => '{a}', key_format => 'text', include => '{name}');
INSERT INTO customer VALUES (7, 'de', 'eve', 's', true);
SELECT topic, key, value FROM news();
SELECT djkafka_unpublish('customer', 'names');
UPDATE djkafka_publication SET filter = NULL, origin = false, columns = NULL, include = '{name}', exclude = NULL WHERE id = :id;
UPDATE customer SET name = 'new';
SELECT * FROM news();
-- expressions see the row's columns, with and without the table's name, those of the key too
UPDATE djkafka_publication SET filter = 'a > 0 AND customer.a < 100', columns = '{"sum": "a + customer.a", "b": "b || b"}', include = '{b}' WHERE id = :id;
UPDATE customer SET name = 'newer', a = 8;
SELECT key, value FROM news();
-- a renamed column is named by its new name: what is hidden stays so, what is included too
UPDATE djkafka_publication SET filter = NULL, include = NULL, exclude = '{secret}', key_columns = '{a}',
    columns = '{"vip": "''hidden''"}' WHERE id = :id;
SELECT djkafka_publish('customer', 'names', include => '{name}') AS names \gset
ALTER TABLE customer RENAME secret TO hash;
ALTER VIEW customer RENAME vip TO rank;
BEGIN;
ALTER TABLE customer RENAME name TO called;
ALTER TABLE customer RENAME a TO number;
UPDATE customer SET called = 'renamed', hash = 'h';
COMMIT;
SELECT topic, key, value FROM news();
SELECT topic, key_columns, include, exclude, columns FROM djkafka_publication ORDER BY id;
BEGIN;
ALTER TABLE customer RENAME called TO undone;
ROLLBACK;
ALTER TABLE customer RENAME CONSTRAINT customer_pkey TO called;
SELECT include FROM djkafka_publication WHERE id = :names;
DROP TABLE customer;
SELECT count(*) FROM djkafka_publication;

-- A trigger that changes the row again: the last state is what is published last.
CREATE TABLE counter (id int PRIMARY KEY, n int);
CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE counter SET n = n + 1 WHERE id = NEW.id AND n < 3;
    RETURN NULL;
END $$;
CREATE TRIGGER bump AFTER INSERT OR UPDATE ON counter FOR EACH ROW EXECUTE FUNCTION bump();
SELECT djkafka_publish('counter', 'counters', key_format => 'text');
INSERT INTO counter VALUES (1, 1);
SELECT key, value FROM news();
UPDATE counter SET n = 0;
SELECT key, value FROM news();
CREATE FUNCTION revive() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO counter VALUES (OLD.id, 99);
    RETURN NULL;
END $$;
CREATE TRIGGER revive AFTER DELETE ON counter FOR EACH ROW EXECUTE FUNCTION revive();
DELETE FROM counter;
SELECT key, value FROM news();
DROP TABLE counter;

-- Partitions: what is written through the parent is published.
CREATE TABLE part (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
CREATE TABLE part_2 (v text, id int NOT NULL);
ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES FROM (10) TO (20);
SELECT djkafka_publish('part', 'parts', key_format => 'text') AS parent, djkafka_publish('part_1', 'parts', key_format => 'text') AS partition \gset
INSERT INTO part VALUES (1, 'a'), (11, 'b');
INSERT INTO part_1 VALUES (2, 'direct');
UPDATE part SET id = id + 11, v = v || '!' WHERE id < 10;
DELETE FROM part WHERE id = 11;
SELECT key, value FROM news();
-- their columns are renamed with the parent's
UPDATE djkafka_publication SET exclude = '{v}' WHERE id = :partition;
ALTER TABLE part RENAME v TO w;
SELECT exclude FROM djkafka_publication WHERE id = :partition;
DROP TABLE part;

-- Foreign keys: a cascade is published like any other change.
CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED);
SELECT djkafka_publish('tree', 'trees', key_format => 'text');
INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2);
SELECT key, value FROM news();
UPDATE tree SET id = 10 WHERE id = 1;
SELECT key, value FROM news();
DELETE FROM tree WHERE id = 10;
SELECT key, value FROM news();
DROP TABLE tree;

-- What a consumer writes is not published again, unless that is asked for.
CREATE TABLE mirror (id int PRIMARY KEY, v text);
SELECT djkafka_subscribe('mirrors', 'mirror'), djkafka_publish('mirror', 'mirrors');
SELECT give('[{"topic": "mirrors", "key": {"id": 1}, "value": {"id": 1, "v": "from Kafka"}}]');
SELECT * FROM news();
INSERT INTO mirror VALUES (2, 'from here');
UPDATE djkafka_publication SET republish = true;
SELECT give('[{"topic": "mirrors", "key": {"id": 1}, "value": null}]');
SELECT key, value FROM news();
SELECT djkafka_drop_consumer('default');
DROP TABLE mirror;

-- Debezium's outbox
CREATE TABLE outboxevent (id uuid PRIMARY KEY, aggregatetype varchar(255) NOT NULL, aggregateid varchar(255) NOT NULL,
    type varchar(255) NOT NULL, payload jsonb);
SELECT djkafka_publish_outbox('outboxevent');
INSERT INTO outboxevent VALUES
    ('11111111-1111-1111-1111-111111111111', 'order', '42', 'OrderPaid', '{"id": 42}'),
    ('22222222-2222-2222-2222-222222222222', 'customer', '7', 'CustomerGone', NULL);
UPDATE outboxevent SET type = 'x';
DELETE FROM outboxevent;
SELECT * FROM news();
SELECT refused($$INSERT INTO outboxevent VALUES (gen_random_uuid(), 'not a topic', '1', 't', '{}')$$);
UPDATE djkafka_publication SET delete_rows = true, origin = true, topic = '';
ALTER TABLE outboxevent ADD COLUMN "timestamp" timestamptz;
INSERT INTO outboxevent VALUES ('33333333-3333-3333-3333-333333333333', 'order', '42', 'OrderPaid', '{"id": 42}', '2020-02-02 00:00Z');
SELECT count(*) FROM outboxevent;
SELECT message_time = '2020-02-02 00:00Z' AS its_time FROM djkafka_outbox ORDER BY id DESC LIMIT 1;
SELECT topic, key, value, replace(headers, (SELECT home::text FROM djkafka_home), 'HOME') AS headers FROM news();
DROP TABLE outboxevent;

-- Refused
CREATE TABLE plain (id int, v text);
CREATE VIEW seen AS SELECT * FROM plain;
CREATE TEMP TABLE passing (id int PRIMARY KEY);
SELECT refused(s) FROM (VALUES
    ($$SELECT djkafka_publish('plain')$$),
    ($$SELECT djkafka_publish('plain', key_columns => '{id}')$$),
    ($$SELECT djkafka_publish('seen')$$),
    ($$SELECT djkafka_publish('passing')$$),
    ($$SELECT djkafka_publish(NULL)$$),
    ($$SELECT djkafka_publish('shop_sale', 'no topic')$$),
    ($$SELECT djkafka_publish('shop_sale', format => 'avro')$$),
    ($$SELECT djkafka_publish('shop_sale', key_format => 'raw')$$),
    ($$SELECT djkafka_publish('shop_sale', key_columns => '{nothing}')$$),
    ($$SELECT djkafka_publish('shop_sale', include => '{nothing}')$$),
    ($$SELECT djkafka_publish('shop_sale', filter => 'nothing > 1')$$),
    ($$SELECT djkafka_publish('shop_sale', filter => 'number')$$),
    ($$SELECT djkafka_publish('shop_sale', columns => '{"x": "1); DROP TABLE plain; SELECT (1"}')$$),
    ($$SELECT djkafka_publish('shop_sale', columns => '{"x": "unnest(ARRAY[1, 2])"}')$$),
    ($$SELECT djkafka_publish('shop_sale', columns => jsonb_build_object(repeat('x', 64), '1'))$$),
    ($$SELECT djkafka_publish('shop_sale', columns => '{"": "1"}')$$),
    ($$SELECT djkafka_publish('shop_sale', columns => '[1]')$$),
    ($$SELECT djkafka_publish('shop_sale', server => 'nowhere')$$),
    ($$SELECT djkafka_publish_outbox('shop_sale')$$),
    ($$SELECT djkafka_publish('djkafka_publication')$$),
    ($$INSERT INTO djkafka_publication (relation, shape, topic, filter) VALUES ('plain', 'outbox', 'x', 'true')$$),
    ($$INSERT INTO djkafka_publication (relation, shape, topic) VALUES ('plain', 'other', 'x')$$)
) AS t (s);
SELECT djkafka_publish('shop_sale', 'same');
SELECT refused($$SELECT djkafka_publish('shop_sale', 'same')$$);

-- A table that no longer has its key says so, and can be written in silence.
ALTER TABLE shop_sale DROP CONSTRAINT shop_order_pkey;
SELECT refused($$INSERT INTO shop_sale (number) VALUES ('broken')$$);
BEGIN;
SET LOCAL djkafka.suppress = on;
INSERT INTO shop_sale (number) VALUES ('silent');
COMMIT;
SELECT * FROM news();
ALTER TABLE shop_sale ADD PRIMARY KEY (number);
INSERT INTO shop_sale (number) VALUES ('fixed');
SELECT key FROM news();
DROP TABLE shop_sale;

-- Generated columns.  PostgreSQL 18 has some that are not stored, so in no transition table.
SELECT CASE WHEN current_setting('server_version_num')::int >= 180000 THEN 'VIRTUAL' ELSE 'STORED' END AS kind \gset
CREATE TABLE made (
    id int PRIMARY KEY, name text, gone int, price numeric,
    upper text COLLATE "C" GENERATED ALWAYS AS (upper(name)) :kind NOT NULL,
    half numeric(10,1) GENERATED ALWAYS AS (price / 2) :kind
);
ALTER TABLE made DROP COLUMN gone;
SELECT djkafka_publish('made', filter => 'half > 1', columns => '{"twice": "half * 2"}');
SELECT djkafka_publish('made', 'without_index', key_columns => '{upper}', include => '{id}', key_format => 'text');
INSERT INTO made VALUES (1, 'a', 3), (2, 'b', 1);
SELECT topic, key, value FROM news();
UPDATE made SET price = price + 1.25 WHERE id = 2;
SELECT topic, key, value FROM news();
UPDATE made SET name = 'c' WHERE id = 2;
SELECT topic, key, value FROM news();
CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER pass AFTER INSERT OR UPDATE OR DELETE ON made FOR EACH ROW EXECUTE FUNCTION pass();
UPDATE made SET price = price + 1 WHERE id = 1;
SELECT topic, key, value FROM news();
DELETE FROM made WHERE id = 1;
SELECT topic, key, value FROM news();
DROP TABLE made;

-- Snapshot
CREATE TABLE stock (a int, b text, v int, PRIMARY KEY (a, b));
INSERT INTO stock SELECT i / 3, 'b' || i % 3, i FROM generate_series(1, 10) i;
SELECT refused($$CALL djkafka_snapshot('stock')$$);
SELECT djkafka_publish('stock', filter => 'v <> 5');
CALL djkafka_snapshot('stock', chunk => 3);
SELECT key, value FROM news();
CALL djkafka_snapshot('stock', 'shop.public.stock', 100000);
SELECT count(*) FROM news();
BEGIN;
CALL djkafka_snapshot('stock');
ROLLBACK;
CALL djkafka_snapshot('stock', chunk => 0);
CALL djkafka_snapshot('stock', 'elsewhere');
CALL djkafka_snapshot(0);
SELECT * FROM news();

-- Two rows may have one key for a while: none of them is taken for gone.
CREATE TABLE seat (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v text);
SELECT djkafka_publish('seat', 'seats', key_format => 'text') > 0;
INSERT INTO seat VALUES (1, 'A'), (2, 'B'), (3, 'C');
BEGIN;
UPDATE seat SET id = 2 WHERE v = 'A';
UPDATE seat SET id = 1 WHERE v = 'B';
INSERT INTO seat VALUES (3, 'D');
DELETE FROM seat WHERE v = 'C';
COMMIT;
DELETE FROM seat WHERE id = 1;
SELECT DISTINCT ON (key) key, value FROM (SELECT row_number() OVER (), * FROM news()) n ORDER BY key, row_number DESC;

-- An expression finds the tables of the user, whatever they are called.
CREATE TABLE n (k int PRIMARY KEY, v text);
CREATE TABLE o (k int PRIMARY KEY, n int);
INSERT INTO n VALUES (1, 'one'), (2, 'two');
SELECT djkafka_publish('o', 'o', columns => '{"n": "SELECT v FROM n WHERE n.k = o.n", "others": "SELECT count(*) FROM o x"}') > 0;
INSERT INTO o VALUES (1, 1);
UPDATE o SET n = 2;
SELECT * FROM news();

-- A generated column of a partition that has its columns elsewhere.
CREATE TABLE town (land text, name text, label text GENERATED ALWAYS AS (name || '!') STORED, PRIMARY KEY (land, name)) PARTITION BY LIST (land);
CREATE TABLE town_de (label text GENERATED ALWAYS AS (name || '!') STORED, name text NOT NULL, gone int, land text NOT NULL);
ALTER TABLE town_de DROP COLUMN gone;
ALTER TABLE town ATTACH PARTITION town_de FOR VALUES IN ('de');
SELECT djkafka_publish('town', 'towns') > 0;
INSERT INTO town VALUES ('de', 'Bonn');
COPY town (land, name) FROM stdin;
de	Ulm
\.
SELECT value FROM news();
-- What else changes a row once more within the statement: a trigger of another table, a function.
CREATE TABLE basket (id int PRIMARY KEY, total int, n int DEFAULT 0);
CREATE TABLE item (id int PRIMARY KEY, basket_id int REFERENCES basket);
CREATE FUNCTION count_item() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN UPDATE basket SET n = n + 1 WHERE id = NEW.basket_id; RETURN NULL; END $$;
CREATE TRIGGER count_item AFTER INSERT ON item FOR EACH ROW EXECUTE FUNCTION count_item();
CREATE FUNCTION raise_total(int) RETURNS int LANGUAGE sql AS 'UPDATE basket SET total = total + 1 WHERE id <> $1 RETURNING 0';
SELECT djkafka_publish('basket', 'baskets', key_format => 'text') > 0;
WITH b AS (INSERT INTO basket VALUES (1, 5), (2, 5) RETURNING id) INSERT INTO item SELECT id, id FROM b;
SELECT key, value FROM news();
WITH b AS (UPDATE basket SET total = 7 WHERE id = 1) INSERT INTO item VALUES (3, 1);
SELECT key, value FROM news();
WITH b AS (SELECT id FROM basket ORDER BY id)
    UPDATE basket SET total = CASE b.id WHEN 1 THEN 20 ELSE raise_total(b.id) END FROM b WHERE b.id = basket.id;
SELECT key, value FROM news();

-- PostgreSQL calls the trigger of the DELETE last, for the cascade.
CREATE TABLE branch (id int PRIMARY KEY, parent int REFERENCES branch ON DELETE CASCADE, v text);
INSERT INTO branch VALUES (1, NULL, 'old'), (2, 1, 'leaf');
SELECT djkafka_publish('branch', 'branches', key_format => 'text') > 0;
WITH gone AS (DELETE FROM branch WHERE id = 1 RETURNING id) INSERT INTO branch SELECT id, NULL, 'new' FROM gone;
SELECT key, value FROM news();
SELECT id, v FROM branch;

-- Nor can it be read back where the key has no index.
CREATE TABLE hamlet (land text, name text NOT NULL, label text GENERATED ALWAYS AS (name || '!') STORED) PARTITION BY LIST (land);
CREATE TABLE hamlet_de (label text GENERATED ALWAYS AS (name || '!') STORED, name text NOT NULL, land text);
ALTER TABLE hamlet ATTACH PARTITION hamlet_de FOR VALUES IN ('de');
SELECT djkafka_publish('hamlet', 'hamlets', ARRAY['name']) > 0;
INSERT INTO hamlet VALUES ('de', 'Rott');
SELECT value FROM news();
-- What a trigger of a partition alone changes once more, from its making on.
CREATE TABLE road (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE road_a PARTITION OF road FOR VALUES FROM (0) TO (9) PARTITION BY RANGE (id);
CREATE TABLE road_b PARTITION OF road_a FOR VALUES FROM (0) TO (9);
SELECT djkafka_publish('road', 'roads', key_format => 'text') > 0;
INSERT INTO road VALUES (1, 'before');
CREATE FUNCTION widen() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN UPDATE road SET v = 'wide' WHERE id = NEW.id; RETURN NULL; END $$;
CREATE TRIGGER widen AFTER INSERT ON road_b FOR EACH ROW EXECUTE FUNCTION widen();
INSERT INTO road VALUES (2, 'narrow');
SELECT key, value FROM news();

-- SQL is read in the same way whoever writes.
CREATE TABLE sign (id int PRIMARY KEY, a text, b text);
SELECT djkafka_publish('sign', 'signs', filter => $$a <> '\' AND b <> ' OR true --'$$) > 0;
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SET transform_null_equals = on;
INSERT INTO sign VALUES (1, '\\', 'not published');
SELECT * FROM news();
RESET standard_conforming_strings;
RESET escape_string_warning;
RESET transform_null_equals;

-- The triggers go with the extension.
SET client_min_messages = warning;
SELECT djkafka_uninstall();
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'stock'::regclass;
INSERT INTO stock VALUES (99, 'x', 1);
DROP TABLE stock, seat, n, o, town, hamlet, road, sign, plain, passing, shown, country, basket, item, branch CASCADE;
DROP FUNCTION news(), bump(), revive(), pass(), widen(), count_item(), raise_total(int);
