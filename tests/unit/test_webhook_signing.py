"""What a receiver sees of an event, and what comes after an attempt."""

import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from voxqueue.webhooks import events
from voxqueue.webhooks.events import DeliveryState
from voxqueue.webhooks.schedule import Attempt, Verdict, verdict
from voxqueue.webhooks.signing import message_id, signed_headers

pytestmark = pytest.mark.unit

EVENT = UUID("8f0d4c8e-3a0e-4a53-9a53-0d5b6f0c2a11")
OLD, NEW = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_plJ3nmyCDGBKInavdOK15jsl"
SCHEDULE = (0.0, 5.0, 300.0)
NOW = datetime(2026, 11, 21, 1, 44, 51, 299_608, tzinfo=UTC)


def test_either_of_two_valid_secrets_verifies_and_a_third_does_not() -> None:
    body = '{"greeting":"grüß dich 😀"}'.encode()
    headers = signed_headers(EVENT, datetime.now(UTC), body, [NEW, OLD])
    assert headers["webhook-id"] == message_id(EVENT) == f"evt_{EVENT.hex}"
    for secret in (OLD, NEW):
        Webhook(secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_AAAAAAAAAAAAAAAAAAAAAAAA").verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(body.replace(b"dich", b"Dich"), headers)


def test_a_clock_in_another_time_zone_changes_nothing() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert signed_headers(EVENT, local, b"{}", [NEW]) == signed_headers(EVENT, NOW, b"{}", [NEW])


def test_nothing_goes_out_unsigned() -> None:
    with pytest.raises(AssertionError):
        signed_headers(EVENT, NOW, b"{}", [])


def test_a_body_has_the_members_of_the_standard_and_a_sequence() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=-3)))
    data = {"metadata": {"name": "Grüße", "n": 1.5}}
    body = events.body("job.succeeded", created_at=local, sequence=7, data=data)
    assert json.loads(body) == {
        "type": "job.succeeded",
        "timestamp": "2026-11-21T01:44:51.299608Z",
        "sequence": 7,
        "data": data,
    }
    assert "Grüße".encode() in body
    assert events.body("job.succeeded", created_at=NOW, sequence=7, data=data) == body, "byte for byte"


def after(number: int, jitter: float = 0.0, **attempt: object) -> Verdict:
    made = Attempt(duration_ms=1, **attempt)  # type: ignore[arg-type]
    return verdict(made, number, SCHEDULE, ended_at=NOW, jitter=jitter)


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_only_2xx_is_success(status: int) -> None:
    assert after(1, status=status) == Verdict(DeliveryState.SUCCEEDED)


@pytest.mark.parametrize("status", [100, 199, 300, 301, 304, 400, 401, 404, 429, 500, 503, None])
def test_everything_else_is_tried_again(status: int | None) -> None:
    assert after(1, status=status) == Verdict(DeliveryState.PENDING, 5)


def test_an_answer_that_breaks_off_is_no_success() -> None:
    assert after(1, status=200, error="it broke").state is DeliveryState.PENDING


def test_the_schedule_is_followed_and_ends() -> None:
    assert [after(number, status=500) for number in (1, 2, 3, 4)] == [
        Verdict(DeliveryState.PENDING, 5),
        Verdict(DeliveryState.PENDING, 300),
        Verdict(DeliveryState.FAILED),
        Verdict(DeliveryState.FAILED),
    ]


def test_a_pause_is_spread_by_a_tenth() -> None:
    assert [after(2, jitter, status=500).due_in_s for jitter in (-1, 0, 1)] == pytest.approx([270, 300, 330])


def test_gone_is_not_tried_again() -> None:
    assert after(1, status=410) == Verdict(DeliveryState.FAILED)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("1", 5),  # sooner than the schedule
        ("999999999", 86_400),
        ("Sat, 21 Nov 2026 01:46:51 GMT", 119.7),
        ("Saturday, 21-Nov-26 01:46:51 GMT", 119.7),
        ("Sun, 21 Nov 2027 01:46:51 GMT", 86_400),
        ("Sat, 21 Nov 2020 01:46:51 GMT", 5),
        ("soon", 5),
        ("-120", 5),
        ("1e3", 5),
        ("١٢٠", 5),
        ("Sat, 99 Nov 2026 99:99:99 GMT", 5),
        ("", 5),
        (None, 5),
    ],
)
def test_who_asks_to_be_left_alone_is(status: int, header: str | None, wait_s: float) -> None:
    found = after(1, status=status, retry_after=header)
    assert found.state is DeliveryState.PENDING
    assert found.due_in_s == pytest.approx(wait_s, abs=0.1)


def test_only_who_is_busy_may_ask_to_wait() -> None:
    assert after(1, status=500, retry_after="120") == Verdict(DeliveryState.PENDING, 5)


def test_the_last_attempt_stays_the_last_whoever_asks_for_more() -> None:
    assert after(3, status=503, retry_after="120") == Verdict(DeliveryState.FAILED)
