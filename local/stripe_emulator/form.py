"""Stripe's bracketed form parameters: `a[b][0]=c`, `a[]=c`."""

import re
from urllib.parse import parse_qsl

from local.stripe_emulator.errors import invalid_parameter

type FormValue = str | Form
type Form = dict[str, FormValue]

# Deeper than any parameter that Stripe has, so that nobody can make a reader recurse without end.
_DEEPEST = 12
_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_PART = re.compile(r"\[([^\[\]]*)\]")


def decode(text: str) -> Form:
    """Nested mappings of strings; a list is a mapping by place, until a parameter says that it is a list.

    Raises StripeError for a name that is no parameter's.
    """
    root: Form = {}
    for name, value in parse_qsl(text, keep_blank_values=True, errors="replace"):
        _place(root, name, value)
    return root


def _place(root: Form, name: str, value: str) -> None:
    match = _KEY.fullmatch(name)
    parts = [] if match is None else [match[1], *_PART.findall(match[2])]
    if not 0 < len(parts) <= _DEEPEST:
        raise invalid_parameter("Invalid request: a parameter's name is malformed.")
    here = root
    for part in parts[:-1]:
        below = here.setdefault(_slot(here, part), {})
        if isinstance(below, str):
            raise invalid_parameter(f"Invalid hash: {parts[0]}", param=parts[0])
        here = below
    last = _slot(here, parts[-1])
    if isinstance(here.get(last), dict):
        raise invalid_parameter(f"Invalid string: {parts[0]}", param=parts[0])
    here[last] = value


def _slot(container: Form, part: str) -> str:
    """An empty bracket is the next free place of a list."""
    return part or str(len(container))
