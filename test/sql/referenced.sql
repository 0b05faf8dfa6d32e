-- Rows that are deleted with what refers to them, or that lets go of them: on_referenced.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA referenced;
SET search_path = referenced, public;
SET client_min_messages = warning;
CREATE FUNCTION by_worker(consumer text, batches text[]) RETURNS jsonb LANGUAGE c STRICT AS '$libdir/djkafka', 'djkafka_test_apply_waiting';

-- what it may be
CREATE TABLE parent (id bigint PRIMARY KEY, code text UNIQUE, version int);
CREATE VIEW seen AS SELECT * FROM parent;
CREATE FUNCTION take(jsonb) RETURNS void LANGUAGE sql AS '';
SELECT refused($$SELECT djkafka_subscribe('x', 'parent', on_referenced => 'delete')$$);
SELECT refused($$SELECT djkafka_subscribe('x', 'parent', operation => 'upsert', on_referenced => 'cascade')$$);
SELECT refused($$SELECT djkafka_subscribe('x', handler => 'take(jsonb)', on_referenced => 'cascade')$$);
SELECT refused($$SELECT djkafka_subscribe('x', 'seen', key_columns => '{id}', on_referenced => 'set_null')$$);
SELECT djkafka_subscribe('parent', 'parent', parent_timeout => '0');
SELECT on_referenced FROM djkafka_route;
SELECT refused($$UPDATE djkafka_route SET on_referenced = NULL$$);

-- rows of several tables, by several constraints, and what refers to those
CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent, other_id bigint REFERENCES parent ON DELETE RESTRICT, code text REFERENCES parent (code) DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE grandchild (id int PRIMARY KEY, child_id smallint NOT NULL REFERENCES child, note text);
CREATE TABLE friend (a int REFERENCES grandchild, b int REFERENCES grandchild, c int REFERENCES child ON DELETE CASCADE, d int REFERENCES child ON DELETE SET NULL);
CREATE FUNCTION fill() RETURNS void LANGUAGE sql SET search_path = referenced AS $$
    TRUNCATE parent CASCADE;
    INSERT INTO parent SELECT i, 'c' || i, i FROM generate_series(1, 5) i;
    INSERT INTO child VALUES (1, 1, 1, 'c1'), (2, 2, 1, NULL), (3, 3, 4, 'c2'), (4, NULL, NULL, 'c1'), (5, 5, 5, 'c5');
    INSERT INTO grandchild VALUES (10, 1), (20, 2), (21, 2), (30, 3), (40, 4), (50, 5);
    INSERT INTO friend VALUES (10, 50, 5, 3), (50, 50, 5, 1), (50, 50, 4, 5);
$$;
CREATE FUNCTION rows() RETURNS SETOF text LANGUAGE sql SET search_path = referenced AS $$
    SELECT 'parent ' || string_agg(id::text, ' ' ORDER BY id) FROM parent
    UNION ALL SELECT 'child ' || string_agg(c::text, ' ' ORDER BY id) FROM child c
    UNION ALL SELECT 'grandchild ' || string_agg(id::text, ' ' ORDER BY id) FROM grandchild
    UNION ALL SELECT 'friend ' || string_agg(f::text, ' ' ORDER BY f) FROM friend f
$$;
SELECT fill();
SELECT give('[{"topic": "parent", "key": "1", "value": null}]');
SELECT dead_letters();
SELECT djkafka_alter_route('default', 'parent', on_referenced => 'cascade') > 0;
SELECT give('[{"topic": "parent", "key": "1", "value": null}, {"topic": "parent", "key": "9", "value": null}, {"topic": "parent", "key": "3", "value": null}]');
SELECT rows();
SELECT fill();
SELECT djkafka_alter_route('default', 'parent', on_referenced => 'set_null') > 0;
SELECT give('[{"topic": "parent", "key": "1", "value": null}, {"topic": "parent", "key": "9", "value": null}, {"topic": "parent", "key": "3", "value": null}]');
SELECT rows();
-- … but for the change of a key, which the rows that refer to it are to follow by themselves
SELECT give('[{"topic": "parent", "value": {"id": 5, "code": "other"}}]');
SELECT dead_letters();
-- a column that cannot be null
ALTER TABLE child ADD only_id bigint NOT NULL DEFAULT 2 REFERENCES parent;
SELECT give('[{"topic": "parent", "key": "2", "value": null}, {"topic": "parent", "key": "4", "value": null}]');
SELECT dead_letters();
SELECT rows();
ALTER TABLE child DROP only_id;

-- a deletion that comes too late takes nothing along
SELECT djkafka_alter_route('default', 'parent', on_referenced => 'cascade', version_column => 'version') > 0;
SELECT fill();
SELECT give('[{"topic": "parent", "value": {"id": 1, "version": 1, "__deleted": true}}, {"topic": "parent", "value": {"id": 3, "version": 4, "__deleted": true}}]');
SELECT rows();
SELECT djkafka_alter_route('default', 'parent', reset => '{version_column}') > 0;

-- how many went stands beside the messages; and nothing of it is counted that was undone
SELECT fill();
SELECT by_worker('default', ARRAY['[{"topic": "parent", "offset": 0, "key": "1", "value": null}, {"topic": "parent", "offset": 1, "key": "2", "value": null},
    {"topic": "parent", "offset": 2, "key": "x", "value": null}, {"topic": "parent", "offset": 3, "value": {"id": 6, "version": "x"}}, {"topic": "parent", "offset": 4, "key": "5", "value": null}]'])->>'state';
SELECT applied, dead, cascaded FROM djkafka_offset;
SELECT cascaded FROM djkafka_status;
SELECT cascaded FROM djkafka_partition_status;
SELECT rows();
DELETE FROM djkafka_dead_letter;
SELECT djkafka_drop_consumer('default');

-- circles, of one table and of two, whose constraints are checked at once; what refers to itself
CREATE TABLE node (id int PRIMARY KEY, up int REFERENCES node, n int);
CREATE TABLE a (id int PRIMARY KEY, b int);
CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b;
SELECT djkafka_subscribe('node', 'node', on_referenced => 'cascade', parent_timeout => '0');
SELECT djkafka_subscribe('a', 'a', on_referenced => 'cascade', parent_timeout => '0');
INSERT INTO node VALUES (1, NULL), (2, 1), (3, 2), (4, 4), (5, 6), (6, 7), (7, 5), (8, NULL);
INSERT INTO a VALUES (1), (2), (3);
INSERT INTO b VALUES (1, 1), (2, 2), (3, 2);
UPDATE a SET b = CASE id WHEN 1 THEN 2 WHEN 2 THEN 1 END;
SELECT give('[{"topic": "node", "key": "1", "value": null}, {"topic": "node", "key": "4", "value": null}, {"topic": "node", "key": "6", "value": null}, {"topic": "a", "key": "1", "value": null}]');
TABLE node;
SELECT id FROM a UNION ALL SELECT -id FROM b;
-- what refers to the row only by a message of the same batch, in its order
SELECT give('[{"topic": "node", "value": {"id": 9, "up": 8}}, {"topic": "node", "key": "8", "value": null}, {"topic": "node", "value": {"id": 8}}, {"topic": "node", "value": {"id": 10, "up": 8, "n": 1}}]');
TABLE node;
SELECT djkafka_alter_route('default', 'node', on_referenced => 'set_null') > 0;
SELECT give('[{"topic": "node", "value": {"id": 11, "up": 10}}, {"topic": "node", "value": {"id": 12, "up": 12}}, {"topic": "node", "key": "10", "value": null}, {"topic": "node", "key": "12", "value": null}]');
TABLE node ORDER BY id;
SELECT djkafka_drop_consumer('default');
DROP TABLE node;

-- what messages alter themselves, before the deletion and at each try again, is no reason to try again
CREATE TABLE made (id int PRIMARY KEY);
CREATE TABLE of_made (id int, made_id int REFERENCES made) PARTITION BY LIST (id);
CREATE TABLE of_made_1 PARTITION OF of_made FOR VALUES IN (1);
CREATE FUNCTION make() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('CREATE SCHEMA made_%s; CREATE TABLE referenced.of_made_%1$s PARTITION OF referenced.of_made FOR VALUES IN (%1$s)', NEW.id);
    INSERT INTO referenced.of_made VALUES (NEW.id, 1);
    RETURN NULL;
END $$;
CREATE TRIGGER make AFTER INSERT ON made FOR EACH ROW WHEN (NEW.id > 1) EXECUTE FUNCTION make();
INSERT INTO made VALUES (1);
INSERT INTO of_made VALUES (1, 1);
SELECT djkafka_subscribe('made', 'made', on_referenced => 'cascade', parent_timeout => '0');
SELECT give('[{"topic": "made", "value": {"id": 2}}, {"topic": "made", "key": "1", "value": null}]');
SELECT dead_letters();
SELECT 'made', id FROM made UNION ALL SELECT 'of_made', id FROM of_made;
SELECT djkafka_drop_consumer('default');
DROP SCHEMA made_2;

-- partitions on either side; a foreign key of, and to, one of them; composite keys, a part of which is deleted; inheritance
CREATE TABLE part (region int, id int, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2) PARTITION BY RANGE (id);
CREATE TABLE part_2_1 PARTITION OF part_2 FOR VALUES FROM (0) TO (100);
CREATE TABLE leaf (n int, region int, id int, PRIMARY KEY (n), FOREIGN KEY (region, id) REFERENCES part) PARTITION BY HASH (n);
CREATE TABLE leaf_0 PARTITION OF leaf FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE leaf_1 PARTITION OF leaf FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE twig (region int, id int, FOREIGN KEY (region, id) REFERENCES part_2_1, n int REFERENCES leaf);
CREATE TABLE heir () INHERITS (twig);
CREATE FUNCTION fill_parts() RETURNS void LANGUAGE sql SET search_path = referenced AS $$
    TRUNCATE part CASCADE;
    INSERT INTO part SELECT r, i FROM generate_series(1, 2) r, generate_series(1, 3) i;
    INSERT INTO leaf SELECT 10 * region + id, region, id FROM part;
    INSERT INTO twig VALUES (2, 1, NULL), (NULL, NULL, 22), (2, 2, 23), (2, 3, 11), (2, NULL, NULL);
    INSERT INTO heir VALUES (2, 1, 22);
$$;
CREATE FUNCTION parts() RETURNS SETOF text LANGUAGE sql SET search_path = referenced AS $$
    SELECT 'part ' || string_agg(p::text, ' ' ORDER BY p) FROM part p
    UNION ALL SELECT 'leaf ' || string_agg(l::text, ' ' ORDER BY l) FROM leaf l
    UNION ALL SELECT 'twig ' || string_agg(t::text, ' ' ORDER BY t) FROM ONLY twig t
    UNION ALL SELECT 'heir ' || string_agg(h::text, ' ' ORDER BY h) FROM heir h
$$;
SELECT djkafka_subscribe('part', 'part', on_referenced => 'cascade', parent_timeout => '0', partial_deletes => true);
SELECT fill_parts();
SELECT give('[{"topic": "part", "key": {"region": 2, "id": 1}, "value": null}, {"topic": "part", "key": {"region": 1, "id": 1}, "value": null}]');
SELECT parts();
SELECT give('[{"topic": "part", "key": {"region": 2}, "value": null}]');
SELECT parts();
SELECT djkafka_alter_route('default', 'part', on_referenced => 'set_null') > 0;
SELECT fill_parts();
SELECT give('[{"topic": "part", "key": {"region": 2, "id": 1}, "value": null}, {"topic": "part", "key": {"id": 2}, "value": null}]');
SELECT parts();
-- … where a partition itself is the target
SELECT djkafka_alter_route('default', 'part', new_target => 'part_2', on_referenced => 'cascade') > 0;
SELECT fill_parts();
SELECT give('[{"topic": "part", "key": {"region": 2, "id": 1}, "value": null}]');
SELECT parts();
SELECT djkafka_drop_consumer('default');

-- many rows of many partitions are not looked for in each of them, one by one
CREATE TABLE few (id int PRIMARY KEY);
CREATE TABLE many (id int, few_id int REFERENCES few) PARTITION BY HASH (id);
DO $$ BEGIN FOR i IN 0..39 LOOP EXECUTE format('CREATE TABLE many_%s PARTITION OF many FOR VALUES WITH (MODULUS 40, REMAINDER %s)', i, i); END LOOP; END $$;
CREATE INDEX ON many (few_id);
INSERT INTO few SELECT generate_series(1, 2);
INSERT INTO many SELECT i, 1 + i % 2 FROM generate_series(1, 4000) i;
ANALYZE few, many;
SELECT djkafka_subscribe('few', 'few', on_referenced => 'cascade', parent_timeout => '0');
SELECT give('[{"topic": "few", "key": "1", "value": null}]');
SELECT pg_stat_force_next_flush();
SELECT sum(n_tup_del), sum(heap_blks_hit) < 40000 FROM pg_stat_user_tables JOIN pg_statio_user_tables USING (relid) WHERE pg_stat_user_tables.relname LIKE 'many\_%';
SELECT djkafka_drop_consumer('default');

-- text that is equal and differs; collations of their own
CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE word (id text COLLATE loose PRIMARY KEY, short varchar(9) COLLATE "C" UNIQUE);
CREATE TABLE use (word text COLLATE loose REFERENCES word, short text COLLATE "POSIX" REFERENCES word (short));
SELECT djkafka_subscribe('word', 'word', on_referenced => 'cascade', parent_timeout => '0');
INSERT INTO word VALUES ('Word', 's'), ('other', 't');
INSERT INTO use VALUES ('wORD', NULL), (NULL, 's'), ('OTHER', NULL), (NULL, 't');
SELECT give('[{"topic": "word", "key": "word", "value": null}]');
TABLE word;
TABLE use;
SELECT djkafka_drop_consumer('default');

-- rights: those of the consumer's owner, who must have them
CREATE ROLE referenced_owner LOGIN;
CREATE ROLE referenced_other LOGIN;
GRANT USAGE, CREATE ON SCHEMA referenced TO referenced_owner, referenced_other;
GRANT EXECUTE ON FUNCTION djkafka_use_settings TO referenced_owner;
CREATE TABLE top (id int PRIMARY KEY);
GRANT SELECT, INSERT, UPDATE, DELETE ON top TO referenced_owner;
GRANT REFERENCES ON top TO referenced_other;
CREATE TABLE below (id int PRIMARY KEY, top_id int REFERENCES top);
SELECT djkafka_create_consumer('o', owner => 'referenced_owner', enabled => false);
SELECT refused($$SELECT djkafka_create_route('o', 'top', 'top', on_referenced => 'cascade')$$);
GRANT SELECT ON below TO referenced_owner;
SELECT refused($$SELECT djkafka_create_route('o', 'top', 'top', on_referenced => 'cascade')$$);
SELECT refused($$SELECT djkafka_create_route('o', 'top', 'top', on_referenced => 'set_null')$$);
GRANT UPDATE (id) ON below TO referenced_owner;
SELECT refused($$SELECT djkafka_create_route('o', 'top', 'top', on_referenced => 'set_null')$$);
REVOKE UPDATE (id) ON below FROM referenced_owner;
GRANT DELETE ON below TO referenced_owner;
REVOKE SELECT ON top FROM referenced_owner;
GRANT SELECT (id) ON top TO referenced_owner;
SELECT refused($$SELECT djkafka_create_route('o', 'top', 'top', on_referenced => 'cascade')$$);
GRANT SELECT ON top TO referenced_owner;
SELECT djkafka_create_route('o', 'top', 'top', on_referenced => 'cascade', parent_timeout => '0') > 0;
-- policies hide rows, and keep them: what refers to those stays too
INSERT INTO top VALUES (1), (2), (3), (4);
INSERT INTO below VALUES (10, 1), (20, 2), (30, 3), (31, 3), (40, 4);
ALTER TABLE below ENABLE ROW LEVEL SECURITY;
ALTER TABLE top ENABLE ROW LEVEL SECURITY;
CREATE POLICY seen ON below USING (id <> 20);
CREATE POLICY seen ON top USING (true);
CREATE POLICY kept ON top AS RESTRICTIVE FOR DELETE USING (id <> 3);
SET SESSION AUTHORIZATION referenced_owner;
SELECT by_worker('o', ARRAY['[{"topic": "top", "offset": 0, "key": "1", "value": null}, {"topic": "top", "offset": 1, "key": "2", "value": null}, {"topic": "top", "offset": 2, "key": "3", "value": null}]'])->>'state';
RESET SESSION AUTHORIZATION;
SELECT dead_letters();
SELECT 'top', id FROM top UNION ALL SELECT 'below', id FROM below ORDER BY 1, 2;
ALTER TABLE below DISABLE ROW LEVEL SECURITY;
ALTER TABLE top DISABLE ROW LEVEL SECURITY;
-- a trigger that keeps a row, without its reference: then that is not in the way
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE referenced.below SET top_id = NULL WHERE id = OLD.id; RETURN NULL; END $$;
GRANT UPDATE ON below TO referenced_owner;
CREATE TRIGGER keep BEFORE DELETE ON below FOR EACH ROW WHEN (OLD.id >= 30) EXECUTE FUNCTION keep();
SET SESSION AUTHORIZATION referenced_owner;
SELECT by_worker('o', ARRAY['[{"topic": "top", "offset": 3, "key": "3", "value": null}, {"topic": "top", "offset": 4, "key": "4", "value": null}]'])->>'state';
RESET SESSION AUTHORIZATION;
SELECT dead_letters();
SELECT 'top', id, NULL FROM top UNION ALL SELECT 'below', id, top_id FROM below ORDER BY 1, 2;
SELECT sum(cascaded) FROM djkafka_offset WHERE topic = 'top';
-- whoever may refer to the target cannot have his triggers run with the rights of the consumer's owner
SET ROLE referenced_other;
CREATE TABLE theirs (id int REFERENCES top);
GRANT ALL ON theirs TO PUBLIC;
CREATE FUNCTION steal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'run as %', current_user; END $$;
CREATE TRIGGER steal BEFORE DELETE ON theirs FOR EACH ROW EXECUTE FUNCTION steal();
RESET ROLE;
INSERT INTO top VALUES (7);
INSERT INTO theirs VALUES (7);
INSERT INTO below VALUES (70, 7);
SET SESSION AUTHORIZATION referenced_owner;
SELECT by_worker('o', ARRAY['[{"topic": "top", "offset": 5, "key": "7", "value": null}]'])->>'state';
RESET SESSION AUTHORIZATION;
SELECT dead_letters();
SELECT 'below', id FROM below WHERE top_id = 7;
-- … unless it is somebody's whose code runs with them anyway
ALTER TABLE theirs OWNER TO referenced_owner;
SET SESSION AUTHORIZATION referenced_owner;
SELECT by_worker('o', ARRAY['[{"topic": "top", "offset": 6, "key": "7", "value": null}]'])->>'state';
RESET SESSION AUTHORIZATION;
SELECT dead_letters();
-- a right that is taken away stops the consumer, and loses nothing
DROP TABLE theirs;
REVOKE DELETE ON below FROM referenced_owner;
SET SESSION AUTHORIZATION referenced_owner;
SELECT by_worker('o', ARRAY['[{"topic": "top", "offset": 7, "key": "7", "value": null}]'])->>'state';
RESET SESSION AUTHORIZATION;
SELECT dead_letters();
-- triggers run once for each row, in the order of messages
GRANT DELETE ON below TO referenced_owner;
DROP TRIGGER keep ON below;
CREATE TABLE log (n serial, what text);
GRANT ALL ON log, log_n_seq TO referenced_owner;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO referenced.log (what) VALUES (concat_ws(' ', TG_TABLE_NAME, TG_WHEN, TG_LEVEL, OLD.id)); RETURN OLD; END $$;
CREATE TRIGGER before BEFORE DELETE ON below FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER after AFTER DELETE ON below FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER before BEFORE DELETE ON top FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER statement AFTER DELETE ON top FOR EACH STATEMENT EXECUTE FUNCTION note();
DELETE FROM below;
DELETE FROM top;
TRUNCATE log RESTART IDENTITY;
INSERT INTO top VALUES (1), (2), (3);
INSERT INTO below VALUES (30, 3), (10, 1), (11, 1), (20, 2);
SET SESSION AUTHORIZATION referenced_owner;
SELECT by_worker('o', ARRAY['[{"topic": "top", "offset": 8, "key": "3", "value": null}, {"topic": "top", "offset": 9, "key": "1", "value": null}, {"topic": "top", "offset": 10, "key": "2", "value": null}]'])->>'state';
RESET SESSION AUTHORIZATION;
SELECT string_agg(what, ', ' ORDER BY n) FROM log;
SELECT djkafka_drop_consumer('o');

-- a deletion that others hold up all the same waits, as without
SELECT djkafka_create_consumer('w', enabled => false);
SELECT djkafka_create_route('w', 'top', 'top', on_referenced => 'cascade') > 0;
INSERT INTO top VALUES (1);
INSERT INTO below VALUES (10, 1);
CREATE TABLE theirs (id int REFERENCES top);
ALTER TABLE theirs OWNER TO referenced_other;
INSERT INTO theirs VALUES (1);
SELECT by_worker('w', ARRAY['[{"topic": "top", "offset": 0, "key": "1", "value": null}]'])->>'state';
SELECT constraint_name, children, parent, sqlstate FROM djkafka_parked;
DROP TABLE theirs;
SELECT by_worker('w', ARRAY['[{"topic": "top", "offset": 1, "value": {"id": 2}}]'])->>'state';
SELECT applied, parked, cascaded FROM djkafka_offset WHERE topic = 'top' AND next_offset = 2;
-- djkafka_test leaves it all there
INSERT INTO below VALUES (20, 2);
SELECT operation, fate, row_before, row_after, code FROM djkafka_test('w', messages => '[{"topic": "top", "key": "2", "value": null}]');
SELECT 'below', id FROM below;

SELECT djkafka_drop_consumer('w');
DROP SCHEMA referenced CASCADE;
DROP OWNED BY referenced_owner, referenced_other;
DROP ROLE referenced_owner, referenced_other;
