"""Tracing is off unless asked for, costs nothing then, and never holds up a process. Each in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

from tests.collector import collecting
from tests.wire import Asked, Said, serving
from voxqueue.embedded.processes import free_port
from voxqueue.errors import MisconfiguredError
from voxqueue.tracing import collector

pytestmark = pytest.mark.unit

_AT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

_SPANS = f"""
from opentelemetry.trace import SpanKind
from voxqueue import tracing
from voxqueue.settings import Settings
from voxqueue.telemetry import set_up_logging

set_up_logging(Settings(log_format="json"))
tracing.set_up_tracing("voxqueue-test", "me")
with tracing.joined(None, "nobody", {{}}, kind=SpanKind.CONSUMER), tracing.inside("within nobody", {{}}):
    tracing.add_past("past nobody", {{}}, began=0.0, seconds=1.0)
    assert tracing.carried() == {{}}
for number in range(3):
    with tracing.joined("{_PARENT}", "outer", {{"number": number}}, kind=SpanKind.CONSUMER):
        with tracing.inside("inner", {{}}):
            assert tracing.trace_id() == "{_PARENT[3:35]}"
try:
    with tracing.joined("{_PARENT}", "broken", {{}}, kind=SpanKind.CONSUMER):
        raise ValueError("what somebody said")
except ValueError:
    pass
tracing.end_tracing()
"""


def run(script: str, env: Mapping[str, str] | None = None) -> list[str]:
    """What a process logs that runs the script, and must end by itself."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**clean, **(env or {})},
        stderr=subprocess.PIPE,
        check=False,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stderr.splitlines()


def test_it_is_on_where_an_endpoint_is_named() -> None:
    assert collector({}) is None
    assert collector(_AT) == "http://collector:4318"
    assert collector({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://t/v1/traces"}) == "https://t/v1/traces"
    assert collector({**_AT, "OTEL_TRACES_EXPORTER": "none"}) is None
    assert collector({**_AT, "OTEL_SDK_DISABLED": "true"}) is None


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "http://"),
    ],
)
def test_what_we_cannot_do_is_said_and_not_passed_over(more: dict[str, str], named: str) -> None:
    with pytest.raises(MisconfiguredError, match=named):
        collector({**_AT, **more})


def test_what_is_said_of_an_endpoint_repeats_no_password() -> None:
    with pytest.raises(MisconfiguredError) as refused:
        collector({"OTEL_EXPORTER_OTLP_ENDPOINT": "me:geheim@collector:4318"})
    assert "geheim" not in refused.value.detail


def test_a_variable_that_makes_no_sense_stops_the_process_in_words() -> None:
    script = """
from voxqueue import tracing
from voxqueue.errors import MisconfiguredError
try:
    tracing.set_up_tracing("x")
except MisconfiguredError as error:
    assert "OTEL_" in error.detail
else:
    raise AssertionError("it was passed over")
"""
    run(script, {**_AT, "OTEL_BSP_MAX_QUEUE_SIZE": "-1"})


def test_who_does_not_trace_does_not_load_what_traces() -> None:
    script = """
import sys
import api.app, workers.main
from voxqueue import tracing
tracing.set_up_tracing("x")
with tracing.inside("y", {}):
    assert tracing.traceparent() is None
tracing.end_tracing()
assert not [name for name in sys.modules if name.startswith(("opentelemetry.sdk.trace", "opentelemetry.exporter"))]
"""
    run(script)


def test_an_endpoint_without_the_packages_is_an_error_that_names_them() -> None:
    script = """
import sys
sys.modules["opentelemetry.exporter"] = None
from voxqueue import tracing
from voxqueue.errors import MisconfiguredError
try:
    tracing.set_up_tracing("x")
except MisconfiguredError as error:
    assert "'.[traces]'" in error.detail
else:
    raise AssertionError("it was passed over")
"""
    run(script, _AT)


def test_spans_join_the_trace_that_is_there_and_begin_none() -> None:
    with collecting() as there:
        run(_SPANS, there.env)
    assert [span.name for span in there.spans] == ["inner", "outer"] * 3 + ["broken"]
    assert {span.trace for span in there.spans} == {_PARENT[3:35]}
    inner, outer, *_, broken = there.spans
    assert (inner.parent, outer.parent) == (outer.id, _PARENT[36:52])
    assert (broken.error, broken.events) == ("ValueError", 0), "its words stay out of it"
    assert (outer.service, outer.instance) == ("voxqueue-test", "me")


def test_the_environment_has_the_last_word_on_names_and_samples() -> None:
    with collecting() as there:
        run(_SPANS, {**there.env, "OTEL_RESOURCE_ATTRIBUTES": "service.name=ours,service.instance.id=it"})
        assert {(span.service, span.instance) for span in there.spans} == {("ours", "it")}
        there.spans.clear()
        run(_SPANS, {**there.env, "OTEL_TRACES_SAMPLER": "always_off"})
        assert there.spans == []


def test_a_collector_that_hangs_holds_nobody_up() -> None:
    import threading

    over = threading.Event()

    def hang(_: Asked) -> Said:
        over.wait()
        return Said(200)

    with serving(hang) as wire:
        try:
            run(_SPANS, {"OTEL_EXPORTER_OTLP_ENDPOINT": wire.url, "OTEL_EXPORTER_OTLP_TIMEOUT": "3600"})
        finally:
            over.set()


def test_a_collector_that_is_away_is_told_of_seldom() -> None:
    with serving(lambda _: Said(404)) as wire:
        many = _SPANS.replace("range(3)", "range(3000)")
        sending = {"OTEL_EXPORTER_OTLP_ENDPOINT": wire.url, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8"}
        lines = [json.loads(line) for line in run(many, {**sending, "OTEL_BSP_MAX_QUEUE_SIZE": "64"})]
    assert len(wire.asked) > 2, "it was tried again and again"
    away = f"traces cannot be sent to {wire.url} and are dropped while that lasts: the answer is 404 Not Found"
    full = "traces are dropped: more spans wait to be sent than OTEL_BSP_MAX_QUEUE_SIZE allows"
    assert [line["event"] for line in lines if line["event"] != full] == [away]
    assert {line["logger"] for line in lines} == {"voxqueue.trace_export"}
    assert len(lines) <= 2, "each is said once"


def test_a_collector_that_takes_no_connection_is_named_without_its_password() -> None:
    """The libraries' own lines would repeat the whole address, and their reason is a Python object."""
    endpoint = f"http://me:geheim@127.0.0.1:{free_port()}"
    lines = [json.loads(line) for line in run(_SPANS, {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})]
    at = endpoint.replace("me:geheim@", "")
    assert [line["event"] for line in lines] == [
        f"traces cannot be sent to {at} and are dropped while that lasts: no answer (ConnectionError)"
    ]
