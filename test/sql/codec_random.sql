-- Random values against jsonb_populate_record(), hostile messages against the
-- server's json; test/long/codec_fuzz.sh does more of both
CREATE SCHEMA codec_random;
SET search_path = codec_random;
\getenv abs_srcdir PG_ABS_SRCDIR
\set functions :abs_srcdir '/sql/include/codec.sql'
\set row :abs_srcdir '/sql/include/codec_row.sql'
\set ECHO none
\i :functions
\i :row
\set ECHO all
-- less where the server is slow
\set cases 3000
\getenv cases DJK_RANDOM_CASES
SET TimeZone = 'Europe/Paris';
SELECT test_convert_random('codec_row', 1, :cases);
SET DateStyle = 'SQL, DMY';
SET TimeZone = 'America/Caracas';
SELECT test_convert_random('codec_row', 2, :cases);
SELECT test_fuzz('codec_row', 3, 3 * :cases, true);
SET client_min_messages = warning;
DROP SCHEMA codec_random CASCADE;
