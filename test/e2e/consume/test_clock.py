"""now() in a worker's transaction is now, not the moment at which the worker began; clocks that are set back."""

import struct
import subprocess
from pathlib import Path

import pytest
from lib.djkafka import wait_count, wait_state, wait_value
from lib.kafka import Client, Record
from lib.outbox import outbox_worker, wait_outbox_state, wait_sent
from lib.postgres import Database

MISSING = "no-such-topic"


def test_defaults_of_rows(db: Database, kafka: Client, topic: str) -> None:
    """Django's db_default=Now() is statement_timestamp()."""
    db.query(
        "CREATE TABLE item (id bigint PRIMARY KEY, begun_at timestamptz DEFAULT now(),"
        " stated_at timestamptz DEFAULT statement_timestamp())"
    )
    db.query("SELECT djkafka_subscribe(%s, 'item')", topic)
    wait_state(db, "running")
    before = db.value("SELECT clock_timestamp()")
    kafka.produce(topic, [Record('{"id": 1}'), Record('{"id": "x"}')])
    wait_count(db, "item", 1)
    wait_count(db, "djkafka_dead_letter", 1)
    assert db.query("SELECT begun_at > %s, stated_at > %s FROM item", before, before) == [(True, True)]
    assert db.query("SELECT created_at > %s FROM djkafka_dead_letter", before) == [(True,)]


def test_times_of_the_outbox(db: Database, kafka: Client, topic: str, unique) -> None:
    db.query("SELECT djkafka_produce(%s, 'first')", topic)
    outbox_worker(db)
    wait_sent(db)
    small = kafka.create_topic(unique("small"), max_message_bytes=1000)
    db.query("SELECT djkafka_produce(%s, 'held'), djkafka_produce(%s, repeat('x', 5000))", unique(MISSING), small)
    wait_value(db, "SELECT held_at > message_time FROM djkafka_outbox_held", True)
    wait_value(db, "SELECT dead_at > message_time FROM djkafka_outbox_dead", True)


# -- a clock that is set back

# The server's time of day: so many seconds beside the system's as a file says. Threads of the Kafka library
# keep the system's: theirs would wait in the kernel's time until the server's, and never sleep.
BESIDE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int gettimeofday(struct timeval *tv, void *tz)
{
	static volatile long *seconds;
	struct timespec now;

	if (!seconds)
		seconds = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, open(getenv("DJK_CLOCK"), O_RDONLY), 0);
	clock_gettime(CLOCK_REALTIME, &now);
	tv->tv_sec = now.tv_sec + (gettid() == getpid() ? *seconds : 0);
	tv->tv_usec = now.tv_nsec / 1000;
	return 0;
}
"""


class Clock:
    """What the servers see that are started while it is preloaded."""

    def __init__(self, folder: Path):
        self.file, self.library = folder / "seconds", folder / "clock.so"
        self.set(0)
        (folder / "clock.c").write_text(BESIDE)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self.library, folder / "clock.c"], check=True)

    def set(self, seconds: int) -> None:
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("l", seconds))


def test_clock_that_is_set_back(own_cluster, own_broker, unique, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be tried again in a second is, and not an hour later."""
    clock = Clock(tmp_path)
    with monkeypatch.context() as patch:
        patch.setenv("DJK_CLOCK", str(clock.file))
        patch.setenv("LD_PRELOAD", str(clock.library))
        cluster = own_cluster()
    broker = own_broker()
    client = Client(broker.address)
    cluster.configure(djkafka__bootstrap_servers=broker.address, djkafka__delivery="exactly_once")
    cluster.reload()
    db = Database(cluster, unique("db"))
    db.query("CREATE EXTENSION djkafka")

    # a topic is held
    db.query("SELECT djkafka_produce('later', 'v')")
    wait_value(db, "SELECT count(*) FROM djkafka_outbox_held", 1)
    clock.set(-3600)
    assert db.value("SELECT clock_timestamp() < held_at FROM djkafka_outbox_held")
    client.create_topic("later")
    wait_sent(db)

    # a worker backs off
    broker.stop()
    db.query("SELECT djkafka_produce('another', 'v')")
    wait_outbox_state(db, "unreachable")
    clock.set(-7200)
    broker.start()
    client.create_topic("another")
    wait_sent(db)
