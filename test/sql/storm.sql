-- A partition of which too many messages fail stops: where, and how it goes on.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA storm;
SET search_path = storm, public;
CREATE FUNCTION by_worker(consumer text, batches text[]) RETURNS jsonb LANGUAGE c STRICT AS '$libdir/djkafka', 'djkafka_test_apply_waiting';
CREATE TABLE item (id bigint PRIMARY KEY, n int CHECK (n >= 0), parent_id bigint);

-- on the consumer, else as the settings say
SHOW djkafka.storm_share;
SHOW djkafka.storm_window;
SELECT djkafka_create_consumer('c', enabled => false, storm_share => 0.5, storm_window => 20) > 0;
SELECT djkafka_create_consumer('d', enabled => false) > 0;
SELECT name, storm_share, storm_window FROM djkafka_consumer ORDER BY id;
SELECT refused($$SELECT djkafka_create_consumer('e', storm_share => 1.01)$$);
SELECT refused($$SELECT djkafka_create_consumer('e', storm_share => -0.1)$$);
SELECT refused($$UPDATE djkafka_consumer SET storm_share = 'NaN'$$);
SELECT refused($$UPDATE djkafka_consumer SET storm_share = 'Infinity'$$);
SELECT refused($$SELECT djkafka_alter_consumer('c', storm_window => 0)$$);
SELECT refused($$SELECT djkafka_alter_consumer('c', storm_window => 1000001)$$);
SELECT djkafka_alter_consumer('d', storm_share => 0, storm_window => 1) > 0;
SELECT djkafka_alter_consumer('d', reset => '{storm_share,storm_window}') > 0;
SELECT name, storm_share, storm_window FROM djkafka_consumer ORDER BY id;

-- messages of one partition in batches of a size; every "bad"th fails, or all but every "good"th
SELECT djkafka_create_route('c', '^s[.]', 'item') > 0;
CREATE FUNCTION batches(topic text, fails boolean[], size int, first int DEFAULT 0) RETURNS text[] LANGUAGE sql AS $$
    SELECT array_agg(batch ORDER BY n) FROM (
        SELECT (i - 1) / size AS n, jsonb_agg(jsonb_build_object('topic', topic, 'offset', first + i - 1, 'key', i::text, 'value',
                   CASE WHEN NOT fails[i] THEN jsonb_build_object('id', i, 'n', 1) WHEN i % 3 = 0 THEN '"no object"'
                        ELSE jsonb_build_object('id', i, 'n', -1) END) ORDER BY i)::text AS batch
          FROM generate_subscripts(fails, 1) i GROUP BY 1) b $$;
CREATE VIEW stands AS
SELECT topic, next_offset, applied, dead, recent, recent_failed, state FROM djkafka_offset ORDER BY topic;
CREATE FUNCTION apply(topic text, fails boolean[], size int) RETURNS text LANGUAGE sql AS $$
    SELECT by_worker('c', batches(topic, fails, size))->>'state' $$;

-- all fail: behind more than a half of half a window
SELECT apply('s.all', array_fill(true, ARRAY[100]), 100);
SELECT * FROM stands;
SELECT reason FROM djkafka_offset WHERE state = 'storm';
SELECT kind, state, topic, partition, reason FROM djkafka_event WHERE kind = 'storm';
-- nothing behind it is lost, and what was dead stays
SELECT count(*), min("offset"), max("offset") FROM djkafka_dead_letter;
SELECT consumer, topic, state, reason, recent, recent_failed FROM djkafka_partition_status WHERE consumer = 'c' AND state <> 'no_route';
SELECT holds FROM djkafka_audit();

-- what is told to go on counts from zero again; the right to do so is the owner's
SELECT refused($$SELECT djkafka_resume('none')$$);
CREATE ROLE djkafka_storm_other LOGIN;
GRANT SELECT, UPDATE ON djkafka_consumer TO djkafka_storm_other;
GRANT EXECUTE ON FUNCTION djkafka_resume TO djkafka_storm_other;
GRANT USAGE ON SCHEMA storm TO djkafka_storm_other;
SET ROLE djkafka_storm_other;
SELECT refused($$SELECT public.djkafka_resume('c')$$);
RESET ROLE;
SELECT state FROM djkafka_offset;
BEGIN;
SELECT djkafka_resume('c');
SELECT * FROM stands;
ROLLBACK;
SELECT * FROM stands;
SELECT djkafka_resume('c');
SELECT djkafka_pause('c');
SELECT * FROM stands;
SELECT kind, state, topic, partition, reason FROM djkafka_event WHERE kind = 'storm' ORDER BY id DESC LIMIT 1;
SELECT by_worker('c', batches('s.all', array_fill(true, ARRAY[50]), 50, (SELECT next_offset::int FROM stands)))->>'state';
SELECT * FROM stands;
-- a seek goes on too
SELECT djkafka_seek('c', 's.all', 'earliest');
SELECT * FROM stands;

-- what was long ago does not count for ever
SELECT apply('s.after', array_fill(false, ARRAY[1000]) || array_fill(true, ARRAY[100]), 300);
-- a steady half is no storm, two thirds are
SELECT apply('s.half', array_agg(i % 2 = 0), 70) FROM generate_series(1, 1000) i;
SELECT apply('s.most', array_agg(i % 3 <> 0), 70) FROM generate_series(1, 1000) i;
SELECT * FROM stands;

-- the place is the same however they are batched: random messages
CREATE TABLE ran (n int, size int, next_offset bigint, applied bigint, dead bigint, state text);
CREATE TABLE log (id bigint, n int CHECK (n >= 0));
SELECT djkafka_create_route('c', '^r[.]', 'log', operation => 'insert') > 0;
SELECT setseed(0.25);
CREATE TABLE sequence AS
SELECT n, (SELECT array_agg(random() < 0.3 + (n % 5) * 0.1 + i / 400.0) FROM generate_series(1, 120) i) AS fails FROM generate_series(1, 12) n;
DO $$
DECLARE s record; size int;
BEGIN
    FOR s IN SELECT * FROM sequence ORDER BY n LOOP
        FOREACH size IN ARRAY ARRAY[1, 2, 7, 33, 120] LOOP
            PERFORM apply(format('r.%s.%s', s.n, size), s.fails, size);
            INSERT INTO ran SELECT s.n, size, o.next_offset, o.applied, o.dead, o.state FROM djkafka_offset o WHERE o.topic = format('r.%s.%s', s.n, size);
        END LOOP;
    END LOOP;
END $$;
SELECT n, count(*), min(next_offset), min(dead), min(state) FROM ran GROUP BY n
HAVING count(DISTINCT (next_offset, applied, dead, state)) > 1 OR count(*) <> 5;
SELECT count(DISTINCT next_offset) > 3, count(DISTINCT n) FILTER (WHERE state = 'storm') BETWEEN 3 AND 12 FROM ran;
-- … and where the count says it is
WITH RECURSIVE counted (n, i, recent, failed, stopped) AS (
    SELECT n, 0, 0, 0, false FROM sequence
    UNION ALL
    SELECT c.n, c.i + 1, h.recent + 1, h.failed + f.f, f.f = 1 AND h.failed + 1 > 0.5 * greatest(h.recent + 1, 10)
      FROM counted c JOIN sequence s USING (n)
     CROSS JOIN LATERAL (SELECT s.fails[c.i + 1]::int AS f) f
     CROSS JOIN LATERAL (SELECT CASE WHEN c.recent >= 20 THEN c.recent / 2 ELSE c.recent END AS recent,
                                CASE WHEN c.recent >= 20 THEN c.failed / 2 ELSE c.failed END AS failed) h
     WHERE NOT c.stopped AND c.i < 120)
SELECT n, max(c.i), min(r.next_offset) FROM counted c JOIN ran r USING (n) GROUP BY n HAVING max(c.i) <> min(r.next_offset);

-- what is skipped because it fails counts as what is dead, what somebody has asked to skip does not, nor what is filtered
SELECT djkafka_create_consumer('s', enabled => false, on_error => 'skip', storm_share => 0, storm_window => 1) > 0;
SELECT djkafka_create_route('s', 'skip', 'item', filter => 'value->>''n'' <> ''7''') > 0;
SELECT by_worker('s', ARRAY['[{"topic": "skip", "offset": 0, "value": {"id": 1, "n": 7}}]'])->>'state';
SELECT djkafka_skip('s', 'skip', 0, 1);
SELECT by_worker('s', ARRAY['[{"topic": "skip", "offset": 1, "value": {"id": 1, "n": -1}}, {"topic": "skip", "offset": 2, "value": {"id": 2, "n": 2}},
    {"topic": "skip", "offset": 3, "value": {"id": 1, "n": -1}}, {"topic": "skip", "offset": 4, "value": {"id": 4, "n": 4}}]'])->>'state';
SELECT next_offset, applied, filtered, skipped, recent, recent_failed, state FROM djkafka_offset WHERE topic = 'skip';

-- of two partitions one stops; what waits counts when it has its fate
SELECT djkafka_create_consumer('p', enabled => false, storm_share => 0, storm_window => 1) > 0;
SELECT djkafka_create_route('p', 'two', 'item') > 0;
SELECT by_worker('p', ARRAY['[{"topic": "two", "partition": 0, "offset": 0, "value": {"id": 1, "n": 1}}, {"topic": "two", "partition": 1, "offset": 0, "value": {"id": 1, "n": -1}},
    {"topic": "two", "partition": 0, "offset": 1, "value": {"id": 2, "n": 1}}]'])->>'state';
SELECT partition, next_offset, applied, dead, state FROM djkafka_offset WHERE topic = 'two' ORDER BY 1;
SELECT djkafka_create_route('p', 'again', 'item', retry => '{"max_retries": 1, "delay": "1 h", "include": ["23514"]}') > 0;
SELECT by_worker('p', ARRAY['[{"topic": "again", "offset": 0, "value": {"id": 10, "n": -1}}, {"topic": "again", "offset": 1, "value": {"id": 11, "n": -1}}]'])->>'state';
SELECT next_offset, dead, parked, recent, recent_failed, state FROM djkafka_offset WHERE topic = 'again';
ALTER TABLE djkafka_parked DISABLE TRIGGER djkafka_parked_guard;
UPDATE djkafka_parked SET due_at = due_at - interval '1 h';
ALTER TABLE djkafka_parked ENABLE ALWAYS TRIGGER djkafka_parked_guard;
SELECT by_worker('p', ARRAY['[{"topic": "again", "offset": 2, "value": {"id": 12, "n": 1}}]'])->>'state';
SELECT next_offset, applied, dead, parked, recent, recent_failed, state FROM djkafka_offset WHERE topic = 'again';
SELECT count(*) FROM djkafka_audit() WHERE NOT holds;

-- what was to go to a topic of retries, to which it may not, and cannot wait either, has failed
SELECT djkafka_create_consumer('t', group_id => 'storm', enabled => false, storm_share => 0.5, storm_window => 10) > 0;
SELECT djkafka_create_consumer('u', retries_of => 't', enabled => false) > 0;
SELECT djkafka_create_route('t', '^(storm[.])?sent', 'item', ordering => 'none', retry => '{"max_retries": 1, "delay": "1 h", "include": ["23514"], "through": "topics"}') > 0;
ALTER SYSTEM SET djkafka.max_parked = 0;
SELECT pg_reload_conf();
\c
SET search_path = storm, public;
SELECT by_worker('t', ARRAY[(SELECT jsonb_agg(jsonb_build_object('topic', 'sent', 'offset', i, 'value', jsonb_build_object('id', i, 'n', -1))) FROM generate_series(0, 9) i)::text])->>'state';
SELECT next_offset, retried, parked, dead, recent, recent_failed, state FROM djkafka_offset WHERE topic = 'sent';
SELECT DISTINCT sqlstate, hint FROM djkafka_dead_letter WHERE topic = 'sent';
ALTER SYSTEM RESET djkafka.max_parked;
SELECT pg_reload_conf();

DROP OWNED BY djkafka_storm_other;
DROP ROLE djkafka_storm_other;
SELECT djkafka_drop_consumer(name) FROM djkafka_consumer WHERE name IN ('c', 'd', 's', 'p', 't');
DELETE FROM djkafka_dead_letter WHERE consumer IN ('c', 's', 'p', 't');
DROP SCHEMA storm CASCADE;
