"""The pages that Stripe hosts: a checkout session's form, the bank's 3-D Secure step, and vouchers."""

from html import escape
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from aiohttp import web

from domain.currencies import format_amount
from local.stripe_emulator import buyer, intents, sessions, settlement
from local.stripe_emulator.account import Account, Answer, Call
from local.stripe_emulator.attempts import waits_for_authentication
from local.stripe_emulator.errors import StripeError
from local.stripe_emulator.methods import METHODS
from local.stripe_emulator.storage import Stored
from local.stripe_emulator.vouchers import expiry

type Json = dict[str, Any]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; color: #1a1f36; background: #fff; max-width: 32rem;
  margin: 2rem auto; padding: 0 1rem }}
table {{ width: 100%; border-collapse: collapse }}
th, td {{ text-align: left; padding: .25rem 0 }} th:last-child, td:last-child {{ text-align: right }}
label {{ display: block; margin: 1rem 0 .25rem }}
select, button {{ font: inherit; padding: .5rem; width: 100% }}
button {{ margin-top: 1rem; border: 0; border-radius: .25rem; background: #0b5cad; color: #fff }}
[role=alert] {{ border-left: .25rem solid #b3093c; padding-left: .75rem; color: #b3093c }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"""


class HostedPages:
    """The pages of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[web.RouteDef]:
        """The pages' routes."""
        return [
            web.get("/c/pay/{id}", self.show_session),
            web.post("/c/pay/{id}", self.submit_session),
            web.get("/authenticate/{id}", self.show_authentication),
            web.post("/authenticate/{id}", self.submit_authentication),
            web.get("/voucher/{id}", self.show_voucher),
            web.post("/voucher/{id}", self.submit_voucher),
        ]

    async def show_session(self, request: web.Request) -> web.Response:
        """The card form; or what became of the session."""
        return self._session_page(request.match_info["id"])

    async def submit_session(self, request: web.Request) -> web.StreamResponse:
        """Pay with the chosen card, then go where the session says."""
        session_id = request.match_info["id"]
        form = await request.post()
        try:
            answer = buyer.pay_session(self._account, session_id, str(form.get("payment_method", "")))
        except StripeError as error:
            return self._session_page(session_id, problem=str(error), status=error.status)
        if answer.status != 200:
            return self._session_page(
                session_id, problem=answer.body["error"]["message"], status=answer.status
            )
        if answer.body["status"] == "open":
            return _redirect(f"/authenticate/{answer.body['payment_intent']}")
        return _redirect(_success_url(answer.body))

    async def show_authentication(self, request: web.Request) -> web.Response:
        """The bank's page: complete or fail."""
        intent = self._intent(request.match_info["id"])
        if intent is None or not waits_for_authentication(intent.body):
            return _page("Nothing to confirm", "<p>No payment waits for confirmation here.</p>", status=404)
        amount = escape(format_amount(intent.body["amount"], intent.body["currency"]))
        return _page(
            "3-D Secure",
            f"<p>Your bank asks you to confirm a payment of <strong>{amount}</strong>.</p>"
            '<form method="post">'
            '<button name="outcome" value="succeeded">Complete authentication</button>'
            '<button name="outcome" value="failed">Fail authentication</button></form>',
        )

    async def submit_authentication(self, request: web.Request) -> web.StreamResponse:
        """End the step, then go back to where the buyer came from."""
        intent_id = request.match_info["id"]
        form = await request.post()
        try:
            answer = buyer.authenticate_intent(
                self._account, intent_id, succeeded=form.get("outcome") == "succeeded"
            )
        except StripeError as error:
            return _page("Nothing to confirm", f"<p>{escape(str(error))}</p>", status=error.status)
        return self._after_authentication(intent_id, answer)

    async def show_voucher(self, request: web.Request) -> web.Response:
        """The voucher: pay it, or let it expire."""
        intent = self._intent(request.match_info["id"])
        if intent is None or expiry(intent.body["next_action"]) is None:
            return _page("No voucher", "<p>No voucher waits to be paid here.</p>", status=404)
        amount = escape(format_amount(intent.body["amount"], intent.body["currency"]))
        return _page(
            "Voucher",
            f"<p>A voucher of <strong>{amount}</strong>, to be paid in a shop.</p>"
            '<form method="post"><button name="outcome" value="succeeded">Pay it</button>'
            '<button name="outcome" value="expired">Let it expire</button></form>',
        )

    async def submit_voucher(self, request: web.Request) -> web.Response:
        """What the buyer does with the voucher."""
        form = await request.post()
        outcome = "succeeded" if form.get("outcome") == "succeeded" else "expired"
        try:
            settlement.settle(self._account, "payment_intent", request.match_info["id"], outcome)
        except StripeError as error:
            return _page("No voucher", f"<p>{escape(str(error))}</p>", status=error.status)
        return _page("Voucher", f"<p>It has {'been paid' if outcome == 'succeeded' else 'expired'}.</p>")

    def _after_authentication(self, intent_id: str, answer: Answer) -> web.StreamResponse:
        intent = self._intent(intent_id)
        session_id = None if intent is None else intent.private["session"]
        if intent is None or session_id is not None:
            session = sessions.load(Call(self._account), str(session_id)).body
            if session["status"] == "complete":
                return _redirect(_success_url(session))
            return self._session_page(str(session_id), problem="The payment was not confirmed.", status=402)
        paid = intent.body["status"] == "succeeded"
        return_url = intent.private.get("return_url")
        if return_url is not None:
            return _redirect(_with_outcome(return_url, intent.body, "succeeded" if paid else "failed"))
        error = answer.body.get("error") or answer.body["last_payment_error"]
        return _page(
            "Payment confirmed" if paid else "Payment not confirmed",
            "<p>You can close this page.</p>" if paid else f"<p>{escape(error['message'])}</p>",
        )

    def _intent(self, intent_id: str) -> Stored | None:
        try:
            return intents.load(Call(self._account), intent_id)
        except StripeError:
            return None

    def _session_page(
        self, session_id: str, *, problem: str | None = None, status: int = 200
    ) -> web.Response:
        try:
            stored = sessions.load(Call(self._account), session_id)
        except StripeError:
            return _page("No such page", "<p>There is no such checkout.</p>", status=404)
        session = stored.body
        if session["status"] == "complete":
            return _page("Paid", f'<p>This is paid. <a href="{escape(_success_url(session))}">Go on</a></p>')
        if session["status"] == "expired":
            return _page("Expired", "<p>This checkout has expired. Nothing was charged.</p>", status=410)
        return _page("Checkout", _form(session, stored.private["line_items"], problem), status=status)


def _form(session: Json, lines: list[Json], problem: str | None) -> str:
    def money(amount: int) -> str:
        return escape(format_amount(amount, session["currency"]))

    rows = "".join(
        f"<tr><td>{escape(line['description'])}</td><td>{line['quantity']}</td>"
        f"<td>{money(line['amount_total'])}</td></tr>"
        for line in lines
    )
    options = "".join(
        f'<option value="{name}">{escape(method.label)} (... {method.last4})</option>'
        for name, method in METHODS.items()
        if method.type in session["payment_method_types"]
    )
    alert = "" if problem is None else f'<p role="alert">{escape(problem)}</p>'
    cancel = session["cancel_url"]
    back = "" if cancel is None else f'<p><a href="{escape(cancel)}">Cancel and go back</a></p>'
    return (
        f"<p>A page of the Stripe emulator: no money moves.</p>{alert}"
        '<table><thead><tr><th scope="col">Item</th><th scope="col">Quantity</th>'
        '<th scope="col">Price</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
        f'<form method="post"><label for="card">Test payment method</label>'
        f'<select id="card" name="payment_method">{options}</select>'
        f"<button>Pay {money(session['amount_total'])}</button></form>{back}"
    )


def _page(title: str, content: str, *, status: int = 200) -> web.Response:
    return web.Response(
        text=_PAGE.format(title=escape(title), content=content), content_type="text/html", status=status
    )


def _redirect(url: str) -> web.Response:
    return web.Response(status=303, headers={"Location": url})


def _success_url(session: Json) -> str:
    """https://docs.stripe.com/payments/checkout/custom-success-page: the id replaces its placeholder."""
    return session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"])


def _with_outcome(return_url: str, intent: Json, outcome: str) -> str:
    """The return URL with what Stripe appends for the page that the buyer comes back to."""
    parts = urlsplit(return_url)
    appended = urlencode(
        {
            "payment_intent": intent["id"],
            "payment_intent_client_secret": intent["client_secret"],
            "redirect_status": outcome,
        }
    )
    return urlunsplit(parts._replace(query=f"{parts.query}&{appended}" if parts.query else appended))
