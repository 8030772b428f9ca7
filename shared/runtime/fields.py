"""What several functions read of their callers: models that take no unknown field, and the fields themselves."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
)
from pydantic_core import CoreSchema, core_schema


class RequestModel(BaseModel):
    """What a caller sends: an unknown field is refused, and nothing changes it afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Form:
    """What a string has to look like: the expression for the API's document, the words for whoever sends another."""

    pattern: str
    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._matched, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(schema) | {"pattern": f"^{self.pattern}$"}

    def _matched(self, text: str) -> str:
        if re.fullmatch(self.pattern, text) is None:
            raise ValueError(f"Input should be {self.words}")
        return text


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


def _with_its_plus(given: object) -> object:
    """In a query string, the plus of an offset (RFC 3339) that nobody encoded has become a space."""
    return re.sub(r" (?=\d\d:\d\d$)", "+", given) if isinstance(given, str) else given


type Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(printable)
]
type Moment = Annotated[AwareDatetime, AfterValidator(_of_four_digits)]
type QueryMoment = Annotated[Moment, BeforeValidator(_with_its_plus)]
