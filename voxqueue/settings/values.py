"""How lists are read from the environment: with commas between."""

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode


def split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)]
Numbers = Annotated[tuple[float, ...], NoDecode, BeforeValidator(split)]
