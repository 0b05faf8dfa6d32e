"""What Kafka cannot take: brokers that are away, topics that are not there or not ours, messages too large."""

import os
import re
import signal
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from confluent_kafka.admin import AclOperation, ResourceType
from lib.djkafka import wait_value
from lib.kafka import Broker, Client
from lib.outbox import (
    explain_outbox,
    make_server,
    outbox_server,
    outbox_worker,
    read_topic,
    sequences,
    values,
    wait_outbox_state,
    wait_sent,
)
from lib.postgres import Database
from lib.process import private_memory, stop_and_wait
from lib.wait import stays_true, wait_until

MODES = ("at_least_once", "exactly_once")
DEAD = "SELECT id, topic, convert_from(key, 'UTF8'), error FROM djkafka_outbox_dead ORDER BY id"


@pytest.fixture(params=MODES)
def server(request: pytest.FixtureRequest, db: Database, kafka: Client) -> str:
    """A server in each mode of delivery."""
    return make_server(db, kafka.address, request.param)


def produce(db: Database, topic: str, value: Any, key: Any = None, partition: int | None = None, **named: Any) -> int:
    return db.value(
        "SELECT djkafka_produce(%s, %s::text, key => %s::text, partition => %s, server => %s)",
        *(topic, value, key, partition, named.get("server")),
    )


def produce_numbers(db: Database, topics: list[str], first: int, last: int, server: str) -> None:
    """Numbers for seven keys of each topic, the topics taking turns."""
    db.query(
        "SELECT djkafka_produce(topic, i, key => i %% 7, server => %s)"
        " FROM generate_series(%s::int, %s) i, unnest(%s::text[]) WITH ORDINALITY AS t(topic, n) ORDER BY i, n",
        *(server, first, last, topics),
    )


def assert_numbers(client: Client, topic: str, last: int, but: tuple[int, ...] = ()) -> None:
    """The topic holds the numbers up to the last, those of each key in order and once."""
    found = sequences(read_topic(client, topic))
    for key in range(7):
        wanted = [number for number in range(1, last + 1) if number % 7 == key and number not in but]
        assert found.get(str(key), []) == wanted, f"key {key} of {topic}"


def state_of(db: Database, message: int) -> str:
    return db.value("SELECT state FROM djkafka_delivery(%s)", message)


# -- brokers


def away_at_first(broker: Broker, db: Database, topic: str, server: str, produce_more: Callable[[], None]) -> None:
    """The broker is down when the first message is produced, and comes after produce_more()."""
    client = Client(broker.address)
    broker.stop()
    produce_numbers(db, [topic], 1, 1000, server)
    status = wait_outbox_state(db, "unreachable", server)
    assert status["last_error"] and status["hint"]
    produce_more()
    assert outbox_server(db, server)["sent"] == 0
    broker.start()
    wait_sent(db, timeout=120)
    wait_outbox_state(db, "running", server)
    assert db.query(DEAD) == []
    last = db.value("SELECT last_value FROM djkafka_outbox_id_seq", user="postgres")
    assert_numbers(client, topic, last)


@pytest.mark.parametrize("mode", MODES)
def test_broker_away_at_first(own_broker, db: Database, mode: str) -> None:
    broker = own_broker()
    topic = Client(broker.address).create_topic("numbers", 3)
    server = make_server(db, broker.address, mode)
    away_at_first(broker, db, topic, server, lambda: produce_numbers(db, [topic], 1001, 2000, server))


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("mode", MODES)
def test_broker_away_for_ten_minutes(own_broker, db: Database, mode: str) -> None:
    broker = own_broker()
    topic = Client(broker.address).create_topic("numbers", 3)
    server = make_server(db, broker.address, mode)
    last = 1000

    def go_on() -> bool:
        nonlocal last
        produce_numbers(db, [topic], last + 1, last + 1000, server)
        last += 1000
        return private_memory(outbox_worker(db, server)["pid"]) < begin + 64 * 1024 * 1024

    def ten_minutes() -> None:
        nonlocal begin
        begin = private_memory(outbox_worker(db, server)["pid"])
        stays_true(go_on, 600, "the worker's memory does not grow with what waits", interval=1)

    begin = 0
    away_at_first(broker, db, topic, server, ten_minutes)


def test_broker_goes_away_while_nothing_is_sent(own_broker, db: Database) -> None:
    """The library says so once, when nobody minds; what is produced then must not look as if it were sent."""
    broker = own_broker()
    client = Client(broker.address)
    client.create_topic("later")
    server = make_server(db, broker.address, "at_least_once")
    produce_numbers(db, ["later"], 1, 7, server)
    wait_sent(db)
    broker.stop()
    wait_value(db, "SELECT last_error IS NOT NULL FROM djkafka_outbox_status", True)
    produce_numbers(db, ["later"], 8, 14, server)
    found = wait_outbox_state(db, "unreachable", server)
    assert found["reason"] and found["hint"]
    broker.start()
    wait_sent(db)
    wait_outbox_state(db, "running", server)
    assert_numbers(client, "later", 14)


# -- topics


def test_topic_that_does_not_exist(db: Database, kafka: Client, topic: str, unique, server: str) -> None:
    missing = unique("missing")
    produce_numbers(db, [missing, topic], 1, 700, server)
    held = produce(db, missing, 701, key=1, server=server)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox WHERE state <> 'held'", 0)
    assert_numbers(kafka, topic, 700)
    assert db.value("SELECT count(*) FROM djkafka_outbox") == 701
    assert state_of(db, held) == "held"
    wait_told(db, server, missing)
    connection = db.connect()
    produced = connection.execute("SELECT djkafka_produce(%s, '702', key => '2', server => %s)", (missing, server))
    assert produced.fetchone()
    assert connection.execute("SELECT djkafka_flush('300 ms')").fetchone() == (False,)
    connection.close()

    kafka.create_topic(missing, 2)
    # what is produced while the held ones are sent stays behind them
    for number in range(703, 1401):
        produce(db, missing, number, key=number % 7, server=server)
    wait_sent(db, timeout=30)
    assert_numbers(kafka, missing, 1400)
    assert db.value("SELECT count(*) FROM djkafka_outbox_held") == 0
    assert state_of(db, held) in ("sent", "unknown")  # its table may be truncated by now


def test_a_thousand_missing_topics(db: Database, kafka: Client, topic: str, unique, server: str) -> None:
    """Each is looked for, but not one after the other for its time while all others wait."""
    missing = unique("missing")
    db.query("SELECT djkafka_produce(%s || i, i, server => %s) FROM generate_series(1, 1000) i", f"{missing}-", server)
    produce_numbers(db, [topic], 1, 100, server)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox WHERE topic = %s", 0, topic, timeout=60)
    assert_numbers(kafka, topic, 100)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox_held", 1000)
    found = kafka.create_topic(f"{missing}-500")
    wait_value(db, "SELECT count(*) FROM djkafka_outbox_held WHERE topic = %s", 0, found, timeout=60)
    assert values(read_topic(kafka, found)) == ["500"]


def test_held_messages_survive(own_cluster, kafka: Client, unique) -> None:
    """A restart of the server in between changes nothing."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    server = make_server(db, kafka.address, "at_least_once")
    missing = unique("missing")
    produce_numbers(db, [missing], 1, 100, server)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox_held", 100)
    db.disconnect()
    cluster.kill()
    cluster.start()
    produce_numbers(db, [missing], 101, 200, server)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox_held", 200)
    kafka.create_topic(missing)
    wait_sent(db)
    assert_numbers(kafka, missing, 200)


def test_topic_that_is_deleted(db: Database, kafka: Client, topic: str, unique, server: str) -> None:
    doomed = kafka.create_topic(unique("doomed"))
    produce_numbers(db, [doomed, topic], 1, 100, server)
    wait_sent(db)
    kafka.delete_topic(doomed)
    produce_numbers(db, [doomed, topic], 101, 200, server)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox WHERE state <> 'held'", 0)
    assert_numbers(kafka, topic, 200)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox_held", 100)
    kafka.create_topic(doomed)
    wait_sent(db)
    assert [int(value) for value in values(read_topic(kafka, doomed))] == list(range(101, 201))


@pytest.mark.parametrize("mode", MODES)
def test_leader_that_knows_late(db: Database, kafka: Client, topic: str, late_leader, mode: str) -> None:
    """
    A broker that has nothing of a producer yet takes whatever comes first for the first; what it refused before
    is not in Kafka, though the library says so, and must not stay behind what was taken.
    """
    leader = late_leader(topic)
    server = make_server(db, leader.address, mode, batch_num_messages="1")
    db.query("SELECT djkafka_produce(%s, i, key => 'k', server => %s) FROM generate_series(1, 2) i", topic, server)
    wait_sent(db)
    assert leader.refused == 1
    found = [int(value) for value in values(read_topic(kafka, topic))]
    assert found in ([[1, 2]] if mode == "exactly_once" else [[1, 2], [2, 1, 2]])


@pytest.mark.parametrize("mode", MODES)
def test_refused_at_first(db: Database, kafka: Client, unique, mode: str) -> None:
    """A broker that has nothing of a producer yet takes what comes after a request that it refused."""
    small = kafka.create_topic(unique("small"), 1, max_message_bytes=2000)
    server = make_server(db, kafka.address, mode, batch_num_messages="2")
    db.query(
        "SELECT djkafka_produce(%s, CASE WHEN i %% 10 = 2 THEN repeat('x', 3000) ELSE i::text END, key => 'k', server => %s)"
        " FROM generate_series(1, 40) i",
        *(small, server),
    )
    wait_sent(db)
    assert db.value("SELECT count(*) FROM djkafka_outbox_dead") == 4
    found = values(read_topic(kafka, small))
    last = list(reversed(dict.fromkeys(reversed(found))))
    assert [int(value) for value in last] == [i for i in range(1, 41) if i % 10 != 2], found
    assert mode == "at_least_once" or last == found


def test_answer_lost_beside_a_refusal(db: Database, kafka: Client, topic: str, unique, lost_answer) -> None:
    """
    What was sent in a transaction that is given up, and not answered, is not taken for what is sent in the next one:
    the numbers begin again. The two that are refused, together, are not too large alone.
    """
    size = db.cluster.log_size()
    small = kafka.create_topic(unique("small"), 1, max_message_bytes=2000)
    leader = lost_answer(topic, small)
    server = make_server(db, leader.address, "exactly_once", linger_ms="200")
    db.query(
        "SELECT djkafka_produce(t, repeat('x', n), key => 'k', server => %s)"
        " FROM unnest(%s::text[], ARRAY[1, 1500, 1501]) AS m(t, n)",
        *(server, [topic, small, small]),
    )
    wait_sent(db)
    assert leader.lost == 1
    assert [len(each or "") for name in (topic, small) for each in values(read_topic(kafka, name))] == [1, 1500, 1501]
    assert "OUT_OF_ORDER" not in db.cluster.log(size)


def test_no_reason_is_given(db: Database, kafka: Client, topic: str, late_leader) -> None:
    """Each transaction costs a producer, and the next one comes later and later nevertheless."""
    leader = late_leader(topic, fails=True)
    server = make_server(db, leader.address, "exactly_once", batch_num_messages="1")
    db.query("SELECT djkafka_produce(%s, i, key => 'k', server => %s) FROM generate_series(1, 50) i", topic, server)
    wait_value(db, "SELECT state FROM djkafka_outbox_status WHERE attempt > 3", "backoff")
    leader.fails = False
    wait_sent(db)
    assert [int(value) for value in values(read_topic(kafka, topic))] == list(range(1, 51))


def test_carrier_that_is_deleted(db: Database, kafka: Client, topic: str, unique) -> None:
    """The topic whose offsets carry the numbers of batches goes away while its worker lives."""
    server = make_server(db, kafka.address, "exactly_once")
    doomed = kafka.create_topic(unique("doomed"))
    produce_numbers(db, [doomed], 1, 10, server)
    wait_sent(db)
    assert outbox_server(db, server)["carrier_topic"] == doomed
    kafka.delete_topic(doomed)
    produce_numbers(db, [topic], 1, 100, server)
    wait_sent(db)
    assert_numbers(kafka, topic, 100)
    assert outbox_server(db, server)["carrier_topic"] == topic


def test_topic_without_rights(db: Database, kafka: Client, secure_address: str, unique) -> None:
    """ACLs of a real broker: topics that may not be seen, or be seen and not be written to."""
    mine, hidden, readonly = (kafka.create_topic(unique(name)) for name in ("mine", "hidden", "readonly"))
    kafka.allow("app", ResourceType.TOPIC, mine, AclOperation.WRITE, AclOperation.DESCRIBE)
    kafka.allow("app", ResourceType.TOPIC, readonly, AclOperation.DESCRIBE)
    secure = {"security_protocol": "sasl_plaintext", "sasl_mechanism": "PLAIN"}
    server = make_server(db, secure_address, "at_least_once", **secure)
    for user in (db.owner, "postgres"):
        db.query(
            f"CREATE USER MAPPING FOR {user} SERVER kafka OPTIONS (sasl_username 'app', sasl_password 'secret')",
            user="postgres",
        )
    # more than a batch: the refusal comes when the next has been read
    produce_numbers(db, [mine, readonly], 1, 12_000, server)
    produce_numbers(db, [hidden], 1, 210, server)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox WHERE state <> 'held'", 0)
    assert_numbers(kafka, mine, 12_000)
    assert dict(db.query("SELECT topic, count(*) FROM djkafka_outbox GROUP BY 1")) == {hidden: 210, readonly: 12_000}
    assert "uthoriz" in outbox_worker(db, server)["last_error"]
    assert db.query(DEAD) == []

    # the right comes later
    kafka.allow("app", ResourceType.TOPIC, readonly, AclOperation.WRITE)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox WHERE topic = %s", 0, readonly)
    produce_numbers(db, [hidden], 211, 420, server)
    produce_numbers(db, [readonly], 12_001, 12_210, server)
    kafka.allow("app", ResourceType.TOPIC, hidden, AclOperation.WRITE, AclOperation.DESCRIBE)
    wait_sent(db)
    assert_numbers(kafka, readonly, 12_210)
    assert_numbers(kafka, hidden, 420)


def test_wrong_password(db: Database, kafka: Client, secure_address: str, unique) -> None:
    mine = kafka.create_topic(unique("mine"))
    kafka.allow("app", ResourceType.TOPIC, mine, AclOperation.WRITE, AclOperation.DESCRIBE)
    secure = {"security_protocol": "sasl_plaintext", "sasl_mechanism": "PLAIN"}
    server = make_server(db, secure_address, "at_least_once", **secure)
    db.query("CREATE USER MAPPING FOR postgres SERVER kafka OPTIONS (sasl_username 'app', sasl_password 'x')", user="postgres")
    produce_numbers(db, [mine], 1, 7, server)
    found = wait_outbox_state(db, "broken", server)
    assert "uthentication" in found["reason"] and "user mapping" in found["hint"]
    db.query("ALTER USER MAPPING FOR postgres SERVER kafka OPTIONS (SET sasl_password 'secret')", user="postgres")
    wait_sent(db)
    assert_numbers(kafka, mine, 7)
    wait_outbox_state(db, "running", server)


def test_right_that_transactions_need(db: Database, kafka: Client, secure_address: str, unique) -> None:
    """Without READ on the topic no number can be committed: that is told, and not tried at full speed."""
    mine = kafka.create_topic(unique("mine"))
    secure = {"security_protocol": "sasl_plaintext", "sasl_mechanism": "PLAIN"}
    server = make_server(db, secure_address, "exactly_once", **secure)
    db.query("CREATE USER MAPPING FOR postgres SERVER kafka OPTIONS (sasl_username 'app', sasl_password 'secret')", user="postgres")
    name = f"djkafka-outbox-{db.value('SELECT home FROM djkafka_home')}-1"
    kafka.allow("app", ResourceType.TOPIC, mine, AclOperation.WRITE, AclOperation.DESCRIBE)
    kafka.allow("app", ResourceType.TRANSACTIONAL_ID, name, AclOperation.WRITE, AclOperation.DESCRIBE)
    kafka.allow("app", ResourceType.GROUP, name, AclOperation.READ)
    produce_numbers(db, [mine], 1, 7, server)
    state = "SELECT state FROM djkafka_outbox_status WHERE attempt > 5"
    wait_value(db, state, "backoff")
    assert "uthorization" in db.value("SELECT reason FROM djkafka_outbox_status")
    assert "rights" in db.value("SELECT hint FROM djkafka_outbox_status")
    assert kafka.end_offsets(mine)[0] < 8 * 30
    kafka.allow("app", ResourceType.TOPIC, mine, AclOperation.READ)
    wait_sent(db)
    wait_outbox_state(db, "running", server)
    assert_numbers(kafka, mine, 7)


def test_topic_without_rights_in_a_transaction(db: Database, kafka: Client, secure_address: str, unique) -> None:
    """Kafka takes it into no transaction: it is held, and the others flow."""
    secure = {"security_protocol": "sasl_plaintext", "sasl_mechanism": "PLAIN"}
    server = make_server(db, secure_address, "exactly_once", **secure)
    db.query("CREATE USER MAPPING FOR postgres SERVER kafka OPTIONS (sasl_username 'app', sasl_password 'secret')", user="postgres")
    name = f"djkafka-outbox-{db.value('SELECT home FROM djkafka_home')}-1"
    mine, readonly = kafka.create_topic(unique("mine")), kafka.create_topic(unique("readonly"))
    for topic in (mine, readonly):
        kafka.allow("app", ResourceType.TOPIC, topic, AclOperation.DESCRIBE)
    # the first topic is to carry the batch's number, and cannot do that either
    kafka.allow("app", ResourceType.TOPIC, mine, AclOperation.WRITE, AclOperation.READ)
    kafka.allow("app", ResourceType.TRANSACTIONAL_ID, name, AclOperation.WRITE, AclOperation.DESCRIBE)
    kafka.allow("app", ResourceType.GROUP, name, AclOperation.READ)
    for first in (1, 101):
        produce_numbers(db, [readonly, mine], first, first + 99, server)
        wait_value(db, "SELECT count(*) FROM djkafka_outbox WHERE state <> 'held'", 0)
    assert_numbers(kafka, mine, 200)
    assert dict(db.query("SELECT topic, count(*) FROM djkafka_outbox GROUP BY 1")) == {readonly: 200}
    wait_value(db, "SELECT state FROM djkafka_outbox_status", "running")
    assert "uthoriz" in outbox_worker(db, server)["last_error"]
    kafka.allow("app", ResourceType.TOPIC, readonly, AclOperation.WRITE)
    wait_sent(db)
    assert_numbers(kafka, readonly, 200)
    assert_numbers(kafka, mine, 200)
    assert db.query(DEAD) == []


@pytest.mark.parametrize("mode", MODES)
def test_server_that_is_dropped(db: Database, kafka: Client, topic: str, mode: str) -> None:
    """Not while messages wait for it; then its outbox goes too, and the next of its name begins with nothing."""
    server = make_server(db, "127.0.0.1:1", mode)
    produce_numbers(db, [topic], 1, 1, server)
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        db.query(f"DROP SERVER {server}", user="postgres")
    db.query(f"ALTER SERVER {server} OPTIONS (SET bootstrap_servers '{kafka.address}')", user="postgres")
    wait_sent(db)
    pid = outbox_worker(db, server)["pid"]
    db.query(f"DROP SERVER {server}", user="postgres")
    wait_until(lambda: pid not in db.workers("djkafka outbox"), message="the worker has left")
    assert db.query("SELECT server FROM djkafka_outbox_status") == []
    make_server(db, kafka.address, mode)
    produce_numbers(db, [topic], 2, 2, server)
    wait_sent(db)
    assert values(read_topic(kafka, topic)) == ["1", "2"]


def test_server_that_is_missing(db: Database, kafka: Client, topic: str) -> None:
    """A superuser dropped it with event triggers disabled."""
    server = make_server(db, kafka.address, "at_least_once")
    produce_numbers(db, [topic], 1, 1, server)
    wait_sent(db)
    with db.connect("postgres") as connection:
        connection.execute("ALTER EVENT TRIGGER djkafka_server_dropped DISABLE")
        connection.execute(f"DROP SERVER {server}")
        connection.execute("ALTER EVENT TRIGGER djkafka_server_dropped ENABLE ALWAYS")
    state = "SELECT state FROM djkafka_outbox_status"
    wait_value(db, state, "broken")
    assert "does not exist" in db.value("SELECT reason FROM djkafka_outbox_status")
    db.query(db.value("SELECT substring(hint FROM 'UPDATE .*[^.]') FROM djkafka_outbox_status"))
    wait_value(db, state, "paused")


# -- a cluster of which a part is down


def test_partition_without_leader(two_brokers: tuple[Broker, Broker], db: Database) -> None:
    """Its topic waits, the others do not: found out before anything is sent, by workers that have just started."""
    first, second = two_brokers
    client = Client(first.address)
    servers = [(make_server(db, first.address, mode, mode), f"lame-{mode}", f"sound-{mode}") for mode in MODES]
    for _, lame, sound in servers:
        client.place_topic(lame, [[1], [2]])
        client.place_topic(sound, [[1]])
    second.kill()
    for _, lame, _ in servers:
        wait_until(lambda name=lame: client.partitions(name) == 1, message="a partition has lost its leader")
    for server, lame, sound in servers:
        produce_numbers(db, [lame, sound], 1, 100, server)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox WHERE state <> 'held'", 0, timeout=60)
    held = dict(db.query("SELECT topic, count(*) FROM djkafka_outbox_held GROUP BY 1"))
    assert held == {lame: 100 for _, lame, _ in servers}
    for server, lame, sound in servers:
        assert_numbers(client, sound, 100)
        assert "leader" in outbox_worker(db, server)["last_error"].lower()
        produce_numbers(db, [lame, sound], 101, 200, server)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox WHERE state <> 'held'", 0)
    second.start()
    wait_sent(db)
    for _, lame, sound in servers:
        assert_numbers(client, lame, 200)
        assert_numbers(client, sound, 200)


def lose_leader(brokers: tuple[Broker, Broker], db: Database, mode: str) -> str:
    """Ends the leader of a partition of the topic lame while 100 messages wait; returns the server."""
    first, second = brokers
    client = Client(first.address)
    client.place_topic("lame", [[1], [2]])
    client.place_topic("sound", [[1]])
    server = make_server(db, first.address, mode)
    produce_numbers(db, ["lame", "sound"], 1, 100, server)
    wait_sent(db)
    second.kill()
    produce_numbers(db, ["lame", "sound"], 101, 200, server)
    return server


def wait_told(db: Database, server: str, word: str) -> None:
    wait_until(
        lambda: word in (outbox_worker(db, server)["last_error"] or "").lower(),
        message=lambda: f"last_error tells of {word!r}: {outbox_worker(db, server)}",
    )


def test_partition_loses_its_leader(two_brokers: tuple[Broker, Broker], db: Database) -> None:
    """With messages on their way."""
    server = lose_leader(two_brokers, db, "at_least_once")
    first, second = two_brokers
    client = Client(first.address)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox WHERE state <> 'held'", 0, timeout=60)
    assert_numbers(client, "sound", 200)
    wait_told(db, server, "leader")
    second.start()
    wait_sent(db)
    assert_numbers(client, "lame", 200)


@pytest.mark.long
def test_replicas_are_missing(two_brokers: tuple[Broker, Broker], db: Database) -> None:
    """A topic that wants two, while one is there: nothing but the silence tells."""
    first, second = two_brokers
    client = Client(first.address)
    client.place_topic("careful", [[1, 2]], min_insync_replicas=2)
    client.place_topic("sound", [[1]])
    server = make_server(db, first.address, "at_least_once")
    second.kill()
    wait_until(lambda: client.in_sync("careful") == 1, message="the second broker has left")
    produce_numbers(db, ["careful", "sound"], 1, 100, server)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox WHERE state <> 'held'", 0, timeout=90)
    assert_numbers(client, "sound", 100)
    wait_told(db, server, "acknowledge")
    produce_numbers(db, ["careful", "sound"], 101, 200, server)
    wait_value(db, "SELECT count(*) FROM djkafka_outbox WHERE state <> 'held'", 0)
    second.start()
    wait_sent(db, timeout=120)
    assert_numbers(client, "careful", 200)
    assert_numbers(client, "sound", 200)


@pytest.mark.long
def test_transaction_that_kafka_cannot_end(two_brokers: tuple[Broker, Broker], db: Database) -> None:
    """exactly_once: all wait for the partition, visibly, and go on by themselves."""
    server = lose_leader(two_brokers, db, "exactly_once")
    first, second = two_brokers
    client = Client(first.address)
    found = wait_outbox_state(db, "unreachable", server, timeout=60)
    assert found["reason"] == 'topic "lame": a partition has no leader'
    second.start()
    wait_sent(db, timeout=120)
    assert_numbers(client, "lame", 200)
    assert_numbers(client, "sound", 200)


def test_broker_ends_in_a_transaction_that_has_failed(two_brokers: tuple[Broker, Broker], db: Database) -> None:
    """exactly_once: one broker refuses a message, the other ends with its answer; nothing more would come by itself."""
    first, second = two_brokers
    client = Client(first.address)
    client.place_topic("small", [[1]], max_message_bytes=1000)
    client.place_topic("other", [[2]])
    server = make_server(db, first.address, "exactly_once")
    produce_numbers(db, ["small", "other"], 1, 7, server)
    wait_sent(db)
    assert_numbers(client, "other", 7)  # the transaction has ended there
    stop_and_wait(second.process.pid)
    log = db.cluster.log_size()
    db.query(
        "SELECT djkafka_produce('other', 8, key => 1, server => %s), djkafka_produce('small', text, server => %s)"
        " FROM (SELECT string_agg(md5(i::text), '') AS text FROM generate_series(1, 100) i) large",
        *(server, server),
    )
    wait_until(lambda: "Current transaction failed" in db.cluster.log(log), message=lambda: explain_outbox(db))
    second.kill()
    second.start()
    wait_sent(db)
    wait_outbox_state(db, "running", server)
    assert [row[1] for row in db.query(DEAD)] == ["small"]
    assert_numbers(client, "other", 8)
    assert_numbers(client, "small", 7)


# -- messages


def test_message_too_large_for_its_topic(db: Database, kafka: Client, topic: str, unique, server: str) -> None:
    small = kafka.create_topic(unique("small"), 1, max_message_bytes=2000)
    connection = db.connect()
    with connection.transaction():
        for number in range(1, 701):
            wanted = [(topic, number)] if number % 10 else [(topic, number), (small, number)]
            for name, value in wanted:
                # what does not compress and is too large, with neighbours of the same key
                filler = "x" if number not in (100, 350, 360) else " " + "".join(f"{n:x}" for n in range(10**4, 12000))
                connection.execute(
                    "SELECT djkafka_produce(%s, %s, key => %s, server => %s)",
                    (name, f"{value}{filler}" if name == small else str(value), str(value % 7), server),
                )
    connection.close()
    wait_sent(db)
    assert_numbers(kafka, topic, 700)
    found = [int(re.match(r"\d+", value or "")[0]) for value in values(read_topic(kafka, small))]  # type: ignore[index]
    assert found == [number for number in range(10, 701, 10) if number not in (100, 350, 360)]
    dead = db.query(DEAD)
    assert [(name, key) for _, name, key, _ in dead] == [(small, str(number % 7)) for number in (100, 350, 360)]
    assert {error for *_, error in dead} == {"MSG_SIZE_TOO_LARGE"}
    assert outbox_server(db, server)["dead"] == 3
    assert state_of(db, dead[0][0]) == "dead"
    assert f'for topic "{small}"' in outbox_worker(db, server)["last_error"]

    # one is tried again once the topic takes it, one is given up
    db.query("SELECT djkafka_outbox_discard(%s)", dead[0][0])
    again = db.value("SELECT djkafka_outbox_resend(%s)", dead[1][0])
    wait_value(db, "SELECT array_agg(id) FROM djkafka_outbox_dead", [dead[2][0], again])


def test_many_too_large(db: Database, kafka: Client, unique, server: str) -> None:
    """Each is found, and the others are not sent once more for each of them."""
    small = kafka.create_topic(unique("small"), 1, max_message_bytes=2000)
    db.query(
        "SELECT djkafka_produce(%s, CASE WHEN i %% 7 = 0 THEN"
        " array_to_string(ARRAY(SELECT md5(i || ' ' || n) FROM generate_series(1, 150) n), '') ELSE i::text END,"
        " key => i %% 5, server => %s) FROM generate_series(1, 300) i",
        *(small, server),
    )
    wait_sent(db)
    assert values(read_topic(kafka, small)) == [str(number) for number in range(1, 301) if number % 7]
    assert {error for *_, error in db.query(DEAD)} == {"MSG_SIZE_TOO_LARGE"}
    assert outbox_server(db, server)["dead"] == 300 // 7
    # with what was taken back, and a mark for each transaction
    assert sum(kafka.end_offsets(small, "read_uncommitted").values()) < 1500


def test_partition_that_does_not_exist(db: Database, kafka: Client, unique, server: str) -> None:
    topic = kafka.create_topic(unique("two"), 2)
    connection = db.connect()
    with connection.transaction():
        for number in range(10):
            connection.execute(
                "SELECT djkafka_produce(%s, %s, partition => %s, server => %s)", (topic, number, number % 3, server)
            )
    connection.close()
    wait_sent(db)
    messages = read_topic(kafka, topic)
    placed = {partition: [] for partition in range(2)}  # type: dict[int, list[int]]
    for message in messages:
        placed[message.partition()].append(int(message.value()))
    assert placed == {0: [0, 3, 6, 9], 1: [1, 4, 7]}
    dead = db.query("SELECT partition, convert_from(value, 'UTF8'), error FROM djkafka_outbox_dead ORDER BY id")
    assert [row[:2] for row in dead] == [(2, "2"), (2, "5"), (2, "8")], explain_outbox(db)

    # one that is new is not a mistake, though the library has not heard of it
    kafka.add_partitions(topic, 12)
    produce(db, topic, "new", partition=11, server=server)
    wait_sent(db)
    assert len(db.query(DEAD)) == 3, explain_outbox(db)
    assert [message.partition() for message in read_topic(kafka, topic) if message.value() == b"new"] == [11]


# -- a batch that its worker cannot judge

LOG_POSITIONS = """
CREATE TABLE positions (n serial, batch bigint, decision text);
CREATE FUNCTION note_position() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_catalog AS
  $$ BEGIN INSERT INTO positions (batch, decision) VALUES (NEW.batch, NEW.decision); RETURN NULL; END $$;
CREATE TRIGGER note_position AFTER UPDATE ON djkafka_outbox_server FOR EACH ROW EXECUTE FUNCTION note_position()
"""


def claim_in_vain(db: Database, broker: Broker, server: str, topic: str, first: int, last: int) -> None:
    """A batch is claimed that Kafka, which is away, does not get, and its worker is gone."""
    broker.stop()
    produce_numbers(db, [topic], first, last, server)
    wait_until(lambda: (row := outbox_server(db, server))["batch"] > row["confirmed"], message="a batch is claimed")
    db.query("UPDATE djkafka_outbox_server SET enabled = false", user="postgres")
    wait_until(lambda: not db.workers("djkafka outbox"), message="the worker has left")


@pytest.mark.parametrize("decision", ("send", "confirm"))
def test_decision_is_about_one_batch(own_broker, db: Database, decision: str) -> None:
    broker = own_broker()
    client = Client(broker.address)
    topic = client.create_topic("numbers")
    server = make_server(db, broker.address, "exactly_once")
    produce_numbers(db, [topic], 1, 10, server)
    wait_sent(db)

    # a batch is claimed that Kafka does not get, and then it is not known what Kafka has
    claim_in_vain(db, broker, server, topic, 11, 20)
    db.query("UPDATE djkafka_outbox_server SET carried = 40", user="postgres")
    broker.start()
    db.query("UPDATE djkafka_outbox_server SET enabled = true", user="postgres")
    wait_outbox_state(db, "needs_decision", server)
    undecided = outbox_server(db, server)["batch"]

    # what has been waiting meanwhile is another batch, and nobody has decided about that
    produce_numbers(db, [topic], 21, 30, server)
    for statement in LOG_POSITIONS.split(";\n"):
        db.query(statement, user="postgres")
    db.query("SELECT djkafka_outbox_decide(%s, %s)", decision, server)
    wait_sent(db)
    wait_outbox_state(db, "running", server)
    positions = db.query("SELECT batch, decision FROM positions ORDER BY n", user="postgres")
    assert max(batch for batch, _ in positions) > undecided + 1
    assert {batch for batch, said in positions if said is not None} == {undecided}, positions
    assert_numbers(client, topic, 30, tuple(range(11, 21)) if decision == "confirm" else ())


def test_decision_that_nobody_asks_for(own_broker, db: Database) -> None:
    """A batch that merely waits for Kafka is not given up by a word, not even with the next worker."""
    broker = own_broker()
    client = Client(broker.address)
    topic = client.create_topic("numbers")
    server = make_server(db, broker.address, "exactly_once")
    claim_in_vain(db, broker, server, topic, 1, 10)
    db.query("UPDATE djkafka_outbox_server SET enabled = true", user="postgres")
    wait_outbox_state(db, "unreachable", server)
    for decision in ("send", "confirm"):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no batch of the outbox waits for a decision"):
            db.query("SELECT djkafka_outbox_decide(%s, %s)", decision, server)
    restart_worker(db)
    broker.start()
    wait_sent(db)
    assert_numbers(client, topic, 10)


def test_number_that_is_gone(own_broker, db: Database) -> None:
    """Kafka forgets the numbers with their topic, and whether it has the claimed batch with them."""
    broker = own_broker()
    client = Client(broker.address)
    carrier, topic = client.create_topic("carrier"), client.create_topic("numbers")
    server = make_server(db, broker.address, "exactly_once")
    produce_numbers(db, [carrier], 1, 10, server)
    wait_sent(db)
    claim_in_vain(db, broker, server, topic, 1, 10)
    broker.start()
    client.delete_topic(carrier)
    db.query("UPDATE djkafka_outbox_server SET enabled = true", user="postgres")
    wait_outbox_state(db, "needs_decision", server)
    assert not read_topic(client, topic)
    db.query("SELECT djkafka_outbox_decide('send', %s)", server)
    wait_sent(db)
    assert_numbers(client, topic, 10)
    produce_numbers(db, [topic], 11, 20, server)
    wait_sent(db)
    assert_numbers(client, topic, 20)


def restart_worker(db: Database) -> None:
    db.query("UPDATE djkafka_outbox_server SET enabled = false", user="postgres")
    wait_until(lambda: not db.workers("djkafka outbox"), message="the worker has left")
    db.query("UPDATE djkafka_outbox_server SET enabled = true", user="postgres")


def test_number_that_was_gone_before(own_broker, db: Database) -> None:
    """A worker that could not ask Kafka before it ended has sent nothing: nobody is asked to decide."""
    broker = own_broker()
    client = Client(broker.address)
    carrier, topic = client.create_topic("carrier"), client.create_topic("numbers")
    server = make_server(db, broker.address, "exactly_once")
    produce_numbers(db, [carrier], 1, 10, server)
    wait_sent(db)
    client.delete_topic(carrier)
    broker.stop()
    restart_worker(db)
    produce_numbers(db, [topic], 1, 10, server)
    wait_until(lambda: (row := outbox_server(db, server))["batch"] > row["confirmed"], message="a batch is claimed")
    restart_worker(db)
    outbox_worker(db, server)
    broker.start()
    wait_sent(db)
    assert_numbers(client, topic, 10)


def test_numbers_that_kafka_has_already(own_broker, db: Database) -> None:
    """After a restore or a failover Kafka's number is ahead of ours: no batch is taken for one that was sent."""
    broker = own_broker()
    client = Client(broker.address)
    topic = client.create_topic("numbers")
    server = make_server(db, broker.address, "exactly_once")
    for number in range(1, 4):
        produce(db, topic, number, key=0, server=server)
        wait_sent(db)
    sent = outbox_server(db, server)["confirmed"]
    db.query("UPDATE djkafka_outbox_server SET enabled = false", user="postgres")
    wait_until(lambda: not db.workers("djkafka outbox"), message="the worker has left")
    db.query(
        "UPDATE djkafka_outbox_server SET batch = batch - 2, confirmed = confirmed - 2, carried = carried - 2, enabled = true",
        user="postgres",
    )
    produce(db, topic, 4, key=0, server=server)
    wait_sent(db)
    wait_until(lambda: outbox_server(db, server)["confirmed"] == sent + 1, message="its number is above Kafka's")
    assert [int(value) for value in values(read_topic(client, topic))] == [1, 2, 3, 4]


@pytest.mark.parametrize("mode", MODES)
def test_new_partition_while_nobody_answers(own_broker, db: Database, unique, mode: str) -> None:
    """The library does not know the partition yet, and Kafka is too busy to tell: that is no refusal."""
    broker = own_broker()
    kafka = Client(broker.address)
    topic = kafka.create_topic(unique("topic"))
    produce = "SELECT djkafka_produce(%s, %s, key => 'k', partition => %s, server => 'kafka')"
    make_server(db, broker.address, mode, topic_metadata_refresh_interval_ms="3600000")
    db.query(produce, topic, "first", 0)
    wait_sent(db)
    kafka.add_partitions(topic, 2)
    wait_until(lambda: kafka.partitions(topic) == 2, message="the partition is there")
    stop_and_wait(broker.process.pid)
    db.query(produce, topic, "second", 1)
    found = wait_outbox_state(db, "unreachable", "kafka", timeout=60)
    assert db.query("SELECT error FROM djkafka_outbox_dead") == [], found
    os.kill(broker.process.pid, signal.SIGCONT)
    wait_sent(db)
    assert db.query("SELECT error FROM djkafka_outbox_dead") == []
    assert [(m.partition(), m.value()) for m in read_topic(kafka, topic)] == [(0, b"first"), (1, b"second")]


@pytest.mark.long
def test_connection_closed_while_idle(own_broker, db: Database, unique) -> None:
    """A broker closes what is not used: nobody is to hear of it."""
    broker = own_broker(connections_max_idle_ms=2000)
    topic = Client(broker.address).create_topic(unique("topic"))
    server = make_server(db, broker.address, "at_least_once")
    produce(db, topic, 1, server=server)
    wait_sent(db)
    wait_outbox_state(db, "running", server)
    events = "SELECT count(*) FROM djkafka_event WHERE kind = 'outbox'"
    before = db.value(events)
    stays_true(lambda: outbox_worker(db, server)["state"] == "running", 40, "nothing is wrong")
    assert db.value(events) == before
    assert outbox_worker(db, server)["last_error"] is None
    produce(db, topic, 1, server=server)
    wait_sent(db)


@pytest.mark.parametrize("mode", [pytest.param("at_least_once", marks=pytest.mark.long), "exactly_once"])
def test_broker_lost_while_idle(own_broker, db: Database, unique, mode: str) -> None:
    """With nothing to send: the state says that there is no broker until one is back, with nothing to send either."""
    broker = own_broker()
    topic = Client(broker.address).create_topic(unique("topic"))
    server = make_server(db, broker.address, mode)
    produce(db, topic, 1, server=server)
    wait_sent(db)
    wait_outbox_state(db, "running", server)
    broker.stop()
    wait_outbox_state(db, "unreachable", server)
    stays_true(lambda: outbox_worker(db, server)["state"] == "unreachable", 12, "nobody is back")
    broker.start()
    wait_outbox_state(db, "running", server, timeout=30)
    told = db.query("SELECT state FROM djkafka_event WHERE kind = 'outbox' ORDER BY id DESC LIMIT 2")
    assert told == [("running",), ("unreachable",)]
