"""kafka/producer, driven by hand through the functions of test/src/producer_test.c."""

import re
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TopicPartition
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType
from lib.kafka import Broker, Client
from lib.postgres import TEST_BINDIR, Cluster
from lib.wait import wait_until

FUNCTIONS = """
CREATE FUNCTION open(int, text, text, int, text[], text[]) RETURNS void
    AS 'djkafka', 'djkafka_test_producer_open' LANGUAGE C;
CREATE FUNCTION close(int, int, bool) RETURNS int
    AS 'djkafka', 'djkafka_test_producer_close' LANGUAGE C;
CREATE FUNCTION send(int, text[], int[], bytea[], bytea[], bigint, text[], bytea[], int) RETURNS SETOF text
    AS 'djkafka', 'djkafka_test_producer_send' LANGUAGE C;
CREATE FUNCTION flood(int, text, int, int, int, int, bool, int) RETURNS text
    AS 'djkafka', 'djkafka_test_producer_flood' LANGUAGE C;
CREATE FUNCTION transaction(int, text, text, text, int, bigint, int) RETURNS text
    AS 'djkafka', 'djkafka_test_producer_transaction' LANGUAGE C;
CREATE FUNCTION check_topic(int, text, int) RETURNS text
    AS 'djkafka', 'djkafka_test_producer_check' LANGUAGE C;
CREATE FUNCTION state(int) RETURNS text
    AS 'djkafka', 'djkafka_test_producer_state' LANGUAGE C;
CREATE FUNCTION poll(int, int) RETURNS int
    AS 'djkafka', 'djkafka_test_producer_poll' LANGUAGE C;
"""


class Session:
    """A session that holds producers, by number."""

    def __init__(self, cluster: Cluster, address: str):
        self.address = address
        self.connection = cluster.connect("postgres")
        self.notices: list[str] = []
        self.connection.add_notice_handler(lambda notice: self.notices.append(notice.message_primary))

    def value(self, query: str, *parameters: Any) -> Any:
        return self.connection.execute(query, parameters).fetchone()[0]

    def open(self, slot: int = 0, transactional_id: str | None = None, queue_kb: int = 65536, **options: Any) -> None:
        names = [name.replace("_", ".") for name in options]
        values = [str(value) for value in options.values()]
        self.value(
            "SELECT open(%s, %s, %s, %s, %s::text[], %s::text[])",
            *(slot, self.address, transactional_id, queue_kb, names, values),
        )

    def close(self, slot: int = 0, timeout: float = 5, by_reset: bool = False) -> int:
        return self.value("SELECT close(%s, %s, %s)", slot, int(timeout * 1000), by_reset)

    def send(
        self, *messages: tuple, slot: int = 0, time: int = 0, headers: tuple = (), timeout: float = 30
    ) -> list[str]:
        """Each message is (topic, key, value) or (topic, key, value, partition)."""
        rows = [(*message, -1)[:4] for message in messages]
        query = "SELECT * FROM send(%s, %s::text[], %s::int[], %s::bytea[], %s::bytea[], %s, %s::text[], %s::bytea[], %s)"
        cursor = self.connection.execute(
            query,
            (
                slot,
                [row[0] for row in rows],
                [row[3] for row in rows],
                [row[1] for row in rows],
                [row[2] for row in rows],
                time,
                [header[0] for header in headers],
                [header[1] for header in headers],
                int(timeout * 1000),
            ),
        )
        return [row[0] for row in cursor]

    def flood(
        self, topic: str, count: int, first: int = 0, size: int = 100, keys: int = 100,
        slot: int = 0, wait: bool = True, timeout: float = 120,
    ) -> str:
        return self.value(
            "SELECT flood(%s, %s, %s, %s, %s, %s, %s, %s)",
            *(slot, topic, first, count, size, keys, wait, int(timeout * 1000)),
        )

    def transaction(
        self, what: str, group: str = "g", topic: str = "t", number: int = 0, slot: int = 0, timeout: float = 20
    ) -> str:
        return self.value(
            "SELECT transaction(%s, %s, %s, %s, 0, %s, %s)", slot, what, group, topic, number, int(timeout * 1000)
        )

    def check(self, topic: str, slot: int = 0, timeout: float = 30) -> str:
        return self.value("SELECT check_topic(%s, %s, %s)", slot, topic, int(timeout * 1000))

    def state(self, slot: int = 0) -> str:
        return self.value("SELECT state(%s)", slot)


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    made = Cluster(bindir=TEST_BINDIR)
    try:
        made.start()
        made.query(FUNCTIONS)
        yield made
        assert not made.crashes(), made.log()[-4000:]
    finally:
        made.destroy()


@pytest.fixture
def session(server: Cluster, kafka: Client) -> Iterator[Session]:
    made = Session(server, kafka.address)
    yield made
    made.connection.close()


def read(client: Client, topic: str, expected: int, **options: Any) -> list:
    """The messages of a topic, at least as many as expected and all up to its end."""
    reader = client.consumer(f"read-{topic}", **options)
    ends = client.end_offsets(topic)
    reader.assign([TopicPartition(topic, partition, 0) for partition in ends])
    messages: list = []

    def complete() -> bool:
        messages.extend(m for m in reader.consume(10000, 0.2) if m.error() is None)
        return len(messages) >= expected and all(
            position.offset >= ends[position.partition] or ends[position.partition] == 0
            for position in reader.position(reader.assignment())
        )

    try:
        wait_until(complete, timeout=60, message=lambda: f"{expected} messages, there are {len(messages)}")
    finally:
        reader.close()
    return messages


def numbers(messages: list) -> list[int]:
    return [int(message.value()[:12]) for message in messages]


def assert_in_order(messages: list) -> None:
    last: dict[bytes, int] = {}
    for message in messages:
        number = int(message.value()[:12])
        assert number > last.get(message.key(), -1), f"key {message.key()}: {number} after {last[message.key()]}"
        last[message.key()] = number


def test_order_and_partitions(session: Session, kafka: Client, unique) -> None:
    topic = kafka.create_topic(unique("order"), 4)
    session.open(queue_kb=4096)
    assert session.flood(topic, 100_000, keys=1000).startswith("done 100000, refused 0, blocked 0, failed 0, pending 0")
    assert session.state() == "good, 0 in flight"
    messages = read(kafka, topic, 100_000)
    assert sorted(numbers(messages)) == list(range(100_000))
    assert_in_order(messages)
    places: dict[bytes, set] = {}
    for message in messages:
        places.setdefault(message.key(), set()).add(message.partition())
    assert all(len(found) == 1 for found in places.values()), "a key is in one partition"

    # without a key they are spread
    keyless = kafka.create_topic(unique("keyless"), 4)

    def spread() -> bool:
        session.send(*[(keyless, None, b"v")] * 50)
        return all(kafka.end_offsets(keyless).values())

    wait_until(spread, message="every partition has some")

    # another client on the same library chooses the same ones
    producer = kafka.producer()
    elsewhere: dict[bytes, int] = {}
    for key in list(places)[:50]:
        producer.produce(topic, b"x", key, on_delivery=lambda _e, m: elsewhere.update({m.key(): m.partition()}))
    producer.flush(30)
    assert all(places[key] == {partition} for key, partition in elsewhere.items())


def test_bytes(session: Session, kafka: Client, unique) -> None:
    topic = kafka.create_topic(unique("bytes"), 2)
    session.open()
    headers = (("a", b"1"), ("a", b"2"), ("none", None), ("empty", b""), ("bin", b"\x00\xff"))
    answers = session.send(
        (topic, b"k", b"v", 1),
        (topic, None, b"", 1),
        (topic, b"", None, 1),
        (topic, b"\x00\xff", b"\xff\x00", 1),
        headers=headers,
        time=1_600_000_000_123,
    )
    assert answers == [f"done 1@{offset}" for offset in range(4)]
    messages = read(kafka, topic, 4)
    assert [(m.key(), m.value()) for m in messages] == [
        (b"k", b"v"), (None, b""), (b"", None), (b"\x00\xff", b"\xff\x00"),
    ]
    for message in messages:
        assert message.headers() == list(headers)
        assert message.timestamp() == (TIMESTAMP_CREATE_TIME, 1_600_000_000_123)
        assert message.partition() == 1


def test_partition_that_is_not_there(session: Session, topic: str) -> None:
    session.open()
    # before and after the library knows the topic
    assert session.send((topic, b"k", b"v", 7)) == ["refused _UNKNOWN_PARTITION"]
    assert session.send((topic, b"k", b"v", 7), (topic, b"k", b"v")) == ["refused _UNKNOWN_PARTITION", "done 0@0"]
    assert session.state() == "good, 0 in flight"


def test_topic_that_is_not_there(session: Session, kafka: Client, topic: str, unique) -> None:
    missing = unique("missing")
    session.open()
    assert session.check(topic) == "done 1"
    assert session.check(missing) == "blocked 0UNKNOWN_TOPIC_OR_PART"
    answers = session.send((missing, b"k", b"1"), (topic, b"k", b"v"), (missing, b"k", b"2"))
    assert [answer.split()[0] for answer in answers] == ["blocked", "done", "blocked"]
    assert session.send(("not a name!", b"k", b"1"))[0].startswith("blocked")

    # created meanwhile: nothing is sent before somebody has looked
    kafka.create_topic(missing)
    assert session.send((missing, b"k", b"3"))[0].startswith("blocked")
    assert session.check(missing) == "done 1"
    assert session.send((missing, b"k", b"1"), (missing, b"k", b"2")) == ["done 0@0", "done 0@1"]


def test_topic_deleted_in_flight(session: Session, kafka: Client, topic: str, unique) -> None:
    doomed = kafka.create_topic(unique("doomed"))
    session.open()
    assert session.send((doomed, b"k", b"1")) == ["done 0@0"]
    kafka.delete_topic(doomed)
    session.value("SELECT set_config('statement_timeout', '20s', false)")
    answers = session.send((doomed, b"k", b"2"), (topic, b"k", b"v"), timeout=15)
    assert answers[0].startswith("blocked") and answers[1] == "done 0@0"
    assert session.state() == "good, 0 in flight"

    kafka.create_topic(doomed)
    assert session.check(doomed) == "done 1"
    assert session.send((doomed, b"k", b"2"), (doomed, b"k", b"3"))[0].split()[0] in ("done", "failed")


def test_too_large(session: Session, kafka: Client, topic: str, unique) -> None:
    small = kafka.create_topic(unique("small"), 1, max_message_bytes=2000)
    session.open(linger_ms=50)
    # for the library itself: its neighbours go on
    big = b"x" * 1_100_000
    assert session.send((topic, b"k", b"1"), (topic, b"k", big), (topic, b"k", b"2")) == [
        "done 0@0", "refused MSG_SIZE_TOO_LARGE", "done 0@1",
    ]
    # for the broker: its neighbours are refused with it, and the producer is spent
    answers = session.send((small, b"k", b"1"), (small, b"k", b"x" * 3000), (small, b"k", b"2"))
    assert answers == ["refused MSG_SIZE_TOO_LARGE"] * 3
    assert session.state() == "spent, 0 in flight: librdkafka's error is _GAPLESS_GUARANTEE."
    assert session.send((topic, b"k", b"3"))[0].startswith("failed")
    assert session.close() < 3000
    assert read(kafka, topic, 2)[-1].value() == b"2"

    # alone, each gets its own answer
    session.open()
    assert session.send((small, b"k", b"1")) == ["done 0@0"]
    assert session.send((small, b"k", b"x" * 3000)) == ["refused MSG_SIZE_TOO_LARGE"]
    session.close()
    session.open()
    assert session.send((small, b"k", b"2")) == ["done 0@1"]


def test_spent_by_doubt(server: Cluster, kafka: Client, topic: str, late_leader) -> None:
    """What the library would still send overtakes what it has lost."""
    session = Session(server, late_leader(topic).address)
    session.open(batch_num_messages=1)
    answers = session.send((topic, b"k", b"1"), (topic, b"k", b"2"))
    assert [answer.split()[0] for answer in answers] == ["failed"] * 2
    assert session.state() == "spent, 0 in flight: librdkafka's error is OUT_OF_ORDER_SEQUENCE_NUMBER."
    assert session.send((topic, b"k", b"3"))[0].startswith("failed")
    session.connection.close()
    assert [message.value() for message in read(kafka, topic, 1)] == [b"2"]


def test_queue_is_bounded(session: Session, topic: str) -> None:
    session.open(queue_kb=1024)
    assert session.send((topic, b"k", b"x" * 1_100_000)) == ["refused MSG_SIZE_TOO_LARGE"]
    assert session.flood(topic, 5_000, size=10_000).startswith("done 5000,")


def test_broker_away(server: Cluster, own_broker) -> None:
    broker: Broker = own_broker()
    client = Client(broker.address)
    topic = client.create_topic("away", 2)
    session = Session(server, broker.address)
    session.open(queue_kb=1024)
    assert session.flood(topic, 1000).startswith("done 1000,")
    answer: list[str] = []
    flood = threading.Thread(target=lambda: answer.append(session.flood(topic, 400_000, first=1000, timeout=200)))
    flood.start()
    wait_until(lambda: sum(client.end_offsets(topic).values()) > 5000, message="the flood has begun")
    broker.kill()
    wait_until(lambda: any("(unreachable)" in line for line in session.notices), message="the library says so")
    broker.start()
    flood.join(200)
    assert answer and answer[0].startswith("done 400000, refused 0, blocked 0, failed 0, pending 0"), answer
    assert session.state() == "good, 0 in flight"
    messages = read(client, topic, 401_000)
    assert sorted(numbers(messages)) == list(range(401_000)), "nothing is lost or doubled"
    assert_in_order(messages)
    session.connection.close()


@pytest.mark.parametrize("by_reset", [False, True])
def test_end_with_messages_in_flight(session: Session, server: Cluster, topic: str, by_reset: bool) -> None:
    session.open()
    assert "pending 20000" in session.flood(topic, 20_000, wait=False)
    assert session.close(by_reset=by_reset) < 3000

    # nobody answers, and the session just leaves
    session.address = "127.0.0.1:1"
    session.open()
    session.send((topic, b"k", b"v"), timeout=0)
    assert session.state() == "good, 1 in flight"
    assert session.check(topic, timeout=1) == "failed 0_TRANSPORT"
    if by_reset:
        assert session.close() < 3000
        return
    pid = session.connection.info.backend_pid
    session.connection.close()
    gone = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    wait_until(lambda: server.query(gone, pid)[0][0] == 0, timeout=10, message="the session is gone")


def test_interrupt(session: Session, server: Cluster) -> None:
    session.address = "127.0.0.1:1"
    session.open(transactional_id="nobody")
    session.value("SELECT set_config('statement_timeout', '300ms', false)")
    with pytest.raises(psycopg.errors.QueryCanceled):
        session.check("t", timeout=60)
    with pytest.raises(psycopg.errors.QueryCanceled):
        session.transaction("init", timeout=60)
    session.value("SELECT set_config('statement_timeout', '0', false)")
    assert session.close() < 3000


def test_speed(session: Session, kafka: Client, unique) -> None:
    topic = kafka.create_topic(unique("speed"))
    session.open()
    answer = session.flood(topic, 200_000, size=100)
    milliseconds = int(re.search(r"(\d+) ms", answer)[1])
    print(f"{200_000 / milliseconds * 1000:.0f} messages/s")
    assert answer.startswith("done 200000,")


# -- transactions


@pytest.fixture
def carrier(kafka: Client, unique) -> str:
    """A topic whose partition 0 the numbers of batches are carried on."""
    return kafka.create_topic(unique("carrier"))


def test_transactions(session: Session, kafka: Client, topic: str, carrier: str) -> None:
    group = f"group-{topic}"
    session.open(transactional_id=topic)
    assert session.transaction("init") == "ok"
    assert session.transaction("carried", group, carrier) == "-1"

    assert session.transaction("begin") == "ok"
    assert session.send((topic, b"k", b"1"), (topic, b"k", b"2")) == ["done 0@0", "done 0@1"]
    assert session.transaction("carry", group, carrier, 41) == "ok"
    assert session.transaction("commit") == "ok"
    assert session.transaction("carried", group, carrier) == "41"

    # given up: nothing of it is read, and the number stays
    assert session.transaction("begin") == "ok"
    assert session.send((topic, b"k", b"no"))[0].startswith("done")
    assert session.transaction("carry", group, carrier, 42) == "ok"
    assert session.transaction("abort") == "ok"
    assert session.transaction("carried", group, carrier) == "41"

    # given up with messages in flight
    assert session.transaction("begin") == "ok"
    session.flood(topic, 20_000, wait=False)
    assert session.transaction("abort") == "ok"
    assert session.state() == "good, 0 in flight"

    assert session.transaction("begin") == "ok"
    assert session.send((topic, b"k", b"3"))[0].startswith("done")
    assert session.transaction("carry", group, carrier, 42) == "ok"
    assert session.transaction("commit") == "ok"
    assert session.transaction("carried", group, carrier) == "42"
    messages = read(kafka, topic, 3, isolation_level="read_committed")
    assert [message.value() for message in messages] == [b"1", b"2", b"3"]


def test_transaction_with_refused_messages(session: Session, kafka: Client, topic: str, unique) -> None:
    small = kafka.create_topic(unique("small"), 1, max_message_bytes=2000)
    session.open(transactional_id=topic, linger_ms=20)
    assert session.transaction("init") == "ok"

    assert session.transaction("begin") == "ok"
    answers = session.send((topic, b"k", b"1"), (small, b"k", b"x" * 3000), (small, b"k", b"2"))
    assert answers[1:] == ["refused MSG_SIZE_TOO_LARGE"] * 2
    assert session.transaction("commit") == "abort"
    assert session.transaction("abort") == "ok"

    assert session.transaction("begin") == "ok"
    assert session.send((unique("missing"), b"k", b"1"))[0].startswith("blocked")
    assert session.transaction("abort") == "ok"

    # what was refused is a gap in the library's count, for which the broker refuses once more
    def sent() -> bool:
        assert session.transaction("begin") == "ok"
        session.send((topic, b"k", b"3"), (small, b"k", b"4"))
        result = session.transaction("commit")
        return result == "ok" or (result, session.transaction("abort")) != ("abort", "ok")

    assert sent() or sent()
    assert session.state() == "good, 0 in flight"
    assert read(kafka, topic, 1, isolation_level="read_committed")[-1].value() == b"3"
    assert [m.value() for m in read(kafka, small, 1, isolation_level="read_committed")] == [b"4"]


def test_answer_lost_in_a_transaction(server: Cluster, kafka: Client, topic: str, unique, lost_answer) -> None:
    """What was sent leaves its numbers to what comes after the abort, and a broker takes that for the same."""
    small, name = kafka.create_topic(unique("small"), 1, max_message_bytes=2000), unique("name")
    session = Session(server, lost_answer(topic, small).address)
    session.open(0, transactional_id=name, linger_ms=200)
    assert session.transaction("init") == session.transaction("begin") == "ok"
    assert session.send((topic, b"k", b"1"), (small, b"k", b"x" * 3000), timeout=0.3)[0] == "pending"
    wait_until(lambda: session.transaction("begin") == "abort", message="the other one is refused")
    assert session.transaction("abort") == "ok"
    assert session.transaction("purged") == "yes"

    # so another producer sends it
    session.open(1, transactional_id=name)
    assert session.transaction("init", slot=1) == session.transaction("begin", slot=1) == "ok"
    assert session.send((topic, b"k", b"2"), slot=1)[0].startswith("done")
    assert session.transaction("commit", slot=1) == "ok"
    session.connection.close()
    assert [message.value() for message in read(kafka, topic, 1, isolation_level="read_committed")] == [b"2"]


def test_empty_transaction(session: Session, topic: str, carrier: str) -> None:
    session.open(transactional_id=topic)
    assert session.transaction("init") == "ok"
    for number in range(3):
        assert session.transaction("begin") == "ok"
        assert session.transaction("carry", f"group-{topic}", carrier, number) == "ok"
        assert session.transaction("commit") == "ok"
    assert session.transaction("carried", f"group-{topic}", carrier) == "2"


def test_fenced(session: Session, kafka: Client, topic: str) -> None:
    session.open(0, transactional_id=topic)
    session.open(1, transactional_id=topic)
    assert session.transaction("init", slot=0) == "ok"
    assert session.transaction("begin", slot=0) == "ok"
    assert session.send((topic, b"k", b"old"), slot=0)[0].startswith("done")
    assert session.transaction("init", slot=1) == "ok"
    assert session.transaction("commit", slot=0) == "spent"
    assert session.state(0).endswith("FENCED.")
    assert session.transaction("begin", slot=0) == "spent"
    assert session.send((topic, b"k", b"old"), slot=0)[0].startswith("failed")

    assert session.transaction("begin", slot=1) == "ok"
    assert session.send((topic, b"k", b"new"), slot=1)[0].startswith("done")
    assert session.transaction("commit", slot=1) == "ok"
    assert session.close(0) < 3000
    assert [m.value() for m in read(kafka, topic, 1, isolation_level="read_committed")] == [b"new"]

    # noticed while sending
    session.open(0, transactional_id=topic)
    assert session.transaction("init", slot=0) == "ok"
    assert session.transaction("begin", slot=1) == "ok"
    assert session.send((topic, b"k", b"old"), slot=1)[0].startswith("failed")
    assert session.transaction("commit", slot=1) == "spent"
    assert session.state(1).endswith("FENCED.")


@pytest.mark.parametrize("committed", [False, True])
def test_killed_in_transaction(server: Cluster, kafka: Client, topic: str, carrier: str, committed: bool) -> None:
    group = f"group-{topic}"
    first = Session(server, kafka.address)
    first.open(transactional_id=topic)
    assert first.transaction("init") == "ok"
    for number in (1, 2):
        assert first.transaction("begin") == "ok"
        assert first.send((topic, b"k", str(number).encode()))[0].startswith("done")
        assert first.transaction("carry", group, carrier, number) == "ok"
        if number == 1 or committed:
            assert first.transaction("commit") == "ok"
    server.query("SELECT pg_terminate_backend(%s)", first.connection.info.backend_pid)
    first.connection.close()

    second = Session(server, kafka.address)
    if not committed:
        # undecided: no answer before the transaction's end
        second.open(1, transactional_id=f"{topic}-other")
        assert second.transaction("carried", group, carrier, slot=1, timeout=1).startswith("unknown")
    second.open(transactional_id=topic)
    assert second.transaction("init") == "ok"
    assert second.transaction("carried", group, carrier) == ("2" if committed else "1")
    found = read(kafka, topic, 1, isolation_level="read_committed")
    assert [m.value() for m in found] == ([b"1", b"2"] if committed else [b"1"])
    second.connection.close()


def test_broker_away_in_transaction(server: Cluster, own_broker) -> None:
    broker: Broker = own_broker()
    client = Client(broker.address)
    topic, carrier = client.create_topic("away"), client.create_topic("carrier")
    session = Session(server, broker.address)
    session.open(transactional_id="one")
    assert session.transaction("init") == "ok"
    assert session.transaction("begin") == "ok"
    assert session.flood(topic, 1000).startswith("done 1000,")
    assert session.transaction("carry", "g", carrier, 1) == "ok"
    broker.kill()
    assert session.transaction("commit", timeout=2) == "retry"
    assert session.transaction("carried", "g", carrier, timeout=1).startswith("unknown")
    session.open(1, transactional_id="two")
    assert session.transaction("init", slot=1, timeout=1) == "retry"
    broker.start()
    assert session.transaction("init", slot=1, timeout=30) == "ok"
    assert session.transaction("commit", timeout=30) == "ok"
    assert session.transaction("carried", "g", carrier) == "1"
    assert len(read(client, topic, 1000, isolation_level="read_committed")) == 1000
    session.connection.close()


def test_embedded_broker() -> None:
    made = Cluster(bindir=TEST_BINDIR, djkafka__embedded_broker="on")
    try:
        made.start()
        made.query(FUNCTIONS + "CREATE EXTENSION djkafka")
        address = wait_until(lambda: made.query("SELECT djkafka_embedded_broker()")[0][0], message="its address")
        session = Session(made, address)
        session.open()
        assert session.check("made") == "done 4"
        assert session.send(("made", b"k", b"v", 2), ("other", b"k", b"v", 1)) == ["done 2@0", "done 1@0"]
        assert session.flood("made", 20_000).startswith("done 20000,")
        assert session.close() < 3000
        session.connection.close()
    finally:
        made.destroy()


def test_topic_that_may_not_be_written(server: Cluster, own_broker) -> None:
    broker: Broker = own_broker(
        authorizer_class_name="org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        allow_everyone_if_no_acl_found="true",
    )
    client = Client(broker.address)
    closed, hidden, opened = (client.create_topic(name) for name in ("closed", "hidden", "opened"))
    allow, deny = AclPermissionType.ALLOW, AclPermissionType.DENY
    for topic, *rights in (
        (closed, AclOperation.DESCRIBE, allow), (closed, AclOperation.WRITE, deny), (hidden, AclOperation.ALL, deny),
    ):
        place = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL)
        rule = AclBinding(*place, "User:ANONYMOUS", "*", *rights)
        client.admin.create_acls([rule])[rule].result(20)
    session = Session(server, broker.address)
    session.open()
    assert session.check(hidden) == "blocked 0TOPIC_AUTHORIZATION_FAILED"
    answers = session.send((hidden, b"k", b"v"), (opened, b"k", b"v"))
    assert answers == ["blocked TOPIC_AUTHORIZATION_FAILED", "done 0@0"]
    assert session.state() == "good, 0 in flight"
    assert session.send((hidden, b"k", b"v")) == ["blocked TOPIC_AUTHORIZATION_FAILED"]

    # that we may not write is not known before, and costs the producer
    assert session.check(closed) == "done 1"
    assert session.send((closed, b"k", b"v")) == ["blocked TOPIC_AUTHORIZATION_FAILED"]
    assert session.state().startswith("spent")
    session.connection.close()
