"""How to install what Voxqueue can do without: one wording for every message that something is missing."""

from typing import Literal

Extra = Literal["embedded", "models", "s3", "traces"]


def install(extra: Extra) -> str:
    """What to run. From the source, since that is where Voxqueue is installed from."""
    return f"in Voxqueue's folder, `make setup` or `pip install -c constraints.txt -e '.[{extra}]'`"
