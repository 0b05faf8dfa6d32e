-- Producing: what becomes of values, keys and headers, what is refused, and what rolls back.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

-- a message as Kafka will get it; binary stays as it is
CREATE FUNCTION shown(bytes bytea) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN '<' || convert_from(bytes, 'UTF8') || '>';
EXCEPTION WHEN OTHERS THEN
    RETURN bytes::text;
END $$;
CREATE VIEW produced AS
SELECT o.id, o.server, o.topic, o.partition, shown(o.key) AS key, shown(o.value) AS value,
       (SELECT string_agg(h.name || '=' || coalesce(shown(h.value), 'null'), ' ' ORDER BY n)
          FROM unnest(o.headers) WITH ORDINALITY AS h (name, value, n)) AS headers, o.state
  FROM djkafka_outbox o;

-- values and keys of every type, in all four functions
SELECT djkafka_produce('t', 'untyped'), djkafka_produce('t', 'text'::text, 'k'::text), djkafka_produce('t', 'varchar'::varchar(10), 'k'::varchar);
SELECT djkafka_produce('t', '{"a":  1}'::json, '{"id": 42}'::json), djkafka_produce('t', '{"a":  1, "a": 2}'::jsonb, '{"id":42}'::jsonb);
SELECT djkafka_produce('t', '\x00ff'::bytea, '\xfe'::bytea), djkafka_produce('t', 'text', '\x01'::bytea), djkafka_produce('t', '\x01'::bytea, 'text');
SELECT djkafka_produce('t', 1, 2), djkafka_produce('t', 1::smallint, 2::bigint), djkafka_produce('t', 1.50, 0.1::float8), djkafka_produce('t', 'v', 12345678901234567890);
SELECT djkafka_produce('t', '6f0e9d58-0000-4000-8000-000000000001'::uuid, '6f0e9d58-0000-4000-8000-000000000002'::uuid);
SELECT djkafka_produce('t', NULL), djkafka_produce('t', NULL, 'k'), djkafka_produce('t', NULL::jsonb, 7), djkafka_produce('t', NULL::text, NULL::int), djkafka_produce('t', '', '');
SELECT djkafka_produce('t', 'ä€😀', 'ö');
CREATE DOMAIN code AS int CHECK (value > 0);
SELECT djkafka_produce('t', 5::code, 6::code);
SELECT key, value FROM produced ORDER BY id;

-- a driver sends parameters without a type: they are text
PREPARE untyped AS SELECT djkafka_produce($1, $2, $3);
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'untyped';
EXECUTE untyped ('t', 'v', NULL);
DEALLOCATE untyped;

-- headers, partition and time
SELECT djkafka_produce('h', 'v', headers => '{"text": "ä", "number": 1.50, "boolean": true, "null": null, "binary": {"base64": "AP8="}, "empty": ""}') AS a,
       djkafka_produce('h', 'v', headers => '[["b", "1"], ["a", "2"], ["b", null]]') AS b,
       djkafka_produce('h', 'v', headers => '{}') AS c, djkafka_produce('h', 'v', headers => '[]') AS d, djkafka_produce('h', 'v', headers => 'null') AS e,
       djkafka_produce('h', 'v', partition => 3, at_time => '2020-02-03 04:05:06.789+00') AS f;
SELECT headers, partition FROM produced WHERE topic = 'h' ORDER BY id;
SELECT message_time AT TIME ZONE 'UTC' FROM djkafka_outbox WHERE partition = 3;
SELECT bool_and(message_time BETWEEN now() - interval '1 hour' AND clock_timestamp()) FROM djkafka_outbox WHERE partition IS NULL;

-- refused, with nothing written
SELECT last_value AS before FROM djkafka_outbox_id_seq \gset
SELECT refused(format('SELECT djkafka_produce(%s)', a)) FROM unnest(ARRAY[
    $$'t', true$$, $$'t', 'v', now()$$, $$'t', ROW(1, 2)$$, $$'t', ARRAY[1]$$, $$'t', '(1,2)'::point$$,
    $$NULL, 'v'$$, $$'', 'v'$$, $$'a b', 'v'$$, $$'.', 'v'$$, $$'..', 'v'$$, $$'^t', 'v'$$, $$'ä', 'v'$$,
    $$'t', 'v', partition => -1$$,
    $$'t', 'v', at_time => 'infinity'$$, $$'t', 'v', at_time => '-infinity'$$, $$'t', 'v', at_time => '1969-12-31 23:59:59+00'$$, $$'t', 'v', at_time => '1970-01-01 00:00:00+00'$$,
    $$'t', 'v', headers => '"a"'$$, $$'t', 'v', headers => '1'$$, $$'t', 'v', headers => '{"a": []}'$$, $$'t', 'v', headers => '{"a": {}}'$$,
    $$'t', 'v', headers => '{"a": {"base64": 1}}'$$, $$'t', 'v', headers => '{"a": {"base64": "!"}}'$$, $$'t', 'v', headers => '{"a": {"base64": "", "b": ""}}'$$,
    $$'t', 'v', headers => '{"": "a"}'$$, $$'t', 'v', headers => '["a"]'$$, $$'t', 'v', headers => '[["a"]]'$$, $$'t', 'v', headers => '[["a", "b", "c"]]'$$,
    $$'t', 'v', headers => '[[1, "b"]]'$$, $$'t', 'v', headers => '[{"a": "b"}]'$$, $$'t', 'v', headers => '[["a", ["b"]]]'$$,
    $$'t', 'v', server => 'nowhere'$$]) a;
SELECT refused(format('SELECT djkafka_produce(%L, %L)', repeat('t', 250), 'v')) LIKE '42602 %';
SELECT djkafka_produce(repeat('t', 249), 'v') IS NOT NULL;

-- the size: key, value, headers and what the library adds, against what the server takes
SELECT djkafka_produce('t', repeat('x', 999964)) IS NOT NULL;
SELECT refused($$SELECT djkafka_produce('t', repeat('x', 999965))$$);
SELECT refused($$SELECT djkafka_produce('t', repeat('x', 500000), repeat('x', 500000))$$);
SELECT refused($$SELECT djkafka_produce('t', 'v', headers => jsonb_build_object('a', repeat('x', 1000000)))$$);
CREATE SERVER produce_small FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1', message_max_bytes '1000');
SELECT refused($$SELECT djkafka_produce('t', repeat('x', 1000), server => 'produce_small')$$);
ALTER SERVER produce_small OPTIONS (SET message_max_bytes '2000');
SELECT djkafka_produce('t', repeat('x', 1000), server => 'produce_small') IS NOT NULL;
ALTER SERVER produce_small OPTIONS (SET message_max_bytes '200000000');
SELECT refused($$SELECT djkafka_produce('t', repeat('x', 64 * 1024 * 1024), server => 'produce_small')$$);
SET djkafka.properties = '{"message.max.bytes": 1000}';
SELECT refused($$SELECT djkafka_produce('t', repeat('x', 1000))$$);
RESET djkafka.properties;
SELECT djkafka_produce('t', repeat('x', 1000)) IS NOT NULL;

-- a server of another wrapper, and one that goes away
CREATE FOREIGN DATA WRAPPER produce_other;
CREATE SERVER produce_other FOREIGN DATA WRAPPER produce_other;
SELECT refused($$SELECT djkafka_produce('t', 'v', server => 'produce_other')$$);
DROP FOREIGN DATA WRAPPER produce_other CASCADE;
BEGIN;
DELETE FROM djkafka_outbox_0 WHERE server = 'produce_small';
DROP SERVER produce_small;
SELECT refused($$SELECT djkafka_produce('t', 'v', server => 'produce_small')$$);
ROLLBACK;
SELECT server, id, batch, done_id > 0 AS told_ids, cardinality(done_floors) FROM djkafka_outbox_server ORDER BY id;

-- a read-only transaction
BEGIN READ ONLY;
SELECT djkafka_produce('t', 'v');
ROLLBACK;

-- rights: the settings, a server, SET ROLE back and forth, and what is taken away
CREATE ROLE produce_app;
CREATE SERVER produce_server FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
SET ROLE produce_app;
SELECT refused($$SELECT djkafka_produce('t', 'v')$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION
    djkafka_produce(text, text, text, jsonb, integer, timestamptz, text),
    djkafka_produce(text, "any", text, jsonb, integer, timestamptz, text),
    djkafka_produce(text, text, "any", jsonb, integer, timestamptz, text),
    djkafka_produce(text, "any", "any", jsonb, integer, timestamptz, text), djkafka_flush, djkafka_delivery TO produce_app;
SET ROLE produce_app;
SELECT refused($$SELECT djkafka_produce('t', 'v')$$);
SELECT refused($$SELECT djkafka_produce('t', 'v', server => 'produce_server')$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION djkafka_use_settings TO produce_app;
GRANT USAGE ON FOREIGN SERVER produce_server TO produce_app;
SET ROLE produce_app;
SELECT djkafka_produce('t', 'v') IS NOT NULL, djkafka_produce('t', 'v', server => 'produce_server', key => 1) IS NOT NULL;
SELECT refused('TABLE djkafka_outbox'), refused('SELECT djkafka_outbox_resend(1)'), refused('SELECT djkafka_outbox_discard(1)');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION djkafka_use_settings FROM produce_app;
REVOKE USAGE ON FOREIGN SERVER produce_server FROM produce_app;
SET ROLE produce_app;
SELECT refused($$SELECT djkafka_produce('t', 'v')$$);
SELECT refused($$SELECT djkafka_produce('t', 'v', server => 'produce_server')$$);
RESET ROLE;

-- savepoints: what is rolled back is gone, and the server's row with it where it was made there
CREATE SERVER produce_late FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
BEGIN;
SELECT djkafka_produce('s', 'outer') IS NOT NULL;
SAVEPOINT a;
SELECT djkafka_produce('s', 'gone', server => 'produce_late') IS NOT NULL;
SAVEPOINT b;
SELECT djkafka_produce('s', 'gone too') IS NOT NULL;
RELEASE SAVEPOINT b;
SELECT value FROM produced WHERE topic = 's' ORDER BY id;
ROLLBACK TO SAVEPOINT a;
SELECT value FROM produced WHERE topic = 's' ORDER BY id;
SELECT count(*) FROM djkafka_outbox_server WHERE server = 'produce_late';
SAVEPOINT c;
SELECT djkafka_produce('s', 'kept', server => 'produce_late') IS NOT NULL;
RELEASE SAVEPOINT c;
COMMIT;
SELECT server, value FROM produced WHERE topic = 's' ORDER BY id;
SELECT count(*) FROM djkafka_outbox_server WHERE server = 'produce_late';
DO $$
BEGIN
    FOR i IN 1..4 LOOP
        BEGIN
            PERFORM djkafka_produce('s', i);
            IF i % 2 = 0 THEN RAISE EXCEPTION 'no'; END IF;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
END $$;
SELECT value FROM produced WHERE topic = 's' ORDER BY id;
BEGIN;
SELECT djkafka_produce('s', 'never') IS NOT NULL;
ROLLBACK;
SELECT count(*) FROM produced WHERE topic = 's';

-- a server's row is there whether the transaction that was the first commits or not
CREATE SERVER produce_again FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
BEGIN;
SELECT djkafka_produce('s', 'never', server => 'produce_again') IS NOT NULL;
ROLLBACK;
SELECT djkafka_produce('s', 'again', server => 'produce_again') IS NOT NULL;
SELECT count(*) FROM djkafka_outbox_server WHERE server = 'produce_again';

-- prepared transactions; the server's row too
CREATE SERVER produce_prepared FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
BEGIN;
SELECT djkafka_produce('p', 'rolled back', server => 'produce_prepared') IS NOT NULL;
PREPARE TRANSACTION 'produce_1';
-- nobody waits for it who produces for the server
BEGIN;
SET LOCAL lock_timeout = '100ms';
SELECT djkafka_produce('p', 'beside it', server => 'produce_prepared') IS NOT NULL;
ROLLBACK;
SET lock_timeout = '100ms';
DELETE FROM djkafka_outbox_server WHERE server = 'none'; -- waits for it
RESET lock_timeout;
SELECT count(*) FROM produced WHERE topic = 'p';
ROLLBACK PREPARED 'produce_1';
BEGIN;
SELECT djkafka_produce('p', 'committed', server => 'produce_prepared') IS NOT NULL;
PREPARE TRANSACTION 'produce_2';
COMMIT PREPARED 'produce_2';
SELECT server, value FROM produced WHERE topic = 'p';
SELECT djkafka_produce('p', 'after', server => 'produce_prepared') IS NOT NULL;

-- an older snapshot finds the server's row all the same
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT 1;
SELECT djkafka_produce('s', 'repeatable', server => 'produce_again') IS NOT NULL;
COMMIT;

-- silence
SELECT refused(format('SELECT djkafka_produce(%L, ''v'')', t)) FROM unnest('{__consumer_offsets,__transaction_state,__share_group_state,__cluster_metadata}'::text[]) t;
BEGIN;
SELECT djkafka_produce('__heartbeat', 'v') > 0;
ROLLBACK;
SET djkafka.suppress = 'quiet, other';
SELECT djkafka_produce('quiet', 'v') IS NULL, djkafka_produce('other', 'v') IS NULL, djkafka_produce('loud', 'v') IS NULL, djkafka_produce('quiet.', 'v') IS NULL, djkafka_produce('qui', 'v') IS NULL;
SET djkafka.suppress = on;
SELECT djkafka_produce('quiet', 'v') IS NULL, djkafka_produce('loud', 1, 2) IS NULL;
SELECT refused($$SELECT djkafka_produce('a b', 'v')$$);
SET djkafka.suppress = 'Yes';
SELECT djkafka_produce('loud', 'v') IS NULL;
SET djkafka.suppress = off;
SELECT djkafka_produce('quiet', 'v') IS NULL;
BEGIN;
SET LOCAL djkafka.suppress = on;
SELECT djkafka_produce('quiet', 'v') IS NULL;
COMMIT;
SHOW djkafka.suppress;
SELECT refused($$SET djkafka.suppress = 'a,,b'$$), refused($$SET djkafka.suppress = 'a, b ü'$$);

-- waiting and asking
BEGIN;
SELECT djkafka_produce('f', 'v') AS id \gset
SELECT djkafka_flush();
ROLLBACK;
SELECT djkafka_produce('f', 'v') IS NOT NULL, djkafka_flush('0 s');
BEGIN;
SAVEPOINT a;
SELECT djkafka_produce('f', 'v') IS NOT NULL;
ROLLBACK TO SAVEPOINT a;
SELECT djkafka_flush('0 s');
ROLLBACK;
SELECT refused($$SELECT djkafka_produce('f', 'v'), djkafka_flush('0 s')$$);
SELECT refused($$SELECT djkafka_flush('-1 s')$$), refused($$SELECT djkafka_flush('1 year')$$);
-- a transaction that left no message is not waited for, but the one before it is
\c
BEGIN;
SAVEPOINT a;
SELECT djkafka_produce('f', 'v') IS NOT NULL;
ROLLBACK TO SAVEPOINT a;
COMMIT;
SELECT djkafka_flush(timeout => '10 ms');
SELECT djkafka_produce('f', 'v') IS NOT NULL;
BEGIN;
SAVEPOINT a;
SELECT djkafka_produce('f', 'v') IS NOT NULL;
ROLLBACK TO SAVEPOINT a;
COMMIT;
SELECT djkafka_flush(timeout => '10 ms');
SELECT djkafka_produce('f', 'v') AS id \gset
SELECT djkafka_delivery(message_id => :id), djkafka_delivery(0);

-- a table that somebody has changed, behind a savepoint
BEGIN;
ALTER TABLE djkafka_outbox_0 ADD COLUMN surplus int;
SAVEPOINT a;
SELECT refused($$SELECT djkafka_produce('f', 'v')$$);
ROLLBACK TO SAVEPOINT a;
ROLLBACK;
BEGIN;
CREATE INDEX surplus ON djkafka_outbox_0 (topic);
SELECT refused($$SELECT djkafka_produce('f', 'v')$$);
DROP INDEX surplus;
SELECT djkafka_produce('f', 'v') IS NOT NULL;
COMMIT;

-- what Kafka refused; nobody else says so, or who sends it again would send what he may not
CREATE FUNCTION forge(server text) RETURNS text LANGUAGE sql AS $$
	SELECT refused(format('INSERT INTO djkafka_outbox_dead (id, txid, message_time, topic, server, error, message)'
		' SELECT -9, %L, now(), %L, %L, %L, %L', '1', 'forged', server, 'E', 'e')) $$;
GRANT INSERT ON djkafka_outbox_dead TO produce_app;
SET ROLE produce_app;
SELECT forge(NULL), forge('produce_server');
RESET ROLE;
SELECT forge(NULL), forge('produce_server');
REVOKE INSERT ON djkafka_outbox_dead FROM produce_app;
DROP FUNCTION forge;
SELECT count(*) FROM djkafka_outbox_dead;
ALTER TABLE djkafka_outbox_dead DISABLE TRIGGER USER;
INSERT INTO djkafka_outbox_dead (id, txid, message_time, topic, error, message) SELECT -8, '1', now(), repeat('t', 250), 'E', 'e';
SELECT left(refused('SELECT djkafka_outbox_resend(-8)'), 40);
SELECT djkafka_outbox_discard(-8);
INSERT INTO djkafka_outbox_dead (id, txid, message_time, partition, topic, key, value, headers, error, message)
SELECT 0, '1', '2020-01-01 00:00+00', 2, 'd', 'k', 'v', ARRAY[('h', 'x')]::djkafka_header[], 'MSG_SIZE_TOO_LARGE', 'Broker: Message size too large';
INSERT INTO djkafka_outbox_dead (id, txid, message_time, topic, error, message) SELECT -1, '1', now(), 'd', 'E', 'e';
SELECT * FROM djkafka_delivery(0);
SELECT djkafka_outbox_resend(message_id => 0) AS id \gset
SELECT topic, partition, key, value, headers, state FROM produced WHERE id = :id;
SELECT djkafka_outbox_discard(message_id => -1);
SELECT count(*) FROM djkafka_outbox_dead;
SELECT refused('SELECT djkafka_outbox_resend(0)'), refused('SELECT djkafka_outbox_discard(-1)');

-- one is not to be had while the batch that it was taken out of is being sent
BEGIN;
ALTER TABLE djkafka_outbox_server DISABLE TRIGGER USER;
INSERT INTO djkafka_outbox_server (server, home, batch, confirmed, done, done_next, done_id, done_floor, target, cursor_id, claimed_id)
SELECT 'sending', home, 2, 1, '1:1:', '1', 0, 0, '10:10:', 5, 7 FROM djkafka_home;
INSERT INTO djkafka_outbox_dead (id, txid, message_time, topic, server, error, message)
SELECT i, '5', now(), 'd', 'sending', 'E', 'e' FROM generate_series(5, 8) i;
SELECT i, refused(format('SELECT djkafka_outbox_discard(%s)', i)) FROM generate_series(5, 8) i;
UPDATE djkafka_outbox_server SET batch = 1 WHERE server = 'sending';
SELECT refused('SELECT djkafka_outbox_discard(6)');
ROLLBACK;

-- the status: what waits, also where it can only be estimated
SELECT server, state, delivery, depth, depth_is_estimate, oldest_age < '1 hour', held, dead, sent, refused FROM djkafka_outbox_status ORDER BY server_id;
SELECT count(djkafka_produce('many', i)) FROM generate_series(1, 20000) i;
SELECT depth BETWEEN 19900 AND 20300, depth_is_estimate FROM djkafka_outbox_status WHERE server IS NULL;
INSERT INTO djkafka_outbox_dead (id, txid, message_time, topic, error, message) SELECT -2, '1', now(), 'd', 'E', 'e';
ALTER TABLE djkafka_outbox_dead ENABLE ALWAYS TRIGGER djkafka_outbox_dead_guard;
INSERT INTO djkafka_outbox_held (id, txid, message_time, topic) SELECT -3, '1', now(), 'd'; -- refused: nothing but a dump comes so
ALTER TABLE djkafka_outbox_held DISABLE TRIGGER djkafka_outbox_held_guard;
INSERT INTO djkafka_outbox_held (id, txid, message_time, topic) SELECT -3, '1', now(), 'd';
ALTER TABLE djkafka_outbox_held ENABLE ALWAYS TRIGGER djkafka_outbox_held_guard;
SELECT held, held_since IS NOT NULL, dead FROM djkafka_outbox_status WHERE server IS NULL;
SELECT verdict, state, reason, outbox FROM djkafka_health() WHERE outbox = 'settings';
SELECT djkafka_outbox_discard(-2);

-- a server's row that is made again, in a session that has seen the old one
SELECT djkafka_produce('t', 'v') IS NOT NULL;
DELETE FROM djkafka_outbox_server WHERE server IS NULL; -- refused: messages wait for it
TRUNCATE djkafka_outbox_server; -- refused: DELETE looks at each row
BEGIN;
TRUNCATE djkafka_outbox_0, djkafka_outbox_1, djkafka_outbox_2, djkafka_outbox_held;
DELETE FROM djkafka_outbox_server WHERE server IS NULL;
SELECT djkafka_produce('t', 'v') IS NOT NULL;
SAVEPOINT a;
DELETE FROM djkafka_outbox_server WHERE server IS NULL; -- refused: our own
ROLLBACK TO SAVEPOINT a;
COMMIT;
SELECT count(*) FROM djkafka_outbox_server WHERE server IS NULL;

-- the extension made again, in one session
DELETE FROM djkafka_home;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
SELECT refused($$SELECT djkafka_produce('t', 'v', server => 'elsewhere')$$);
SELECT djkafka_uninstall(cascade => true);
SELECT refused($$SELECT djkafka_produce('t', 'v')$$);
CREATE EXTENSION djkafka;
SELECT djkafka_produce('t', 'v');
SELECT count(*) FROM djkafka_outbox_server;
BEGIN;
SELECT djkafka_uninstall();
CREATE EXTENSION djkafka;
SELECT djkafka_produce('t', 'in between');
ROLLBACK;
SELECT djkafka_produce('t', 'after');
SELECT count(*) FROM djkafka_outbox, djkafka_outbox_server;
-- in a transaction that has produced already, and in a savepoint that is rolled back
BEGIN;
SELECT djkafka_produce('t', 'gone with it');
SELECT djkafka_uninstall();
CREATE EXTENSION djkafka;
SELECT djkafka_produce('t', 'in between');
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT djkafka_uninstall();
CREATE EXTENSION djkafka;
SELECT djkafka_produce('t', 'in between');
ROLLBACK TO SAVEPOINT a;
SELECT djkafka_produce('t', 'after');
COMMIT;
SELECT count(*) FROM djkafka_outbox;
-- and where the new one could not be written to
BEGIN;
SELECT djkafka_produce('t', 'before');
SAVEPOINT a;
SELECT djkafka_uninstall();
CREATE EXTENSION djkafka;
CREATE INDEX ON djkafka_outbox_0 (topic);
SELECT djkafka_produce('t', 'refused');
ROLLBACK TO SAVEPOINT a;
SELECT djkafka_produce('t', 'after');
COMMIT;
SELECT count(*) FROM djkafka_outbox;

DROP FUNCTION shown(bytea);
DROP DOMAIN code;
DROP ROLE produce_app;
