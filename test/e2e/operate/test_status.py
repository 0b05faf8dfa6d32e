"""What is shown of workers: state, reason, lag, and when they are tried again."""

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from lib.djkafka import wait_count, wait_state, wait_value, workers
from lib.kafka import Client, Record
from lib.outbox import make_server
from lib.postgres import Cluster, Database
from lib.wait import wait_until


def test_max_workers_used_up(own_cluster, kafka: Client, topic: str, unique) -> None:
    """The launcher and a supervisor take one each."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__max_workers=3)
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    for consumer in ("first", "second"):
        db.query("SELECT djkafka_subscribe(%s, 'item', consumer => %s)", topic, consumer)
    wait_state(db, "running", "first")
    found = wait_state(db, "no_worker_slot", "second")
    assert "djkafka.max_workers" in found["reason"] and "Raise djkafka.max_workers" in found["hint"]
    assert db.query("SELECT consumer, verdict FROM djkafka_health()") == [("first", "ok"), ("second", "critical")]
    # Who asks for very many does not fill the log.
    db.query("UPDATE djkafka_consumer SET workers = 256 WHERE name = 'second'")
    missing = "SELECT reason ~ '256 of this database' FROM djkafka_worker_status() WHERE kind = 'supervisor'"
    wait_value(db, missing, True)
    assert cluster.log().count("Raise djkafka.max_workers") == 1
    db.query("SELECT djkafka_drop_consumer('second')")
    wait_value(db, "SELECT state FROM djkafka_worker_status() WHERE kind = 'supervisor'", "running")

    # The outbox finds no place either, and says so.
    db.query("SELECT djkafka_produce(%s, 'value')", topic)
    wait_value(db, "SELECT state FROM djkafka_outbox_status", "no_worker_slot")
    reason, hint = db.query("SELECT reason, hint FROM djkafka_outbox_status")[0]
    assert "djkafka.max_workers" in reason and "Raise djkafka.max_workers" in hint
    assert ("critical", "settings") in db.query("SELECT verdict, outbox FROM djkafka_health()")
    db.query("UPDATE djkafka_outbox_server SET enabled = false")
    assert db.query("SELECT state, reason, hint FROM djkafka_outbox_status") == [("paused", None, None)]

    cluster.configure(djkafka__max_workers=1)
    db.disconnect()
    cluster.restart()
    found = wait_state(db, "no_worker_slot", "first")
    assert "Raise djkafka.max_workers" in found["hint"]


def test_running_without_a_reason(db: Database, kafka: Client, topic: str, cluster) -> None:
    """The first of several workers that runs again does not show why the others are still away."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_create_consumer('c', workers => 4)")
    db.query("SELECT djkafka_create_route('c', %s, 'item')", topic)
    every = "SELECT count(*) FROM djkafka_worker_status() WHERE kind = 'consumer' AND state = 'running'"
    wait_value(db, every, 4)
    for _ in range(3):
        db.query("SELECT djkafka_restart('c')")
        wait_until(lambda: db.value(every) < 4, message="the workers leave", interval=0.005)
        seen = []
        wait_until(
            lambda: seen.append(tuple(db.query("SELECT state, reason FROM djkafka_status")[0])) or db.value(every) == 4,
            message="the workers are back",
            interval=0.001,
        )
        assert not [pair for pair in seen if pair[0] == "running" and pair[1] is not None]


def test_reload_forgets_failures(own_cluster, kafka: Client, topic: str, unique) -> None:
    """Whoever fixes a setting does not wait for the backoff."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__properties='{"receive.message.max.bytes": 1000}')
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    wait_until(lambda: (db.value("SELECT attempt FROM djkafka_status") or 0) >= 3, message="it has failed three times")
    cluster.reload()
    wait_value(db, "SELECT attempt FROM djkafka_status", 1, timeout=3)
    found = wait_state(db, "broken")
    assert "receive.message.max.bytes" in found["reason"], found["reason"]
    assert "receive.message.max.bytes" not in found["hint"] and "options of the server" in found["hint"]
    wait_until(lambda: (db.value("SELECT attempt FROM djkafka_status") or 0) >= 3, message="it has failed three times")
    cluster.configure(djkafka__properties="")
    cluster.reload()
    wait_state(db, "running", timeout=8)


def test_owner_dropped(db: Database, kafka: Client, topic: str, unique) -> None:
    """A worker does not outlive its owner's role, and whoever meets the consumer is told."""
    role, other = unique("leaver"), unique("other")
    db.query(f"CREATE ROLE {role} LOGIN SUPERUSER", user="postgres")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 'item', consumer => 'c')", topic, user=role)
    wait_state(db, "running", "c")
    db.disconnect()
    db.query(f"DROP ROLE {role}", user="postgres")
    db.query("SELECT djkafka_create_consumer(%s)", other)  # makes the supervisor look
    found = wait_state(db, "broken", "c")
    assert "owner does not exist" in found["reason"] and "djkafka_alter_consumer" in found["hint"]
    for user in (db.owner, "postgres"):
        with pytest.raises(psycopg.errors.UndefinedObject, match="owner does not exist") as error:
            db.query("SELECT djkafka_pause('c')", user=user)
        assert "djkafka_alter_consumer" in (error.value.diag.message_hint or "")
    db.query("UPDATE djkafka_consumer SET owner = %s::regrole WHERE name = 'c'", db.owner, user="postgres")
    wait_state(db, "running", "c")


def test_lag_is_what_somebody_watches(db: Database, own_broker) -> None:
    """Where nobody sees the end of a partition, lag is not known; it is not 0."""
    broker = own_broker()
    client = Client(broker.address)
    client.create_topic("watched")
    db.query(f"CREATE SERVER own FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers '{broker.address}')", user="postgres")
    db.query("GRANT USAGE ON FOREIGN SERVER own TO PUBLIC", user="postgres")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text)")
    db.query("SELECT djkafka_create_consumer('c', server => 'own')")
    db.query("SELECT djkafka_create_route('c', 'watched', 'item', columns => %s)", '{"name": "topic"}')
    client.produce("watched", [Record('{"id": 1}')])
    lag = "SELECT lag FROM djkafka_status"
    wait_count(db, "item", 1)
    wait_value(db, lag, 0)

    db.query("ALTER TABLE item DROP name")
    client.produce("watched", [Record('{"id": 2}')])
    wait_state(db, "broken", "c")
    wait_value(db, "SELECT count(*) FROM djkafka_partition_status WHERE pid IS NULL AND lag IS NULL", 1)
    wait_value(db, lag, None)
    db.query("ALTER TABLE item ADD name text")
    wait_count(db, "item", 2)
    wait_value(db, lag, 0)

    with db.connect() as other, other.transaction():
        other.execute("LOCK TABLE item")
        client.produce("watched", [Record('{"id": 3}')])
        wait_state(db, "waiting_for_lock", "c")
        client.produce("watched", [Record('{"id": 4}')])
        wait_value(db, lag, None)
    wait_count(db, "item", 4)
    wait_value(db, lag, 0)

    db.query("SELECT djkafka_pause('c')")
    wait_state(db, "paused", "c")
    wait_value(db, lag, None)
    db.query("SELECT djkafka_resume('c')")
    wait_value(db, lag, 0)

    broker.stop()
    wait_state(db, "unreachable", "c")
    wait_value(db, lag, None)
    broker.start()
    wait_state(db, "running", "c", timeout=60)
    wait_value(db, lag, 0)


def test_server_that_is_altered(db: Database, kafka: Client, topic: str) -> None:
    """Nobody has to restart the consumer."""
    kafka.produce(topic, [Record("a")])
    db.query("CREATE SERVER moved FOREIGN DATA WRAPPER djkafka OPTIONS (bootstrap_servers '127.0.0.1:1')", user="postgres")
    db.query("GRANT USAGE ON FOREIGN SERVER moved TO PUBLIC", user="postgres")
    db.query("CREATE TABLE log (topic text)")
    db.query("SELECT djkafka_create_consumer('c', server => 'moved')")
    db.query("SELECT djkafka_create_route('c', %s, 'log', operation => 'insert', format => 'raw')", topic)
    wait_state(db, "unreachable", "c")
    db.query(f"ALTER SERVER moved OPTIONS (SET bootstrap_servers '{kafka.address}')", user="postgres")
    wait_count(db, "log", 1)


def test_slots_are_given_back(own_cluster: Callable[..., Cluster], kafka: Client, topic: str) -> None:
    """A database that is dropped leaves no slot behind."""
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__max_workers=8)
    for number in range(4):
        db = Database(cluster, f"db{number}")
        db.query("CREATE EXTENSION djkafka")
        db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text)")
        db.query("SELECT djkafka_create_consumer('c', workers => 3)")
        db.query("SELECT djkafka_create_route('c', %s, 'item')", topic)
        wait_until(lambda: len(workers(db, "c")) == 3, message=lambda: f"three workers run:\n{cluster.log()[-2000:]}")
        db.destroy()


@pytest.mark.parametrize(
    ("address", "options", "cause"),
    [
        ("nowhere.invalid:9092", {}, "nowhere.invalid:9092"),
        ("127.0.0.1:1", {}, "127.0.0.1:1"),
        ("[::1]:1, nowhere.invalid", {}, r"nowhere.invalid:9092|\[::1\]:1"),
        (None, {"security_protocol": "ssl"}, "SSL handshake failed|in state SSL_HANDSHAKE"),
        (None, {"security_protocol": "sasl_plaintext", "sasl_mechanism": "PLAIN"}, "SASL"),
    ],
    ids=["name", "refused", "several", "ssl", "sasl"],
)
def test_cause_is_told(
    db: Database, kafka: Client, topic: str, address: str | None, options: dict[str, str], cause: str
) -> None:
    """Of whoever reads, whoever sends, and whoever asks: which address, and why it does not answer."""
    server = make_server(db, address or kafka.address, "at_least_once", **options)
    mapping = f"CREATE USER MAPPING FOR PUBLIC SERVER {server} OPTIONS (sasl_username 'me', sasl_password 'no')"
    db.query(mapping, user="postgres")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_create_consumer('c', server => %s)", server)
    db.query("SELECT djkafka_create_route('c', %s, 'item')", topic)
    db.query("SELECT djkafka_produce(%s, 'value', server => %s)", topic, server)
    for view in ("djkafka_status", "djkafka_outbox_status"):
        said = f"SELECT state, reason FROM {view}"
        bad = f"SELECT state IN ('unreachable', 'broken') AND reason ~ %s FROM {view}"
        wait_until(lambda: db.value(bad, cause), message=lambda: f"{view} tells the cause: {db.query(said)}")
    assert db.query("SELECT DISTINCT verdict FROM djkafka_health()") == [("critical",)]
    with pytest.raises(psycopg.Error) as raised:
        db.query("SELECT djkafka_topics(%s, timeout => '3 s')", server)
    error = raised.value.diag
    assert re.search(cause, f"{error.message_primary} {error.message_detail}")
    assert ("security_protocol" in error.message_hint) == bool(options)


def serve(listener: socket.socket, answer: bytes) -> None:
    """Hears a question, answers each alike and hangs up; until the listener is closed."""
    with contextlib.suppress(OSError):
        while True:
            with listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(answer)


def hang_up(listener: socket.socket) -> None:
    """Takes each connection and closes it; until the listener is closed."""
    with contextlib.suppress(OSError):
        while True:
            listener.accept()[0].close()


@pytest.fixture
def stranger(request: pytest.FixtureRequest, secure_address: str) -> Iterator[str]:
    """The address of what does not speak as its clients do: another listener of Kafka's, or no Kafka at all."""
    if request.param is None:
        yield secure_address
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener, request.param), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("stranger", "cause"),
    [(None, "security.protocol"), (b"", "security.protocol"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Invalid response")],
    indirect=["stranger"],
    ids=["sasl", "tls", "http"],
)
def test_other_protocol_is_told(db: Database, topic: str, stranger: str, cause: str) -> None:
    """Who speaks plain text to a listener of TLS or SASL is hung up on without a word: what that may mean is told."""
    server = make_server(db, stranger, "at_least_once")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_create_consumer('c', server => %s)", server)
    db.query("SELECT djkafka_create_route('c', %s, 'item')", topic)
    db.query("SELECT djkafka_produce(%s, 'value', server => %s)", topic, server)
    for view in ("djkafka_status", "djkafka_outbox_status"):
        said = f"SELECT state, reason FROM {view}"
        bad = f"SELECT state = 'unreachable' AND reason ~ %s AND reason ~ %s FROM {view}"
        wait_until(lambda: db.value(bad, stranger, cause), message=lambda: f"{view} tells the cause: {db.query(said)}")
    with pytest.raises(psycopg.OperationalError) as raised:
        db.query("SELECT djkafka_topics(%s, timeout => '3 s')", server)
    assert cause in raised.value.diag.message_detail


def test_handshake_that_fails_at_once(db: Database) -> None:
    """Who is hung up on before the first word of TLS is told what to look at, as who is hung up on after it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=hang_up, args=(listener,), daemon=True).start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        server = make_server(db, address, "at_least_once", security_protocol="ssl")
        with pytest.raises(psycopg.Error) as raised:
            db.query("SELECT djkafka_topics(%s, timeout => '1 s')", server)
        listener.shutdown(socket.SHUT_RDWR)
    assert address in raised.value.diag.message_primary
    assert "security_protocol" in raised.value.diag.message_hint


def refuse(listener: socket.socket, text: bytes) -> None:
    """A broker that takes nobody's password, and says so in this text; until the listener is closed."""
    answers = {
        17: struct.pack(">hih", 0, 1, 5) + b"PLAIN",  # SaslHandshake
        36: struct.pack(">hh", 58, len(text)) + text + bytes(4),  # SaslAuthenticate
    }
    apis = b"".join(struct.pack(">hhh", key, 0, 1) for key in (*answers, 18))
    with contextlib.suppress(OSError):
        while True:
            with listener.accept()[0] as connection, contextlib.suppress(struct.error):
                while True:
                    (size,) = struct.unpack(">i", connection.recv(4))
                    key, version, number = struct.unpack(">hhi", connection.recv(size)[:8])
                    # ApiVersions, of which only the first version is known
                    body = answers.get(key) or struct.pack(">hi", 0 if version == 0 else 35, 3) + apis
                    connection.sendall(struct.pack(">ii", len(body) + 4, number) + body)


def test_text_of_a_broker_is_cut_between_characters(db: Database, topic: str) -> None:
    """Half a character would be an error for whoever looks at the status, or restores a dump of the events."""
    secure = {"security_protocol": "sasl_plaintext", "sasl_mechanism": "PLAIN"}
    with contextlib.ExitStack() as stack:
        for shift in range(2):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            text = ("a" * shift + "é" * 200).encode()
            threading.Thread(target=refuse, args=(listener, text), daemon=True).start()
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            server = make_server(db, address, "at_least_once", f"kafka{shift}", **secure)
            mapping = f"CREATE USER MAPPING FOR PUBLIC SERVER {server} OPTIONS (sasl_username 'me', sasl_password 'no')"
            db.query(mapping, user="postgres")
            db.query("SELECT djkafka_produce(%s, 'value', server => %s)", topic, server)
        told = "SELECT count(*) FROM djkafka_event WHERE kind = 'outbox' AND upper(reason) LIKE '%%ÉÉÉ%%'"
        wait_value(db, told, 2)
        assert all("ééé" in reason for (reason,) in db.query("SELECT reason FROM djkafka_outbox_status"))


def test_read_only_by_default(db: Database, kafka: Client, topic: str) -> None:
    """A default of sessions is no lock: what was committed is sent, what comes is written."""
    db.query(f"ALTER DATABASE {db.name} SET default_transaction_read_only = on", user="postgres")
    db.query(f"ALTER ROLE {db.owner} SET default_transaction_read_only = on", user="postgres")
    db.disconnect()
    writing = "SET default_transaction_read_only = off"
    with db.connect() as connection:
        connection.execute(writing)
        connection.execute("CREATE TABLE item (id bigint PRIMARY KEY)")
        connection.execute("SELECT djkafka_subscribe(%s, 'item')", (topic,))
        connection.execute("SELECT djkafka_produce(%s, '{\"id\": 1}'::jsonb)", (topic,))
    wait_count(db, "item", 1)


def test_address_in_the_configuration(own_cluster: Callable[..., Cluster], topic: str, unique) -> None:
    """What cannot be refused when the server starts is refused when it is used, with the same words."""
    db = Database(own_cluster(djkafka__bootstrap_servers="http://kafka:9092"), unique("db"))
    db.query("CREATE EXTENSION djkafka")
    db.query("CREATE TABLE item (id bigint PRIMARY KEY)")
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    found = wait_state(db, "broken")
    assert "http://kafka:9092" in found["reason"]
    with pytest.raises(psycopg.Error) as raised:
        db.query("SELECT djkafka_topics()")
    assert "http://kafka:9092" in raised.value.diag.message_primary
