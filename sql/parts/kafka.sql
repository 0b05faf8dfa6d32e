-- Parts of the install script that belong to kafka/, sql/topics and sql/peek.

--
-- Connections
--

CREATE FUNCTION @extschema@.djkafka_fdw_validator(options text[], catalog oid) RETURNS void
    LANGUAGE c STRICT
    AS 'MODULE_PATHNAME', 'djkafka_fdw_validator';
COMMENT ON FUNCTION @extschema@.djkafka_fdw_validator(text[], oid)
    IS 'checks the options of servers and user mappings of the foreign-data wrapper djkafka';

CREATE FOREIGN DATA WRAPPER djkafka NO HANDLER VALIDATOR @extschema@.djkafka_fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER djkafka
    IS 'Kafka clusters: CREATE SERVER says where one is, CREATE USER MAPPING with which secrets';

CREATE FUNCTION @extschema@.djkafka_use_settings() RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT true';
COMMENT ON FUNCTION @extschema@.djkafka_use_settings()
    IS 'whoever may execute it may use the Kafka connection of the djkafka.* settings';

CREATE FUNCTION @extschema@.djkafka_unclassified_properties() RETURNS SETOF text
    LANGUAGE c VOLATILE
    AS 'MODULE_PATHNAME', 'djkafka_unclassified_properties';
COMMENT ON FUNCTION @extschema@.djkafka_unclassified_properties()
    IS 'properties of the linked librdkafka that djkafka does not know, and so refuses';

CREATE FUNCTION @extschema@.djkafka_library_version() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'djkafka_library_version';
COMMENT ON FUNCTION @extschema@.djkafka_library_version()
    IS 'version of the linked librdkafka';

--
-- Looking at Kafka
--

CREATE FUNCTION @extschema@.djkafka_topics(
    server text DEFAULT NULL,
    topic_name text DEFAULT NULL,
    timeout interval DEFAULT '10 s',
    OUT topic text,
    OUT partition integer,
    OUT low bigint,
    OUT high bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE
    AS 'MODULE_PATHNAME', 'djkafka_topics';
COMMENT ON FUNCTION @extschema@.djkafka_topics(text, text, interval)
    IS 'partitions of Kafka''s topics: the first offset that is kept, and the end of what can be read';

CREATE FUNCTION @extschema@.djkafka_peek(
    topic text,
    max_messages integer DEFAULT 10,
    partition integer DEFAULT NULL,
    start_at text DEFAULT 'earliest',
    server text DEFAULT NULL,
    timeout interval DEFAULT '10 s')
    RETURNS SETOF @extschema@.djkafka_message
    LANGUAGE c VOLATILE
    AS 'MODULE_PATHNAME', 'djkafka_peek';
COMMENT ON FUNCTION @extschema@.djkafka_peek(text, integer, integer, text, text, interval)
    IS 'messages of a topic from earliest, latest, an offset, -N (the last N of each partition) or a time; touches no offset and joins no group';

--
-- Privileges
--

REVOKE ALL ON FUNCTION
    @extschema@.djkafka_use_settings(),
    @extschema@.djkafka_topics(text, text, interval),
    @extschema@.djkafka_peek(text, integer, integer, text, text, interval)
  FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
    @extschema@.djkafka_use_settings(),
    @extschema@.djkafka_topics(text, text, interval),
    @extschema@.djkafka_peek(text, integer, integer, text, text, interval)
  TO @extowner@ WITH GRANT OPTION;
