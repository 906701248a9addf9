"""Brings a database to the newest schema, from code; ``alembic`` on the command line does the same."""

from importlib.resources import files

from alembic import command
from alembic.config import Config


def alembic_config(url: str) -> Config:
    """Alembic's configuration for one database, without a file, so that an installed package can migrate too."""
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def upgrade(url: str) -> None:
    """Apply what is missing. Safe to call from many processes at once: migrations take an advisory lock."""
    command.upgrade(alembic_config(url), "head")
