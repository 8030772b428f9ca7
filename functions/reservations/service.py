"""Holding seats, showing a hold, ending it."""

import hashlib
import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cache, partial
from typing import Any
from uuid import UUID, uuid4

from pydantic import Field

from database import catalogue, holds
from database.connection import Context, Database
from database.payments import claim_payments_to_close
from domain import refusals
from domain.limits import comes_from
from domain.refusals import BY_SLUG
from domain.reservation import reservation_token, token_matches
from functions.reservations.requests import HoldRequest, SlotsQuery
from payments.closing import CLOSE_LEASE, Closed, close_payment
from runtime.cursors import cursor_of, parsed_cursor
from runtime.observability import count, identify
from runtime.outbox_kick import kick_outbox
from runtime.settings import Minutes, PaymentSettings, accepted, credential, load
from stripe_gateway.gateway import StripeGateway

# A full slot whose seats wait only for payments that Stripe can end: worth asking, but not worth a buyer's patience.
# One try to close and one to look, so two seconds at most, and no thread of it outlives the call.
HASTY_SECONDS_A_TRY = 0.9
# Dead holds that another call has in its hands are back, or held anew, as soon as its transaction ends.
RETURNING_SECONDS = (0.02, 0.05, 0.1)


class Settings(PaymentSettings):
    """What `reservations` is told."""

    token_secret: str = Field(min_length=16)
    hold_minutes: Minutes = 15
    hold_ceiling_minutes: Minutes = 30


@cache
def _database() -> Database:
    return Database(credential(Settings, "database_url"))


@cache
def _gateway() -> StripeGateway:
    return StripeGateway(credential(Settings, "stripe_secret_key"), load(Settings).stripe_api_base)


@cache
def _hasty_gateway() -> StripeGateway:
    return StripeGateway(
        credential(Settings, "stripe_secret_key"),
        load(Settings).stripe_api_base,
        seconds_a_try=HASTY_SECONDS_A_TRY,
        retries=0,
    )


def list_offerings() -> list[dict[str, Any]]:
    """Everything that is on sale."""
    return _database().run(catalogue.list_offerings)


def list_slots(query: SlotsQuery) -> dict[str, Any]:
    """A page of slots and, where there are more, the cursor of the next."""
    after = parsed_cursor(query.cursor, UUID) if query.cursor else None
    slots = _database().run(
        lambda conn: catalogue.list_slots(
            conn,
            offering=query.offering,
            starts_from=query.starts_from,
            starts_to=query.starts_to,
            after=after,
            limit=query.limit + 1,
        )
    )
    if slots is None:
        raise refusals.UnknownOffering
    page = slots[: query.limit]
    answer: dict[str, Any] = {"slots": page}
    if len(slots) > query.limit:
        answer["next"] = cursor_of(page[-1]["starts_at"], page[-1]["id"])
    return answer


def hold(request: HoldRequest, key: str | None, context: Context) -> tuple[dict[str, Any], bool]:
    """Holds all that is asked for or refuses; answers the reservation and whether it is a replay."""
    reservation_id = uuid4()
    identify(reservation_id=str(reservation_id))
    outcome = _reserve(reservation_id, request, key, context)
    for pause in RETURNING_SECONDS:
        if outcome["outcome"] != "sold-out" or not _is_left(outcome["left"], request):
            break
        time.sleep(pause)
        outcome = _reserve(reservation_id, request, key, context)
    if (
        outcome["outcome"] == "sold-out"
        and outcome["waiting"]
        and _free_waiting_seats(outcome["waiting"], context["request_id"])
    ):
        outcome = _reserve(reservation_id, request, key, context)
    match outcome["outcome"]:
        case "held" | "replayed":
            answer = json.loads(outcome["answer"])
            replayed = answer["id"] != str(reservation_id)
            identify(reservation_id=answer["id"])
            count("HoldReplayed" if replayed else "HoldGranted")
            return _with_token(answer), replayed
        case "sold-out":
            count("HoldSoldOut")
            raise refusals.SoldOut(left=outcome["left"])
        case refused:
            raise BY_SLUG[refused]


def _reserve(reservation_id: UUID, request: HoldRequest, key: str | None, context: Context) -> dict[str, Any]:
    settings = load(Settings)
    body = request.model_dump(mode="json")
    return _database().run(
        lambda conn: holds.reserve_tickets(
            conn,
            reservation_id=reservation_id,
            email=request.customer.email,
            name=request.customer.name,
            phone=request.customer.phone,
            items=body["items"],
            hold=timedelta(minutes=settings.hold_minutes),
            ceiling=timedelta(minutes=settings.hold_ceiling_minutes),
            key=key,
            request_hash=hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest(),
            context=context,
        )
    )


def _is_left(left: list[dict[str, Any]], request: HoldRequest) -> bool:
    """Whether a refusal says itself that there is enough: somebody else is just giving the seats of dead holds back."""
    counts = {slot["slot_id"]: slot for slot in left}
    return all(
        counts[str(item.slot_id)]["units_left"] >= item.units
        and counts[str(item.slot_id)]["bookings_left"] >= 1
        for item in request.items
    )


def _free_waiting_seats(waiting: list[str], request_id: str | None) -> bool:
    """Asks Stripe, for two seconds at most, to end the payments that keep these holds' seats; whether any went."""
    claimed = _database().run(
        lambda conn: claim_payments_to_close(
            conn, limit=len(waiting), lease=CLOSE_LEASE, reservations=[UUID(hold_id) for hold_id in waiting]
        )
    )
    if not claimed:
        return False
    context = {"actor": "system", "actor_id": "reservations", "request_id": request_id, "reason": "expired"}
    close = partial(close_payment, _database(), _hasty_gateway(), context=context)
    with ThreadPoolExecutor(max_workers=len(claimed)) as pool:
        return Closed.RELEASED in list(pool.map(close, claimed))


def show(reservation_id: UUID, token: str | None) -> dict[str, Any]:
    """The reservation, to the holder of its token."""
    _require_token(reservation_id, token)
    found = _database().run(lambda conn: holds.fetch_reservation(conn, reservation_id))
    if found is None:
        raise refusals.UnknownReservation
    return found


def cancel(reservation_id: UUID, token: str | None, context: Mapping[str, str | None]) -> None:
    """Ends the hold; a payment that is open is closed at Stripe first.

    Raises `AlreadyPaid`, or `PaymentProviderUnavailable` while Stripe does not say.
    """
    _require_token(reservation_id, token)
    settings = load(Settings)
    outcome = _database().run(
        lambda conn: holds.begin_close(
            conn, reservation_id, closing_as="cancelled", lease=CLOSE_LEASE, context=context
        )
    )
    match outcome["outcome"]:
        case "closed":
            count("HoldCancelled")
        case "close":
            identify(payment_id=outcome["payment"]["id"])
            match close_payment(_database(), _gateway(), outcome["payment"], context):
                case Closed.RELEASED:
                    count("HoldCancelled")
                case Closed.CONFIRMED:
                    raise refusals.AlreadyPaid
                case Closed.REFUNDED:
                    kick_outbox(settings.deliver_outbox_function)
                case Closed.KEPT | Closed.UNANSWERED | Closed.DETACHED:
                    raise refusals.PaymentProviderUnavailable(
                        "The payment is not settled yet; ask again.", retry_after=30
                    )
        case "in-progress":
            raise refusals.PaymentProviderUnavailable("The payment is at the provider right now; ask again.")
        case refused:
            raise BY_SLUG[refused]


def _require_token(reservation_id: UUID, token: str | None) -> None:
    secrets = accepted(load(Settings), "token_secret")
    if not token or not any(token_matches(str(reservation_id), token, secret) for secret in secrets):
        raise refusals.UnknownReservation
    comes_from(str(reservation_id))
    identify(reservation_id=str(reservation_id))


def _with_token(answer: dict[str, Any]) -> dict[str, Any]:
    token = reservation_token(answer["id"], load(Settings).token_secret)
    return {"id": answer["id"], "token": token, **answer}
