"""Topics by a regular expression: which of them are read."""

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from lib.djkafka import explain, wait_count, wait_state
from lib.kafka import Client, Record
from lib.postgres import Database
from lib.wait import stays_true, wait_until
OFFSETS = "__consumer_offsets"

COORDINATOR_IS_COMING = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


def make_offsets_topic(kafka: Client) -> None:
    """Kafka makes its own topic when somebody first asks for a group, and leads its only partition a moment later."""
    reader = kafka.consumer("first-group")

    def is_led() -> bool:
        try:
            reader.committed([TopicPartition("none", 0)], timeout=20)
        except KafkaException as error:
            if error.args[0].code() not in COORDINATOR_IS_COMING:
                raise
            return False
        return True

    try:
        wait_until(is_led, message=f"{OFFSETS} is led")
    finally:
        reader.close()
    wait_until(lambda: kafka.partitions(OFFSETS) > 0, message=f"{OFFSETS} is in the metadata")


def test_pattern_leaves_out_internal_topics(db: Database, kafka: Client, topic: str) -> None:
    make_offsets_topic(kafka)
    kafka.produce(topic, [Record("a")])
    pattern = f"^({OFFSETS}|{topic})$"
    db.query("CREATE TABLE log (topic text, value bytea)")
    for consumer, enabled in (("worker", True), ("here", False)):
        db.query("SELECT djkafka_create_consumer(%s, enabled => %s)", consumer, enabled)
        db.query("SELECT djkafka_create_route(%s, %s, 'log', operation => 'insert', format => 'raw')", consumer, pattern)
    wait_count(db, "log", 1)
    assert db.query("SELECT applied FROM djkafka_run('here', until => 'eof')") == [(1,)]
    assert db.query("SELECT DISTINCT topic FROM log") == [(topic,)]
    assert db.query("SELECT DISTINCT topic FROM djkafka_offset") == [(topic,)]


@pytest.mark.parametrize("wanted", [OFFSETS, "^__consumer_"])
def test_internal_topic_that_is_asked_for(db: Database, own_broker, wanted: str) -> None:
    """It is read, and does not grow by being read."""
    broker = own_broker()
    client = Client(broker.address)
    client.create_topic("other")
    make_offsets_topic(client)
    db.query(f"CREATE SERVER own FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers '{broker.address}')", user="postgres")
    db.query("GRANT USAGE ON FOREIGN SERVER own TO PUBLIC", user="postgres")
    db.query('CREATE TABLE log (topic text, partition int, "offset" bigint)')
    db.query("SELECT djkafka_create_consumer('c', server => 'own')")
    db.query("SELECT djkafka_create_route('c', %s, 'log', operation => 'insert', format => 'raw')", wanted)
    reader = client.consumer("somebody")
    reader.commit(offsets=[TopicPartition("other", 0, 1)], asynchronous=False)
    reader.close()
    wait_until(lambda: db.value("SELECT count(*) > 0 FROM log"), message=lambda: f"{OFFSETS} is read\n{explain(db)}")
    wait_until(lambda: db.value("SELECT lag FROM djkafka_status") == 0, message="all of it is read")
    seen = db.value("SELECT count(*) FROM log")
    stays_true(lambda: db.value("SELECT count(*) FROM log") < seen + 5, 2.0, "the topic grows by being read")


def test_pattern_without_a_topic(db: Database, kafka: Client, unique) -> None:
    topic = unique("matched")
    pattern = f"^{topic}[[:digit:]]$"
    db.query("CREATE TABLE log (topic text)")
    db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert', format => 'raw')", pattern)
    found = wait_state(db, "waiting_for_topic")
    assert found["reason"] == f'no topic matches the pattern "{pattern}"'
    assert "matches" in found["hint"]
    kafka.create_topic(f"{topic}7")
    kafka.produce(f"{topic}7", [Record("a")])
    wait_count(db, "log", 1)


def test_pattern_that_the_library_cannot_read(db: Database, kafka: Client, topic: str) -> None:
    """A row that no trigger has checked."""
    db.query("CREATE TABLE log (topic text)")
    db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert', format => 'raw')", topic)
    wait_state(db, "running")
    db.query("ALTER TABLE djkafka_route DISABLE TRIGGER djkafka_route_validate", user="postgres")
    db.query("UPDATE djkafka_route SET topic = '^(?=x)'", user="postgres")
    found = wait_state(db, "broken")
    assert "^(?=x)" in found["reason"] and "POSIX" in found["hint"]
