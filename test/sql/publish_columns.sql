-- What a publication leaves out stays out, however its column is renamed or made again.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA hidden;
SET search_path = hidden, public;
CREATE VIEW published AS SELECT id, topic, convert_from(value, 'UTF8') AS value FROM djkafka_outbox;
-- What has been published and says a word that it must not.
CREATE FUNCTION news() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT topic || ' ' || value FROM published WHERE id > coalesce(current_setting('test.seen', true)::bigint, 0) ORDER BY id;
    $$;
CREATE FUNCTION seen() RETURNS void LANGUAGE sql AS $$ SELECT set_config('test.seen', max(id)::text, false) FROM published $$;

-- typed tables, and what inherits from the type by a partition of one
CREATE TYPE person AS (id int, name text, secret text);
CREATE TABLE typed OF person (PRIMARY KEY (id));
CREATE TABLE typed_too OF person (PRIMARY KEY (id));
CREATE TABLE typed_root OF person (PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE typed_part PARTITION OF typed_root FOR VALUES FROM (0) TO (100);
SELECT count(djkafka_publish(t, exclude => '{secret}')) FROM unnest('{typed,typed_root,typed_part}'::regclass[]) t;
SELECT djkafka_publish('typed_too', 'too', include => '{id,name}', columns => '{"secret": "''***''"}') > 0;
ALTER TYPE person RENAME ATTRIBUTE secret TO hash CASCADE;
ALTER TYPE person RENAME ATTRIBUTE name TO called CASCADE;
ALTER TYPE person RENAME ATTRIBUTE id TO number CASCADE;
INSERT INTO typed VALUES (1, 'ada', 'xyz');
INSERT INTO typed_too VALUES (1, 'ada', 'xyz');
INSERT INTO typed_root VALUES (1, 'ada', 'xyz');
INSERT INTO typed_part VALUES (2, 'ada', 'xyz');
SELECT * FROM news();
SELECT topic, include, exclude, columns FROM djkafka_publication ORDER BY id;
DROP TYPE person CASCADE;
SELECT count(*) FROM djkafka_publication;

-- parents and children, partitions of partitions, through views that are none of theirs
SELECT seen();
CREATE TABLE parent (id int PRIMARY KEY, secret text);
CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
CREATE TABLE grandchild (PRIMARY KEY (id)) INHERITS (child);
CREATE VIEW glass AS SELECT id, secret FROM parent;
SELECT count(djkafka_publish(t, exclude => '{secret}')) FROM unnest('{parent,child,grandchild}'::regclass[]) t;
ALTER TABLE glass RENAME COLUMN secret TO seen;
ALTER VIEW glass RENAME COLUMN seen TO clear;
INSERT INTO grandchild VALUES (1, 'xyz');
ALTER TABLE parent RENAME COLUMN secret TO hash;
INSERT INTO parent VALUES (1, 'xyz');
INSERT INTO child VALUES (1, 'xyz');
INSERT INTO grandchild VALUES (2, 'xyz');
SELECT * FROM news();
DROP TABLE parent CASCADE;
CREATE TABLE root (id int, secret text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE branch PARTITION OF root FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
CREATE TABLE leaf (secret text, id int NOT NULL);
ALTER TABLE branch ATTACH PARTITION leaf FOR VALUES FROM (0) TO (10);
SELECT seen();
SELECT count(djkafka_publish(t, exclude => '{secret}')) FROM unnest('{root,branch,leaf}'::regclass[]) t;
ALTER VIEW root RENAME COLUMN secret TO hash;
INSERT INTO root VALUES (1, 'xyz');
INSERT INTO leaf VALUES ('xyz', 2);
SELECT * FROM news();
DROP TABLE root;

-- a column that a publication needs is not dropped before the publication does without it
CREATE TABLE crate (id int PRIMARY KEY, a int, b int, c int, d int, e text, f int, g int, "H h" int);
SELECT djkafka_publish('crate', 'crates', filter => 'a > 0', columns => '{"x": "b + crate.c", "H h": "0"}', include => '{id,d}', key_columns => '{id}') AS id \gset
SELECT djkafka_publish('crate', 'secret-crates', exclude => '{f}') AS secret \gset
SELECT refused(format('ALTER TABLE crate DROP COLUMN %I', c)) FROM unnest('{a,b,c,d,f,id}'::text[]) c;
SELECT refused('ALTER TABLE crate DROP COLUMN g, DROP COLUMN b CASCADE');
SELECT refused(format('ALTER TABLE crate DROP COLUMN %I', c)) FROM unnest('{e,"H h"}'::text[]) c;
CREATE TYPE shade AS ENUM ('dark');
ALTER TABLE crate ADD COLUMN shade shade;
UPDATE djkafka_publication SET filter = 'shade IS NOT NULL' WHERE id = :id;
SELECT refused('DROP TYPE shade CASCADE');
-- both in one transaction, or with the column made again, or of one that is not enabled
BEGIN;
UPDATE djkafka_publication SET filter = 'g > 0', columns = '{"x": "c"}' WHERE id = :id;
ALTER TABLE crate DROP COLUMN a, DROP COLUMN b;
COMMIT;
ALTER TABLE crate DROP COLUMN c, ADD COLUMN c text;
UPDATE djkafka_publication SET enabled = false WHERE id = :secret;
SELECT seen();
INSERT INTO crate (id, c, d, g) VALUES (1, 'c', 4, 1);
SELECT * FROM news();
DROP TABLE crate;
DROP TYPE shade;
SELECT count(*) FROM djkafka_publication WHERE id IN (:id, :secret);
-- of a partitioned table, and of one that others inherit from
CREATE TABLE shelf (id int PRIMARY KEY, v text, w text) PARTITION BY RANGE (id);
CREATE TABLE shelf_1 PARTITION OF shelf FOR VALUES FROM (0) TO (9);
SELECT djkafka_publish('shelf_1', filter => 'w IS NULL') > 0;
SELECT refused('ALTER TABLE shelf DROP COLUMN w');
ALTER TABLE shelf DROP COLUMN v;
DROP TABLE shelf;

-- where that was passed by, a column that is dropped takes the publication with it until somebody has said what is to be
ALTER EVENT TRIGGER djkafka_target_dropped DISABLE;
CREATE TABLE box (id int PRIMARY KEY, secret text, label text);
SELECT djkafka_publish('box', 'boxes', exclude => '{secret}') AS id \gset
SELECT seen();
INSERT INTO box VALUES (1, 'xyz', 'a');
ALTER TABLE box DROP COLUMN secret;
SELECT refused($$INSERT INTO box VALUES (2, 'b')$$);
CALL djkafka_snapshot('box');
-- and is as well hidden when it comes again
ALTER TABLE box ADD COLUMN secret int DEFAULT 4711;
INSERT INTO box VALUES (3, 'c');
ALTER TABLE box DROP COLUMN secret;
UPDATE djkafka_publication SET exclude = NULL WHERE id = :id;
INSERT INTO box VALUES (4, 'd');
SELECT * FROM news();
UPDATE djkafka_publication SET include = '{id,label}' WHERE id = :id;
ALTER TABLE box DROP COLUMN label;
SELECT refused('INSERT INTO box VALUES (5)');
UPDATE djkafka_publication SET include = NULL WHERE id = :id;
-- nor may a change of the publication name one that is not there
SELECT refused(format('UPDATE djkafka_publication SET %s = ''{secret}'' WHERE id = %s', c, :id)) FROM unnest('{include,exclude,key_columns}'::text[]) c;
ALTER EVENT TRIGGER djkafka_target_dropped ENABLE ALWAYS;
DROP TABLE box;

-- a column that takes the name of one that was dropped
CREATE TABLE parcel (id int PRIMARY KEY, note text, label text);
SELECT djkafka_publish('parcel', 'parcels', omit_nulls => '{note,label}') > 0;
SELECT seen();
ALTER TABLE parcel DROP note;
ALTER TABLE parcel RENAME label TO note;
SELECT omit_nulls FROM djkafka_publication WHERE topic = 'parcels';
INSERT INTO parcel VALUES (1, NULL), (2, 'x');
SELECT * FROM news();
DROP TABLE parcel;

-- columns that are called like a secret
CREATE TABLE account (id int PRIMARY KEY, password text, "apiKey" text, refresh_token text, pin int, pin_code int, salt text, "SALT" text, pw_hash text,
    name text, basalt text, opinion text, passenger text, hashtag text, spinner text);
SELECT djkafka_publish('account', 'all') > 0;
SELECT djkafka_publish('account', 'some', exclude => '{password,apiKey,salt,SALT,pin}', columns => '{"pw_hash": "''***''"}') > 0;
SELECT djkafka_publish('account', 'chosen', include => '{id,password}') > 0;
SELECT djkafka_publish('account', 'none', exclude => '{password,apiKey,refresh_token,pin,pin_code,salt,SALT,pw_hash}') > 0;
UPDATE djkafka_publication SET filter = 'true' WHERE topic = 'all';
DROP TABLE account;
-- whatever parts the words of their names
CREATE TABLE access (id int PRIMARY KEY, "api-key" text, "X Api Key" text, "accessKey" text, aws_access_key_id text, "Auth.Key" text, "recovery codes" text, "card pin" text, "JWT" text,
    key text, keyboard text, "spin-off" text, monkey text, access_level text, "ключ" text);
SELECT djkafka_publish('access', 'access') > 0;
DROP TABLE access;

-- also where triggers of a role are silent, and where nobody followed
CREATE TABLE replica (id int PRIMARY KEY, secret text);
SELECT djkafka_publish('replica', 'replicas', exclude => '{secret}') > 0;
SELECT seen();
SET session_replication_role = replica;
ALTER TABLE replica RENAME COLUMN secret TO hash;
RESET session_replication_role;
INSERT INTO replica VALUES (1, 'xyz');
SELECT * FROM news();
ALTER EVENT TRIGGER djkafka_column_renamed DISABLE;
ALTER TABLE replica RENAME COLUMN hash TO password;
ALTER EVENT TRIGGER djkafka_column_renamed ENABLE ALWAYS;
SELECT refused($$INSERT INTO replica VALUES (2, 'xyz')$$);
SELECT refused($$UPDATE replica SET password = 'zyx'$$);
SELECT refused('DELETE FROM replica');
SELECT refused('TRUNCATE replica');
-- so is a key that nobody followed
UPDATE djkafka_publication SET exclude = '{password}', key_columns = '{id}' WHERE relation = 'replica'::regclass;
ALTER EVENT TRIGGER djkafka_column_renamed DISABLE;
ALTER TABLE replica RENAME COLUMN id TO number;
ALTER EVENT TRIGGER djkafka_column_renamed ENABLE ALWAYS;
SELECT refused($$INSERT INTO replica VALUES (3, 'xyz')$$);

SET client_min_messages = error;
RESET search_path;
SELECT djkafka_uninstall(cascade => true);
DROP SCHEMA hidden CASCADE;
