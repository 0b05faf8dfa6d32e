"""How long functions that talk to Kafka in a session may take."""

import time

import psycopg
import pytest
from lib.kafka import Client, Record
from lib.postgres import Database
from lib.process import stop_and_wait
from lib.wire import Wire


# Milliseconds of the first still fit into an int, but not with what is added; the last is all that an interval holds.
LONG = ("24 days 20:31:23", "25 days", "1 year", "178000000 years")


@pytest.mark.parametrize("timeout", LONG)
def test_long_timeout(db: Database, kafka: Client, topic: str, timeout: str) -> None:
    kafka.produce(topic, [Record("{}")])
    db.query("CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")
    db.query("SELECT djkafka_create_consumer('c', enabled => false)")
    db.query("SELECT djkafka_create_route('c', %s, 'item', operation => 'insert')", topic)
    with db.connect() as connection:
        connection.execute("SET statement_timeout = '20 s'")
        for call in (
            "SELECT count(*) FROM djkafka_topics(topic_name => %s, timeout => %s)",
            "SELECT count(*) FROM djkafka_peek(%s, timeout => %s)",
            "SELECT applied FROM djkafka_run('c', until => 'eof', idle => %s, timeout => %s)",
        ):
            first = timeout if "idle" in call else topic
            assert connection.execute(call, (first, timeout)).fetchall() == [(1,)]


def test_long_timeout_can_be_cancelled(db: Database, wire: Wire) -> None:
    db.query(f"CREATE SERVER hanging FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers '{wire.address}')", user="postgres")
    db.query("GRANT USAGE ON FOREIGN SERVER hanging TO PUBLIC", user="postgres")
    stop_and_wait(wire.process.pid)
    with db.connect() as connection:
        connection.execute("SET statement_timeout = '500 ms'")
        start = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT * FROM djkafka_topics('hanging', timeout => '25 days')")
        assert time.monotonic() - start < 5
