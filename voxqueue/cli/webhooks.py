"""``voxqueue webhooks``: endpoints, secrets and deliveries over the API, and a receiver to try it all with."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from voxqueue.cli.console import AsJson, Url, connected, plain, print_json, remark
from voxqueue.cli.listen import listen

if TYPE_CHECKING:
    from voxqueue.client import Delivery

app = typer.Typer(help="Be told of jobs: endpoints, secrets, deliveries.", no_args_is_help=True, rich_markup_mode=None)
app.command()(listen)

EndpointId = Annotated[str, typer.Argument(metavar="ENDPOINT", help="The endpoint's id")]
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
        state = "enabled" if endpoint.enabled else f"disabled: {endpoint.disabled_reason or 'by you'}"
        typer.echo(plain(f"{endpoint.id}  {endpoint.url}  {','.join(endpoint.events)}  {state}"))


@app.command()
def create(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where to send to")],
    event: Annotated[
        list[str] | None,
        typer.Option(help="What it is told of, such as job.failed; may be given several times. Else how jobs end"),
    ] = None,
    description: Annotated[str | None, typer.Option(help="Yours to use")] = None,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Register an address, and print its secret.

    The secret signs what is sent there, and is not shown again.
    """
    with connected(url) as client:
        made = client.webhooks.create(address, events=event, description=description)
    if as_json:
        print_json(made.model_dump(mode="json"))
        return
    typer.echo(f"endpoint   {plain(made.id)}")
    typer.echo(f"secret     {plain(made.secret or '')}")


@app.command()
def enable(endpoint_id: EndpointId, url: Url = None) -> None:
    """Have a disabled endpoint told again.

    It is told of what happens from now on. Its old failures are forgotten.
    """
    with connected(url) as client:
        client.webhooks.change(endpoint_id, enabled=True)


@app.command()
def delete(endpoint_id: EndpointId, url: Url = None) -> None:
    """Remove an endpoint, its secrets and its deliveries."""
    with connected(url) as client:
        client.webhooks.delete(endpoint_id)


@app.command("test")
def try_out(endpoint_id: EndpointId, as_json: AsJson = False, url: Url = None) -> None:
    """Send an event `webhook_endpoint.tested` to an endpoint."""
    with connected(url) as client:
        _show(client.webhooks.test(endpoint_id), as_json)


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
    for one in found:
        typer.echo(_line(one))


@app.command()
def delivery(delivery_id: DeliveryId, as_json: AsJson = False, url: Url = None) -> None:
    """Show a delivery and every attempt at it."""
    with connected(url) as client:
        found = client.webhooks.delivery(delivery_id)
    _show(found, as_json)
    for attempt in () if as_json else found.attempts:
        outcome = attempt.error or f"{attempt.status} {attempt.answer or ''}".rstrip()
        typer.echo(plain(f"  {attempt.number}  {attempt.started_at}  {attempt.duration_ms or 0:.0f} ms  {outcome}"))


@app.command()
def redeliver(delivery_id: DeliveryId, as_json: AsJson = False, url: Url = None) -> None:
    """Send an event to its receiver once more."""
    with connected(url) as client:
        _show(client.webhooks.redeliver(delivery_id), as_json)


def _show(one: "Delivery", as_json: bool) -> None:
    if as_json:
        print_json(one.model_dump(mode="json"))
    else:
        typer.echo(_line(one))


def _line(one: "Delivery") -> str:
    tries = f"{one.attempt_count} attempt{'' if one.attempt_count == 1 else 's'}"
    about = f"job {one.event.job_id}" if one.event.job_id else "no job"
    return plain(f"{one.id}  {one.state:<9}  {tries}  {one.event.type}  {about}  {one.url}")
