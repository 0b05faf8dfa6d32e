"""The look-up of a group's members, and assignments, driven by hand through the functions of test/src/kafka_test.c."""

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer
from lib.kafka import Broker, Client, free_ports
from lib.postgres import TEST_BINDIR, Cluster
from lib.wait import wait_until

FUNCTIONS = """
CREATE FUNCTION open(int, text, text, text, text, int, text[], text[]) RETURNS void
    AS 'djkafka', 'djkafka_test_kafka_open' LANGUAGE C;
CREATE FUNCTION lookup(int, text, text, int, bigint, int, text) RETURNS text
    AS 'djkafka', 'djkafka_test_kafka_lookup' LANGUAGE C;
CREATE FUNCTION assign(int, text, text, int[], bigint) RETURNS void
    AS 'djkafka', 'djkafka_test_kafka_assign' LANGUAGE C;
CREATE FUNCTION close(int, int, bool) RETURNS int
    AS 'djkafka', 'djkafka_test_kafka_close' LANGUAGE C;
"""

# What a request begins with, after its length: the number of the API.
FIND_COORDINATOR, DESCRIBE_GROUPS, LIST_GROUPS = 10, 15, 16
ABOUT_GROUPS = (FIND_COORDINATOR, DESCRIBE_GROUPS, LIST_GROUPS)


class Wire:
    """Stands between clients and a broker, and cuts what it is told to cut."""

    def __init__(self, port: int, target: int):
        self.target = ("127.0.0.1", target)
        self.cut: set[int] = set()  # APIs whose requests break the connection
        self.late = False  # only after the broker has got the request
        self.cuts = 0
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
                broker = socket.create_connection(self.target)
            except OSError:
                return
            threading.Thread(target=self.carry_requests, args=(client, broker), daemon=True).start()
            threading.Thread(target=self.carry_answers, args=(client, broker), daemon=True).start()

    def carry_requests(self, client: socket.socket, broker: socket.socket) -> None:
        stream = client.makefile("rb")
        try:
            while len(head := stream.read(4)) == 4:
                request = stream.read(int.from_bytes(head, "big"))
                unwanted = int.from_bytes(request[:2], "big") in self.cut
                if self.late or not unwanted:
                    broker.sendall(head + request)
                if unwanted:
                    self.cuts += 1
                    break
        except OSError:
            pass
        hang_up(client, broker)

    def carry_answers(self, client: socket.socket, broker: socket.socket) -> None:
        try:
            while answer := broker.recv(65536):
                client.sendall(answer)
        except OSError:
            pass
        hang_up(client, broker)

    def close(self) -> None:
        hang_up(self.listener)
        self.listener.close()


def hang_up(*sockets: socket.socket) -> None:
    for each in sockets:
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Asker:
    """A session with a consumer of 'group' that joins nothing, and asks who has."""

    def __init__(self, cluster: Cluster, address: str, group: str, timeout: float):
        self.connection = cluster.connect("postgres")
        self.group = group
        self.timeout = int(timeout * 1000)
        self.value("SELECT open(0, %s, %s, NULL, NULL, 1024, '{}', '{}')", address, group)

    def value(self, query: str, *parameters: Any) -> Any:
        return self.connection.execute(query, parameters).fetchone()[0]

    def members(self) -> list[str]:
        answer = self.value("SELECT lookup(0, 'members', NULL, 0, 0, %s, %s)", self.timeout, self.group)
        return [member for member in answer.split("; ") if member]

    def close(self) -> None:
        self.value("SELECT close(0, 5000, false)")
        self.connection.close()


@pytest.fixture(scope="module")
def driven() -> Iterator[Cluster]:
    made = Cluster(TEST_BINDIR)
    try:
        made.start()
        made.query(FUNCTIONS)
        yield made
        assert not made.crashes(), made.crashes()
    finally:
        made.destroy()


def join(address: str, group: str, topic: str, **options: Any) -> Consumer:
    member = Client(address).consumer(group, **options)
    member.subscribe([topic])
    wait_until(lambda: member.poll(0.1) is None and member.assignment(), 30, "the member has joined")
    return member


def test_names(driven: Cluster, kafka: Client, topic: str) -> None:
    """A member's id begins with its name as a static member, else with that of its client."""
    asker = Asker(driven, kafka.address, topic, timeout=10)
    assert asker.members() == []
    static = join(kafka.address, topic, topic, group_instance_id="static-1", client_id="client")
    (told,) = asker.members()
    assert told.startswith("client static-1-")
    static.close()  # stays in the group until its session is over
    dynamic = join(kafka.address, topic + "_2", topic, client_id="client")
    asker.group += "_2"
    (told,) = asker.members()
    assert told.startswith("client client-")
    dynamic.close()
    wait_until(lambda: asker.members() == [], message="the member has left")
    asker.close()


def test_new_protocol_is_not_seen(driven: Cluster, kafka: Client, topic: str) -> None:
    """The documented limit: brokers hide members with the protocol of Kafka 4; no error either."""
    member = join(kafka.address, topic, topic, group_protocol="consumer")
    asker = Asker(driven, kafka.address, topic, timeout=10)
    assert asker.members() == []
    asker.close()
    member.close()


def test_connection_lost_meanwhile(driven: Cluster, own_broker, unique) -> None:
    """A coordinator that goes away while it is asked is no answer, and never the end of the process."""
    (port,) = free_ports(1)
    broker = own_broker(start=False, advertised_listeners=f"PLAINTEXT://127.0.0.1:{port}")
    wire = Wire(port, int(broker.address.rsplit(":", 1)[1]))
    try:
        broker.start()  # whoever has asked it once comes by the wire only
        through = f"127.0.0.1:{port}"
        topic = Client(through).create_topic(unique("topic"))
        member = join(through, topic, topic, client_id="client")
        for late in (False, True):
            asker = Asker(driven, through, topic, timeout=0.5)
            for api in ABOUT_GROUPS * 2:
                wire.late, wire.cut = late, {api}
                asker.members()
                wire.cut = set()
                wait_until(lambda: any(told.startswith("client ") for told in asker.members()), message="an answer")
            asker.close()
        assert wire.cuts >= 8
        member.close()
    finally:
        wire.close()


def test_broker_lost_meanwhile(driven: Cluster, own_broker, unique) -> None:
    """The same with a broker that is killed, and comes back."""
    broker = own_broker()
    group = unique("group")
    asker = Asker(driven, broker.address, group, timeout=1)
    wait_until(lambda: asker.members() == [], message="an answer", timeout=60)
    killer = threading.Timer(0.05, broker.kill)
    killer.start()
    wait_until(lambda: any("08KF1" in told for told in asker.members()), message="no answer", interval=0)
    killer.join()
    broker.start()
    wait_until(lambda: asker.members() == [], message="an answer again", timeout=60)
    asker.close()


def test_assignments_in_a_row(driven: Cluster, kafka: Client, unique: Any) -> None:
    """The library aborts where it is to stop a partition that it is just stopping."""
    topic = kafka.create_topic(unique("wide"), 50)
    asker = Asker(driven, kafka.address, topic, timeout=10)
    change = "assign(0, 'assign', %s, array(SELECT generate_series(0, {})), 0)"
    changes = ", ".join(change.format(last) for last in (49, -1, 49, 29, -1))
    for _ in range(3):
        asker.connection.execute(f"SELECT {changes}", [topic] * 5)
    asker.close()
