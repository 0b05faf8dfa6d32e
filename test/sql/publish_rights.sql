-- Published tables: who may publish, with whose rights it runs, and that nobody gets another's.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE ROLE pub_owner;
CREATE ROLE pub_writer;
CREATE ROLE pub_other;
CREATE SCHEMA rights;
GRANT USAGE, CREATE ON SCHEMA rights TO pub_owner, pub_other;
GRANT USAGE ON SCHEMA rights TO pub_writer;
CREATE VIEW values_of AS SELECT id, topic, convert_from(key, 'UTF8') AS key, convert_from(value, 'UTF8') AS value FROM djkafka_outbox;
SET search_path = rights, public;

SET ROLE pub_owner;
CREATE TABLE sale (id int PRIMARY KEY, country text);
CREATE TABLE country (code text PRIMARY KEY, label text);
INSERT INTO country VALUES ('de', 'Germany');
GRANT SELECT, INSERT, UPDATE, DELETE ON sale TO pub_writer;
-- nothing goes without a right on the functions, the table and the connection
SELECT refused($$SELECT djkafka_publish('sale')$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION djkafka_publish, djkafka_publish_outbox, djkafka_unpublish TO pub_owner, pub_other;
GRANT EXECUTE ON PROCEDURE djkafka_snapshot TO pub_owner, pub_other;
SET ROLE pub_owner;
SELECT refused($$SELECT djkafka_publish('sale')$$);
RESET ROLE;
GRANT SELECT, INSERT, UPDATE, DELETE ON djkafka_publication TO pub_owner, pub_other;
SET ROLE pub_owner;
SELECT refused($$SELECT djkafka_publish('sale')$$);
RESET ROLE;
GRANT EXECUTE ON FUNCTION djkafka_use_settings TO pub_owner;
SET ROLE pub_owner;
SELECT djkafka_publish('sale', 'sales', columns => '{"label": "SELECT label FROM country WHERE code = sale.country", "me": "current_user", "up": "upper(country)"}') AS id \gset

-- another role: neither its table nor its publication
SET ROLE pub_other;
SELECT refused(s) FROM (VALUES
    ($$SELECT djkafka_publish('sale', 'mine')$$),
    ($$SELECT djkafka_unpublish('sale')$$),
    ($$INSERT INTO djkafka_publication (relation, topic) VALUES ('sale', 'mine')$$),
    ($$UPDATE djkafka_publication SET columns = '{"x": "1"}'$$),
    ($$DELETE FROM djkafka_publication$$)
) AS t (s);
CALL djkafka_snapshot('sale');
-- nor its triggers, whose function is for who restores a dump alone
CREATE TABLE own (id int);
SELECT refused('CREATE TRIGGER t AFTER INSERT ON own FOR EACH STATEMENT EXECUTE FUNCTION djkafka_publish_trigger(1)');
SELECT refused('SELECT djkafka_publish_trigger()');
-- and who has it: no other trigger is taken for one that the publication made
RESET ROLE;
GRANT EXECUTE ON FUNCTION djkafka_publish_trigger TO pub_other;
GRANT TRIGGER, INSERT, UPDATE, DELETE ON sale TO pub_other;
SET ROLE pub_other;
SELECT refused('SELECT djkafka_publish_trigger()');
CREATE FUNCTION fire(definition text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text;
BEGIN
    EXECUTE replace(definition, '!', 'EXECUTE FUNCTION djkafka_publish_trigger');
    answer := refused(statement);
    RAISE EXCEPTION USING MESSAGE = answer;
EXCEPTION WHEN raise_exception THEN RETURN answer;
END $$;
SELECT fire(replace(definition, 'ID', :'id'), statement) FROM (VALUES
    -- another name, event, table, argument
    ('CREATE TRIGGER t AFTER INSERT ON own REFERENCING NEW TABLE AS djkafka_new FOR EACH STATEMENT !(ID)', 'INSERT INTO own VALUES (1)'),
    ('CREATE TRIGGER djkafka_publish_ID_update AFTER INSERT ON own REFERENCING NEW TABLE AS djkafka_new FOR EACH STATEMENT !(ID)', 'INSERT INTO own VALUES (1)'),
    ('CREATE TRIGGER djkafka_publish_ID_insert AFTER INSERT ON own REFERENCING NEW TABLE AS djkafka_new FOR EACH STATEMENT !(1ID)', 'INSERT INTO own VALUES (1)'),
    ('CREATE TRIGGER djkafka_publish_ID_insert AFTER INSERT ON own REFERENCING NEW TABLE AS djkafka_new FOR EACH STATEMENT !(ID, ID)', 'INSERT INTO own VALUES (1)'),
    ('CREATE TRIGGER djkafka_publish_ID_insert AFTER INSERT ON own REFERENCING NEW TABLE AS djkafka_new FOR EACH STATEMENT !()', 'INSERT INTO own VALUES (1)'),
    -- for rows, with a condition, with other transition tables or none
    ('CREATE TRIGGER djkafka_publish_ID_delete AFTER DELETE ON own REFERENCING OLD TABLE AS djkafka_old FOR EACH ROW !(ID)', 'INSERT INTO own VALUES (1); DELETE FROM own'),
    ('CREATE TRIGGER djkafka_publish_ID_insert AFTER INSERT ON own REFERENCING NEW TABLE AS djkafka_new FOR EACH STATEMENT WHEN (true) !(ID)', 'INSERT INTO own VALUES (1)'),
    ('CREATE TRIGGER djkafka_publish_ID_insert AFTER INSERT ON own REFERENCING NEW TABLE AS n FOR EACH STATEMENT !(ID)', 'INSERT INTO own VALUES (1)'),
    ('CREATE TRIGGER djkafka_publish_ID_insert AFTER INSERT ON own FOR EACH STATEMENT !(ID)', 'INSERT INTO own VALUES (1)'),
    ('CREATE TRIGGER djkafka_publish_ID_update BEFORE UPDATE ON own FOR EACH STATEMENT !(ID)', 'UPDATE own SET id = 1'),
    ('CREATE TRIGGER djkafka_publish_ID_truncate AFTER TRUNCATE ON own FOR EACH STATEMENT !(ID)', 'TRUNCATE own'),
    ('CREATE TRIGGER t AFTER UPDATE ON sale REFERENCING OLD TABLE AS djkafka_old NEW TABLE AS djkafka_new FOR EACH STATEMENT !(ID)', 'UPDATE sale SET country = NULL'),
    -- one as a dump has it, of a table that is not the publication's, does nothing
    ('CREATE TRIGGER djkafka_publish_ID_insert AFTER INSERT ON own REFERENCING NEW TABLE AS djkafka_new FOR EACH STATEMENT !(ID)', 'INSERT INTO own VALUES (1)'),
    ('CREATE TRIGGER djkafka_publish_99_insert AFTER INSERT ON own REFERENCING NEW TABLE AS djkafka_new FOR EACH STATEMENT !(99)', 'INSERT INTO own VALUES (1)')
) AS t (definition, statement);
RESET ROLE;
SELECT count(*) FROM values_of;

-- who owns the table may rename a trigger, and be told so; a change of the publication puts things right
ALTER TRIGGER djkafka_publish_2_insert ON sale RENAME TO mine;
SELECT refused($$INSERT INTO sale VALUES (91, 'de')$$);
UPDATE djkafka_publication SET enabled = enabled;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'sale'::regclass ORDER BY 1;
-- what stands under the name of ours is not taken for it
CREATE TABLE squat (id int PRIMARY KEY);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
SELECT format('CREATE TRIGGER djkafka_publish_%s_insert AFTER INSERT ON squat FOR EACH STATEMENT EXECUTE FUNCTION nothing()', last_value + 1) FROM djkafka_publication_id_seq \gexec
SELECT refused($$SELECT djkafka_publish('squat')$$);
DROP TABLE squat;

-- what is kept for a publication is looked at with the table: another shape, another owner
CREATE TABLE shaped (id int PRIMARY KEY, a text);
ALTER TABLE shaped OWNER TO pub_owner;
SELECT djkafka_publish('shaped', 'shaped', columns => '{"who": "current_user"}') > 0;
INSERT INTO shaped VALUES (1, 'a');
ALTER TABLE shaped DROP COLUMN a;
ALTER TABLE shaped ADD COLUMN b bigint DEFAULT 7;
INSERT INTO shaped VALUES (2);
ALTER TABLE shaped ALTER COLUMN b TYPE text USING 'x', OWNER TO CURRENT_USER;
INSERT INTO shaped VALUES (3);
SELECT replace(value, current_user, 'super') FROM values_of WHERE topic = 'shaped' ORDER BY id;
DROP TABLE shaped;

-- a number that no table has is no table's publication
SELECT refused(format('INSERT INTO djkafka_publication (relation, topic%s) VALUES (4000000000, ''x''%s)', a, b))
  FROM (VALUES ('', ''), (', home', ', gen_random_uuid()')) AS t (a, b);
SELECT count(*) FROM djkafka_publication WHERE topic = 'x';
REVOKE ALL ON FUNCTION djkafka_publish_trigger FROM pub_other;
REVOKE ALL ON sale FROM pub_other;

-- a writer needs no right, gets none, and cannot put other things under the names of an expression
SET ROLE pub_writer;
SELECT refused('SELECT label FROM country');
CREATE TEMP TABLE country (code text, label text);
INSERT INTO pg_temp.country VALUES ('de', 'hijacked');
CREATE FUNCTION pg_temp.upper(text) RETURNS text LANGUAGE sql AS $$ SELECT 'hijacked' $$;
SET search_path = pg_temp, rights, public;
SET DateStyle = 'SQL, DMY';
SET TimeZone = 'Asia/Tokyo';
INSERT INTO sale VALUES (1, 'de');
SELECT current_user, current_setting('search_path'), current_setting('TimeZone'), current_setting('DateStyle');
RESET ALL;
SET search_path = rights, public;
-- a superuser's rights are not lent either
RESET ROLE;
INSERT INTO sale VALUES (2, 'fr');
SELECT key, value FROM values_of ORDER BY id;

-- nor in a path with a schema that is called nearly so
CREATE SCHEMA no_pg_temp;
UPDATE djkafka_publication SET search_path = 'no_pg_temp, rights, public' WHERE id = :id;
SET ROLE pub_writer;
GRANT SELECT ON pg_temp.country TO PUBLIC;
INSERT INTO sale VALUES (20, 'de');
RESET ROLE;
SELECT key, value FROM values_of ORDER BY id DESC LIMIT 1;
UPDATE djkafka_publication SET search_path = 'rights, public' WHERE id = :id;

-- expressions cannot leave anything behind
SET ROLE pub_owner;
CREATE FUNCTION leave_something() RETURNS text LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP TABLE left_behind (); RETURN 'x'; END $$;
UPDATE djkafka_publication SET columns = '{"x": "leave_something()"}' WHERE id = :id;
RESET ROLE;
SELECT refused($$INSERT INTO sale VALUES (3, 'de')$$);
-- an error tells where it is from
UPDATE djkafka_publication SET columns = '{"x": "1 / (id - 4)"}' WHERE id = :id;
\set SHOW_CONTEXT always
INSERT INTO sale VALUES (4, 'de');
\set SHOW_CONTEXT errors
SELECT current_user = session_user, count(*) FROM sale WHERE id BETWEEN 3 AND 9;
UPDATE djkafka_publication SET columns = NULL WHERE id = :id;

-- the right to the connection is the owner's, and asked for with each statement
REVOKE EXECUTE ON FUNCTION djkafka_use_settings FROM pub_owner;
SELECT refused($$INSERT INTO sale VALUES (5, 'de')$$);
GRANT EXECUTE ON FUNCTION djkafka_use_settings TO pub_owner;
-- with another owner it is his
ALTER TABLE sale OWNER TO pub_other;
SELECT refused($$INSERT INTO sale VALUES (5, 'de')$$);
GRANT EXECUTE ON FUNCTION djkafka_use_settings TO pub_other;
INSERT INTO sale VALUES (5, 'de');
SET ROLE pub_owner;
SELECT refused($$SELECT djkafka_unpublish('sale')$$);
SET ROLE pub_other;
SELECT djkafka_unpublish('sale');
RESET ROLE;

-- row level security does not hide rows from their publication
CREATE TABLE secret (id int PRIMARY KEY, owner text);
ALTER TABLE secret OWNER TO pub_owner;
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secret USING (owner = current_user);
GRANT SELECT, INSERT, UPDATE, DELETE ON secret TO pub_writer;
SELECT djkafka_publish('secret', 'secrets', key_format => 'text') > 0;
SET ROLE pub_writer;
INSERT INTO secret VALUES (1, 'pub_writer');
UPDATE secret SET id = 2;
RESET ROLE;
SELECT key, value FROM values_of WHERE topic = 'secrets' ORDER BY id;
ALTER TABLE secret FORCE ROW LEVEL SECURITY;
UPDATE secret SET id = 3;
SELECT refused('TRUNCATE secret');
CALL djkafka_snapshot('secret');
SELECT key FROM values_of WHERE topic = 'secrets' ORDER BY id DESC LIMIT 1;

-- what has the table's name after its schema was renamed is another's: neither published nor run as the table's owner
CREATE SCHEMA moved CREATE TABLE item (id int PRIMARY KEY, v text);
GRANT USAGE ON SCHEMA moved TO pub_owner;
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER nothing AFTER INSERT OR UPDATE ON moved.item FOR EACH ROW EXECUTE FUNCTION nothing();
ALTER TABLE moved.item OWNER TO pub_owner;
SELECT djkafka_publish('moved.item', 'moved') > 0;
INSERT INTO moved.item VALUES (1, 'a');
UPDATE moved.item SET v = 'b';
ALTER SCHEMA moved RENAME TO moved_away;
CREATE SCHEMA moved CREATE TABLE other (id int PRIMARY KEY, v text) CREATE VIEW item AS SELECT id, current_user::text AS v FROM other;
INSERT INTO moved.other VALUES (1), (2);
GRANT USAGE ON SCHEMA moved TO pub_owner;
GRANT SELECT ON moved.item TO pub_owner;
UPDATE moved_away.item SET v = 'c';
INSERT INTO moved_away.item VALUES (2, 'd');
SELECT value FROM values_of WHERE topic = 'moved' ORDER BY id;

-- an expression that becomes another statement once a name has changed, in a row that was not checked: it is of
-- another home, so nothing is run of it
SET ROLE pub_owner;
CREATE TABLE cut (id int PRIMARY KEY, v text);
CREATE TRIGGER other BEFORE INSERT ON cut FOR EACH ROW EXECUTE FUNCTION nothing();
INSERT INTO djkafka_publication (home, relation, topic, include, filter) VALUES (gen_random_uuid(), 'cut', 'cut', '{id,v}',
    $$true)) AS cut CROSS JOIN LATERAL (SELECT cut.id) AS djk_value CROSS JOIN LATERAL (SELECT cut.id) AS djk_key), djkafka_was AS (SELECT 'k'::text AS k, 4711::bigint AS v), unused AS (SELECT $q$ FROM (SELECT * FROM djkafka_old AS cut WHERE (true$$);
ALTER TABLE cut RENAME v TO w;
ALTER TABLE cut DISABLE TRIGGER ALL;
INSERT INTO cut VALUES (1, 'a');
ALTER TABLE cut ENABLE TRIGGER ALL;
SELECT refused('DELETE FROM cut');
RESET ROLE;

RESET search_path;
SET client_min_messages = warning;
DROP VIEW values_of;
SELECT djkafka_uninstall(cascade => true);
DROP SCHEMA rights, no_pg_temp, moved, moved_away CASCADE;
DROP OWNED BY pub_owner, pub_writer, pub_other;
DROP ROLE pub_owner, pub_writer, pub_other;
