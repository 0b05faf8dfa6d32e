"""Where reading begins: looked up for each partition by itself."""

import signal
from collections.abc import Callable, Iterator

import pytest
from conftest import make_internal_topics
from lib import process
from lib.djkafka import assert_audit, explain, positions, status, wait_count, wait_state
from lib.kafka import Broker, Client, Record, free_ports
from lib.outbox import make_server
from lib.postgres import Database
from lib.wait import stays_true, wait_until
from lib.wire import Wire

LAME = 6


START = ("earliest", pytest.param("2020-01-01 00:00:00+00", marks=pytest.mark.long), pytest.param("group", marks=pytest.mark.long))


@pytest.mark.parametrize("start_from", START)
def test_partitions_without_leader(
    two_brokers: tuple[Broker, Broker], db: Database, unique: Callable[[str], str], start_from: str
) -> None:
    """They keep no other one waiting, and begin when they have one."""
    first, second = two_brokers
    client = Client(first.address)
    topic = unique("topic")
    client.place_topic(topic, [[2]] * LAME + [[1]] * 2)
    client.produce(topic, [Record(f"{number}", partition=number) for number in range(LAME + 2)])
    second.kill()
    wait_until(lambda: client.partitions(topic) == 2, message="partitions have lost their leader")

    server = make_server(db, first.address, "at_least_once")
    db.query("CREATE TABLE log (value text, partition int)")
    db.query("SELECT djkafka_create_consumer('default', server => %s, start_from => %s)", server, start_from)
    db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert', format => 'text')", topic)
    wait_until(lambda: db.value("SELECT count(*) FROM log") == 2, 10, lambda: explain(db))
    found = wait_state(db, "unreachable")
    assert "has no leader" in found["reason"]
    client.produce(topic, [Record("live", partition=LAME)])
    wait_count(db, "log", 3, timeout=3)
    assert status(db)["state"] != "running"

    second.start()
    wait_count(db, "log", LAME + 3, timeout=60)
    wait_state(db, "running")
    assert positions(db, topic) == {number: 2 if number == LAME else 1 for number in range(LAME + 2)}
    assert_audit(db, messages=LAME + 3)


def read_of_two_leaders(db: Database, broker: Broker, topic: str) -> str:
    """A topic of which each of two brokers leads a partition, read to its end."""
    client = Client(broker.address)
    client.place_topic(topic, [[1], [2]])
    client.produce(topic, [Record(f"{number}", partition=number) for number in range(2)])
    server = make_server(db, broker.address, "at_least_once")
    db.query("CREATE TABLE log (value text, partition int)")
    db.query("SELECT djkafka_create_consumer('default', server => %s)", server)
    db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert', format => 'text')", topic)
    wait_count(db, "log", 2)
    wait_state(db, "running")
    return topic


def test_leader_lost_meanwhile(two_brokers: tuple[Broker, Broker], db: Database, unique: Callable[[str], str]) -> None:
    """A partition that is read and has no leader any more says nothing by itself: the state does, and its lag is not known."""
    first, second = two_brokers
    client = Client(first.address)
    topic = read_of_two_leaders(db, first, unique("topic"))

    def is_told() -> bool:
        found = status(db)
        return found["state"] == "unreachable" and f'partition 1 of topic "{topic}" has no leader' in found["reason"]

    second.kill()
    wait_until(is_told, 30, lambda: explain(db))
    client.produce(topic, [Record("live", partition=0)])
    wait_count(db, "log", 3, timeout=3)
    stays_true(is_told, 3, "what is read beside it is no proof")
    assert status(db)["lag"] is None

    second.start()
    wait_state(db, "running", timeout=60)
    client.produce(topic, [Record("again", partition=1)])
    wait_count(db, "log", 4)
    assert_audit(db, messages=4)


def test_other_broker_away(two_brokers: tuple[Broker, Broker], db: Database, unique: Callable[[str], str]) -> None:
    """A broker that leads nothing of ours is nobody's concern, however often its connection is tried."""
    first, second = two_brokers
    client = Client(first.address)
    topic = unique("topic")
    client.place_topic(topic, [[1]])
    server = make_server(db, f"{first.address},{second.address}", "at_least_once")
    db.query("CREATE TABLE log (value text, partition int)")
    db.query("SELECT djkafka_create_consumer('default', server => %s)", server)
    db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert', format => 'text')", topic)
    client.produce(topic, [Record("first")])
    wait_count(db, "log", 1)
    wait_state(db, "running")
    events = "SELECT state FROM djkafka_event WHERE kind = 'state' ORDER BY id"
    before = db.query(events)
    second.kill()
    wait_until(lambda: status(db)["last_error"] is not None, 30, lambda: explain(db))
    stays_true(lambda: status(db)["state"] == "running" and status(db)["lag"] == 0, 15, "it is well")
    assert db.query(events) == before


class Route:
    """The way to a broker, which may be cut: packets are lost, or connections refused."""

    def __init__(self, ports: str):
        self.ports = ports
        self.wire = Wire(ports)

    def cut(self, how: str) -> None:
        if how == "lost":
            process.stop_and_wait(self.wire.process.pid)
        else:
            self.wire.destroy()

    def fix(self, how: str) -> None:
        if how == "lost":
            self.wire.process.send_signal(signal.SIGCONT)
        else:
            self.wire = Wire(self.ports)


@pytest.fixture
def far_broker(own_broker: Callable[..., Broker]) -> Iterator[tuple[Broker, Route, str]]:
    """Two brokers: the first, and the way to the second by its address, which the first has no need of."""
    first = own_broker()
    client = Client(first.address)
    make_internal_topics(client)
    (port,) = free_ports(1)
    second = own_broker(start=False, beside=first, advertised_listeners=f"PLAINTEXT://127.0.0.1:{port}")
    route = Route(f"{port}:{second.address.rsplit(':', 1)[1]}")
    second.start()
    wait_until(lambda: client.brokers() == 2, message="both brokers are there")
    yield first, route, f"127.0.0.1:{port}"
    route.wire.destroy()


@pytest.mark.parametrize("how", [pytest.param("lost", marks=pytest.mark.long), "refused"])
def test_leader_out_of_reach(
    far_broker: tuple[Broker, Route, str], db: Database, unique: Callable[[str], str], how: str
) -> None:
    """A leader that is there for the other brokers and not for us: no lag is known of what it leads."""
    first, route, address = far_broker
    client = Client(first.address)
    topic = read_of_two_leaders(db, first, unique("topic"))
    said = f'partition 1 of topic "{topic}": its leader, broker 2 at {address}, does not answer'
    states = "SELECT state FROM djkafka_event WHERE kind = 'state' ORDER BY id"
    told = db.query(states)

    def is_told() -> bool:
        found = status(db)
        return found["state"] == "unreachable" and found["reason"] == said and found["lag"] is None

    route.cut(how)
    wait_until(is_told, 60, lambda: explain(db))
    client.produce(topic, [Record("live", partition=0)])
    wait_count(db, "log", 3, timeout=3)
    stays_true(is_told, 8, "what is read beside it is no proof")

    route.fix(how)
    wait_state(db, "running", timeout=60)
    client.produce(topic, [Record("late", partition=1)])
    wait_count(db, "log", 4, timeout=30)
    assert db.query(states) == [*told, ("unreachable",), ("running",)]
    assert_audit(db, messages=4)
