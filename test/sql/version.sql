-- version_column: the greatest version of a row wins, not the last message.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA version;
SET search_path = version, public;
SET TimeZone = 'UTC';
-- Values, or whole messages where they have an offset, of one topic.
CREATE FUNCTION run(topic text, VARIADIC vals jsonb[]) RETURNS text LANGUAGE sql AS $$
    SELECT format('applied %s, stale %s, dead %s', r.applied, r.stale, r.dead)
      FROM djkafka_run('default', messages => (SELECT jsonb_agg(jsonb_build_object('topic', topic) || CASE WHEN v ? 'offset' THEN v ELSE jsonb_build_object('value', v) END ORDER BY n)
                                                 FROM unnest(vals) WITH ORDINALITY u (v, n))) r
$$;
CREATE TABLE item (id int PRIMARY KEY, version int, name text, extra text DEFAULT 'none');
SELECT djkafka_subscribe('item', 'item', version_column => 'version');
-- in one batch, in several, and where both are the same
SELECT run('item', '{"id": 1, "version": 2, "name": "two"}', '{"id": 1, "version": 1, "name": "one"}');
SELECT run('item', '{"id": 1, "version": 1, "name": "one"}', '{"id": 1, "version": 2, "name": "again"}');
TABLE item ORDER BY id;
SELECT run('item', '{"id": 1, "version": 3, "name": "three"}', '{"id": 1, "version": 3, "name": "again", "extra": "x"}',
           '{"id": 1, "version": 4, "extra": "four"}', '{"id": 1, "version": 2, "extra": "late"}', '{"id": 2, "version": -1, "name": "minus"}');
TABLE item ORDER BY id;
-- what is merged is only what is newer than the row
SELECT run('item', '{"id": 1, "version": 1, "name": "late"}', '{"id": 1, "version": 5, "extra": "five"}');
TABLE item ORDER BY id;
-- a row without one is older than any; a message without one is an error of its own
INSERT INTO item VALUES (3, NULL, 'mine');
SELECT run('item', '{"id": 3, "version": -5, "name": "theirs"}', '{"id": 4, "name": "no version"}', '{"id": 5, "version": null}', '{"id": 6, "version": "x"}', '{"id": 7, "version": 1}');
TABLE item ORDER BY id;
SELECT dead_letters();
-- deletions: by a field, later and too late; a tombstone says nothing of a version
SELECT run('item', '{"id": 1, "version": 4, "__deleted": true}', '{"id": 2, "version": 0, "__deleted": true}', '{"id": 3, "__deleted": true}', '{"offset": 60, "key": "7", "value": null}',
           '{"id": 9, "version": 9, "__deleted": "true"}', '{"id": 10, "version": "x", "__deleted": true}');
SELECT dead_letters();
TABLE item ORDER BY id;
SELECT run('item', '{"id": 1, "version": 6, "__deleted": true}', '{"id": 1, "version": 5, "name": "old"}', '{"id": 1, "version": 4, "name": "older"}', '{"id": 1, "version": 7, "name": "new"}');
TABLE item ORDER BY id;
-- the one that fails is as if it had not been
ALTER TABLE item ADD CHECK (name <> 'bad');
SELECT run('item', '{"id": 1, "version": 20, "name": "bad"}', '{"id": 1, "version": 19, "name": "good"}', '{"id": 1, "version": 18, "name": "late"}', '{"id": 1, "version": 21, "name": "better"}');
TABLE item ORDER BY id;
SELECT dead_letters();
-- by the message's time or offset: a tombstone has these too
CREATE TABLE seen (id text PRIMARY KEY, at timestamptz, o bigint, v text);
SELECT djkafka_subscribe('seen', 'seen', version_column => 'at', columns => '{"at": "msg_time", "o": "msg_offset"}');
SELECT run('seen', '{"offset": 1, "key": "a", "timestamp": "2026-01-02T00:00:00Z", "value": {"v": "later"}}', '{"offset": 2, "key": "a", "timestamp": "2026-01-01T00:00:00Z", "value": {"v": "earlier"}}',
           '{"offset": 3, "key": "a", "timestamp": "2026-01-01T12:00:00Z", "value": null}', '{"offset": 4, "key": "b", "timestamp": "2026-01-01T00:00:00Z", "value": {"v": "b"}}',
           '{"offset": 5, "key": "b", "timestamp": "2026-01-01T00:00:01Z", "value": null}', '{"offset": 6, "key": "c", "timestamp": "2026-01-01T00:00:01Z", "value": {"v": "c"}}');
TABLE seen ORDER BY id;
UPDATE djkafka_route SET version_column = 'o' WHERE topic = 'seen';
SELECT run('seen', '{"offset": 7, "key": "a", "timestamp": "2026-01-01T00:00:00Z", "value": {"v": "seven"}}', '{"offset": 7, "key": "a", "value": {"v": "again"}}');
TABLE seen ORDER BY id;
-- upsert, where deletions do not count; numbers as text compare as text does
CREATE TABLE word (id int PRIMARY KEY, version text, n numeric);
SELECT djkafka_subscribe('word', 'word', operation => 'upsert', version_column => 'version');
SELECT run('word', '{"id": 1, "version": "9", "n": 1}', '{"id": 1, "version": "10", "n": 2}', '{"id": 1, "version": "99", "__deleted": true}');
TABLE word;
UPDATE djkafka_route SET version_column = 'n' WHERE topic = 'word';
SELECT run('word', '{"id": 1, "version": "x", "n": 1.00}', '{"id": 1, "version": "y", "n": 1.01}', '{"id": 1, "version": "z", "n": 1.001}');
TABLE word;

-- targets that are not written by merging: other unique indexes, columns that must be there, triggers, partitions, views
CREATE TABLE uniq (id int PRIMARY KEY, version int, code text UNIQUE, needed text NOT NULL CHECK (needed <> ''));
SELECT djkafka_subscribe('uniq', 'uniq', version_column => 'version');
SELECT run('uniq', '{"id": 1, "version": 1, "code": "a", "needed": "x"}', '{"id": 2, "version": 1, "code": "b", "needed": "x"}', '{"id": 1, "version": 2, "code": "c"}', '{"id": 2, "version": 2, "code": "a"}',
           '{"id": 1, "version": 1, "code": "late"}', '{"id": 2, "version": 3, "needed": ""}', '{"id": 2, "version": 2, "needed": "late"}', '{"id": 2, "version": 3, "needed": "y"}');
TABLE uniq ORDER BY id;
SELECT dead_letters();
CREATE TABLE bumped (id int PRIMARY KEY, version int, v text);
CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.version := NEW.version * 10; RETURN NEW; END $$;
CREATE TRIGGER bump BEFORE INSERT ON bumped FOR EACH ROW EXECUTE FUNCTION bump();
SELECT djkafka_subscribe('bumped', 'bumped', version_column => 'version');
SELECT run('bumped', '{"id": 1, "version": 2, "v": "a"}', '{"id": 1, "version": 19, "v": "b"}', '{"id": 1, "version": 21, "v": "c"}');
TABLE bumped;
CREATE TABLE part (id int, version int, v text, PRIMARY KEY (id)) PARTITION BY HASH (id);
CREATE TABLE part_0 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE part_1 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT djkafka_subscribe('part', 'part', version_column => 'version');
SELECT run('part', '{"id": 1, "version": 2, "v": "a"}', '{"id": 2, "version": 2, "v": "a"}', '{"id": 1, "version": 1, "v": "b"}', '{"id": 2, "version": 3, "v": "b"}');
TABLE part ORDER BY id;
CREATE VIEW shown AS SELECT id, version, v FROM bumped WHERE id > 0;
SELECT djkafka_subscribe('shown', 'shown', key_columns => '{id}', version_column => 'version');
SELECT run('shown', '{"id": 1, "version": 20, "v": "late"}', '{"id": 2, "version": 1, "v": "new"}', '{"id": 2, "version": 9, "v": "late"}', '{"id": 1, "version": 22, "v": "d"}');
TABLE bumped ORDER BY id;
-- a key of several columns, one of which is no number, and one that cannot be hashed
CREATE TABLE pair (a int, b tsquery, version int, "V" text, PRIMARY KEY (a, b));
SELECT djkafka_subscribe('pair', 'pair', version_column => 'version');
SELECT run('pair', '{"a": 1, "b": "x", "version": 2, "V": "a"}', '{"a": 1, "b": "y", "version": 1, "V": "b"}', '{"a": 1, "b": "x", "version": 1, "V": "c"}', '{"a": 1, "b": "y", "version": 2, "V": "d"}');
TABLE pair ORDER BY b;

-- what was deleted does not come back: by its version, by that of its row, and until it is forgotten
CREATE TABLE gone (id int, at timestamptz, name text, UNIQUE NULLS NOT DISTINCT (id, name));
CREATE TABLE kept (id int PRIMARY KEY, version int, name text);
SELECT djkafka_subscribe('kept', 'kept', version_column => 'version', remember_deleted => '1 day');
SELECT run('kept', '{"id": 1, "version": 1, "name": "one"}', '{"id": 1, "version": 5, "__deleted": true}', '{"id": 1, "version": 4, "name": "late"}');
SELECT run('kept', '{"id": 1, "version": 3, "name": "later"}', '{"id": 2, "version": 7, "__deleted": true}', '{"id": 2, "version": 6, "name": "never there"}', '{"id": 3, "version": 2, "name": "three"}');
SELECT run('kept', '{"offset": 100, "key": "3", "value": null}', '{"offset": 101, "value": {"id": 3, "version": 2, "name": "as old as the row was"}}');
SELECT run('kept', '{"id": 1, "version": 4, "__deleted": true}', '{"id": 1, "version": 6, "name": "new"}', '{"id": 2, "version": 8, "__deleted": true}');
TABLE kept ORDER BY id;
SELECT key, version FROM djkafka_deleted ORDER BY key;
SELECT run('kept', '{"id": 1, "version": 9, "__deleted": true}', '{"id": 1, "version": 8, "name": "late"}', '{"id": 1, "version": 10, "name": "newest"}', '{"id": 3, "version": 3, "name": "again"}');
TABLE kept ORDER BY id;
SELECT key, version FROM djkafka_deleted ORDER BY key;
UPDATE djkafka_deleted SET forget_at = now() - interval '1 hour' WHERE key = '["2"]';
SELECT run('kept', '{"id": 9, "version": 1, "__deleted": true}');
SELECT run('kept', '{"id": 2, "version": 1, "name": "forgotten"}');
TABLE kept ORDER BY id;
-- no longer than it is said, whether or not anything else is deleted meanwhile
UPDATE djkafka_deleted SET forget_at = now() - interval '1 hour';
SELECT run('kept', '{"id": 9, "version": 1, "name": "forgotten too"}');
SELECT count(*) > 0 FROM djkafka_deleted;
DELETE FROM kept WHERE id > 8;
-- the one that fails deletes nothing; texts are nobody's settings
ALTER TABLE kept ADD CHECK (name <> 'bad');
SELECT run('kept', '{"id": 5, "version": 1, "name": "five"}', '{"id": 5, "version": 3, "__deleted": true}', '{"id": 5, "version": 4, "name": "bad"}', '{"id": 5, "version": 2, "name": "late"}');
SELECT * FROM kept WHERE id = 5;
DELETE FROM djkafka_dead_letter;
SELECT djkafka_subscribe('gone', 'gone', version_column => 'at', key_columns => '{id,name}', remember_deleted => '1 h');
SET DateStyle = 'SQL, DMY';
SELECT run('gone', '{"id": 1, "name": "a\"b", "at": "2026-02-01T00:00:00Z", "__deleted": true}', '{"id": 1, "name": null, "at": "2026-03-04T00:00:00Z", "__deleted": true}');
SET DateStyle = 'ISO, MDY';
SELECT run('gone', '{"id": 1, "name": "a\"b", "at": "2026-01-31T00:00:00Z"}', '{"id": 1, "name": null, "at": "2026-03-03T00:00:00Z"}', '{"id": 1, "name": null, "at": "2026-03-05T00:00:00Z"}');
TABLE gone;
RESET DateStyle;
-- nor are times, in the key or as the version; and for ever is as long as it can be
CREATE TABLE moment (at timestamptz PRIMARY KEY, version timestamptz, name text);
SELECT djkafka_subscribe('moment', 'moment', version_column => 'version', remember_deleted => '10000 years');
SET TimeZone = 'Asia/Tokyo';
SELECT run('moment', '{"at": "2026-01-01T00:00:00Z", "version": "2026-01-01T12:00:00Z", "__deleted": true}');
SET TimeZone = 'America/New_York';
SELECT run('moment', '{"at": "2026-01-01T00:00:00Z", "version": "2026-01-01T11:00:00Z", "name": "late"}');
RESET TimeZone;
TABLE moment;
SELECT key, version FROM djkafka_deleted WHERE key LIKE '["2026%';
SELECT djkafka_drop_route(id) FROM djkafka_route WHERE topic = 'moment';
SELECT djkafka_drop_route(id) FROM djkafka_route WHERE topic = 'kept';
SELECT count(*) FROM djkafka_deleted;
-- in terms of the route as it is: nothing is known of another version or key, a column that is renamed is the same
CREATE TABLE other (id int PRIMARY KEY, version int, at timestamptz, name text);
SELECT djkafka_subscribe('other', 'other', version_column => 'version', remember_deleted => '1 h');
SELECT run('other', '{"id": 1, "version": 5, "__deleted": true}');
ALTER TABLE other RENAME version TO number;
ALTER TABLE other RENAME id TO code;
UPDATE djkafka_route SET remember_deleted = '2 h' WHERE topic = 'other';
SELECT run('other', '{"code": 1, "number": 4, "name": "late"}');
UPDATE djkafka_route SET version_column = 'at' WHERE topic = 'other';
SELECT run('other', '{"code": 1, "number": 4, "at": "2026-02-01T00:00:00Z", "name": "new"}', '{"code": 1, "at": "2026-02-02T00:00:00Z", "__deleted": true}');
UPDATE djkafka_route SET target = 'kept', version_column = 'version' WHERE topic = 'other';
SELECT count(*) FROM djkafka_deleted WHERE key = '["1"]';
SELECT djkafka_drop_route(id) FROM djkafka_route WHERE topic = 'other';
-- all routes to a table share what they know alike; what was of another type is not known
CREATE TABLE shared (id int PRIMARY KEY, version int, name text UNIQUE);
SET TimeZone = 'UTC';
SELECT djkafka_create_consumer('second') > 0;
SELECT djkafka_subscribe('shared_a', 'shared', version_column => 'version', remember_deleted => '1 day');
SELECT djkafka_subscribe('shared_b', 'shared', version_column => 'version', remember_deleted => '1 h');
SELECT djkafka_create_route('second', 'shared_c', 'shared', version_column => 'version', remember_deleted => '1 h') > 0;
SELECT djkafka_subscribe('shared_d', 'shared', key_columns => '{name}', version_column => 'version', remember_deleted => '1 h');
SELECT run('shared_a', '{"id": 1, "version": 6, "__deleted": true}', '{"id": 2, "version": 6, "__deleted": true}');
SELECT run('shared_b', '{"id": 1, "version": 3, "name": "back"}', '{"id": 2, "version": 7, "__deleted": true}');
SELECT stale FROM djkafka_run('second', messages => '[{"topic": "shared_c", "value": {"id": 1, "version": 5, "name": "back"}}, {"topic": "shared_c", "value": {"id": 2, "version": 6}}]');
SELECT run('shared_d', '{"id": 1, "version": 3, "name": "1"}');
TABLE shared;
DELETE FROM shared;
SELECT target, columns, types, seen_by, key, version, date_trunc('hour', forget_at - deleted_at + interval '1 min') AS kept FROM djkafka_deleted WHERE target = 'shared'::regclass ORDER BY key, columns;
SELECT djkafka_drop_route(id) FROM djkafka_route WHERE topic = 'shared_d';
ALTER TABLE shared RENAME version TO number;
ALTER TABLE shared RENAME TO shared_by_all;
SELECT run('shared_b', '{"id": 1, "number": 3, "name": "back"}');
ALTER TABLE shared_by_all ALTER number TYPE timestamptz USING to_timestamp(number);
SELECT run('shared_b', '{"id": 1, "number": "2026-02-01T00:00:00Z", "name": "another version"}', '{"id": 1, "number": "2026-02-02T00:00:00Z", "__deleted": true}');
ALTER TABLE shared_by_all ALTER id TYPE text;
SELECT run('shared_a', '{"id": "1", "number": "2026-01-01T00:00:00Z", "name": "another key"}');
TABLE shared_by_all;
SELECT columns, types, key, version FROM djkafka_deleted WHERE target <> 'gone'::regclass ORDER BY columns, types, key;
-- a name that comes again is another column's
ALTER TABLE shared_by_all ADD at timestamptz;
ALTER TABLE shared_by_all DROP number;
UPDATE djkafka_route SET version_column = 'at' WHERE topic LIKE 'shared%';
SELECT run('shared_a', '{"id": "1", "at": "2026-01-01T00:00:00Z", "__deleted": true}');
ALTER TABLE shared_by_all RENAME at TO number;
SELECT columns, types, key, version FROM djkafka_deleted WHERE target <> 'gone'::regclass ORDER BY columns, types, key;
-- who may not see all rows says nothing of what others see
ALTER TABLE shared_by_all ENABLE ROW LEVEL SECURITY;
SELECT run('shared_a', '{"id": "8", "number": "2026-01-01T00:00:00Z", "__deleted": true}');
SELECT seen_by = current_user::regrole FROM djkafka_deleted WHERE key = '["8"]';
-- it goes with the last route that remembers, however that goes
SELECT djkafka_drop_route(id) FROM djkafka_route WHERE topic = 'shared_a';
UPDATE djkafka_route SET remember_deleted = NULL WHERE topic = 'shared_b';
SELECT count(*) > 0 FROM djkafka_deleted WHERE target <> 'gone'::regclass;
SELECT djkafka_drop_consumer('second');
SELECT count(*) FROM djkafka_deleted WHERE target <> 'gone'::regclass;
UPDATE djkafka_route SET remember_deleted = '1 h' WHERE topic = 'shared_b';
SELECT run('shared_b', '{"id": "1", "number": "2026-01-01T00:00:00Z", "__deleted": true}');
DROP TABLE shared_by_all;
SELECT count(*) FROM djkafka_deleted WHERE target <> 'gone'::regclass;
SELECT djkafka_drop_route(id) FROM djkafka_route WHERE topic = 'shared_b';
-- a label of an enum that is renamed stays the version that it was
CREATE TYPE step AS ENUM ('asked', 'paid', 'sent');
CREATE TABLE walk (id int PRIMARY KEY, at step);
SELECT djkafka_subscribe('walk', 'walk', version_column => 'at', remember_deleted => '1 h');
SELECT run('walk', '{"id": 1, "at": "paid", "__deleted": true}', '{"id": 2, "at": "paid", "__deleted": true}');
ALTER TYPE step ADD VALUE 'lost';
ALTER TYPE step RENAME VALUE 'paid' TO 'settled';
SELECT run('walk', '{"id": 1, "at": "settled"}', '{"id": 2, "at": "sent"}');
SELECT DISTINCT version FROM djkafka_deleted WHERE types[2] = 'step'::regtype;
-- one that was written down while the label was renamed is not known
UPDATE djkafka_deleted SET version = 'paid' WHERE target = 'walk'::regclass AND key = '["1"]';
SELECT run('walk', '{"id": 1, "at": "asked"}');
DELETE FROM walk WHERE id = 1;
DELETE FROM djkafka_deleted WHERE target = 'walk'::regclass AND key = '["1"]';
-- … also one of a key, and of a domain over it
CREATE DOMAIN stage AS step;
CREATE TABLE walked (id step, name text, at stage, PRIMARY KEY (id, name));
SELECT djkafka_subscribe('walked', 'walked', version_column => 'at', remember_deleted => '1 h');
SELECT run('walked', '{"id": "asked", "name": "\"asked\", \\ and more", "at": "settled", "__deleted": true}', '{"id": "asked", "name": "asked", "at": "asked", "__deleted": true}');
ALTER TYPE step RENAME VALUE 'asked' TO 'begun';
ALTER TYPE step RENAME VALUE 'settled' TO 'paid';
SELECT run('walked', '{"id": "begun", "name": "\"asked\", \\ and more", "at": "begun"}', '{"id": "begun", "name": "asked", "at": "begun"}');
TABLE walked;
SELECT key, version FROM djkafka_deleted WHERE target = 'walked'::regclass ORDER BY key;
-- a type that is renamed is the same; the setting of a session is nothing to it
ALTER TYPE step RENAME TO pace;
ALTER DOMAIN stage SET SCHEMA public;
SET quote_all_identifiers = on;
SELECT run('walked', '{"id": "begun", "name": "asked", "at": "begun"}');
RESET quote_all_identifiers;
ALTER DOMAIN public.stage SET SCHEMA version;
-- what was gone for all is gone for a role that may not see all, and the other way round; the greatest version counts
ALTER TABLE walked ENABLE ROW LEVEL SECURITY;
SELECT run('walked', '{"id": "begun", "name": "asked", "at": "begun"}', '{"id": "paid", "name": "x", "at": "paid", "__deleted": true}');
SELECT run('walked', '{"id": "begun", "name": "asked", "at": "sent", "__deleted": true}');
SELECT key, version, seen_by <> 0 AS by_role FROM djkafka_deleted WHERE target = 'walked'::regclass ORDER BY key, by_role;
SELECT run('walked', '{"id": "begun", "name": "asked", "at": "paid"}', '{"id": "paid", "name": "x", "at": "begun"}');
ALTER TABLE walked DISABLE ROW LEVEL SECURITY;
SELECT run('walked', '{"id": "begun", "name": "asked", "at": "paid"}', '{"id": "paid", "name": "x", "at": "begun"}');
TABLE walked;
-- a key that can be written in several ways is one, in a batch as in several
CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE DOMAIN amount AS numeric CHECK (VALUE > 0);
CREATE TABLE spelled (n amount, c char(4), t text COLLATE loose, i interval, version int, name text, PRIMARY KEY (n, c, t, i));
SELECT djkafka_subscribe('spelled', 'spelled', version_column => 'version', remember_deleted => '1 h');
SELECT run('spelled', '{"n": 1.0, "c": "a", "t": "X", "i": "1 day", "version": 5, "__deleted": true}');
SELECT run('spelled', '{"n": 1, "c": "a  ", "t": "x", "i": "24:00:00", "version": 4, "name": "late"}', '{"n": 1, "c": "b", "t": "x", "i": "24:00:00", "version": 4, "name": "another"}');
SELECT run('spelled', '{"n": 1.00, "c": "a", "t": "x", "i": "24 hours", "version": 6, "__deleted": true}');
SELECT run('spelled', '{"n": 2, "c": "a", "t": "X", "i": "1 day", "version": 1, "name": "first"}', '{"n": 2.0, "c": "a", "t": "x", "i": "24:00:00", "version": 2, "__deleted": true}', '{"n": 2.00, "c": "a", "t": "x", "i": "1 day", "version": 2, "name": "late"}',
           '{"n": 2.000, "c": "a", "t": "X", "i": "24:00:00", "version": 3, "name": "again"}', '{"n": 2, "c": "a", "t": "X", "i": "1 day", "version": 4, "__deleted": true}');
SELECT run('spelled', '{"n": 2, "c": "a", "t": "x", "i": "24:00:00", "version": 4, "name": "late"}');
TABLE spelled;
SELECT key, version, hash IS NULL AS by_text FROM djkafka_deleted WHERE target = 'spelled'::regclass ORDER BY key;
-- what was remembered by hand, without a hash, is found by its text
INSERT INTO djkafka_deleted (target, columns, types, key, version, forget_at)
    SELECT target, columns, types, '["7.0", "a   ", "x", "1 day"]', 9, forget_at FROM djkafka_deleted WHERE target = 'spelled'::regclass LIMIT 1;
SELECT run('spelled', '{"n": 7.0, "c": "a", "t": "x", "i": "1 day", "version": 8, "name": "late"}', '{"n": 7, "c": "a", "t": "x", "i": "1 day", "version": 10, "__deleted": true}');
SELECT key, version, hash IS NULL AS by_text FROM djkafka_deleted WHERE target = 'spelled'::regclass AND key ~ '7';
SELECT djkafka_subscribe('x', 'kept', remember_deleted => '1 h');
SELECT djkafka_subscribe('x', 'kept', version_column => 'version', operation => 'upsert', remember_deleted => '1 h');
SELECT djkafka_subscribe('x', 'kept', version_column => 'version', remember_deleted => '-1 h');
-- what cannot be a version
SELECT djkafka_subscribe('x', 'item', version_column => 'nowhere');
SELECT djkafka_subscribe('x', 'item', version_column => 'id');
SELECT djkafka_subscribe('x', 'item', version_column => 'version', exclude => '{version}');
SELECT djkafka_subscribe('x', 'item', version_column => 'version', operation => 'insert_new');
CREATE FUNCTION h(jsonb) RETURNS void LANGUAGE sql AS '';
SELECT djkafka_subscribe('x', handler => 'version.h(jsonb)', version_column => 'version');
CREATE TABLE pointed (id int PRIMARY KEY, at point);
SELECT djkafka_subscribe('x', 'pointed', version_column => 'at');

SELECT djkafka_drop_consumer('default');
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA version CASCADE;
