"""What a buyer does in a browser: submits the checkout page, and passes or fails 3-D Secure."""

from local.stripe_emulator import intents, sessions
from local.stripe_emulator.account import Account, Answer, Call
from local.stripe_emulator.attempts import authenticate
from local.stripe_emulator.errors import no_such


def pay_session(account: Account, session_id: str, token: str) -> Answer:
    """Submit a session's page with a test payment method; answers the session, or 402 for a declined card."""
    with account.storage.transaction():
        call = Call(account)
        return sessions.pay(call, sessions.load(call, session_id), token)


def authenticate_intent(account: Account, intent_id: str, *, succeeded: bool) -> Answer:
    """End the 3-D Secure step of an intent; answers the intent, or 402 if the card is then declined."""
    with account.storage.transaction():
        call = Call(account)
        intent = intents.load(call, intent_id)
        answer = authenticate(call, intent, succeeded=succeeded)
        sessions.settle(call, intent)
        return answer


def authenticate_session(account: Account, session_id: str, *, succeeded: bool) -> Answer:
    """End the 3-D Secure step of a session's intent; answers the session, or 402 as above."""
    call = Call(account)
    intent_id = sessions.load(call, session_id).body["payment_intent"]
    if intent_id is None:
        raise no_such("payment_intent", "", param="session")
    answer = authenticate_intent(account, intent_id, succeeded=succeeded)
    return answer if answer.status != 200 else Answer(sessions.load(call, session_id).body)
