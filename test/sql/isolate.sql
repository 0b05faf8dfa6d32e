-- Which messages of a batch are at fault, and that the others are applied in their order.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA isolate;
SET search_path = isolate, public;
SET TimeZone = 'UTC';
CREATE TABLE node (id bigint PRIMARY KEY, parent_id bigint REFERENCES node DEFERRABLE INITIALLY DEFERRED, v text NOT NULL);
SELECT djkafka_subscribe('node', 'node');
-- a message that waits for its parent keeps its place before later ones of its key
INSERT INTO node VALUES (20, NULL, 'q');
SELECT give('[{"topic": "node", "value": {"id": 1, "parent_id": 10, "v": "old"}}, {"topic": "node", "value": {"id": 99, "parent_id": null, "v": null}},
              {"topic": "node", "value": {"id": 1, "parent_id": 20, "v": "new"}}, {"topic": "node", "value": {"id": 10, "parent_id": null, "v": "p"}}]');
TABLE node ORDER BY id;
SELECT dead_letters();
-- … also where the parent never comes: the later one stands
SELECT give('[{"topic": "node", "value": {"id": 2, "parent_id": 77, "v": "old"}}, {"topic": "node", "value": {"id": 2, "parent_id": 20, "v": "new"}},
              {"topic": "node", "value": {"id": 3, "parent_id": 78, "v": "orphan"}}, {"topic": "node", "value": {"id": 78, "v": null}}]');
SELECT * FROM node WHERE id IN (2, 3);
SELECT dead_letters();
-- a deletion that waits for its children does not fall upon the row that was made again
TRUNCATE node;
INSERT INTO node VALUES (1, NULL, 'parent'), (2, 1, 'child');
SELECT give('[{"topic": "node", "key": 1}, {"topic": "node", "value": {"id": 5, "v": null}}, {"topic": "node", "value": {"id": 1, "v": "again"}}, {"topic": "node", "key": 2}]');
TABLE node ORDER BY id;
SELECT dead_letters();
-- a chain in the wrong order beside a bad message, and what depends on one that waits at once
TRUNCATE node;
CREATE TABLE leaf (id bigint PRIMARY KEY, node_id bigint NOT NULL REFERENCES node, n int CHECK (n > 0));
SELECT djkafka_subscribe('leaf', 'leaf');
SELECT give('[{"topic": "node", "value": {"id": 3, "parent_id": 2, "v": "c"}}, {"topic": "leaf", "value": {"id": 1, "node_id": 3, "n": 1}}, {"topic": "leaf", "value": {"id": 2, "node_id": 3, "n": 0}},
              {"topic": "node", "value": {"id": 2, "parent_id": 1, "v": "b"}}, {"topic": "node", "value": {"id": 4, "parent_id": 9, "v": "orphan"}}, {"topic": "leaf", "value": {"id": 3, "node_id": 4, "n": 1}},
              {"topic": "node", "value": {"id": 1, "parent_id": null, "v": "a"}}]');
TABLE node ORDER BY id;
TABLE leaf ORDER BY id;
SELECT dead_letters();
-- rows that refer to each other, in circles of two and of three, beside orphans
SELECT give('[{"topic": "node", "value": {"id": 41, "parent_id": 42, "v": "x"}}, {"topic": "node", "value": {"id": 49, "parent_id": 77, "v": "orphan"}}, {"topic": "node", "value": {"id": 48, "parent_id": 49, "v": "orphan''s"}},
              {"topic": "node", "value": {"id": 42, "parent_id": 41, "v": "y"}}]');
SELECT give('[{"topic": "node", "value": {"id": 43, "parent_id": 44, "v": "x"}}, {"topic": "node", "value": {"id": 44, "parent_id": 45, "v": "y"}}, {"topic": "node", "value": {"id": 49, "parent_id": 77, "v": "orphan"}},
              {"topic": "node", "value": {"id": 45, "parent_id": 43, "v": "z"}}]');
SELECT * FROM node WHERE id > 40 ORDER BY id;
SELECT dead_letters();
-- rows that change places under a deferred unique constraint, and one in the way
CREATE TABLE rank (id bigint PRIMARY KEY, place int UNIQUE DEFERRABLE INITIALLY DEFERRED, name text NOT NULL);
SELECT djkafka_subscribe('rank', 'rank');
INSERT INTO rank VALUES (1, 1, 'one'), (2, 2, 'two');
SELECT give('[{"topic": "rank", "value": {"id": 1, "place": 2}}, {"topic": "rank", "value": {"id": 9, "place": 9, "name": null}}, {"topic": "rank", "value": {"id": 2, "place": 1}}, {"topic": "rank", "value": {"id": 3, "place": 2, "name": "three"}}]');
TABLE rank ORDER BY id;
SELECT dead_letters();
-- what stops is looked at again where it has met what does not stay
CREATE TABLE lonely (id bigint PRIMARY KEY);
CREATE FUNCTION want_no_orphan() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM node WHERE parent_id = 77) THEN RAISE 'not beside an orphan'; END IF; RETURN NEW; END $$;
CREATE TRIGGER alone BEFORE INSERT ON lonely FOR EACH ROW EXECUTE FUNCTION want_no_orphan();
SELECT djkafka_subscribe('lonely', 'lonely', on_error => 'stop');
SELECT give('[{"topic": "node", "value": {"id": 60, "parent_id": 77, "v": "orphan"}}, {"topic": "lonely", "value": {"id": 1}}, {"topic": "node", "value": {"id": 61, "parent_id": 78, "v": "orphan"}}, {"topic": "lonely", "value": {"id": 2}}]');
TABLE lonely ORDER BY id;
SELECT dead_letters();
INSERT INTO node VALUES (77, NULL, 'parent');
SELECT give('[{"topic": "node", "value": {"id": 62, "parent_id": 77, "v": "child"}}, {"topic": "node", "value": {"id": 63, "parent_id": 78, "v": "orphan"}}, {"topic": "lonely", "value": {"id": 3}}]');
SELECT dead_letters();
DROP TABLE lonely;
DELETE FROM node WHERE id = 77;

-- what it costs grows with the batch and not with its square, in subtransactions and in looks at what is there already
CREATE SEQUENCE looks;
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('isolate.looks'); RETURN NULL; END $$;
CREATE TABLE link (id bigint PRIMARY KEY, next bigint REFERENCES link DEFERRABLE INITIALLY DEFERRED);
CREATE CONSTRAINT TRIGGER look AFTER INSERT OR UPDATE ON link DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look();
SELECT djkafka_subscribe('link', 'link');
CREATE FUNCTION give_links(next text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE given jsonb; outcome text;
BEGIN
    EXECUTE format('SELECT jsonb_agg(jsonb_build_object(''topic'', ''link'', ''value'', jsonb_build_object(''id'', i, ''next'', %s)) ORDER BY i) FROM generate_series(1, 200) i', next) INTO given;
    PERFORM setval('isolate.looks', 1);
    outcome := give(given);
    DELETE FROM djkafka_dead_letter;
    RETURN outcome || CASE WHEN nextval('isolate.looks') > 20 * 200 THEN ', after ' || currval('isolate.looks') || ' looks' ELSE '' END;
END $$;
SELECT pg_snapshot_xmax(pg_current_snapshot()) AS xid \gset
SELECT give_links('CASE WHEN i % 2 = 0 THEN -1 END');
TRUNCATE link;
SELECT give_links('CASE i WHEN 200 THEN NULL WHEN 7 THEN -1 ELSE i + 1 END');
TRUNCATE link;
SELECT give_links('CASE i WHEN 1 THEN 200 WHEN 2 THEN NULL WHEN 190 THEN -1 ELSE i - 1 END');
SELECT count(*), min(id), max(id) FROM link;
SELECT CASE WHEN pg_snapshot_xmax(pg_current_snapshot())::text::bigint - :xid > 3 * 5 * 200 THEN 'after ' || pg_snapshot_xmax(pg_current_snapshot())::text::bigint - :xid || ' subtransactions' ELSE 'all is well' END;

-- what a value's type or the target says of one message is its own, whatever its class
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.note ~ '^[0-9A-Z]{5}$' THEN RAISE EXCEPTION 'refused with %', NEW.note USING ERRCODE = NEW.note; END IF; RETURN NEW; END $$;
CREATE TABLE typed (id bigint PRIMARY KEY, q tsquery, path jsonpath, class regclass, role regrole, note text);
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON typed FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT djkafka_subscribe('typed', 'typed');
SELECT give(format('[{"topic": "typed", "value": %s}]', value)::jsonb) FROM unnest(ARRAY[
    '{"id": 1, "q": "a &"}', '{"id": 2, "path": "$["}', '{"id": 3, "class": "no_such"}', '{"id": 4, "role": "no_such"}',
    '{"id": 5, "note": "42501"}', '{"id": 6, "note": "42P01"}', '{"id": 7, "note": "XX000"}', '{"id": 8, "note": "0A000"}', '{"id": 9, "note": "55000"}', '{"id": 10, "note": "25001"}']) value;
-- 15 does not name the column where it cannot catch what its input function says
SELECT regexp_replace(dead_letters(), 'column "(q|path|class|role)": ', '', 'g');
-- … djkafka's own words for a definition too, which a trigger may pass on
SELECT give('[{"topic": "typed", "value": {"id": 17, "note": "42KF2"}}, {"topic": "typed", "value": {"id": 18, "note": "42KF3"}}, {"topic": "typed", "value": {"id": 19, "note": "22KF9"}}, {"topic": "typed", "value": {"id": 10, "note": "good"}}]');
SELECT dead_letters();
-- … in the midst of others, several in one batch
SELECT give('[{"topic": "typed", "value": {"id": 11, "note": "good"}}, {"topic": "typed", "value": {"id": 12, "note": "42501"}}, {"topic": "typed", "value": {"id": 13, "q": "&"}},
              {"topic": "typed", "value": {"id": 14, "note": "XX999"}}, {"topic": "typed", "value": {"id": 15, "note": "good"}}]');
SELECT id FROM typed ORDER BY id;
SELECT regexp_replace(dead_letters(), 'column "q": ', '');
-- … in an expression
SELECT djkafka_drop_route(id) FROM djkafka_route WHERE topic = 'typed';
SELECT djkafka_subscribe('typed', 'typed', columns => '{"q": "(value->>''query'')::tsquery"}');
SELECT give('[{"topic": "typed", "value": {"id": 16, "query": "| |"}}]');
SELECT dead_letters();
-- what fails without any message is the definition's, whatever its class
CREATE MATERIALIZED VIEW rates AS SELECT 1 AS rate;
CREATE TABLE priced (id bigint PRIMARY KEY, rate int, v text);
SELECT djkafka_subscribe('priced', 'priced', columns => '{"rate": "(SELECT rate FROM isolate.rates)"}');
REFRESH MATERIALIZED VIEW rates WITH NO DATA;
SELECT regexp_replace(refused($$SELECT give('[{"topic": "priced", "value": {"id": 1}}, {"topic": "node", "value": {"id": 30, "v": "x"}}]')$$), 'route \d+', 'route N');
REFRESH MATERIALIZED VIEW rates;
SELECT give('[{"topic": "priced", "value": {"id": 1, "v": "a"}}]');
-- … an UPDATE that logical replication could not follow
CREATE TABLE plain (id bigint, v text, n int NOT NULL);
CREATE UNIQUE INDEX ON plain (id);
SELECT djkafka_subscribe('plain', 'plain', operation => 'upsert', key_columns => '{id}');
INSERT INTO plain VALUES (1, 'a', 1);
SET client_min_messages = error;
CREATE PUBLICATION isolate_all FOR TABLE plain;
RESET client_min_messages;
SELECT regexp_replace(refused($$SELECT give('[{"topic": "plain", "value": {"id": 1, "v": "b"}}]')$$), 'route \d+', 'route N');
DROP PUBLICATION isolate_all;
SELECT give('[{"topic": "plain", "value": {"id": 1, "v": "b"}}]');
TABLE plain;
-- … a DELETE that it could not follow, where another message's own statement goes
CREATE TABLE gone (id bigint, n int NOT NULL);
CREATE UNIQUE INDEX ON gone (id);
SELECT djkafka_subscribe('gone', 'gone', operation => 'mirror', key_columns => '{id}');
INSERT INTO gone VALUES (1, 1);
SET client_min_messages = error;
CREATE PUBLICATION isolate_deletes FOR TABLE gone WITH (publish = 'delete');
RESET client_min_messages;
SELECT regexp_replace(refused($$SELECT give('[{"topic": "gone", "value": {"id": 2, "n": null}}, {"topic": "gone", "key": 1}, {"topic": "gone", "value": {"id": 3, "n": 1}}]')$$), 'route \d+', 'route N');
DROP PUBLICATION isolate_deletes;
SELECT give('[{"topic": "gone", "value": {"id": 2, "n": null}}, {"topic": "gone", "key": 1}, {"topic": "gone", "value": {"id": 3, "n": 1}}]');
TABLE gone;
DELETE FROM djkafka_dead_letter;
-- … a type whose check has lost what it reads, or may not be called; and one that refuses a value in such words
CREATE TABLE allowed (code text);
INSERT INTO allowed VALUES ('a');
CREATE FUNCTION is_allowed(text) RETURNS bool LANGUAGE plpgsql STABLE AS $$ BEGIN IF $1 = 'secret' THEN RAISE 'not for you' USING ERRCODE = '42501'; END IF; RETURN EXISTS (SELECT FROM isolate.allowed WHERE code = $1); END $$;
CREATE DOMAIN code AS text CHECK (isolate.is_allowed(value) OR value IS NULL);
CREATE TABLE coded (id bigint PRIMARY KEY, code code, n int);
SELECT djkafka_subscribe('coded', 'coded');
SELECT give('[{"topic": "coded", "value": {"id": 1, "code": "a"}}, {"topic": "coded", "value": {"id": 2, "code": "b"}}, {"topic": "coded", "value": {"id": 3, "code": "secret"}}]');
SELECT give('[{"topic": "coded", "value": {"id": 3, "code": "secret"}}]');
SELECT dead_letters();
ALTER TABLE allowed RENAME TO away;
SELECT regexp_replace(refused($$SELECT give('[{"topic": "coded", "value": {"id": 4, "code": "a"}}, {"topic": "coded", "value": {"id": 5, "n": 1}}]')$$), 'route \d+', 'route N');
SELECT regexp_replace(refused($$SELECT give('[{"topic": "coded", "value": {"id": 3, "n": "x"}}, {"topic": "coded", "value": {"id": 4, "code": "a"}}]')$$), 'route \d+', 'route N');
ALTER TABLE away RENAME TO allowed;
SELECT give('[{"topic": "coded", "value": {"id": 4, "code": "a"}}, {"topic": "coded", "value": {"id": 5, "n": 1}}]');
SELECT dead_letters();
-- a handler of all messages at once is not called for none
CREATE TABLE calls (n int);
CREATE FUNCTION handle(messages djkafka_message[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN INSERT INTO calls VALUES (coalesce(cardinality(messages), -1)); IF convert_from(messages[1].value, 'UTF8')::jsonb ? 'code' THEN RAISE 'refused' USING ERRCODE = '42501'; END IF; END $$;
SELECT djkafka_subscribe('handled', handler => 'isolate.handle(djkafka_message[])');
SELECT give('[{"topic": "handled", "value": {"id": 1, "code": "42501"}}, {"topic": "handled", "value": {"id": 2}}]');
TABLE calls;
SELECT dead_letters();

-- a policy's refusal is the message's too
CREATE ROLE isolate_app LOGIN;
CREATE TABLE tenant (id bigint PRIMARY KEY, owner text, note text);
ALTER TABLE tenant ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenant FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON tenant USING (owner = 'me') WITH CHECK (owner = 'me');
ALTER TABLE tenant OWNER TO isolate_app;
GRANT USAGE ON SCHEMA isolate TO isolate_app;
GRANT EXECUTE ON FUNCTION djkafka_use_settings TO isolate_app;
GRANT SELECT ON djkafka_consumer, djkafka_route, djkafka_home, djkafka_dead_letter TO isolate_app;
GRANT EXECUTE ON FUNCTION djkafka_run TO isolate_app;
SELECT djkafka_create_consumer('app', owner => 'isolate_app');
SELECT djkafka_subscribe('tenant', 'tenant', consumer => 'app');
\set super :USER
\c - isolate_app
SELECT give('[{"topic": "tenant", "value": {"id": 1, "owner": "you", "note": "a"}}]', 'app');
SELECT give('[{"topic": "tenant", "value": {"id": 2, "owner": "me", "note": "b"}}, {"topic": "tenant", "value": {"id": 3, "owner": "you"}}, {"topic": "tenant", "value": {"id": 4, "owner": "me"}}]', 'app');
-- a row that brings some columns is judged with those that it has already
SELECT give('[{"topic": "tenant", "value": {"id": 2, "note": "c"}}, {"topic": "tenant", "value": {"id": 4, "note": "d"}}, {"topic": "tenant", "value": {"id": 5, "note": "nobody''s"}}]', 'app');
SELECT * FROM isolate.tenant ORDER BY id;
\c - :super
SET search_path = isolate, public;
\pset format unaligned
\pset tuples_only on
SELECT dead_letters();
-- … by the constraints of its partition
CREATE TABLE stock (id bigint PRIMARY KEY, place text, pieces int, note text) PARTITION BY RANGE (id);
CREATE TABLE stock_low PARTITION OF stock FOR VALUES FROM (0) TO (100);
CREATE TABLE stock_high PARTITION OF stock FOR VALUES FROM (100) TO (200);
ALTER TABLE stock_low ADD CHECK (place IS NOT NULL), ALTER COLUMN pieces SET NOT NULL;
SELECT djkafka_subscribe('stock', 'stock');
INSERT INTO stock VALUES (1, 'here', 1), (2, 'here', 2), (101, NULL, NULL);
SELECT give('[{"topic": "stock", "value": {"id": 1, "note": "a"}}, {"topic": "stock", "value": {"id": 2, "pieces": 5}}, {"topic": "stock", "value": {"id": 3, "note": "c"}}, {"topic": "stock", "value": {"id": 101, "note": "d"}}, {"topic": "stock", "value": {"id": 102, "note": "e"}}]');
TABLE stock ORDER BY id;
SELECT dead_letters();

-- what the caller has left pending is not the messages' fault, unless they bring what is missing
BEGIN;
INSERT INTO node VALUES (50, 51, 'mine');
SELECT give('[{"topic": "node", "value": {"id": 51, "v": "parent"}}, {"topic": "node", "value": {"id": 52, "v": null}}]');
SELECT dead_letters();
COMMIT;
BEGIN;
INSERT INTO node VALUES (60, 61, 'mine');
SELECT refused($$SELECT give('[{"topic": "node", "value": {"id": 62, "v": "good"}}, {"topic": "node", "value": {"id": 63, "v": null}}]')$$);
SELECT refused($$SELECT give('[{"topic": "node", "value": {"id": 62, "v": "good"}}]')$$);
ROLLBACK;
SELECT id FROM node WHERE id BETWEEN 50 AND 69 ORDER BY id;
-- … and is as it was afterwards
BEGIN;
INSERT INTO node VALUES (70, 71, 'mine'), (71, NULL, 'its parent');
SELECT give('[{"topic": "node", "value": {"id": 72, "parent_id": 79, "v": "orphan"}}]');
SELECT dead_letters();
INSERT INTO node VALUES (73, 74, 'still deferred'), (74, NULL, 'too');
COMMIT;
SELECT id FROM node WHERE id BETWEEN 70 AND 79 ORDER BY id;

-- a constraint of a partition alone that is checked at the end of each statement, made after the first messages
CREATE TABLE seat (id int PRIMARY KEY, row_id int, code text) PARTITION BY RANGE (id);
CREATE TABLE seat_1 PARTITION OF seat FOR VALUES FROM (0) TO (100);
CREATE TABLE seat_2 PARTITION OF seat FOR VALUES FROM (100) TO (200);
SELECT djkafka_subscribe('seat', 'seat');
SELECT applied, dead FROM djkafka_run('default', messages => '[{"topic": "seat", "value": {"id": 1, "code": "a"}}, {"topic": "seat", "value": {"id": 2, "code": "b"}}, {"topic": "seat", "value": {"id": 101, "code": "a"}}]');
ALTER TABLE seat_1 ADD UNIQUE (code) DEFERRABLE INITIALLY IMMEDIATE;
SELECT applied, dead FROM djkafka_run('default', messages => '[{"topic": "seat", "value": {"id": 1, "code": "b"}}, {"topic": "seat", "value": {"id": 2, "code": "a"}}]');
TABLE seat ORDER BY id;
ALTER TABLE seat_2 ADD FOREIGN KEY (row_id) REFERENCES seat;
SELECT applied, dead FROM djkafka_run('default', messages => '[{"topic": "seat", "value": {"id": 102, "row_id": 103}}, {"topic": "seat", "value": {"id": 103, "row_id": 102}}, {"topic": "seat", "value": {"id": 3, "row_id": 4}}]');
TABLE seat ORDER BY id;
CREATE VIEW seats AS SELECT * FROM seat;
SELECT djkafka_subscribe('seats', 'seats', key_columns => '{id}');
SELECT applied, dead FROM djkafka_run('default', messages => '[{"topic": "seats", "value": {"id": 1, "code": "b"}}, {"topic": "seats", "value": {"id": 2, "code": "a"}}]');
TABLE seat ORDER BY id;
-- what could not be prepared in a rehearsal, and could now, spoils no two that need each other
SELECT count(*) > 0 FROM dead_letters();
CREATE TABLE sign (sign text PRIMARY KEY, id int);
CREATE TABLE signed (id int PRIMARY KEY, sign_id int CHECK (sign_id < 0));
SELECT djkafka_subscribe('sign', 'sign');
SELECT djkafka_subscribe('signed', 'signed', columns => '{"sign_id": {"lookup": {"table": "\"sign\"", "column": "sign", "returns": "id", "field": "sign"}}}');
SELECT give('[{"topic": "node", "value": {"id": 90, "parent_id": 91, "v": "a"}}, {"topic": "signed", "value": {"id": 1, "sign": "x"}},
              {"topic": "node", "value": {"id": 91, "parent_id": 90, "v": "b"}}, {"topic": "sign", "value": {"sign": "x", "id": 1}},
              {"topic": "node", "value": {"id": 92, "parent_id": 99, "v": "orphan"}}]');
SELECT id, parent_id FROM node WHERE id >= 90 ORDER BY id;
SELECT dead_letters();
SELECT djkafka_drop_consumer(name) FROM djkafka_consumer;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA isolate CASCADE;
DROP OWNED BY isolate_app;
DROP ROLE isolate_app;
