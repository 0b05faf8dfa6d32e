-- Handlers: three signatures, what they see, what becomes of what they raise.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA handlers;
SET search_path = handlers, public;
CREATE TABLE got (n int GENERATED ALWAYS AS IDENTITY, what text, v jsonb);
CREATE TABLE total (id int PRIMARY KEY, sum int);

-- f(jsonb): the value, NULL for a tombstone
CREATE FUNCTION by_json(v jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF v ? 'fail' THEN RAISE EXCEPTION 'refused: %', v->>'fail' USING ERRCODE = 'ZZ001', DETAIL = 'some detail', HINT = 'some hint'; END IF;
    INSERT INTO got (what, v) VALUES ('json', v);
END $$;
SELECT djkafka_subscribe('json', handler => 'by_json(jsonb)');
SELECT give('[{"value": {"a": 1}}, {"value": null}, {"value": 5}, {"value": "null"}, {"value": [1]}]');
SELECT what, v, v IS NULL FROM got ORDER BY n;

-- what it raises fails its message alone, and leaves nothing of it
TRUNCATE got;
SELECT give('[{"value": {"a": 1}}, {"value": {"fail": "me"}}, {"value": {"a": 2}}, {"value": "{"}, {"value": {"a": 3}}]');
SELECT v FROM got ORDER BY n;
SELECT context FROM djkafka_dead_letter WHERE sqlstate = 'ZZ001';
SELECT dead_letters();

-- f(djkafka_message): all of it, bytes included
CREATE FUNCTION by_message(m djkafka_message) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO got (what, v) VALUES (m.topic || ':' || m.partition || ':' || m."offset" || ' ' || coalesce(encode(m.key, 'escape'), 'no key'),
        jsonb_build_object('value', encode(m.value, 'hex'), 'at', extract(epoch FROM m."timestamp")::int, 'trace', convert_from(djkafka_header(m.headers, 'trace'), 'UTF8')));
    RETURN 1;
END $$;
SELECT djkafka_subscribe('message', handler => 'by_message(djkafka_message)', format => 'raw');
TRUNCATE got;
SELECT give('[{"topic": "message", "key": "k", "value": "v", "partition": 1, "offset": 7, "timestamp": "1970-01-01 00:01+00", "headers": {"trace": "t"}}, {"topic": "message", "value": null, "timestamp": "1970-01-01 00:02+00"}]');
SELECT what, v FROM got ORDER BY n;

-- f(djkafka_message[]): once for a batch, in order; one bad message is found
CREATE FUNCTION by_messages(m djkafka_message[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO got (what, v) SELECT 'many', jsonb_agg(convert_from(x.value, 'UTF8')::jsonb ORDER BY n) FROM unnest(m) WITH ORDINALITY x (topic, partition, "offset", "timestamp", key, value, headers, n);
END $$;
SELECT djkafka_subscribe('messages', handler => 'by_messages(djkafka_message[])');
TRUNCATE got;
SELECT give('[{"topic": "messages", "value": {"n": 1}}, {"topic": "messages", "value": {"n": 2}}, {"topic": "messages", "value": {"n": 3}}]');
SELECT v FROM got ORDER BY n;
TRUNCATE got;
SELECT give('[{"topic": "messages", "value": {"n": 1}}, {"topic": "messages", "value": "{"}, {"topic": "messages", "value": {"n": 3}}]');
SELECT sum(jsonb_array_length(v)) FROM got;
SELECT regexp_replace(dead_letters(), '\n.*', '');

-- a message sees what those before it have done, of tables and handlers alike
CREATE FUNCTION add_up(v jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO total VALUES ((v->>'id')::int, (v->>'add')::int) ON CONFLICT (id) DO UPDATE SET sum = total.sum + excluded.sum;
END $$;
SELECT djkafka_subscribe('start', 'total'), djkafka_subscribe('add', handler => 'add_up(jsonb)');
SELECT give('[{"topic": "start", "value": {"id": 1, "sum": 100}}, {"topic": "add", "value": {"id": 1, "add": 5}}, {"topic": "add", "value": {"id": 1, "add": 6}},
              {"topic": "start", "value": {"id": 1, "sum": 0}}, {"topic": "add", "value": {"id": 1, "add": 7}}]');
SELECT * FROM total;

-- what is behind a message that stops its consumer is given to nobody yet, be it in its batch or a table's
CREATE FUNCTION by_worker(consumer text, batches text[]) RETURNS jsonb LANGUAGE c STRICT AS '$libdir/djkafka', 'djkafka_test_apply';
UPDATE djkafka_route SET on_error = 'stop' WHERE topic IN ('json', 'add');
TRUNCATE got;
SELECT by_worker('default', ARRAY['[{"topic": "json", "value": {"a": 1}}, {"topic": "json", "value": "{"}, {"topic": "json", "value": {"a": 2}}, {"topic": "start", "value": {"id": 2, "sum": 1}}]'])->>'state';
SELECT v FROM got ORDER BY n;
SELECT by_worker('default', ARRAY['[{"topic": "start", "value": {"id": 3, "sum": 1}}, {"topic": "add", "value": {"id": 3, "add": 1}}, {"topic": "add", "value": "{"}, {"topic": "add", "value": {"id": 3, "add": 5}}]'])->>'state';
SELECT * FROM total WHERE id > 1;
UPDATE djkafka_route SET on_error = NULL;

-- filters choose for handlers too
UPDATE djkafka_route SET filter = 'value ? ''id''' WHERE topic = 'add';
SELECT give('[{"topic": "add", "value": {"add": 5}}, {"topic": "add", "value": {"id": 2, "add": 5}}]');
SELECT * FROM total ORDER BY id;

-- a handler that is gone breaks its route, and loses nothing
DROP FUNCTION add_up(jsonb);
SELECT regexp_replace(refused($$SELECT give('[{"topic": "add", "value": {"id": 2, "add": 5}}]')$$), 'route \d+', 'route N');
SELECT count(*) FROM djkafka_dead_letter;
-- one that is replaced is another
CREATE FUNCTION add_up(v jsonb) RETURNS void LANGUAGE sql AS $$ UPDATE total SET sum = -1 $$;
SELECT give('[{"topic": "add", "value": {"id": 2, "add": 5}}]');
SELECT * FROM total ORDER BY id;

SELECT djkafka_drop_consumer('default');
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA handlers CASCADE;
