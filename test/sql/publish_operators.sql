-- Published tables whose keys have operators that the search_path does not lead to.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on
SET djkafka.topic_prefix = 'shop';

-- The messages that were not shown yet.
CREATE TABLE shown (id bigint);
INSERT INTO shown VALUES (0);
CREATE FUNCTION news() RETURNS TABLE (topic text, key text, value text) LANGUAGE sql AS $$
    WITH seen AS (UPDATE shown SET id = coalesce((SELECT max(o.id) FROM djkafka_outbox o), 0) RETURNING id)
    SELECT o.topic, convert_from(o.key, 'UTF8'), convert_from(o.value, 'UTF8')
      FROM djkafka_outbox o WHERE o.id > (SELECT s.id FROM shown s) AND (SELECT true FROM seen) ORDER BY o.id
$$;
CREATE FUNCTION upper_v() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := upper(NEW.v); RETURN NEW; END $$;

-- A type of text in a schema of its own, which orders backwards.
CREATE SCHEMA far;
SET client_min_messages = warning;
CREATE TYPE far.code;
CREATE FUNCTION far.code_in(cstring) RETURNS far.code LANGUAGE internal IMMUTABLE STRICT AS 'textin';
CREATE FUNCTION far.code_out(far.code) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
CREATE TYPE far.code (INPUT = far.code_in, OUTPUT = far.code_out, LIKE = text, COLLATABLE = true);
RESET client_min_messages;
CREATE CAST (far.code AS text) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE FUNCTION far.code_lt(far.code, far.code) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'text_gt';
CREATE FUNCTION far.code_le(far.code, far.code) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'text_ge';
CREATE FUNCTION far.code_eq(far.code, far.code) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'texteq';
CREATE FUNCTION far.code_ge(far.code, far.code) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'text_le';
CREATE FUNCTION far.code_gt(far.code, far.code) RETURNS boolean LANGUAGE internal IMMUTABLE STRICT AS 'text_lt';
CREATE FUNCTION far.code_cmp(far.code, far.code) RETURNS integer LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT bttextcmp($2::text, $1::text) $$;
CREATE OPERATOR far.< (LEFTARG = far.code, RIGHTARG = far.code, FUNCTION = far.code_lt, COMMUTATOR = OPERATOR(far.>), RESTRICT = scalarltsel);
CREATE OPERATOR far.<= (LEFTARG = far.code, RIGHTARG = far.code, FUNCTION = far.code_le, COMMUTATOR = OPERATOR(far.>=), RESTRICT = scalarlesel);
CREATE OPERATOR far.= (LEFTARG = far.code, RIGHTARG = far.code, FUNCTION = far.code_eq, COMMUTATOR = OPERATOR(far.=), RESTRICT = eqsel);
CREATE OPERATOR far.>= (LEFTARG = far.code, RIGHTARG = far.code, FUNCTION = far.code_ge, COMMUTATOR = OPERATOR(far.<=), RESTRICT = scalargesel);
CREATE OPERATOR far.> (LEFTARG = far.code, RIGHTARG = far.code, FUNCTION = far.code_gt, COMMUTATOR = OPERATOR(far.<), RESTRICT = scalargtsel);
CREATE OPERATOR CLASS far.code_ops DEFAULT FOR TYPE far.code USING btree AS
    OPERATOR 1 far.<, OPERATOR 2 far.<=, OPERATOR 3 far.=, OPERATOR 4 far.>=, OPERATOR 5 far.>,
    FUNCTION 1 far.code_cmp(far.code, far.code);

-- Rows are read back where there is a trigger of others: found by the index.
CREATE TABLE item (code far.code PRIMARY KEY, v text);
CREATE TABLE part (place int, code far.code, n varchar(10), no int, v text, PRIMARY KEY (code, place, n, no));
SELECT djkafka_publish('item', key_spelling => 'any'), djkafka_publish('part', key_spelling => 'any');
CREATE TRIGGER b BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION upper_v();
CREATE TRIGGER b BEFORE INSERT OR UPDATE ON part FOR EACH ROW EXECUTE FUNCTION upper_v();
SET jit = off;
SET enable_seqscan = off;
SELECT pg_stat_force_next_flush() IS NULL;
BEGIN;
INSERT INTO item VALUES ('a', 'x'), ('b', 'y');
INSERT INTO part VALUES (1, 'a', 'n', 7, 'x'), (2, 'b', 'n', 8, 'y');
SELECT relname, seq_scan, idx_scan FROM pg_stat_xact_user_tables WHERE relname IN ('item', 'part') ORDER BY 1;
COMMIT;
SELECT * FROM news();
UPDATE item SET v = 'z', code = 'c' WHERE v = 'X';
UPDATE part SET v = 'z', code = 'c' WHERE v = 'X';
SELECT * FROM news();
DELETE FROM item;
DELETE FROM part;
SELECT * FROM news();

-- A snapshot, chunk by chunk: each row once, and no range is read twice.
CREATE FUNCTION snapshot_of(relation text) RETURNS text LANGUAGE sql AS $$
    SELECT format('%s messages of %s rows, at most %s at once', sum(n), sum(k), max(n))
      FROM (SELECT count(*) AS n, count(DISTINCT key) AS k
              FROM (TABLE djkafka_outbox_0 UNION ALL TABLE djkafka_outbox_1 UNION ALL TABLE djkafka_outbox_2) m
             WHERE topic = 'shop.public.' || relation AND id > (SELECT s.id FROM shown s) GROUP BY txid) chunks
$$;
CREATE FUNCTION rows_read(index regclass) RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT pg_stat_get_tuples_returned(index) $$;
INSERT INTO item SELECT i::text::far.code FROM generate_series(1, 1000) i;
INSERT INTO part SELECT i % 20, (i % 7)::text::far.code, i % 3, i FROM generate_series(1, 1000) i;
SELECT count(*) > 0 FROM news();
SELECT pg_stat_force_next_flush() IS NULL;
SELECT rows_read('item_pkey') AS before \gset
CALL djkafka_snapshot('item', chunk => 40);
SELECT pg_stat_force_next_flush() IS NULL;
SELECT snapshot_of('item'), rows_read('item_pkey') - :before BETWEEN 1000 AND 4000;
CALL djkafka_snapshot('part', chunk => 40);
SELECT snapshot_of('part');
SELECT count(*) > 0 FROM news();
-- the columns of a key in another order of schemas
ALTER TABLE part DROP CONSTRAINT part_pkey, ADD PRIMARY KEY (place, n, code, no);
CALL djkafka_snapshot('part', chunk => 40);
SELECT snapshot_of('part');
SELECT count(*) > 0 FROM news();

-- With an implicit cast to text there is an operator by that name, of another order.
DROP CAST (far.code AS text);
CREATE CAST (far.code AS text) WITHOUT FUNCTION AS IMPLICIT;
CALL djkafka_snapshot('item', chunk => 40);
CALL djkafka_snapshot('part', chunk => 40);
SELECT snapshot_of('item'), snapshot_of('part');

-- An outbox whose rows are deleted
DROP CAST (far.code AS text);
CREATE CAST (far.code AS text) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE TABLE box (id far.code PRIMARY KEY, aggregatetype text, aggregateid text, type text, payload text);
SELECT djkafka_publish_outbox('box', delete_rows => true) > 0;
INSERT INTO box VALUES ('1', 't', 'k', 'made', 'v');
SELECT count(*) FROM box;
-- whose id cannot be compared any more: refused each time
ALTER TABLE box DROP CONSTRAINT box_pkey, ALTER id TYPE json USING to_json(id::text);
SELECT refused($$INSERT INTO box VALUES ('2', 't', 'k', 'made', 'v')$$);
SELECT refused($$INSERT INTO box VALUES ('3', 't', 'k', 'made', 'v')$$);
SELECT count(*) FROM box;

-- A domain over an enum, for which SQL has no operators.
CREATE TYPE step AS ENUM ('asked', 'paid', 'sent');
CREATE DOMAIN stage AS step;
CREATE TABLE walk (stage stage, no int, v text, PRIMARY KEY (stage, no));
SELECT djkafka_publish('walk') > 0;
CREATE TRIGGER b BEFORE INSERT OR UPDATE ON walk FOR EACH ROW EXECUTE FUNCTION upper_v();
SELECT count(*) < 0 FROM news();
INSERT INTO walk VALUES ('asked', 1, 'x'), ('paid', 1, 'y');
UPDATE walk SET v = 'z', stage = 'sent' WHERE v = 'X';
DELETE FROM walk WHERE v = 'Y';
SELECT * FROM news();
INSERT INTO walk SELECT 'paid', n, 'v' FROM generate_series(1, 99) n;
CALL djkafka_snapshot('walk', chunk => 40);
SELECT count(*), count(DISTINCT key) FROM news();

DROP TABLE item, part, box, walk, shown;
DROP DOMAIN stage;
DROP TYPE step;
DROP FUNCTION news(), upper_v(), snapshot_of(text), rows_read(regclass);
SET client_min_messages = warning;
DROP SCHEMA far CASCADE;
SELECT djkafka_uninstall();
