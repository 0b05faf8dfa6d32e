-- Settings: what is refused, and the bounds.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS djkafka;
RESET client_min_messages;

SELECT name, vartype, unit, context, boot_val, min_val, max_val
  FROM pg_settings WHERE name ~ '^djkafka\.' ORDER BY name COLLATE "C";

-- each has a description that is a sentence
SELECT name, short_desc FROM pg_settings WHERE name ~ '^djkafka\.' AND short_desc !~ '^[A-Z].*\.$';

-- a name that is not a setting is refused, whoever sets it
SET djkafka.bootstrap_server = 'kafka:9092';
ALTER DATABASE contrib_regression SET djkafka.group_id = 'x';

-- what belongs to the server is not a session's to set
SET djkafka.databases = 'x';
SET djkafka.batch_messages = 10;
SET djkafka.queue_size = '64MB';
SET djkafka.max_workers = 10;
SET djkafka.embedded_broker = on;

-- bad values are refused when they are set, good ones kept as they are written
ALTER SYSTEM SET djkafka.databases = 'a,,b';
ALTER SYSTEM SET djkafka.databases = 'a, "B c"';
ALTER SYSTEM RESET djkafka.databases;
\set VERBOSITY sqlstate
ALTER SYSTEM SET djkafka.batch_messages = 0;
ALTER SYSTEM SET djkafka.batch_messages = 1000001;
ALTER SYSTEM SET djkafka.batch_messages = 'many';
ALTER SYSTEM SET djkafka.batch_size = '2GB';
ALTER SYSTEM SET djkafka.queue_size = '1023kB';
ALTER SYSTEM SET djkafka.max_retry_interval = '2h';
ALTER SYSTEM SET djkafka.event_retention = '59s';
ALTER SYSTEM SET djkafka.dead_letter_retention = '-1';
ALTER SYSTEM SET djkafka.max_dead_letters = '-1';
ALTER SYSTEM SET djkafka.storm_share = 1.1;
ALTER SYSTEM SET djkafka.storm_window = 0;
ALTER SYSTEM SET djkafka.embedded_broker = 'perhaps';
ALTER SYSTEM SET djkafka.max_workers = 0;
ALTER SYSTEM SET djkafka.max_partitions = 15;
\set VERBOSITY default

-- properties go through the allow-list
SET djkafka.properties = '{"fetch.wait.max.ms": "100"}';
SHOW djkafka.properties;
SET djkafka.properties = 'fetch.wait.max.ms=100';
SET djkafka.properties = '[]';
SET djkafka.properties = '{"group.id": "x"}';
SET djkafka.properties = '{"enable.auto.commit": "true"}';
SET djkafka.properties = '{"enable.auto.commit": "false"}';
SET djkafka.properties = '{"plugin.library.paths": "/tmp/evil.so"}';
SET djkafka.properties = '{"no.such.property": "1"}';
SET djkafka.properties = '{"fetch.wait.max.ms": ["100"]}';
SET djkafka.properties = '{"fetch.wait.max.ms": "100", "fetch.wait.max.ms": "200"}';
-- which may hold secrets, so what is refused is not shown
SET djkafka.properties = '{"sasl.password": "secret", "group.id": "x"}';
SET djkafka.properties = '{"sasl.password": secret}';
RESET djkafka.properties;

-- words that the library knows
SET djkafka.security_protocol = 'sasl-ssl';
SET djkafka.security_protocol = 'SASL_SSL';
SET djkafka.sasl_mechanism = 'plain';
SET djkafka.sasl_mechanism = 'SCRAM-SHA-512';
RESET djkafka.security_protocol;
RESET djkafka.sasl_mechanism;

-- an ordinary role sets no connection, and reads no secret
SET djkafka.sasl_password = 'secret';
SET djkafka.ssl_key_password = 'secret';
SHOW djkafka.sasl_password;
CREATE ROLE settings_user;
SET ROLE settings_user;
SET djkafka.bootstrap_servers = 'evil:9092';
SET djkafka.security_protocol = 'plaintext';
SET djkafka.ssl_ca_location = '/tmp/evil';
SET djkafka.properties = '{}';
\set VERBOSITY sqlstate
SHOW djkafka.sasl_password;
SHOW djkafka.sasl_username;
SHOW djkafka.ssl_key_password;
SHOW djkafka.properties;
SELECT current_setting('djkafka.sasl_password');
\set VERBOSITY default
SELECT name FROM pg_settings WHERE name ~ '^djkafka\..*(password|username|properties)$';
RESET ROLE;
-- nor does who may read all settings
SET djkafka.properties = '{"sasl.oauthbearer.client.secret": "secret"}';
GRANT pg_monitor TO settings_user;
SET ROLE settings_user;
SHOW djkafka.sasl_password;
SELECT current_setting('djkafka.ssl_key_password'), current_setting('djkafka.properties');
SELECT name FROM pg_settings WHERE concat(setting, reset_val, boot_val) ~ 'secret';
RESET ROLE;
RESET djkafka.properties;
DROP ROLE settings_user;
SELECT name FROM pg_settings WHERE setting = 'secret';
RESET ALL;
