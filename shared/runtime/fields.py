"""Fields that several functions read of their callers."""

import unicodedata
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, StringConstraints


def printable(text: str) -> str:
    """The text, without control characters or not at all."""
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("control characters are not accepted")
    return text


def _of_four_digits(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("Input should be in the years 1 to 9999 in UTC") from None


type Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(printable)
]
type Moment = Annotated[AwareDatetime, AfterValidator(_of_four_digits)]
