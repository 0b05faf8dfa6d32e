"""A Django project migrates on its own, reads by its ORM what Kafka held, and tests itself."""

import json
import re
import uuid
from pathlib import Path

import psycopg
import pytest
from lib.djkafka import assert_audit, dead_letters, wait_caught_up, wait_count, wait_state, workers
from lib.django import Project
from lib.kafka import Client, Record
from lib.postgres import Database
from lib.wait import wait_until

ADA, GRACE = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
ORDER = {"number": "N1", "amount": "12.50", "placed_at": "2026-01-02T03:04:05+01:00"}


@pytest.fixture
def project(plain_db: Database, kafka: Client, unique) -> Project:
    """The project, migrated by the owner of an empty database, its topics made."""
    made = Project(plain_db, unique("shop") + ".")
    made.manage("migrate")
    for topic in ("customers", "orders"):
        kafka.create_topic(made.topic_prefix + topic)
    return made


def record(**fields) -> Record:
    return Record(json.dumps(fields), key=str(fields["id"]))


def test_orm_reads_what_kafka_held(project: Project, plain_db: Database, kafka: Client) -> None:
    customers, orders = project.topic_prefix + "customers", project.topic_prefix + "orders"
    assert not plain_db.value("SELECT rolsuper FROM pg_roles WHERE rolname = %s", plain_db.owner)
    kafka.produce(customers, [record(id=ADA, name="Ada", email="ada@example.org", joined_at="2020-02-29T12:00:00Z")])
    kafka.produce(customers, [record(id=GRACE, name="Grace", active=False)])
    wait_count(plain_db, "shop_customer", 2)
    kafka.produce(
        orders,
        [
            record(id=1, customer_id=ADA, details={"gift": True, "n": [1, None]}, tags=["a", "b c", 'd"'], **ORDER),
            record(id=2, customer_id=GRACE, scan="\\x00ff", paid=True, **ORDER | {"amount": 7}),
            record(id=3, customer_id=ADA, **ORDER | {"amount": "0.005"}),
        ],
    )
    wait_caught_up(plain_db, kafka, orders, "shop")
    found = project.orm(
        """
        answer([[o.id, o.customer.name, o.customer.active, o.amount, o.paid, o.placed_at.isoformat(),
                 o.details, o.tags, o.scan and bytes(o.scan).hex()] for o in Order.objects.order_by("id")])
        """
    )
    at = "2026-01-02T02:04:05+00:00"
    assert found == [
        [1, "Ada", True, "12.50", False, at, {"gift": True, "n": [1, None]}, ["a", "b c", 'd"'], None],
        [2, "Grace", False, "7.00", True, at, None, None, "00ff"],
        [3, "Ada", True, "0.01", False, at, None, None, None],
    ]

    # a change of one field, and a deletion
    kafka.produce(orders, [record(id=1, paid=True), Record(None, key="2")])
    wait_caught_up(plain_db, kafka, orders, "shop")
    assert project.orm("answer(list(Order.objects.order_by('id').values_list('id', 'paid', 'number')))") == [
        [1, True, "N1"],
        [3, False, "N1"],
    ]
    assert_audit(plain_db)


# Applies, or undoes, the migration of the README, as `manage.py migrate` does it.
README_MIGRATION = """
from django.db import connection
from django.db.migrations.loader import MigrationLoader
code = {code!r}
names = {{}}
exec(code, names)
migration = names["Migration"]("0002_readme", "shop")
state = MigrationLoader(connection).project_state()
with connection.schema_editor() as editor:
    migration.{step}(state, editor)
"""


def readme_migration(topic: str) -> str:
    """Word for word, but for the topic, which other tests have too."""
    text = (Path(__file__).parents[3] / "README.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "class Migration" in block]
    assert "'orders'" in code
    return code.replace("'orders'", f"'{topic}'")


def test_readme_forwards_back_forwards(project: Project, plain_db: Database, kafka: Client, unique) -> None:
    """What the README's migration has made is undone and made again while messages come: none is lost or read twice."""
    topic = kafka.create_topic(unique("readme"))
    code = readme_migration(topic)
    plain_db.query("SELECT djkafka_pause('shop')")
    other = plain_db.query("SELECT name, revision FROM djkafka_consumer WHERE name = 'shop'")
    plain_db.query("CREATE TABLE seen (id bigint)")
    plain_db.query(
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES (NEW.id); RETURN NEW; END $$"
    )
    plain_db.query("CREATE TRIGGER see AFTER INSERT OR UPDATE ON shop_order FOR EACH ROW EXECUTE FUNCTION see()")
    plain_db.query(f"INSERT INTO shop_customer (id, name) VALUES ('{ADA}', 'Ada')")
    for turn in range(3):
        kafka.produce(topic, [record(id=turn * 1000 + n, customer_id=ADA, **ORDER) for n in range(400)])
        project.orm(README_MIGRATION.format(code=code, step="apply"))
        if turn < 2:
            wait_until(lambda: plain_db.value("SELECT count(*) FROM seen WHERE id >= %s", turn * 1000), message="the first")
            project.orm(README_MIGRATION.format(code=code, step="unapply"))
            wait_until(lambda: not workers(plain_db, "default"), message="the worker has left")
            assert plain_db.query("SELECT name, revision FROM djkafka_consumer WHERE name = 'shop'") == other
    wait_caught_up(plain_db, kafka, topic, "default")
    assert plain_db.query("SELECT count(*), count(DISTINCT id) FROM seen") == [(1200, 1200)]
    assert plain_db.query("SELECT sum(applied), sum(dead) FROM djkafka_partition_status WHERE consumer = 'default'") == [(1200, 0)]
    assert_audit(plain_db)


def test_migrations_back_and_forwards(project: Project, plain_db: Database, kafka: Client) -> None:
    """The project's own, with the consumer dropped in between once, and what waited for a parent."""
    customers, orders = project.topic_prefix + "customers", project.topic_prefix + "orders"
    kafka.produce(customers, [record(id=ADA, name="Ada")])
    kafka.produce(orders, [record(id=1, customer_id=ADA, **ORDER), record(id=2, customer_id=GRACE, **ORDER)])
    wait_count(plain_db, "shop_order", 1)
    wait_count(plain_db, "djkafka_parked", 1)
    for dropped in (False, True):
        project.manage("migrate", "shop", "0001")
        assert plain_db.query("SELECT count(*) FROM djkafka_route") == [(0,)]
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            plain_db.query("DROP EXTENSION djkafka")
        if dropped:
            plain_db.query("SELECT djkafka_drop_consumer('shop')")
            assert plain_db.query('SELECT "offset" FROM djkafka_dead_letter') == [(1,)]
        kafka.produce(orders, [record(id=3 + dropped, customer_id=ADA, **ORDER)])
        project.manage("migrate", "shop")
        wait_caught_up(plain_db, kafka, orders, "shop")
    kafka.produce(customers, [record(id=GRACE, name="Grace")])
    wait_count(plain_db, "shop_customer", 2)
    assert plain_db.query("SELECT result FROM djkafka_replay((SELECT array_agg(id) FROM djkafka_dead_letter))") == [("applied",)]
    assert plain_db.query("SELECT id FROM shop_order ORDER BY id") == [(1,), (2,), (3,), (4,)]
    applied = "SELECT sum(applied) FROM djkafka_partition_status WHERE topic = %s"
    assert plain_db.value(applied, orders) == 1, "the message that came since the consumer was made again"


def test_rename_field_and_model(project: Project, plain_db: Database, kafka: Client) -> None:
    """What RenameField and RenameModel do; the producer goes on with the old names, or takes the new ones."""
    customers, orders = project.topic_prefix + "customers", project.topic_prefix + "orders"
    kafka.produce(customers, [record(id=ADA, name="Ada", email="ada@example.org")])
    wait_count(plain_db, "shop_customer", 1)
    project.orm(
        """
        from django.db import connection, migrations
        from django.db.migrations.loader import MigrationLoader
        migration = migrations.Migration("renamed", "shop")
        migration.operations = [
            migrations.RenameField("customer", "name", "full_name"),
            migrations.RenameField("customer", "id", "uuid"),
            migrations.RenameField("order", "customer", "buyer"),
            migrations.RenameModel("Customer", "Person"),
            migrations.AlterModelTable("Person", "shop_Person"),
        ]
        with connection.schema_editor() as editor:
            migration.apply(MigrationLoader(connection).project_state(), editor)
        """
    )
    kafka.produce(customers, [record(id=ADA, name="Ada Lovelace"), Record(json.dumps({"uuid": GRACE, "full_name": "Grace"}))])
    kafka.produce(orders, [record(id=1, customer_id=ADA, **ORDER), record(id=2, buyer_id=GRACE, **ORDER)])
    wait_count(plain_db, "shop_order", 2)
    kafka.produce(customers, [record(id=str(uuid.UUID(int=3)), name="Eve"), Record(None, key=str(uuid.UUID(int=3)))])
    wait_caught_up(plain_db, kafka, customers, "shop")
    query = 'SELECT uuid::text, full_name, email FROM "shop_Person" ORDER BY 1'
    assert plain_db.query(query) == [(ADA, "Ada Lovelace", "ada@example.org"), (GRACE, "Grace", None)]
    assert plain_db.query("SELECT buyer_id::text FROM shop_order ORDER BY id") == [(ADA,), (GRACE,)]
    assert not dead_letters(plain_db, customers) and not dead_letters(plain_db, orders)
    assert plain_db.query("SELECT target_name FROM djkafka_route ORDER BY id") == [('public."shop_Person"',), ("public.shop_order",)]


def test_foreign_keys(project: Project, plain_db: Database, kafka: Client) -> None:
    """A child whose parent is missing, and a parent whose children remain, are dead with a hint."""
    customers, orders = project.topic_prefix + "customers", project.topic_prefix + "orders"
    plain_db.query("UPDATE djkafka_route SET parent_timeout = '0'")
    kafka.produce(customers, [record(id=ADA, name="Ada")])
    wait_count(plain_db, "shop_customer", 1)
    kafka.produce(orders, [record(id=1, customer_id=ADA, **ORDER), record(id=2, customer_id=GRACE, **ORDER)])
    wait_caught_up(plain_db, kafka, orders, "shop")
    assert plain_db.query("SELECT id FROM shop_order") == [(1,)]
    kafka.produce(customers, [Record(None, key=ADA)])
    wait_caught_up(plain_db, kafka, customers, "shop")
    letters = [*dead_letters(plain_db, orders).values(), *dead_letters(plain_db, customers).values()]
    assert [letter["sqlstate"] for letter in letters] == ["23503", "23503"]
    assert letters[1]["hint"], "the hint says what to do about children"
    assert plain_db.value("SELECT count(*) FROM shop_customer") == 1


def test_missing_python_default(project: Project, plain_db: Database, kafka: Client) -> None:
    """A NOT NULL column that nobody fills: the hint names it and what fills it."""
    customers = project.topic_prefix + "customers"
    kafka.produce(customers, [record(id=ADA, email="ada@example.org")])
    wait_caught_up(plain_db, kafka, customers, "shop")
    (letter,) = dead_letters(plain_db, customers).values()
    assert letter["sqlstate"] == "23502"
    assert "name" in letter["message"] + letter["hint"] and "db_default" in letter["hint"]


def test_orm_creates_edits_and_removes(project: Project, plain_db: Database, kafka: Client, unique) -> None:
    topic, second = kafka.create_topic(unique("orm")), kafka.create_topic(unique("orm"))
    plain_db.query("CREATE TABLE stock (sku text PRIMARY KEY, pieces int, note text)")
    project.orm(
        f"""
        consumer = Consumer.objects.create(name="orm", workers=1, options={{"fetch.wait.max.ms": "50"}})
        consumer.refresh_from_db()
        assert consumer.owner == "{plain_db.owner}" and consumer.group_id.startswith("djkafka-"), vars(consumer)
        Route.objects.create(consumer=consumer, topic="{topic}", target="stock",
                             columns={{"note": "upper(value->>'note')"}}, exclude=["pieces"])
        """
    )
    kafka.produce(topic, [Record('{"sku": "a", "pieces": 1, "note": "x"}')])
    wait_count(plain_db, "stock", 1)
    assert plain_db.query("SELECT * FROM stock") == [("a", None, "X")]

    # an edit is in force at its commit, without losing or repeating a message
    project.orm(
        f"""
        route = Route.objects.get(consumer__name="orm")
        route.exclude = None
        route.topic = "^({topic}|{second})$"
        route.save()
        consumer = Consumer.objects.get(name="orm")
        consumer.workers = 2
        consumer.save()
        """
    )
    kafka.produce(topic, [Record('{"sku": "b", "pieces": 2}')])
    kafka.produce(second, [Record('{"sku": "c", "pieces": 3}')])
    wait_count(plain_db, "stock", 3, timeout=60)
    assert plain_db.query("SELECT sku, pieces FROM stock ORDER BY sku") == [("a", None), ("b", 2), ("c", 3)]
    wait_until(lambda: len(workers(plain_db, "orm")) == 2, message="two workers")
    # it is running again once the second one has its share
    wait_until(
        lambda: project.orm("answer(Status.objects.values_list('state', 'applied').get(consumer='orm'))") == ["running", 3],
        message="the state as Django reads it",
    )

    # what a function would refuse, the ORM is refused too
    refused = project.orm(
        """
        from django.db import Error
        codes = []
        for change in (dict(workers=0), dict(on_error="ignore"), dict(options={"no.such.property": "1"}),
                       dict(start_from="middle"), dict(name="x" * 64), dict(assignment="best")):
            try:
                Consumer.objects.filter(name="orm").update(**change)
                codes.append(f"accepted {change}")
            except Error as error:
                codes.append(error.__cause__.sqlstate)
        answer(codes)
        """
    )
    assert refused == ["22023", "22023", "42KF2", "22023", "42602", "22023"]

    project.orm("Consumer.objects.get(name='orm').delete()")
    wait_until(lambda: not workers(plain_db, "orm"), message="the workers have left")
    assert plain_db.value("SELECT count(*) FROM djkafka_offset WHERE topic IN (%s, %s)", topic, second) == 0
    assert plain_db.value("SELECT count(*) FROM djkafka_route WHERE topic LIKE %s", f"%{topic}%") == 0


FORMS = """
from django import forms
from django.db import DatabaseError, transaction

class ConsumerForm(forms.ModelForm):
    class Meta:
        model = Consumer
        exclude = ["home"]

class RouteForm(forms.ModelForm):
    class Meta:
        model = Route
        fields = ["consumer", "topic", "target", "handler", "operation", "format", "key_format", "route_order", "filter", "deleted_field", "search_path"]

def fill(form_class, instance=None, **changes):
    instance = instance and type(instance).objects.get(pk=instance.pk)
    form = form_class(instance=instance)
    data = {name: "" if value is None else value for name, value in
            {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}.items()}
    form = form_class({**data, "options": "{}", **changes}, instance=instance)
    assert form.is_valid(), form.errors
    try:
        with transaction.atomic():
            return form.save()
    except DatabaseError as error:
        diag = error.__cause__.diag
        form.add_error(diag.column_name if diag.column_name in form.fields else None, diag.message_primary)
        return dict(form.errors)

"""


def test_forms(project: Project, plain_db: Database) -> None:
    """What an admin leaves empty is filled in, or null; what is wrong is shown at its field."""
    errors = project.orm(
        FORMS
        + """
consumer = fill(ConsumerForm, name="forms", enabled="on")
consumer.refresh_from_db()
route = fill(RouteForm, consumer=consumer.pk, topic="forms", target="shop_customer", deleted_field="")
answer([fill(ConsumerForm, consumer, workers=0), fill(ConsumerForm, consumer, group_id="x" * 300), fill(RouteForm, route, topic="a b"),
        fill(RouteForm, route, filter="nothing"), fill(RouteForm, route, target="", handler="no(jsonb)"), fill(RouteForm, route, deleted_field="", filter="true") == route])
"""
    )
    assert [sorted(found) for found in errors[:-1]] == [["workers"], ["group_id"], ["topic"], ["filter"], ["handler"]], errors
    assert errors[-1] is True
    consumer = "SELECT owner::text, server, group_id ~ '-forms$', revision > 1 FROM djkafka_consumer WHERE name = 'forms'"
    assert plain_db.query(consumer) == [(plain_db.owner, None, True, True)]
    route = "SELECT handler, filter, deleted_field, created_at IS NOT NULL FROM djkafka_route WHERE topic = 'forms'"
    assert plain_db.query(route) == [(None, "true", None, True)]


@pytest.mark.parametrize("options", [(), ("--parallel", "2")], ids=["one-process", "parallel"])
def test_manage_py_test(project: Project, plain_db: Database, kafka: Client, options: tuple[str, ...]) -> None:
    """The project's own tests, beside running workers, which see nothing of them."""
    plain_db.cluster.query(f"ALTER ROLE {plain_db.owner} CREATEDB")
    customers = project.topic_prefix + "customers"
    kafka.produce(customers, [record(id=ADA, name="Ada")])
    wait_count(plain_db, "shop_customer", 1)
    wait_state(plain_db, "running", "shop")
    before = workers(plain_db, "shop")
    # Old databases of an interrupted run are no obstacle: --noinput.
    output = project.manage("test", "--noinput", "-v", "1" if not options else "2", *options)
    assert re.search(r"Ran 13 tests", output) and output.rstrip().splitlines()[-2:] and "OK" in output, output
    if options:
        assert "Cloning test database" in output, "the tests did run in clones"
    assert workers(plain_db, "shop") == before, "the workers were left alone"
    kafka.produce(customers, [record(id=GRACE, name="Grace")])
    wait_count(plain_db, "shop_customer", 2)


WATCHING = (
    "SELECT ON djkafka_status, djkafka_partition_status",
    "EXECUTE ON FUNCTION djkafka_worker_status(), djkafka_partition_owner(), djkafka_is_home(uuid),"
    " djkafka_system_state(), djkafka_consumer_state(boolean, boolean, integer, bigint, text[], bigint, text, bigint, bigint),"
    " djkafka_health(), djkafka_audit()",
)


def test_grants_for_an_application_role(project: Project, plain_db: Database) -> None:
    """A role that is not the owner needs few rights to watch, and gets no more by them."""
    role = f"{plain_db.name}_app"
    plain_db.cluster.query(f"CREATE ROLE {role} LOGIN")
    try:
        for right in WATCHING:
            plain_db.query(f"GRANT {right} TO {role}")
        assert plain_db.query("SELECT consumer FROM djkafka_status", user=role) == [("shop",)]
        plain_db.query("SELECT * FROM djkafka_partition_status", user=role)
        for forbidden in (
            "UPDATE djkafka_consumer SET workers = 2",
            "SELECT djkafka_pause('shop')",
            "DELETE FROM djkafka_dead_letter",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                plain_db.query(forbidden, user=role)
    finally:
        plain_db.disconnect()
        for right in WATCHING:
            plain_db.query(f"REVOKE {right} FROM {role}")
        plain_db.cluster.query(f"DROP ROLE {role}")
