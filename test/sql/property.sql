-- The allow-list of librdkafka's properties, by way of servers and mappings.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS djkafka;
RESET client_min_messages;

-- A library that has grown must be looked at before it is used.
SELECT * FROM djkafka_unclassified_properties();

-- where to connect: dots, underscores and any case
CREATE SERVER property_1 FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'kafka1:9092');
CREATE SERVER property_2 FOREIGN DATA WRAPPER djkafka
    OPTIONS ("bootstrap.servers" 'kafka1:9092', "SECURITY.PROTOCOL" 'ssl', "socket.keepalive.enable" 'true');
CREATE SERVER property_3 FOREIGN DATA WRAPPER djkafka OPTIONS ("metadata.broker.list" 'kafka1:9092');

-- one property by two names
CREATE SERVER property_4 FOREIGN DATA WRAPPER djkafka
    OPTIONS (bootstrap_servers 'a:1', "metadata.broker.list" 'b:1');
ALTER SERVER property_1 OPTIONS (ADD "bootstrap.servers" 'b:1');

-- unknown, with and without something near
ALTER SERVER property_1 OPTIONS (ADD bootstrap_server 'b:1');
ALTER SERVER property_1 OPTIONS (ADD sesion_timeout_ms '10000');
ALTER SERVER property_1 OPTIONS (ADD colour 'green');

-- runs code, runs a shell, sends or writes files, hooks
ALTER SERVER property_1 OPTIONS (ADD "plugin.library.paths" '/tmp/evil.so');
ALTER SERVER property_1 OPTIONS (ADD "Plugin.Library.Paths" '/tmp/evil.so');
ALTER SERVER property_1 OPTIONS (ADD plugin_library_paths '/tmp/evil.so');
ALTER SERVER property_1 OPTIONS (ADD "ssl.engine.location" '/tmp/evil.so');
ALTER SERVER property_1 OPTIONS (ADD "ssl.providers" 'evil');
ALTER SERVER property_1 OPTIONS (ADD "sasl.kerberos.kinit.cmd" 'touch /tmp/evil');
ALTER SERVER property_1 OPTIONS (ADD "sasl.oauthbearer.assertion.file" '/etc/passwd');
ALTER SERVER property_1 OPTIONS (ADD "topic.offset.store.path" '/tmp');
ALTER SERVER property_1 OPTIONS (ADD "internal.termination.signal" '15');
ALTER SERVER property_1 OPTIONS (ADD "test.mock.num.brokers" '3');
ALTER SERVER property_1 OPTIONS (ADD "enabled_events" '1');

-- what djkafka owns: its own value is accepted, another is not
ALTER SERVER property_1 OPTIONS (ADD "enable.auto.commit" 'false');
ALTER SERVER property_1 OPTIONS (SET "enable.auto.commit" '0');
ALTER SERVER property_1 OPTIONS (SET "enable.auto.commit" 'true');
ALTER SERVER property_1 OPTIONS (ADD "group.id" 'mine');
ALTER SERVER property_1 OPTIONS (ADD "auto.offset.reset" 'earliest');
ALTER SERVER property_1 OPTIONS (ADD "acks" '1');
ALTER SERVER property_1 OPTIONS (ADD "acks" '-1');
ALTER SERVER property_1 OPTIONS (ADD "queued.max.messages.kbytes" '2000000');

-- secrets belong to users
ALTER SERVER property_1 OPTIONS (ADD "sasl.password" 'hunter2');
CREATE USER MAPPING FOR CURRENT_USER SERVER property_1
    OPTIONS (sasl_username 'me', sasl_password 'hunter2');
ALTER USER MAPPING FOR CURRENT_USER SERVER property_1 OPTIONS (ADD bootstrap_servers 'evil:9092');
ALTER USER MAPPING FOR CURRENT_USER SERVER property_1
    OPTIONS (ADD "sasl.oauthbearer.token.endpoint.url" 'http://169.254.169.254/');

-- bounds, and what the library itself refuses
ALTER SERVER property_1 OPTIONS (ADD "receive.message.max.bytes" '2147483647');
ALTER SERVER property_1 OPTIONS (ADD "receive.message.max.bytes" 'many');
ALTER SERVER property_1 OPTIONS (ADD "receive.message.max.bytes" '200000000');
ALTER SERVER property_1 OPTIONS (ADD "fetch.wait.max.ms" '500');
ALTER SERVER property_1 OPTIONS (ADD "security.protocol" 'pigeon');
ALTER SERVER property_1 OPTIONS (ADD "socket.timeout.ms" 'x');
ALTER SERVER property_1 OPTIONS (ADD "sasl.kerberos.principal" 'me; touch /tmp/evil');

-- not everybody
CREATE ROLE property_user;
GRANT USAGE ON FOREIGN DATA WRAPPER djkafka TO property_user;
SET ROLE property_user;
CREATE SERVER property_5 FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'kafka1:9092');
ALTER SERVER property_5 OPTIONS (ADD "ssl.ca.location" '/etc/passwd');
ALTER SERVER property_5 OPTIONS (ADD "enable.ssl.certificate.verification" 'false');
ALTER SERVER property_5 OPTIONS (ADD "debug" 'all');
ALTER SERVER property_5 OPTIONS (ADD "client.rack" 'eu-1');
RESET ROLE;
GRANT pg_read_server_files TO property_user;
SET ROLE property_user;
ALTER SERVER property_5 OPTIONS (ADD "ssl.ca.location" '/etc/ssl/certs');
RESET ROLE;

-- the wrapper itself, and tables
CREATE FOREIGN TABLE property_table (a int) SERVER property_1;
CREATE FOREIGN TABLE property_table_2 (a int) SERVER property_1 OPTIONS (topic 'a');
ALTER FOREIGN DATA WRAPPER djkafka OPTIONS (ADD debug 'all');

-- the settings
SET djkafka.properties = '{"socket.timeout.ms": 5000, "socket.keepalive.enable": true}';
SET djkafka.properties = '{"plugin.library.paths": "x"}';
SET djkafka.properties = '{"socket.timeout.mss": 5000}';
SET djkafka.properties = '{"a": {}}';
SET djkafka.properties = 'a=b';
SET djkafka.properties = '';

DROP SERVER property_1 CASCADE;
DROP SERVER property_2, property_3, property_5;
REVOKE USAGE ON FOREIGN DATA WRAPPER djkafka FROM property_user;
DROP ROLE property_user;
