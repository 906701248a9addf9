"""Replies that follow a JSON schema: whether we take the schema, and whether a reply follows it. Knows no model."""

import json
import re
from typing import Any, NoReturn

from jsonschema.exceptions import SchemaError, best_match
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from voxqueue.errors import EngineFailed, EngineRefused

_FENCE = re.compile(r"\A```\w*\s*|\s*```\Z")


def check_schema(schema: dict[str, Any]) -> None:
    """Return if replies can be held against this schema.

    Raises:
        EngineRefused: It is no JSON schema, or has parts that we do not take.
    """
    try:
        _dialect(schema).check_schema(schema)
        for part in _objects(schema):
            _check_part(part)
        json.dumps(schema, ensure_ascii=False).encode()
    except SchemaError as error:
        raise EngineRefused(
            f"The schema of the reply is not valid at {error.json_path}: {error.message[:200]}"
        ) from None
    except (RecursionError, TypeError, ValueError) as error:  # half of a surrogate pair is a ValueError
        raise EngineRefused(f"The schema of the reply cannot be used: {error}"[:300]) from None


def _dialect(schema: dict[str, Any]) -> Any:
    """The draft that the schema says it is written in, else the newest."""
    if not isinstance(schema.get("$schema", ""), str):
        raise EngineRefused("The schema of the reply has a `$schema` that is no address.")
    return validator_for(schema, default=Draft202012Validator)


def _objects(value: Any) -> list[dict[str, Any]]:
    """Every JSON object in a value, itself included."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [value] if isinstance(value, dict) else []
    return found + [part for one in inner for part in _objects(one)]


def _check_part(part: dict[str, Any]) -> None:
    # Python's regular expressions can be made to run for years, and stop the whole process meanwhile.
    if isinstance(part.get("pattern"), str) or "patternProperties" in part:
        raise EngineRefused(
            "The schema of the reply has a pattern, which we do not take: describe it in words instead."
        )
    for reference in (part.get("$ref"), part.get("$dynamicRef")):
        if isinstance(reference, str) and not reference.startswith("#"):
            raise EngineRefused(f"The schema of the reply refers to {reference[:100]!r}. Put that under `$defs`.")


def read_reply(text: str, schema: dict[str, Any]) -> tuple[str, Any]:
    """The JSON text in what a model wrote, and its value, which follows the schema.

    Raises:
        EngineFailed: It is not JSON, or does not follow the schema; another try may.
        EngineRefused: The schema cannot be applied.
    """
    text = _FENCE.sub("", text.strip())
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise EngineFailed(f"The reply is not the JSON that was asked for: {error}"[:300]) from None
    _check_reply(value, schema)
    return text, value


def _check_reply(value: Any, schema: dict[str, Any]) -> None:
    # An empty registry: the default one fetches what a schema refers to from anywhere.
    validator = _dialect(schema)(schema, registry=Registry())
    try:
        fault = best_match(validator.iter_errors(value))
    except (Unresolvable, RecursionError, ArithmeticError) as error:
        raise EngineRefused(f"The schema of the reply cannot be applied: {error}"[:300]) from None
    if fault is not None:
        raise EngineFailed(f"The reply does not follow the schema at {fault.json_path}: {fault.message}"[:300])


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
