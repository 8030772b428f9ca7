"""Sealing the audit while everybody writes to it: nobody waits, nothing is left out."""

import psycopg

from scripts.verify_audit import verify
from tests.concurrency.guards import rewrite_function, shows
from tests.concurrency.shop import Shop

BUYERS = 20
SEALERS = 4


def seal(shop: Shop, limit: int = 7) -> int:
    """One batch, as `seal-audit` has it; answers how many entries."""
    row = shop.connection().execute("SELECT seal_audit(%s)", [limit]).fetchone()
    assert row is not None
    return row[0]["sealed"]


def verified(shop: Shop) -> str:
    with psycopg.connect(shop.owner_url, autocommit=True) as owner:
        return verify(owner)


def unsealed(shop: Shop) -> list[str]:
    """The customers whose entries have no seal."""
    found = shop.rows(
        """
        SELECT c.email FROM booking_audit_log l JOIN customers c ON c.id = l.row_id
        WHERE NOT EXISTS (SELECT FROM audit_seals s WHERE s.entry_id = l.id) ORDER BY 1
        """
    )
    return [email for (email,) in found]


def test_sealers_at_once_make_one_chain_while_buyers_hold(shop: Shop) -> None:
    """Four sealers among twenty buyers: every entry is sealed once, in a chain without a gap; no deadlock."""
    slot = shop.slot(units=BUYERS)

    def act(number: int) -> str:
        if number % (BUYERS // SEALERS):
            return shop.hold({slot: 1})["outcome"]
        for _ in range(5):
            seal(shop)
        return "sealed"

    answers = shop.at_once(BUYERS, act)
    assert {*map(str, answers)} == {"held", "sealed"}
    while seal(shop, 100):
        pass
    entries = shop.value("SELECT count(*) FROM booking_audit_log")
    assert verified(shop).startswith(f"{entries} entries fit, positions 1 to {entries}; 0 wait")
    assert shop.deadlocks() == 0


def test_a_writer_never_waits_for_the_sealer(shop: Shop) -> None:
    """A sealer that has sealed and does not commit keeps nobody from writing, nor another sealer from passing by."""
    slot = shop.slot(units=5)
    shop.hold({slot: 1})
    with psycopg.connect(shop.app_url) as sealer:
        sealed = sealer.execute("SELECT seal_audit(100)").fetchone()
        assert sealed is not None
        assert sealed[0]["sealed"] > 0
        shop.connection().execute("SET lock_timeout = '1ms'")
        assert shop.hold({slot: 1})["outcome"] == "held"
        assert seal(shop) == 0
    assert seal(shop, 100) > 0
    assert verified(shop).endswith(shop.value("SELECT seal_audit(1) ->> 'head'"))


def with_one_open(shop: Shop) -> tuple[list[str], list[str]]:
    """Whose entries are not sealed while the transaction of `slow` is open, and after it; `fast` came after it."""
    insert = "INSERT INTO customers (email, name) VALUES (%s, 'Ada')"
    with psycopg.connect(shop.owner_url) as slow:
        slow.execute(insert, ["slow"])
        shop.rows(insert, "fast")
        seal(shop, 100)
        during = unsealed(shop)
    seal(shop, 100)
    return during, unsealed(shop)


def test_a_transaction_that_was_open_is_sealed_later_and_in_its_place(shop: Shop) -> None:
    """It delays what came after it, and that is all: both are sealed, the older one first."""
    assert with_one_open(shop) == (["fast"], [])
    assert shop.rows(
        "SELECT c.email FROM audit_seals s JOIN booking_audit_log l ON l.id = s.entry_id JOIN customers c ON c.id = l.row_id ORDER BY position"
    ) == [("slow",), ("fast",)]
    assert verified(shop).startswith("2 entries fit")


def test_control_sealing_past_an_open_transaction_leaves_its_entries_out(shop: Shop) -> None:
    """Negative control: where what is newer than an open transaction is sealed, what that one wrote never is."""
    rewrite_function(
        shop.owner_url,
        "seal_audit",
        ("AND l.transaction_id < pg_snapshot_xmin(pg_current_snapshot())", ""),
    )
    assert with_one_open(shop) == ([], ["slow"])


def test_control_without_the_sealers_lock_the_chain_forks(shop: Shop) -> None:
    """Negative control: two sealers without their lock want the same position, and one of them fails."""
    rewrite_function(shop.owner_url, "seal_audit", ("pg_try_advisory_xact_lock(c_lock)", "true"))

    def race() -> bool:
        for _ in range(200):
            shop.rows("INSERT INTO customers (email, name) VALUES (%s, 'Ada')", shop.buyer())
        answers = shop.at_once(SEALERS, lambda _: seal(shop, 200))
        return any(isinstance(answer, psycopg.errors.UniqueViolation) for answer in answers)

    assert shows(race)
