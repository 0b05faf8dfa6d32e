-- A server keeps its name while something here goes by it.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE ROLE servers_owner;
CREATE ROLE servers_stranger;
GRANT USAGE ON FOREIGN DATA WRAPPER djkafka TO servers_owner, servers_stranger;

SET ROLE servers_owner;
CREATE SERVER servers_k FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE SERVER "servers.Odd ""one""" FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
CREATE SERVER servers_free FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
RESET ROLE;

-- messages that wait
SELECT djkafka_produce('t', 'secret', server => s) IS NOT NULL FROM unnest(ARRAY['servers_k', 'servers.Odd "one"']) s;
SET ROLE servers_owner;
SELECT refused('DROP SERVER servers_k');
SELECT refused('DROP SERVER servers_k CASCADE');
SELECT refused('DROP SERVER servers_free, "servers.Odd ""one"""');
SELECT refused('ALTER SERVER servers_k RENAME TO servers_l');
SET client_min_messages = error;
SELECT refused('DROP OWNED BY servers_owner');
RESET client_min_messages;
SELECT refused($$ALTER SERVER servers_k OPTIONS (SET bootstrap_servers 'localhost:2')$$);
SELECT refused('ALTER SERVER servers_free RENAME TO servers_freed');
SELECT refused('DROP SERVER servers_freed');
RESET ROLE;
SELECT refused('DROP FOREIGN DATA WRAPPER djkafka CASCADE');
SELECT refused('ALTER SERVER servers_k OWNER TO servers_stranger');
SELECT refused('ALTER SERVER servers_k OWNER TO servers_owner');
SELECT srvname FROM pg_foreign_server WHERE srvname LIKE 'servers%' ORDER BY 1;

-- those that the command's own transaction has produced
BEGIN;
DELETE FROM djkafka_outbox_0 WHERE server = 'servers_k';
SELECT djkafka_produce('t', 'mine', server => 'servers_k') IS NOT NULL;
SELECT refused('DROP SERVER servers_k');
ROLLBACK;

-- without them it goes, and so does its row: the next server of that name begins with nothing
SELECT id AS old_id FROM djkafka_outbox_server WHERE server = 'servers_k' \gset
DELETE FROM djkafka_outbox_0;
SET ROLE servers_owner;
DROP SERVER servers_k;
ALTER SERVER "servers.Odd ""one""" RENAME TO servers_even;
RESET ROLE;
SELECT count(*) FROM djkafka_outbox_server;
SET ROLE servers_stranger;
CREATE SERVER servers_k FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:6');
RESET ROLE;
SELECT count(*) FROM djkafka_outbox;
SELECT djkafka_produce('t', 'new', server => 'servers_k') IS NOT NULL;
SELECT id <> :old_id AS another FROM djkafka_outbox_server WHERE server = 'servers_k';
DELETE FROM djkafka_outbox_0;
-- what was refused could be sent again
CREATE SERVER servers_dead FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
INSERT INTO djkafka_outbox_dead (id, txid, message_time, topic, server, error, message) VALUES (1, '1', now(), 't', 'servers_dead', 'MSG_SIZE_TOO_LARGE', 'refused');
SELECT djkafka_produce('t', 'v', server => 'servers_dead') IS NOT NULL;
DELETE FROM djkafka_outbox_0;
SELECT refused('DROP SERVER servers_dead');
SELECT djkafka_outbox_discard(1);
DROP SERVER servers_dead;

-- in one transaction
BEGIN;
SELECT djkafka_produce('t', 'new', server => 'servers_even') IS NOT NULL;
DELETE FROM djkafka_outbox_0;
DROP SERVER servers_even;
CREATE SERVER servers_even FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
SELECT djkafka_produce('t', 'newer', server => 'servers_even') IS NOT NULL;
COMMIT;
SELECT server, convert_from(value, 'UTF8') FROM djkafka_outbox;
DELETE FROM djkafka_outbox_0;

-- consumers, whatever their state
SELECT djkafka_create_consumer('servers', server => 'servers_k', enabled => false) IS NOT NULL;
SELECT refused('DROP SERVER servers_k');
SELECT refused('ALTER SERVER servers_k RENAME TO servers_l');
BEGIN;
UPDATE djkafka_consumer SET server = 'servers_even';
DROP SERVER servers_k;
SELECT refused('DROP SERVER servers_even');
ROLLBACK;
BEGIN;
DELETE FROM djkafka_consumer;
DROP SERVER servers_k;
ROLLBACK;
-- those of another home may be adopted, and would run with whoever has the name then
BEGIN;
UPDATE djkafka_home SET home = gen_random_uuid();
SELECT refused('DROP SERVER servers_k');
SELECT refused('ALTER SERVER servers_k RENAME TO servers_l');
DELETE FROM djkafka_consumer;
DROP SERVER servers_k;
ROLLBACK;
DELETE FROM djkafka_consumer;

-- publications
CREATE TABLE servers_t (id int PRIMARY KEY);
SELECT djkafka_publish('servers_t', 'changes', server => 'servers_k') > 0;
SELECT refused('DROP SERVER servers_k');
SELECT refused('ALTER SERVER servers_k RENAME TO servers_l');
DROP TABLE servers_t;
SELECT refused('DROP SERVER servers_k');

-- what belongs to others
CREATE FOREIGN DATA WRAPPER servers_other;
CREATE SERVER servers_other FOREIGN DATA WRAPPER servers_other;
ALTER SERVER servers_other RENAME TO servers_others;
SET client_min_messages = warning;
DROP FOREIGN DATA WRAPPER servers_other CASCADE;

SELECT djkafka_produce('t', 'goes with everything', server => 'servers_even') IS NOT NULL;
SELECT djkafka_uninstall(cascade => true);
SELECT count(*) FROM pg_foreign_server WHERE srvname LIKE 'servers%';
DROP ROLE servers_owner, servers_stranger;
