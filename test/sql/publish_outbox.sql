-- A table for Debezium's outbox event router, whatever its columns are called.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on
CREATE VIEW sent AS SELECT topic, convert_from(key, 'UTF8') AS key, convert_from(value, 'UTF8') AS value, partition, message_time AT TIME ZONE 'UTC' AS time,
    (SELECT string_agg(h.name || '=' || coalesce(convert_from(h.value, 'UTF8'), '(null)'), ' ' ORDER BY n) FROM unnest(headers) WITH ORDINALITY h (name, value, n)) AS headers
    FROM djkafka_outbox ORDER BY id;
CREATE TABLE events (outbox_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), aggregate_type text, aggregate_id int, "event type" text, body jsonb, created bigint, part smallint, tenant text, trace uuid);
SELECT refused($$SELECT djkafka_publish_outbox('events')$$);
SELECT djkafka_publish_outbox('events', topic_prefix => 'e.', delete_rows => true, headers => '{tenant,trace}', time_unit => 's', columns => '{"id": "outbox_id", "aggregatetype": "aggregate_type",
    "aggregateid": "aggregate_id", "type": "event type", "payload": "body", "timestamp": "created", "partition": "part"}') AS id \gset
INSERT INTO events VALUES ('11111111-1111-1111-1111-111111111111', 'order', 42, 'Paid', '{"a": 1}', 1767323045, 3, 'shop', NULL);
INSERT INTO events VALUES ('22222222-2222-2222-2222-222222222222', 'order', 42, 'Gone', NULL, 1767323045, NULL, NULL, '33333333-3333-3333-3333-333333333333');
SELECT refused($$INSERT INTO events (aggregate_type, part) VALUES ('order', -1)$$);
TABLE sent;
SELECT count(*) FROM events;
-- renamed columns are followed
ALTER TABLE events RENAME aggregate_type TO kind;
ALTER TABLE events RENAME tenant TO customer;
SELECT columns, headers FROM djkafka_publication;
INSERT INTO events (outbox_id, kind, customer) VALUES ('44444444-4444-4444-4444-444444444444', 'order', 'c');
SELECT topic, headers FROM sent OFFSET 2;
SELECT refused('ALTER TABLE events DROP COLUMN customer'), refused('ALTER TABLE events DROP COLUMN body');
-- so are those that were called as by default
CREATE TABLE plain (id int PRIMARY KEY, aggregatetype text, aggregateid text, type text, payload bytea, partition text);
SELECT djkafka_publish_outbox('plain', '') > 0;
ALTER TABLE plain RENAME payload TO data;
ALTER TABLE plain RENAME data TO bytes;
INSERT INTO plain VALUES (1, 'x', 'k', 't', 'v', 'not a number');
SELECT topic, key, value, partition FROM sent OFFSET 3;
SELECT columns FROM djkafka_publication WHERE topic = '';
-- bytes are bytes by any name of their type
CREATE DOMAIN blob AS bytea;
CREATE TABLE binary_events (id int PRIMARY KEY, aggregatetype text, aggregateid text, type text, payload blob);
SELECT djkafka_publish_outbox('binary_events', 'b.') > 0;
INSERT INTO binary_events VALUES (1, 'x', 'k', 't', '\x7600ff'), (2, 'x', 'k', 't', NULL);
SELECT key, value FROM djkafka_outbox WHERE topic = 'b.x' ORDER BY id;
-- in headers too
ALTER TABLE binary_events ADD trace bytea, ADD blob blob, ADD doc jsonb;
UPDATE djkafka_publication SET headers = '{trace,blob,doc}' WHERE topic = 'b.';
INSERT INTO binary_events VALUES (3, 'y', 'k', 't', '\x01', '\x00ff', '\x5c78', '{"a": 1}'), (4, 'y', 'k', 't', '\x01', NULL, '', NULL);
SELECT h.name, h.value FROM djkafka_outbox, unnest(headers) WITH ORDINALITY h (name, value, n) WHERE topic = 'b.y' AND n > 2 ORDER BY id, n;
-- a partition may come as a bigint
CREATE TABLE counted (id int PRIMARY KEY, aggregatetype text, aggregateid text, type text, payload text, part bigint);
SELECT djkafka_publish_outbox('counted', 'c.', columns => '{"partition": "part"}') > 0;
INSERT INTO counted VALUES (1, 'x', 'k', 't', 'v', 2147483647), (2, 'x', 'k', 't', 'v', NULL);
SELECT refused('INSERT INTO counted VALUES (3, ''x'', ''k'', ''t'', ''v'', 2147483648)');
SELECT partition FROM sent WHERE topic = 'c.x';
DROP TABLE counted;
-- units
CREATE TABLE timed (id int, aggregatetype text, aggregateid text, type text, payload text, "timestamp" bigint);
SELECT djkafka_publish_outbox('timed', 't.') > 0;
INSERT INTO timed VALUES (1, 'ms', 'k', 't', 'v', 1767323045123);
UPDATE djkafka_publication SET time_unit = 'us' WHERE topic = 't.';
INSERT INTO timed VALUES (1, 'us', 'k', 't', 'v', 1767323045123456);
UPDATE djkafka_publication SET time_unit = 'ns' WHERE topic = 't.';
INSERT INTO timed VALUES (1, 'ns', 'k', 't', 'v', 1767323045123456000);
SELECT topic, time FROM sent WHERE topic LIKE 't.%';
-- what is no time of Kafka's is none
UPDATE djkafka_publication SET time_unit = 's' WHERE topic = 't.';
INSERT INTO timed VALUES (1, 'early', 'k', 't', 'v', -1), (2, 'early', 'k', 't', 'v', 0);
SELECT count(*) FROM sent WHERE topic = 't.early' AND time AT TIME ZONE 'UTC' > now() - interval '1 day';
-- refused
CREATE TABLE wrong (id int, aggregatetype text, aggregateid text, type text, payload text, "timestamp" text, day date, n numeric);
SELECT refused(s) FROM (VALUES
    ($$SELECT djkafka_publish_outbox('wrong')$$),
    ($$SELECT djkafka_publish_outbox('wrong', columns => '{"timestamp": "day"}')$$),
    ($$SELECT djkafka_publish_outbox('plain', 'p.', columns => '{"payload": "bytes", "partition": "partition"}')$$),
    ($$SELECT djkafka_publish_outbox('plain', 'p.', columns => '{"payload": "bytes", "partition": "nothing"}')$$),
    ($$SELECT djkafka_publish_outbox('plain', 'p.', columns => '{"topic": "id"}')$$),
    ($$SELECT djkafka_publish_outbox('plain', 'p.', headers => '{nothing}', columns => '{"payload": "bytes"}')$$),
    ($$SELECT djkafka_publish_outbox('plain', 'p.', time_unit => 'h')$$),
    ($$UPDATE djkafka_publication SET shape = 'rows', topic = 'p' WHERE id = $$ || :id)
) AS t (s);

SET client_min_messages = warning;
SELECT djkafka_uninstall(cascade => true);
DROP TABLE events, plain, timed, wrong, binary_events;
DROP DOMAIN blob;
