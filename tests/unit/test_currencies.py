"""The currency table is Stripe's, whole and consistent, and its limits are exact at their edges."""

import json
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.currencies import (
    CURRENCIES,
    Currency,
    UnknownCurrency,
    chargeable_limits,
    currency,
    format_amount,
    to_major,
)

codes = st.sampled_from(sorted(CURRENCIES))
amounts = st.integers(min_value=-(10**13), max_value=10**13)


def is_chargeable(amount: int, code: str) -> bool:
    """By the limits that the SQL functions are given, read back from JSON."""
    minimum, maximum, step = json.loads(json.dumps(chargeable_limits()))[code]
    return minimum <= amount <= maximum and amount % step == 0


def test_every_presentment_currency_of_the_documentation_is_there_once() -> None:
    """134 that most accounts see, and the five three-decimal ones that some see beside them."""
    assert len(CURRENCIES) == 134 + 5
    assert {"usd", "eur", "gbp", "jpy", "xcg", "sle", "std", "byn"} <= CURRENCIES.keys()
    assert CURRENCIES.keys().isdisjoint({"bgn", "hrk", "sll", "ltl", "btc"}), "retired, or never Stripe's"


@pytest.mark.parametrize("entry", CURRENCIES.values(), ids=CURRENCIES.keys())
def test_every_entry_is_sane(entry: Currency) -> None:
    """Lower-case code, an exponent that Stripe knows, limits that are multiples of the step and in order."""
    assert CURRENCIES[entry.code] is entry
    assert len(entry.code) == 3
    assert entry.code.isascii()
    assert entry.code.islower()
    assert entry.exponent in (0, 2, 3)
    assert entry.step in (1, 10, 100)
    assert 0 < entry.minimum_amount < entry.maximum_amount
    assert entry.minimum_amount % entry.step == 0
    assert entry.maximum_amount % entry.step == 0
    assert entry.maximum_amount < 2**53, "a JSON number that every reader keeps exact"


@pytest.mark.parametrize(
    ("code", "exponent", "step", "minimum", "maximum"),
    [
        ("usd", 2, 1, 50, 99_999_999),
        ("gbp", 2, 1, 30, 99_999_999),
        ("aed", 2, 1, 200, 99_999_999),
        ("czk", 2, 1, 1_500, 99_999_999),
        ("jpy", 0, 1, 50, 99_999_999),
        ("krw", 0, 1, 50, 99_999_999),
        ("mga", 0, 1, 1, 99_999_999),
        ("clp", 0, 1, 1, 99_999_999),
        ("kwd", 3, 10, 10, 99_999_990),
        ("bhd", 3, 10, 10, 99_999_990),
        ("isk", 2, 100, 100, 99_999_900),
        ("ugx", 2, 100, 100, 99_999_900),
        ("huf", 2, 1, 17_500, 99_999_999),
        ("twd", 2, 1, 1, 99_999_999),
        ("mxn", 2, 1, 1_000, 99_999_999),
        ("idr", 2, 1, 50, 999_999_999_999),
        ("cop", 2, 1, 50, 9_999_999_999),
        ("inr", 2, 1, 50, 999_999_999),
        ("try", 2, 1, 1, 99_999_999),
    ],
)
def test_the_documented_cases_are_as_documented(
    code: str, exponent: int, step: int, minimum: int, maximum: int
) -> None:
    """Ordinary, zero-decimal, three-decimal, special and long ones, figure by figure."""
    assert currency(code) == Currency(code, exponent, step, minimum, maximum)


@pytest.mark.parametrize("code", sorted(CURRENCIES))
def test_the_bounds_are_chargeable_and_their_neighbours_are_not(code: str) -> None:
    """Minimum and maximum themselves; not a step beyond either, not off the step, not nothing, not less."""
    entry = currency(code)
    assert is_chargeable(entry.minimum_amount, code)
    assert is_chargeable(entry.maximum_amount, code)
    assert is_chargeable(entry.minimum_amount + entry.step, code)
    assert not is_chargeable(entry.minimum_amount - entry.step, code)
    assert not is_chargeable(entry.maximum_amount + entry.step, code)
    assert not is_chargeable(0, code)
    assert not is_chargeable(-entry.minimum_amount, code)
    if entry.step > 1:
        assert not is_chargeable(entry.minimum_amount + 1, code)
        assert not is_chargeable(entry.maximum_amount - 1, code)


def test_the_limits_for_sql_cover_every_currency() -> None:
    """A code that is missing there could never be paid in."""
    assert chargeable_limits().keys() == CURRENCIES.keys()


@given(amounts, codes)
def test_minor_to_major_and_back_loses_nothing(amount: int, code: str) -> None:
    """Exact whatever the decimal context of the thread, and always with the currency's own decimals."""
    exponent = currency(code).exponent
    with localcontext(prec=3):
        major = to_major(amount, code)
    assert int(major.scaleb(exponent)) == amount
    assert major.as_tuple().exponent == -exponent


@given(st.integers(), codes)
def test_whatever_is_chargeable_is_a_whole_number_of_what_people_can_pay(amount: int, code: str) -> None:
    """No fraction of a krona or a shilling, no thousandth of a dinar."""
    if is_chargeable(amount, code):
        assert (to_major(amount, code) * (1 if code in {"isk", "ugx"} else 100)) % 1 == 0


@given(st.text(max_size=6).filter(lambda text: text not in CURRENCIES))
def test_an_unknown_code_is_refused_and_not_echoed(code: str) -> None:
    """Upper case, padding, nothing and nonsense alike; the message is the class's own sentence."""
    for refuse in (
        lambda: currency(code),
        lambda: to_major(100, code),
        lambda: format_amount(100, code),
    ):
        with pytest.raises(UnknownCurrency) as refusal:
            refuse()
        assert str(refusal.value) == UnknownCurrency.__doc__


@pytest.mark.parametrize("code", ["USD", "Usd", " usd", "usd\n", "us", "", "bgn"])
def test_only_the_exact_lower_case_code_is_known(code: str) -> None:
    """What Stripe would answer in lower case must compare equal to what we stored."""
    with pytest.raises(UnknownCurrency):
        currency(code)


@pytest.mark.parametrize(
    ("amount", "code", "text"),
    [
        (1250, "usd", "12.50 USD"),
        (5, "eur", "0.05 EUR"),
        (500, "jpy", "500 JPY"),
        (5120, "kwd", "5.120 KWD"),
        (500, "isk", "5.00 ISK"),
        (-1250, "usd", "-12.50 USD"),
        (0, "usd", "0.00 USD"),
        (999_999_999_999, "idr", "9999999999.99 IDR"),
    ],
)
def test_an_amount_reads_as_people_write_it(amount: int, code: str, text: str) -> None:
    """All decimals of the minor unit, no exponent notation, the code in capitals."""
    assert format_amount(amount, code) == text


def test_the_table_cannot_be_changed() -> None:
    """A shared constant: neither an entry nor a field of one can be replaced at run time."""
    with pytest.raises(TypeError):
        CURRENCIES["usd"] = currency("eur")  # pyright: ignore[reportIndexIssue] - the point of the test
    with pytest.raises(AttributeError):
        currency("usd").step = 2  # pyright: ignore[reportAttributeAccessIssue] - the point of the test


def test_to_major_is_a_decimal() -> None:
    """Never a float."""
    assert to_major(1250, "usd") == Decimal("12.50")
