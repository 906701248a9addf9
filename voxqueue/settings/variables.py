"""Which variables of an environment look like settings and are none, and what was probably meant.

It tells their names only: what a variable holds may be a secret.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from pydantic import BaseModel

from voxqueue.settings import Settings

log = logging.getLogger(__name__)

_PREFIX = "VOXQUEUE_"
_OF_THE_CLIENT = ("VOXQUEUE_URL", "VOXQUEUE_API_KEY", "VOXQUEUE_WEBHOOK_SECRET")
_OF_OUR_TESTS = "VOXQUEUE_TEST_"
# Kubernetes tells every pod of every service by such variables, also of one that is called voxqueue or voxqueue-api.
_OF_A_SERVICE = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_LEAST_ALIKE = 0.75  # of 1


def setting_groups() -> dict[str, type[BaseModel]]:
    """The groups of settings by their names, in the order of the file."""
    fields = Settings.model_fields
    return {name: type(it.default) for name, it in fields.items() if isinstance(it.default, BaseModel)}


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """A sentence for each variable that looks like a setting of ours and does nothing, by its name."""
    known = set(_known())
    whole_groups = {f"{_PREFIX}{group.upper()}" for group in setting_groups()}  # may be given as JSON
    return {
        name: _in_words(name, known)
        for name, value in sorted(environ.items())
        if name.upper().startswith(_PREFIX)
        and name.upper() not in known | whole_groups
        and not _is_somebody_elses(name.upper(), value)
    }


def log_unknown_variables() -> None:
    """Warn of those in this process's environment."""
    for words in unknown_variables(os.environ).values():
        log.warning(words)


def _known() -> Iterator[str]:
    groups = setting_groups()
    yield from _OF_THE_CLIENT
    yield from (f"{_PREFIX}{name}".upper() for name in Settings.model_fields if name not in groups)
    for name, group in groups.items():
        yield from (f"{_PREFIX}{name}_{field}".upper() for field in group.model_fields)


def _is_somebody_elses(name: str, value: str) -> bool:
    is_a_service = _OF_A_SERVICE.fullmatch(name) or (name.endswith("_PORT") and "://" in value)
    return bool(is_a_service) or name.startswith(_OF_OUR_TESTS)


def _in_words(name: str, known: set[str]) -> str:
    # What all of them begin with would make any two alike.
    short = {variable.removeprefix(_PREFIX): variable for variable in sorted(known)}
    near = get_close_matches(name.upper().removeprefix(_PREFIX), short, n=1, cutoff=_LEAST_ALIKE)
    if near:
        return f"{name} is no setting and does nothing. Did you mean {short[near[0]]}?"
    return f"{name} is no setting and does nothing. `voxqueue settings` lists those that there are."
