"""The fixtures: one broker for all, one server for each process of pytest-xdist, a database for each test.

A test that stops a broker or a server makes its own (own_broker, own_cluster).
"""

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition

sys.path.insert(0, str(Path(__file__).parent))

from lib.kafka import Broker, Client, wait_for_broker  # noqa: E402
from lib.late_leader import LateLeader  # noqa: E402
from lib.lost_answer import LostAnswer  # noqa: E402
from lib.once import locked, shared_folder  # noqa: E402
from lib.postgres import Cluster, Copy, Database, Model  # noqa: E402
from lib.wire import Wire  # noqa: E402
from lib.wait import wait_until  # noqa: E402

BROKER = "DJK_TEST_BROKER"
SECURE = "DJK_TEST_SECURE"
WIRE = "DJK_TEST_WIRE"

# Kafka's controller lets a broker that was killed in again when its session is over, which takes 9 s otherwise.
SOON_BACK = {"broker_session_timeout_ms": 2000, "broker_heartbeat_interval_ms": 500}

_numbers = itertools.count(1)
_own_clusters: list[Cluster] = []


# -- the shared broker: started by the first process of pytest, used by all


def is_xdist_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    if is_xdist_worker(config) or config.option.collectonly or BROKER in os.environ:
        return
    shared_folder()
    broker = Broker(far=True, users={"app": "secret"}).start(wait=False)
    os.environ[BROKER] = broker.address
    os.environ[SECURE] = broker.secure_address
    os.environ[WIRE] = broker.wire_ports
    config.add_cleanup(broker.destroy)


@pytest.fixture(scope="session")
def kafka() -> Client:
    """A client of the broker that all tests share."""
    wait_for_broker(os.environ[BROKER])
    return Client(os.environ[BROKER])


@pytest.fixture
def secure_address(kafka: Client) -> str:
    """Where the shared broker knows the user "app" with the password "secret", and lets it do what a test allows."""
    return os.environ[SECURE]


@pytest.fixture
def own_broker() -> Iterator[Callable[..., Broker]]:
    """Makes a broker that the test may stop, and starts it unless told not to."""
    brokers: list[Broker] = []

    def make(start: bool = True, **properties: Any) -> Broker:
        brokers.append(Broker(**(SOON_BACK | properties)))
        return brokers[-1].start() if start else brokers[-1]

    yield make
    for broker in brokers:
        broker.destroy()


@pytest.fixture
def wire(kafka: Client) -> Iterator[Wire]:
    """A wire to the shared broker, as long as the test wants it; its address is the broker's for those who use it."""
    with locked("wire"):
        made = Wire(os.environ[WIRE])
        yield made
        made.destroy()


@pytest.fixture
def late_leader(kafka: Client) -> Iterator[Callable[..., LateLeader]]:
    """Takes the place of the wire."""
    made: list[LateLeader] = []

    def make(topic: str, fails: bool = False) -> LateLeader:
        made.append(LateLeader(os.environ[WIRE], topic, fails))
        return made[-1]

    with locked("wire"):
        yield make
        for each in made:
            each.destroy()


@pytest.fixture
def lost_answer(kafka: Client) -> Iterator[Callable[[str, str], LostAnswer]]:
    """Takes the place of the wire, too."""
    made: list[LostAnswer] = []

    def make(lost: str, answered: str) -> LostAnswer:
        made.append(LostAnswer(os.environ[WIRE], lost, answered))
        return made[-1]

    with locked("wire"):
        yield make
        for each in made:
            each.destroy()


def make_internal_topics(client: Client) -> None:
    """Kafka's own, while there is only one broker where they can be."""
    producer = client.producer(transactional_id="first", delivery_timeout_ms=60_000)
    producer.init_transactions(60)
    producer.begin_transaction()
    reader = client.consumer("first")
    client.create_topic("first")
    producer.send_offsets_to_transaction([TopicPartition("first", 0, 1)], reader.consumer_group_metadata(), 60)
    producer.abort_transaction(60)
    reader.close()


@pytest.fixture
def two_brokers(own_broker: Callable[..., Broker]) -> tuple[Broker, Broker]:
    """The second alone may die: the first is the controller. It is noticed within two seconds."""
    first = own_broker()
    client = Client(first.address)
    make_internal_topics(client)
    second = own_broker(beside=first)
    wait_until(lambda: client.brokers() == 2, message="both brokers are there")
    return first, second


# -- servers and databases


@pytest.fixture(scope="session")
def cluster(kafka: Client) -> Iterator[Cluster]:
    """The server that the tests of this process share."""
    made = Cluster(djkafka__bootstrap_servers=kafka.address)
    try:
        yield made.start()
    finally:
        made.destroy()


@pytest.fixture
def own_cluster() -> Iterator[Callable[..., Cluster]]:
    """Makes a server that the test may stop, kill and configure."""
    clusters: list[Cluster] = []

    def make(**settings: Any) -> Cluster:
        clusters.append(Cluster(**settings))
        _own_clusters.append(clusters[-1])
        return clusters[-1].start()

    yield make
    for made in clusters:
        _own_clusters.remove(made)
        made.destroy()


def unique_name(prefix: str) -> str:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    return f"{prefix}_{worker}_{os.getpid()}_{next(_numbers)}"


@pytest.fixture
def unique() -> Callable[[str], str]:
    """Names that no other test has, in this run or another one with the same broker."""
    return unique_name


@pytest.fixture(scope="session")
def model(cluster: Cluster) -> Callable[[], Model]:
    """What the databases of this process's tests are copied from, as it was made."""
    kept: list[Model] = []

    def current() -> Model:
        if kept and not kept[0].is_as_made():
            kept.pop().database.destroy()
        if not kept:
            kept.append(Model(cluster, unique_name("model")))
        return kept[0]

    return current


def used(database: Database) -> Iterator[Database]:
    start = database.cluster.log_size()
    yield database
    database.destroy()
    assert not database.cluster.crashes(start), f"the server crashed: {database.cluster.crashes(start)}"


@pytest.fixture
def plain_db(cluster: Cluster, unique: Callable[[str], str]) -> Iterator[Database]:
    """A database without the extension, in djkafka.databases."""
    yield from used(Database(cluster, unique("db")))


@pytest.fixture
def db(model: Callable[[], Model], unique: Callable[[str], str]) -> Iterator[Database]:
    """A database with the extension, made by its owner."""
    yield from used(Copy(model(), unique("db")))


@pytest.fixture
def topic(kafka: Client, unique: Callable[[str], str]) -> str:
    """A topic with one partition."""
    return kafka.create_topic(unique("topic"))


# -- what a failed test shows


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    funcargs = getattr(item, "funcargs", {})
    database = funcargs.get("db") or funcargs.get("plain_db")
    server = database.cluster if database else funcargs.get("cluster")
    for each in [server] * (server is not None) + _own_clusters:
        if each.logfile.exists():
            report.sections.append(("the server's log", each.log()[-6000:]))
