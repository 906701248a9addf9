"""``voxqueue webhooks``: endpoints, secrets and deliveries over the API, and a receiver to try it all with."""

import time
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from voxqueue.cli.console import FAILED, AsJson, Url, complain, connected, moment, plain, print_json, remark
from voxqueue.cli.listen import listen

if TYPE_CHECKING:
    from voxqueue.client import Attempt, Client, Delivery, Endpoint

_LOOK_S = 0.25  # between two looks at a delivery
_ANSWER = 200  # characters of an answer that are shown; --json has all that is kept

app = typer.Typer(help="Be told of jobs: endpoints, secrets, deliveries.", no_args_is_help=True, rich_markup_mode=None)
app.command()(listen)

EndpointId = Annotated[str, typer.Argument(metavar="ENDPOINT", help="The endpoint's id")]
Events = Annotated[
    list[str] | None,
    typer.Option("--event", help="What it is told of, such as job.failed; may be given several times"),
]
Description = Annotated[str | None, typer.Option(help="Yours to use")]
DeliveryId = Annotated[str, typer.Argument(metavar="DELIVERY", help="The delivery's id")]


@app.command()
def endpoints(as_json: AsJson = False, url: Url = None) -> None:
    """List the addresses that are registered."""
    with connected(url) as client:
        found = client.webhooks.endpoints()
    if as_json:
        print_json([endpoint.model_dump(mode="json", exclude={"secret"}) for endpoint in found])
        return
    if not found:
        remark("No endpoint is registered. Register one with `voxqueue webhooks create ADDRESS`.")
    for endpoint in found:
        typer.echo(_registered(endpoint))


@app.command()
def create(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where to send to")],
    event: Events = None,
    description: Description = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Register an address, and print its secret.

    The secret signs what is sent there, and is not shown again. Without --event it is told how jobs end.
    """
    with connected(url) as client:
        made = client.webhooks.create(address, events=event, description=description)
    if as_json:
        print_json(made.model_dump(mode="json"))
        return
    typer.echo(f"endpoint   {plain(made.id)}")
    typer.echo(f"secret     {plain(made.secret or '')}")


@app.command()
def update(
    endpoint_id: EndpointId,
    address: Annotated[str | None, typer.Option(help="Where to send to from now on", metavar="ADDRESS")] = None,
    event: Events = None,
    description: Description = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Change an endpoint; what is not given stays.

    Events that are given take the place of all that it was told of.
    """
    changes = {"url": address, "events": event, "description": description}
    given = {name: value for name, value in changes.items() if value is not None}
    if not given:
        raise typer.BadParameter("give --address, --event or --description")
    with connected(url) as client:
        changed = client.webhooks.change(endpoint_id, **given)
    if as_json:
        print_json(changed.model_dump(mode="json", exclude={"secret"}))
    else:
        typer.echo(_registered(changed))


@app.command()
def enable(endpoint_id: EndpointId, url: Url = None) -> None:
    """Have a disabled endpoint told again.

    It is told of what happens from now on. Its old failures are forgotten.
    """
    with connected(url) as client:
        client.webhooks.change(endpoint_id, enabled=True)
    remark(f"Endpoint {endpoint_id} is enabled.")


@app.command()
def disable(endpoint_id: EndpointId, url: Url = None) -> None:
    """Have an endpoint told of nothing more.

    What is still owed to it fails. `voxqueue webhooks enable` has it told again.
    """
    with connected(url) as client:
        client.webhooks.change(endpoint_id, enabled=False)
    remark(f"Endpoint {endpoint_id} is disabled.")


@app.command()
def delete(endpoint_id: EndpointId, url: Url = None) -> None:
    """Remove an endpoint, its secrets and its deliveries."""
    with connected(url) as client:
        client.webhooks.delete(endpoint_id)
    remark(f"Endpoint {endpoint_id} is deleted.")


@app.command("test")
def try_out(
    endpoint_id: EndpointId,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait at most", metavar="SECONDS")] = 20,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Send an endpoint a test, and say how it went.

    The event is `webhook_endpoint.tested`. Status: 0 the receiver has answered 2xx, 1 not.
    """
    with connected(url) as client:
        found = _tried(client, client.webhooks.test(endpoint_id), timeout)
    _show(found, as_json)
    if not found.attempt_count:
        complain(
            f"It was not sent within {timeout:g} s. See that a courier runs, and then ask "
            f"`voxqueue webhooks delivery {found.id}`."
        )
    if found.state != "succeeded":
        raise typer.Exit(FAILED)


@app.command("rotate-secret")
def rotate_secret(
    endpoint_id: Annotated[
        str | None, typer.Argument(metavar="ENDPOINT", help="Else the secret for the webhook_url of single jobs")
    ] = None,
    url: Url = None,
) -> None:
    """Make a new secret, and print it.

    It is not shown again. The old one signs beside it for some time.
    """
    with connected(url) as client:
        made = client.webhooks.rotate_secret(endpoint_id)
    typer.echo(plain(made.secret or ""))


@app.command()
def deliveries(
    endpoint: Annotated[str | None, typer.Option(help="Only those to this endpoint", metavar="ENDPOINT")] = None,
    job: Annotated[str | None, typer.Option(help="Only those of this job", metavar="JOB")] = None,
    state: Annotated[str | None, typer.Option(help="Only pending, succeeded or failed ones")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to show at most")] = 20,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List deliveries, from the newest event on."""
    with connected(url) as client:
        walk = client.webhooks.deliveries(endpoint=endpoint, job=job, state=state, page_size=min(limit, 100))
        found = list(islice(walk, limit))
    if as_json:
        print_json([one.model_dump(mode="json", exclude={"attempts", "data"}) for one in found])
        return
    if not found:
        remark("There are no such deliveries." if endpoint or job or state else "Nothing has been owed to anybody yet.")
    for one in found:
        typer.echo(_line(one))


@app.command()
def delivery(delivery_id: DeliveryId, as_json: AsJson = False, url: Url = None) -> None:
    """Show a delivery and every attempt at it."""
    with connected(url) as client:
        _show(client.webhooks.delivery(delivery_id), as_json)


@app.command()
def redeliver(delivery_id: DeliveryId, as_json: AsJson = False, url: Url = None) -> None:
    """Send an event to its receiver once more."""
    with connected(url) as client:
        _show(client.webhooks.redeliver(delivery_id), as_json)


def _tried(client: "Client", owed: "Delivery", timeout: float) -> "Delivery":
    """The delivery once it has been tried, or as it is when the time is over."""
    end = time.monotonic() + timeout
    while True:
        found = client.webhooks.delivery(owed.id)
        if found.attempt_count or time.monotonic() >= end:
            return found
        time.sleep(_LOOK_S)


def _registered(endpoint: "Endpoint") -> str:
    state = "enabled" if endpoint.enabled else f"disabled: {endpoint.disabled_reason or 'by you'}"
    return plain(f"{endpoint.id}  {endpoint.url}  {','.join(endpoint.events)}  {state}")


def _show(one: "Delivery", as_json: bool) -> None:
    if as_json:
        print_json(one.model_dump(mode="json"))
        return
    typer.echo(_line(one))
    for attempt in one.attempts:
        typer.echo(
            f"  {attempt.number}  {moment(attempt.started_at)}  {attempt.duration_ms or 0:.0f} ms  {_how(attempt)}"
        )


def _line(one: "Delivery") -> str:
    about = f"job {one.event.job_id}" if one.event.job_id else "no job"
    words = (one.id, moment(one.created_at), f"{one.state:<9}", one.event.type, about, one.url, _standing(one))
    return plain("  ".join(word for word in words if word)).replace("\n", " ")


def _standing(one: "Delivery") -> str:
    """How often it was tried, what came of it the last time, and when it is tried again."""
    if not one.attempt_count:
        return "not tried yet"
    tries = f"{one.attempt_count} attempt{'' if one.attempt_count == 1 else 's'}"
    last = f", the last: {_came(one.last_attempt)}" if one.last_attempt else ""
    return f"{tries}{last}" + (f"; the next at {moment(one.next_attempt_at)}" if one.next_attempt_at else "")


def _came(attempt: "Attempt") -> str:
    return str(attempt.status or (attempt.error or "no answer").removesuffix("."))


def _how(attempt: "Attempt") -> str:
    """What came of it, on one line: the status with the first characters of the answer, or why there was none."""
    outcome = attempt.error or f"{attempt.status}  {attempt.answer or '(an empty answer)'}"
    return " ".join(plain(outcome[:_ANSWER]).split())
