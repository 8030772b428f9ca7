"""What a client says to PostgreSQL, read off the wire: the statements of a batch and where it ends.

https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import re
import struct
from collections.abc import Generator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

_LENGTH = struct.Struct("!I")
_STARTUP_PROTOCOL = 3  # the major version; in its place other codes ask for TLS, GSSAPI or a cancellation
_CALL = re.compile(r"\b([a-z_]+)\(")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Batch:
    """What is sent together and answered together.

    `parts[i]` is what the server has to receive to have done `steps[i]`; the last step is the one that ends the batch:
    Sync, which commits what stands outside of a transaction block.
    """

    steps: tuple[str, ...]
    parts: tuple[bytes, ...]


@dataclass
class Frontend:
    """Cuts a client's byte stream into batches; statements go by the first of `functions` that they call."""

    functions: AbstractSet[str]
    _rest: bytes = b""
    _begun: bool = False
    _statement: str = ""
    _part: list[bytes] = field(default_factory=list[bytes])
    _steps: list[str] = field(default_factory=list[str])
    _parts: list[bytes] = field(default_factory=list[bytes])

    def read(self, data: bytes) -> Generator[bytes | Batch]:
        """The batches that are whole now, and what is to be passed on as it is: a connection's beginning and its end."""
        self._rest += data
        while (message := self._take()) is not None:
            kind = message[:1] if self._begun else b""
            if not self._begun:
                self._begun = _LENGTH.unpack(message[4:8])[0] >> 16 == _STARTUP_PROTOCOL
            if not self._steps and not self._part and kind not in (b"P", b"B", b"D", b"E", b"C", b"Q", b"S"):
                yield message
                continue
            self._part.append(message)
            if kind == b"P":
                self._statement = self._name(message[5:].split(b"\0")[1].decode(errors="replace"))
            elif kind == b"Q":
                self._step(self._name(message[5:-1].decode(errors="replace")))
            elif kind == b"E":
                self._step(self._statement)
            elif kind == b"S":
                self._step("Sync")
            if kind in (b"Q", b"S"):
                yield Batch(tuple(self._steps), tuple(self._parts))
                self._steps, self._parts = [], []

    def _take(self) -> bytes | None:
        start = 1 if self._begun else 0
        if len(self._rest) < start + 4:
            return None
        size = start + _LENGTH.unpack(self._rest[start : start + 4])[0]
        if len(self._rest) < size:
            return None
        message, self._rest = self._rest[:size], self._rest[size:]
        return message

    def _step(self, name: str) -> None:
        self._steps.append(name)
        self._parts.append(b"".join(self._part))
        self._part = []

    def _name(self, statement: str) -> str:
        called = _CALL.findall(statement)
        known = [name for name in called if name in self.functions]
        known = known or [name for name in called if name == "set_config"]
        return " ".join(known[:2]) or "".join(_WORD.findall(statement)[:1]).upper()
