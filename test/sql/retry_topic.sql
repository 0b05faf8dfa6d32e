-- Retries through topics: who reads them, and what is wrong with it.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on
\set super :USER

CREATE SCHEMA retry_topic;
SET search_path = retry_topic, public;
SET djkafka.bootstrap_servers = 'embedded';
CREATE TABLE item (id bigint PRIMARY KEY, v text);
CREATE VIEW consumer AS SELECT name, group_id, server, owner = current_user::regrole AS mine, retries_of IS NOT NULL AS reads_retries, retry_suffix, enabled FROM djkafka_consumer ORDER BY id;
CREATE VIEW topic AS SELECT c.name, t.topic, t.retry_topic FROM djkafka_route_topic t JOIN djkafka_consumer c ON c.id = t.consumer_id ORDER BY c.id, t.route_id;

-- the policy
SELECT djkafka_create_consumer('c', group_id => 'my.shop', enabled => false) > 0;
SELECT refused(format('SELECT djkafka_create_route(''c'', ''item'', ''item'', ordering => ''none'', retry => %L)', p))
  FROM unnest('{"{\"through\": \"topic\"}", "{\"through\": true}", "{\"through\": \"topics\", \"blocking\": true}"}'::text[]) p;
SELECT refused('SELECT djkafka_create_route(''c'', ''item'', ''item'', retry => ''{"through": "topics"}'')');
SELECT djkafka_alter_consumer('c', retry => '{"blocking": true}') > 0;
SELECT refused('SELECT djkafka_create_route(''c'', ''item'', ''item'', ordering => ''none'', retry => ''{"through": "topics"}'')');
SELECT djkafka_alter_consumer('c', reset => '{retry}') > 0;
SELECT djkafka_create_route('c', 'my.item', 'item', ordering => 'none', retry => '{"through": "topics", "max_retries": 3}') > 0;
SELECT djkafka_create_route('c', '^orders[.].*$', 'item') > 0;
SELECT * FROM topic;

-- who reads them; a pattern within a pattern
SELECT djkafka_create_route('c', '^a|b\$$', 'item') > 0;
SELECT djkafka_create_route('c', '^invoices[.]', 'item') > 0;
SELECT djkafka_create_consumer('c.retry', retries_of => 'c', workers => 2, enabled => false) > 0;
TABLE consumer;
SELECT * FROM topic;
SELECT 'my.shop.a.retry.1' ~ retry_topic FROM topic WHERE topic = '^a|b\$$';
SELECT 'my.shop.invoices.old.retry.1' ~ retry_topic, 'my.shop.my.invoices.retry.1' ~ retry_topic FROM topic WHERE topic = '^invoices[.]';
SELECT 'my.shop.my.item.retry.12' ~ retry_topic, 'my.shop.my.item.retry.' ~ retry_topic, 'my.shop.my.item.retry.x' ~ retry_topic, 'my-shop.my.item.retry.1' ~ retry_topic FROM topic LIMIT 1;
-- one alone, of one that does not read retries itself
SELECT refused('SELECT djkafka_create_consumer(''d'', retries_of => ''c'', group_id => ''my.shop.retry'')');
SELECT refused('SELECT djkafka_create_consumer(''d'', retries_of => ''c.retry'')');
SELECT refused('SELECT djkafka_create_consumer(''d'', retries_of => ''nobody'')');
SELECT refused('INSERT INTO djkafka_consumer (name, retries_of) VALUES (''d'', 4711)');
-- what is the other one's
SELECT djkafka_create_consumer('e', group_id => 'e') > 0;
SELECT refused(format('SELECT djkafka_create_consumer(''d'', retries_of => ''e'', %s)', a))
  FROM unnest(ARRAY[$$on_error => 'stop'$$, $$notify => 'keys'$$, $$retry => '{}'$$, $$dead_letters => 'both'$$, $$dead_letter_topic => 'x'$$, $$group_id => 'other'$$, $$server => 'other'$$,
    $$owner => 'pg_monitor'$$, $$retry_suffix => 'a b'$$, $$retry_suffix => ''||repeat('x', 250)$$]) a;
SELECT refused('SELECT djkafka_alter_consumer(''e'', retry_suffix => ''again'')');
SELECT refused('SELECT djkafka_alter_consumer(''c.retry'', on_error => ''skip'')');
SELECT refused('SELECT djkafka_alter_consumer(''c.retry'', group_id => ''other'')');
SELECT refused('SELECT djkafka_create_route(''c.retry'', ''item'', ''item'')');
SELECT refused('UPDATE djkafka_consumer SET retries_of = NULL WHERE name = ''c.retry''');
SELECT refused('UPDATE djkafka_consumer SET retries_of = (SELECT id FROM djkafka_consumer WHERE name = ''c'') WHERE name = ''e''');
SELECT refused('SELECT djkafka_alter_consumer(''c'', group_id => ''other'')');
-- a group that no topic can be named by
SELECT djkafka_create_consumer('f', group_id => 'my shop') > 0;
SELECT refused('SELECT djkafka_create_consumer(''d'', retries_of => ''f'')');
TABLE consumer;

-- each is read again when the other changes
CREATE VIEW revision AS SELECT name, revision FROM djkafka_consumer WHERE name LIKE 'c%' ORDER BY name;
CREATE TEMP TABLE before AS TABLE revision;
CREATE FUNCTION changed() RETURNS SETOF text LANGUAGE sql AS $$
    WITH b AS (UPDATE before SET revision = r.revision FROM revision r WHERE r.name = before.name AND r.revision <> before.revision RETURNING before.name) SELECT name FROM b ORDER BY name $$;
SELECT djkafka_alter_consumer('c', workers => 2) > 0;
SELECT changed();
SELECT djkafka_alter_consumer('c.retry', workers => 3, retry_suffix => 'again') > 0;
SELECT changed();
SELECT djkafka_alter_route('c', 'my.item', filter => 'true') > 0;
SELECT changed();
UPDATE djkafka_consumer SET workers = 1;
SELECT changed();
SELECT * FROM topic;
SELECT consumer, state FROM djkafka_status ORDER BY 1;

-- applied by the same route, as the other one says; a letter of a letter's topic
SELECT djkafka_alter_consumer('c', dead_letters => 'both') > 0;
SELECT give('[{"topic": "my.shop.my.item.again.2", "value": {"id": 1, "v": "a"}}, {"topic": "my.shop.my.item.again.3", "value": {"id": "x"}, "headers": {"DJKAFKA_OFFSET": "7", "RETRY_MESSAGE": "m"}}]', 'c.retry');
TABLE item;
SELECT consumer, topic, sqlstate, not_sent FROM djkafka_dead_letter;
SELECT topic, (SELECT array_agg(h.name || '=' || convert_from(h.value, 'UTF8')) FROM unnest(headers) h WHERE h.name ~ 'TOPIC|OFFSET|PARTITION|RETRY|ATTEMPTS') FROM djkafka_outbox;
SELECT result FROM djkafka_replay(consumer => 'c.retry');

-- it goes with the other one; what it was is known
SELECT djkafka_drop_consumer('c');
TABLE consumer;
SELECT djkafka_create_consumer('c', group_id => 'my.shop') > 0;
SELECT djkafka_create_consumer('r', retries_of => 'c') > 0;
SELECT djkafka_drop_consumer('r');
SELECT djkafka_create_consumer('r', retries_of => 'c') > 0;
DELETE FROM djkafka_consumer;
TABLE consumer;

-- a copy
SELECT djkafka_create_consumer('c', group_id => 'shop') > 0;
SELECT djkafka_create_consumer('r', retries_of => 'c', workers => 2) > 0;
SELECT djkafka_create_route('c', 'item', 'item') > 0;
SELECT consumers FROM djkafka_adopt(new_home => true);
SELECT k.group_id = c.group_id || '.retry', k.group_id LIKE 'shop-________.retry' FROM djkafka_consumer c JOIN djkafka_consumer k ON k.retries_of = c.id;

-- what a dump brings is read with the routes of all
DELETE FROM djkafka_consumer;
INSERT INTO djkafka_consumer (id, name, group_id, home) VALUES (4711, 'c', 'x (\1) u.y', '11111111-1111-1111-1111-111111111111');
INSERT INTO djkafka_route (consumer_id, topic, target) VALUES (4711, '^o\$', 'item'), (4711, 'item', 'item');
SELECT refused('INSERT INTO djkafka_consumer (id, name, group_id, retries_of, retry_suffix, home) VALUES (4712, ''r'', ''r'', 4711, ''(('', ''11111111-1111-1111-1111-111111111111'')');
INSERT INTO djkafka_consumer (id, name, group_id, retries_of, home) VALUES (4712, 'r', 'r', 4711, '11111111-1111-1111-1111-111111111111');
INSERT INTO djkafka_offset (consumer_id, topic, partition) VALUES (4711, 'o', 0), (4712, 'o', 0), (4712, 'x (\1) u.y.item.retry.1', 0);
SELECT * FROM topic;
SELECT consumer, topic, state FROM djkafka_partition_status ORDER BY 1, 2;
SELECT consumer, state FROM djkafka_status ORDER BY 1;
SELECT give('[{"topic": "o", "value": {"id": 1}}]', 'r');
-- nobody reads its retries before it is adopted; then they go together, whichever has the lower id
SELECT refused('SELECT djkafka_create_consumer(''own'', retries_of => ''c'')');
DELETE FROM djkafka_consumer;
INSERT INTO djkafka_consumer (id, name, group_id, home) VALUES (4714, 'c', 'x', '11111111-1111-1111-1111-111111111111');
INSERT INTO djkafka_consumer (id, name, group_id, retries_of, home) VALUES (4713, 'r', 'x.retry', 4714, '11111111-1111-1111-1111-111111111111');
SELECT consumers FROM djkafka_adopt();
SELECT k.group_id = c.group_id || '.retry' FROM djkafka_consumer c JOIN djkafka_consumer k ON k.retries_of = c.id;

-- whose
CREATE ROLE retry_owner LOGIN;
CREATE ROLE retry_other LOGIN;
GRANT USAGE ON SCHEMA retry_topic TO retry_owner, retry_other;
GRANT SELECT, INSERT, UPDATE, DELETE ON item TO retry_owner;
GRANT EXECUTE ON FUNCTION djkafka_use_settings, djkafka_create_consumer, djkafka_consumer_id, djkafka_drop_consumer TO retry_owner, retry_other;
GRANT SELECT, INSERT, DELETE ON djkafka_consumer TO retry_owner, retry_other;
GRANT SELECT ON djkafka_home TO retry_other;
DELETE FROM djkafka_consumer;
SELECT djkafka_create_consumer('c', group_id => 'shop', owner => 'retry_owner') > 0;
\c - retry_other
SELECT refused('SELECT djkafka_create_consumer(''r'', retries_of => ''c'')');
SELECT refused('INSERT INTO djkafka_consumer (name, retries_of, home) SELECT ''r'', c.id, h.home FROM djkafka_consumer c, djkafka_home h WHERE c.name = ''c''');
-- nor by a row of another home, which is let in as of a dump
INSERT INTO djkafka_consumer (name, group_id, retries_of, home) SELECT 'squatter', 'squatter', c.id, gen_random_uuid() FROM djkafka_consumer c WHERE c.name = 'c';
\c - :super
SET search_path = retry_topic, public;
SELECT djkafka_create_route('c', 'item', 'item') > 0;
SELECT * FROM topic;
SELECT refused('SELECT djkafka_adopt()');
\c - retry_owner
SELECT djkafka_create_consumer('r', retries_of => 'c') > 0;
SELECT name, owner, group_id FROM djkafka_consumer ORDER BY name;
\c - retry_other
SELECT refused('SELECT djkafka_drop_consumer(''r'')'), refused('SELECT djkafka_drop_consumer(''c'')');
\c - retry_owner
SELECT djkafka_drop_consumer('c');
SELECT name FROM djkafka_consumer;
\c - :super

SET client_min_messages = warning;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM retry_owner, retry_other;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM retry_owner, retry_other;
SELECT djkafka_uninstall(cascade => true);
DROP SCHEMA retry_topic CASCADE;
DROP OWNED BY retry_owner, retry_other;
DROP ROLE retry_owner, retry_other;
