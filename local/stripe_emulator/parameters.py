"""What an endpoint's parameters may be, and Stripe's errors for what they may not."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from local.stripe_emulator.errors import invalid_parameter, missing_parameter, unknown_parameter
from local.stripe_emulator.form import FormValue

_INTEGER = re.compile(r"-?\d{1,18}")

# https://docs.stripe.com/metadata
_METADATA_KEYS, _METADATA_KEY_LENGTH, _METADATA_VALUE_LENGTH = 50, 40, 500


class Parameter(Protocol):
    """One parameter's type: reads what the form decoder left, or raises StripeError naming `name`."""

    def read(self, value: FormValue, name: str) -> Any:
        """The value in the type that the endpoint uses."""
        ...


def _text(value: FormValue, name: str) -> str:
    if not isinstance(value, str):
        raise invalid_parameter(f"Invalid string: {name}", param=name)
    return value


@dataclass(frozen=True)
class Text:
    """A string. An empty one is None where `clears` (that is how Stripe unsets a field), else an error."""

    longest: int = 5000
    clears: bool = False

    def read(self, value: FormValue, name: str) -> str | None:
        """The text, or None where it clears the field."""
        text = _text(value, name)
        if not text and self.clears:
            return None
        if not text:
            message = f"You passed an empty string for '{name}'. Leave it out, or give it a value."
            raise invalid_parameter(message, code="parameter_invalid_empty", param=name)
        if len(text) > self.longest:
            message = f"Invalid string: {name} must be at most {self.longest} characters"
            raise invalid_parameter(message, param=name)
        return text


@dataclass(frozen=True)
class Whole:
    """An integer, at least `smallest` where given."""

    smallest: int | None = None
    largest: int | None = None

    def read(self, value: FormValue, name: str) -> int:
        """The number."""
        text = _text(value, name)
        if _INTEGER.fullmatch(text) is None:
            raise invalid_parameter(f"Invalid integer: {text}", code="parameter_invalid_integer", param=name)
        number = int(text)
        if self.smallest is not None and number < self.smallest:
            message = (
                "Invalid positive integer"
                if self.smallest == 1
                else f"This value must be greater than or equal to {self.smallest}."
            )
            raise invalid_parameter(message, code="parameter_invalid_integer", param=name)
        if self.largest is not None and number > self.largest:
            message = f"This value must be less than or equal to {self.largest} (it currently is '{number}')."
            raise invalid_parameter(message, code="parameter_invalid_integer", param=name)
        return number


@dataclass(frozen=True)
class Flag:
    """`true` or `false`."""

    def read(self, value: FormValue, name: str) -> bool:
        """The flag."""
        text = _text(value, name)
        if text not in ("true", "false"):
            raise invalid_parameter(f"Invalid boolean: {text}", param=name)
        return text == "true"


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, value: FormValue, name: str) -> str:
        """The word."""
        text = _text(value, name)
        if text not in self.words:
            raise invalid_parameter(f"Invalid {name}: must be one of {', '.join(self.words)}", param=name)
        return text


@dataclass(frozen=True)
class Metadata:
    """Up to 50 short strings by name; an empty value unsets its name, an empty metadata unsets all (None)."""

    def read(self, value: FormValue, name: str) -> dict[str, str] | None:
        """The entries by name, or None where all are unset."""
        if value == "":
            return None
        if isinstance(value, str):
            raise invalid_parameter(f"Invalid hash: {name}", param=name)
        entries: dict[str, str] = {}
        for key, entry in value.items():
            where = f"{name}[{key}]"
            if len(key) > _METADATA_KEY_LENGTH:
                raise invalid_parameter(
                    f"Metadata keys have at most {_METADATA_KEY_LENGTH} characters: {key}", param=name
                )
            entries[key] = _text(entry, where)
            if len(entries[key]) > _METADATA_VALUE_LENGTH:
                raise invalid_parameter(
                    f"Metadata values have at most {_METADATA_VALUE_LENGTH} characters: {key}", param=where
                )
        if len(entries) > _METADATA_KEYS:
            raise invalid_parameter(f"Metadata has at most {_METADATA_KEYS} keys.", param=name)
        return entries


@dataclass(frozen=True)
class Sequence:
    """A list of `of`, at most `most` of them where given."""

    of: Parameter
    most: int | None = None

    def read(self, value: FormValue, name: str) -> list[Any]:
        """The items in their order."""
        if value == "":
            return []
        if isinstance(value, str) or not all(place.isdecimal() for place in value):
            raise invalid_parameter(f"Invalid array: {name}", param=name)
        if self.most is not None and len(value) > self.most:
            message = f"Array {name} exceeded maximum {self.most} allowed elements."
            raise invalid_parameter(message, param=name)
        places = sorted(value, key=int)
        return [self.of.read(value[place], f"{name}[{place}]") for place in places]


@dataclass(frozen=True)
class Group:
    """Named parameters below one name, or an endpoint's parameters as a whole."""

    fields: Mapping[str, Parameter] = field(default_factory=dict[str, Parameter])
    required: tuple[str, ...] = ()

    def read(self, value: FormValue, name: str = "") -> dict[str, Any]:
        """The parameters by name."""
        if isinstance(value, str):
            raise invalid_parameter(f"Invalid hash: {name}", param=name)
        read: dict[str, Any] = {}
        for key, below in value.items():
            where = f"{name}[{key}]" if name else key
            if key not in self.fields:
                raise unknown_parameter(where)
            read[key] = self.fields[key].read(below, where)
        for key in self.required:
            if key not in read:
                raise missing_parameter(f"{name}[{key}]" if name else key)
        return read


_BOUNDS = Group({"gt": Whole(), "gte": Whole(), "lt": Whole(), "lte": Whole()})


@dataclass(frozen=True)
class TimeRange:
    """A Unix time, or bounds of one: read as a mapping with `gt`, `gte`, `lt`, `lte`."""

    def read(self, value: FormValue, name: str) -> dict[str, int]:
        """The bounds by name."""
        if isinstance(value, str):
            moment = Whole().read(value, name)
            return {"gte": moment, "lte": moment}
        return _BOUNDS.read(value, name)


METADATA = Metadata()
EXPAND: Mapping[str, Parameter] = {"expand": Sequence(Text())}
PAGING: Mapping[str, Parameter] = {
    "limit": Whole(1, 100),
    "starting_after": Text(),
    "ending_before": Text(),
    **EXPAND,
}


def merged_metadata(present: Mapping[str, str], change: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata after an update: names are merged, empty values unset theirs, None unsets all."""
    if change is None:
        return {}
    merged = {**present, **change}
    return {key: value for key, value in merged.items() if value != ""}
