"""The application: which routes there are, what they share, and how errors and limits apply to all of them."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.middleware.cors import CORSMiddleware

from api import description
from api.body_limit import BodyLimit, Most, path_of
from api.collector import collecting
from api.dependencies import knows_its_query
from api.gate import Gate, is_public
from api.measuring import Measuring
from api.problems import handle_errors
from api.routes import (
    deliveries,
    documentation,
    events,
    jobs,
    metrics,
    operations,
    page,
    readiness,
    results,
    system,
    texts,
    voice_notes,
    voices,
    webhooks,
)
from api.security_headers import SecurityHeaders
from api.services import open_services
from voxqueue import __version__
from voxqueue.errors import MisconfiguredError
from voxqueue.metrics.exposition import Exposition, open_port
from voxqueue.notes import intake
from voxqueue.settings import ApiSettings, LimitsSettings, Settings
from voxqueue.settings import settings as process_settings
from voxqueue.settings.variables import log_unknown_variables
from voxqueue.storage import open_store
from voxqueue.telemetry import set_up_logging
from voxqueue.tracing import end_tracing, set_up_tracing
from voxqueue.webhooks.addresses import policy

_UTF8_BYTES = 4  # most bytes of one character
_JSON_BYTES = 12  # most bytes of one character in JSON: an escaped surrogate pair
_FRAME_BYTES = 32_768  # for names, boundaries and the short fields

# One span for each request. Where it goes we set up ourselves, and the framework's logs would quote exceptions.
_TELEMETRY = TelemetryConfig(
    auto_configure=False,
    metrics=False,
    logs=False,
    operation_spans=False,
    exclude=lambda scope: is_public(path_of(scope)) or path_of(scope) == "/metrics",  # which are polled all the time
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The app for these settings, by default those of the environment: ``uvicorn --factory api.app:create_app``.

    Nothing is opened before the server starts it. Without settings given, this process's logging and tracing are set up
    as well, and the port for its metrics is opened.
    """
    exposition = Exposition()
    if settings is None:
        settings = _set_up_process(exposition)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings) as services:
            app.state.services = services
            with collecting(services) as collector, exposition.showing(collector):
                yield
        end_tracing()

    app = FastAPI(
        title="Voxqueue",
        version=__version__,
        description=description.DESCRIPTION,
        openapi_tags=description.TAGS,
        lifespan=lifespan,
        telemetry=_TELEMETRY,
        dependencies=[Depends(knows_its_query)],
        docs_url=None,  # ours is in api.routes.documentation
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,  # a redirect would make clients send their upload twice
        generate_unique_id_function=_operation_id,
        form_limits={"max_files": 4, "max_fields": 32, "max_part_size": _part_size(settings.limits)},
    )
    app.state.exposition = exposition
    _put_before_the_routes(app, settings)
    handle_errors(app)
    for room in (
        readiness,  # asked for most often, by far; the router looks from the first on
        voice_notes,
        texts,
        voices,
        jobs,
        events,
        results,
        webhooks,
        deliveries,
        system,
        operations,
        metrics,
    ):
        app.include_router(room.router)
    app.router.routes.extend((*page.ROUTES, *documentation.ROUTES))
    description.complete(app)
    return app


def _set_up_process(exposition: Exposition) -> Settings:
    """By the environment, or end the process in words: what is raised here, the server would show as a traceback."""
    try:
        settings = process_settings()
        _check(settings)
        set_up_logging(settings)
        log_unknown_variables()
        set_up_tracing("voxqueue-api")
        open_port(settings.metrics, exposition)
    except MisconfiguredError as error:
        print(f"Error: {error.detail}", file=sys.stderr)
        raise SystemExit(2) from None
    return settings


def _check(settings: Settings) -> None:
    """Raise `MisconfiguredError` for what would come up only once the server has started. Nothing is asked yet."""
    settings.database.require_url()
    settings.redis.require_url()
    open_store(settings)
    policy(settings.webhooks)


def _put_before_the_routes(app: FastAPI, settings: Settings) -> None:
    """Middleware, from the innermost to the outermost: what is added last sees a request first."""
    app.add_middleware(BodyLimit, limits=_body_limits(settings.limits))
    submits = frozenset({voice_notes.PATH, texts.PATH})
    app.add_middleware(Gate, submits=submits)
    if settings.api.cors_origins:
        _open_to_pages(app, settings.api)  # before the gate: a browser's first question comes without a key
    app.add_middleware(SecurityHeaders, cors=bool(settings.api.cors_origins))
    app.add_middleware(Measuring, submits=submits)


def _open_to_pages(app: FastAPI, settings: ApiSettings) -> None:
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=("GET", "POST", "PATCH", "DELETE"),
        allow_headers=(
            "Authorization",
            "Content-Type",
            "Idempotency-Key",
            "If-None-Match",
            "Last-Event-ID",
            "Prefer",
            "Range",
        ),
        expose_headers=(
            "Content-Range",
            "ETag",
            "Idempotency-Replayed",
            "Location",
            "Preference-Applied",
            "RateLimit",
            "RateLimit-Policy",
            "Retry-After",
        ),
    )


def _operation_id(route: APIRoute) -> str:
    return route.name


def _part_size(limits: LimitsSettings) -> int:
    """Bytes that a form field other than the file may have: what fits but is too long is refused in better words."""
    return _UTF8_BYTES * max(limits.instructions_chars, limits.prompt_chars, limits.metadata_bytes) + 1024


def _body_limits(limits: LimitsSettings) -> dict[str, Most]:
    """The most that a request's body may have, by path. What is told of more are the limits that a caller can use."""
    options = limits.instructions_chars + limits.metadata_bytes
    return {
        voice_notes.PATH: Most(
            limits.upload_bytes + _UTF8_BYTES * (options + 2 * limits.prompt_chars) + _FRAME_BYTES,
            intake.too_large(limits),
        ),
        texts.PATH: Most(
            _JSON_BYTES * (limits.text_chars + options + limits.schema_bytes) + _FRAME_BYTES,
            f"The body is too large. A text may have {limits.text_chars:,} characters, its instructions "
            f"{limits.instructions_chars:,}, and metadata {limits.metadata_bytes:,} bytes.",
        ),
    }
