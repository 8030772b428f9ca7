"""What an object waits for: refunds and debits that settle after a while, vouchers that run out."""

from dataclasses import dataclass

from local.stripe_emulator.account import Account, Call
from local.stripe_emulator.storage import Storage


@dataclass(frozen=True)
class Pending:
    """The object that waits, how it ends by itself, and at what Unix time."""

    object_id: str
    kind: str
    outcome: str
    due_at: float


def begin(call: Call, kind: str, object_id: str, outcome: str, *, due_at: float | None = None) -> None:
    """Let the object end so at `due_at`, or else once the fault script's `settle_s` have passed."""
    call.storage.execute(
        "INSERT OR REPLACE INTO pending (object_id, kind, outcome, since, due_at) VALUES (?, ?, ?, ?, ?)",
        (object_id, kind, outcome, call.account.clock(), due_at),
    )


def end(storage: Storage, object_id: str) -> None:
    """The object waits no longer, however it ended."""
    storage.execute("DELETE FROM pending WHERE object_id = ?", (object_id,))


def next_pending(account: Account) -> Pending | None:
    """What ends first, if anything waits."""
    return next(iter(all_pending(account)), None)


def all_pending(account: Account) -> list[Pending]:
    """Everything that waits, the first to end first."""
    rows = account.storage.execute(
        "SELECT object_id, kind, outcome, coalesce(due_at, since + ?) AS due FROM pending ORDER BY due, since",
        (account.faults.settle_s,),
    )
    return [Pending(*row) for row in rows]
