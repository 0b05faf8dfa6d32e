-- Retry policies: what they say, and what is wrong with them.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA retry;
SET search_path = retry, public;
CREATE TABLE item (id bigint PRIMARY KEY, v text);
SELECT djkafka_create_consumer('c', enabled => false) > 0;
SELECT djkafka_create_route('c', 'item', 'item') > 0;

-- nobody says anything: no retries, and order by key
SELECT retry FROM djkafka_consumer;
SELECT retry, ordering FROM djkafka_route;
SHOW djkafka.retry;

-- every key
SELECT djkafka_alter_route('c', 'item', retry => '{"max_retries": 3, "delay": "10 s", "backoff": true, "max_delay": "PT10M", "jitter": true, "log_every": 2, "blocking": false, "include": ["23505", "40", "lock_not_available", "KFR01"]}') > 0;
SELECT djkafka_alter_consumer('c', retry => '{"max_retries": -1, "delay": 0.5, "backoff": 1.5, "max_delay": 60, "exclude": []}') > 0;
SELECT name, retry FROM djkafka_consumer;
SELECT topic, retry FROM djkafka_route;
SELECT djkafka_alter_route('c', 'item', retry => '{"max_retries": null, "delay": null, "backoff": null, "max_delay": null, "jitter": null, "log_every": null, "blocking": null, "include": null, "exclude": null}') > 0;
SELECT djkafka_alter_route('c', 'item', retry => '{}') > 0;

-- what is wrong with them: on a route, a consumer, and in the setting; nothing has changed
CREATE TABLE bad (n int GENERATED ALWAYS AS IDENTITY, policy jsonb);
INSERT INTO bad (policy) VALUES
    ('1'), ('[]'), ('"3"'), ('null'), ('{"retries": 3}'), ('{"Max_retries": 3}'), ('{"": 3}'),
    ('{"max_retries": -2}'), ('{"max_retries": 1.5}'), ('{"max_retries": "3"}'), ('{"max_retries": true}'), ('{"max_retries": 5000000000}'), ('{"max_retries": [3]}'), ('{"max_retries": 1e400}'),
    ('{"delay": 0}'), ('{"delay": -1}'), ('{"delay": "0"}'), ('{"delay": "-5 s"}'), ('{"delay": "1 day -24:00"}'), ('{"delay": "soon"}'), ('{"delay": ""}'), ('{"delay": "infinity"}'), ('{"delay": true}'), ('{"delay": 1e30}'), ('{"delay": "1000 years"}'),
    ('{"delay": "1 s; 2 s"}'), (jsonb_build_object('delay', repeat('1 s ', 1000))),
    ('{"backoff": "yes"}'), ('{"backoff": 0.5}'), ('{"backoff": 0}'), ('{"backoff": 100000}'), ('{"backoff": {}}'),
    ('{"max_delay": 0}'), ('{"max_delay": "never"}'), ('{"delay": 10, "max_delay": 5}'), ('{"delay": "1 min", "max_delay": "59 s"}'),
    ('{"jitter": 1}'), ('{"jitter": "true"}'), ('{"log_every": 0}'), ('{"log_every": -1}'), ('{"log_every": true}'), ('{"blocking": "no"}'),
    ('{"include": "23505"}'), ('{"include": [23505]}'), ('{"include": [null]}'), ('{"include": [["23505"]]}'), ('{"include": ["23505", ""]}'),
    ('{"include": ["2350"]}'), ('{"include": ["235055"]}'), ('{"include": ["23x05"]}'), ('{"include": ["kfr01"]}'), ('{"include": ["23599"]}'), ('{"include": ["22KFX"]}'), ('{"include": ["00000"]}'), ('{"include": ["00"]}'),
    ('{"include": ["unique_violations"]}'), ('{"include": ["UNIQUE_VIOLATION"]}'), ('{"include": ["others"]}'), ('{"exclude": ["nothing"]}'), ('{"include": ["23505"], "exclude": ["23503"]}'), ('{"include": [], "exclude": []}'),
    (jsonb_build_object('include', array_fill('23505'::text, ARRAY[1001])));
SELECT n, left(policy::text, 60), refused(format('SELECT djkafka_alter_route(''c'', ''item'', retry => %L)', policy)) FROM bad ORDER BY n;
SELECT count(*) FROM bad WHERE refused(format('SELECT djkafka_alter_route(''c'', ''item'', retry => %L)', policy))
    IS DISTINCT FROM refused(format('SELECT djkafka_alter_consumer(''c'', retry => %L)', policy));
SELECT count(*) FROM bad WHERE refused(format('SELECT djkafka_create_consumer(''d'', retry => %L)', policy)) LIKE 'ACCEPTED%';
SELECT count(*) FROM bad WHERE refused(format('SELECT djkafka_subscribe(''other'', ''item'', consumer => ''d'', retry => %L)', policy)) LIKE 'ACCEPTED%';
SELECT name FROM djkafka_consumer;
SELECT topic, retry FROM djkafka_route;
SELECT refused('SELECT djkafka_alter_route(''c'', ''item'', ordering => ''sometimes'')');
SELECT refused('UPDATE djkafka_route SET ordering = NULL');
SELECT refused('SELECT djkafka_alter_route(''c'', ''item'', retry => ''{'')');

-- the setting
ALTER SYSTEM SET djkafka.retry = '{"max_retries": -2}';
ALTER SYSTEM SET djkafka.retry = '{"max_retries": 1, "max_retries": 2}';
ALTER SYSTEM SET djkafka.retry = 'never';
ALTER SYSTEM SET djkafka.retry = '{"delay": "soon"}';
SET djkafka.retry = '{"max_retries": 1}';

-- names are those of PL/pgSQL: each that the server has
CREATE FUNCTION known() RETURNS TABLE (code text, name text) LANGUAGE sql AS $$
    SELECT m[1], m[2] FROM regexp_split_to_table(pg_read_file((SELECT setting FROM pg_config WHERE name = 'SHAREDIR') || '/errcodes.txt'), '\n') line,
        regexp_match(line, '^([0-9A-Z]{5})\s+E\s+ERRCODE_\S+\s+(\S+)') m WHERE m IS NOT NULL $$;
SELECT count(*) > 200 FROM known();
SELECT code, name, refused(format('SELECT djkafka_alter_route(''c'', ''item'', retry => %L)', jsonb_build_object('include', ARRAY[code, left(code, 2), name])))
    FROM known() WHERE refused(format('SELECT djkafka_alter_route(''c'', ''item'', retry => %L)', jsonb_build_object('include', ARRAY[code, left(code, 2), name]))) NOT LIKE 'ACCEPTED%';
-- … and djkafka's own, of messages
SELECT code, refused(format('SELECT djkafka_alter_route(''c'', ''item'', retry => %L)', jsonb_build_object('include', ARRAY[code]))) FROM (SELECT '22KF' || upper(to_hex(n)) FROM generate_series(0, 10) n) own (code);

SELECT djkafka_drop_consumer('c');
DROP SCHEMA retry CASCADE;
