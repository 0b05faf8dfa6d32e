-- djkafka_skip: what is asked for, and refused, where no worker runs.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE ROLE skip_other LOGIN;
CREATE SCHEMA skip;
SET search_path = skip, public;
SET djkafka.bootstrap_servers = 'embedded';
CREATE TABLE item (id int PRIMARY KEY);
SELECT djkafka_create_consumer('o''c', group_id => 'g', enabled => false);
SELECT djkafka_create_route('o''c', 'skip.items', 'item') > 0;

-- of a partition that is known, and stands somewhere
SELECT refused($$SELECT djkafka_skip('nobody', 'skip.items', 0, 1)$$);
SELECT refused($$SELECT djkafka_skip('o''c', 'skip.items', 0, 1)$$);
SELECT reason FROM djkafka_run('o''c', until => 'eof');
SELECT refused($$SELECT djkafka_skip('o''c', 'skip.items', 4, 1)$$);
SELECT refused($$SELECT djkafka_skip('o''c', 'skip.others', 0, 1)$$);
SELECT djkafka_seek('o''c', 'skip.items', '5', 0);
SELECT refused($$SELECT djkafka_skip('o''c', 'skip.items', 0, 5)$$);
SELECT reason FROM djkafka_run('o''c', until => 'eof');
SELECT refused($$SELECT djkafka_skip('o''c', 'skip.items', 0, 4)$$);

-- arguments
SELECT refused($$SELECT djkafka_skip(NULL, 'skip.items', 0, 5)$$);
SELECT refused($$SELECT djkafka_skip('o''c', NULL, 0, 5)$$);
SELECT refused($$SELECT djkafka_skip('o''c', 'skip.items', NULL, 5)$$);
SELECT refused($$SELECT djkafka_skip('o''c', 'skip.items', -1, 5)$$);
SELECT refused($$SELECT djkafka_skip('o''c', 'skip.items', 0, -1)$$);

-- asked for, once more, another one, and none any more
SELECT revision FROM djkafka_consumer \gset
SELECT djkafka_skip('o''c', 'skip.items', 0, 5);
SELECT revision > :revision FROM djkafka_consumer;
SELECT djkafka_skip('o''c', 'skip.items', 0, 5);
SELECT djkafka_skip('o''c', 'skip.items', 0, 7);
SELECT djkafka_skip('o''c', 'skip.items', 1, 9223372036854775807);
SELECT partition, next_offset, generation, skip_offset FROM djkafka_offset ORDER BY partition;
SELECT partition, skip_offset FROM djkafka_partition_status ORDER BY partition;
SELECT djkafka_skip('o''c', 'skip.items', 0, NULL);
SELECT djkafka_skip('o''c', 'skip.items', 0, NULL);
SELECT kind, consumer, topic, partition, reason, detail, role = session_user FROM djkafka_event WHERE kind ~ 'skip' ORDER BY id;

-- it goes with its transaction
BEGIN;
SAVEPOINT s;
SELECT djkafka_skip('o''c', 'skip.items', 0, 5);
ROLLBACK TO s;
SELECT djkafka_skip('o''c', 'skip.items', 2, 5);
ROLLBACK;
SELECT count(skip_offset) FROM djkafka_offset;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT djkafka_skip('o''c', 'skip.items', 0, 6);
COMMIT;
BEGIN READ ONLY;
SELECT djkafka_skip('o''c', 'skip.items', 0, 5);
ROLLBACK;
SELECT partition, skip_offset FROM djkafka_offset ORDER BY partition;

-- a seek begins again
SELECT djkafka_seek('o''c', 'skip.items', 'earliest', 0);
SELECT partition, skip_offset FROM djkafka_offset ORDER BY partition;

-- what waits is behind the position, and goes at once
ALTER TABLE djkafka_parked DISABLE TRIGGER djkafka_parked_guard;
ALTER TABLE djkafka_offset DISABLE TRIGGER djkafka_offset_guard;
INSERT INTO djkafka_parked (consumer_id, offset_id, route_id, topic, partition, "offset", lane, sqlstate, message)
    SELECT consumer_id, id, 1, topic, partition, n, 1, '23503', 'm' FROM djkafka_offset, generate_series(3, 4) n WHERE partition = 3;
UPDATE djkafka_offset SET next_offset = 5, parked = 2, gaps = 3 WHERE partition = 3;
SELECT djkafka_skip('o''c', 'skip.items', 3, 3);
SELECT refused($$SELECT djkafka_skip('o''c', 'skip.items', 3, 3)$$);
SELECT parked, skipped, skip_offset FROM djkafka_offset WHERE partition = 3;
SELECT "offset" FROM djkafka_parked;
SELECT kind, reason, detail FROM djkafka_event ORDER BY id DESC LIMIT 1;
SELECT partition, accounted, holds FROM djkafka_audit() WHERE partition = 3;
-- nor of a partition that needs a decision
UPDATE djkafka_offset SET state = 'needs_decision' WHERE partition = 1;
ALTER TABLE djkafka_parked ENABLE ALWAYS TRIGGER djkafka_parked_guard;
ALTER TABLE djkafka_offset ENABLE ALWAYS TRIGGER djkafka_offset_guard;
SELECT refused($$SELECT djkafka_skip('o''c', 'skip.items', 1, 5)$$);

-- nobody else writes it, nor anybody a nonsense
SELECT refused($$UPDATE djkafka_offset SET skip_offset = 5$$);
SELECT refused($$SELECT djkafka_skip('o''c', 'skip.items', 0, 5)$$);
GRANT EXECUTE ON FUNCTION djkafka_skip TO skip_other;
SET ROLE skip_other;
SELECT refused($$SELECT djkafka_skip('o''c', 'skip.items', 3, 5)$$);
RESET ROLE;

-- one that is made again in its group goes on where it stopped, and remembers no wish
SELECT djkafka_skip('o''c', 'skip.items', 3, 6);
SELECT djkafka_drop_consumer('o''c');
SELECT djkafka_create_consumer('o''c', group_id => 'g', enabled => false) > 0;
SELECT partition, next_offset, skip_offset FROM djkafka_offset ORDER BY partition;
SELECT djkafka_drop_consumer('o''c');
DELETE FROM djkafka_offset_left;

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA skip CASCADE;
REVOKE ALL ON FUNCTION djkafka_skip FROM skip_other;
DROP ROLE skip_other;
