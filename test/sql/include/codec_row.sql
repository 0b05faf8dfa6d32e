-- A column of every type whose conversion is compared.
CREATE TYPE codec_mood AS ENUM ('new', 'paid', 'abc');
CREATE DOMAIN codec_short AS text CHECK (length(value) < 5);
CREATE DOMAIN codec_positive AS int CHECK (value > 0);
CREATE TYPE codec_pair AS (a int, b text);
CREATE TABLE codec_row (
    c_text text, c_varchar varchar, c_varchar5 varchar(5), c_char5 char(5), c_name name,
    c_int2 int2, c_int4 int4, c_int8 int8, c_oid oid, c_bool bool, c_bit3 bit(3),
    c_float4 float4, c_float8 float8,
    c_numeric numeric, c_numeric12_2 numeric(12,2), c_numeric3_5 numeric(3,5), c_numeric5_m2 numeric(5,-2), c_numeric30_10 numeric(30,10),
    c_uuid uuid, c_inet inet, c_point point, c_range int4range,
    c_date date, c_time time, c_interval interval,
    c_timestamp timestamp, c_timestamp3 timestamp(3), c_timestamptz timestamptz, c_timestamptz0 timestamptz(0),
    c_jsonb jsonb, c_json json, c_bytea bytea,
    c_mood codec_mood, c_short codec_short, c_positive codec_positive, c_pair codec_pair,
    a_int4 int[], a_text text[], a_varchar5 varchar(5)[], a_numeric numeric(6,1)[], a_jsonb jsonb[], a_bool bool[],
    a_timestamptz timestamptz[], a_pair codec_pair[], a_mood codec_mood[], a_positive codec_positive[]
);
