"""The group of another program is taken over: nothing lost, nothing twice."""

import threading

from lib.djkafka import assert_audit, explain, to_json, wait_count, wait_state
from lib.kafka import Client, Record
from lib.postgres import Database
from lib.wait import wait_until

BEFORE = 1000
LATER = 300


class Worker(threading.Thread):
    """A program with confluent-kafka: commits after each message, leaves when told to."""

    def __init__(self, kafka: Client, group: str, topic: str):
        super().__init__(daemon=True)
        self.consumer = kafka.consumer(group, session_timeout_ms=6000)
        self.consumer.subscribe([topic])
        self.seen: list[bytes] = []
        self.limit = 0
        self.leave = threading.Event()

    def run(self) -> None:
        paused = False
        while not self.leave.is_set():
            if len(self.seen) >= self.limit:
                if not paused and self.consumer.assignment():
                    self.consumer.pause(self.consumer.assignment())
                    paused = True
                self.consumer.poll(0.05)
                continue
            if paused:
                self.consumer.resume(self.consumer.assignment())
                paused = False
            message = self.consumer.poll(0.05)
            if message is not None and message.error() is None:
                self.seen.append(message.value())
                self.consumer.commit(message, asynchronous=False)
        self.consumer.close()


def test_takeover(db: Database, kafka: Client, unique) -> None:
    topic, group = kafka.create_topic(unique("shared"), partitions=2), unique("group")
    records = [Record(to_json(id=number), partition=number % 2) for number in range(BEFORE)]
    kafka.produce(topic, records)
    program = Worker(kafka, group, topic)
    program.limit = 400
    program.start()
    try:
        wait_until(lambda: len(program.seen) >= 400, message="the other program has begun")

        db.query("CREATE TABLE log (id bigint)")
        db.query("SELECT djkafka_create_consumer('taker', group_id => %s, start_from => 'group')", group)
        db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert', consumer => 'taker')", topic)
        found = wait_state(db, "foreign_member", "taker")
        assert group in found["reason"] and found["hint"]

        # The other program still owns its partitions, and goes on.
        program.limit = 700
        wait_until(lambda: len(program.seen) >= 700, message="the other program goes on")
        assert db.value("SELECT count(*) FROM log") == 0, explain(db)
    finally:
        program.leave.set()
        program.join(30)
    assert not program.is_alive()

    kafka.produce(topic, [Record(to_json(id=BEFORE + number), partition=number % 2) for number in range(LATER)])
    rest = BEFORE + LATER - len(program.seen)
    wait_count(db, "log", rest, timeout=60)
    taken = [to_json(id=number).encode() for (number,) in db.query("SELECT id FROM log")]
    everything = sorted(to_json(id=number).encode() for number in range(BEFORE + LATER))
    assert sorted(taken + program.seen) == everything
    assert_audit(db, rest)
