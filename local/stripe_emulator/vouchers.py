"""Vouchers, which a buyer pays in a shop or a bank within days: https://docs.stripe.com/payments/vouchers.

Stripe has no test payment methods for them by id, and makes them of the buyer's details; the emulator's own are
`pm_boleto`, `pm_oxxo` and `pm_konbini`. None is paid by itself.
"""

from dataclasses import dataclass
from typing import Any, Literal

type Json = dict[str, Any]

_DAY_S = 86_400


@dataclass(frozen=True)
class Voucher:
    """A kind of voucher; `refund` is how it is refunded, where that is possible at all.

    A refund asks the buyer for a bank account by mail first.
    """

    label: str
    type: Literal["boleto", "oxxo", "konbini"]
    valid_days: int
    refund: Literal["asks", "impossible"]
    last4: str = "0000"
    dispute: None = None

    def next_action(self, url: str, now: float) -> Json:
        """What the buyer is shown: the voucher's number, its page, and until when it is valid."""
        until = int(now) + self.valid_days * _DAY_S
        details: Json = {"hosted_voucher_url": url}
        if self.type == "konbini":
            codes = {"confirmation_number": "01234567890", "payment_code": "123456"}
            stores = dict.fromkeys(("familymart", "lawson", "ministop", "seicomart"), codes)
            details |= {"expires_at": until, "stores": stores}
        elif self.type == "oxxo":
            details |= {"expires_after": until, "number": "12345678901234657890123456789012"}
        else:
            number = "01010101010101010101010101010101010101010101010"
            details |= {"expires_at": until, "number": number, "pdf": url}
        kind = f"{self.type}_display_details"
        return {"type": kind, kind: details}


VOUCHERS: dict[str, Voucher] = {
    "pm_boleto": Voucher("Boleto", "boleto", 3, "asks"),
    "pm_oxxo": Voucher("OXXO", "oxxo", 3, "impossible"),
    "pm_konbini": Voucher("Konbini", "konbini", 3, "asks"),
}


def expiry(next_action: Json | None) -> int | None:
    """When the voucher that an intent waits for is over, in Unix seconds; None if it waits for none."""
    if next_action is None or not next_action["type"].endswith("_display_details"):
        return None
    details = next_action[next_action["type"]]
    return details.get("expires_at") or details["expires_after"]
