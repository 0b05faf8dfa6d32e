-- Test-only functions over the decoder of Avro; needs a build with DJK_TEST=1.
CREATE FUNCTION test_avro_schema(schema text, VARIADIC refs text[] = '{}') RETURNS text
    AS '$libdir/djkafka', 'djkafka_test_avro_schema' LANGUAGE C STRICT;
CREATE FUNCTION test_avro(schema text, bytes bytea, bare bool = false, replace bool = false) RETURNS text
    AS '$libdir/djkafka', 'djkafka_test_avro' LANGUAGE C STRICT;
CREATE FUNCTION test_avro_json(schema text, messages bytea[]) RETURNS text[]
    AS '$libdir/djkafka', 'djkafka_test_avro_json' LANGUAGE C STRICT;
CREATE FUNCTION test_avro_text(schema text, message bytea) RETURNS text LANGUAGE sql STRICT
    AS $$ SELECT (test_avro_json(schema, ARRAY[message]))[1] $$;
CREATE FUNCTION test_avro_convert(schema text, bytes bytea, type regtype, typmod int = -1, strict bool = false) RETURNS text
    AS '$libdir/djkafka', 'djkafka_test_avro_convert' LANGUAGE C STRICT;
CREATE FUNCTION test_avro_fuzz(schema text, bytes bytea, seed bigint, how_many int) RETURNS text
    AS '$libdir/djkafka', 'djkafka_test_avro_fuzz' LANGUAGE C STRICT;
CREATE FUNCTION test_avro_schema_fuzz(schema text, bytes bytea, seed bigint, how_many int) RETURNS text
    AS '$libdir/djkafka', 'djkafka_test_avro_schema_fuzz' LANGUAGE C STRICT;
CREATE FUNCTION test_native_random(row_of regclass, seed bigint, how_many int) RETURNS text
    AS '$libdir/djkafka', 'djkafka_test_native_random' LANGUAGE C STRICT;
