"""The storefront that this cloud serves: static files, and what its page has to know of Stripe."""

import json
from typing import Any

from aiohttp import web

from local.paths import ROOT
from local.settings import Stripe
from local.stripe_emulator.account import API_VERSION
from local.stripe_emulator.cards import CARDS

_PAGE = ROOT / "local" / "page"
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# https://docs.stripe.com/sdks/stripejs-versioning: a release of Stripe.js has the name of the API's.
_STRIPE_JS = f"https://js.stripe.com/{API_VERSION.rpartition('.')[2]}/stripe.js"
# https://docs.stripe.com/security/guide#content-security-policy
_STRIPE_SOURCES = {
    "connect-src": "'self' https://api.stripe.com",
    "frame-src": "https://js.stripe.com https://*.js.stripe.com https://hooks.stripe.com",
    "script-src": "'self' https://js.stripe.com https://*.js.stripe.com",
}


class Storefront:
    """The page at `/`, its parts below `/page/`, and the module for sites at `/browser/holdfast.js`."""

    def __init__(self, stripe: Stripe) -> None:
        self._settings = json.dumps({"stripe": _payment(stripe)})
        self._headers = {
            "Cache-Control": "no-cache",
            "Content-Security-Policy": _policy(stripe),
            "Referrer-Policy": "no-referrer",  # Stripe appends the client secret to the address it sends a buyer to
            "X-Content-Type-Options": "nosniff",
        }
        self._files = {
            "/": _PAGE / "index.html",
            "/browser/holdfast.js": ROOT / "browser" / "holdfast.js",
            **{f"/page/{file.name}": file for file in _PAGE.iterdir()},
        }

    def answer(self, path: str) -> web.Response | None:
        """What stands at a path; None where nothing of the storefront does."""
        if path == "/page/settings.json":
            return web.Response(text=self._settings, content_type="application/json", headers=self._headers)
        file = self._files.get(path)
        if file is None:
            return None
        return web.Response(text=file.read_text(), content_type=_TYPES[file.suffix], headers=self._headers)


def _payment(stripe: Stripe) -> dict[str, Any]:
    """How the page takes a payment: in the emulator's form, in Stripe's Payment Element, or on Stripe's own page."""
    if stripe.emulated:
        cards = [{"id": name, "label": f"{card.label} (... {card.last4})"} for name, card in CARDS.items()]
        known = {"api_base": stripe.api_base, "publishable_key": stripe.publishable_key}
        return {"kind": "emulator", "cards": cards, **known}
    if stripe.publishable_key:
        return {"kind": "elements", "publishable_key": stripe.publishable_key, "script": _STRIPE_JS}
    return {"kind": "checkout"}


def _policy(stripe: Stripe) -> str:
    sources = {
        "default-src": "'none'",
        "connect-src": f"'self' {stripe.api_base}" if stripe.emulated else "'self'",
        "frame-src": "'none'",
        "img-src": "'self'",
        "script-src": "'self'",
        "style-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    if not stripe.emulated and stripe.publishable_key:
        sources |= _STRIPE_SOURCES
    return "; ".join(f"{name} {value}" for name, value in sources.items())
