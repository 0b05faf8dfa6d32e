-- Changing consumers and routes by what they were made with.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA alter_ddl;
SET search_path = alter_ddl, public;
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric, owner_id int, other_id int);
CREATE TABLE other (id int PRIMARY KEY, code text);
CREATE FUNCTION handle(jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
CREATE ROLE alter_one LOGIN;
CREATE ROLE alter_other LOGIN;
GRANT EXECUTE ON FUNCTION djkafka_use_settings TO alter_one;
\set SHOW_CONTEXT never

-- a consumer: what is not given stays, what is reset gets the default
SELECT djkafka_create_consumer('c', group_id => 'g', enabled => false);
CREATE VIEW consumer AS SELECT name, group_id, server, workers, start_from, enabled, options, on_error, notify, assignment, batch_messages, batch_bytes,
    synchronous_commit, owner = current_user::regrole AS mine, on_new_topic, revision FROM djkafka_consumer;
TABLE consumer;
SELECT djkafka_alter_consumer('c');
TABLE consumer;
SELECT djkafka_alter_consumer('c', workers => 3);
TABLE consumer;
SELECT djkafka_alter_consumer('c', group_id => 'h', workers => 2, start_from => 'latest', enabled => true, options => '{"fetch.wait.max.ms": 50}', on_error => 'stop',
    notify => 'keys', assignment => 'roundrobin', batch_messages => 10, batch_bytes => 65536, synchronous_commit => true, owner => 'alter_one', on_new_topic => 'earliest', new_name => 'd');
TABLE consumer;
SELECT djkafka_alter_consumer('d', enabled => false, reset => '{batch_messages,options,workers,on_error}');
TABLE consumer;
SELECT djkafka_alter_consumer('d', reset => '{start_from,enabled,notify,assignment,batch_bytes,synchronous_commit,owner,on_new_topic,server,group_id}', new_name => 'c');
SELECT group_id ~ '^djkafka-[0-9a-f]{8}-c$' FROM djkafka_consumer;
SELECT djkafka_alter_consumer('c', group_id => 'g');
TABLE consumer;
-- what is refused, with nothing changed
SELECT refused($$SELECT djkafka_alter_consumer('nobody', workers => 2)$$), refused($$SELECT djkafka_alter_consumer(NULL)$$);
SELECT refused($$SELECT djkafka_alter_consumer('c', workers => 0)$$), refused($$SELECT djkafka_alter_consumer('c', notify => 'all')$$);
SELECT refused($$SELECT djkafka_alter_consumer('c', owner => 'nobody_at_all')$$), refused($$SELECT djkafka_alter_consumer('c', new_name => '')$$);
SELECT refused($$SELECT djkafka_alter_consumer('c', workers => 2, reset => '{workers}')$$);
SELECT refused(format('SELECT djkafka_alter_consumer(''c'', reset => %L)', r)) FROM unnest(ARRAY['{name}', '{new_name}', '{reset}', '{home}', '{revision}', '{""}', '{NULL}', '{"enabled; DROP TABLE item"}']) r;
TABLE consumer;

-- a route: found by its topic and target or handler
SELECT djkafka_create_route('c', 't', 'item', filter => 'true', deleted_field => 'gone', key_columns => '{id}',
    lookups => '{"owner_id": {"table": "other", "column": "code", "field": "owner"}}', columns => '{"name": "upper(value->>''name'')"}') AS id \gset
CREATE VIEW route AS SELECT topic, target, handler, operation, key_columns, columns, include, exclude, filter, route_order, deleted_field, unknown_fields, on_error, notify,
    time_zone, types, time_unit, naming, root, deleted_when, unchanged_value, version_column, partial_deletes, invalid_text, remember_deleted, parent_timeout, retry, ordering, dead_letters, dead_letter_topic, target_name FROM djkafka_route ORDER BY id;
SELECT djkafka_alter_route('c', 't', 'item', filter => 'false') = :id;
SELECT filter, deleted_field, key_columns, columns FROM route;
SELECT djkafka_alter_route('c', 't', reset => '{filter,key_columns,deleted_field}') = :id;
SELECT filter, deleted_field, key_columns FROM route;
-- columns and lookups, each without the other
SELECT djkafka_alter_route('c', 't', columns => '{"price": "1"}') > 0;
SELECT columns FROM route;
SELECT djkafka_alter_route('c', 't', lookups => '{"other_id": {"table": "other", "column": "code", "field": "x"}}') > 0;
SELECT columns FROM route;
SELECT djkafka_alter_route('c', 't', columns => '{"other_id": "2", "name": "''n''"}') > 0;
SELECT columns FROM route;
SELECT djkafka_alter_route('c', 't', columns => '{"owner_id": {"returns": "id"}}', lookups => '{"owner_id": {"table": "other", "column": "code", "field": "x"}}') > 0;
SELECT djkafka_alter_route('c', 't', columns => '{"price": "3"}', lookups => '{"owner_id": {"table": "other", "column": "code", "field": "x"}}') > 0;
SELECT columns FROM route;
SELECT djkafka_alter_route('c', 't', reset => '{columns}') > 0;
SELECT columns FROM route;
SELECT djkafka_alter_route('c', 't', columns => '{"price": "3"}', reset => '{lookups}') > 0;
SELECT columns FROM route;
SELECT djkafka_alter_route('c', 't', lookups => '{"owner_id": {"table": "other", "column": "code", "field": "x"}}', reset => '{columns}') > 0;
SELECT columns FROM route;
SELECT djkafka_alter_route('c', 't', reset => '{columns,lookups}') > 0;
SELECT columns IS NULL FROM route;
-- all of it
SELECT djkafka_alter_route('c', 't', 'item', operation => 'mirror', key_columns => '{id}', include => '{id,name,price}', exclude => '{other_id}', filter => 'true', route_order => 7,
    deleted_field => 'd', unknown_fields => 'error', on_error => 'skip', notify => 'keys', time_zone => 'Europe/Vienna', types => 'strict', time_unit => 'ms', naming => 'snake_case', root => 'after',
    deleted_when => 'false', unchanged_value => '?', version_column => 'price', partial_deletes => false, invalid_text => 'replace', remember_deleted => '1 h', parent_timeout => '1 s', retry => '{"max_retries": 2}', ordering => 'none', dead_letters => 'both', dead_letter_topic => 'x.{topic}') > 0;
TABLE route;
SELECT djkafka_alter_route('c', 't', reset => '{operation,format,key_format,key_columns,columns,include,exclude,filter,route_order,deleted_field,unknown_fields,on_error,notify,time_zone,skip_column,
    types,time_unit,naming,root,deleted_when,unchanged_value,version_column,partial_deletes,invalid_text,lookups,remember_deleted,parent_timeout,retry,ordering,dead_letters,dead_letter_topic}') > 0;
TABLE route;
-- elsewhere, and to a handler and back
SELECT djkafka_alter_route('c', 't', new_topic => 'u', new_target => 'other') > 0;
SELECT topic, target, handler, target_name FROM route;
SELECT djkafka_alter_route('c', 'u', 'other', operation => 'insert', new_handler => 'handle(jsonb)') > 0;
SELECT topic, target, handler, target_name FROM route;
SELECT djkafka_alter_route('c', 'u', handler => 'handle(jsonb)', new_target => 'item') > 0;
SELECT topic, target, handler, target_name FROM route;
SELECT refused($$SELECT djkafka_alter_route('c', 'u', new_target => 'item', new_handler => 'handle(jsonb)')$$);
-- one whose target was dropped gets another
DROP TABLE item;
SELECT djkafka_alter_route('c', 'u', new_target => 'other') > 0;
SELECT topic, target, handler, target_name FROM route;
-- which one
SELECT djkafka_create_route('c', 'u', 'other', filter => 'false') AS second \gset
SELECT refused($$SELECT djkafka_alter_route('c', 'u', filter => 'true')$$), refused($$SELECT djkafka_alter_route('c', 'u', 'other', filter => 'true')$$);
SELECT djkafka_alter_route('c', 'u', id => :second, filter => '1 = 1') = :second;
SELECT filter FROM route;
SELECT refused($$SELECT djkafka_alter_route('c', 'v', 'other', filter => 'true')$$), refused($$SELECT djkafka_alter_route('x', 'u', filter => 'true')$$),
    refused($$SELECT djkafka_alter_route(NULL, 'u')$$), refused($$SELECT djkafka_alter_route('c', NULL)$$),
    refused($$SELECT djkafka_alter_route('c', 'u', id => 0)$$), refused($$SELECT djkafka_alter_route('c', 'u', handler => 'handle(jsonb)')$$);
SELECT refused(format($$SELECT djkafka_alter_route('c', 'u', id => %s, filter => 'nothing')$$, :second)), refused(format($$SELECT djkafka_alter_route('c', 'u', id => %s, operation => 'x')$$, :second));
SELECT refused(format('SELECT djkafka_alter_route(''c'', ''u'', id => 1, reset => %L)', r)) FROM unnest(ARRAY['{target}', '{topic}', '{id}', '{new_topic}', '{search_path}', '{target_name}']) r;
SELECT filter FROM route;

-- nobody else's, whatever the rights on the tables; and nobody's without them
CREATE SCHEMA trap;
CREATE FUNCTION trap.sprung(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'trap sprung as %', current_user; RETURN true; END $$;
CREATE FUNCTION trap.sprung(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'trap sprung as %', current_user; RETURN true; END $$;
CREATE OPERATOR trap.= (FUNCTION = trap.sprung, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR trap.= (FUNCTION = trap.sprung, LEFTARG = text, RIGHTARG = text);
SET search_path = trap, pg_catalog, alter_ddl, public;
SELECT djkafka_alter_consumer('c', workers => 1) > 0, djkafka_alter_route('c', 'u', id => :second, columns => '{"code": "''x''"}', reset => '{lookups}') > 0;
SET search_path = alter_ddl, public;
GRANT USAGE ON SCHEMA alter_ddl TO alter_one, alter_other;
GRANT EXECUTE ON FUNCTION djkafka_alter_consumer, djkafka_alter_route TO alter_one, alter_other;
GRANT SELECT ON djkafka_consumer, djkafka_route TO alter_one, alter_other;
SET ROLE alter_other;
SELECT refused($$SELECT djkafka_alter_consumer('c', workers => 2)$$), refused(format($$SELECT djkafka_alter_route('c', 'u', id => %s, filter => 'true')$$, :second));
RESET ROLE;
GRANT UPDATE ON djkafka_consumer, djkafka_route TO alter_one, alter_other;
SET ROLE alter_other;
SELECT refused($$SELECT djkafka_alter_consumer('c', workers => 2)$$) ~ '^42501 must be a member', refused(format($$SELECT djkafka_alter_route('c', 'u', id => %s, filter => 'true')$$, :second)) ~ '^42501 must be a member',
    refused($$SELECT djkafka_alter_consumer('c', reset => '{owner}')$$) ~ '^42501 must be a member';
RESET ROLE;
SELECT djkafka_alter_consumer('c', owner => 'alter_one') > 0;
SET ROLE alter_one;
SELECT djkafka_alter_consumer('c', workers => 2) > 0;
SELECT refused($$SELECT djkafka_alter_consumer('c', owner => 'alter_other')$$);
RESET ROLE;
SELECT workers, owner FROM djkafka_consumer;
SET client_min_messages = error;
DROP SCHEMA alter_ddl, trap CASCADE;
