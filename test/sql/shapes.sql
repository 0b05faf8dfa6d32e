-- Shapes of values: names written in other ways, fields within an inner object.
\getenv abs_srcdir PG_ABS_SRCDIR
\set start :abs_srcdir '/sql/include/start.sql'
\set ECHO none
\i :start
\set ECHO all
\pset format unaligned
\pset tuples_only on

CREATE SCHEMA shapes;
SET search_path = shapes, public;
CREATE TABLE person (id int PRIMARY KEY, first_name text, http_status int, address2 text, line_1 text, "lastName" text, "größe" int, total int GENERATED ALWAYS AS (id * 2) STORED);

-- naming: the very name, unless the route says otherwise; the hint says which naming would do
SELECT djkafka_subscribe('people', 'person');
SELECT give('[{"key": "1", "value": {"firstName": "Ada", "HTTPStatus": 200}}, {"key": "1", "value": {"FIRSTNAME": "Ada"}}]');
SELECT dead_letters();

-- snake_case: words begin where capital letters do, and at signs; no word begins at a digit
UPDATE djkafka_route SET naming = 'snake_case';
SELECT give('[{"value": {"id": 1, "firstName": "a", "HTTPStatus": 1, "address2": "a", "line1": "a", "lastName": "a"}},
              {"value": {"ID": 2, "FirstName": "b", "httpStatus": 2, "address_2": "b", "line_1": "b", "last_name": "b"}},
              {"value": {"Id": 3, "first-name": "c", "HttpStatus": 3, "Address2": "c", "Line1": "c", "LastName": "c"}},
              {"value": {"id": 4, "First Name": "d", "http.status": 4, "Address-2": "d", "LINE_1": "d", "last.name": "d"}},
              {"value": {"id": 5, "first_name": "e", "HTTP_STATUS": 5, "größe": 5}},
              {"key": "6", "value": {"FIRSTNAME": "no", "firstname": "no", "f_irst_name": "no", "Größe": 6}}]');
TABLE person ORDER BY id;
SELECT regexp_replace(dead_letters(), '\n.*', '');
-- insensitive to case and signs
UPDATE djkafka_route SET naming = 'insensitive';
SELECT give('[{"value": {"_id": 7, "FIRSTNAME": "f", "httpstatus": 7, "ADDRESS_2": "f", "line1": "f", "LASTNAME": "f"}},
              {"value": {"id": 8, "f_irst_name": "g", "H-T-T-P Status": 8, "GRÖßE": 8}}]');
SELECT * FROM person WHERE id > 6 ORDER BY id;

-- two fields of one column: the exact one wins wherever it stands, of one name the last
SELECT give('[{"value": {"id": 10, "firstName": "x", "first_name": "exact"}}, {"value": {"id": 11, "first_name": "exact", "firstName": "x"}},
              {"value": {"id": 12, "firstName": "x", "FIRST_NAME": "y"}}, {"value": {"id": 13, "firstName": "x", "FIRST_NAME": "y", "first_name": "exact"}},
              {"value": "{\"id\": 14, \"firstName\": \"x\", \"firstName\": \"last\"}"}, {"value": {"id": 15, "firstName": "x", "first_name": null}},
              {"value": {"ID": 16, "Id": 17, "first_name": "x"}}]');
SELECT id, first_name FROM person WHERE id > 9 ORDER BY id;
SELECT dead_letters();
-- … of a deletion only the key's
SELECT give('[{"value": {"id": 10, "firstName": "x", "FIRST_NAME": "y", "__deleted": true}}, {"value": {"ID": 11, "Id": 11, "__deleted": true}}]');
SELECT id, first_name FROM person WHERE id IN (10, 11) ORDER BY id;
SELECT dead_letters();
-- and of the message's key; what is excluded or generated is known by its other names too
TRUNCATE person;
UPDATE djkafka_route SET unknown_fields = 'error', exclude = '{http_status}';
SELECT give('[{"key": {"Id": 1}, "value": {"firstName": "by key", "HTTPStatus": 5, "Total": 9}}, {"key": {"ID": 1, "Id": 2}, "value": {"firstName": "x"}},
              {"key": {"ID": 1, "id": 2}, "value": {"firstName": "exact key"}}, {"value": {"id": 3, "nickName": "x"}}, {"value": {"id": 4, "_-_": "x"}}]');
SELECT id, first_name, http_status, total FROM person ORDER BY id;
SELECT dead_letters();
-- columns that naming would take for one
ALTER TABLE person ADD firstname text;
SELECT refused($$UPDATE djkafka_route SET naming = 'insensitive'$$);
UPDATE djkafka_route SET naming = 'snake_case';
SELECT refused($$UPDATE djkafka_route SET exclude = '{firstname}', naming = 'insensitive'$$);
SELECT give('[{"value": {"id": 5, "FirstName": "one is excluded"}}]');
SELECT id, first_name, firstname FROM person WHERE id = 5;
SELECT refused($$UPDATE djkafka_route SET naming = 'camelCase'$$);
SELECT refused($$UPDATE djkafka_route SET naming = NULL$$);
SELECT djkafka_drop_consumer('default');

-- root: fields come from within, absent is absent, the whole value is there for expressions
CREATE TABLE account (id int PRIMARY KEY, owner text DEFAULT 'nobody', balance int, op text);
SELECT djkafka_subscribe('accounts', 'account', root => 'after', columns => '{"op": "value->>''op''"}');
SELECT give('[{"value": {"before": null, "after": {"id": 1, "owner": "Ada", "balance": 5}, "op": "c"}},
              {"value": {"before": {"id": 9, "owner": "no"}, "after": {"id": 1, "balance": null}, "op": "u", "id": 7, "owner": "no"}},
              {"key": {"id": 2}, "value": {"after": {"balance": 2}, "op": "u"}},
              {"key": "3", "value": {"op": "r", "after": {}}},
              {"value": "{\"after\": {\"id\": 4}, \"op\": \"c\", \"\\u0061fter\": {\"id\": 5, \"owner\": \"last \\u0041fter\"}}"}]');
TABLE account ORDER BY id;
-- no object there is an error of its own, unless the message is a deletion
SELECT give('[{"key": "1", "value": {"before": {"id": 1}, "after": null, "op": "d"}}, {"key": "1", "value": {"op": "d"}}, {"key": "1", "value": {"after": 5}},
              {"key": "1", "value": {"after": [{"id": 1}]}}, {"key": "1", "value": {"after": "{}"}}, {"key": "1", "value": 5}, {"key": "1", "value": {}},
              {"key": "1", "value": {"after": {"id": 1, "__deleted": "true"}}}, {"key": "2", "value": null}, {"key": "3", "value": "null"}]');
SELECT id, op FROM account ORDER BY id;
SELECT dead_letters();
-- deeper, and by names that have dots
TRUNCATE account;
UPDATE djkafka_route SET root = 'payload.after', columns = NULL;
SELECT give('[{"value": {"schema": {}, "payload": {"after": {"id": 1, "owner": "dots"}}}}, {"key": "1", "value": {"payload": null}}, {"key": "1", "value": {"payload": {"after": null}}},
              {"key": "1", "value": {"payload.after": {"id": 1}}}, {"value": {"payload": {"after": {"schema": {}, "payload": {"id": 1}}}}}]');
UPDATE djkafka_route SET root = '{payload.after, "in, side"}';
SELECT give('[{"value": {"payload.after": {"in, side": {"id": 2, "owner": "array"}}}}, {"value": {"payload.after": {"in, side": {"schema": 0, "payload": 0}}}}]');
TABLE account ORDER BY id;
SELECT dead_letters();
-- with naming, and unknown fields within alone
UPDATE djkafka_route SET root = 'data', naming = 'snake_case', unknown_fields = 'error';
SELECT give('[{"value": {"type": "x", "data": {"ID": 3, "Owner": "named"}}}, {"value": {"data": {"id": 4, "type": "x"}}}]');
SELECT * FROM account WHERE id > 2;
SELECT dead_letters();
-- what it may be
CREATE FUNCTION try(root text, more text = '') RETURNS text LANGUAGE sql AS
    $$ SELECT refused(format('UPDATE djkafka_route SET root = %L%s', root, more)) $$;
SELECT try('a..b');
SELECT try('.a');
SELECT try('a.');
SELECT try('{}');
SELECT try('{a,NULL}');
SELECT try('{{a},{b}}');
SELECT try('{a');
SELECT try('a', ', format = ''text''');
CREATE FUNCTION handle(jsonb) RETURNS void LANGUAGE sql AS 'SELECT';
SELECT try('a', ', target = NULL, handler = ''handle(jsonb)''');

-- envelopes, by the root that their hint names
CREATE TABLE envelope (name text, value jsonb);
INSERT INTO envelope VALUES
    ('connect', '{"schema": {}, "payload": {"id": 1, "owner": "connect"}}'), ('logpipe', '{"type": "t", "version": 1, "message": {"id": 2, "owner": "logpipe"}}'),
    ('maxwell', '{"database": "d", "table": "t", "data": {"id": 3, "owner": "maxwell"}}'),
    ('cloudevent', '{"specversion": "1.0", "type": "t", "data": {"id": 4, "owner": "cloudevent"}}');
UPDATE djkafka_route SET root = NULL, unknown_fields = 'ignore', naming = 'exact', exclude = NULL;
TRUNCATE account;
ALTER TABLE account DROP op;
SELECT give(jsonb_agg(jsonb_build_object('key', '1', 'value', value))) FROM envelope;
CREATE TABLE letter AS SELECT message, detail, hint, value FROM djkafka_dead_letter ORDER BY id;
SELECT detail, hint FROM letter;
DELETE FROM djkafka_dead_letter;
CREATE FUNCTION give_by_root(value jsonb, root text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE djkafka_route SET root = give_by_root.root;
    RETURN give(jsonb_build_array(jsonb_build_object('value', value)));
END $$;
SELECT give_by_root(convert_from(value, 'UTF8')::jsonb, substring(hint FROM '"(.*?)"')) FROM letter;
SELECT id, owner FROM account ORDER BY id;
SELECT djkafka_drop_consumer('default');

-- deleted_when: an expression says what is a deletion; the key is the value's or the message's
CREATE TABLE stock (id int PRIMARY KEY, qty int NOT NULL CHECK (qty > 0), note text);
SELECT djkafka_subscribe('stock', 'stock', root => 'after', deleted_when => $$value->>'op' = 'd'$$);
SELECT give('[{"value": {"after": {"id": 1, "qty": 1}, "op": "c"}}, {"value": {"after": {"id": 2, "qty": 2}, "op": "c"}}, {"value": {"after": {"id": 3, "qty": 3}}}, {"value": {"after": {"id": 4, "qty": 4}, "op": null}}]');
SELECT give('[{"key": {"id": 1}, "value": {"before": {"id": 9}, "after": null, "op": "d"}}, {"key": {"id": 1}, "value": null}, {"key": "2", "value": {"op": "d"}},
              {"value": {"after": {"id": 3, "qty": "no number"}, "op": "d"}}, {"value": {"before": {"id": 4}, "after": null, "op": "d"}}, {"key": "4", "value": {"after": null, "op": "u"}}]');
TABLE stock;
SELECT dead_letters();
-- in the order of the messages, merged or not, and beside deleted_field; without a root a value may be the deletion alone
UPDATE djkafka_route SET root = NULL, deleted_when = $$value->>'action' = 'deleted'$$;
SELECT give('[{"key": "5", "value": {"qty": 5}}, {"key": "5", "value": {"action": "deleted"}}, {"key": "6", "value": {"qty": 6, "action": "created"}}, {"key": "6", "value": {"action": "deleted"}}, {"key": "6", "value": {"qty": 7}},
              {"key": "7", "value": {"qty": 7}}, {"key": "7", "value": {"__deleted": true}}, {"value": {"id": 4, "qty": -1, "action": "deleted"}}, {"value": {"action": "deleted"}}, {"key": "8", "value": {"action": "gone"}}, {"key": "9", "value": "deleted"}]');
TABLE stock;
SELECT regexp_replace(dead_letters(), '\n.*', '');
-- a value that is no object
UPDATE djkafka_route SET deleted_when = $$value = '"deleted"'$$;
SELECT give('[{"key": "6", "value": "\"deleted\""}, {"key": "6", "value": "\"other\""}]');
TABLE stock;
SELECT regexp_replace(dead_letters(), '\n.*', '');
-- expressions of a deletion are evaluated for the key alone; deleted_when for what the filter takes, and what it raises is the message's
UPDATE djkafka_route SET filter = $$value->>'kind' = 'x'$$, deleted_when = $$(value->>'gone')::boolean$$, columns = '{"id": "(value->>''n'')::int", "qty": "10 / (value->>''d'')::int"}';
SELECT give('[{"value": {"kind": "x", "n": 1, "d": 5}}, {"value": {"kind": "x", "n": 2, "d": 5}}, {"value": {"kind": "y", "n": 1, "gone": "maybe"}}, {"value": {"kind": "x", "n": 1, "d": 0, "gone": "yes"}},
              {"value": {"kind": "x", "n": 3, "d": 1, "gone": "maybe"}}, {"key": "2", "value": null}, {"value": {"kind": "x", "n": 4, "d": 2, "gone": null}}]');
TABLE stock;
SELECT regexp_replace(dead_letters(), '\n.*', '');
SELECT applied, filtered, dead FROM djkafka_run('default', messages => '[{"value": {"kind": "x", "n": 4, "gone": true}}, {"value": {"kind": "z", "n": 4, "gone": true}}]');
-- where nothing is deleted it is counted as filtered
UPDATE djkafka_route SET operation = 'upsert';
SELECT applied, filtered, dead FROM djkafka_run('default', messages => '[{"value": {"kind": "x", "n": 5, "d": 1}}, {"value": {"kind": "x", "n": 5, "gone": true}}]');
TABLE stock;
-- what stands in the table may decide
UPDATE djkafka_route SET operation = 'mirror', filter = NULL, columns = NULL, deleted_when = $$(SELECT s.qty FROM stock s WHERE s.id = (value->>'id')::int) = (value->>'qty')::int$$;
SELECT give('[{"value": {"id": 5, "qty": 11}}, {"value": {"id": 5, "qty": 11}}, {"value": {"id": 5, "qty": 11}}, {"value": {"id": 6, "qty": 6}}, {"value": {"id": 6, "qty": 6}}]');
TABLE stock;
-- by key in the other formats too
CREATE TABLE line (key text PRIMARY KEY, value text);
SELECT djkafka_subscribe('lines', 'line', format => 'text', deleted_when => $$value = 'gone'$$, consumer => 'lines');
SELECT give('[{"key": "a", "value": "1"}, {"key": "b", "value": "2"}, {"key": "a", "value": "gone"}, {"key": "b", "value": null}]', 'lines');
TABLE line;
CREATE FUNCTION try_deleted(expression text, more text = '') RETURNS text LANGUAGE sql AS
    $$ SELECT refused(format('UPDATE djkafka_route SET deleted_when = %L%s WHERE topic = ''stock''', expression, more)) $$;
SELECT try_deleted($$value->>'op'$$);
SELECT try_deleted('no_such_name');
SELECT try_deleted('generate_series(1, 2) = 1');
SELECT try_deleted('true) OR (true');
SELECT try_deleted('true), (true');
SELECT try_deleted('true) IS TRUE END AS djk_gone FROM djkafka_input, (VALUES (1), (2)) v WHERE ((true');
SELECT try_deleted('true', ', target = NULL, handler = ''handle(jsonb)''');
SELECT djkafka_drop_consumer('default'), djkafka_drop_consumer('lines');

-- unchanged_value: what the source did not send is absent, in each form that Debezium has for it
CREATE DOMAIN photo AS bytea;
CREATE TABLE document (id int PRIMARY KEY, t text DEFAULT 'default', v varchar(20), j jsonb, raw json, b bytea, p photo, n numeric, ts timestamptz,
    ta text[], ia int[], la bigint[], ba bytea[], ua uuid[], ja jsonb[], h jsonb, x text DEFAULT 'x');
SELECT djkafka_subscribe('documents', 'document');
CREATE FUNCTION doc(id int, value text) RETURNS jsonb LANGUAGE sql AS
    $$ SELECT jsonb_build_array(jsonb_build_object('value', format('{"id": %s, %s}', id, (SELECT string_agg(format('"%s": %s', c, value), ', ') FROM regexp_split_to_table('t v j raw b p n ts ta ia la ba ua ja h', ' ') c)))) $$;
SELECT give('[{"value": {"id": 1, "t": "t", "v": "v", "j": {"a": 1}, "raw": [1], "b": "\\x01", "p": "\\x02", "n": 5, "ts": "2026-01-01T00:00:00Z",
    "ta": ["a"], "ia": [1], "la": [2], "ba": ["\\x03"], "ua": ["00000000-0000-0000-0000-000000000000"], "ja": [{}], "h": {"k": "v"}}}]');
CREATE TABLE document_before AS TABLE document;
SELECT give(doc(1, '"__debezium_unavailable_value"'));
SELECT give(doc(1, '"\u005f_debezium_unavailable_value"'));
SELECT give(doc(1, '["__debezium_unavailable_value"]'));
SELECT give(doc(1, '[ "__debezium_unavailable_value" ]'));
SELECT give(doc(1, '{"__debezium_unavailable_value": "__debezium_unavailable_value"}'));
SELECT give(doc(1, '"{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}"'));
SELECT give(doc(1, '[95, 95, 100, 101, 98, 101, 122, 105, 117, 109, 95, 117, 110, 97, 118, 97, 105, 108, 97, 98, 108, 101, 95, 118, 97, 108, 117, 101]'));
CREATE FUNCTION bytes(form text) RETURNS text LANGUAGE sql AS
    $$ SELECT give(format('[{"value": {"id": 1, "b": "%1$s", "p": "%1$s", "ba": ["%1$s"]}}]', form)::jsonb) $$;
SELECT bytes(encode('__debezium_unavailable_value', 'base64')), bytes(rtrim(encode('__debezium_unavailable_value', 'base64'), '=')),
       bytes(encode('__debezium_unavailable_value', 'hex')), bytes('\\x' || encode('__debezium_unavailable_value', 'hex')), bytes(upper(encode('__debezium_unavailable_value', 'hex')));
SELECT give(format('[{"value": {"id": 1, "ua": ["%s"]}}]', overlay(overlay(md5('__debezium_unavailable_value') PLACING '3' FROM 13) PLACING to_hex((('x' || substr(md5('__debezium_unavailable_value'), 17, 1))::bit(4)::int & 3) | 8) FROM 17)::uuid)::jsonb);
SELECT (SELECT d::text FROM document d) = (SELECT d::text FROM document_before d) AS unchanged;
SELECT dead_letters();
-- what only looks like it is a value
SELECT give('[{"value": {"id": 2, "t": "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==", "v": "__debezium", "j": ["__debezium_unavailable_value", 1], "raw": {"__debezium_unavailable_value": 1}, "b": "X19kZWJleml1bQ==",
    "ta": ["__debezium_unavailable_value", "b"], "ia": [95, 95, 100], "la": [95], "h": {"__debezium_unavailable_value": "x", "y": "z"}, "x": "__debezium_unavailable_value "}}, {"value": {"id": 3, "ia": [], "ja": [[], "__debezium_unavailable_value"]}}]');
SELECT id, t, v, j, raw, encode(b, 'escape') AS b, ta, ia, la, ja, h, '<' || x || '>' AS x FROM document WHERE id > 1 ORDER BY id;
SELECT regexp_replace(dead_letters(), '\n.*', '');
-- a row that is not there gets defaults; in the order of the messages, merged or not; the key is the message's
SELECT give('[{"value": {"id": 4, "t": "__debezium_unavailable_value", "x": null}}, {"value": {"id": 5, "t": "a"}}, {"value": {"id": 5, "t": "__debezium_unavailable_value", "x": "b"}}, {"value": {"id": 5, "__deleted": true}},
              {"value": {"id": 5, "t": "__debezium_unavailable_value", "x": "c"}}, {"value": {"id": 6, "t": "a"}}, {"value": {"id": 6, "t": "__debezium_unavailable_value"}}, {"key": "7", "value": {"id": "__debezium_unavailable_value", "t": "by key"}},
              {"value": {"id": "__debezium_unavailable_value", "t": "no key"}}, {"value": "{\"id\": 8, \"t\": \"first\", \"t\": \"__debezium_unavailable_value\"}"}]');
SELECT id, t, x FROM document WHERE id > 3 ORDER BY id;
SELECT regexp_replace(dead_letters(), '\n.*', '');
-- another one, or none
UPDATE djkafka_route SET unchanged_value = '(nicht geändert)';
SELECT give('[{"value": {"id": 4, "t": "(nicht geändert)", "x": "__debezium_unavailable_value", "b": "KG5pY2h0IGdlw6RuZGVydCk=", "ia": [40,110,105,99,104,116,32,103,101,-61,-92,110,100,101,114,116,41]}}]');
UPDATE djkafka_route SET unchanged_value = NULL;
SELECT give('[{"value": {"id": 5, "t": "__debezium_unavailable_value", "j": "(nicht geändert)"}}]');
SELECT id, t, x, b, ia, j FROM document WHERE id IN (4, 5) ORDER BY id;
SELECT djkafka_drop_consumer('default');

RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA shapes CASCADE;
