-- djkafka_wait: what it says of a position, and refuses, where no worker runs.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE ROLE wait_other LOGIN;
CREATE ROLE wait_owner LOGIN;
GRANT EXECUTE ON FUNCTION djkafka_use_settings TO wait_owner;
CREATE SCHEMA wait;
SET search_path = wait, public;
SET djkafka.bootstrap_servers = 'embedded';
CREATE TABLE item (id int PRIMARY KEY);
SELECT djkafka_create_consumer('c', enabled => false);
SELECT djkafka_create_route('c', 'wait.items', 'item') > 0;

-- a partition that nobody has read yet may come
SELECT djkafka_wait('c', 'wait.items', 0, 5, '0 s');
SELECT djkafka_wait('c', 'wait.items', 7, 5, '10 ms');
-- a look that outlasts it is the last one: the first of a session takes longest
\c
SET statement_timeout = '20 s';
SELECT djkafka_wait('c', 'wait.items', 7, 5, '0.7 ms');
\c
SET statement_timeout = '20 s';
SELECT djkafka_wait('c', 'wait.items', 7, 5, '1 ms');
\c
SET statement_timeout = '20 s';
SELECT djkafka_wait('c', 'wait.items', 7, 5, '1.5 ms');
\c
SET search_path = wait, public;
SET djkafka.bootstrap_servers = 'embedded';
SELECT reason FROM djkafka_run('c', until => 'eof');
SELECT djkafka_wait('c', 'wait.items', 0, 0, '10 ms');

-- what nobody waits for
SELECT refused($$SELECT djkafka_wait('nobody', 'wait.items', 0, 5)$$);
SELECT refused($$SELECT djkafka_wait('c', 'wait.others', 0, 5)$$);
SELECT djkafka_create_route('c', '^wait\.patterns\..*', 'item', operation => 'insert') > 0;
SELECT djkafka_wait('c', 'wait.patterns.x', 0, 5, '0 s');
SELECT refused($$SELECT djkafka_wait('c', 'x.wait.patterns', 0, 5)$$);

-- arguments
SELECT refused($$SELECT djkafka_wait(NULL, 'wait.items', 0, 5)$$);
SELECT refused($$SELECT djkafka_wait('c', NULL, 0, 5)$$);
SELECT refused($$SELECT djkafka_wait('c', 'wait.items', NULL, 5)$$);
SELECT refused($$SELECT djkafka_wait('c', 'wait.items', 0, NULL)$$);
SELECT refused($$SELECT djkafka_wait('c', 'wait.items', 0, 5, NULL)$$);
SELECT refused($$SELECT djkafka_wait('c', 'wait.items', -1, 5)$$);
SELECT refused($$SELECT djkafka_wait('c', 'wait.items', 0, -5)$$);
SELECT refused($$SELECT djkafka_wait('c', 'wait.items', 0, 5, '-1 ms')$$);
SELECT refused($$SELECT djkafka_wait('c', 'wait.items', 0, 5, '25 days')$$);

-- applied, not applied, waiting; before and after where it began
ALTER TABLE djkafka_parked DISABLE TRIGGER djkafka_parked_guard;
ALTER TABLE djkafka_offset DISABLE TRIGGER djkafka_offset_guard;
UPDATE djkafka_offset SET first_offset = 3, next_offset = 10, applied = 7 WHERE partition = 0;
INSERT INTO djkafka_parked (consumer_id, offset_id, route_id, topic, partition, "offset", lane, sqlstate, message)
    SELECT consumer_id, id, 1, topic, partition, 5, 1, '23503', 'm' FROM djkafka_offset WHERE partition = 0;
-- the second is of an earlier count
INSERT INTO djkafka_dead_letter (consumer_id, consumer, topic, partition, "offset", sqlstate, message, created_at)
    SELECT djkafka_consumer_id('c'), 'c', 'wait.items', 0, n, '22000', 'm', t FROM (VALUES (6, now() + '1 s'), (7, '2020-01-01')) l(n, t);
INSERT INTO djkafka_event (kind, consumer_id, topic, partition, detail, created_at)
    SELECT 'skipped', djkafka_consumer_id('c'), 'wait.items', 0, d::jsonb, t
      FROM (VALUES ('{"offset": 8}', now() + '1 s'), ('{"offset": 9}', '2020-01-01'), ('{"offset": "nine"}', now()), (NULL, now()), ('9', now())) e(d, t);
ALTER TABLE djkafka_parked ENABLE ALWAYS TRIGGER djkafka_parked_guard;
ALTER TABLE djkafka_offset ENABLE ALWAYS TRIGGER djkafka_offset_guard;
SELECT djkafka_wait('c', 'wait.items', 0, 2);
SELECT djkafka_wait('c', 'wait.items', 0, 3);
SELECT djkafka_wait('c', 'wait.items', 0, 5, '10 ms');
SELECT djkafka_wait('c', 'wait.items', 0, 6);
SELECT djkafka_wait('c', 'wait.items', 0, 7);
SELECT djkafka_wait('c', 'wait.items', 0, 8);
SELECT djkafka_wait('c', 'wait.items', 0, 9);
SELECT djkafka_wait('c', 'wait.items', 0, 10, '0 s');
SELECT djkafka_wait('c', 'wait.items', 0, 9223372036854775807, '0 s');

-- in which transactions
BEGIN READ ONLY;
SELECT djkafka_wait('c', 'wait.items', 0, 3);
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT djkafka_wait('c', 'wait.items', 0, 3);
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT djkafka_wait('c', 'wait.items', 0, 3);
ROLLBACK;
CREATE FUNCTION wait_in_handler(jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM djkafka_wait('c', 'wait.items', 0, 3); END $$;
SELECT djkafka_create_route('c', 'wait.handled', handler => 'wait_in_handler(jsonb)') > 0;
SELECT give('[{"topic": "wait.handled", "value": {}}]', 'c');
SELECT sqlstate, message FROM djkafka_dead_letter WHERE topic = 'wait.handled';

-- it can be cancelled, and leaves nothing behind
SET statement_timeout = '100 ms';
SELECT djkafka_wait('c', 'wait.items', 0, 10);
SELECT djkafka_wait('c', 'wait.items', 0, 10);
RESET statement_timeout;
SELECT djkafka_wait('c', 'wait.items', 0, 10, '1 ms'), djkafka_wait('c', 'wait.items', 1, 10, '1 ms'), djkafka_wait('c', 'wait.items', 0, 3);

-- who may: the owner, and whoever sees the status
GRANT EXECUTE ON FUNCTION djkafka_wait TO wait_other, wait_owner;
SET ROLE wait_other;
SELECT refused($$SELECT djkafka_wait('c', 'wait.items', 0, 3)$$);
RESET ROLE;
GRANT SELECT ON djkafka_partition_status TO wait_other;
SET ROLE wait_other;
SELECT djkafka_wait('c', 'wait.items', 0, 3);
RESET ROLE;
REVOKE SELECT ON djkafka_partition_status FROM wait_other;
SELECT djkafka_create_consumer('owned', owner => 'wait_owner') > 0;
SET ROLE wait_owner;
SELECT refused($$SELECT djkafka_wait('owned', 't', 0, 3)$$);
SELECT refused($$SELECT djkafka_wait('c', 'wait.items', 0, 3)$$);
RESET ROLE;

SELECT djkafka_drop_consumer('owned');
SELECT djkafka_drop_consumer('c');
DELETE FROM djkafka_offset_left;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA wait CASCADE;
REVOKE ALL ON FUNCTION djkafka_wait, djkafka_use_settings FROM wait_other, wait_owner;
DROP ROLE wait_other, wait_owner;
