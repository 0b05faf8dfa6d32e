-- Test-only functions; needs a build with DJK_TEST=1.
CREATE FUNCTION test_decode(format text, bytes bytea) RETURNS text
    AS '$libdir/djkafka', 'djkafka_test_decode' LANGUAGE C STRICT;
CREATE FUNCTION test_decode_key(key_format text, bytes bytea) RETURNS text
    AS '$libdir/djkafka', 'djkafka_test_decode_key' LANGUAGE C STRICT;
CREATE FUNCTION test_convert(format text, bytes bytea, type regtype, typmod int = -1, strict bool = false, time_unit text = 'none') RETURNS text
    AS '$libdir/djkafka', 'djkafka_test_convert' LANGUAGE C STRICT;
CREATE FUNCTION test_convert_random(row_of regclass, seed bigint, how_many int) RETURNS text
    AS '$libdir/djkafka', 'djkafka_test_convert_random' LANGUAGE C STRICT;
CREATE FUNCTION test_fuzz(row_of regclass, seed bigint, how_many int, compare bool) RETURNS text
    AS '$libdir/djkafka', 'djkafka_test_fuzz' LANGUAGE C STRICT;
CREATE FUNCTION test_codec_time(row_of regclass, bytes bytea, n int, avro text = '') RETURNS text
    AS '$libdir/djkafka', 'djkafka_test_codec_time' LANGUAGE C STRICT;
CREATE FUNCTION test_escaped(bytes bytea) RETURNS text
    AS '$libdir/djkafka', 'djkafka_test_escaped' LANGUAGE C STRICT;
CREATE FUNCTION test_kafka_text(bytes bytea) RETURNS text
    AS '$libdir/djkafka', 'djkafka_test_kafka_text' LANGUAGE C STRICT;
