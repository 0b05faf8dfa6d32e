-- What waits of one key: a deletion that supersedes it, and how much of it may.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA lanes;
SET search_path = lanes, public;
SET client_min_messages = warning;
CREATE FUNCTION by_worker(consumer text, batches text[]) RETURNS jsonb LANGUAGE c STRICT AS '$libdir/djkafka', 'djkafka_test_apply_waiting';
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent, n int);
INSERT INTO parent VALUES (1);

-- which bounds there may be
SELECT djkafka_create_consumer('c', enabled => false);
SELECT refused($$SELECT djkafka_create_route('c', 't', 'child', max_lane_messages => 0)$$);
SELECT refused($$SELECT djkafka_create_route('c', 't', 'child', max_lane_bytes => -1)$$);
SELECT refused($$SELECT djkafka_create_route('c', 't', 'child', max_lane_age => '0 s')$$);
SELECT refused($$SELECT djkafka_create_route('c', 't', 'child', max_lane_age => '1 month -40 days')$$);
SELECT refused($$SELECT djkafka_create_route('c', 't', 'child', on_full_lane => 'skip')$$);
SELECT refused($$SELECT djkafka_create_route('c', 't', 'child', on_full_lane => NULL)$$);
SELECT refused($$SELECT djkafka_create_route('c', 't', 'child', ordering => 'none', max_lane_bytes => 1)$$);
SELECT djkafka_drop_consumer('c');

-- Messages are applied as one batch, as two or three, and one by one: each way by a consumer of its own.
CREATE TABLE told (name text, way text, what text);
CREATE PROCEDURE try(name text, given text[], options text = '', ways text[] = '{whole,parts,single}') LANGUAGE plpgsql AS $$ DECLARE
    cut text;
    batches text[];
    own text;
BEGIN
    FOREACH cut IN ARRAY ways LOOP
        own := replace(name || '-' || cut, ' ', '-');
        TRUNCATE child CASCADE;
        INSERT INTO child VALUES (2, 1, 0);
        PERFORM djkafka_create_consumer(own, enabled => false);
        EXECUTE format('SELECT djkafka_create_route(%L, %L, ''child'' %s)', own, own, options);
        SELECT array_agg(b ORDER BY m) INTO batches FROM (
            SELECT min(i) AS m, '[' || string_agg(format('{"topic": "%s", "offset": %s, %s}', own, i - 1, g), ',' ORDER BY i) || ']' AS b
              FROM unnest(given) WITH ORDINALITY x(g, i) GROUP BY CASE cut WHEN 'single' THEN i WHEN 'parts' THEN i / 4 END) b;
        COMMIT;
        PERFORM by_worker(own, batches);
        INSERT INTO told SELECT try.name, cut, w FROM (
            SELECT 'row ' || c FROM child c
            UNION ALL SELECT format('%s waits %s', "offset", sqlstate) FROM djkafka_parked p WHERE p.topic = own
            UNION ALL SELECT format('%s dead: %s %s %s, tried %s times', "offset", sqlstate, message, detail, attempts) || coalesce(', before ' || newer_offset, '') FROM djkafka_dead_letter l WHERE consumer = own
            UNION ALL SELECT format('%s applied, %s superseded, %s parked, %s dead, at %s', o.applied, superseded, o.parked, o.dead, next_offset) FROM djkafka_offset o WHERE o.topic = own
            UNION ALL SELECT 'the audit does not hold' FROM djkafka_audit() a WHERE a.consumer = own AND NOT holds) x (w);
        PERFORM djkafka_drop_consumer(own);
        DELETE FROM djkafka_dead_letter;
    END LOOP;
END $$;
CREATE FUNCTION what(name text) RETURNS SETOF text LANGUAGE sql SET search_path = lanes AS $$
    SELECT CASE WHEN count(*) = (SELECT count(DISTINCT o.way) FROM told o WHERE o.name = $1) THEN '' ELSE string_agg(way, ' and ' ORDER BY way) || ' alone: ' END || what FROM told t WHERE t.name = $1 GROUP BY what ORDER BY what COLLATE "C"
$$;

-- a deletion supersedes what waits of its key: nothing of that would be left
CALL try('superseded', ARRAY['"key": "1", "value": {"id": 1, "parent_id": 9, "n": 1}', '"key": "2", "value": {"id": 2, "parent_id": 9, "n": 2}', '"key": "1", "value": {"id": 1, "parent_id": 1, "n": 3}',
    '"key": "1", "value": null', '"key": "1", "value": {"id": 1, "parent_id": 1, "n": 4}', '"key": "2", "value": {"id": 2, "__deleted": true}', '"key": "3", "value": {"id": 3, "parent_id": 9}',
    '"key": "2", "value": {"id": 2, "parent_id": 9}', '"key": "2", "value": {"id": 2, "parent_id": 1}']);
SELECT what('superseded');
-- … of the same key in Kafka
CALL try('another key', ARRAY['"key": "a", "value": {"id": 1, "parent_id": 9}', '"key": "1", "value": null', '"key": "1", "value": {"id": 1, "parent_id": 1}'], ways => '{whole}');
SELECT what('another key');
CALL try('no key', ARRAY['"value": {"id": 1, "parent_id": 9}', '"value": {"id": 1, "__deleted": true}'], ways => '{whole}');
SELECT what('no key');
-- … and of the same row, not of one whose key has the same hash
CREATE TABLE big (id bigint PRIMARY KEY, parent_id int REFERENCES parent);
CREATE TABLE kept (way text, superseded bigint, parked bigint, ids bigint[]);
CREATE PROCEDURE alike(own text, cut text, deleted text, given text) LANGUAGE plpgsql AS $$ BEGIN
    PERFORM djkafka_create_consumer(own, enabled => false), djkafka_create_route(own, own, 'big');
    COMMIT;
    PERFORM by_worker(own, string_to_array(replace(format(given, cut, deleted), '{"offset"', format('{"topic": "%s", "offset"', own)), '; '));
    INSERT INTO kept SELECT own, superseded, parked, ARRAY(SELECT id FROM big ORDER BY id) FROM djkafka_offset WHERE topic = own;
    PERFORM djkafka_drop_consumer(own);
    TRUNCATE big;
    DELETE FROM parent WHERE id = 9;
END $$;
\set given '[{"offset": 0, "key": "t", "value": {"id": 5, "parent_id": 9}}%s{"offset": 1, "key": "t", "value": {"id": %s, "__deleted": true}}]; INSERT INTO lanes.parent VALUES (9); [{"offset": 2, "key": "u", "value": {"id": 7}}]'
CALL alike('whole', ', ', '5', :'given');
CALL alike('parts', ']; [', '5', :'given');
CALL alike('whole-other', ', ', '4294967300', :'given');
CALL alike('parts-other', ']; [', '4294967300', :'given');
SELECT * FROM kept ORDER BY 1;
DROP TABLE big, kept;
-- … by a mirror, without versions, where no trigger sees the rows
CALL try('versions', ARRAY['"key": "1", "value": {"id": 1, "parent_id": 9, "n": 1}', '"key": "1", "value": null'], ', version_column => ''n''', ways => '{whole}');
SELECT what('versions');
CALL try('parts', ARRAY['"key": "1", "value": {"id": 1, "parent_id": 9, "n": 1}', '"key": "1", "value": null'], ', partial_deletes => true', ways => '{whole}');
SELECT what('parts');
CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER leave AFTER INSERT ON child FOR EACH ROW WHEN (false) EXECUTE FUNCTION leave();
CALL try('triggers', ARRAY['"key": "1", "value": {"id": 1, "parent_id": 9, "n": 1}', '"key": "1", "value": null'], ways => '{whole}');
SELECT what('triggers');
DROP TRIGGER leave ON child;
-- … nor where a policy may keep the row, or a change leaves its traces in what refers to it
ALTER TABLE child ENABLE ROW LEVEL SECURITY;
CALL try('policies', ARRAY['"key": "1", "value": {"id": 1, "parent_id": 9, "n": 1}', '"key": "1", "value": null'], ways => '{whole}');
SELECT what('policies');
ALTER TABLE child DISABLE ROW LEVEL SECURITY;
ALTER TABLE child ADD UNIQUE (n);
CREATE TABLE follower (n int REFERENCES child (n) ON UPDATE SET NULL);
CALL try('followers', ARRAY['"key": "1", "value": {"id": 1, "parent_id": 9, "n": 1}', '"key": "1", "value": null'], ways => '{whole}');
SELECT what('followers');
DROP TABLE follower;
-- … or to that in turn, which changes with it
CREATE TABLE follower (n int UNIQUE REFERENCES child (n) ON UPDATE CASCADE);
CREATE TABLE next (n int REFERENCES follower (n) ON UPDATE SET NULL);
CALL try('next', ARRAY['"key": "1", "value": {"id": 1, "parent_id": 9, "n": 1}', '"key": "1", "value": null'], ways => '{whole}');
SELECT what('next');
DROP TABLE next;
CALL try('changed alike', ARRAY['"key": "1", "value": {"id": 1, "parent_id": 9, "n": 1}', '"key": "1", "value": null'], ways => '{whole}');
SELECT what('changed alike');
DROP TABLE follower;
ALTER TABLE child DROP CONSTRAINT child_n_key;
-- … and only if it is applied itself; else it waits behind the others
CREATE TABLE leaf (child_id int REFERENCES child DEFERRABLE);
CREATE PROCEDURE held(deferred text) LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE 'ALTER TABLE leaf ALTER CONSTRAINT leaf_child_id_fkey DEFERRABLE INITIALLY ' || deferred;
    TRUNCATE leaf, child;
    INSERT INTO child VALUES (7, 1, 0);
    INSERT INTO leaf VALUES (7);
    PERFORM djkafka_create_consumer(deferred, enabled => false), djkafka_create_route(deferred, deferred, 'child');
    COMMIT;
    PERFORM by_worker(deferred, ARRAY[format('[{"topic": %1$s, "offset": 0, "key": "7", "value": {"id": 7, "parent_id": 9}}, {"topic": %1$s, "offset": 1, "key": "7", "value": null},
        {"topic": %1$s, "offset": 2, "key": "7", "value": {"id": 7, "parent_id": 8}}, {"topic": %1$s, "offset": 3, "key": "8", "value": {"id": 8, "parent_id": 1}}]', to_json(deferred))]);
END $$;
CALL held('IMMEDIATE');
SELECT "offset", sqlstate, parent, children FROM djkafka_parked ORDER BY 1;
SELECT applied, superseded, parked FROM djkafka_offset;
SELECT djkafka_drop_consumer('IMMEDIATE');
CALL held('DEFERRED');
SELECT "offset", sqlstate, parent, children FROM djkafka_parked ORDER BY 1;
SELECT applied, superseded, parked FROM djkafka_offset;
SELECT djkafka_drop_consumer('DEFERRED');
DROP TABLE leaf;
DELETE FROM djkafka_dead_letter;

-- so many of a key, and no more: then they are dead letters, and the next one is tried
CALL try('messages', ARRAY['"key": "1", "value": {"id": 1, "parent_id": 9, "n": 1}', '"key": "1", "value": {"id": 1, "parent_id": 1, "n": 2}', '"key": "2", "value": {"id": 2, "parent_id": 9}',
    '"key": "1", "value": {"id": 1, "parent_id": 1, "n": 3}', '"key": "1", "value": {"id": 1, "parent_id": 1, "n": 4}', '"key": "1", "value": {"id": 1, "parent_id": 8}', '"key": "1", "value": {"id": 1, "n": 5}',
    '"key": "2", "value": {"id": 2, "n": 6}', '"key": "1", "value": {"id": 1, "parent_id": 7, "n": 7}', '"key": "1", "value": {"id": 1, "parent_id": 1, "n": 8}'], ', max_lane_messages => 2');
SELECT what('messages');
CALL try('one', ARRAY['"key": "1", "value": {"id": 1, "parent_id": 9, "n": 1}', '"key": "1", "value": {"id": 1, "parent_id": 8, "n": 2}', '"key": "1", "value": {"id": 1, "parent_id": 9, "n": "x"}', '"key": "1", "value": {"id": 1, "parent_id": 7}'], ', max_lane_messages => 1');
SELECT what('one');
CALL try('bytes', ARRAY['"key": "1", "value": {"id": 1, "parent_id": 9, "n": 1}', '"key": "1", "value": {"id": 1, "parent_id": 1, "n": 2}', '"key": "1", "value": {"id": 1, "parent_id": 1, "n": 3}'], ', max_lane_bytes => 80', ways => '{whole}');
SELECT what('bytes');
-- behind one that is tried again as well; whatever on_error says
CALL try('retries', ARRAY['"key": "1", "value": {"id": 1, "parent_id": 9, "n": 1}', '"key": "1", "value": {"id": 1, "n": 2}', '"key": "1", "value": {"id": 1, "parent_id": 1, "n": 3}', '"key": "1", "value": null'],
    ', max_lane_messages => 2, parent_timeout => ''0'', retry => ''{"max_retries": 3, "delay": "1 h"}''');
SELECT what('retries');
CALL try('skipped', ARRAY['"key": "1", "value": {"id": 1, "parent_id": 9, "n": 1}', '"key": "1", "value": {"id": 1, "parent_id": 9, "n": 1}'], ', max_lane_messages => 1, on_error => ''skip''', ways => '{whole}');
SELECT what('skipped');

-- what a transaction of the batch has written behind an end of its own counts for the next ones
ALTER TABLE child ADD CONSTRAINT fair CHECK (n >= 0);
CREATE FUNCTION ended_before() RETURNS text[] LANGUAGE sql AS $$
    SELECT array_agg(format('"key": "%s", "value": {"id": %s, "parent_id": %s, "n": %s}', CASE WHEN i < 3 THEN '1' ELSE 'x' END, CASE WHEN i <= 3 THEN 1 ELSE 100 + i END, CASE WHEN i <= 3 THEN 9 ELSE 1 END, CASE WHEN i <= 3 THEN 0 ELSE -(i % 2) END) ORDER BY i)
        || ARRAY['"key": "1", "value": {"id": 1, "parent_id": 1}', '"key": "1", "value": null'] FROM generate_series(0, 150) i $$;
CALL try('ended before', ended_before(), ', max_lane_messages => 3', ways => '{whole,single}');
SELECT * FROM what('ended before') w WHERE w !~ '^row .[0-9]{3},|fair';
ALTER TABLE child DROP CONSTRAINT fair;

-- what has waited for too long is given up, by the first that comes behind it, or when it is tried
SELECT djkafka_create_consumer('a', enabled => false);
SELECT djkafka_create_route('a', 'a', 'child', max_lane_age => '1 h', parent_timeout => '1 day') > 0;
SELECT djkafka_create_route('a', 'b', 'child', max_lane_age => '1 h', parent_timeout => '0', retry => '{"max_retries": -1, "delay": "1 day"}') > 0;
SELECT by_worker('a', ARRAY['[{"topic": "a", "offset": 0, "key": "1", "value": {"id": 1, "parent_id": 9}}, {"topic": "a", "offset": 1, "key": "1", "value": {"id": 1, "parent_id": 9, "n": 1}}, {"topic": "b", "offset": 0, "key": "5", "value": {"id": 5, "parent_id": 9}}]'])->>'state';
CREATE FUNCTION wait_long() RETURNS void LANGUAGE sql SECURITY DEFINER SET session_replication_role = replica AS $$
    UPDATE djkafka_parked SET parked_at = parked_at - interval '2 h', due_at = due_at - interval '2 days' $$;
SELECT wait_long();
SELECT by_worker('a', ARRAY['[{"topic": "a", "offset": 2, "key": "1", "value": {"id": 1, "parent_id": 1, "n": 2}}, {"topic": "b", "offset": 1, "key": "6", "value": {"id": 6, "parent_id": 1}}]'])->>'state';
SELECT topic, "offset", sqlstate, detail, hint, newer_offset FROM djkafka_dead_letter ORDER BY 1, 2;
SELECT topic, applied, parked, dead, retries FROM djkafka_offset ORDER BY 1;
TABLE child ORDER BY id;
SELECT djkafka_drop_consumer('a');

DROP SCHEMA lanes CASCADE;
