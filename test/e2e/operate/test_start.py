"""What is made begins to work at once."""

import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from lib.djkafka import to_json, wait_count
from lib.kafka import Client, Record
from lib.postgres import Cluster, Database
from lib.wait import wait_until

TRIES = 8
LIMIT = 0.6  # seconds; a supervisor is started once a second in the long run
NO_EXTENSION = "supervisor leaves: the database has no extension"


def test_extension_in_listed_database(cluster: Cluster, kafka: Client, topic: str, unique) -> None:
    """From CREATE EXTENSION to the first row, just after a supervisor has found nothing to do."""
    kafka.produce(topic, [Record(to_json(id=1))])

    def run() -> float:
        before = cluster.log_size()
        db = Database(cluster, unique("db"))
        db.query("CREATE TABLE log (id bigint)")
        wait_until(lambda: NO_EXTENSION in cluster.log(before), message="the first supervisor has left", interval=0.01)
        start = time.monotonic()
        db.query("CREATE EXTENSION djkafka")
        db.query("SELECT djkafka_subscribe(%s, 'log', operation => 'insert')", topic)
        wait_count(db, "log", 1)
        seconds = time.monotonic() - start
        db.destroy()
        return seconds

    seconds: list[float] = []
    while len(seconds) < TRIES and (not seconds or min(seconds) >= LIMIT):
        seconds.append(run())
    print(f"{[round(each, 3) for each in seconds]} s")
    assert min(seconds) < LIMIT


def test_settings_reloaded_meanwhile(cluster: Cluster, unique) -> None:
    """A process that starts while the settings change has the new ones, whether it is told of a reload or not."""
    before = cluster.log_size()
    db = Database(cluster, unique("db"))
    wait_until(lambda: NO_EXTENSION in cluster.log(before), message="the first supervisor has left", interval=0.01)
    listed = ",".join(name for name in cluster.databases if name != db.name)
    cluster.configure(djkafka__databases=listed)  # and no reload
    db.query("CREATE EXTENSION djkafka")
    left = "supervisor leaves: the database is not in djkafka.databases"
    wait_until(lambda: left in cluster.log(before), message=lambda: f"no supervisor has left: {cluster.log(before)}")
    db.destroy()


def test_extension_while_the_launcher_waits(own_cluster, kafka: Client, unique) -> None:
    """What wakes it while it waits for something else, here a lock, is not lost."""
    # The timer of a wait that lasts sets the latch, too: it must be over before.
    cluster = own_cluster(djkafka__bootstrap_servers=kafka.address, deadlock_timeout="10ms")
    db = Database(cluster, unique("db"))
    wait_until(lambda: NO_EXTENSION in cluster.log(), message="the first supervisor has left")
    launcher = db.value("SELECT pid FROM pg_stat_activity WHERE backend_type = 'djkafka launcher'", user="postgres")
    creator, blocker, looker = db.connect(), db.connect("postgres"), db.connect("postgres")
    creator.execute("BEGIN")
    creator.execute("CREATE EXTENSION djkafka")
    # It waits for the creator, and the launcher's look behind it.
    blocked = threading.Thread(target=blocker.execute, args=("LOCK TABLE pg_database IN ACCESS EXCLUSIVE MODE",))
    waiting = "SELECT FROM pg_locks WHERE pid = %s AND waitstart < clock_timestamp() - interval '100 ms'"

    def wait_waiting(pid: int) -> None:
        wait_until(lambda: looker.execute(waiting, (pid,)).rowcount > 0, message="it waits")

    blocker.execute("BEGIN")
    blocked.start()
    wait_waiting(blocker.info.backend_pid)
    looker.execute("SELECT pg_log_backend_memory_contexts(%s)", (launcher,))  # a look that nothing has caused
    wait_waiting(launcher)
    creator.execute("COMMIT")
    blocked.join()
    blocker.execute("COMMIT")
    wait_until(lambda: db.workers("djkafka supervisor"), 10, "the database has its supervisor")
    for each in (creator, blocker, looker):
        each.close()


def test_embedded_broker_without_preload(own_cluster: Callable[..., Cluster]) -> None:
    """Naming the embedded broker where nothing was preloaded is an error, not a crash."""
    cluster = own_cluster(shared_preload_libraries="")
    with cluster.connect("postgres") as connection:
        connection.execute("CREATE EXTENSION djkafka")
        connection.execute("SET djkafka.bootstrap_servers = 'embedded'")
        with pytest.raises(psycopg.DatabaseError, match="embedded broker is not running"):
            connection.execute("SELECT * FROM djkafka_topics()")
    assert not cluster.crashes()
