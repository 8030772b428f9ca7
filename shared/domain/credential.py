"""A secret by which one of our functions is known elsewhere, and which may be rotated while it is in use."""

from dataclasses import dataclass
from typing import Protocol


class Credential(Protocol):
    """A password, key or token, and where a newer one may be had."""

    def current(self) -> str:
        """The value that holds now, as far as is known here."""
        ...

    def renew(self) -> None:
        """The value was refused: the next `current` is a newer one where there is any."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """A credential that is never rotated."""

    value: str

    def current(self) -> str:
        return self.value

    def renew(self) -> None:
        """Nothing newer can be had."""


def credential(given: str | Credential) -> Credential:
    """A credential as its user needs it, whether it was given as such or as plain text."""
    return Fixed(given) if isinstance(given, str) else given
