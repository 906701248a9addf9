"""The migrations lead to what the models say, and back."""

from uuid import uuid4

import psycopg
import pytest
from alembic import command
from sqlalchemy import create_engine, inspect, text

from voxqueue.database.base import Base
from voxqueue.database.migrate import alembic_config, upgrade
from voxqueue.database.session import database_errors
from voxqueue.errors import DatabaseUnavailable, MisconfiguredError
from voxqueue.urls import for_psql

pytestmark = pytest.mark.integration


@pytest.fixture
def empty_database(postgres: str) -> str:
    name = f"empty_{uuid4().hex[:12]}"
    with psycopg.connect(for_psql(postgres), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres.replace("/voxqueue?", f"/{name}?")


def test_a_database_that_cannot_hold_every_language_is_refused(postgres: str) -> None:
    name = f"ascii_{uuid4().hex[:12]}"
    with psycopg.connect(for_psql(postgres), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(MisconfiguredError, match=r"encoded in SQL_ASCII.*createdb --encoding UTF8"):
        upgrade(postgres.replace("/voxqueue?", f"/{name}?"))


def tables(url: str) -> set[str]:
    engine = create_engine(url)
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_up_and_down_and_up_again(empty_database: str) -> None:
    upgrade(empty_database)
    assert tables(empty_database) == {*Base.metadata.tables, "alembic_version"}
    command.downgrade(alembic_config(empty_database), "base")
    assert tables(empty_database) == {"alembic_version"}
    upgrade(empty_database)
    upgrade(empty_database)
    assert "jobs" in tables(empty_database)


def test_the_models_ask_for_nothing_that_no_migration_makes(empty_database: str) -> None:
    upgrade(empty_database)
    command.check(alembic_config(empty_database))


def test_a_database_without_our_tables_is_told_apart_from_one_that_is_away(empty_database: str) -> None:
    engine = create_engine(empty_database)
    with (
        pytest.raises(DatabaseUnavailable, match="voxqueue migrate"),
        database_errors(),
        engine.connect() as connection,
    ):
        connection.execute(text("SELECT * FROM jobs"))
    engine.dispose()
