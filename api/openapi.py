"""``python -m api.openapi`` writes the API's description to ``docs/openapi.json``; a test holds the two together."""

import json
from pathlib import Path

from api.app import create_app
from voxqueue.settings import Settings

SNAPSHOT = Path(__file__).parents[1] / "docs" / "openapi.json"


def snapshot() -> str:
    """The description as the file has it. No setting changes it."""
    return json.dumps(create_app(Settings()).openapi(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(snapshot(), "utf-8")
