-- text and raw messages, the formats of keys, and databases that are not UTF-8
CREATE SCHEMA codec_text;
SET search_path = codec_text;
\getenv abs_srcdir PG_ABS_SRCDIR
\set functions :abs_srcdir '/sql/include/codec.sql'
\set ECHO none
\i :functions
\set ECHO all
\pset format unaligned
\pset tuples_only on

SELECT test_decode('text', '');
SELECT test_decode('text', 'plain "text", {not} JSON');
SELECT test_decode('text', '\xc3a9e282ac'::bytea);
SELECT test_decode('text', '\x61c3'::bytea);
SELECT test_decode('text', '\x610062'::bytea);
SELECT test_decode('raw', '\x00ff80'::bytea);
SELECT test_decode('raw', '');
SELECT test_decode('thrift', '');

-- keys
SELECT bytes, test_decode_key('auto', bytes), test_decode_key('json', bytes), test_decode_key('text', bytes), test_decode_key('raw', bytes)
FROM unnest(ARRAY['42', '{"id":42}', '"42"', 'order-42', '', '{"id":', '"x', '[1]', 'null', 'true', ' 42', '"a\\u0000"',
	'\x000000000000002a', '\xff']::bytea[]) AS bytes;
SELECT test_decode_key('thrift', '1');

-- text and bytes in columns
SELECT type, value, test_convert('text', convert_to(value, 'UTF8'), type::regtype), test_convert('raw', convert_to(value, 'UTF8'), type::regtype)
FROM unnest(ARRAY['text', 'varchar', 'jsonb', 'json', 'bytea', 'int']) AS type, unnest(ARRAY['12', '{"a": "é"}', '\x41']) AS value;
SELECT test_convert('text', '{1,2}', 'int[]'), test_convert('raw', '{1,2}', 'int[]');
SELECT test_convert('raw', '\xff00', 'text');
SELECT test_convert('raw', '\xff00', 'jsonb');
SELECT test_convert('raw', '\xff00', 'bytea');

-- the name of a header is never an error, nor is what librdkafka says
-- é, €, あ; cut short; a byte that begins nothing; NUL; LATIN1; a surrogate
SELECT bytes, test_escaped(bytes) FROM unnest(ARRAY['', 'name', '\xc3a9', '\x61e282ac62', '\xe38182', '\x61e282', '\xff61', '\x610062', '\xe961', '\xeda080']::bytea[]) AS bytes;
SELECT bytes, test_kafka_text(bytes) FROM unnest(ARRAY['name', '\xc3a9', '\xe38182', '\x61e282', '\xe961']::bytea[]) AS bytes;

-- LATIN1: text is converted, what it lacks is that message's error
\set home :DBNAME
CREATE DATABASE codec_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0;
\c codec_latin1
SET client_encoding = 'UTF8';
\set ECHO none
\i :functions
\set ECHO all
SELECT test_decode('text', '\xc3a9'::bytea);
SELECT test_decode('text', '\x61e282ac'::bytea);
SELECT test_decode('text', '\x61c3'::bytea);
SELECT test_decode('json', '{"a":"' || '\xc3a9'::bytea || '","\\u00e9":"\\u00e8","b":"\\u20ac"}');
SELECT test_decode('json', '{"a":"' || '\xe282ac'::bytea || '"}');
SELECT test_decode('json', '{"a\\u20acb":1,"\\u0000":2,"\\u00e9":3}');
SELECT test_decode('json', '{"a":"' || '\xc3'::bytea || '"}');
SELECT test_convert('json', '["' || '\xc3a9'::bytea || '\\u00e8"]', 'jsonb');
SELECT test_convert('json', '["\\u20ac"]', 'jsonb');
SELECT test_convert('json', '["\\u20ac"]', 'json');
SELECT test_convert('json', '["\\u20ac"]', 'text[]');
SELECT test_decode_key('auto', '\xe282ac'::bytea);
SELECT bytes, test_escaped(bytes) FROM unnest(ARRAY['', 'name', '\xc3a9', '\x61e282ac62', '\xe38182', '\x61e282', '\xff61', '\x610062', '\xe961', '\xeda080']::bytea[]) AS bytes;
SELECT bytes, test_kafka_text(bytes) FROM unnest(ARRAY['name', '\xc3a9', '\xe38182', '\x61e282', '\xe961']::bytea[]) AS bytes;
\c :home
DROP DATABASE codec_latin1;
CREATE DATABASE codec_ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0;
\c codec_ascii
\set ECHO none
\i :functions
\set ECHO all
SELECT test_decode('json', '{"a":"' || '\xc3a9'::bytea || '","b":"\\u00e9"}');
SELECT test_decode('json', '{"a":"' || '\xc3'::bytea || '"}');
SELECT bytes, test_escaped(bytes) FROM unnest(ARRAY['', 'name', '\xc3a9', '\x61e282ac62', '\xe38182', '\x61e282', '\xff61', '\x610062', '\xe961', '\xeda080']::bytea[]) AS bytes;
SELECT bytes, test_kafka_text(bytes) FROM unnest(ARRAY['name', '\xc3a9', '\xe38182']::bytea[]) AS bytes;
\c :home
DROP DATABASE codec_ascii;
CREATE DATABASE codec_eucjp ENCODING 'EUC_JP' LOCALE 'C' TEMPLATE template0;
\c codec_eucjp
SET client_encoding = 'UTF8';
\set ECHO none
\i :functions
\set ECHO all
SELECT bytes, test_escaped(bytes) FROM unnest(ARRAY['', 'name', '\xc3a9', '\x61e282ac62', '\xe38182', '\x61e282', '\xff61', '\x610062', '\xe961', '\xeda080']::bytea[]) AS bytes;
SELECT bytes, test_kafka_text(bytes) FROM unnest(ARRAY['name', '\xc3a9', '\xe38182', '\x61e282', '\xe961']::bytea[]) AS bytes;
\c :home
DROP DATABASE codec_eucjp;
SET client_min_messages = warning;
DROP SCHEMA codec_text CASCADE;
