-- Keys: what is wrong with them, defaults, nulls.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA keys;
SET search_path = keys, public;

-- what is wrong with the key is said of the key, not of the message
CREATE TABLE word (id text PRIMARY KEY, n int);
CREATE TABLE number (id int PRIMARY KEY, n int);
SELECT djkafka_subscribe('words', 'word');
SELECT djkafka_subscribe('numbers', 'number');
SELECT give('[{"topic": "words", "key": {"base64": "/wAB"}, "value": {"n": 1}}, {"topic": "words", "key": {"base64": "AAAABQ=="}, "value": null}, {"topic": "words", "key": {"base64": "/w=="}, "value": {"id": "own", "n": 1}},
              {"topic": "numbers", "key": "seven", "value": {"n": 1}}, {"topic": "numbers", "key": {"id": "x"}, "value": {"n": 1}}, {"topic": "numbers", "key": {"id": 99999999999}, "value": null}, {"topic": "numbers", "key": "", "value": null},
              {"topic": "numbers", "key": "1", "value": {"id": "x"}}]');
TABLE word;
SELECT dead_letters();
UPDATE djkafka_route SET key_format = 'json';
SELECT give('[{"topic": "words", "key": "word", "value": {"n": 1}}, {"topic": "words", "key": "{\"id\": ", "value": null}, {"topic": "words", "key": "", "value": {"n": 1}}, {"topic": "words", "key": {"base64": "/w=="}, "value": {"n": 1}}, {"topic": "words", "key": "\"a\\u0000\"", "value": {"n": 1}}]');
UPDATE djkafka_route SET key_format = 'text';
SELECT give('[{"topic": "words", "key": {"base64": "/w=="}, "value": {"n": 1}}, {"topic": "words", "key": "a", "value": "{"}]');
SELECT dead_letters();
-- … where an expression reads it, or a column is the key
UPDATE djkafka_route SET key_format = 'json', columns = '{"n": "(key->>''n'')::int"}' WHERE topic = 'words';
SELECT give('[{"topic": "words", "key": "no json", "value": {"id": "a"}}]');
CREATE TABLE log (topic text, key text, value text, "offset" bigint);
CREATE TABLE log_by_key (key int PRIMARY KEY, value int);
SELECT djkafka_subscribe('log', 'log', operation => 'insert', format => 'text');
SELECT djkafka_subscribe('log_by_key', 'log_by_key', format => 'text');
SELECT give('[{"topic": "log", "key": {"base64": "/w=="}, "value": "v"}, {"topic": "log", "key": "k", "value": {"base64": "/w=="}}, {"topic": "log_by_key", "key": "k", "value": "1"}, {"topic": "log_by_key", "key": "1", "value": "v"}]');
SELECT dead_letters();
-- a type whose input throws
CREATE DOMAIN even AS int CHECK (VALUE % 2 = 0);
CREATE TABLE of_domain (id even PRIMARY KEY, n int);
SELECT djkafka_subscribe('of_domain', 'of_domain');
SELECT give('[{"topic": "of_domain", "key": "3", "value": {"n": 1}}, {"topic": "of_domain", "key": "4", "value": {"n": 1}}]');
SELECT message || context LIKE '%value for domain even violates%' AS says_what, message || context LIKE '%key of the message%' AS says_where FROM djkafka_dead_letter;
DELETE FROM djkafka_dead_letter;
SELECT djkafka_drop_consumer('default');

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA keys CASCADE;
