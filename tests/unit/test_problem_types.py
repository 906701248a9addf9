"""The page that lists the types of problems, held against the tree of errors."""

import pytest

from api.problem_types import PAGE, page
from voxqueue import errors
from voxqueue.errors import VoxqueueError

pytestmark = pytest.mark.unit

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VoxqueueError)]


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: python -m api.problem_types"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_type_says_when_it_comes(kind: type[VoxqueueError]) -> None:
    """An inherited docstring would tell of another type."""
    assert vars(kind).get("__doc__")
    assert "|" not in kind.title + str(kind.__doc__)


def test_no_two_errors_are_the_same_type() -> None:
    codes = [kind.code for kind in KINDS]
    assert len(set(codes)) == len(codes), "programs tell them apart by nothing else"
