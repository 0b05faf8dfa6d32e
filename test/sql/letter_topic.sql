-- Dead letters that go to a topic.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on
\set super :USER

CREATE SCHEMA letter_topic;
SET search_path = letter_topic, public;
SET TimeZone = 'UTC';
SET djkafka.bootstrap_servers = 'embedded';
CREATE TABLE item (id text PRIMARY KEY, n int CHECK (n < 100));
CREATE VIEW sent AS SELECT topic, partition AS part, convert_from(key, 'UTF8') AS key, value IS NULL AS is_null, convert_from(value, 'UTF8') AS value, message_time < now() - interval '1 day' AS is_old FROM djkafka_outbox ORDER BY id;
CREATE VIEW headers AS SELECT m.id, h.n, h.name, convert_from(h.value, 'UTF8') AS value FROM djkafka_outbox m, unnest(m.headers) WITH ORDINALITY AS h (name, value, n) ORDER BY m.id, h.n;
CREATE VIEW letters AS SELECT topic, "offset" AS off, sqlstate, not_sent FROM djkafka_dead_letter ORDER BY id;

--
-- The options
--

SELECT djkafka_create_consumer('c', group_id => 'shop') > 0;
SELECT dead_letters, dead_letter_topic FROM djkafka_consumer;
SELECT djkafka_create_route('c', 'item', 'item') > 0;
SELECT dead_letters, dead_letter_topic FROM djkafka_route;
SELECT refused('SELECT djkafka_alter_consumer(''c'', dead_letters => ''topics'')');
SELECT refused('SELECT djkafka_alter_route(''c'', ''item'', dead_letters => ''none'')');
SELECT refused('UPDATE djkafka_consumer SET dead_letters = NULL');
SELECT refused('UPDATE djkafka_consumer SET dead_letter_topic = NULL');
SELECT refused(format('SELECT djkafka_alter_consumer(''c'', dead_letter_topic => %L)', t))
  FROM unnest('{"", "{topic}/dlt", "{topic", "{Topic}", "..", "__consumer_offsets", "é{topic}", "{topic} dlt"}'::text[]) AS t;
SELECT refused(format('SELECT djkafka_alter_consumer(''c'', dead_letter_topic => %L)', repeat('x', 250)));
SELECT refused(format('SELECT djkafka_alter_route(''c'', ''item'', dead_letter_topic => %L)', t)) FROM unnest('{"{topic}:dlt", "__transaction_state"}'::text[]) AS t;
-- where they go to a topic, its name is that of this group and this topic
SELECT refused(format('SELECT djkafka_create_consumer(''d'', group_id => ''my shop'', dead_letters => ''topic'')'));
SELECT djkafka_create_consumer('d', group_id => 'my shop', dead_letters => 'topic', dead_letter_topic => '{topic}.dlt') > 0;
SELECT refused(format('SELECT djkafka_create_route(''d'', %L, ''item'')', repeat('t', 246)));
SELECT djkafka_create_route('d', repeat('t', 245), 'item') > 0;
SELECT refused('SELECT djkafka_alter_consumer(''d'', dead_letter_topic => ''{group}.dlt'')');
-- nor may the route read it
SELECT refused('SELECT djkafka_create_route(''d'', ''^.*'', ''item'')');
SELECT refused('SELECT djkafka_create_route(''d'', ''item'', ''item'', dead_letter_topic => ''{topic}'')');
SELECT djkafka_create_route('d', '^.*', 'item', dead_letters => 'table') > 0;
SELECT djkafka_drop_consumer('d');
SELECT dead_letters, dead_letter_topic FROM djkafka_consumer;

--
-- What is sent
--

SELECT djkafka_alter_consumer('c', dead_letters => 'topic') > 0;
SELECT give('[{"topic": "item", "key": "a", "value": {"n": "x"}, "partition": 3, "offset": 10, "timestamp": 1500000000000, "headers": {"trace": "1", "none": null}},
              {"topic": "item", "key": "b", "value": {"n": 1}, "offset": 11}]', 'c');
SELECT * FROM letters;
SELECT * FROM sent;
SELECT n, name, value FROM headers;
-- in the transaction of the batch
SELECT count(*) FROM djkafka_outbox;
BEGIN;
SELECT give('[{"topic": "item", "key": "a", "value": {"n": "y"}}]', 'c');
SELECT count(*) FROM djkafka_outbox;
ROLLBACK;
SELECT count(*) FROM djkafka_outbox;
-- null and empty are not the same; bytes, names that no text can hold, a time that is none
SELECT give('[{"topic": "item", "key": null, "value": "{}", "offset": 1}, {"topic": "item", "key": "", "value": "", "offset": 2}, {"topic": "item", "key": {"base64": "AP+A"}, "value": {"base64": "AP+B"}, "offset": 3, "timestamp": null},
              {"topic": "item", "key": null, "value": null, "offset": 4, "headers": {"empty": "", "DEAD_LETTER_MESSAGE_TOPIC": "forged", "DJKAFKA_OFFSET": "-1", "dead_letter_summary": "kept", "bytes": {"base64": "AP8="}}}]', 'c');
SELECT encode(key, 'hex'), encode(value, 'hex') FROM djkafka_outbox ORDER BY id OFFSET 1;
SELECT h.n, h.name, encode(h.value, 'escape') FROM (SELECT headers FROM djkafka_outbox ORDER BY id OFFSET 4) m, unnest(m.headers) WITH ORDINALITY AS h (name, value, n) WHERE h.name NOT LIKE '%DETAIL' AND h.name NOT LIKE '%SUMMARY' AND h.name <> 'DJKAFKA_TIMESTAMP';
-- what a handler says, with what belongs to it
CREATE FUNCTION fail(jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'no %', $1->>'id' USING ERRCODE = 'KFR01', DETAIL = 'Grüße', HINT = 'none'; END $$;
SELECT djkafka_create_route('c', 'handled', handler => 'fail(jsonb)', dead_letter_topic => 'all.letters') > 0;
SELECT give('[{"topic": "handled", "key": "k", "value": {"id": 7}, "offset": 5}]', 'c');
SELECT n, name, split_part(value, E'\nSQL', 1) FROM headers WHERE id = (SELECT max(id) FROM djkafka_outbox) AND name <> 'DJKAFKA_TIMESTAMP';
-- an error that is long
CREATE OR REPLACE FUNCTION fail(jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE '%', repeat('é', 100000); END $$;
SELECT give('[{"topic": "handled", "key": "k", "value": {"id": 7}, "offset": 5}]', 'c');
SELECT name, octet_length(value), left(value, 20) FROM headers WHERE id = (SELECT max(id) FROM djkafka_outbox) AND name IN ('DEAD_LETTER_SUMMARY', 'DEAD_LETTER_DETAIL');
SELECT * FROM letters;

-- both, by route
SELECT djkafka_alter_route('c', 'item', dead_letters => 'both', dead_letter_topic => 'dlt-{topic}') > 0;
SELECT give('[{"topic": "item", "key": "a", "value": {"n": 200}, "offset": 20}]', 'c');
SELECT * FROM letters;
SELECT topic, convert_from(value, 'UTF8') FROM djkafka_outbox WHERE topic LIKE 'dlt%';
-- and what comes back is not sent
UPDATE djkafka_dead_letter SET value = '{"n": 2000}';
SELECT result, code FROM djkafka_replay(consumer => 'c');
SELECT count(*) FROM djkafka_outbox;
DELETE FROM djkafka_dead_letter;

-- many headers
SELECT djkafka_alter_route('c', 'item', dead_letters => 'topic') > 0;
SELECT give(jsonb_build_array(jsonb_build_object('topic', 'item', 'key', 'a', 'value', 'x', 'headers', (SELECT jsonb_object_agg('h' || n, n::text) FROM generate_series(1, 1000) n))), 'c');
SELECT cardinality(headers), headers[1000] IS NOT NULL FROM djkafka_outbox ORDER BY id DESC LIMIT 1;

--
-- What cannot be sent is in the table
--

DELETE FROM djkafka_outbox_0; DELETE FROM djkafka_outbox_1; DELETE FROM djkafka_outbox_2;
CREATE VIEW outcome AS SELECT (SELECT count(*) FROM djkafka_outbox) AS sent, topic, off, not_sent FROM letters;
-- too large, with its headers
SELECT give(jsonb_build_array(jsonb_build_object('topic', 'item', 'key', 'a', 'value', repeat('x', 999900)), jsonb_build_object('topic', 'item', 'key', 'b', 'value', 'x', 'offset', 1)), 'c');
SELECT * FROM outcome;
DELETE FROM djkafka_dead_letter;
-- silenced
SET djkafka.suppress = 'dlt-item';
SELECT give('[{"topic": "item", "value": "x"}]', 'c');
SET djkafka.suppress = 'other';
SELECT give('[{"topic": "item", "value": "x"}]', 'c');
RESET djkafka.suppress;
SELECT * FROM outcome;
DELETE FROM djkafka_dead_letter;
-- a topic that the consumer reads, by whichever route
SELECT djkafka_create_route('c', '^dlt-', 'item', dead_letters => 'table') > 0;
SELECT give('[{"topic": "item", "value": "x"}, {"topic": "dlt-item", "value": "x"}]', 'c');
SELECT * FROM outcome;
DELETE FROM djkafka_dead_letter;
SELECT djkafka_unsubscribe('^dlt-', consumer => 'c');
-- a name that is none, of a topic that a pattern takes
SELECT djkafka_create_route('c', '^long', 'item') > 0;
SELECT give(jsonb_build_array(jsonb_build_object('topic', 'long' || repeat('g', 241), 'value', 'x')), 'c');
SELECT sent, left(topic, 10), left(not_sent, 20) || '…' || right(not_sent, 60) FROM outcome;
DELETE FROM djkafka_dead_letter;

--
-- Rights: of the consumer's owner, who must be able to produce
--

CREATE ROLE letter_owner LOGIN;
GRANT USAGE ON SCHEMA letter_topic TO letter_owner;
GRANT INSERT, SELECT, UPDATE, DELETE ON item TO letter_owner;
GRANT EXECUTE ON FUNCTION djkafka_use_settings TO letter_owner;
SELECT refused('SELECT djkafka_create_consumer(''o'', owner => ''letter_owner'', dead_letters => ''topic'')');
SELECT djkafka_create_consumer('o', group_id => 'o', owner => 'letter_owner') > 0;
SELECT refused('SELECT djkafka_create_route(''o'', ''item'', ''item'', dead_letters => ''both'')');
SELECT refused('SELECT djkafka_alter_consumer(''o'', dead_letters => ''both'')');
GRANT EXECUTE ON FUNCTION djkafka_produce(text, text, text, jsonb, integer, timestamptz, text) TO letter_owner;
SELECT djkafka_create_route('o', 'item', 'item', dead_letters => 'topic') > 0;
GRANT EXECUTE ON FUNCTION djkafka_run, djkafka_consumer_id TO letter_owner;
GRANT SELECT ON djkafka_consumer TO letter_owner;
\c - letter_owner
SET search_path = letter_topic, public;
SELECT dead FROM djkafka_run('o', messages => '[{"topic": "item", "value": "x"}]');
\c - :super
SET search_path = letter_topic, public;
SELECT topic, value FROM sent WHERE topic = 'o.item.dlt';
-- a right that is taken back
REVOKE EXECUTE ON FUNCTION djkafka_produce(text, text, text, jsonb, integer, timestamptz, text) FROM letter_owner;
\c - letter_owner
SELECT dead FROM djkafka_run('o', messages => '[{"topic": "item", "value": "y"}]');
\c - :super
SET search_path = letter_topic, public;
SELECT * FROM letters;
SELECT topic, value FROM sent WHERE topic = 'o.item.dlt';

RESET search_path;
SET client_min_messages = warning;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM letter_owner;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM letter_owner;
SELECT djkafka_uninstall(cascade => true);
DROP SCHEMA letter_topic CASCADE;
DROP OWNED BY letter_owner;
DROP ROLE letter_owner;
