-- Every function takes every argument by its name.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

-- whoever adds a function or an argument adds it below too
SELECT p.proname || '(' || array_to_string(p.proargnames[1:p.pronargs], ', ') || ')'
  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'djkafka'
 WHERE p.pronargs > 0 ORDER BY 1;

CREATE SCHEMA arguments;
SET search_path = arguments, public;
SET djkafka.bootstrap_servers = 'embedded';
CREATE SERVER arguments FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'embedded');
CREATE TABLE item (id int PRIMARY KEY, name text, note text);
CREATE FUNCTION handle(jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
SELECT djkafka_create_consumer(name => 'c', group_id => 'g', server => NULL, workers => 2, start_from => 'latest', enabled => false, options => '{"fetch.wait.max.ms": "100"}',
    on_error => 'skip', notify => 'batch', assignment => 'roundrobin', batch_messages => 100, batch_bytes => 100000, synchronous_commit => true, owner => current_user, on_new_topic => 'earliest', retry => '{"delay": 1}', dead_letters => 'both', dead_letter_topic => '{topic}.dlt', storm_share => 0.5, storm_window => 100, retries_of => NULL, retry_suffix => NULL);
SELECT djkafka_consumer_id(name => 'c');
SELECT djkafka_create_route(consumer => 'c', topic => 'arguments.1', target => 'item', handler => NULL, operation => 'upsert', format => 'json', key_format => 'json', key_columns => '{id}',
    columns => '{"note": "upper(value->>''x'')"}', include => '{id,note}', exclude => '{name}', filter => 'true', route_order => 7, deleted_field => 'gone', unknown_fields => 'error',
    on_error => 'stop', notify => 'keys', time_zone => 'Europe/Vienna', skip_column => NULL, types => 'strict', time_unit => 'ms', naming => 'snake_case', root => 'after', deleted_when => 'false', unchanged_value => '?', version_column => 'note', partial_deletes => false, invalid_text => 'error', lookups => NULL, remember_deleted => NULL, parent_timeout => '10 s', retry => '{"max_retries": 1}', ordering => 'none', dead_letters => 'topic', dead_letter_topic => 'letters.{topic}', on_referenced => 'wait', message_types => NULL, unknown_types => 'error', max_lane_messages => NULL, max_lane_bytes => NULL, max_lane_age => NULL, on_full_lane => 'stop') AS route \gset
SELECT djkafka_subscribe(topic => 'arguments.2', target => NULL, handler => 'handle(jsonb)', operation => 'insert', format => 'json', key_format => 'text', key_columns => NULL,
    columns => NULL, include => NULL, exclude => NULL, filter => 'true', route_order => 1, deleted_field => NULL, unknown_fields => 'ignore', on_error => 'skip', notify => 'off', time_zone => 'UTC', skip_column => NULL, consumer => 'c', types => 'postgres', time_unit => NULL, naming => 'exact', root => NULL, deleted_when => NULL, unchanged_value => NULL, version_column => NULL, partial_deletes => false, invalid_text => 'error', lookups => NULL, remember_deleted => NULL, parent_timeout => '0', enabled => NULL, retry => NULL, ordering => 'key', dead_letters => 'table', dead_letter_topic => NULL, on_referenced => 'wait', message_types => NULL, unknown_types => 'error', max_lane_messages => 10, max_lane_bytes => 1000, max_lane_age => '1 h', on_full_lane => 'dead_letter');
SELECT djkafka_set_enabled(name => 'c', enabled => false);
SELECT djkafka_alter_consumer(name => 'c', group_id => 'g', server => NULL, workers => 2, start_from => 'latest', enabled => false, options => '{}',
    on_error => 'skip', notify => 'batch', assignment => 'roundrobin', batch_messages => 100, batch_bytes => 100000, synchronous_commit => true, owner => current_user, on_new_topic => 'earliest', retry => '{}', dead_letters => 'table', dead_letter_topic => 'dlt', storm_share => 1, storm_window => NULL, retry_suffix => NULL, new_name => 'c', reset => NULL) > 0;
SELECT djkafka_alter_route(consumer => 'c', topic => 'arguments.1', target => 'item', handler => NULL, operation => NULL, format => NULL, key_format => NULL, key_columns => NULL, columns => NULL, include => NULL, exclude => NULL, filter => 'true', route_order => NULL, deleted_field => NULL, unknown_fields => NULL, on_error => NULL, notify => NULL, time_zone => NULL, skip_column => NULL, types => NULL, time_unit => NULL, naming => NULL, root => NULL, deleted_when => NULL, unchanged_value => NULL, version_column => NULL, partial_deletes => NULL, invalid_text => NULL, lookups => NULL, remember_deleted => NULL, parent_timeout => NULL, retry => NULL, ordering => NULL, dead_letters => NULL, dead_letter_topic => NULL, on_referenced => NULL, message_types => NULL, unknown_types => NULL, max_lane_messages => NULL, max_lane_bytes => NULL, max_lane_age => NULL, on_full_lane => NULL, new_topic => 'arguments.1', new_target => NULL, new_handler => NULL, id => :route, reset => '{notify}') > 0;
SELECT * FROM djkafka_run(name => 'c', max_messages => 1, until => 'eof', idle => '1 s', timeout => '5 s', messages => NULL);
SELECT * FROM djkafka_test(consumer => 'c', max_messages => 1, timeout => '5 s', messages => '[]');
SELECT * FROM djkafka_replay(ids => '{1}', consumer => 'c', topic => 'arguments.1', sqlstate => '23503', since => '2020-01-01', until => 'infinity', max_letters => NULL, to_topic => NULL, force => true);
SELECT djkafka_discard(ids => '{1}', reason => 'r', consumer => 'c', topic => 'arguments.1', sqlstate => '23', since => '2020-01-01', until => NULL);
SELECT djkafka_seek(name => 'c', topic => 'arguments.1', start_at => 'earliest', partition => 0);
SELECT refused($$SELECT djkafka_skip(consumer => 'c', topic => 'arguments.1', partition => 0, at_offset => 5)$$);
SELECT djkafka_wait(consumer => 'c', topic => 'arguments.1', partition => 0, at_offset => 5, timeout => '0 s');
SELECT djkafka_pause(name => 'c'), djkafka_resume(name => 'c'), djkafka_restart(name => 'c');
SELECT * FROM djkafka_peek(topic => 'arguments.1', max_messages => 1, partition => 0, start_at => 'latest', server => NULL, timeout => '1 s');
SELECT count(*) FROM djkafka_topics(server => NULL, topic_name => 'arguments.1', timeout => '5 s');
SELECT djkafka_header(headers => ARRAY[('a', 'x'), ('b', 'y'), ('a', 'z')]::djkafka_header[], name => 'a'), djkafka_header(headers => NULL, name => 'a'), djkafka_header(headers => '{}', name => 'a');
SELECT * FROM djkafka_route_evaluation(id => :route);
SELECT djkafka_is_home(home => '00000000-0000-0000-0000-000000000000');
SELECT refused('SELECT djkafka_adopt(keep_offsets => true, keep_outbox => true, keep_groups => true, new_home => false)');
SELECT djkafka_consumer_state(enabled => true, is_home => true, wanted => 1, running => 1, states => '{running}', decisions => 0, not_running => NULL, routes => 1, storms => 0);
SELECT djkafka_produce(topic => 't', value => 'v'::text, key => 'k'::text, headers => '{"a": "b"}', partition => 0, at_time => '2020-01-01', server => NULL),
    djkafka_produce(topic => 't', value => 1, key => 'k', headers => '{"a": "b"}', partition => 0, at_time => '2020-01-01', server => 'arguments'),
    djkafka_produce(topic => 't', value => 'v', key => 1, headers => NULL, partition => NULL, at_time => NULL, server => NULL),
    djkafka_produce(topic => 't', value => 1, key => 1, headers => NULL, partition => NULL, at_time => NULL, server => NULL);
SELECT djkafka_flush(timeout => '0 s');
SELECT djkafka_delivery(message_id => 1);
SELECT depth, held, dead FROM djkafka_outbox_waiting(server_id => 1);
SELECT refused('SELECT djkafka_outbox_resend(message_id => 1)'), refused('SELECT djkafka_outbox_discard(message_id => 1)');
SELECT refused('SELECT djkafka_outbox_decide(decision => ''send'', server => NULL)'), refused('SELECT djkafka_outbox_decide(decision => ''maybe'')');
SELECT djkafka_publish(relation => 'item', topic => 'arguments.3', key_columns => '{id}', key_format => 'text', columns => '{"note": "upper(note)"}', include => '{id,note}', exclude => '{name}',
    filter => 'id > 0', format => 'json', server => NULL, republish => false, origin => true, key_spelling => 'exact', omit_nulls => '{note}') > 0;
CREATE TABLE events (id int, aggregatetype text, aggregateid text, type text, payload text);
SELECT djkafka_publish_outbox(relation => 'events', topic_prefix => 'e.', server => NULL, delete_rows => true, republish => true, origin => true, columns => '{"type": "payload"}', headers => '{type}', time_unit => 'us') > 0;
SELECT djkafka_unsuppress(token => djkafka_suppress(topics => '{nothing}')), djkafka_suppressed() >= 0;
CALL djkafka_snapshot(relation => 'item', topic => 'arguments.3', chunk => 10, skip_too_large => true);
SELECT djkafka_unpublish(relation => 'item', topic => 'arguments.3'), djkafka_unpublish(relation => 'events', topic => NULL);
SELECT djkafka_unsubscribe(topic => 'arguments.2', target => NULL, handler => 'handle(jsonb)', consumer => 'c');
SELECT djkafka_drop_route(id => :route);
SELECT djkafka_drop_consumer(name => 'c');

-- a driver sends parameters without a type
PREPARE subscribe AS SELECT djkafka_subscribe(topic => $1, target => $2, key_columns => $3, columns => $4, route_order => $5, filter => $6);
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'subscribe';
EXECUTE subscribe ('t', 'item', '{id}', '{"note": "''n''"}', '3', NULL);
PREPARE publish AS SELECT djkafka_publish($1, $2, key_columns => $3, columns => $4, exclude => $5, republish => $6) > 0;
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'publish';
EXECUTE publish ('item', 't', '{id}', '{"note": "''n''"}', NULL, 'f');
PREPARE run AS SELECT applied, dead, reason FROM djkafka_run($1, messages => $2);
PREPARE produce AS SELECT djkafka_produce($1, $2, key => $3, headers => $4, partition => $5, at_time => $6, server => $7);
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'produce';
EXECUTE produce ('t', 'v', 'k', '{}', '1', '2020-01-01', NULL);
EXECUTE run ('default', '[{"value": {"id": 1}}]');
TABLE item;
-- messages of any number of partitions: they take their time, and can be cancelled
SELECT jsonb_agg(jsonb_build_object('partition', i)) AS many FROM generate_series(1, 50000) i \gset
\set ECHO none
\set SHOW_CONTEXT never
SET statement_timeout = '500 ms';
SELECT clock_timestamp() AS before \gset
SELECT * FROM djkafka_run('default', messages => :'many');
SET statement_timeout = 0;
\set SHOW_CONTEXT errors
\set ECHO all
SELECT clock_timestamp() - :'before' < '4 s';
DEALLOCATE ALL;
SELECT djkafka_drop_consumer('default');
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA arguments CASCADE;
