"""What a courier's log says of receivers that fail: enough to find them, seldom enough to be read, no secrets."""

import logging

import pytest

from tests.integration.delivery.office import Office, eventually, in_turn
from tests.receiver import Receiver, receiving
from voxqueue.embedded.processes import free_port
from voxqueue.webhooks.events import DeliveryState

pytestmark = pytest.mark.integration

_LOGGER = "workers.failing"


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, _LOGGER)


def said(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [it.getMessage() for it in caplog.records if it.name == _LOGGER and it.levelno == level]


def host(receiver: Receiver) -> str:
    return receiver.url.removeprefix("http://")


def test_a_failing_endpoint_is_one_warning_however_much_is_owed_to_it(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(in_turn(500)) as receiver:
        url = f"{receiver.url}/token-in-the-path?key=token"
        endpoint_id, _ = office.register(url)
        deliveries = office.owe(url, endpoint_id, number=20)
        office.open(receiver)
        for delivery_id in deliveries:
            office.settled(delivery_id)
        eventually(lambda: said(caplog, logging.DEBUG), lambda lines: len(lines) == len(deliveries) - 1)
    [warning] = said(caplog, logging.WARNING)
    receiver_words = f"webhook endpoint {endpoint_id} at {host(receiver)}"
    assert f"{receiver_words} failed at attempt 1: It answered 500; next try in " in warning
    lines = [warning, *said(caplog, logging.DEBUG)]
    assert {line.split()[1] for line in lines} == {str(one) for one in deliveries}, "each is told of at debug level"
    assert "token" not in caplog.text


def test_the_address_of_a_single_job_is_named_by_its_job(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    nobody = Receiver(f"http://127.0.0.1:{free_port()}")
    [delivery_id] = office.owe(f"{nobody.url}/token")
    office.open(nobody, schedule=(0,))
    assert office.settled(delivery_id).state is DeliveryState.FAILED
    [warning] = eventually(lambda: said(caplog, logging.WARNING), bool)
    assert warning == (
        f"delivery {delivery_id} to the webhook_url of job x at {host(nobody)} failed at attempt 1: "
        "It does not take the connection; it is not tried again"
    )


def test_an_endpoint_that_is_disabled_is_told_of_with_the_reason(
    office: Office, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving(in_turn(410)) as gone, receiving(in_turn(503)) as down:
        left, _ = office.register(gone.url)
        tired, _ = office.register(down.url)
        office.owe(gone.url, left)
        office.owe(down.url, tired, number=2)  # the first one begins the time of failing
        office.open(gone, down, disable_after_s=0.000_001)
        warnings = eventually(lambda: said(caplog, logging.WARNING), lambda lines: len(lines) == 4)
    reasons = {line.partition(" is disabled: ")[0]: line for line in warnings if " is disabled: " in line}
    assert "it answered 410 Gone" in reasons[f"webhook endpoint {left} at {host(gone)}"]
    assert "have failed" in reasons[f"webhook endpoint {tired} at {host(down)}"]
    [ended] = [line for line in warnings if line.startswith("delivery ") and host(gone) in line]
    assert ended.endswith("it is not tried again")
