"""Reads the dashboards and the alert rules, as tests look at them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"

_NO_NAMES = re.compile(r"""\{[^}]*\}|"[^"]*"|\[[^\]]*\]|\b(?:by|without|on|ignoring)\s*\([^)]*\)""")
_NAME = re.compile(r"\b[a-zA-Z_:][a-zA-Z0-9_:]*\b(?!\s*\()")
_WORDS = {"and", "or", "unless", "bool"}


def dashboards() -> list[Path]:
    return sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))


def panels(path: Path) -> list[dict[str, Any]]:
    """The panels of a dashboard but for its headings."""
    return [panel for panel in json.loads(path.read_text())["panels"] if panel["type"] != "row"]


def queries(path: Path) -> Iterator[str]:
    """What a dashboard asks Prometheus."""
    for panel in panels(path):
        for target in panel["targets"]:
            yield target["expr"]


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def names_in(query: str) -> set[str]:
    """The names of the metrics in a query: every word that is neither a function, a label nor an operator."""
    return set(_NAME.findall(_NO_NAMES.sub(" ", query))) - _WORDS
