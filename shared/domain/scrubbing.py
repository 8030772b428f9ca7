"""What must not be kept: secrets and personal data, taken out of texts and contexts before they go anywhere.

Rather too much is taken than too little. Every expression runs in time linear in the text: it starts once in
a run of characters and gives nothing of it back (possessive quantifiers), or it repeats a few times at most.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

MAXIMUM_TEXT = 65_536
"""Characters of one text that are kept; the rest is cut off."""

MAXIMUM_DEPTH = 6
MAXIMUM_WIDTH = 100
MAXIMUM_CONTEXT_TEXT = 32_768
"""Characters that all keys and texts of a context may have together, a number counting as one."""

_MAXIMUM_KEY = 200
_LONGEST_SECRET_WITHOUT_A_MARK = 256
_CUT = "[cut]"
_SECRET = "[secret]"  # noqa: S105 - stands where a secret stood

# PostgreSQL stores no NUL in text or jsonb (manual, "JSON Types"), and UTF-8 has no lone surrogates.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

# A name and its value, in JSON (also JSON in a JSON string), Python, HTTP, XML, query strings and prose.
_BETWEEN = r"""\\{0,8}["']?\]?\s{0,8}(?:=>|[:=>]|%3[AaDd]|,(?=\s{0,8}b?\\{0,8}["']))\s{0,8}b?"""
_QUOTED = r"""(?P<quote>\\{0,8}["'])(?:(?!(?<!\\)(?P=quote))[^\r\n])*+(?:(?P=quote))?"""
_VALUE_REPLACED = rf"\g<name>\g<between>\g<quote>{_SECRET}\g<quote>"

_REPLACED: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)"
        ),
        _SECRET,
    ),
    # The values of these headers have spaces in them, so they go on to the end of the line.
    (
        re.compile(
            rf"(?P<name>(?i:authorization|cookie2?))(?P<between>{_BETWEEN})(?:{_QUOTED}|[^\r\n]*+)",
        ),
        _VALUE_REPLACED,
    ),
    (
        re.compile(
            r"(?P<name>(?i:pass(?:word|wd|phrase|code)|pwd|secret|token|(?:api|access|private)[_-]?key"
            r"|credential|session[_-]?id|signature|csrf|xsrf|jwt|(?<![a-z])cv[cv]2?|(?<![a-z])pin(?![a-z]))"
            rf"[\w-]{{0,40}}+)(?P<between>{_BETWEEN})"
            rf"""(?:{_QUOTED}|(?:(?i:bearer|basic|digest|token)\s{{1,8}})?[^\s"'&]++)""",
        ),
        _VALUE_REPLACED,
    ),
    # scheme://user:password@host; the password may have an @ of its own.
    (re.compile(r"""://[^\s/?#"'<>]*@"""), f"://{_SECRET}@"),
    (re.compile(r"(?i:bearer)\s{1,8}[\w.~+/=-]{6,}+"), f"Bearer {_SECRET}"),
    (re.compile(r"(?i:basic)\s{1,8}(?=[A-Za-z+/]{0,200}[0-9=])[A-Za-z0-9+/]{6,}+={0,2}"), f"Basic {_SECRET}"),
    # A reservation's token, or another secret of so many bits; an error's group has its version before it.
    (re.compile(r"(?<!v1-)[0-9A-Fa-f]{64,}+"), _SECRET),
    # Stripe's client secrets (of intents and sessions), secret and restricted keys, signing secrets.
    (re.compile(r"(?<!\w)(?=\w*\d|(?:pi|seti|cs)_)\w*?_secret_[\w%]++"), _SECRET),
    (re.compile(r"(?:sk|rk|ek)_(?:test|live)_\w++|(?<![A-Za-z0-9])(?:sk|rk)_\w{8,}+"), _SECRET),
    (re.compile(r"whsec_[\w+/=-]++"), _SECRET),
    # JWTs, whole or cut off; AWS access keys and session tokens; GitHub's tokens.
    (re.compile(r"eyJ[\w-]{8,}+(?:\.[\w-]*+){0,2}"), _SECRET),
    (re.compile(r"(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}|(?:IQoJ|FwoG)[A-Za-z0-9+/=]{40,}+"), _SECRET),
    (re.compile(r"gh[opsur]_\w{16,}+|github_pat_\w{16,}+"), _SECRET),
    (re.compile(r"(?<![\w.!#$*^~+-])[\w.!#$*^~+-]++(?:@|%40)(?:[\w-]++\.)+[^\W\d_]{2,}"), "[email]"),
)

# A UUID can have a card's digits in it, and is what an error is looked up by.
_UUID = r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])"
_DIGIT_RUN = re.compile(rf"(?P<uuid>{_UUID})|[0-9](?:(?:(?:[\s./_+-]|%20){{1,2}}(?!{_UUID}))?[0-9]){{12,}}+")
_DECIMAL = re.compile(r"[0-9]++\.[0-9]++")
_DIGIT = re.compile(r"%20|([0-9])")
_CARD_LENGTHS = range(13, 20)
_LONGEST_DIGIT_RUN = 100
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}+")
_PHONE = re.compile(
    r"(?<![0-9])\+[1-9](?:[ ./()-]{0,2}[0-9]){7,14}+"
    r"|(?<![\w.-])(?:\([0-9]{3}\) ?|[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}(?![\w-])"
)

# A key is secret if it has one of these in it, whatever stands around it ...
_SECRET_PARTS = re.compile(
    "password|passwd|passphrase|passcode|pwd|secret|token|(?:api|access|private)key|credential|authorization"
    "|cookie|sessionid|signature|csrf|xsrf|jwt|cardnumber|iban|email|phone|firstname|lastname|fullname"
)
# ... or if one of its words is one of these, which are parts of harmless words (discard, spinner) as well.
_SECRET_WORDS = frozenset(
    {"card", "cvc", "cvc2", "cvv", "cvv2", "pan", "pin", "ssn", "auth", "dsn", "dob", "address", "mobile"}
)
# What a name is somebody's under, where it is not a file's or an error's.
_PEOPLE = frozenset({"user", "customer", "buyer", "person", "contact", "account", "profile", "holder"})
_WORD = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+")


def scrub(text: str) -> str:
    """The text without secrets and personal data, a word in brackets saying what stood there.

    Taken out: card numbers (13 to 19 digits that pass the check of ISO/IEC 7812, also in groups), passwords,
    tokens, keys and cookies by their names, bearer tokens, 64 hexadecimal digits by themselves, JWTs,
    credentials in URLs, the secrets of Stripe, AWS and GitHub, private keys, email addresses, IBANs (by the
    check of ISO 13616), phone numbers as far as they can be told. The answer has MAXIMUM_TEXT characters at
    most, PostgreSQL can store it, and scrubbing it again changes nothing.
    """
    scrubbed = text[: MAXIMUM_TEXT + 1]
    # What one expression leaves can be what another looks for, so they run until nothing changes any more.
    for _ in range(8):
        before = scrubbed
        scrubbed = _scrubbed_once(before)
        if scrubbed == before:
            break
    return scrubbed[:MAXIMUM_TEXT]


def scrub_context(context: Mapping[str, object]) -> dict[str, object]:
    """A JSON object without secrets and personal data: texts as by `scrub`, values by their keys' names too.

    Names go where they are a person's, and not where they are an error's. The answer can be stored as jsonb: no deeper than MAXIMUM_DEPTH, no wider than MAXIMUM_WIDTH at any level,
    no longer than MAXIMUM_CONTEXT_TEXT in all. NaN and infinities become text, other objects a type's name.
    """
    return _cleaned_object(context, 0, _Allowance(MAXIMUM_CONTEXT_TEXT))


@dataclass(slots=True)
class _Allowance:
    """How many characters of a context may still be kept."""

    characters: int

    def spend(self, text: str) -> str:
        kept = text if len(text) <= self.characters else _CUT
        self.characters -= len(kept)
        return kept


def _cleaned(value: object, depth: int, allowance: _Allowance, owner: str = "") -> object:
    allowance.characters -= 1
    if not isinstance(value, Mapping | list | tuple):
        return _cleaned_scalar(value, allowance)
    if depth >= MAXIMUM_DEPTH or allowance.characters <= 0:
        return _CUT
    if isinstance(value, Mapping):
        return _cleaned_object(cast("Mapping[object, object]", value), depth, allowance, owner)
    values = cast("Sequence[object]", value)
    if len(values) > MAXIMUM_WIDTH:
        values = [*values[: MAXIMUM_WIDTH - 1], _CUT]
    return [_cleaned(element, depth + 1, allowance) for element in values]


def _cleaned_scalar(value: object, allowance: _Allowance) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return allowance.spend(scrub(value))
    if not isinstance(value, int | float):
        return f"[{type(value).__name__}]"
    # str() refuses an integer of more than 4300 digits, and nobody needs one of more than 30.
    if isinstance(value, int) and abs(value) >= 10**30:
        return "[number]"
    # A card number may come as a number.
    text = str(value)
    scrubbed = scrub(text)
    return allowance.spend(scrubbed) if scrubbed != text or not math.isfinite(value) else value


def _cleaned_object(
    members: Mapping[str, object] | Mapping[object, object],
    depth: int,
    allowance: _Allowance,
    owner: str = "",
) -> dict[str, object]:
    items: list[tuple[object, object]] = [*members.items()]
    of_person = owner.lower() in _PEOPLE
    if len(items) > MAXIMUM_WIDTH:
        items = [*items[: MAXIMUM_WIDTH - 1], (_CUT, _CUT)]
    kept: dict[str, object] = {}
    for key, value in items:
        name = scrub(str(key))
        name = name if len(name) <= min(_MAXIMUM_KEY, allowance.characters) else _CUT
        if name not in kept:
            allowance.characters -= len(name)
            # By its new name too, by which it is told where it is scrubbed once more.
            secret = any(_is_secret(called, value) for called in {str(key), name}) or (
                of_person and isinstance(value, str) and "name" in str(key).lower()
            )
            kept[name] = _SECRET if secret else _cleaned(value, depth + 1, allowance, str(key))
    return kept


def _scrubbed_once(text: str) -> str:
    scrubbed = _UNSTORABLE.sub("\ufffd", text[:MAXIMUM_TEXT])
    for pattern, replacement in _REPLACED:
        scrubbed = pattern.sub(replacement, scrubbed)
    scrubbed = _IBAN.sub(lambda found: _without_iban(found[0]), scrubbed)
    scrubbed = _PHONE.sub("[phone]", scrubbed)
    scrubbed = _DIGIT_RUN.sub(lambda run: run["uuid"] or _without_cards(run[0]), scrubbed)
    if len(text) > MAXIMUM_TEXT:
        # Half a secret might not have been known as one.
        return scrubbed[:-_LONGEST_SECRET_WITHOUT_A_MARK] + _CUT
    return scrubbed


def _without_cards(run: str) -> str:
    """A run of digits, perhaps in groups, with every stretch that could be a card number replaced.

    The number may stand in the middle of other digits, so each stretch of a card's length is tried.
    """
    if _DECIMAL.fullmatch(run):
        # A time or a measure: its point parts no groups.
        return ".".join(_without_cards(digits) for digits in run.split("."))
    places = [found.start() for found in _DIGIT.finditer(run) if found[1]]
    if len(places) > _LONGEST_DIGIT_RUN:
        return "[number]"
    digits = [int(run[place]) for place in places]
    kept: list[str] = []
    done = start = 0
    while start < len(digits):
        end = _end_of_card(digits, start)
        if end == start:
            start += 1
            continue
        # Another one may begin within this one and reach further.
        inner = start
        while inner < end:
            inner += 1
            end = max(end, _end_of_card(digits, inner))
        kept += [run[done : places[start]], "[card]"]
        done = places[end - 1] + 1
        start = end
    return "".join([*kept, run[done:]])


def _end_of_card(digits: Sequence[int], start: int) -> int:
    """Where the longest card number beginning at `start` ends, or `start`; they begin with 2 to 6."""
    if start < len(digits) and 2 <= digits[start] <= 6:
        for length in reversed(_CARD_LENGTHS):
            if start + length <= len(digits) and _passes_luhn(digits[start : start + length]):
                return start + length
    return start


def _passes_luhn(digits: Sequence[int]) -> bool:
    doubled = (digit * 2 - 9 if digit > 4 else digit * 2 for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _without_iban(text: str) -> str:
    """What looks like an IBAN, its longest beginning that passes the check replaced: words may follow."""
    ends = [len(text), *(index for index in range(len(text) - 1, 14, -1) if text[index] == " ")]
    for end in ends:
        compact = text[:end].replace(" ", "")
        number = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
        if len(compact) >= 15 and int(number) % 97 == 1:
            return f"[iban]{text[end:]}"
    return text


def _is_secret(key: str, value: object) -> bool:
    if value is None or isinstance(value, bool):
        return False
    if _SECRET_PARTS.search("".join(filter(str.isalnum, key)).lower()):
        return True
    words: list[str] = _WORD.findall(key)
    return not _SECRET_WORDS.isdisjoint(word.lower() for word in words)
