-- Attacks: nobody gets more rights than he had, by whatever he can write.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on
\set super :USER

CREATE ROLE attack_owner LOGIN;
CREATE ROLE attack_writer LOGIN;
CREATE SCHEMA attack;
GRANT USAGE ON SCHEMA attack TO attack_owner, attack_writer;

-- What a hostile function does wherever it is run: notes as whom, tries to rise.
CREATE TABLE attack.trace (trick text, who name, login name, is_super boolean);
GRANT INSERT ON attack.trace TO PUBLIC;
CREATE FUNCTION attack.probe(trick text) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    attempt text;
BEGIN
    BEGIN
        INSERT INTO attack.trace VALUES (trick, current_user, session_user,
            (SELECT rolsuper FROM pg_roles WHERE rolname = current_user));
    EXCEPTION WHEN OTHERS THEN NULL; END;
    FOREACH attempt IN ARRAY ARRAY['ALTER ROLE attack_writer SUPERUSER', 'ALTER ROLE attack_owner SUPERUSER',
        'RESET ROLE', 'SET SESSION AUTHORIZATION DEFAULT'] LOOP
        BEGIN
            EXECUTE attempt;
            INSERT INTO attack.trace VALUES (trick || ': ' || attempt, current_user, session_user,
                (SELECT rolsuper FROM pg_roles WHERE rolname = current_user));
        EXCEPTION WHEN OTHERS THEN NULL; END;
    END LOOP;
    RETURN true;
END $$;
-- As whom each trick ran, and away with the traces.
CREATE FUNCTION attack.traces() RETURNS TABLE (trick text, who name, is_super boolean) LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM attack.trace RETURNING *)
    SELECT DISTINCT split_part(trick, ':', 1), regexp_replace(who, '^' || current_user || '$', 'SUPERUSER')::name, is_super FROM gone ORDER BY 1, 2
$$;
CREATE FUNCTION attack.risen() RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT rolname || ' became superuser' FROM pg_roles WHERE rolname LIKE 'attack\_%' AND rolsuper
$$;

--
-- Published tables: a role with INSERT on one and the right to temporary tables
--

CREATE TABLE attack.acct (id bigint PRIMARY KEY, owner text, note text);
GRANT INSERT, SELECT, UPDATE ON attack.acct TO attack_writer;
SELECT djkafka_publish('attack.acct', 'accounts') AS id \gset

-- What is written of the trigger of another's publication, on a table of one's own.
CREATE FUNCTION attack.fake(definition text, publication bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    event text;
    answers text[] := '{}';
BEGIN
    FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
        BEGIN
            EXECUTE definition;
            EXECUTE format('CREATE TRIGGER djkafka_publish_%s_%s %s %s ON fake %s FOR EACH STATEMENT EXECUTE FUNCTION public.djkafka_publish_trigger(%L)',
                publication, event, CASE event WHEN 'truncate' THEN 'BEFORE' ELSE 'AFTER' END, event,
                CASE event WHEN 'insert' THEN 'REFERENCING NEW TABLE AS djkafka_new'
                           WHEN 'update' THEN 'REFERENCING OLD TABLE AS djkafka_old NEW TABLE AS djkafka_new'
                           WHEN 'delete' THEN 'REFERENCING OLD TABLE AS djkafka_old' ELSE '' END, publication);
            INSERT INTO fake (id, owner) VALUES (1, 'x'), (2, 'y');
            UPDATE fake SET owner = 'z';
            DELETE FROM fake WHERE id = 1;
            TRUNCATE fake;
            answers := answers || 'it fires'::text;
            DROP TABLE fake;
        EXCEPTION WHEN OTHERS THEN answers := answers || (SQLSTATE || ' ' || SQLERRM);
        END;
    END LOOP;
    RETURN (SELECT string_agg(DISTINCT a, '; ') FROM unnest(answers) a);
END $$;
CREATE TABLE attack.definition (n int, sql text);
GRANT SELECT ON attack.definition TO PUBLIC;
INSERT INTO attack.definition VALUES
    -- a generated column that is computed as somebody else
    (1, $$CREATE TEMP TABLE fake (id bigint PRIMARY KEY, owner text, note text GENERATED ALWAYS AS (pg_temp.f(owner)) STORED) PARTITION BY RANGE (id);
        CREATE TEMP TABLE fake1 PARTITION OF fake FOR VALUES FROM (0) TO (1000)$$),
    -- values of other types than the plan reads
    (2, $$CREATE TEMP TABLE fake (id bigint PRIMARY KEY, owner text, note bigint DEFAULT 81985529216486895)$$),
    (3, $$CREATE TEMP TABLE fake (owner text, id text PRIMARY KEY, note int[] DEFAULT '{1,2}')$$),
    -- fewer columns, dropped ones, more
    (4, $$CREATE TEMP TABLE fake (id bigint PRIMARY KEY, owner text)$$),
    (5, $$CREATE TEMP TABLE fake (gone int, id bigint PRIMARY KEY, owner text, note text); ALTER TABLE fake DROP COLUMN gone$$),
    (6, $$CREATE TEMP TABLE fake (id bigint PRIMARY KEY, owner text, note text, more text)$$),
    -- the same shape: forged messages
    (7, $$CREATE TEMP TABLE fake (LIKE attack.acct INCLUDING ALL)$$),
    -- a child of the published table
    (8, $$CREATE TEMP TABLE fake (c text) INHERITS (attack.acct)$$);

-- Code could undo a SET ROLE or SET SESSION AUTHORIZATION of the test, so the attackers log in.
\c - attack_writer
CREATE FUNCTION pg_temp.f(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM attack.probe('generated'); RETURN t; END $$;
INSERT INTO attack.acct VALUES (3, 'ada', 'first');
SELECT n, attack.fake(sql, :id) FROM attack.definition ORDER BY n;
\c - :super
-- with the function's right as well, which who restores dumps has
GRANT EXECUTE ON FUNCTION djkafka_publish_trigger TO attack_writer;
\c - attack_writer
CREATE FUNCTION pg_temp.f(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM attack.probe('generated'); RETURN t; END $$;
UPDATE attack.acct SET note = 'second';
SELECT n, attack.fake(sql, :id) FROM attack.definition ORDER BY n;
\c - :super
SELECT convert_from(value, 'UTF8') FROM djkafka_outbox ORDER BY id;
SELECT * FROM attack.traces();
SELECT attack.risen();

-- after DROP EXTENSION and CREATE EXTENSION in the session that keeps the plans, with the same id for another's table
BEGIN;
UPDATE attack.acct SET note = 'third';
SET LOCAL client_min_messages = error;
SELECT djkafka_uninstall(cascade => true);
SELECT tgname FROM pg_trigger WHERE tgrelid = 'attack.acct'::regclass;
CREATE EXTENSION djkafka;
CREATE TABLE attack.other (id text PRIMARY KEY, n numeric);
SELECT djkafka_publish('attack.other', 'others') = :id AS same_id;
INSERT INTO attack.other VALUES ('a', 1);
UPDATE attack.acct SET note = 'fourth';
SELECT topic, convert_from(value, 'UTF8') FROM djkafka_outbox ORDER BY id;
ROLLBACK;

--
-- Shadowed names: a writer's own operators, functions and tables, before those of the system
--

CREATE SCHEMA attack_evil AUTHORIZATION attack_writer;
GRANT EXECUTE ON FUNCTION djkafka_use_settings, djkafka_flush, djkafka_delivery, djkafka_consumer_id, djkafka_pause, djkafka_unpublish,
    djkafka_create_consumer, djkafka_create_route, djkafka_subscribe, djkafka_drop_consumer, djkafka_seek, djkafka_skip, djkafka_wait, djkafka_run, djkafka_publish, djkafka_health, djkafka_audit,
    djkafka_worker_status, djkafka_partition_owner, djkafka_outbox_waiting, djkafka_suppressed, djkafka_is_home, djkafka_system_state TO attack_writer, attack_owner;
GRANT EXECUTE ON FUNCTION djkafka_produce(text, text, text, jsonb, integer, timestamptz, text) TO attack_writer, attack_owner;
GRANT EXECUTE ON PROCEDURE djkafka_snapshot TO attack_writer, attack_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON djkafka_consumer, djkafka_route, djkafka_publication TO attack_writer, attack_owner;
GRANT SELECT ON djkafka_status, djkafka_partition_status, djkafka_outbox_status, djkafka_outbox, djkafka_offset TO attack_writer, attack_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON attack.acct TO attack_writer;
\c - attack_writer
\set ECHO none
SET client_min_messages = error;
DO $do$
DECLARE
    t text; o text; f text;
BEGIN
    FOREACH t IN ARRAY ARRAY['text', 'bigint', 'int', 'uuid', 'oid', 'boolean', 'name', 'regclass', 'jsonb', 'bytea', 'timestamptz', 'regrole'] LOOP
        EXECUTE format('CREATE FUNCTION attack_evil.op(%1$s, %1$s) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN attack.probe(''operator''); END $$', t);
        FOREACH o IN ARRAY ARRAY['=', '<>', '<', '>', '<=', '>=', '||', '+', '-', '?'] LOOP
            EXECUTE format('CREATE OPERATOR attack_evil.%1$s (LEFTARG = %2$s, RIGHTARG = %2$s, FUNCTION = attack_evil.op)', o, t);
        END LOOP;
    END LOOP;
    FOREACH f IN ARRAY ARRAY['now()', 'clock_timestamp()', 'current_database()', 'gen_random_uuid()', 'row_to_json(record)', 'count(anyelement)', 'coalesce_(text)', 'upper(text)', 'to_json(anyelement)',
        'array_replace(anyarray, anyelement, anyelement)', 'jsonb_build_object(text, jsonb)', 'pg_visible_in_snapshot(xid8, pg_snapshot)', 'make_interval(float8)', 'unnest(anyarray)', 'quote_literal(text)',
        'pg_event_trigger_ddl_commands()', 'pg_event_trigger_dropped_objects()', 'djkafka_is_home(uuid)', 'djkafka_worker_status()', 'format(text, text)'] LOOP
        EXECUTE format('CREATE FUNCTION attack_evil.%s RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM attack.probe(''function''); RETURN NULL; END $$', f);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['djkafka_home', 'djkafka_consumer', 'djkafka_route', 'djkafka_offset', 'djkafka_publication', 'djkafka_outbox_server', 'djkafka_outbox_0', 'djkafka_event', 'pg_class', 'pg_inherits', 'pg_type', 'pg_trigger'] LOOP
        EXECUTE format('CREATE TEMP TABLE %I (id bigint, home uuid, relation regclass, name text)', t);
    END LOOP;
END $do$;
\set ECHO all
SET search_path = pg_temp, attack_evil, pg_catalog, public;
-- (the trap is set: this runs into it)
SELECT 'a'::text = 'b'::text;
INSERT INTO attack.acct VALUES (100, 'eve', 'x');
UPDATE attack.acct SET note = 'y' WHERE id OPERATOR(pg_catalog.=) 100;
DELETE FROM attack.acct WHERE id OPERATOR(pg_catalog.=) 100;
SELECT public.djkafka_produce('t', 'v') IS NOT NULL;
SELECT state FROM public.djkafka_delivery(1);
SELECT public.djkafka_create_consumer('evil', enabled => false) IS NOT NULL;
CREATE TABLE attack_evil.target (id int PRIMARY KEY, v text);
SELECT public.djkafka_create_route('evil', 't', 'attack_evil.target', filter => 'true') IS NOT NULL;
SELECT public.djkafka_run('evil', messages => '[{"topic": "t", "value": {"id": 1, "v": "a"}}, {"topic": "t", "value": "x"}]') IS NOT NULL;
SELECT public.djkafka_wait('evil', 't', 0, 5, '0 s');
SELECT public.djkafka_skip('evil', 't', 0, 5);
SELECT public.djkafka_pause('evil');
SELECT pg_catalog.count(verdict) OPERATOR(pg_catalog.>) 0 FROM public.djkafka_health();
SELECT pg_catalog.count(*) FROM public.djkafka_audit();
SELECT public.djkafka_publish('attack_evil.target', 'targets', exclude => '{v}') IS NOT NULL;
ALTER TABLE attack_evil.target RENAME v TO w;
INSERT INTO attack_evil.target VALUES (7, 'hidden');
CALL public.djkafka_snapshot('attack_evil.target');
SELECT public.djkafka_unpublish('attack_evil.target');
DROP TABLE attack_evil.target;
SELECT public.djkafka_drop_consumer('evil');
\c - :super
-- only the writer himself has run what is his, where he called it
SELECT * FROM attack.traces();
SELECT attack.risen();
SELECT topic, count(*) FROM djkafka_outbox GROUP BY topic ORDER BY topic;

--
-- A table's owner against a superuser who does what a superuser does: changes the publication, takes a snapshot, renames
--

CREATE SCHEMA attack_own AUTHORIZATION attack_owner;
\c - attack_owner
SET client_min_messages = error;
SET search_path = attack_own, public;
\set ECHO none
CREATE FUNCTION immutable_lure(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM attack.probe('immutable'); RETURN $1; END $$;
CREATE FUNCTION volatile_lure(text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN PERFORM attack.probe('volatile'); RETURN $1; END $$;
CREATE FUNCTION policy_lure() RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM attack.probe('policy'); RETURN true; END $$;
CREATE FUNCTION check_lure(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM attack.probe('domain'); RETURN true; END $$;
CREATE FUNCTION index_lure(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM attack.probe('index'); RETURN $1; END $$;
CREATE FUNCTION view_lure(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN PERFORM attack.probe('view'); RETURN true; END $$;
CREATE TABLE deferred_side (n int);
CREATE FUNCTION deferred_lure() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM attack.probe('deferred'); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER d AFTER INSERT ON deferred_side DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION deferred_lure();
-- things that would outlive the expression; each attempt on its own
CREATE FUNCTION leave_behind(text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    attempt text; done text := '';
BEGIN
    PERFORM attack.probe('leave');
    FOREACH attempt IN ARRAY ARRAY['INSERT INTO attack_own.deferred_side VALUES (1)', 'DECLARE held CURSOR WITH HOLD FOR SELECT attack.probe(''held'')', 'CREATE TEMP TABLE left_behind (id int DEFAULT attack.probe(''default'')::int)',
        'LISTEN djkafka', 'PREPARE p AS SELECT 1', 'SET search_path = attack_own', 'SET ROLE NONE', 'SET SESSION AUTHORIZATION DEFAULT', 'SET LOCAL session_replication_role = replica', 'LOAD ''plpgsql''', 'COMMIT'] LOOP
        BEGIN
            EXECUTE attempt;
            done := done || attempt || ';';
        EXCEPTION WHEN OTHERS THEN NULL; END;
    END LOOP;
    RETURN done;
END $$;
CREATE DOMAIN checked AS text CHECK (check_lure(VALUE));
CREATE TYPE pair AS (a text, b text);
CREATE FUNCTION pair_json(pair) RETURNS json LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM attack.probe('cast'); RETURN '{"a":1}'; END $$;
CREATE CAST (pair AS json) WITH FUNCTION pair_json(pair);
\set ECHO all
CREATE TABLE lure (id int PRIMARY KEY, v text, d checked, p pair, g text GENERATED ALWAYS AS (index_lure(v)) STORED);
CREATE INDEX ON lure (index_lure(v));
ALTER TABLE lure ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON lure USING (policy_lure());
CREATE VIEW glass WITH (security_barrier) AS SELECT * FROM lure WHERE view_lure(v);
INSERT INTO lure VALUES (1, 'a', 'b', ROW('c', 'd')), (2, 'a', 'b', ROW('c', 'd'));
SELECT djkafka_publish('lure', 'lures', filter => $$volatile_lure(v) IS NOT NULL AND immutable_lure('x') = 'x'$$,
    columns => '{"x": "(SELECT max(v) FROM attack_own.glass)", "y": "leave_behind(v)", "z": "v::attack_own.checked"}') AS lure \gset
SELECT djkafka_create_consumer('lure', enabled => false) IS NOT NULL;
CREATE TABLE fed (id int PRIMARY KEY, v text DEFAULT volatile_lure('x'), d checked);
CREATE UNIQUE INDEX ON fed (index_lure(v), id);
SELECT djkafka_create_route('lure', 't', 'fed', filter => $$immutable_lure('x') = 'x'$$, columns => '{"v": "immutable_lure(''y'')"}') AS route \gset
\c - :super
DELETE FROM attack.trace;
CREATE TEMP TABLE before AS SELECT current_setting('search_path') AS path, current_setting('session_replication_role') AS replication;
UPDATE djkafka_publication SET enabled = enabled WHERE id = :lure;
CALL djkafka_snapshot('attack_own.lure');
ALTER TABLE attack_own.lure RENAME v TO w;
ALTER TABLE attack_own.lure RENAME w TO v;
UPDATE djkafka_route SET notify = 'off' WHERE id = :route;
SELECT refused($$SELECT djkafka_run('lure', messages => '[{"topic": "t", "value": {"id": 1}}]')$$);
TRUNCATE attack_own.lure;
SELECT current_setting('search_path') = path, current_setting('session_replication_role') = replication FROM before;
SELECT count(*) FROM pg_cursors WHERE name = 'held';
SELECT count(*) FROM pg_listening_channels();
SELECT count(*) FROM pg_class WHERE relname = 'left_behind';
SELECT count(*) FROM pg_prepared_statements;
SELECT current_user = session_user;
-- as the table's owner, and not as the superuser; what it left behind is nothing
SELECT * FROM attack.traces();
SELECT DISTINCT convert_from(value, 'UTF8')::jsonb->>'y' AS left_behind FROM djkafka_outbox WHERE topic = 'lures' AND value IS NOT NULL;
SELECT attack.risen();

--
-- A superuser who became the owner, and changes a route of his: what runs then must not undo that
--

\c - attack_owner
SET client_min_messages = error;
-- RESET is refused within what is immutable, but not a function that does the same
CREATE FUNCTION attack_own.undo(how text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
    BEGIN
        IF how = 'role' THEN PERFORM set_config('role', 'none', false);
        ELSE PERFORM set_config('session_authorization', session_user, false); END IF;
    EXCEPTION WHEN OTHERS THEN NULL; END;
    PERFORM attack.probe('undo');
    RETURN how;
END $$;
SELECT djkafka_create_route('lure', 'undo_filter', 'attack_own.fed', filter => $$attack_own.undo('role') = 'role'$$) > 0,
    djkafka_create_route('lure', 'undo_column', 'attack_own.fed', columns => $${"v": "attack_own.undo('session')"}$$) > 0;
CREATE TABLE attack_own.kept (id int PRIMARY KEY, v text DEFAULT attack_own.undo('role'));
SELECT djkafka_create_route('lure', 'undo_default', 'attack_own.kept') > 0;
\c - :super
DELETE FROM attack.trace;
SET ROLE attack_owner;
UPDATE djkafka_route SET notify = 'off' WHERE topic LIKE 'undo%';
SELECT djkafka_create_route('lure', 'undo_more', 'attack_own.fed', filter => $$attack_own.undo('role') IS NULL$$) > 0;
RESET ROLE;
SET SESSION AUTHORIZATION attack_owner;
UPDATE djkafka_route SET notify = 'batch' WHERE topic LIKE 'undo%';
RESET SESSION AUTHORIZATION;
SELECT * FROM attack.traces();
SELECT attack.risen();
DELETE FROM djkafka_route WHERE topic LIKE 'undo%';

--
-- Rows that say more than their writer may: another's consumer, table, home, connection
--

CREATE TABLE attack.secret (id int PRIMARY KEY, v text);
CREATE SERVER attack_kafka FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
SELECT djkafka_create_consumer('mine', enabled => false) AS mine \gset
\c - attack_owner
SET client_min_messages = error;
SELECT refused(replace(s, 'MINE', :'mine')) FROM unnest(ARRAY[
    'INSERT INTO djkafka_consumer (name, owner) VALUES (''a'', 10::regrole)',
    'INSERT INTO djkafka_consumer (name, owner, home) VALUES (''a'', 10::regrole, gen_random_uuid())',
    'INSERT INTO djkafka_consumer (name, owner) VALUES (''a'', 4000000000::oid::regrole)',
    'INSERT INTO djkafka_consumer (name, server) VALUES (''a'', ''attack_kafka'')',
    'INSERT INTO djkafka_consumer (id, name) VALUES (MINE, ''a'')',
    'UPDATE djkafka_consumer SET owner = ''attack_owner''::regrole WHERE id = MINE',
    'UPDATE djkafka_consumer SET id = MINE WHERE name = ''lure''',
    'UPDATE djkafka_consumer SET home = gen_random_uuid() WHERE name = ''lure''',
    'UPDATE djkafka_consumer SET options = ''{"plugin.library.paths": "/tmp/x.so"}'' WHERE name = ''lure''',
    'INSERT INTO djkafka_route (consumer_id, topic, handler) VALUES (MINE, ''t'', ''attack_own.immutable_lure(text)'')',
    'INSERT INTO djkafka_route (consumer_id, topic, target) SELECT id, ''u'', ''attack.secret'' FROM djkafka_consumer WHERE name = ''lure''',
    'INSERT INTO djkafka_route (consumer_id, topic, target) SELECT id, ''u'', ''pg_authid'' FROM djkafka_consumer WHERE name = ''lure''',
    'INSERT INTO djkafka_route (consumer_id, topic, target) SELECT id, ''u'', ''djkafka_consumer'' FROM djkafka_consumer WHERE name = ''lure''',
    'INSERT INTO djkafka_route (consumer_id, topic, target, columns) SELECT id, ''u'', ''attack_own.fed'', ''{"v": "pg_read_file(''''/etc/passwd'''')"}'' FROM djkafka_consumer WHERE name = ''lure''',
    'SELECT djkafka_publish(''attack.secret'', ''x'')',
    'SELECT djkafka_publish(''pg_authid'', ''x'')',
    'SELECT djkafka_publish(''pg_catalog.pg_class'', ''x'')',
    'SELECT djkafka_publish(''djkafka_home'', ''x'')',
    'SELECT djkafka_publish(''attack_own.glass'', ''x'')',
    'INSERT INTO djkafka_publication (relation, topic, home) VALUES (''attack.secret'', ''x'', gen_random_uuid())',
    'INSERT INTO djkafka_publication (relation, topic, home) VALUES (''attack.acct'', ''x'', gen_random_uuid())',
    'UPDATE djkafka_publication SET relation = ''attack.acct'' WHERE topic = ''lures''',
    'UPDATE djkafka_publication SET relation = ''attack_own.fed'' WHERE topic = ''accounts''',
    'UPDATE djkafka_publication SET server = ''attack_kafka'' WHERE topic = ''lures''',
    'SELECT djkafka_publish(''attack_own.fed'', ''x'', server => ''attack_kafka'')',
    'SELECT djkafka_produce(''t'', ''v'', server => ''attack_kafka'')',
    'SELECT djkafka_seek(''mine'', ''t'', ''earliest'')',
    'SELECT djkafka_skip(''mine'', ''t'', 0, 5)',
    'UPDATE djkafka_offset SET skip_offset = 5',
    'SELECT djkafka_run(''mine'', messages => ''[]'')',
    'DELETE FROM djkafka_consumer WHERE id = MINE',
    'INSERT INTO djkafka_offset (consumer_id, topic, partition) VALUES (MINE, ''t'', 0)']) s;
CREATE TEMP TABLE temporary (id int PRIMARY KEY);
SELECT refused('SELECT djkafka_publish(''temporary'', ''x'')');
\c - :super
SELECT * FROM attack.traces();
SELECT attack.risen();
DROP SERVER attack_kafka;

--
-- A consumer's owner in a session of his own, and one that became him
--

\c - attack_owner
SELECT applied, dead FROM djkafka_run('lure', messages => '[{"topic": "t", "value": {"id": 1, "d": "x"}}, {"topic": "t", "value": {"id": 2, "d": "y"}}]');
SELECT current_user, session_user;
\c - :super
SELECT * FROM attack.traces();
-- a superuser is not lured into it by any way to another name
SET ROLE attack_owner;
SELECT refused($$SELECT djkafka_run('lure', messages => '[]')$$);
RESET ROLE;
SET SESSION AUTHORIZATION attack_owner;
SELECT refused($$SELECT djkafka_run('lure', messages => '[]')$$);
RESET SESSION AUTHORIZATION;
CREATE FUNCTION attack.definer() RETURNS record LANGUAGE sql SECURITY DEFINER AS $$ SELECT public.djkafka_run('lure', messages => '[]') $$;
ALTER FUNCTION attack.definer() OWNER TO attack_owner;
SELECT refused($$SELECT attack.definer()$$);
SELECT * FROM attack.traces();
SELECT attack.risen();

--
-- A superuser who subscribes another's table, or has another's function called, is told what that means
--

SELECT djkafka_create_consumer('trusting', enabled => false) > 0;
CREATE FUNCTION attack_own.handle(jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM attack.probe('handler'); END $$;
SELECT djkafka_create_route('trusting', 't', 'attack.secret') > 0, djkafka_create_route('trusting', 'u', handler => 'attack_own.handle(jsonb)') > 0;
ALTER FUNCTION attack_own.handle OWNER TO attack_owner;
SELECT djkafka_create_route('trusting', 't', 'attack_own.fed') > 0;
SELECT djkafka_create_route('trusting', 'looked_up', 'attack.secret', lookups => '{"v": {"table": "attack_own.deferred_side", "column": "n", "returns": "n", "field": "n"}}') > 0;
SELECT djkafka_create_route('trusting', 'read', 'attack.secret', columns => '{"v": "(SELECT max(n) FROM attack_own.deferred_side)"}') > 0;
UPDATE djkafka_route SET on_error = 'skip' WHERE topic = 'u';
-- not where the rights are its owner's own
SELECT djkafka_create_consumer('careful', enabled => false, owner => 'attack_owner') > 0;
SELECT djkafka_create_route('careful', 't', 'attack_own.fed') > 0, djkafka_create_route('careful', 'u', handler => 'attack_own.handle(jsonb)') > 0;
SELECT djkafka_drop_consumer('trusting'), djkafka_drop_consumer('careful');

--
-- Numbers that are used again: the dead letters of a consumer that is gone
--

CREATE ROLE attack_victim LOGIN;
CREATE SCHEMA attack_victim AUTHORIZATION attack_victim;
GRANT EXECUTE ON FUNCTION djkafka_use_settings, djkafka_create_consumer, djkafka_consumer_id, djkafka_create_route, djkafka_run, djkafka_drop_consumer TO attack_victim;
GRANT SELECT, INSERT, UPDATE, DELETE ON djkafka_consumer, djkafka_route TO attack_victim;
GRANT EXECUTE ON FUNCTION djkafka_replay TO attack_owner;
\c - attack_victim
CREATE TABLE attack_victim.account (id int PRIMARY KEY, pin int);
SELECT djkafka_create_consumer('victim', enabled => false) AS victim \gset
SELECT djkafka_create_route('victim', 'accounts', 'attack_victim.account') > 0;
SELECT dead FROM djkafka_run('victim', messages => '[{"topic": "accounts", "value": {"id": 1, "pin": "secret"}}]');
SELECT djkafka_drop_consumer('victim');
\c - :super
SELECT max(id) AS letter FROM djkafka_dead_letter WHERE consumer = 'victim' \gset
\c - attack_owner
SET client_min_messages = error;
CREATE TABLE attack_own.loot (value text);
-- takes the number, and applies the letter again into a table of his own
CREATE FUNCTION attack_own.rob(take text, victim bigint, letter bigint) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE replace(take, 'VICTIM', victim::text);
    INSERT INTO djkafka_route (consumer_id, topic, target, operation, format) VALUES (victim, 'accounts', 'attack_own.loot', 'insert', 'text');
    RETURN (SELECT r.result FROM djkafka_replay(ARRAY[letter]) r) || ': ' || (SELECT string_agg(value, ',') FROM attack_own.loot);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || regexp_replace(SQLERRM, '\d+', 'N');
END $$;
SELECT attack_own.rob(s, :victim, :letter) FROM unnest(ARRAY[
    $$INSERT INTO djkafka_consumer (id, name, enabled) VALUES (VICTIM, 'thief', false)$$,
    $$INSERT INTO djkafka_consumer (id, name, enabled) VALUES (VICTIM, 'victim', false) ON CONFLICT DO NOTHING$$,
    $$INSERT INTO djkafka_consumer (id, name, enabled, home, group_id) VALUES (VICTIM, 'thief', false, gen_random_uuid(), 'g')$$,
    $$SELECT djkafka_create_consumer('thief', enabled => false); UPDATE djkafka_consumer SET id = VICTIM WHERE name = 'thief'$$,
    $$SELECT djkafka_create_consumer('victim', enabled => false); UPDATE djkafka_consumer SET id = VICTIM, name = 'thief' WHERE name = 'victim'$$]) s;
-- a number that has never been anybody's, and the name, are free
INSERT INTO djkafka_consumer (id, name, enabled) VALUES (1000000, 'victim', false);
DELETE FROM djkafka_consumer WHERE name = 'victim';
\c - :super
REVOKE EXECUTE ON FUNCTION djkafka_replay FROM attack_owner;
DELETE FROM djkafka_dead_letter WHERE id = :letter;

--
-- Names of another's lookups: whoever renames a table, or a column, of the same name
--

CREATE SCHEMA attack_late AUTHORIZATION attack_writer;
CREATE SCHEMA attack_owner AUTHORIZATION attack_owner;
GRANT USAGE ON SCHEMA attack_late TO attack_owner;
\c - attack_owner
SET client_min_messages = error;
CREATE TABLE attack_own.client (id int PRIMARY KEY, code text);
CREATE TABLE attack_owner.shop (id int PRIMARY KEY, code text);
CREATE TABLE attack_own.sale (id int PRIMARY KEY, client_id int, shop_id int, more_id int);
SET search_path = attack_own, "$user", attack_late, public;
SELECT djkafka_create_consumer('looks', enabled => false) > 0;
SELECT djkafka_create_route('looks', 't', 'sale', lookups => '{"client_id": {"table": "client", "column": "code", "returns": "id", "field": "client"},
    "shop_id": {"table": "shop", "column": "code", "field": "shop"}}') > 0;
CREATE TABLE attack_own.found AS SELECT columns FROM djkafka_route r JOIN djkafka_consumer c ON c.id = consumer_id WHERE name = 'looks';
\c - attack_writer
CREATE TEMP TABLE client (id int, code text);
ALTER TABLE client RENAME code TO other;
ALTER TABLE client RENAME id TO code;
ALTER TABLE client RENAME TO mine;
CREATE TABLE attack_late.client (id int PRIMARY KEY, code text);
CREATE VIEW attack_late.shop AS SELECT 1 AS id, 'x' AS code;
ALTER TABLE attack_late.client RENAME code TO other;
ALTER TABLE attack_late.client RENAME TO mine;
ALTER VIEW attack_late.shop RENAME code TO other;
ALTER VIEW attack_late.shop RENAME TO mine_too;
CREATE TABLE attack_late.client (id int PRIMARY KEY, code text);
CREATE TABLE attack_late.store (id int PRIMARY KEY, code text);
\c - :super
SELECT r.columns = f.columns AS same FROM djkafka_route r JOIN djkafka_consumer c ON c.id = consumer_id, attack_own.found f WHERE name = 'looks';
-- they follow their own tables alone, and find them behind another of the new name too
\c - attack_owner
ALTER TABLE attack_own.client RENAME code TO sign;
ALTER TABLE attack_own.client RENAME TO customer;
ALTER TABLE attack_owner.shop RENAME code TO sign;
ALTER TABLE attack_owner.shop RENAME TO sale;
SELECT l.key, l.value->'lookup' FROM djkafka_route r JOIN djkafka_consumer c ON c.id = consumer_id, jsonb_each(columns) l WHERE name = 'looks' ORDER BY 1;
SELECT djkafka_drop_consumer('looks');

--
-- Names that lookups use: an operator of somebody who may create in a schema of the route's search_path
--

\c - attack_writer
CREATE FUNCTION attack_late.same(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN attack.probe('lookup'); END $$;
CREATE OPERATOR attack_late.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = attack_late.same);
\c - attack_owner
SET client_min_messages = error;
SET search_path = attack_own, attack_late, public;
CREATE TABLE attack_own.goods (id int PRIMARY KEY, code varchar(10));
CREATE TABLE attack_own.bought (id int PRIMARY KEY, goods_id int);
INSERT INTO attack_own.goods VALUES (2, 'b');
SELECT djkafka_create_consumer('looks', enabled => false) > 0;
SELECT djkafka_create_route('looks', 't', 'bought', lookups => '{"goods_id": {"table": "goods", "column": "code", "field": "goods"}}') > 0;
SELECT applied FROM djkafka_run('looks', messages => '[{"topic": "t", "value": {"id": 1, "goods": "b"}}]');
SELECT * FROM attack_own.bought;
SELECT djkafka_drop_consumer('looks');
\c - :super
SELECT * FROM attack.traces();

--
-- What a row of another home says is read by statements that read the rows of all
--

\c - attack_owner
INSERT INTO djkafka_consumer (name, home, group_id) VALUES ('foreign', gen_random_uuid(), 'foreign') RETURNING id AS foreign \gset
SELECT refused(format('INSERT INTO djkafka_route (consumer_id, topic, target, %s) VALUES (%s, ''t'', ''attack.secret'', %L)', split_part(s, ' ', 1), :foreign, split_part(s, ' ', 2)))
  FROM unnest(ARRAY['columns [1]', 'columns {"a":[1]}', 'time_unit {"v":', 'renamed [1]', 'renamed 3', 'renamed {"v":"w"}', 'search_path a,"']) s;
SELECT refused($$INSERT INTO djkafka_consumer (name, home, group_id, options) VALUES ('shapeless', gen_random_uuid(), 'shapeless', '[1]')$$);
SELECT refused($$UPDATE djkafka_consumer SET options = '{"a": {"b": 1}}' WHERE name = 'foreign'$$);
SELECT djkafka_create_route('foreign', 't', 'attack.secret', columns => '{"v": {"lookup": [1]}, "w": {"lookup": {"column": "v"}}}', time_unit => '{"v": 1}') > 0;
SELECT djkafka_create_route('foreign', 'u', 'attack.secret', time_unit => E'\f{') > 0;
-- nor is it read by, with options that nobody has checked and the secrets of the settings
UPDATE djkafka_consumer SET options = '{"bootstrap.servers": "127.0.0.1:1", "ssl.ca.location": "/etc/passwd"}' WHERE name = 'foreign';
SELECT refused($$SELECT djkafka_run('foreign', timeout => '1 s')$$);
\c - :super
ALTER TABLE attack.secret RENAME v TO w;
ALTER TABLE attack.secret RENAME w TO v;
SELECT count(*) FROM djkafka_route_status WHERE consumer = 'foreign';
SELECT djkafka_drop_consumer('foreign');

--
-- A consumer whose owner was dropped, which nothing forbids
--

CREATE ROLE attack_gone LOGIN;
GRANT EXECUTE ON FUNCTION djkafka_use_settings TO attack_gone;
GRANT USAGE ON SCHEMA attack TO attack_gone;
GRANT ALL ON attack.secret TO attack_gone;
SELECT djkafka_create_consumer('orphan', owner => 'attack_gone', enabled => false) > 0;
SELECT djkafka_create_route('orphan', 't', 'attack.secret') > 0;
DROP OWNED BY attack_gone;
DROP ROLE attack_gone;
SELECT evaluation, reason FROM djkafka_route_status WHERE consumer = 'orphan';
SELECT regexp_replace(refused($$UPDATE djkafka_route SET notify = 'off' WHERE target = 'attack.secret'::regclass$$), 'OID \d+', 'OID N');
SELECT djkafka_drop_consumer('orphan');

--
-- Who may restore a dump: messages for a server that is not there yet, and that he may never use
--

GRANT INSERT ON djkafka_outbox_0, djkafka_outbox_held, djkafka_outbox_server TO attack_owner;
CREATE SERVER attack_used FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
SELECT djkafka_produce('t', 'v', server => 'attack_used') IS NOT NULL;
\c - attack_owner
SELECT refused(format('INSERT INTO %s (id, txid, message_time, topic, server) VALUES (%s, ''1''::xid8, now(), ''forged'', %L)', t, 1000 + length(t), s))
  FROM unnest(ARRAY['djkafka_outbox_0', 'djkafka_outbox_held']) t, unnest(ARRAY[NULL, 'attack_used', 'attack_future']) s;
\c - :super
CREATE SERVER attack_future FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
SELECT refused($$SELECT djkafka_produce('t', 'v', server => 'attack_future')$$);
SELECT count(*) FROM djkafka_outbox_server WHERE server = 'attack_future';
DELETE FROM djkafka_outbox_held WHERE topic = 'forged';
-- nor one that is to belong to a transaction that has not begun
INSERT INTO djkafka_outbox_1 (id, txid, message_time, topic, server) VALUES (2000, '999999999999', now(), 'later', 'attack_elsewhere');
CREATE SERVER attack_elsewhere FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'localhost:1');
SELECT refused($$SELECT djkafka_produce('t', 'v', server => 'attack_elsewhere')$$);
DELETE FROM djkafka_outbox_1 WHERE topic = 'later';
-- nor to one that has not ended
BEGIN;
INSERT INTO djkafka_outbox_1 (id, txid, message_time, topic, server) VALUES (2000, pg_current_xact_id(), now(), 'now', 'attack_elsewhere');
SELECT refused($$SELECT djkafka_produce('t', 'v', server => 'attack_elsewhere')$$);
ROLLBACK;
DROP SERVER attack_elsewhere;
SELECT djkafka_produce('t', 'v', server => 'attack_future') IS NOT NULL;
-- what was forged in the other tables lies behind the position that the row begins with
SELECT count(*) FROM djkafka_outbox WHERE topic = 'forged';

--
-- Who may restore a dump: what decides which messages another's consumer applies
--

GRANT SELECT, INSERT, UPDATE, DELETE ON djkafka_offset, djkafka_parked, djkafka_deleted, djkafka_dead_letter TO attack_owner;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO attack_owner;
\c - attack_victim
SET client_min_messages = error;
CREATE TABLE attack_victim.book (id int PRIMARY KEY, v int, parent int REFERENCES attack_victim.book);
SELECT djkafka_create_consumer('reader', enabled => false) AS reader \gset
SELECT djkafka_create_route('reader', 'books', 'attack_victim.book', version_column => 'v', remember_deleted => '1 day') AS route \gset
SELECT dead, parked FROM djkafka_run('reader', messages => '[{"topic": "books", "value": {"id": 1, "v": "x"}}, {"topic": "books", "value": {"id": 2, "v": 1, "parent": 9}}]');
\c - :super
BEGIN;
ALTER TABLE djkafka_offset DISABLE TRIGGER USER;
INSERT INTO djkafka_offset (consumer_id, topic, partition, next_offset, parked) VALUES (:reader, 'books', 0, 5, 1) RETURNING id AS place \gset
ALTER TABLE djkafka_offset ENABLE ALWAYS TRIGGER djkafka_offset_guard;
COMMIT;
\c - attack_owner
INSERT INTO djkafka_consumer (id, name, home, group_id) VALUES (2000000, 'copy', gen_random_uuid(), 'copy');
INSERT INTO djkafka_offset (consumer_id, topic, partition) VALUES (2000000, 'books', 0) RETURNING id AS own_place \gset
INSERT INTO djkafka_parked (consumer_id, offset_id, route_id, topic, partition, "offset", lane) VALUES (2000000, :own_place, 1, 'books', 0, 1, 1);
SELECT refused(format('INSERT INTO djkafka_parked (consumer_id, offset_id, route_id, topic, partition, "offset", lane) VALUES (%L, %L, 1, %L, 0, 0, 1)', c, o, 'books'))
  FROM (VALUES (NULL, :place), (0, :place), (:reader, :place), (2000000, :place), (2000000, NULL), (2000000, 0)) v (c, o);
SELECT refused(s) FROM unnest(ARRAY[
    $$INSERT INTO djkafka_deleted (target, columns, types, key, version, forget_at) SELECT oid, '{id,v}', '{integer,integer}', '["2"]', '999999', 'infinity' FROM pg_class WHERE relname = 'book'$$,
    -- of a table that is still to come
    $$INSERT INTO djkafka_deleted (target, columns, types, key, version, forget_at) VALUES ('4294967295', '{id,v}', '{integer,integer}', '["2"]', '999999', 'infinity')$$,
    format($$INSERT INTO djkafka_dead_letter (consumer_id, consumer, topic, partition, "offset", sqlstate, message) VALUES (%s, 'reader', 'books', 0, 0, '', '')$$, :reader),
    $$UPDATE djkafka_dead_letter SET value = '{"id": 7, "v": 1}' WHERE consumer = 'reader'$$,
    $$UPDATE djkafka_dead_letter SET consumer_id = 2000000 WHERE consumer = 'reader'$$]) s;
-- of what is gone, or his own, whoever may
INSERT INTO djkafka_dead_letter (consumer_id, consumer, topic, partition, "offset", sqlstate, message) VALUES (2000000, 'copy', 'books', 0, 0, '', ''), (3000000, 'gone', 'books', 0, 0, '', '');
DELETE FROM djkafka_dead_letter WHERE consumer IN ('copy', 'gone', 'reader');
-- what nobody has checked must not fail what others do: sums of status and audit, columns and labels that are renamed, tables that are dropped
INSERT INTO djkafka_offset (consumer_id, topic, partition, applied, high_watermark) SELECT 2000000, 'far', p, 1000000000000000, 1000000000000000 FROM generate_series(0, 1) p;
SELECT refused(s) FROM unnest(ARRAY[
    $$INSERT INTO djkafka_offset (consumer_id, topic, partition, applied) VALUES (2000000, 'books', 1, 9223372036854775807)$$,
    $$INSERT INTO djkafka_offset (consumer_id, topic, partition, first_offset, next_offset) VALUES (2000000, 'books', 1, -9223372036854775807, 1)$$,
    $$INSERT INTO djkafka_consumer (name, home, revision) VALUES ('last', gen_random_uuid(), 9223372036854775806)$$]) s;
CREATE TABLE attack_own.keys (id int PRIMARY KEY);
SELECT refused($$INSERT INTO djkafka_publication (relation, topic, key_columns, include) VALUES ('attack_own.keys', 'keys', '{{id,id2}}', '{id}')$$);
SELECT refused($$INSERT INTO djkafka_route (consumer_id, topic, target, include) VALUES (2000000, 'books', 'attack_own.keys', '{{id},{id2}}')$$);
\c - attack_victim
CREATE TYPE attack_victim.weather AS ENUM ('a', 'b');
\c - attack_owner
SELECT refused(format('INSERT INTO djkafka_deleted (target, columns, types, key, version, forget_at) SELECT %L, %L, ARRAY[oid, 23]::regtype[], %L, 1, now() FROM pg_type WHERE typname = %L',
                      'attack_own.keys', '{id,v}', k, 'weather')) LIKE 'ACCEPTED%' AS accepted, k
  FROM unnest(ARRAY['["a"]', '[ "a" ]', '["\u0061"]', '["c"]', '[]', '["a", "b"]']) k;
INSERT INTO djkafka_deleted (target, columns, types, key, version, forget_at)
SELECT 'attack_own.keys', '{id,v}', ARRAY[oid, oid, 25, 23]::regtype[], jsonb_build_array('a', 'a', string_agg(md5(i::text), ''))::text, 1, now()
  FROM pg_type, generate_series(1, 80) i WHERE typname = 'weather' GROUP BY oid;
\c - attack_victim
ALTER TYPE attack_victim.weather RENAME VALUE 'a' TO 'an autumn like none that anybody remembers, however old';
\c - attack_owner
SELECT key FROM djkafka_deleted WHERE target = 'attack_own.keys'::regclass;
DELETE FROM djkafka_deleted WHERE target = 'attack_own.keys'::regclass;
DROP TABLE attack_own.keys;
-- nor what a broker of his says
\c - :super
BEGIN;
ALTER TABLE djkafka_offset DISABLE TRIGGER USER;
UPDATE djkafka_offset SET gaps = 9223372036854775807 WHERE topic = 'far';
ALTER TABLE djkafka_offset ENABLE ALWAYS TRIGGER djkafka_offset_guard;
COMMIT;
SELECT partitions, applied, gaps FROM djkafka_status WHERE consumer = 'copy';
\c - attack_owner
DELETE FROM djkafka_consumer WHERE id = 2000000;
\c - :super
CREATE TYPE attack.mood AS ENUM ('glad');
INSERT INTO djkafka_deleted (target, columns, types, key, version, forget_at) VALUES ('attack_victim.book', '{id,v}', '{integer,integer}', '["2"]', '1', 'infinity');
\c - attack_owner
SELECT refused(s) FROM unnest(ARRAY[$$UPDATE djkafka_deleted SET version = 'x'$$, $$DELETE FROM djkafka_deleted$$]) s;
-- nor breaks what reads the keys of all: another's enum whose label is renamed
CREATE TABLE attack_own.mine (id int PRIMARY KEY);
SELECT left(refused(format('INSERT INTO djkafka_deleted (target, columns, types, key, version, forget_at) VALUES (''attack_own.mine'', ''{id,v}'', ''{integer,attack.mood}'', %L, ''1'', ''infinity'')', key)), 60)
  FROM unnest(ARRAY['[', '"x"', '{}', '["x"]']) key;
\c - attack_victim
SELECT djkafka_drop_consumer('reader');
\c - :super
ALTER TYPE attack.mood RENAME VALUE 'glad' TO 'happy';
SELECT count(*) FROM djkafka_deleted;

--
-- Who may write all tables: the outbox's worker, which runs as a superuser, must not trip over a position that cannot be
--

GRANT pg_write_all_data, pg_read_all_data TO attack_writer;
\c - attack_writer
SELECT split_part(refused('UPDATE public.djkafka_outbox_server SET ' || s), chr(10), 1) FROM unnest(ARRAY['batch = confirmed + 1, claimed_id = 1, target = NULL, cursor_id = NULL',
    $$batch = confirmed + 1, claimed_id = NULL, target = '1:1:', cursor_id = 1$$, 'batch = confirmed - 1', $$target = '1:1:', cursor_id = NULL$$]) s;
SELECT refused('UPDATE public.djkafka_outbox_rotation SET current_table = 3');
\c - :super
REVOKE pg_write_all_data, pg_read_all_data FROM attack_writer;


-- nor the status over a message of a copy, with a time that none has here
\c - attack_owner
INSERT INTO djkafka_outbox_server (server, home, done, done_next, done_id, done_floor) VALUES ('attack_copy', gen_random_uuid(), '1:1:', '1', 0, 0);
INSERT INTO djkafka_outbox_0 (id, txid, message_time, topic, server) VALUES (4000, '5', 'infinity', 't', 'attack_copy');
\c - :super
SELECT depth, oldest_at, oldest_age FROM djkafka_outbox_status WHERE server = 'attack_copy';

RESET search_path;
SET client_min_messages = error;
SELECT djkafka_uninstall(cascade => true);
DROP SCHEMA attack, attack_evil, attack_late, attack_own, attack_owner, attack_victim CASCADE;
DROP OWNED BY attack_owner, attack_writer, attack_victim;
DROP ROLE attack_owner, attack_writer, attack_victim;
