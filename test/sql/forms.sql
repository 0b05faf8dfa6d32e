-- Catalog rows as forms write them: empty texts, columns left out, and which column an error is of.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA forms;
SET search_path = forms, public;
SET TimeZone = 'UTC';
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric, at timestamptz);
CREATE TABLE keyless (id int);
CREATE FUNCTION handle(jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
CREATE ROLE forms_one LOGIN;

-- what is left out, null or empty is filled in
INSERT INTO djkafka_consumer (name, owner, home, group_id, server, revision, created_at, updated_at) VALUES ('a', NULL, NULL, '', '', NULL, NULL, NULL), ('b', '-', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO djkafka_consumer (name) VALUES ('c');
CREATE VIEW consumer AS SELECT name, owner = current_user::regrole AS mine, home = (SELECT home FROM djkafka_home) AS home, group_id ~ ('^djkafka-[0-9a-f]{8}-' || name || '$') AS default_group, server, revision,
    created_at = now() AS made_now, updated_at >= created_at AS then_or_later FROM djkafka_consumer ORDER BY id;
SELECT name, mine, home, default_group, server, revision FROM consumer;
SELECT count(*) FROM djkafka_consumer WHERE created_at IS NULL OR updated_at IS NULL;
-- and stays what it was where it is changed
UPDATE djkafka_consumer SET owner = 'forms_one', group_id = 'own' WHERE name = 'a';
GRANT EXECUTE ON FUNCTION djkafka_use_settings TO forms_one;
UPDATE djkafka_consumer SET owner = 'forms_one', group_id = 'own' WHERE name = 'a';
CREATE TABLE before AS TABLE djkafka_consumer;
UPDATE djkafka_consumer SET owner = NULL, home = NULL, revision = NULL, created_at = NULL, updated_at = NULL, server = '' WHERE name = 'a';
UPDATE djkafka_consumer SET owner = '-' WHERE name = 'a';
SELECT c.owner, c.home = b.home, c.group_id, c.server, c.revision - b.revision, c.created_at = b.created_at, c.updated_at >= b.updated_at FROM djkafka_consumer c JOIN before b ON b.id = c.id WHERE c.name = 'a';
UPDATE djkafka_consumer SET group_id = '' WHERE name = 'a';
SELECT default_group FROM consumer WHERE name = 'a';
-- by the function, the caller's
SELECT djkafka_alter_consumer('a', reset => '{owner}') > 0;
SELECT mine FROM consumer WHERE name = 'a';

-- routes
INSERT INTO djkafka_route (consumer_id, topic, target, target_name, handler, filter, deleted_field, on_error, notify, time_unit, skip_column, root, deleted_when, unchanged_value, version_column, created_at, updated_at)
VALUES (djkafka_consumer_id('b'), 't', 'item', '', '', '', '', '', '', '', '', '', '', '', '', NULL, NULL);
CREATE VIEW route AS SELECT target_name, handler, filter, deleted_field, on_error, notify, time_unit, skip_column, root, deleted_when, unchanged_value, version_column FROM djkafka_route;
\pset null NULL
TABLE route;
SELECT count(*) FROM djkafka_route WHERE created_at IS NULL OR updated_at IS NULL;
UPDATE djkafka_route SET filter = '', deleted_field = 'gone', created_at = NULL, updated_at = NULL, handler = '', search_path = NULL;
TABLE route;
SELECT djkafka_alter_route('b', 't', deleted_field => '', filter => 'true') > 0;
TABLE route;
SELECT djkafka_create_route('b', 'u', 'item', deleted_field => '', filter => '', unchanged_value => '') > 0;
SELECT count(*) FROM djkafka_route WHERE deleted_field IS NULL AND unchanged_value IS NULL;
SELECT count(*) FROM djkafka_route WHERE created_at IS NULL OR updated_at IS NULL OR search_path IS NULL;

-- publications
INSERT INTO djkafka_publication (relation, topic, server, filter, home, created_at, updated_at) VALUES ('item', 'p', '', '', NULL, NULL, NULL);
SELECT server, filter, home = (SELECT home FROM djkafka_home), created_at IS NOT NULL FROM djkafka_publication;
UPDATE djkafka_publication SET filter = '', home = NULL, created_at = NULL, updated_at = NULL;
SELECT server, filter, home = (SELECT home FROM djkafka_home), created_at IS NOT NULL FROM djkafka_publication;

-- which column it is
CREATE FUNCTION at(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    code text; at text; tab text;
BEGIN
    EXECUTE statement;
    RETURN 'ACCEPTED: ' || statement;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, at = COLUMN_NAME, tab = TABLE_NAME;
    RETURN code || ' ' || coalesce(nullif(tab, '') || '.' || at, 'nowhere: ' || SQLERRM);
END $$;
SELECT at('UPDATE djkafka_consumer SET ' || change || ' WHERE name = ''c''') FROM unnest(ARRAY[
    'name = ''''', 'name = NULL', 'workers = 0', 'workers = NULL', 'enabled = NULL', 'on_error = ''x''', 'on_error = ''''', 'notify = ''x''', 'assignment = ''x''', 'start_from = ''x''', 'batch_messages = 0',
    'batch_bytes = 0', 'options = NULL', 'options = ''[]''', 'options = ''{"no.such": 1}''', 'options = ''{"fetch.wait.max.ms": "x"}''', 'synchronous_commit = NULL', 'on_new_topic = ''x''', 'retry = ''[]''', 'storm_share = 2', 'storm_window = 0', 'dead_letters = ''x''', 'dead_letter_topic = ''{x}''', 'retry_suffix = ''.x''', 'retries_of = 1', 'group_id = repeat(''x'', 256)',
    'server = ''nowhere''', 'home = gen_random_uuid()', 'id = 77', 'name = ''a''', 'group_id = (SELECT group_id FROM djkafka_consumer WHERE name = ''a'')']) change;
SELECT at($$UPDATE djkafka_consumer SET owner = 'pg_monitor' WHERE name = 'c'$$) ~ '^(ACCEPTED|55000 djkafka_consumer.owner|42501 )';
SELECT at('UPDATE djkafka_route SET ' || change || ' WHERE topic = ''t''') FROM unnest(ARRAY[
    'consumer_id = 0', 'consumer_id = NULL', 'topic = ''a b''', 'topic = ''''', 'topic = ''^(''', 'topic = NULL', 'target = NULL, target_name = NULL', 'target = ''keyless''', 'target = NULL, handler = ''no(jsonb)''',
    'handler = ''forms.handle(jsonb)''', 'target = NULL, handler = ''pg_catalog.lower(text)''', 'operation = ''x''', 'operation = NULL', 'format = ''x''', 'key_format = ''x''', 'key_columns = ''{x}''', 'key_columns = ''{}''',
    'key_columns = ''{name}''', 'columns = ''[]''', 'columns = ''{"x": "1"}''', 'columns = ''{"name": "no"}''', 'columns = ''{"name": {"x": 1}}''', 'columns = ''{"name": {"lookup": {"table": "no", "column": "x", "field": "y"}}}''',
    'include = ''{x}''', 'exclude = ''{x}''', 'exclude = ''{id,id}''', 'filter = ''no''', 'filter = ''1''', 'filter = ''true; SELECT true''', 'deleted_when = ''no''', 'unknown_fields = ''x''', 'on_error = ''x''', 'notify = ''x''',
    'types = ''x''', 'time_zone = ''x''', 'types = ''postgres'', time_zone = ''error''', 'time_unit = ''x''', 'time_unit = ''{"x": "s"}''', 'skip_column = ''name''', 'naming = ''x''', 'root = ''..''', 'version_column = ''x''',
    'version_column = ''id''', 'remember_deleted = ''1 s''', 'partial_deletes = true, version_column = ''price''', 'invalid_text = ''x''', 'parent_timeout = ''-1 s''', 'parent_timeout = NULL', 'retry = ''[]''', 'ordering = ''x''', 'ordering = NULL', 'on_referenced = ''x''', 'dead_letters = ''x''', 'dead_letter_topic = ''a b''', 'unknown_types = ''x''', 'message_types = ''[]''', 'renamed = ''[]''', 'search_path = ''"''',
    'route_order = NULL']) change;
SELECT at('UPDATE djkafka_publication SET ' || change) FROM unnest(ARRAY['topic = ''a b''', 'relation = NULL', 'relation = ''pg_class''', 'shape = ''x''', 'key_format = ''x''', 'format = ''x''', 'key_columns = ''{x}''',
    'columns = ''[]''', 'columns = ''{"x": "no"}''', 'include = ''{x}''', 'exclude = ''{x}''', 'filter = ''no''', 'filter = ''1''', 'columns = ''{"x": "1"}'', filter = ''no''', 'columns = ''{"x": "no"}'', filter = ''true''', 'server = ''nowhere''', 'omit_nulls = ''{x}''', 'headers = ''{x}''', 'time_unit = ''x''', 'silence = ''x''', 'settings = ''[]''', 'key_spelling = ''x''', 'delete_rows = true']) change;
-- by the functions too, and a row that is right leaves nothing behind
SELECT at($$SELECT djkafka_subscribe('t', 'item', filter => 'no')$$), at($$SELECT djkafka_create_consumer('x', workers => 0)$$), at($$SELECT djkafka_alter_consumer('c', notify => 'x')$$);
SELECT at($$SELECT djkafka_create_consumer('x')$$), at('SELECT 1/0'), at($$SELECT djkafka_subscribe('t', 'nothing')$$);
SET client_min_messages = error;
DROP SCHEMA forms CASCADE;
