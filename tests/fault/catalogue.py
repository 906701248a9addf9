"""The faults: what breaks, at which point, in which layout. Each is a function that breaks it and returns when over."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.fault.servers import Layout
from tests.fault.world import World

Break = Callable[[World], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table.

    Attributes:
        what: What is done.
        point: When.
        telling: Part of the short form.
    """

    what: str
    point: str
    layout: Layout
    telling: bool
    run: Break

    @property
    def name(self) -> str:
        return f"{self.what}: {self.point}"


FAULTS: list[Fault] = []


def fault(what: str, point: str, layout: Layout, *, telling: bool = False) -> Callable[[Break], Break]:
    """Put a function into the catalogue."""

    def enter(run: Break) -> Break:
        FAULTS.append(Fault(what, point, layout, telling, run))
        return run

    return enter
