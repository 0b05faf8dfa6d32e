"""Members of a consumer's group: its own workers, and others."""

from collections.abc import Callable

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AclOperation, ResourceType
from lib.djkafka import to_json, wait_caught_up, wait_count, wait_state, wait_value, workers
from lib.kafka import Broker, Client, Record
from lib.outbox import make_server
from lib.postgres import Cluster, Database
from lib.wait import wait_until


def test_member_without_client_id(db: Database, kafka: Client, topic: str) -> None:
    """Somebody in the group whose client.id is empty is a foreign member, not a crash."""
    member = Consumer({"bootstrap.servers": kafka.address, "group.id": topic, "client.id": ""})
    member.subscribe([topic])
    wait_until(lambda: member.poll(0.1) is None and member.assignment(), 30, lambda: "the foreign member has joined")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text)")
    db.query("SELECT djkafka_create_consumer('c', group_id => %s)", topic)
    db.query("SELECT djkafka_create_route('c', %s, 'item')", topic)
    kafka.produce(topic, [Record(to_json(id=1, name="x"))])
    wait_state(db, "foreign_member", "c")
    member.close()
    wait_count(db, "item", 1)
    wait_caught_up(db, kafka, topic, "c")


def test_fenced(db: Database, kafka: Client, topic: str) -> None:
    """Who has the worker's own name is this database again, opened elsewhere: the hint says so."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text)")
    db.query("SELECT djkafka_create_consumer('c', group_id => %s)", topic)
    db.query("SELECT djkafka_create_route('c', %s, 'item')", topic)
    wait_state(db, "running", "c")
    (worker,) = kafka.admin.describe_consumer_groups([topic])[topic].result(20).members
    copy = kafka.consumer(topic, group_instance_id=worker.group_instance_id)
    copy.subscribe([topic])
    said = "SELECT state, reason, hint FROM djkafka_status"
    wait_until(
        lambda: copy.poll(0.05) is None and "copy of this database" in (db.value("SELECT hint FROM djkafka_status") or ""),
        30,
        lambda: f"the state tells of a copy: {db.query(said)}",
    )
    copy.close()
    kafka.produce(topic, [Record(to_json(id=1, name="x"))])
    wait_count(db, "item", 1)
    wait_state(db, "running", "c")


def test_fewer_workers(db: Database, kafka: Client, unique: Callable[[str], str]) -> None:
    """A worker that is not wanted any more gives its partitions back at once, not when its session times out."""
    topic = kafka.create_topic(unique("topic"), partitions=2)
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text)")
    db.query("SELECT djkafka_create_consumer('c', workers => 2)")
    db.query("SELECT djkafka_create_route('c', %s, 'item')", topic)
    wait_value(db, "SELECT count(DISTINCT pid) FROM djkafka_partition_status WHERE pid IS NOT NULL", 2)
    db.query("UPDATE djkafka_consumer SET workers = 1 WHERE name = 'c'")
    wait_until(lambda: list(workers(db, "c")) == [1], message="one worker is left")
    kafka.produce(topic, [Record(to_json(id=number), partition=number) for number in range(2)])
    wait_count(db, "item", 2, timeout=15)


def test_database_of_another_encoding(cluster: Cluster, own_broker: Callable[..., Broker], unique) -> None:
    """Kafka knows group, worker and password in UTF-8, whatever the database's encoding."""
    broker = own_broker(users={"app": "geh\\u00e4im"})  # as Java reads a file of properties
    client = Client(broker.address)
    topic = client.create_topic(unique("topic"))
    group = topic + "-gruppe-ä"
    client.allow("app", ResourceType.GROUP, group, AclOperation.READ)
    client.allow("app", ResourceType.TOPIC, topic, AclOperation.READ)
    db = Database(cluster, unique("db"), encoding="LATIN1")
    try:
        db.query("CREATE EXTENSION djkafka")
        secure = {"security_protocol": "sasl_plaintext", "sasl_mechanism": "PLAIN"}
        server = make_server(db, broker.secure_address, "at_least_once", **secure)
        mapping = f"CREATE USER MAPPING FOR {db.owner} SERVER {server}"
        db.query(f"{mapping} OPTIONS (sasl_username 'app', sasl_password 'gehäim')", user="postgres")
        db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
        db.query("SELECT djkafka_create_consumer('aufträge', server => %s, group_id => %s)", server, group)
        db.query("SELECT djkafka_subscribe(%s, 'item', consumer => 'aufträge')", topic)
        wait_state(db, "running", "aufträge")
        # A reader of that name finds what the consumer has committed.
        client.produce(topic, [Record(to_json(id=1))])
        reader = client.consumer(group)
        wait_until(lambda: reader.committed([TopicPartition(topic, 0)], 10)[0].offset == 1, message="it is known")
        reader.close()
    finally:
        db.destroy()
