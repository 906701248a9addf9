"""Shows a process's metrics: what it has counted, and what collectors look up when somebody asks.

Knows neither what is measured nor who may see it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY, Info, disable_created_metrics, start_http_server
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from voxqueue import __version__
from voxqueue.errors import MisconfiguredError
from voxqueue.settings import MetricsSettings

disable_created_metrics()  # type: ignore[no-untyped-call]  # a third of all series, and of no use to anybody here
_BUILD = Info("voxqueue_build", "The version of Voxqueue that this process runs")
_BUILD.info({"version": __version__})


class Exposition(CollectorRegistry):
    """Everything that a process shows: what it has counted, and what these collectors find at each look."""

    def __init__(self, *collectors: Collector) -> None:
        super().__init__(support_collectors_without_names=True)
        for collector in (REGISTRY, *collectors):
            self.register(collector)

    @contextmanager
    def showing(self, collector: Collector) -> Iterator[None]:
        """Show what this collector finds as well, inside the block."""
        self.register(collector)
        try:
            yield
        finally:
            self.unregister(collector)

    def render(self, accept: str) -> tuple[bytes, str]:
        """All of it as a page in the best form that an Accept header takes, and the page's media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self), media_type


def open_port(settings: MetricsSettings, exposition: Exposition) -> None:
    """Answer ``/metrics`` on the port of the settings, if there is one, until the process ends. Asks for no key.

    Raises:
        MisconfiguredError: Nobody can listen there.
    """
    if settings.port is None:
        return
    try:
        start_http_server(settings.port, settings.host, exposition)
    except OSError as error:
        raise MisconfiguredError(
            f"Nobody can listen on {settings.host}:{settings.port} for metrics ({error.strerror}): change "
            "VOXQUEUE_METRICS_PORT or VOXQUEUE_METRICS_HOST. Each process needs a port of its own."
        ) from error
