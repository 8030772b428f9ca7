"""A lease outlives whoever holds it, so that two never talk to Stripe about one payment."""

from functions.create_payment_intent.service import LEASE
from local.paths import ROOT
from local.template import load_template
from payments.closing import CLOSE_LEASE
from stripe_gateway.gateway import RETRIES, SECONDS_A_TRY

# The pauses between the tries of one request are a fraction of a second each.
LONGEST_ASKING_S = (RETRIES + 1) * SECONDS_A_TRY + 0.5


def test_a_payment_lease_outlives_its_function() -> None:
    """`create-payment-intent` is killed at its deadline before anybody may take its payment over."""
    template = load_template(ROOT / "template.yaml", aws_endpoint_url="http://127.0.0.1:1")

    assert template.functions["create-payment-intent"].timeout_s <= LEASE.total_seconds()


def test_a_close_lease_outlives_its_slowest_close() -> None:
    """Creating again, looking for it, creating under the next key, cancelling and fetching, each at its slowest."""
    assert CLOSE_LEASE.total_seconds() >= 5 * LONGEST_ASKING_S
