"""What can go wrong at Stripe, as its callers need to tell it apart."""


class StripeUnanswered(Exception):
    """Stripe has not said what became of the request: ask again under the same key."""


class StripeFailed(Exception):
    """Stripe answered 5xx, and answers the same under this key for a day: look first, then take the next key."""


class StripeRefused(Exception):
    """Stripe refused the request for good, and did nothing.

    `code` is Stripe's error code, if it gave one.
    """

    def __init__(self, code: str | None) -> None:
        super().__init__(code)
        self.code = code
