-- Silence: who may ask for it, how long it lasts, and that it is counted.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on
CREATE ROLE sup_owner;
CREATE ROLE sup_writer;
CREATE ROLE sup_dba SUPERUSER;
CREATE ROLE sup_deputy IN ROLE sup_owner;
GRANT EXECUTE ON FUNCTION djkafka_use_settings(), djkafka_produce(text, text, text, jsonb, integer, timestamp with time zone, text) TO sup_owner, sup_writer;
GRANT CREATE ON SCHEMA public TO sup_owner;
CREATE VIEW public.published AS SELECT id, topic, convert_from(key, 'UTF8') AS key FROM djkafka_outbox;
CREATE FUNCTION news() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
    SELECT topic || ' ' || coalesce(key, '') FROM published WHERE id > coalesce(current_setting('test.seen', true)::bigint, 0) ORDER BY id
$$;
CREATE FUNCTION seen() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$ SELECT set_config('test.seen', coalesce(max(id), 0)::text, false) FROM published $$;
CREATE TABLE orders (id int PRIMARY KEY);
CREATE TABLE parts (id int PRIMARY KEY, order_id int REFERENCES orders ON DELETE CASCADE);
SELECT djkafka_publish('orders', 'orders', key_format => 'text') > 0, djkafka_publish('parts', 'parts', key_format => 'text') > 0;
ALTER TABLE orders OWNER TO sup_owner;
ALTER TABLE parts OWNER TO sup_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON orders, parts TO sup_writer;

-- A token holds until it is given back, or the savepoint or transaction ends, in whichever way.
SET ROLE sup_owner;
BEGIN;
SELECT djkafka_suppress() AS t \gset
INSERT INTO orders VALUES (1);
SELECT djkafka_unsuppress(:t), djkafka_unsuppress(:t);
INSERT INTO orders VALUES (2);
SAVEPOINT inner_block;
SELECT djkafka_suppress('{orders}') > 0;
INSERT INTO orders VALUES (3);
INSERT INTO parts VALUES (3, 3);
SAVEPOINT innermost;
SELECT djkafka_suppress() > 0;
INSERT INTO parts VALUES (4, 3);
RELEASE innermost;
INSERT INTO parts VALUES (5, 3);
RELEASE inner_block;
INSERT INTO orders VALUES (6);
SAVEPOINT failing;
SELECT djkafka_suppress('{orders,parts}') AS t \gset
ROLLBACK TO failing;
SELECT djkafka_unsuppress(:t);
INSERT INTO orders VALUES (7);
SELECT djkafka_suppress('{nothing}') > 0, djkafka_suppress('{}') > 0;
INSERT INTO orders VALUES (8);
SELECT djkafka_suppress() > 0;
SELECT djkafka_produce('own', 'v') IS NULL;
COMMIT;
INSERT INTO orders VALUES (9);
SELECT * FROM news();
SELECT seen();
-- one that is given back in a savepoint is in force again when that is rolled back
BEGIN;
SELECT djkafka_suppress() AS t \gset
SAVEPOINT a;
SELECT djkafka_unsuppress(:t), djkafka_unsuppress(:t);
INSERT INTO orders VALUES (130);
ROLLBACK TO a;
INSERT INTO orders VALUES (131);
SAVEPOINT b;
SELECT djkafka_unsuppress(:t);
RELEASE b;
INSERT INTO orders VALUES (132);
ROLLBACK TO a;
INSERT INTO orders VALUES (133);
RELEASE a;
SAVEPOINT c;
SELECT djkafka_unsuppress(:t);
RELEASE c;
INSERT INTO orders VALUES (134);
SAVEPOINT d;
ROLLBACK TO d;
INSERT INTO orders VALUES (135);
SELECT djkafka_unsuppress(:t);
COMMIT;
SELECT id FROM orders WHERE id >= 130 ORDER BY id;
SELECT * FROM news();
SELECT seen();
SELECT refused($$SELECT djkafka_suppress('{a b}')$$), refused($$SELECT djkafka_suppress('{a,NULL}')$$);
-- said where it comes to nothing; a block of statements is one transaction
SELECT djkafka_suppress() > 0;
INSERT INTO orders VALUES (10);
SET LOCAL djkafka.suppress = on;
INSERT INTO orders VALUES (11);
SET client_min_messages = error;
DO $$ BEGIN
    PERFORM djkafka_suppress();
    INSERT INTO orders VALUES (12);
END $$;
RESET client_min_messages;
SELECT * FROM news();
SELECT seen();
-- a session's silence is told, once for each time that it is set
SET djkafka.suppress = on;
INSERT INTO orders VALUES (13);
INSERT INTO orders VALUES (14);
SELECT djkafka_produce('own', 'v') IS NULL;
SET djkafka.suppress = 'orders';
INSERT INTO orders VALUES (15);
RESET djkafka.suppress;
SELECT * FROM news();

-- Nobody silences what is another's: not the changes of a table, nor what its functions and cascades do.
RESET ROLE;
CREATE FUNCTION tell() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$ SELECT djkafka_produce('told', 'v') $$;
ALTER FUNCTION tell() OWNER TO sup_owner;
CREATE FUNCTION add_order(int) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$ INSERT INTO orders VALUES ($1) $$;
ALTER FUNCTION add_order(int) OWNER TO sup_owner;
CREATE FUNCTION add_in_silence(int) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET djkafka.suppress = on AS $$ BEGIN INSERT INTO orders VALUES ($1); END $$;
ALTER FUNCTION add_in_silence(int) OWNER TO sup_owner;
SELECT seen();
SET ROLE sup_writer;
BEGIN;
SET LOCAL djkafka.suppress = on;
SELECT refused('INSERT INTO orders VALUES (20)');
SELECT refused('DELETE FROM orders WHERE id = 3');
SELECT refused('SELECT add_order(20)');
SELECT refused('SELECT tell()');
SELECT djkafka_produce('own', 'v') IS NULL;
SELECT add_in_silence(21);
SET LOCAL djkafka.suppress = 'other';
INSERT INTO orders VALUES (22);
COMMIT;
BEGIN;
SELECT djkafka_suppress() > 0;
SELECT refused('INSERT INTO orders VALUES (20)');
SELECT refused('SELECT add_order(20)');
SELECT refused('SELECT tell()');
COMMIT;
SELECT * FROM news();
SELECT seen();
RESET ROLE;
-- but its owner's members and superusers may, and whom the owner lets
SET ROLE sup_deputy;
BEGIN;
SELECT djkafka_suppress() > 0;
INSERT INTO orders VALUES (30);
COMMIT;
SET ROLE sup_dba;
BEGIN;
SET LOCAL djkafka.suppress = on;
INSERT INTO orders VALUES (31);
COMMIT;
RESET ROLE;
UPDATE djkafka_publication SET silence = 'writers' WHERE topic = 'orders';
SELECT refused($$UPDATE djkafka_publication SET silence = 'everybody'$$);
SET ROLE sup_writer;
BEGIN;
SET LOCAL djkafka.suppress = on;
INSERT INTO orders VALUES (32);
SELECT add_order(33);
SELECT refused('INSERT INTO parts VALUES (32, 32)');
COMMIT;
RESET ROLE;
SELECT * FROM news();

-- What was silenced is counted: rows of tables, and messages
SELECT djkafka_suppressed() AS before \gset
BEGIN;
SELECT djkafka_suppress() > 0;
INSERT INTO orders SELECT generate_series(100, 109);
UPDATE orders SET id = id + 100 WHERE id >= 100;
DELETE FROM orders WHERE id >= 205;
SELECT count(djkafka_produce('own', 'v')) FROM generate_series(1, 4);
COMMIT;
SELECT djkafka_suppressed() - :before;
SELECT DISTINCT suppressed - :before FROM djkafka_outbox_status;

SET client_min_messages = warning;
SELECT djkafka_uninstall(cascade => true);
DROP TABLE orders, parts;
DROP FUNCTION news, seen, tell, add_order, add_in_silence;
REVOKE CREATE ON SCHEMA public FROM sup_owner;
DROP ROLE sup_deputy, sup_owner, sup_writer, sup_dba;
