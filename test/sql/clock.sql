-- Kafka's milliseconds and PostgreSQL's timestamps: a producer may write any number
CREATE FUNCTION test_from_kafka(ms bigint) RETURNS timestamptz
    AS '$libdir/djkafka', 'djkafka_test_from_kafka' LANGUAGE C STRICT;
CREATE FUNCTION test_to_kafka(at timestamptz) RETURNS bigint
    AS '$libdir/djkafka', 'djkafka_test_to_kafka' LANGUAGE C STRICT;
SET TimeZone = 'UTC';
SET DateStyle = 'ISO, YMD';
-- beyond what a timestamp can hold it is the last one, or the first
SELECT ms, test_from_kafka(ms) FROM unnest(ARRAY[0, 1, -1, 1793000000123, 946684799999,
	9223372036854775807, 9223372036854775807 - 946684800000, 9300000000000000, 92233720368547758,
	9224318016000000, 9224318015999999, 9224318015999998,
	-9223372036854775807 - 1, -9223372036854775807, -9300000000000000, -210866803200001, -210866803200000, -210866803199999]) AS ms;
-- and back, rounded down
SELECT at, test_to_kafka(at::timestamptz) FROM unnest(ARRAY['1970-01-01', '1999-12-31 23:59:59.999999', '1999-12-31 23:59:59.9995',
	'2000-01-01 00:00:00.0009', '1969-12-31 23:59:59.9995', 'infinity', '-infinity']) AS at;
SELECT count(*) FILTER (WHERE test_from_kafka(test_to_kafka(at)) <> date_trunc('ms', at)) AS differ
FROM generate_series('1970-01-01'::timestamptz, '2050-01-01', '9 days 7 h 0.0123 s') AS at;
DROP FUNCTION test_from_kafka, test_to_kafka;
