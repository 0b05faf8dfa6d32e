"""What is made begins to work at once."""

import time

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
