"""How what waits comes to its end: by itself in its time, or at once where a control says so."""

from local.stripe_emulator import delayed, disputes, intents, pending, refunds, sessions
from local.stripe_emulator.account import Account, Answer, Call


def settle_due(account: Account, *, until: float | None = None) -> int:
    """End what is due now, or at `until` (Unix seconds), as it ends by itself; answers how many ended."""
    limit = account.clock() if until is None else until
    ended = 0
    # One at a time: the end of one thing can be the end or the beginning of another.
    while (waiting := pending.next_pending(account)) is not None and waiting.due_at <= limit:
        settle(account, waiting.kind, waiting.object_id, waiting.outcome)
        ended += 1
    return ended


def settle(account: Account, kind: str, object_id: str, outcome: str) -> Answer:
    """End one object; StripeError if it does not wait for that."""
    with account.storage.transaction():
        # Nobody asked for it: its events name no request.
        call = Call(account)
        pending.end(account.storage, object_id)
        return _ENDS[kind](call, object_id, outcome)


def _settle_refund(call: Call, object_id: str, outcome: str) -> Answer:
    return refunds.settle(call, refunds.load(call, object_id), outcome)


def _settle_dispute(call: Call, object_id: str, outcome: str) -> Answer:
    return disputes.settle(call, disputes.load(call, object_id), outcome)


def _settle_payment(call: Call, object_id: str, outcome: str) -> Answer:
    intent = intents.load(call, object_id)
    delayed.settle(call, intent, outcome)
    sessions.settle(call, intent)
    return Answer(intent.body)


_ENDS = {"dispute": _settle_dispute, "payment_intent": _settle_payment, "refund": _settle_refund}
