-- Rights: every object and setting of the extension, and what each role may do with it.  A new object is a new line.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on
SELECT current_database() AS home, current_user AS super \gset

-- As in a company: the database's owner makes the extension and gives others what reference.md lists for them.
CREATE ROLE rights_nobody LOGIN;
CREATE ROLE rights_listen LOGIN;
CREATE ROLE rights_writer LOGIN;
CREATE ROLE rights_consumer LOGIN;
CREATE ROLE rights_table LOGIN;
CREATE ROLE rights_dba LOGIN;
CREATE DATABASE regression_djkafka_rights OWNER rights_dba;
\c regression_djkafka_rights rights_dba
SET client_min_messages = error;
CREATE EXTENSION djkafka;
GRANT EXECUTE ON FUNCTION djkafka_use_settings, djkafka_subscribe, djkafka_create_consumer, djkafka_create_route, djkafka_consumer_id, djkafka_set_enabled,
    djkafka_pause, djkafka_resume, djkafka_restart, djkafka_seek, djkafka_drop_consumer, djkafka_drop_route, djkafka_run, djkafka_peek, djkafka_topics TO rights_consumer;
GRANT SELECT, INSERT, UPDATE, DELETE ON djkafka_consumer, djkafka_route TO rights_consumer;
GRANT EXECUTE ON FUNCTION djkafka_use_settings, djkafka_publish, djkafka_publish_outbox, djkafka_unpublish TO rights_table;
GRANT EXECUTE ON PROCEDURE djkafka_snapshot TO rights_table;
GRANT SELECT, INSERT, UPDATE, DELETE ON djkafka_publication TO rights_table;
\c - :super
CREATE SCHEMA shop AUTHORIZATION rights_table;
GRANT USAGE ON SCHEMA shop TO rights_writer;
\c - rights_table
CREATE TABLE shop.sale (id int PRIMARY KEY, what text);
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.sale TO rights_writer;
SELECT djkafka_publish('shop.sale', 'sales') > 0;
\c - :super

CREATE TEMP VIEW role AS
SELECT n, r::name AS name, CASE WHEN n = 7 THEN current_user ELSE 'rights_' || r END AS role
  FROM unnest(ARRAY['nobody', 'listen', 'writer', 'consumer', 'table', 'dba', 'super']) WITH ORDINALITY AS t (r, n);
CREATE TEMP VIEW member AS
SELECT d.classid::regclass::text AS catalog, d.objid, c.relkind, p.prorettype, p.prosecdef,
       CASE WHEN d.classid = 'pg_class'::regclass THEN CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' WHEN 'S' THEN 'sequence' WHEN 'c' THEN 'row type' ELSE c.relkind::text END
            WHEN p.prorettype = 'trigger'::regtype THEN 'trigger function'
            WHEN p.prorettype = 'event_trigger'::regtype THEN 'event trigger function'
            ELSE o.type END AS kind,
       regexp_replace(regexp_replace(regexp_replace(o.identity, '\mpublic\.|\mpg_catalog\.', '', 'g'), 'timestamp with time zone', 'timestamptz', 'g'), '\((.{40}).*\)', '(\1…)') AS name
  FROM pg_depend d
 CROSS JOIN pg_identify_object(d.classid, d.objid, 0) o
  LEFT JOIN pg_class c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass
  LEFT JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass
 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
   AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'djkafka');

CREATE FUNCTION pg_temp.has(m member, role name, privilege text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN CASE m.catalog
        WHEN 'pg_class' THEN CASE WHEN m.relkind = 'S' THEN has_sequence_privilege(role, m.objid, privilege) WHEN m.relkind <> 'c' THEN has_table_privilege(role, m.objid, privilege) END
        WHEN 'pg_proc' THEN has_function_privilege(role, m.objid, privilege)
        WHEN 'pg_type' THEN has_type_privilege(role, m.objid, privilege)
        WHEN 'pg_foreign_data_wrapper' THEN has_foreign_data_wrapper_privilege(role, m.objid, privilege) END;
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN false;
END $$;
-- What a role may do with an object: letters as in ACLs, * with the right to pass it on, (in parentheses) on some columns only.
CREATE FUNCTION pg_temp.rights(m member, role name) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(right_, '' ORDER BY n)
      FROM (SELECT n, CASE
                WHEN pg_temp.has(m, role, privilege || ' WITH GRANT OPTION') THEN letter || '*'
                WHEN pg_temp.has(m, role, privilege) THEN letter
                WHEN m.catalog = 'pg_class' AND m.relkind IN ('r', 'v') AND letter IN ('r', 'a', 'w', 'x') AND has_any_column_privilege(role, m.objid, privilege)
                THEN letter || '(' || (SELECT string_agg(attname, ' ') FROM pg_attribute WHERE attrelid = m.objid AND attnum > 0 AND has_column_privilege(role, m.objid, attnum, privilege)) || ')'
                END AS right_
              FROM (VALUES (1, 'SELECT', 'r'), (2, 'INSERT', 'a'), (3, 'UPDATE', 'w'), (4, 'DELETE', 'd'), (5, 'TRUNCATE', 'D'), (6, 'REFERENCES', 'x'), (7, 'TRIGGER', 't'),
                           (8, 'EXECUTE', 'X'), (9, 'USAGE', 'U')) AS p (n, privilege, letter)) t
$$;

\pset tuples_only off
SELECT m.kind, m.name, n.rights AS nobody, l.rights AS listen, w.rights AS writer, c.rights AS consumer, t.rights AS "table", d.rights AS dba, s.rights AS super
  FROM member m
 CROSS JOIN LATERAL pg_temp.rights(m, 'rights_nobody') n (rights)
 CROSS JOIN LATERAL pg_temp.rights(m, 'rights_listen') l (rights)
 CROSS JOIN LATERAL pg_temp.rights(m, 'rights_writer') w (rights)
 CROSS JOIN LATERAL pg_temp.rights(m, 'rights_consumer') c (rights)
 CROSS JOIN LATERAL pg_temp.rights(m, 'rights_table') t (rights)
 CROSS JOIN LATERAL pg_temp.rights(m, 'rights_dba') d (rights)
 CROSS JOIN LATERAL pg_temp.rights(m, current_user) s (rights)
 WHERE m.kind NOT IN ('row type', 'event trigger')
   AND NOT (m.catalog = 'pg_type' AND m.name ~ '^_|\[\]$')
   AND NOT (m.catalog = 'pg_type' AND EXISTS (SELECT FROM pg_type y JOIN pg_class k ON k.oid = y.typrelid WHERE y.oid = m.objid AND k.relkind <> 'c'))
 ORDER BY m.kind COLLATE "C", m.name COLLATE "C";

-- who may set what: at once, or with what a superuser passes on (context superuser), or nobody but the server's configuration
SELECT name, context,
       (SELECT string_agg(r.name, ' ' ORDER BY r.n) FROM role r
         WHERE context = 'user' OR (context = 'superuser' AND has_parameter_privilege(r.role, s.name, 'SET'))) AS "SET",
       (SELECT string_agg(r.name, ' ' ORDER BY r.n) FROM role r WHERE has_parameter_privilege(r.role, s.name, 'ALTER SYSTEM')) AS "ALTER SYSTEM"
  FROM pg_settings s WHERE name LIKE 'djkafka.%' ORDER BY name COLLATE "C";
\pset tuples_only on

-- nothing runs with its owner's rights by being called, and all belongs to whom CREATE EXTENSION runs as
SELECT count(*) FILTER (WHERE p.prosecdef), count(DISTINCT coalesce(c.relowner, p.proowner, t.typowner)), bool_and(coalesce(c.relowner, p.proowner, t.typowner) = 10)
  FROM member m LEFT JOIN pg_class c ON c.oid = m.objid AND catalog = 'pg_class' LEFT JOIN pg_proc p ON p.oid = m.objid AND catalog = 'pg_proc'
  LEFT JOIN pg_type t ON t.oid = m.objid AND catalog = 'pg_type';
-- a trigger that a setting of the session could silence is none
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgrelid IN (SELECT objid FROM member) AND NOT tgisinternal AND tgenabled <> 'A';
SELECT evtname FROM pg_event_trigger WHERE evtenabled <> 'A';

-- A row of each table, and each function, as those that nobody has given anything: nothing is to be had.
\set ECHO none
CREATE FUNCTION public.tried(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    RETURN 'done';
EXCEPTION WHEN insufficient_privilege THEN RETURN NULL;
    WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE TABLE public.attempt AS
SELECT row_number() OVER (ORDER BY kind COLLATE "C", name COLLATE "C", n) AS n, kind, replace(statement, '%', m.objid::regclass::text) AS statement
  FROM member m CROSS JOIN (VALUES (1, 'SELECT FROM %'), (2, 'DELETE FROM %'), (3, 'LOCK TABLE % IN ACCESS SHARE MODE'), (4, 'TRUNCATE %'),
        (6, 'CREATE RULE r AS ON INSERT TO % DO INSTEAD NOTHING'), (7, 'ALTER TABLE % DISABLE TRIGGER ALL'), (8, 'DROP TABLE %')) AS s (n, statement)
 WHERE m.catalog = 'pg_class' AND m.relkind = 'r'
 UNION ALL
SELECT 1000 + row_number() OVER (ORDER BY p.proname COLLATE "C", pronargs, p.oid), kind,
       format('%s %s(%s)', CASE p.prokind WHEN 'p' THEN 'CALL' ELSE 'SELECT' END, p.proname,
              (SELECT string_agg(CASE WHEN NOT p.proisstrict THEN 'NULL' WHEN y.typcategory = 'A' THEN '''{}''' WHEN y.typcategory = 'N' THEN '''1''' ELSE '''1 s''' END
                || '::' || format_type(y.oid, NULL), ', ' ORDER BY a.n) FROM unnest(p.proargtypes) WITH ORDINALITY a (t, n) JOIN pg_type y ON y.oid = a.t))
  FROM member m JOIN pg_proc p ON p.oid = m.objid AND m.catalog = 'pg_proc';
GRANT SELECT ON public.attempt TO PUBLIC;
\set ECHO all
\c - rights_nobody
SELECT statement, tried(statement) FROM attempt WHERE tried(statement) IS NOT NULL ORDER BY n;
\c - rights_writer
SELECT statement, tried(statement) FROM attempt WHERE tried(statement) IS NOT NULL ORDER BY n;
\c - :super
DROP TABLE attempt;

-- the owner of the extension owns none of its objects
\c - rights_dba
\set ECHO none
CREATE TEMP TABLE attempt AS
SELECT row_number() OVER () AS n, s.statement AS template, replace(s.statement, '%', c.oid::regclass::text) AS statement
  FROM pg_class c CROSS JOIN (VALUES ('ALTER EXTENSION djkafka DROP TABLE %'), ('DROP TABLE %'), ('TRUNCATE %'), ('ALTER TABLE % DISABLE TRIGGER ALL'), ('ALTER TABLE % OWNER TO rights_dba'),
        ('ALTER TABLE % ENABLE ROW LEVEL SECURITY'), ('CREATE POLICY p ON %'), ('CREATE RULE r AS ON INSERT TO % DO ALSO NOTHING'), ('CREATE INDEX ON % ((1))'),
        ('ALTER TABLE % ADD x int'), ('ALTER TABLE % RENAME TO y'), ('CREATE TRIGGER t BEFORE INSERT ON % FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()'),
        ('CREATE TABLE z (id bigint REFERENCES % (id))'), ('CREATE TABLE z () INHERITS (%)'), ('CREATE STATISTICS z ON (1 + 1), (2 + 2) FROM %'), ('ALTER TABLE % SET SCHEMA pg_temp'),
        ('CLUSTER %'), ('REINDEX TABLE %')) AS s (statement)
 WHERE c.relkind = 'r' AND c.relname LIKE 'djkafka\_%' AND c.relnamespace = 'public'::regnamespace;
INSERT INTO attempt
SELECT 2000 + row_number() OVER (), s.statement, replace(s.statement, '%', p.oid::regprocedure::text)
  FROM pg_proc p CROSS JOIN (VALUES ('ALTER ROUTINE % SECURITY DEFINER'), ('ALTER ROUTINE % OWNER TO rights_dba'), ('ALTER ROUTINE % RENAME TO y'), ('ALTER EXTENSION djkafka DROP ROUTINE %'),
        ('ALTER ROUTINE % SET search_path = x'), ('ALTER ROUTINE % SUPPORT pg_catalog.generate_series_int8_support')) AS s (statement)
 WHERE p.proname LIKE 'djkafka\_%' AND p.pronamespace = 'public'::regnamespace;
INSERT INTO attempt
SELECT 3000 + row_number() OVER (), s, s FROM unnest(ARRAY['ALTER EXTENSION djkafka SET SCHEMA shop', 'ALTER EVENT TRIGGER djkafka_column_renamed DISABLE', 'ALTER EVENT TRIGGER djkafka_target_dropped OWNER TO rights_dba',
        'CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION djkafka_column_renamed()', 'ALTER FOREIGN DATA WRAPPER djkafka OPTIONS (x ''y'')', 'ALTER FOREIGN DATA WRAPPER djkafka OWNER TO rights_dba',
        'ALTER TYPE djkafka_message ADD ATTRIBUTE x text', 'CREATE CAST (djkafka_message AS json) WITH INOUT', 'ALTER VIEW djkafka_status OWNER TO rights_dba',
        'ALTER SCHEMA public RENAME TO elsewhere', 'ALTER EVENT TRIGGER djkafka_schema_renamed DISABLE']) s;
\set ECHO all
-- 2BP01: it needs them; 42830: no key to refer to
SELECT template, count(*), string_agg(DISTINCT left(answer, 5), '; ') AS other_than_refused
  FROM (SELECT template, n, tried(statement) AS answer FROM attempt) t GROUP BY template ORDER BY min(n);

\c :home :super
SET client_min_messages = error;
DROP DATABASE regression_djkafka_rights;
DROP ROLE rights_nobody, rights_listen, rights_writer, rights_consumer, rights_table, rights_dba;
