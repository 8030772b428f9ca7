"""A failure that is caught so that others go on, and is a defect all the same."""

from types import SimpleNamespace

from domain.refusals import Refusal
from runtime.failures import report_failure
from runtime.observability import logger
from stripe_gateway.failures import StripeFailed, StripeRefused, StripeUnanswered


def report_defect(failure: Exception) -> None:
    """Hands it to the error tracking as what nobody catches; who is away, busy or says no is no defect of ours."""
    if isinstance(failure, Refusal | StripeUnanswered | StripeFailed | StripeRefused):
        return
    ids = logger.get_current_keys()
    report_failure(
        failure,
        SimpleNamespace(function_name=ids.get("function_name"), aws_request_id=ids.get("request_id")),
    )
