"""A real application of django-kafka reads our topics of retries and dead letters, and we read its."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lib.djkafka import assert_audit, status, to_json, wait_state, wait_value
from lib.kafka import Client, Record
from lib.once import server_folder
from lib.postgres import Database
from lib.process import start_process, stop_process
from lib.wait import wait_until

PYTHON = Path(sys.prefix).parent / "peer" / "bin" / "python"
APPLICATION = Path(__file__).parent.parent / "peer" / "django_kafka_app.py"
POLICY = {"max_retries": 2, "delay": 1, "through": "topics"}

Start = Callable[[str], Callable[[], list[dict[str, Any]]]]


@pytest.fixture
def group(unique: Callable[[str], str]) -> str:
    return unique("peer")


@pytest.fixture
def start(kafka: Client, group: str, topic: str) -> Iterator[Start]:
    """Starts the application in one of its roles; what it returns says what that has told so far."""
    assert PYTHON.exists(), "django-kafka is not installed: scripts/fetch-test-deps peers"
    folder = server_folder("djk-peer-")
    processes = []

    def begin(mode: str) -> Callable[[], list[dict[str, Any]]]:
        log = folder / mode
        processes.append(start_process([str(PYTHON), str(APPLICATION), mode, kafka.address, group, topic], log))
        return lambda: [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]

    yield begin
    for log in folder.iterdir():  # shown where the test fails
        print(f"{log.name}:\n{log.read_text()[-3000:]}")
    for process in processes:
        stop_process(process, signal.SIGKILL, 10)


def subscribe(db: Database, topic: str, group: str, **enabled: bool) -> None:
    """A message fails as often as it says, by the number in the name of the topic that it is read from."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, fail int, at_topic text)")
    db.query(
        """CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.fail > coalesce(substring(NEW.at_topic FROM '[.]retry[.]([0-9]+)$'), '0')::int THEN
    RAISE 'not yet: %', NEW.id USING ERRCODE = 'KFR01';
  END IF;
  RETURN NEW; END $$"""
    )
    db.query("CREATE TRIGGER fails BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION fails()")
    db.query("SELECT djkafka_create_consumer('main', group_id => %s, dead_letters => 'topic', enabled => %s)", group, enabled["main"])
    db.query("SELECT djkafka_create_consumer('retries', retries_of => 'main', enabled => %s)", enabled["retries"])
    db.query(
        "SELECT djkafka_create_route('main', %s, 'item', columns => '{\"at_topic\": \"topic\"}', retry => %s, ordering => 'none')",
        topic,
        json.dumps(POLICY),
    )


def item(id: int, fail: int) -> Record:
    return Record(to_json(id=id, fail=fail), str(id))


def make_topics(kafka: Client, group: str, topic: str) -> None:
    for end in ("retry.1", "retry.2", "dlt"):
        kafka.create_topic(f"{group}.{topic}.{end}")


@pytest.mark.long
def test_it_reads_ours(db: Database, kafka: Client, topic: str, group: str, start: Start) -> None:
    """What fails here is tried again there, when it is due, and what fails there to the end is a dead letter of its; ours it reads too."""
    make_topics(kafka, group, topic)
    subscribe(db, topic, group, main=True, retries=False)
    retries, letters = start("retry"), start("letters")
    kafka.produce(topic, [item(n, fail=n % 4) for n in range(20)])
    kafka.produce(topic, [Record('{"id": "x"}', "bad")])
    wait_value(db, "SELECT count(*) FROM item", 5)
    names = [f"{group}.{topic}.retry.{n}" for n in (1, 2)]
    wait_until(lambda: len(retries()) == 15 + 10 and len(letters()) == 5 + 1, 90, lambda: f"django-kafka tells of {retries()} and {letters()}")
    told = retries()
    assert [m["topic"] for m in told].count(names[0]) == 15 and {m["topic"] for m in told} == set(names)
    assert all(m["RETRY_MESSAGE"] == f"not yet: {m['key']}" and float(m["RETRY_TIMESTAMP"]) > 0 for m in told)
    ours = next(m for m in letters() if m["key"] == "bad")
    assert (ours["DEAD_LETTER_MESSAGE_TOPIC"], ours["DEAD_LETTER_MESSAGE_OFFSET"]) == (topic, "20")
    assert 'invalid input syntax for type bigint: "x"' in ours["DEAD_LETTER_SUMMARY"]
    assert ours["DEAD_LETTER_DETAIL"].startswith("ERROR:  22P02: ")
    assert (status(db, "main")["retried"], status(db, "main")["dead_sent"]) == (15, 1)
    assert_audit(db, 21)


@pytest.mark.long
def test_we_read_its(db: Database, kafka: Client, topic: str, group: str, start: Start) -> None:
    """What fails there is tried again here, when it is due, and what fails here to the end is a dead letter that it reads."""
    make_topics(kafka, group, topic)
    subscribe(db, topic, group, main=False, retries=True)
    wait_state(db, "running", "retries")
    there, letters = start("main"), start("letters")
    kafka.produce(topic, [item(n, fail=n % 4) for n in range(20)])
    wait_until(lambda: len(there()) == 20, 60, "django-kafka has read the topic")
    wait_value(db, "SELECT count(*) FROM item", 10, timeout=60)
    wait_until(lambda: len(letters()) == 5, 60, lambda: f"django-kafka tells of {letters()}")
    assert db.query("SELECT fail, count(*), array_agg(DISTINCT at_topic) FROM item GROUP BY 1 ORDER BY 1") == [
        (n, 5, [f"{group}.{topic}.retry.{n}"]) for n in (1, 2)
    ]
    assert {m["DEAD_LETTER_MESSAGE_TOPIC"] for m in letters()} == {f"{group}.{topic}.retry.2"}
    assert all(m["DEAD_LETTER_SUMMARY"] == f"not yet: {m['key']}" and m["value"] == item(int(m["key"]), 3).value for m in letters())
    now = status(db, "retries")
    assert (now["applied"], now["retried"], now["dead_sent"]) == (10, 10, 5)
    assert_audit(db, 25)
