"""
Each kind of copy of a database begins to work for itself after djkafka_adopt(), and its original goes on undisturbed.

Both consume one topic into a table without a key and send to one partition, so that each message that is lost,
comes twice or in another order is seen.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from lib.copies import back_up, clone, copy_of, database_of, drop_clone, make_standby, restore, restore_by_jobs
from lib.djkafka import assert_audit, explain, to_json, wait_count, wait_state, wait_value
from lib.kafka import Client, Record
from lib.outbox import make_server, outbox_worker, read_topic, sequences, wait_outbox_state, wait_sent
from lib.postgres import Cluster, Database
from lib.wait import stays_true, wait_until

KEPT = [(True, False), (False, True)]  # keep_offsets, keep_outbox
SEEN = "SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM seen"
GROUPS = "SELECT array_agg(group_id ORDER BY name) FROM djkafka_consumer"


class Copies:
    """An original that has consumed and sent, with messages that wait; its copy; what they do."""

    def __init__(self, original: Database, kafka: Client, unique: Callable[[str], str]):
        self.original, self.kafka = original, kafka
        self.topic, self.out = kafka.create_topic(unique("topic")), kafka.create_topic(unique("out"))
        original.query("CREATE EXTENSION IF NOT EXISTS djkafka")
        original.query("CREATE TABLE seen (id bigint)")
        original.query("SELECT djkafka_create_consumer('default')")
        original.query("SELECT djkafka_create_consumer('explicit', group_id => %s, enabled => false)", unique("group"))
        original.query("SELECT djkafka_subscribe(%s, 'seen', operation => 'insert')", self.topic)
        self.arrive(1, 5)
        wait_count(original, "seen", 5)
        self.produce(original, 1, 100)
        wait_sent(original)
        original.query("UPDATE djkafka_outbox_server SET enabled = false")
        wait_until(lambda: not original.workers("djkafka outbox"), message="the outbox's worker has left")
        self.produce(original, 101, 150)
        # so that the numbers of transactions of another server are behind this one's
        original.query("CREATE TEMP TABLE numbers (id int)")
        original.query(
            "DO $$BEGIN FOR i IN 1..3000 LOOP BEGIN INSERT INTO numbers VALUES (i);"
            " EXCEPTION WHEN others THEN NULL; END; END LOOP; END$$"
        )
        original.disconnect()

    def arrive(self, first: int, last: int) -> None:
        self.kafka.produce(self.topic, [Record(to_json(id=i)) for i in range(first, last + 1)])

    def produce(self, db: Database, first: int, last: int) -> None:
        db.query("SELECT djkafka_produce(%s, i, key => 'k') FROM generate_series(%s::int, %s) i", self.out, first, last)

    def sent(self) -> list[int]:
        return sequences(read_topic(self.kafka, self.out)).get("k", [])

    def check(self, made: Database, keep_offsets: bool, keep_outbox: bool, arguments: str = "") -> None:
        """Adopts a copy that is not at work yet, and sees how both go on."""
        original = self.original
        self.produce(made, 9001, 9010)
        groups = made.value(GROUPS)
        before = contents(original)
        done = made.record(
            f"SELECT * FROM djkafka_adopt(keep_offsets => {keep_offsets}, keep_outbox => {keep_outbox}{arguments})"
        )
        # what was produced where nothing tells that it is a copy is the original's too
        own = [] if arguments and not keep_outbox else list(range(9001, 9011))
        assert done["consumers"] == 2 and done["outboxes"] == 1, done
        assert done["messages_kept"] == len(own) + (50 if keep_outbox else 0), done
        assert done["offsets_deleted"] == (0 if keep_offsets else 1), done
        assert contents(original) == before, "the original is as it was"
        digits = str(done["home"])[:8]
        assert made.value(GROUPS) == [f"djkafka-{digits}-default", f"{groups[1]}-{digits}"], "groups are its own"

        made.query("UPDATE djkafka_outbox_server SET enabled = true")
        made.cluster.list_database(made.name)
        wait_sent(made)
        assert self.sent() == [*range(1, 101), *(range(101, 151) if keep_outbox else ()), *own]
        seen = [*range(1, 6), *(() if keep_offsets else range(1, 6))]
        wait_value(made, SEEN, sorted(seen))
        original.query("UPDATE djkafka_outbox_server SET enabled = true")
        self.produce(original, 151, 160)
        wait_sent(original)
        self.arrive(6, 8)
        self.produce(made, 9011, 9012)
        wait_sent(made)
        expected = [*range(1, 101), *(range(101, 151) if keep_outbox else ()), *own, *range(101, 161), 9011, 9012]
        assert self.sent() == expected
        for db, wanted in ((original, list(range(1, 9))), (made, sorted([*seen, 6, 7, 8]))):
            wait_value(db, SEEN, wanted)
            wait_state(db, "running")
            assert_audit(db)
        stays_true(lambda: original.value(SEEN) == list(range(1, 9)), 1, explain(original))


def contents(db: Database) -> list:
    tables = ("djkafka_home", "djkafka_consumer", "djkafka_offset", "djkafka_outbox_server", "djkafka_outbox")
    return [db.query(f"SELECT * FROM {table} ORDER BY id") if table != "djkafka_outbox_server" else
            db.query(f"SELECT id, server, home, batch, confirmed, done::text FROM {table} ORDER BY id") for table in tables]


@pytest.fixture
def copies(db: Database, kafka: Client, unique) -> Copies:
    return Copies(db, kafka, unique)


@pytest.mark.parametrize("keep", KEPT)
def test_clone(copies: Copies, unique, keep: tuple[bool, bool]) -> None:
    made = clone(copies.original, unique("clone"))
    try:
        copies.check(made, *keep)
    finally:
        drop_clone(made)


def test_restored_by_jobs(db: Database, kafka: Client, topic: str, cluster: Cluster, unique, tmp_path: Path) -> None:
    """An archive does not say in which order our tables come."""
    db.query("CREATE TABLE seen (id bigint)")
    db.query("SELECT djkafka_subscribe(%s, 'seen', operation => 'insert')", topic)
    kafka.produce(topic, [Record(to_json(id=1))])
    wait_count(db, "seen", 1)
    name = unique("jobs")
    cluster.query(f"CREATE DATABASE {name} OWNER {db.owner}")
    made = database_of(cluster, name, db.owner)
    try:
        restore_by_jobs(db, made, tmp_path)
        for query in ("SELECT topic, target::text FROM djkafka_route", "SELECT partition, next_offset FROM djkafka_offset ORDER BY 1"):
            assert made.query(query) == db.query(query)
        assert made.value("SELECT consumers FROM djkafka_adopt()") == 1
    finally:
        drop_clone(made)


@pytest.mark.parametrize("keep", KEPT)
def test_restored_dump(copies: Copies, cluster: Cluster, unique, keep: tuple[bool, bool]) -> None:
    made = Database(cluster, unique("copy"), listed=False)
    try:
        restore(copies.original, made)
        copies.check(made, *keep)
    finally:
        made.destroy()


@pytest.mark.parametrize("keep", KEPT)
def test_dump_restored_elsewhere(copies: Copies, own_cluster, kafka: Client, unique, keep: tuple[bool, bool]) -> None:
    made = Database(own_cluster(djkafka__bootstrap_servers=kafka.address), unique("copy"), listed=False)
    restore(copies.original, made)
    copies.check(made, *keep)


@pytest.mark.long
def test_move_to_another_server(copies: Copies, own_cluster, kafka: Client, unique) -> None:
    """For good: the original is at work no more, and the group and what was not sent are the new one's."""
    original = copies.original
    made = Database(own_cluster(djkafka__bootstrap_servers=kafka.address), unique("copy"), listed=False)
    original.cluster.unlist_database(original.name)
    restore(original, made)
    groups = made.value(GROUPS)
    done = made.record("SELECT * FROM djkafka_adopt(keep_outbox => true, keep_groups => true)")
    assert (done["messages_kept"], done["messages_deleted"], done["offsets_deleted"]) == (50, 0, 0)
    assert made.value(GROUPS) == groups
    made.query("UPDATE djkafka_outbox_server SET enabled = true")
    made.cluster.list_database(made.name)
    copies.arrive(6, 8)
    copies.produce(made, 151, 160)
    wait_sent(made)
    wait_value(made, SEEN, list(range(1, 9)), timeout=60)
    assert copies.sent() == list(range(1, 161))
    wait_state(made, "running", timeout=60)
    assert_audit(made)


@pytest.mark.parametrize(("delivery", "keep"), zip(("at_least_once", "exactly_once"), KEPT))
def test_backup_beside_its_origin(own_cluster, kafka: Client, unique, delivery: str, keep: tuple[bool, bool]) -> None:
    """Nothing tells it from its origin, so it is opened with nothing at work."""
    first = own_cluster(djkafka__bootstrap_servers=kafka.address, djkafka__delivery=delivery)
    copies = Copies(Database(first, unique("db")), kafka, unique)
    backup = own_cluster()
    back_up(first, backup)
    backup.configure(djkafka__databases="")
    backup.start()
    made = copy_of(copies.original, backup)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="nothing to adopt"):
        made.query("SELECT djkafka_adopt()")
    copies.check(made, *keep, ", new_home => true")
    made.disconnect()


def test_new_primary_beside_the_old_one(own_cluster, kafka: Client, unique) -> None:
    first = own_cluster(djkafka__bootstrap_servers=kafka.address)
    copies = Copies(Database(first, unique("db")), kafka, unique)
    standby = own_cluster()
    make_standby(standby, first)
    standby.configure(djkafka__databases="")
    standby.reload()
    standby.query("SELECT pg_promote()")
    made = copy_of(copies.original, standby)
    wait_value(made, "SELECT pg_is_in_recovery()", False)
    copies.check(made, True, False, ", new_home => true")
    made.disconnect()


def test_promoted_standby(own_cluster, kafka: Client, unique) -> None:
    """The old primary is gone: the new one goes on, and has nothing to adopt."""
    first = own_cluster(djkafka__bootstrap_servers=kafka.address)
    copies = Copies(Database(first, unique("db")), kafka, unique)
    standby = own_cluster()
    make_standby(standby, first)
    made = copy_of(copies.original, standby)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        made.query("SELECT djkafka_adopt()")
    last = first.query("SELECT pg_current_wal_lsn()")[0][0]
    wait_value(made, "SELECT pg_last_wal_replay_lsn() >= %s", True, last)
    copies.original.disconnect()
    first.stop()
    standby.query("SELECT pg_promote()")
    wait_value(made, "SELECT pg_is_in_recovery()", False)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="nothing to adopt"):
        made.query("SELECT djkafka_adopt()")
    made.query("UPDATE djkafka_outbox_server SET enabled = true")
    copies.arrive(6, 8)
    wait_sent(made)
    wait_value(made, SEEN, list(range(1, 9)), timeout=60)
    assert copies.sent() == list(range(1, 151))
    made.disconnect()


def test_names_in_kafka_follow_the_home(copies: Copies, kafka: Client, unique) -> None:
    """Member ids and the transactional id, which the group that carries numbers of batches has too, are the new home's."""
    made = clone(copies.original, unique("clone"))
    try:
        home = made.record("SELECT * FROM djkafka_adopt()")["home"]
        made.cluster.list_database(made.name)
        wait_state(made, "running")
        group = made.value("SELECT group_id FROM djkafka_consumer WHERE name = 'default'")
        described = kafka.admin.describe_consumer_groups([group])[group].result()
        assert [str(home) in member.group_instance_id for member in described.members] == [True]
        server = make_server(made, kafka.address, "exactly_once")
        made.query("SELECT djkafka_produce(%s, 1, server => %s)", copies.out, server)
        wait_sent(made)
        names = [found.group_id for found in kafka.admin.list_consumer_groups().result().valid]
        assert [name for name in names if name.startswith(f"djkafka-outbox-{home}-")]
    finally:
        drop_clone(made)


@pytest.fixture
def template(cluster: Cluster, unique) -> Iterator[Database]:
    """Like a template1 with the extension: nothing is in it."""
    made = Database(cluster, unique("template"), listed=False)
    made.query("CREATE EXTENSION djkafka")
    made.disconnect()
    yield made
    made.destroy()


def test_clone_with_nothing_in_it(template: Database, cluster: Cluster, kafka: Client, topic: str, unique) -> None:
    """It has a home of its own as soon as it needs one."""
    made = [clone(template, unique("project")) for _ in range(3)]
    try:
        for db in made:
            cluster.list_database(db.name)
        made[0].query("CREATE TABLE item (id bigint PRIMARY KEY)")
        made[0].query("SELECT djkafka_subscribe(%s, 'item')", topic)
        made[1].query("SELECT djkafka_produce(%s, %s)", topic, to_json(id=1))
        made[2].query("CREATE TABLE item (id bigint PRIMARY KEY)")
        made[2].query("SELECT djkafka_publish('item', %s)", topic)
        made[2].query("INSERT INTO item VALUES (2)")
        wait_count(made[0], "item", 2)
        for db in made[1:]:
            wait_sent(db)
        homes = {db.value("SELECT home FROM djkafka_home") for db in (*made, template)}
        assert len(homes) == 4
    finally:
        for db in made:
            drop_clone(db)


def test_adopted_while_workers_run(copies: Copies, kafka: Client) -> None:
    """A new home in a database at work: nothing is lost or comes twice, since the offsets are kept."""
    db = copies.original
    db.query("UPDATE djkafka_outbox_server SET enabled = true")
    wait_sent(db)
    for part in range(3):
        pid = outbox_worker(db)["pid"]
        copies.arrive(6 + part, 6 + part)
        copies.produce(db, 151 + part, 151 + part)
        wait_sent(db)
        db.query("SELECT djkafka_adopt(keep_outbox => true, new_home => true)")
        copies.produce(db, 161 + part, 161 + part)
        wait_sent(db)
        wait_until(lambda old=pid: outbox_worker(db)["pid"] != old, message="another worker sends")
        wait_outbox_state(db, "running")
    wait_value(db, SEEN, list(range(1, 9)))
    assert copies.sent() == [*range(1, 151), 151, 161, 152, 162, 153, 163]
