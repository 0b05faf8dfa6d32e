-- Filters and mapped columns that read what the batch writes see the messages before theirs.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA reads;
SET search_path = reads, public;
SET TimeZone = 'UTC';
-- the newest version wins
CREATE TABLE doc (id int PRIMARY KEY, version int, v text);
SELECT djkafka_subscribe('doc', 'doc', filter => $$(value->>'version')::int > coalesce((SELECT version FROM reads.doc o WHERE o.id = (value->>'id')::int), 0)$$);
SELECT give('[{"topic": "doc", "value": {"id": 1, "version": 2, "v": "new"}}, {"topic": "doc", "value": {"id": 1, "version": 1, "v": "old"}}, {"topic": "doc", "value": {"id": 2, "version": 1, "v": "a"}}, {"topic": "doc", "value": {"id": 2, "version": 2, "v": "b"}}]');
TABLE doc ORDER BY id;
-- … also where some are bad
SELECT give('[{"topic": "doc", "value": {"id": 3, "version": 2, "v": "new"}}, {"topic": "doc", "value": {"id": 3, "version": "x", "v": "bad"}}, {"topic": "doc", "value": {"id": 3, "version": 1, "v": "old"}}]');
SELECT * FROM doc WHERE id = 3;
SELECT dead_letters();
-- a parent that the same batch brings
CREATE TABLE customer (id int PRIMARY KEY, code text UNIQUE, name text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customer, note text);
SELECT djkafka_subscribe('customer', 'customer');
SELECT djkafka_subscribe('orders', 'orders', columns => '{"customer_id": "(SELECT c.id FROM reads.customer c WHERE c.code = value->>''customer'')"}');
SELECT give('[{"topic": "customer", "value": {"id": 1, "code": "a"}}, {"topic": "orders", "value": {"id": 1, "customer": "a"}}, {"topic": "customer", "value": {"id": 2, "code": "b"}}, {"topic": "orders", "value": {"id": 2, "customer": "b"}},
              {"topic": "orders", "value": {"id": 3, "customer": "c"}}, {"topic": "customer", "value": {"id": 3, "code": "c"}}]');
TABLE orders ORDER BY id;
SELECT count(*) FROM dead_letters();
-- parents and children in turn, some without a parent
SELECT give((SELECT jsonb_agg(CASE WHEN n % 10 < 4 THEN jsonb_build_object('topic', 'customer', 'value', jsonb_build_object('id', 100 + n, 'code', 'c' || n))
                                   ELSE jsonb_build_object('topic', 'orders', 'value', jsonb_build_object('id', 100 + n, 'customer', 'c' || n / 10 * 10 + n % 5)) END ORDER BY n) FROM generate_series(10, 59) n));
SELECT o.id, c.code FROM orders o JOIN customer c ON c.id = o.customer_id WHERE o.id > 100 ORDER BY 1 LIMIT 5;
SELECT count(*), sum(customer_id) FROM orders WHERE id > 100;
SELECT count(*) FROM dead_letters();
-- the same event twice
CREATE TABLE event (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id text, n int);
SELECT djkafka_subscribe('event', 'event', operation => 'insert', filter => $$NOT EXISTS (SELECT FROM reads.event e WHERE e.event_id = value->>'event_id')$$, columns => '{"n": "(SELECT coalesce(max(n), 0) + 1 FROM reads.event)"}');
SELECT give('[{"topic": "event", "value": {"event_id": "x"}}, {"topic": "event", "value": {"event_id": "x"}}, {"topic": "event", "value": {"event_id": "y"}}, {"topic": "event", "value": {"event_id": "z"}}]');
SELECT event_id, n FROM event ORDER BY id;
-- by a view, by functions, by what a trigger or a cascade writes, by a table that has partitions
CREATE TABLE part (id int PRIMARY KEY, seen int) PARTITION BY RANGE (id);
CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (100);
CREATE VIEW counted AS SELECT count(*)::int AS n FROM part;
CREATE FUNCTION count_part() RETURNS int STABLE LANGUAGE sql AS 'SELECT count(*)::int FROM reads.part';
SELECT djkafka_subscribe('by_view', 'part', columns => '{"seen": "(SELECT n FROM reads.counted)"}');
SELECT djkafka_subscribe('by_function', 'part', columns => '{"seen": "reads.count_part()"}');
SELECT djkafka_subscribe('by_leaf', 'part', columns => '{"seen": "(SELECT count(*)::int FROM reads.part_low)"}');
SELECT give('[{"topic": "by_view", "value": {"id": 1}}, {"topic": "by_view", "value": {"id": 2}}, {"topic": "by_function", "value": {"id": 3}}, {"topic": "by_function", "value": {"id": 4}}, {"topic": "by_leaf", "value": {"id": 5}}, {"topic": "by_leaf", "value": {"id": 6}}]');
TABLE part ORDER BY id;
SELECT dead_letters();
CREATE TABLE total (n int);
INSERT INTO total VALUES (0);
CREATE FUNCTION add() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE reads.total SET n = n + 1; RETURN NULL; END';
CREATE TABLE added (id int PRIMARY KEY, before int);
CREATE TRIGGER add AFTER INSERT ON added FOR EACH ROW EXECUTE FUNCTION add();
SELECT djkafka_subscribe('added', 'added', columns => '{"before": "(SELECT n FROM reads.total)"}');
SELECT give('[{"topic": "added", "value": {"id": 1}}, {"topic": "added", "value": {"id": 2}}, {"topic": "added", "value": {"id": 3}}]');
TABLE added ORDER BY id;
CREATE TABLE child (id int PRIMARY KEY, customer_id int REFERENCES customer ON DELETE CASCADE);
CREATE TABLE left_over (id int PRIMARY KEY, children int);
INSERT INTO customer VALUES (9, 'i');
INSERT INTO child VALUES (1, 9), (2, 9);
SELECT djkafka_subscribe('left', 'left_over', columns => '{"children": "(SELECT count(*)::int FROM reads.child)"}');
SELECT give('[{"topic": "left", "value": {"id": 1}}, {"topic": "customer", "key": 9}, {"topic": "left", "value": {"id": 2}}]');
TABLE left_over ORDER BY id;
-- aggregates of one's own, numbers that were given out
CREATE FUNCTION count_more(int, int) RETURNS int STABLE LANGUAGE sql AS 'SELECT $1 + $2 * count(*)::int FROM reads.added';
CREATE AGGREGATE counted_sum(int) (sfunc = count_more, stype = int, initcond = '0');
CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text, before bigint);
TRUNCATE added;
SELECT djkafka_subscribe('summed', 'added', columns => '{"before": "(SELECT reads.counted_sum(x) FROM generate_series(1, 2) x)"}');
SELECT djkafka_subscribe('numbered', 'numbered', operation => 'insert', filter => $$value->>'kind' = 'first'$$);
SELECT djkafka_subscribe('numbered', 'numbered', operation => 'insert', route_order => 1, columns => '{"before": "currval(''reads.numbered_id_seq'')"}');
SELECT give('[{"topic": "summed", "value": {"id": 1}}, {"topic": "summed", "value": {"id": 2}}, {"topic": "summed", "value": {"id": 3}}]');
TABLE added ORDER BY id;
SELECT give('[{"topic": "numbered", "value": {"kind": "first"}}, {"topic": "numbered", "value": {}}, {"topic": "numbered", "value": {"kind": "first"}}, {"topic": "numbered", "value": {}}]');
SELECT id, kind, before FROM numbered ORDER BY id;

-- what is read is looked at again when a view or a function is another one than in the batch before
CREATE TABLE changing (id int PRIMARY KEY, seen int, called int);
CREATE TABLE change (id int PRIMARY KEY);
CREATE VIEW looking AS SELECT 0 AS n;
CREATE FUNCTION looked() RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 0';
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  CREATE OR REPLACE VIEW reads.looking AS SELECT count(*)::int AS n FROM reads.changing;
  CREATE OR REPLACE FUNCTION reads.looked() RETURNS int STABLE LANGUAGE sql AS 'SELECT count(*)::int FROM reads.changing';
  RETURN NULL; END $$;
CREATE TRIGGER change AFTER INSERT ON change FOR EACH ROW EXECUTE FUNCTION change();
SELECT djkafka_create_consumer('changing', enabled => false, batch_messages => 3) > 0;
SELECT djkafka_create_route('changing', 'view', 'changing', columns => '{"seen": "(SELECT n FROM reads.looking)"}') > 0,
    djkafka_create_route('changing', 'function', 'changing', columns => '{"called": "reads.looked()"}') > 0,
    djkafka_create_route('changing', 'change', 'change') > 0;
SELECT give('[{"topic": "view", "value": {"id": 1}}, {"topic": "function", "value": {"id": 2}}, {"topic": "change", "value": {"id": 1}},
              {"topic": "view", "value": {"id": 3}}, {"topic": "view", "value": {"id": 4}}, {"topic": "view", "value": {"id": 5}},
              {"topic": "function", "value": {"id": 6}}, {"topic": "function", "value": {"id": 7}}, {"topic": "function", "value": {"id": 8}}]', 'changing');
TABLE changing ORDER BY id;
-- … and is not forgotten where the target is altered while it is looked at
CREATE TABLE looked_at (id int PRIMARY KEY);
CREATE FUNCTION alter_changing() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN ALTER TABLE reads.changing SET (fillfactor = 90); RETURN true; END';
CREATE FUNCTION altered(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT reads.alter_changing()); END';
SELECT djkafka_create_route('changing', 'altered', 'changing', filter => $$reads.altered('a')$$, columns => '{"seen": "(SELECT count(*)::int FROM reads.looked_at)"}') > 0,
    djkafka_create_route('changing', 'looked_at', 'looked_at') > 0;
TRUNCATE changing;
SELECT give('[{"topic": "looked_at", "value": {"id": 1}}, {"topic": "altered", "value": {"id": 1}}, {"topic": "looked_at", "value": {"id": 2}}]', 'changing');
TABLE changing;
SELECT djkafka_drop_consumer('changing');

-- what the target computes by itself may read too: defaults, constraints
CREATE TABLE stock (id int PRIMARY KEY, n int, total int, place int);
CREATE FUNCTION stock_total() RETURNS int LANGUAGE sql AS 'SELECT coalesce(sum(n), 0)::int FROM reads.stock';
CREATE FUNCTION stock_place() RETURNS int STABLE LANGUAGE sql AS 'SELECT count(*)::int + 1 FROM reads.stock';
ALTER TABLE stock ALTER total SET DEFAULT reads.stock_total();
SELECT djkafka_subscribe('stock', 'stock'), djkafka_subscribe('stock_new', 'stock', operation => 'insert_new');
SELECT give('[{"topic": "stock", "value": {"id": 1, "n": 5}}, {"topic": "stock", "value": {"id": 2, "n": 1}}, {"topic": "stock", "value": {"id": 1, "n": 7}}, {"topic": "stock", "value": {"id": 3, "n": 1}}]');
ALTER TABLE stock ALTER place SET DEFAULT reads.stock_place();
SELECT give('[{"topic": "stock", "value": {"id": 4}}, {"topic": "stock", "value": {"id": 5, "n": 1}}, {"topic": "stock_new", "value": {"id": 6, "n": 1}}, {"topic": "stock_new", "value": {"id": 7}}, {"topic": "stock_new", "value": {"id": 7}}]');
TABLE stock ORDER BY id;
-- … of the table below a view, or the view
CREATE VIEW stock_view AS SELECT id, n FROM stock;
CREATE VIEW stock_views AS SELECT id, n, place FROM stock;
ALTER TABLE stock ALTER total DROP DEFAULT;
SELECT djkafka_subscribe('stock_view', 'stock_view', key_columns => '{id}');
SELECT give('[{"topic": "stock_view", "value": {"id": 10}}, {"topic": "stock_view", "value": {"id": 11}}, {"topic": "stock_view", "value": {"id": 12}}]');
ALTER TABLE stock ALTER place DROP DEFAULT;
ALTER VIEW stock_views ALTER place SET DEFAULT reads.stock_place();
SELECT djkafka_subscribe('stock_views', 'stock_views', key_columns => '{id}');
SELECT give('[{"topic": "stock_views", "value": {"id": 13}}, {"topic": "stock_views", "value": {"id": 14}}, {"topic": "stock_views", "value": {"id": 15}}]');
SELECT id, place FROM stock WHERE id > 9 ORDER BY id;
CREATE TABLE quota (id int PRIMARY KEY);
CREATE FUNCTION quota_left() RETURNS boolean STABLE LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) < 2 FROM reads.quota); END';
ALTER TABLE quota ADD CHECK (reads.quota_left());
SELECT djkafka_subscribe('quota', 'quota');
SELECT give('[{"topic": "quota", "value": {"id": 1}}, {"topic": "quota", "value": {"id": 2}}, {"topic": "quota", "value": {"id": 3}}, {"topic": "quota", "value": {"id": 4}}]');
SELECT count(*) FROM dead_letters();
-- … tables of other routes of the topic
CREATE TABLE head (id int PRIMARY KEY);
CREATE FUNCTION last_head() RETURNS int LANGUAGE sql AS 'SELECT max(id) FROM reads.head';
CREATE TABLE line (id int PRIMARY KEY, head int DEFAULT reads.last_head());
SELECT djkafka_create_consumer('heads', enabled => false) > 0, djkafka_create_route('heads', 'heads', 'head', filter => $$value->>'type' = 'head'$$) > 0, djkafka_create_route('heads', 'heads', 'line', route_order => 1) > 0;
SELECT give('[{"topic": "heads", "value": {"type": "head", "id": 1}}, {"topic": "heads", "value": {"id": 1}}, {"topic": "heads", "value": {"type": "head", "id": 2}}, {"topic": "heads", "value": {"id": 2}}]', 'heads');
SELECT djkafka_drop_consumer('heads');
TABLE line ORDER BY id;

-- several routes of one topic, the first of which reads
CREATE TABLE first_seen (id int PRIMARY KEY);
CREATE TABLE seen_again (n bigint GENERATED ALWAYS AS IDENTITY, id int);
SELECT djkafka_subscribe('twice', 'first_seen', filter => $$NOT EXISTS (SELECT FROM reads.first_seen f WHERE f.id = (value->>'id')::int)$$);
SELECT djkafka_subscribe('twice', 'seen_again', operation => 'insert', route_order => 1);
SELECT give('[{"topic": "twice", "value": {"id": 1}}, {"topic": "twice", "value": {"id": 2}}, {"topic": "twice", "value": {"id": 1}}, {"topic": "twice", "value": {"id": 1}}]');
SELECT (SELECT array_agg(id ORDER BY id) FROM first_seen), (SELECT array_agg(id ORDER BY n) FROM seen_again);

-- columns of a message that the filter leaves out are not evaluated: it is the next route's
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE SEQUENCE numbers;
CREATE TABLE number_of (id int PRIMARY KEY, x int, mood mood, n int);
CREATE TABLE word_of (id int PRIMARY KEY, x text);
SELECT djkafka_subscribe('mixed', 'number_of', filter => $$value->>'type' = 'number'$$, columns => '{"x": "(value->>''x'')::int", "n": "nextval(''reads.numbers'')"}');
SELECT djkafka_subscribe('mixed', 'word_of', route_order => 1);
SELECT give('[{"topic": "mixed", "value": {"id": 1, "type": "number", "x": "5"}}, {"topic": "mixed", "value": {"id": 2, "type": "word", "x": "five"}}, {"topic": "mixed", "value": {"id": 3, "x": "none"}}, {"topic": "mixed", "value": {"id": 4, "type": "number", "x": "6"}}]');
SELECT id, x, n FROM number_of ORDER BY id;
TABLE word_of ORDER BY id;
-- a deletion needs its key alone, mapped or not; where nothing deletes it is left out
SELECT djkafka_subscribe('moods', 'number_of', columns => '{"mood": "lower(value->>''status'')::reads.mood", "x": "(convert_from(djkafka_header(headers, ''x''), ''UTF8''))::int"}', deleted_field => '__deleted');
SELECT djkafka_subscribe('keyed', 'number_of', columns => '{"id": "(key->>''k'')::int", "mood": "(value->>''status'')::reads.mood", "n": "(1 / (value->>''id'')::int)"}');
SELECT djkafka_subscribe('kept', 'number_of', operation => 'upsert', columns => '{"mood": "(value->>''status'')::reads.mood", "n": "1 / length(key->>''k'')"}');
INSERT INTO number_of SELECT i FROM generate_series(10, 19) i;
SELECT give('[{"topic": "moods", "key": 10}, {"topic": "moods", "value": {"id": 11, "__deleted": "true", "status": ""}}, {"topic": "moods", "key": 12, "value": {"id": 12, "status": "", "__deleted": true}, "headers": {"x": "no number"}},
              {"topic": "keyed", "key": {"k": 13}}, {"topic": "keyed", "key": {"k": 14}, "value": {"id": 0, "status": "x", "__deleted": "true"}},
              {"topic": "kept", "key": {"k": ""}}, {"topic": "moods", "value": {"id": 15, "status": "worse"}}, {"topic": "moods", "value": {"id": 16, "status": "GOOD"}}]');
SELECT id, mood FROM number_of WHERE id >= 10 ORDER BY id;
SELECT dead_letters();

-- … be it of a domain that takes no null
CREATE DOMAIN positive AS int NOT NULL CHECK (VALUE > 0);
CREATE TABLE amount (id int PRIMARY KEY, n positive);
SELECT djkafka_subscribe('amount', 'amount', filter => $$value->>'type' = 'number'$$, columns => '{"n": "(value->>''n'')::reads.positive"}');
SELECT give('[{"topic": "amount", "value": {"id": 1, "type": "number", "n": 1}}, {"topic": "amount", "value": {"id": 2, "type": "word", "n": "x"}}, {"topic": "amount", "value": {"id": 3, "type": "number", "n": 0}}, {"topic": "amount", "key": 1}]');
TABLE amount;
SELECT dead_letters();
-- of a name that is repeated the last counts, and is all that is looked at
CREATE TABLE net (id int PRIMARY KEY, n int, at inet, m int);
SELECT djkafka_subscribe('net', 'net');
SELECT give('[{"topic": "net", "value": "{\"id\": 1, \"n\": \"x\", \"n\": 5}"}, {"topic": "net", "value": "{\"id\": \"y\", \"at\": \"nowhere\", \"id\": 2, \"m\": 1, \"at\": \"10.0.0.1\"}"},
              {"topic": "net", "value": "{\"id\": 3, \"n\": 5, \"m\": \"z\", \"n\": \"x\", \"m\": 7}"}, {"topic": "net", "value": "{\"n\": \"x\", \"m\": \"x\", \"id\": 4, \"n\": 6, \"m\": \"y\"}"}]');
TABLE net ORDER BY id;
SELECT dead_letters();

-- a value that has nothing to do with the table says what it looks like; JSON's null is no value
CREATE TABLE person (id int PRIMARY KEY, first_name text, "lastName" text);
SELECT djkafka_subscribe('person', 'person');
INSERT INTO person VALUES (1, 'Ada', 'L'), (2, 'Bo', 'M'), (3, 'Cy', 'N');
SELECT give('[{"topic": "person", "key": 1, "value": {"before": null, "after": {"id": 1}, "source": {}, "op": "u"}}, {"topic": "person", "key": 1, "value": {"schema": {"type": "struct"}, "payload": {"id": 1}}},
              {"topic": "person", "key": 1, "value": {"database": "d", "table": "t", "type": "insert", "data": {"id": 1}}}, {"topic": "person", "key": 1, "value": {"specversion": "1.0", "type": "a", "source": "b", "data": {}}},
              {"topic": "person", "key": 1, "value": {"firstName": "Eve"}}, {"topic": "person", "key": 1, "value": {"last-name": "Eve"}}, {"topic": "person", "key": 1, "value": {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7, "h": 8, "i": 9}},
              {"topic": "person", "key": 1, "value": {"first_name": "Eve", "more": 1}}, {"topic": "person", "key": 4, "value": {}}, {"topic": "person", "key": 2, "value": "null"}, {"topic": "person", "key": 3, "value": " null\n"}]');
TABLE person ORDER BY id;
SELECT dead_letters();
UPDATE djkafka_route SET unknown_fields = 'ignore_all' WHERE topic = 'person';
SELECT give('[{"topic": "person", "key": 5, "value": {"a": 1}}]');
UPDATE djkafka_route SET unknown_fields = 'ignore', filter = $$value->>'x' = 'y'$$ WHERE topic = 'person';
SELECT give('[{"topic": "person", "key": 5, "value": "null"}, {"topic": "person", "key": 1, "value": {"x": "z"}}]');
TABLE person ORDER BY id;

-- a generated column is known, and never written; a table with a rule is no target
CREATE TABLE made (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED);
SELECT djkafka_subscribe('made', 'made', unknown_fields => 'error');
SELECT give('[{"topic": "made", "value": {"id": 1, "a": 2, "b": 9}}, {"topic": "made", "key": 2, "value": {"b": 9}}, {"topic": "made", "value": {"id": 3, "c": 9}}]');
TABLE made ORDER BY id;
SELECT dead_letters();
CREATE TABLE ruled (id int PRIMARY KEY);
CREATE RULE elsewhere AS ON INSERT TO ruled DO INSTEAD INSERT INTO person VALUES (NEW.id);
SELECT refused($$SELECT djkafka_subscribe('ruled', 'ruled')$$);
DROP RULE elsewhere ON ruled;
SELECT djkafka_subscribe('ruled', 'ruled');
CREATE RULE elsewhere AS ON INSERT TO ruled DO ALSO INSERT INTO person VALUES (NEW.id);
SELECT regexp_replace(refused($$SELECT give('[{"topic": "ruled", "value": {"id": 1}}]')$$), 'route \d+', 'route N');

SELECT djkafka_drop_consumer('default');

-- a policy, for an owner whom it concerns
CREATE ROLE reads_owner LOGIN;
GRANT USAGE ON SCHEMA reads TO reads_owner;
TRUNCATE quota;
ALTER TABLE quota DROP CONSTRAINT quota_check, ENABLE ROW LEVEL SECURITY;
CREATE POLICY quota ON quota USING (true) WITH CHECK (reads.quota_left());
ALTER FUNCTION quota_left SECURITY DEFINER;
GRANT SELECT, INSERT, UPDATE, DELETE ON quota TO reads_owner;
GRANT EXECUTE ON FUNCTION djkafka_run, djkafka_use_settings TO reads_owner;
SELECT djkafka_create_consumer('limited', enabled => false, owner => 'reads_owner') > 0, djkafka_create_route('limited', 'quota', 'quota') > 0;
\set super :USER
\c - reads_owner
SELECT applied, dead FROM djkafka_run('limited', messages => '[{"value": {"id": 1}}, {"value": {"id": 2}}, {"value": {"id": 3}}, {"value": {"id": 4}}]');
\c - :super
SELECT djkafka_drop_consumer('limited');
REVOKE EXECUTE ON FUNCTION djkafka_run, djkafka_use_settings FROM reads_owner;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA reads CASCADE;
DROP ROLE reads_owner;
