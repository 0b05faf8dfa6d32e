-- The extension's objects, who may use them, who may create them, and how they go.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE VIEW member AS
SELECT d.classid, d.objid, d.classid::regclass::text AS catalog, o.type, o.identity,
       coalesce(o.name, (SELECT proname FROM pg_proc WHERE oid = d.objid AND d.classid = 'pg_proc'::regclass), o.identity) AS name
  FROM pg_depend d CROSS JOIN pg_identify_object(d.classid, d.objid, 0) o
 WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
   AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'djkafka');

-- each has a comment (a composite type's relation and a table's row type have none of their own)
SELECT type, identity FROM member
 WHERE obj_description(objid, catalog::name) IS NULL
   AND NOT (catalog = 'pg_class' AND (SELECT relkind IN ('S', 'c') FROM pg_class WHERE oid = objid))
   AND NOT (catalog = 'pg_type' AND (SELECT typelem <> 0 OR typrelid IN (SELECT objid FROM member) FROM pg_type WHERE oid = objid));

-- each is named djkafka_…, but for the wrapper
SELECT type, identity FROM member WHERE name !~ '^_?djkafka_';

-- each argument has a name, and one that can be written before =>
SELECT p.oid::regprocedure
  FROM member m JOIN pg_proc p ON p.oid = m.objid AND m.catalog = 'pg_proc'
 WHERE p.pronargs > 0 AND coalesce(cardinality(p.proargnames), 0) < p.pronargs;
SELECT p.oid::regprocedure, a.name
  FROM member m JOIN pg_proc p ON p.oid = m.objid AND m.catalog = 'pg_proc' CROSS JOIN unnest(p.proargnames[1:p.pronargs]) AS a (name)
 WHERE a.name IN (SELECT word FROM pg_get_keywords() WHERE catcode IN ('C', 'R'))
    OR a.name IN ('timestamp', 'position', 'limit', 'offset');

-- what everybody may do: types, and functions that tell and change nothing
SELECT m.identity, a.privilege_type
  FROM member m
  LEFT JOIN pg_class c ON c.oid = m.objid AND m.catalog = 'pg_class'
  LEFT JOIN pg_proc p ON p.oid = m.objid AND m.catalog = 'pg_proc'
  LEFT JOIN pg_foreign_data_wrapper w ON w.oid = m.objid AND m.catalog = 'pg_foreign_data_wrapper'
 CROSS JOIN aclexplode(CASE m.catalog
        WHEN 'pg_class' THEN coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))
        WHEN 'pg_proc' THEN coalesce(p.proacl, acldefault('f', p.proowner))
        WHEN 'pg_foreign_data_wrapper' THEN coalesce(w.fdwacl, acldefault('F', w.fdwowner)) END) a
 WHERE a.grantee = 0 ORDER BY 1;

-- the owner of a database, who is no superuser, may create it
CREATE ROLE extension_owner LOGIN;
CREATE DATABASE regression_djkafka OWNER extension_owner;
SELECT current_database() AS home, current_user AS superuser \gset
\c regression_djkafka extension_owner
SET client_min_messages = warning;
CREATE EXTENSION djkafka;

-- it may use all of it and pass it on, but not hang a trigger of its own on a table or refer to it
SELECT c.relname, string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ' ' ORDER BY a.privilege_type)
  FROM pg_class c CROSS JOIN aclexplode(c.relacl) a
 WHERE c.relname ~ '^djkafka_' AND a.grantee = 'extension_owner'::regrole GROUP BY 1 ORDER BY 1;
SELECT p.proname
  FROM pg_proc p
 WHERE p.proname ~ '^djkafka_' AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
   AND NOT has_function_privilege(p.oid, 'EXECUTE');
SELECT p.proname FROM pg_proc p
 WHERE p.proname ~ '^djkafka_' AND p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype)
   AND has_function_privilege(p.oid, 'EXECUTE');
SELECT count(*) FROM pg_class WHERE relname ~ '^djkafka_' AND relowner = 'extension_owner'::regrole;

-- the main job in two lines, and it goes without trace
CREATE TABLE item (id bigint PRIMARY KEY, name text);
SELECT djkafka_subscribe('items', 'item');
SELECT owner, workers, start_from, enabled, group_id ~ '^djkafka-[0-9a-f]{8}-default$' FROM djkafka_consumer;
SELECT applied, dead FROM djkafka_run('default', messages => '[{"topic": "items", "value": {"id": 1, "name": "one"}}]');
TABLE item;
SELECT djkafka_uninstall();
SELECT count(*) FROM pg_class WHERE relname ~ 'djkafka';
SELECT count(*) FROM pg_proc WHERE proname ~ 'djkafka';
SELECT count(*) FROM pg_type WHERE typname ~ 'djkafka';
SELECT count(*) FROM pg_event_trigger;
CREATE TABLE other (id int PRIMARY KEY);
DROP TABLE other;

-- a schema full of traps, first in the search_path and the extension's own, runs none of them
CREATE SCHEMA trap;
CREATE FUNCTION trap.sprung() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'trap sprung as %', current_user; RETURN true; END $$;
CREATE FUNCTION trap.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.sprung(); RETURN pg_catalog.now(); END $$;
CREATE FUNCTION trap.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.sprung(); RETURN pg_catalog.now(); END $$;
CREATE FUNCTION trap.current_database() RETURNS name LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.sprung(); RETURN pg_catalog.current_database(); END $$;
CREATE FUNCTION trap.gen_random_uuid() RETURNS uuid LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.sprung(); RETURN pg_catalog.gen_random_uuid(); END $$;
CREATE FUNCTION trap.count(anyelement) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN PERFORM trap.sprung(); RETURN 1; END $$;
CREATE FUNCTION trap.equal(anyelement, anyelement) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN trap.sprung(); END $$;
CREATE FUNCTION trap.equal(name, name) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN trap.sprung(); END $$;
CREATE FUNCTION trap.equal(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN trap.sprung(); END $$;
CREATE FUNCTION trap.equal(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN trap.sprung(); END $$;
CREATE FUNCTION trap.equal(integer, integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN trap.sprung(); END $$;
CREATE OPERATOR trap.= (FUNCTION = trap.equal, LEFTARG = anyelement, RIGHTARG = anyelement);
CREATE OPERATOR trap.= (FUNCTION = trap.equal, LEFTARG = name, RIGHTARG = name);
CREATE OPERATOR trap.= (FUNCTION = trap.equal, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR trap.= (FUNCTION = trap.equal, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR trap.= (FUNCTION = trap.equal, LEFTARG = integer, RIGHTARG = integer);
CREATE OPERATOR trap.<> (FUNCTION = trap.equal, LEFTARG = text, RIGHTARG = text);
CREATE DOMAIN trap.text AS pg_catalog.text CHECK (trap.sprung());
CREATE DOMAIN trap.bigint AS pg_catalog.int8 CHECK (trap.sprung());
CREATE DOMAIN trap.jsonb AS pg_catalog.jsonb CHECK (trap.sprung());
SET search_path = trap, pg_catalog, public;
CREATE EXTENSION djkafka SCHEMA trap;
SELECT trap.djkafka_create_consumer('c');
SELECT trap.djkafka_create_route('c', 'items', 'public.item', operation => 'insert_new');
SELECT applied, dead FROM trap.djkafka_run('c', messages => '[{"value": {"id": 2}}]');
SELECT state FROM trap.djkafka_status;
SELECT trap.djkafka_pause('c');
SELECT trap.djkafka_drop_consumer('c');
DROP EXTENSION djkafka;
RESET search_path;

-- nor is anything that lies where an object belongs taken for it
\set SHOW_CONTEXT never
CREATE TABLE trap.djkafka_home (id int);
CREATE EXTENSION djkafka SCHEMA trap;
DROP TABLE trap.djkafka_home;
CREATE FUNCTION trap.djkafka_consumer_id(name text) RETURNS pg_catalog.int8 LANGUAGE sql AS 'SELECT 1::pg_catalog.int8';
CREATE EXTENSION djkafka SCHEMA trap;

\c :home :superuser
DROP DATABASE regression_djkafka;
DROP ROLE extension_owner;
DROP VIEW member;
