"""A real Apache Kafka of our own: one broker in KRaft mode, and an independent client for it."""

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewPartitions,
    NewTopic,
    PartitionMetadata,
    ResourcePatternType,
    ResourceType,
)

from . import process
from .once import locked, made_once, server_folder, shared_folder
from .wait import wait_until

LIBS = os.environ.get("DJK_KAFKA_LIBS", "")

# Small, quick to start, and no topic appears by itself.
PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    "message.max.bytes": 20_000_000,
    "num.io.threads": 4,
    "num.network.threads": 2,
    "log.cleaner.dedupe.buffer.size": 16_777_216,
    "log.initial.task.delay.ms": 500,
}
for topic_kind in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
    PROPERTIES[f"{topic_kind}.replication.factor"] = 1
    PROPERTIES[f"{topic_kind}.num.partitions"] = 1
PROPERTIES["transaction.state.log.min.isr"] = 1
PROPERTIES["share.coordinator.state.topic.min.isr"] = 1


class Record(NamedTuple):
    """A message to produce; a value of None is a tombstone."""

    value: bytes | str | None
    key: bytes | str | None = None
    partition: int = -1
    headers: list[tuple[str, bytes | None]] | None = None
    timestamp: int = 0


# Below those that the system gives to whoever asks for any, so that a broker that was stopped finds its own again.
PORTS = range(12_000, 32_000)


def is_free(port: int) -> bool:
    with socket.socket() as each, contextlib.suppress(OSError):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        each.bind(("127.0.0.1", port))
        return True
    return False


def free_ports(count: int) -> list[int]:
    """None is given twice in a run, whichever process asks."""
    given = shared_folder() / "ports"
    with locked("ports"):
        start = int(given.read_text()) if given.exists() else random.choice(PORTS[:10_000])
        ports = list(itertools.islice(filter(is_free, range(start, PORTS.stop)), count))
        given.write_text(str(ports[-1] + 1))
    return ports


class Client:
    """Talks to a broker by confluent-kafka, which has its own, newer librdkafka."""

    def __init__(self, address: str):
        self.address = address
        self.admin = AdminClient({"bootstrap.servers": address})
        self._producer: Producer | None = None

    def create_topic(self, name: str, partitions: int = 1, **config: Any) -> str:
        """Makes a topic; names of its options have "_" where Kafka has a dot."""
        options = {option.replace("_", "."): str(value) for option, value in config.items()}
        made = self.admin.create_topics([NewTopic(name, partitions, 1, config=options)], operation_timeout=10)
        made[name].result(20)
        wait_until(lambda: self.partitions(name) == partitions, message=f"topic {name} has its leaders")
        return name

    def place_topic(self, name: str, replicas: list[list[int]], **config: Any) -> str:
        """Makes a topic whose partitions are on brokers of our choice."""
        options = {option.replace("_", "."): str(value) for option, value in config.items()}
        made = self.admin.create_topics([NewTopic(name, len(replicas), replica_assignment=replicas, config=options)])
        made[name].result(20)
        wait_until(lambda: self.partitions(name) == len(replicas), message=f"topic {name} has its leaders")
        return name

    def in_sync(self, topic: str) -> int:
        """How many replicas the topic's first partition has that are in sync; 0 while nobody answers."""
        found = self._look_at(topic)
        return len(found[0].isrs) if found else 0

    def brokers(self) -> int:
        return len(self.admin.list_topics(timeout=10).brokers)

    def partitions(self, topic: str) -> int:
        """How many partitions with a leader the topic has; 0 while nobody answers."""
        return sum(1 for partition in self._look_at(topic).values() if partition.leader >= 0)

    def _look_at(self, topic: str) -> dict[int, PartitionMetadata]:
        try:
            return self.admin.list_topics(topic, timeout=5).topics[topic].partitions
        except KafkaException as error:
            if error.args[0].code() not in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT):
                raise
            return {}

    def add_partitions(self, topic: str, total: int) -> None:
        self.admin.create_partitions([NewPartitions(topic, total)])[topic].result(20)
        wait_until(lambda: self.partitions(topic) == total, message=f"topic {topic} has {total} leaders")
        self._producer = None  # the old one knows the old number for minutes

    def allow(self, user: str, kind: ResourceType, name: str, *operations: AclOperation) -> None:
        """Lets a user do something."""
        made = self.admin.create_acls(
            [
                AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
                for operation in operations
            ]
        )
        for each in made.values():
            each.result(20)

    def forbid(self, user: str, kind: ResourceType, name: str, operation: AclOperation) -> None:
        """Takes back what was allowed."""
        allowed = (kind, name, ResourcePatternType.LITERAL, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
        for each in self.admin.delete_acls([AclBindingFilter(*allowed)]).values():
            assert each.result(20), f"{operation} on {name} was not allowed"

    def delete_topic(self, topic: str) -> None:
        """Deletes a topic; the controller answers before its brokers know, and they take messages until they do."""
        self.admin.delete_topics([topic], operation_timeout=10)[topic].result(20)
        wait_until(lambda: topic not in self.admin.list_topics(timeout=10).topics, message=f"topic {topic} is gone")

    def end_offsets(self, topic: str, isolation_level: str = "read_committed") -> dict[int, int]:
        """Partition → the offset after its last message; uncommitted: after what is in transactions, and their ends."""
        reader = self.consumer("djk-test-end-offsets", isolation_level=isolation_level)

        def ends() -> dict[int, int]:
            partitions = reader.list_topics(topic, timeout=20).topics[topic].partitions
            return {
                number: reader.get_watermark_offsets(TopicPartition(topic, number), timeout=20)[1]
                for number in partitions
            }

        def ends_where_led() -> dict[int, int]:
            try:
                return ends()
            except KafkaException as error:  # a leader that does not know yet that it is one
                if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION:
                    raise
                return {}

        try:
            return wait_until(ends_where_led, message=f"each partition of {topic} has a leader")
        finally:
            reader.close()

    def consumer(self, group: str, **options: Any) -> Consumer:
        """An independent consumer, which commits only when told to; the caller's to close."""
        return Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
            | {name.replace("_", "."): value for name, value in options.items()}
        )

    def producer(self, **options: Any) -> Producer:
        made = Producer(
            {
                "bootstrap.servers": self.address,
                "enable.idempotence": True,
                # what a new topic's leader refuses, and takes the next of, is lost without a word
                "max.in.flight": 1,
                "linger.ms": 5,
                "compression.type": "lz4",
                "message.max.bytes": 20_000_000,
                "queue.buffering.max.messages": 2_000_000,
                "queue.buffering.max.kbytes": 2_000_000,
                "delivery.timeout.ms": 120_000,
            }
            | {name.replace("_", "."): value for name, value in options.items()}
        )
        with contextlib.suppress(KafkaException):  # by itself it begins to connect only a second later
            made.list_topics("nobody", timeout=1)
        return made

    def produce(self, topic: str, records: Iterable[Record], timeout: float = 120) -> int:
        """Sends records in order; returns when the broker has acknowledged each of them."""
        if self._producer is None:
            self._producer = self.producer()
        return send(self._producer, topic, records, timeout)


def send(producer: Producer, topic: str, records: Iterable[Record], timeout: float = 120) -> int:
    failures: list[str] = []

    def delivered(error: Any, _message: Any) -> None:
        if error is not None:
            failures.append(str(error))

    count = 0
    for record in records:
        options: dict[str, Any] = {"partition": record.partition, "timestamp": record.timestamp}
        if record.headers is not None:
            options["headers"] = record.headers
        producer.produce(topic, record.value, record.key, on_delivery=delivered, **options)
        count += 1
        if count % 1000 == 0:
            producer.poll(0)
    assert producer.flush(timeout) == 0, "messages were not acknowledged in time"
    assert not failures, f"{len(failures)} messages were refused: {failures[:3]}"
    return count


def new_id() -> str:
    """As Kafka writes an id; one that begins with a dash would look like an option."""
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")


def java(heap: str, *arguments: Any) -> list[str]:
    # The quick compiler alone: a broker lives for minutes here.
    options = [f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN"]
    options.append(f"-XX:SharedArchiveFile={LIBS}/../broker.jsa")
    return ["java", *options, "-cp", f"{LIBS}/*", *map(str, arguments)]


def make_formatted(folder: Path) -> None:
    lines = PROPERTIES | {
        "listeners": "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": "1@127.0.0.1:2",
        "log.dirs": folder / "data",
    }
    properties = folder / "server.properties"
    properties.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    with (folder / "log").open("wb") as log:
        command = java("128m", "kafka.tools.StorageTool", "format", "-t", new_id(), "-c", properties)
        subprocess.run(command, check=True, stdout=log, stderr=log)


def format_data(data: Path, node: int, cluster_id: str) -> None:
    """What StorageTool does, for a broker of that cluster."""
    shutil.copytree(made_once("kafka", make_formatted) / "data", data)
    (data / "meta.properties").write_text(
        f"version=1\nnode.id={node}\ncluster.id={cluster_id}\ndirectory.id={new_id()}\n"
    )


class Broker:
    """One broker; its folder and its address stay the same through stop() and start()."""

    def __init__(
        self,
        heap: str = "512m",
        users: dict[str, str] | None = None,
        beside: "Broker | None" = None,
        far: bool = False,
        **properties: Any,
    ):
        """
        With users (name → password) there is a second address, where ACLs say what each may do.
        Beside another broker it is the second of that one's cluster, and no controller.
        One that is far, too, tells whom a Wire leads to it that the wire's address is its own.
        """
        assert LIBS, "DJK_KAFKA_LIBS names no folder of Kafka's jars: run the tests by make test"
        self.folder = server_folder("djk-kafka-")
        self.logfile = self.folder / "log"
        self.heap = heap
        self.process: subprocess.Popen | None = None
        port, controller_port, secure_port = free_ports(3)
        self.address = f"127.0.0.1:{port}"
        self.secure_address = f"127.0.0.1:{secure_port}"
        listeners = f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{controller_port}"
        lines = PROPERTIES | {
            "listeners": listeners,
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "log.dirs": self.folder / "data",
        }
        if users is not None:
            lines |= self._secure_listener(lines, users)
        if far:
            lines |= self._far_listener(lines)
        if beside is not None:
            lines |= self._second(beside)
        self.quorum = lines["controller.quorum.voters"]
        lines |= {name.replace("_", "."): value for name, value in properties.items()}
        self.properties = self.folder / "server.properties"
        self.properties.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        self.cluster_id = beside.cluster_id if beside else new_id()
        format_data(self.folder / "data", int(lines["node.id"]), self.cluster_id)

    def _secure_listener(self, lines: dict[str, Any], users: dict[str, str]) -> dict[str, Any]:
        secure = f",SECURE://{self.secure_address}"
        known = " ".join(f'user_{name}="{password}"' for name, password in users.items())
        return {
            "listeners": lines["listeners"] + secure,
            "advertised.listeners": lines["advertised.listeners"] + secure,
            "listener.security.protocol.map": lines["listener.security.protocol.map"] + ",SECURE:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.secure.plain.sasl.jaas.config":
                f"org.apache.kafka.common.security.plain.PlainLoginModule required {known};",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",  # who comes by the other address
        }

    def _far_listener(self, lines: dict[str, Any]) -> dict[str, Any]:
        wire, behind = free_ports(2)
        self.wire_ports = f"{wire}:{behind}"
        return {
            "listeners": lines["listeners"] + f",FAR://127.0.0.1:{behind}",
            "advertised.listeners": lines["advertised.listeners"] + f",FAR://127.0.0.1:{wire}",
            "listener.security.protocol.map": lines["listener.security.protocol.map"] + ",FAR:PLAINTEXT",
        }

    def _second(self, first: "Broker") -> dict[str, Any]:
        return {
            "process.roles": "broker",
            "node.id": 2,
            "listeners": f"PLAINTEXT://{self.address}",
            "controller.quorum.voters": first.quorum,
        }

    def start(self, wait: bool = True) -> "Broker":
        command = java(self.heap, "kafka.Kafka", self.properties)
        self.process = process.start_process(command, self.logfile)
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        wait_for_broker(self.address)

    def stop(self) -> None:
        """An orderly stop, as on a restart."""
        if self.process is not None:
            stopped, self.process = self.process, None
            process.stop_process(stopped, signal.SIGTERM, 60)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def destroy(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_for_broker(address: str) -> None:
    # It tries again at longer and longer intervals else.
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0, "reconnect.backoff.max.ms": 100})

    def answers() -> bool:
        try:
            return bool(admin.list_topics(timeout=1).brokers)
        except Exception:  # KafkaException: not yet
            return False

    wait_until(answers, timeout=60, message=f"the broker at {address} answers")
