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
CREATE FUNCTION attack.probe(trick text) RETURNS boolean LANGUAGE plpgsql AS $$
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
SELECT DISTINCT trick, who, login, is_super FROM attack.trace ORDER BY 1, 2;
SELECT attack.risen();

RESET search_path;
SET client_min_messages = error;
DROP EXTENSION djkafka CASCADE;
DROP SCHEMA attack CASCADE;
DROP OWNED BY attack_owner, attack_writer;
DROP ROLE attack_owner, attack_writer;
