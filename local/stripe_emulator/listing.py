"""Stripe's lists: newest first, by cursor (https://docs.stripe.com/api/pagination)."""

from collections.abc import Mapping, Sequence
from typing import Any

from local.stripe_emulator.account import Call
from local.stripe_emulator.errors import invalid_parameter, no_such

type Json = dict[str, Any]

_DEFAULT_LIMIT = 10
_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

# How error messages call an object whose id names nothing.
_SPOKEN = {"checkout.session": "checkout session"}


class Conditions:
    """What a list's parameters ask of an object, as SQL over its stored row."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Begin with `created`, which every list has."""
        self._sql: list[str] = ["TRUE"]
        self._values: list[object] = []
        for name, moment in parameters.get("created", {}).items():
            self.add(f"created {_COMPARISONS[name]} ?", moment)

    def add(self, sql: str, *values: object) -> None:
        """One more condition; `sql` is a literal of this package."""
        self._sql.append(sql)
        self._values.extend(values)

    def equal(self, field: str, value: object) -> None:
        """The field has this value; None asks nothing."""
        if value is not None:
            self.add(f"json_extract(body, '$.{field}') = ?", value)

    def all(self) -> tuple[str, Sequence[object]]:
        """The whole condition and its values."""
        return " AND ".join(self._sql), self._values


def page(call: Call, kind: str, url: str, parameters: Mapping[str, Any], conditions: Conditions) -> Json:
    """One page of the objects of a kind, by `limit` and `starting_after` or `ending_before`."""
    limit = parameters.get("limit", _DEFAULT_LIMIT)
    after, before = parameters.get("starting_after"), parameters.get("ending_before")
    if after is not None and before is not None:
        raise invalid_parameter(
            "You may only specify one of these parameters: starting_after, ending_before.",
            code="parameters_exclusive",
        )
    if after is not None:
        conditions.add("seq < ?", _place(call, kind, after, "starting_after"))
    if before is not None:
        conditions.add("seq > ?", _place(call, kind, before, "ending_before"))
    sql, values = conditions.all()
    found = call.storage.select(kind, sql, values, limit=limit + 1, oldest_first=before is not None)
    data = found[:limit]
    if before is not None:
        data.reverse()
    return list_object(url, data, has_more=len(found) > limit)


def list_object(url: str, data: list[Json], *, has_more: bool = False) -> Json:
    """A list as the API shows it."""
    return {"object": "list", "url": url, "has_more": has_more, "data": data}


def _place(call: Call, kind: str, object_id: str, param: str) -> int:
    place = call.storage.sequence_of(kind, object_id)
    if place is None:
        raise no_such(_SPOKEN.get(kind, kind), object_id, param=param, status=400)
    return place
