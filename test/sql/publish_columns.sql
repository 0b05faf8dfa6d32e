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

-- a column that is dropped takes the publication with it until somebody has said what is to be
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
DROP TABLE box;

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
