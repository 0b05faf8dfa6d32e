"""Routes whose expressions, or whose tables, are not what they were."""

import psycopg
import pytest
from lib.djkafka import to_json
from lib.postgres import Database


def run_one(db: Database, message: str) -> tuple:
    return db.query("SELECT applied, dead FROM djkafka_run('c', messages => %s)", f'[{{"topic": "t", "value": {message}}}]')[0]


@pytest.fixture
def paused(db: Database) -> Database:
    """A database with a consumer that only djkafka_run uses."""
    db.query("CREATE TABLE item (id bigint PRIMARY KEY, name text, n bigint)")
    db.query("SELECT djkafka_create_consumer('c', enabled => false)")
    return db


def test_expression_that_leaves_its_cast(paused: Database) -> None:
    """A number must not be taken for a pointer because an expression's text closed the cast round it."""
    with pytest.raises(psycopg.errors.SyntaxError):
        paused.query(
            "SELECT djkafka_create_route('c', 't', 'item', columns => %s)",
            to_json(name="5) AS bigint) /*", n="*/, CAST((1"),
        )


def test_mapped_characters_are_not_cut(paused: Database) -> None:
    paused.query("CREATE TABLE fixed (id bigint PRIMARY KEY, code char(5), bits bit(4))")
    paused.query(
        "SELECT djkafka_create_route('c', 't', 'fixed', columns => %s)", to_json(code="value->>'c'", bits="B'1010'")
    )
    assert run_one(paused, '{"id": 1, "c": "abc"}') == (1, 0)
    assert paused.query("SELECT code::text, bits::text FROM fixed") == [("abc", "1010")]


def test_table_altered_under_its_rows(paused: Database) -> None:
    """An expression that gives a column another type costs its message, not the server."""
    paused.query(
        "CREATE FUNCTION alters() RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN ALTER TABLE public.item ALTER n TYPE text; RETURN true; END $$"
    )
    paused.query("SELECT djkafka_create_route('c', 't', 'item', filter => 'alters()')")
    assert run_one(paused, '{"id": 1, "n": 77}') == (0, 1)


def test_route_edited_by_superuser(paused: Database) -> None:
    """What planning runs of a route's expressions runs as the consumer's owner, whoever edits the row."""
    paused.query(
        "CREATE FUNCTION spy() RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN RAISE NOTICE 'as %', current_user; RETURN true; END $$"
    )
    paused.query("SELECT djkafka_create_route('c', 't', 'item', filter => 'spy()')")
    seen: list[str | None] = []
    connection = paused.connect("postgres")
    connection.add_notice_handler(lambda diagnostic: seen.append(diagnostic.message_primary))
    connection.execute("UPDATE djkafka_route SET notify = 'batch'")
    connection.close()
    assert set(seen) == {f"as {paused.owner}"}
