"""Alembic's entry point. The models are the target; Postgres is the only dialect."""

from alembic import context
from sqlalchemy import Connection, create_engine, text

from voxqueue.database.base import Base
from voxqueue.errors import MisconfiguredError
from voxqueue.fleet import models as fleet_models  # noqa: F401  these four fill the metadata
from voxqueue.jobs import models as job_models  # noqa: F401
from voxqueue.keys import models as key_models  # noqa: F401
from voxqueue.settings import DatabaseSettings, settings
from voxqueue.webhooks import models as webhook_models  # noqa: F401

_LOCK = 0x766F78  # any number that nobody else uses: several processes may start, and migrate, at once


def _url() -> str:
    url = context.config.get_main_option("sqlalchemy.url")
    return DatabaseSettings(url=url).require_url() if url else settings().database.require_url()


def _run() -> None:
    # Else a database in another encoding answers in bytes, before we can say what is wrong with it.
    engine = create_engine(_url(), connect_args={"client_encoding": "utf8"})
    try:
        with engine.begin() as connection:
            _migrate(connection)
    finally:
        engine.dispose()


def _migrate(connection: Connection) -> None:
    if (encoding := connection.scalar(text("SHOW server_encoding"))) != "UTF8":
        raise MisconfiguredError(
            f"The database is encoded in {encoding}, and what people say needs UTF8: create it anew, with "
            "`createdb --encoding UTF8 --template template0`."
        )
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    context.run_migrations()


if context.is_offline_mode():
    context.configure(url=_url(), target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    _run()
