"""Stripe's search query language over payment intents, and an index that lags behind.

https://docs.stripe.com/search: `metadata['order']:'7' AND status:'succeeded'`; joined by AND or by OR.
"""

import json
import re
from typing import Any

from local.stripe_emulator.account import Account
from local.stripe_emulator.errors import StripeError, invalid_parameter

type Json = dict[str, Any]

_CLAUSE = re.compile(
    r"""\s*(?P<no>-?)
        (?P<field>[a-z_]+)(?:\[(?P<kq>["'])(?P<key>(?:\\.|(?!(?P=kq)).)*)(?P=kq)\])?
        \s*(?P<op>:|~|>=|<=|>|<)\s*
        (?:(?P<vq>["'])(?P<value>(?:\\.|(?!(?P=vq)).)*)(?P=vq)|(?P<number>\d{1,18})|(?P<null>null))""",
    re.VERBOSE,
)
_JOINT = re.compile(r"\s+(AND|OR)\s+", re.IGNORECASE)
_NUMBERS = ("amount", "created")
_WORDS = ("status", "currency", "customer")


def index_intent(account: Account, intent: Json) -> None:
    """Let the index see the intent as it is now, once it has caught up."""
    fields = {name: intent[name] for name in ("metadata", *_NUMBERS, *_WORDS)}
    account.storage.execute(
        "INSERT INTO search_index (id, saved_at, fields) VALUES (?, ?, ?)",
        (intent["id"], account.clock(), json.dumps(fields)),
    )


def search_intents(account: Account, query: str, *, limit: int, offset: int) -> tuple[list[Json], bool]:
    """The intents that match, newest first, as they are now; and whether there are more.

    Matched is what the index sees, `search_lag_s` behind. Raises StripeError for a query it cannot read.
    """
    condition, values = _compile(query)
    seen_until = account.clock() - account.faults.search_lag_s
    rows = account.storage.execute(
        f"""
        SELECT objects.body
        FROM search_index AS entry JOIN objects ON objects.id = entry.id
        WHERE entry.seq = (SELECT max(seq) FROM search_index AS newer
                           WHERE newer.id = entry.id AND newer.saved_at <= ?)
          AND {condition}
        ORDER BY objects.seq DESC LIMIT ? OFFSET ?
        """,  # noqa: S608 - the condition is made of this module's literals
        (seen_until, *values, limit + 1, offset),
    )
    found = [json.loads(body) for (body,) in rows]
    return found[:limit], len(found) > limit


def _compile(query: str) -> tuple[str, list[object]]:
    """The query as an SQL condition over `fields`, and its values."""
    parts: list[str] = []
    values: list[object] = []
    joints: set[str] = set()
    position = 0
    while True:
        clause = _CLAUSE.match(query, position)
        if clause is None:
            raise _unreadable(query)
        sql, clause_values = _clause(clause)
        parts.append(f"NOT coalesce(({sql}), FALSE)" if clause["no"] else f"({sql})")
        values += clause_values
        position = clause.end()
        if not query[position:].strip():
            break
        joint = _JOINT.match(query, position)
        if joint is None:
            raise _unreadable(query)
        joints.add(joint[1].upper())
        position = joint.end()
    if len(joints) > 1:
        raise invalid_parameter("A search query cannot mix AND with OR.", param="query")
    return "(" + f" {joints.pop() if joints else 'AND'} ".join(parts) + ")", values


def _clause(clause: re.Match[str]) -> tuple[str, list[object]]:
    field, operator = clause["field"], clause["op"]
    value = clause["value"] if clause["value"] is not None else clause["number"]
    text = None if value is None else re.sub(r"\\(.)", r"\1", value)
    if field == "metadata" and clause["key"] is not None and operator in (":", "~"):
        key = re.sub(r"\\(.)", r"\1", clause["key"])
        entry = "SELECT 1 FROM json_each(entry.fields, '$.metadata') AS m WHERE m.key = ?"
        if text is None:
            return f"NOT EXISTS ({entry})", [key]
        test = "m.value = ?" if operator == ":" else "instr(lower(m.value), lower(?)) > 0"
        return f"EXISTS ({entry} AND {test})", [key, text]
    if field in _NUMBERS and text is not None and text.isdecimal() and operator != "~":
        comparison = "=" if operator == ":" else operator
        return f"json_extract(entry.fields, '$.{field}') {comparison} ?", [int(text)]
    if field in _WORDS and operator == ":":
        column = f"json_extract(entry.fields, '$.{field}')"
        return (f"{column} IS NULL", []) if text is None else (f"{column} = ?", [text.lower()])
    raise invalid_parameter(f"Field `{field}` is not searchable in this way.", param="query")


def _unreadable(query: str) -> StripeError:
    return invalid_parameter(f"We were unable to parse your search query: {query}", param="query")
