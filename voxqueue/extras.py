"""How to install what Voxqueue can do without: one wording for every message that something is missing."""

from importlib.util import find_spec
from typing import Literal

from voxqueue.errors import EngineUnusable

Extra = Literal["embedded", "llm", "models", "s3", "traces"]


def install(extra: Extra) -> str:
    """What to run. From the source, since that is where Voxqueue is installed from."""
    return f"in Voxqueue's folder, `make setup` or `pip install -c constraints.txt -e '.[{extra}]'`"


def require(package: str, extra: Extra, name: str | None = None) -> None:
    """Return if a library that an engine runs on is installed. `name` is what people call it, if not that.

    Raises:
        EngineUnusable: It is not; the detail says how to install it.
    """
    if find_spec(package) is None:
        image = "take the image `models`" if extra == "models" else f"build the image with `{extra}` among its EXTRAS"
        raise EngineUnusable(f"{name or package} is not installed: {install(extra)}; for a container, {image}.")
