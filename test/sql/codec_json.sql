-- JSON messages: what is taken, and as what
CREATE SCHEMA codec_json;
SET search_path = codec_json;
\getenv abs_srcdir PG_ABS_SRCDIR
\set functions :abs_srcdir '/sql/include/codec.sql'
\set ECHO none
\i :functions
\set ECHO all
\pset format unaligned
\pset tuples_only on

SELECT test_decode('json', '{"id":0,"customer":"customer-140891","ok":true,"no":null,"x":1.5e3,"o":{"a":[1,{}]},"a":[ ]}');
SELECT test_decode('json', convert_to(E' \n\t\r{ "a" : 1 , "b" : [ 1 , 2 ] } \n', 'UTF8'));
SELECT test_decode('json', '{}');
SELECT test_decode('json', '{"a":1,"a":2}');
SELECT test_decode('json', '{"":"empty name"}');

-- a bare value
SELECT bytes, test_decode('json', convert_to(bytes, 'UTF8'))
FROM unnest(ARRAY['1', '-0', '0.5', '1e400000', '"x"', '""', 'true', 'false', 'null', '[]', '[1,"a"]', ' 7 ']) AS bytes;

-- escapes
SELECT test_decode('json', convert_to('{"s":"a\"b\\c\/d\b\f\n\r\tz"}', 'UTF8'));
SELECT test_decode('json', convert_to('{"\u0061\u00e9":"\u20AC \ud83d\ude00 \uD83D\uDE00"}', 'UTF8'));
-- no text holds these, but the message is JSON
SELECT test_decode('json', convert_to('{"s":"a\u0000b","t":"\ud800","u":"\udc00\ud800","v":"\ud800\u0041","w":1}', 'UTF8'));
SELECT test_decode('json', convert_to('{"a\u0000":1}', 'UTF8'));
SELECT test_decode('json', convert_to('{"o":{"a\u0000":"\ud800"}}', 'UTF8'));

-- faults
SELECT bytes, test_decode('json', convert_to(bytes, 'UTF8'))
FROM unnest(ARRAY['', ' ', '{', '}', '[', ']', '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1,}', '{,}', '{"a" 1}',
	'{"a":1 "b":2}', '{a:1}', '{''a'':1}', '{1:2}', '[1,]', '[,1]', '[1 2]', '{"a":1]', '[1}', '{"a":[1,{"b":2]}}',
	'{} {}', '1 2', 'nul', 'nulll', 'True', 'NaN', 'Infinity', 'undefined', '01', '-01', '1.', '.5', '1e', '1e+', '-', '+1',
	'0x1F', '1_000', '1.2.3', '"', '"abc', '"a\', '"\x"', '"\u12"', '"\u12g4"', '"\u123', '/* c */ 1', '{"a":1}x']) AS bytes;
SELECT test_decode('json', '{"a":"line' || '\x0a'::bytea || 'break"}');
SELECT test_decode('json', '{"a":"tab' || '\x09'::bytea || '"}');
SELECT test_decode('json', '{"a":"nul' || '\x00'::bytea || '"}');
SELECT test_decode('json', '{"a":1}' || '\x00'::bytea);
SELECT test_decode('json', '\xefbbbf'::bytea || '{"a":1}');
SELECT test_decode('json', '\xc2a0'::bytea || '{"a":1}');

-- UTF-8: overlong forms, surrogates, beyond Unicode, cut off
SELECT bytes, test_decode('json', '{"a":"' || bytes || '"}'), test_decode('json', '[{"' || bytes || '":1}]')
FROM unnest(ARRAY['\xc080', '\xc1bf', '\xe08080', '\xeda080', '\xf0808080', '\xf4908080', '\xf5808080', '\xff', '\x80',
	'\xc3', '\xe282', '\xf09f98', '\xc328']::bytea[]) AS bytes;
SELECT test_decode('json', '{"a":"' || '\xf09f9880e282acc3a97f'::bytea || '"}');
SELECT test_decode('json', '{"a":"' || '\xc3'::bytea);

-- every length of string round the steps of the scanner
SELECT count(*) FILTER (WHERE test_decode('json', convert_to('{"k":"' || repeat('x', n) || 'é"}', 'UTF8'))
		= E'object of 1\n  k = string [' || repeat('x', n) || 'é] raw ["' || repeat('x', n) || 'é"]'),
	count(*) FILTER (WHERE test_decode('json', convert_to('{"k":"' || repeat('x', n) || '\n"}', 'UTF8'))
		= E'object of 1\n  k = string [' || repeat('x', n) || E'\n] raw ["' || repeat('x', n) || '\n"]'),
	count(*) FILTER (WHERE test_decode('json', convert_to('{"k":"' || repeat('x', n), 'UTF8'))
		LIKE '22KF0: message is not valid JSON | String without a closing quote at byte%')
FROM generate_series(0, 70) AS n;

-- depth: 2,000 levels are taken, more are refused, and none of it on our stack
SELECT left(test_decode('json', convert_to('{"a":' || repeat('[', n) || repeat(']', n) || '}', 'UTF8')), 100)
FROM unnest(ARRAY[1, 2000, 2001, 100000]) AS n;
SELECT left(test_decode('json', convert_to(repeat('{"a":', 100000), 'UTF8')), 100);
SELECT length(test_convert('json', convert_to(repeat('[', 2000) || repeat(']', 2000), 'UTF8'), 'jsonb'));
SELECT length(test_convert('json', convert_to(repeat('{"a":', 2000) || '1' || repeat('}', 2000), 'UTF8'), 'jsonb'));

-- size: 10 MB in one string, 100,000 fields, and errors stay short
SELECT length(test_decode('json', convert_to('{"a":"' || repeat('0123456789', 1000000) || '"}', 'UTF8')));
SELECT length(test_decode('json', convert_to('{"a":"' || repeat('é\n', 1000000) || '"}', 'UTF8')));
SELECT split_part(test_decode('json', convert_to('{' || string_agg(format('"f%s":%s', n, n), ',') || '}', 'UTF8')), E'\n', 1)
FROM generate_series(1, 100000) AS n;
SELECT test_decode('json', convert_to('{"a":' || repeat('x', 1000000), 'UTF8'));
SELECT split_part(test_decode('json', convert_to('{' || repeat('"":0,', 999999) || '"":0}', 'UTF8')), E'\n', 1);
SELECT test_decode('json', convert_to('{' || repeat('"":0,', 1000000) || '"":0}', 'UTF8'));

SET client_min_messages = warning;
DROP SCHEMA codec_json CASCADE;
