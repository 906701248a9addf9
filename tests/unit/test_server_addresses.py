"""Addresses of Postgres and Redis in the settings: what is taken, and what is refused without telling a password."""

import pytest

from voxqueue.errors import MisconfiguredError
from voxqueue.settings import DatabaseSettings, RedisSettings

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("login", ["", "me@", "me:geheim@", "me:ge/heim@", "me:ge?heim@", "me:ge#heim@", "me:ge:heim@"])
@pytest.mark.parametrize("place", ["db:5432/name", "db/name", "[::1]:5432/name", "/name?host=/run/postgresql:1"])
def test_what_the_database_driver_understands_is_taken(login: str, place: str) -> None:
    """Passwords are made by machines: one that has always worked must not be taken for a port."""
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        url = DatabaseSettings(url=f"{scheme}://{login}{place}").require_url()
        assert url == f"postgresql+psycopg://{login}{place}"


@pytest.mark.parametrize("place", ["db:port/name", "db:/name", "me:ge@heim:nis@db/name"])
def test_an_address_of_a_database_that_nobody_understands_is_refused(place: str) -> None:
    with pytest.raises(MisconfiguredError, match="VOXQUEUE_DATABASE_URL has no number") as refused:
        DatabaseSettings(url=f"postgresql://{place}").require_url()
    assert "nis" not in refused.value.detail


@pytest.mark.parametrize("place", ["redis:6379/0", ":geheim@redis:6379/0", "redis/0", "[::1]:6379"])
def test_what_the_redis_driver_understands_is_taken(place: str) -> None:
    assert RedisSettings(url=f"redis://{place}").require_url() == f"redis://{place}"


@pytest.mark.parametrize("place", ["redis:six/0", ":geheim?1@redis:6379/0", ":geheim/1@redis:6379/0", "redis:99999/0"])
def test_an_address_of_redis_that_nobody_understands_is_refused(place: str) -> None:
    """What stands where the port belongs may be the beginning of a password."""
    with pytest.raises(MisconfiguredError, match="VOXQUEUE_REDIS_URL has no number") as refused:
        RedisSettings(url=f"redis://{place}").require_url()
    assert "geheim" not in refused.value.detail
