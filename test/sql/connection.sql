-- Who may reach Kafka, and by which way.  No broker is needed.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS djkafka;
RESET client_min_messages;
SET djkafka.bootstrap_servers = '';
SELECT * FROM djkafka_topics();
SELECT * FROM djkafka_topics('nowhere');
CREATE FOREIGN DATA WRAPPER connection_other;
CREATE SERVER connection_other FOREIGN DATA WRAPPER connection_other;
SELECT * FROM djkafka_topics('connection_other');
CREATE SERVER connection_empty FOREIGN DATA WRAPPER djkafka;
SELECT * FROM djkafka_topics('connection_empty');

-- nobody answers: an error of its own, in time (what the library calls it depends on how far it got)
\set VERBOSITY sqlstate
CREATE SERVER connection_dead FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers '127.0.0.1:1');
SELECT * FROM djkafka_topics(server => 'connection_dead', timeout => '0.2 s');
SELECT * FROM djkafka_peek('t', server => 'connection_dead', timeout => '0.2 s');
\set VERBOSITY default
SELECT * FROM djkafka_topics(server => 'connection_dead', timeout => '0');

-- an address that cannot be one, a mechanism that there is not: refused where they are written
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers '');
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers ' ');
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'http://kafka:9092');
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'kafka:9o92');
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'kafka:65536');
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'kafka:0');
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'kafka:');
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers ':9092');
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'kafka-1:9092;kafka-2:9092');
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers 'kafka-1:9092,,kafka-2:9092');
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers '::1:9092');
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers '[::1:9092');
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka OPTIONS ("metadata.broker.list" 'me:secret@kafka:9092');
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka OPTIONS (sasl_mechanism 'SCRAM');
SET djkafka.bootstrap_servers = 'kafka:9092 kafka:9093';
SET djkafka.properties = '{"bootstrap.servers": "https://kafka"}';
SET djkafka.properties = '{"sasl.mechanisms": "plain"}';
SHOW djkafka.bootstrap_servers;
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka
    OPTIONS (bootstrap_servers 'SSL://kafka-1.example_2:9093, [::1]:9092 ,kafka,');
DROP SERVER connection_odd;

-- what the library says of the properties is shown, but not if it repeats a secret
CREATE FUNCTION connection_says(pattern text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    PERFORM djkafka_topics('connection_odd');
    RETURN 'no error';
EXCEPTION WHEN SQLSTATE '42KF2' THEN
    RETURN CASE WHEN sqlerrm ~ pattern THEN 'told' ELSE sqlerrm END;
END $$;
CREATE SERVER connection_odd FOREIGN DATA WRAPPER djkafka
    OPTIONS (bootstrap_servers '127.0.0.1:1', security_protocol 'ssl', ssl_ca_location '/nowhere');
SELECT connection_says('ssl.ca.location failed');
CREATE USER MAPPING FOR CURRENT_USER SERVER connection_odd OPTIONS (ssl_key_password 'xxssl.ca.locationxx');
SELECT connection_says('ssl.ca.location failed');

-- arguments
SELECT * FROM djkafka_peek(NULL);
SELECT * FROM djkafka_peek('t', max_messages => -1);
SELECT * FROM djkafka_peek('t', partition => -1);
SELECT * FROM djkafka_peek('t', start_at => 'group');
SELECT * FROM djkafka_peek('t', start_at => 'soon');
SELECT * FROM djkafka_peek('t', start_at => '2026-02-30');
SELECT * FROM djkafka_peek('t', start_at => '99999999999999999999');
SELECT * FROM djkafka_peek(topic => '', max_messages => 1, partition => NULL, start_at => 'latest', server => 'connection_dead', timeout => '1 s');
SELECT * FROM djkafka_peek(repeat('t', 250), server => 'connection_dead', timeout => '1 s');

-- a role needs USAGE on the server, or EXECUTE on djkafka_use_settings()
CREATE ROLE connection_user;
GRANT EXECUTE ON FUNCTION djkafka_topics(text, text, interval) TO connection_user;
SET ROLE connection_user;
SELECT * FROM djkafka_topics();
SELECT * FROM djkafka_topics('connection_dead');
SELECT * FROM djkafka_peek('t');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER connection_dead TO connection_user;
GRANT EXECUTE ON FUNCTION djkafka_use_settings() TO connection_user;
SET ROLE connection_user;
SELECT * FROM djkafka_topics();
\set VERBOSITY sqlstate
SELECT * FROM djkafka_topics('connection_dead', timeout => '0.2 s');
SHOW djkafka.sasl_password;
\set VERBOSITY default
SET djkafka.bootstrap_servers = 'evil:9092';
RESET ROLE;

REVOKE ALL ON FUNCTION djkafka_topics(text, text, interval) FROM connection_user;
REVOKE ALL ON FUNCTION djkafka_use_settings() FROM connection_user;
DROP SERVER connection_dead, connection_empty;
DROP FOREIGN DATA WRAPPER connection_other CASCADE;
DROP ROLE connection_user;
