"""The capability of a hold."""

from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from domain.reservation import reservation_token, token_matches

SECRET = "0123456789abcdef"
RESERVATION = "0e7a1b9e-0a53-4cb5-9a51-b1c1b0a3c111"


def test_the_token_is_derived_and_the_same_every_time() -> None:
    """HMAC-SHA256 of the id under the secret, in hexadecimal; the case of the id makes no difference."""
    assert reservation_token(RESERVATION, SECRET) == reservation_token(RESERVATION.upper(), SECRET)
    assert len(bytes.fromhex(reservation_token(RESERVATION, SECRET))) == 32
    assert token_matches(RESERVATION, reservation_token(RESERVATION, SECRET), SECRET)


def test_another_id_or_secret_has_another_token() -> None:
    """A token opens one hold, under one secret."""
    token = reservation_token(RESERVATION, SECRET)
    assert not token_matches(str(uuid4()), token, SECRET)
    assert not token_matches(RESERVATION, token, SECRET + "x")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_whatever_is_sent_as_a_token_is_compared_without_failing(token: str) -> None:
    """Any text is either the token or it is not."""
    assert token_matches(RESERVATION, token, SECRET) is (token == reservation_token(RESERVATION, SECRET))
