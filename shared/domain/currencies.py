"""The currencies Stripe charges in, how it counts their minor units, and how much it charges.

Everything here is https://docs.stripe.com/currencies, read in November 2026:
"Supported presentment currencies" (and the same for an account in the United Arab Emirates, which alone
lists the three-decimal ones), "Zero-decimal currencies", "Special cases", "Minimum charge amount by
currency" and "Maximum charge amounts". It is not ISO 4217: Stripe counts ISK and UGX in hundredths, which
ISO does not, and MGA in whole ariary. The lev (BGN) left Stripe's list when Bulgaria took the euro.

HUF and TWD are ordinary two-decimal currencies here: that their amounts must be divisible by 100 is a rule
for manual payouts, not for charges.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

_PRESENTMENT_CODES = """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf
    chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl
    htg huf idr ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga
    mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar
    ron rsd rub rwf sar sbd scr sek sgd shp sle sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx
    usd uyu uzs vnd vuv wst xaf xcd xcg xof xpf yer zar zmw
"""

# UGX stands in Stripe's zero-decimal list too; the special case, which is the narrower rule, overrules it.
_ZERO_DECIMAL = "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf"

# Stripe counts thousandths of these and its partners take hundredths, so that the last digit must be 0, for
# payment intents and refunds alike (section "Three-decimal currencies" of the page as of 2023; the codes are
# still accepted, and nothing says that the rule is gone).
_THREE_DECIMAL = "bhd jod kwd omr tnd"

# No fractions of these any more, but for old callers' sake Stripe still counts two decimals, always 00.
_WHOLE_UNITS_IN_HUNDREDTHS = "isk ugx"

_LISTED_MINIMUM_AMOUNTS = {
    "aed": 200,
    "ars": 50,
    "aud": 50,
    "brl": 50,
    "cad": 50,
    "chf": 50,
    "cop": 50,
    "czk": 15_00,
    "dkk": 2_50,
    "eur": 50,
    "gbp": 30,
    "hkd": 4_00,
    "huf": 175_00,
    "idr": 50,
    "ils": 50,
    "inr": 50,
    "jpy": 50,
    "krw": 50,
    "mxn": 10_00,
    "myr": 2_00,
    "nok": 3_00,
    "nzd": 50,
    "php": 50,
    "pln": 2_00,
    "ron": 2_00,
    "rub": 50,
    "sek": 3_00,
    "sgd": 50,
    "thb": 10_00,
    "usd": 50,
    "zar": 50,
}

# Some cards take more digits (twelve; American Express nine), but which card will pay is not known when the
# intent is made. These are what Stripe gives for all other methods, and for PaymentIntent.amount itself.
_MAXIMUM_DIGITS = 8
_MAXIMUM_DIGITS_OF = {"idr": 12, "cop": 10, "inr": 9}


class UnknownCurrency(ValueError):
    """Not a currency that payments can be taken in."""


@dataclass(frozen=True, slots=True)
class Currency:
    """One currency, as Stripe's API counts it; amounts are integers in its minor unit.

    `exponent` is the number of decimals of the minor unit (0, 2 or 3). A chargeable amount is a multiple of
    `step` between `minimum_amount` and `maximum_amount`, both inclusive and both multiples of `step`.

    Where Stripe lists no minimum it converts the amount to the account's settlement currency and holds it
    against that one's minimum. The rate of that moment is not ours to know, so `minimum_amount` is then one
    step, and Stripe itself may still refuse with `amount_too_small`.
    """

    code: str
    exponent: int
    step: int
    minimum_amount: int
    maximum_amount: int


def _described(code: str) -> Currency:
    exponent, step = 2, 1
    if code in _ZERO_DECIMAL.split():
        exponent = 0
    elif code in _THREE_DECIMAL.split():
        exponent, step = 3, 10
    elif code in _WHOLE_UNITS_IN_HUNDREDTHS.split():
        step = 100
    largest = 10 ** _MAXIMUM_DIGITS_OF.get(code, _MAXIMUM_DIGITS) - 1
    return Currency(
        code=code,
        exponent=exponent,
        step=step,
        minimum_amount=_LISTED_MINIMUM_AMOUNTS.get(code, step),
        maximum_amount=largest - largest % step,
    )


CURRENCIES: Mapping[str, Currency] = MappingProxyType(
    {code: _described(code) for code in _PRESENTMENT_CODES.split()}
)
"""Every presentment currency by its lower-case ISO 4217 code."""


def currency(code: str) -> Currency:
    """The currency of a lower-case ISO 4217 code; UnknownCurrency for any other string."""
    try:
        return CURRENCIES[code]
    except KeyError:
        raise UnknownCurrency(UnknownCurrency.__doc__) from None


def chargeable_limits() -> dict[str, list[int]]:
    """What Stripe can charge, in minor units: code -> [minimum, maximum, step].

    For the SQL functions, which get it as one JSON argument and so need no second table.
    """
    return {c.code: [c.minimum_amount, c.maximum_amount, c.step] for c in CURRENCIES.values()}


def to_major(amount: int, code: str) -> Decimal:
    """An amount of minor units in the currency's major unit, exact, with all its decimals (1250 -> 12.50)."""
    sign = 1 if amount < 0 else 0
    digits = tuple(int(digit) for digit in str(abs(amount)))
    # Built from its digits: arithmetic would round to the precision of the calling thread's decimal context.
    return Decimal((sign, digits, -currency(code).exponent))


def format_amount(amount: int, code: str) -> str:
    """An amount of minor units as people read it: `12.50 USD`, `500 JPY`."""
    return f"{to_major(amount, code):f} {code.upper()}"
