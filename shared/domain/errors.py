"""Which reports are the same error: the fingerprint that groups them.

Two reports are one error if they come from the same side (backend or frontend), are of the same type, say the
same but for ids, numbers, quoted values and addresses, and went through the same frames of our own code,
whatever the line, the release or the build.
"""

import hashlib
import json
import re
from collections.abc import Sequence

from domain.scrubbing import scrub

ISSUES_AN_HOUR = 20
"""Issues that the tracker is asked for in an hour: more than anybody can look at, fewer than would hide one."""

_VERSION = "v1"
"""Part of every fingerprint; changes with anything below, since the same error is then named otherwise."""

_OWN_FRAMES = 5
_STACK_LINES = 500
_LINE = 1_000
_MESSAGE = 500

_OWN_PACKAGES = frozenset({"functions", "domain", "runtime", "payments", "database", "stripe_gateway"})

# Installed packages, the standard library, frozen modules; in /opt/python our layers lie beside their needs.
_FOREIGN_PYTHON = re.compile(r"(?:site|dist)-packages/|/lib(?:64)?/python3|^<|/opt/python/(?P<folder>\w*)")
_FOREIGN_SCRIPT = re.compile(
    r"extension://|/node_modules/|/vendor[s~.-]|\[native code\]|<anonymous>"
    r"|//(?:[\w-]{1,60}\.){0,5}(?:stripe|googletagmanager|google-analytics|jsdelivr|cloudflare|unpkg)\.\w"
)

_PYTHON_FRAME = re.compile(r'[ |+-]*+File "(?P<path>[^"]*+)", line \d++(?:, in (?P<function>.*))?')
_PLACE = re.compile(r"://|\[native code\]|:\d+$")
_TYPE_NAME = re.compile(r"(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?=:|$)|[A-Za-z_]\w*(?:\.\w+)+(?=:|$)")
_UNCAUGHT = re.compile(
    r"(?:Uncaught\s{1,3}(?:\(in promise\)\s{1,3})?|Unhandled promise rejection:?\s{1,3})", re.IGNORECASE
)

_VARIABLE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?<![\w+.-])[A-Za-z][\w+.-]*+://[^\s\"'<>)]*+"), "<url>"),
    (
        re.compile(
            r"(?<!\w)'[^'\n]{0,300}'(?!\w)|\"[^\"\n]{0,300}\"|`[^`\n]{0,300}`"
            r"|[\u201c\u2018][^\u201d\u2019\n]{0,300}[\u201d\u2019]"
        ),
        "<text>",
    ),
    # Digits of an id may have been taken for a card's: digits again, enough to make an id of what they are in.
    (re.compile(r"\[(?:card|number|phone|iban)\]"), "0" * 16),
    # UUIDs, Stripe's and other prefixed ids, hexadecimal and mixed tokens; then every other number.
    (re.compile(r"(?<!\w)[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?!\w)"), "#"),
    (re.compile(r"(?<!\w)[a-z]{2,10}_(?:(?:test|live)_)?[A-Za-z0-9]{14,}+(?!\w)"), "#"),
    (re.compile(r"(?<!\w)(?:0x)?(?=\d{0,64}[A-Fa-f])(?=[A-Fa-f]{0,64}\d)[0-9A-Fa-f]{8,}+(?!\w)"), "#"),
    (re.compile(r"(?<![\w-])(?=[\w-]*?\d)(?=[\w-]*?[a-z])(?=[\w-]*?[A-Z])[\w-]{20,}+"), "#"),
    (re.compile(r"(?<!\w)0x[0-9A-Fa-f]++"), "#"),
    (re.compile(r"\d++"), "#"),
    (re.compile(r"[+-]?#(?:[ .,:/+-]?#)*+"), "#"),
    (re.compile(r"\s++"), " "),
)

# What a bundler puts into names so that caches miss: `app.3f9ab2c1.js`, `index-B7x9Kq2_.js`.
_BUILD_HASH = re.compile(r"[.-](?=[A-Za-z_-]{0,64}[0-9A-Z])[\w-]{6,64}(?=\.)")
_BUILD_FOLDER = re.compile(r"/(?=[\w-]{0,64}\d)(?=[\w-]{0,64}[A-Za-z])[\w-]{8,64}(?=/)")


def fingerprint(
    source: str,
    kind: str | None,
    message: str,
    stack: str | None,
    client_fingerprint: Sequence[str] | None = None,
) -> str:
    """The name of the group that a report belongs to: `v1-` and a SHA-256 in hexadecimal.

    `kind` is the error's type, looked for in the stack and the message where it is None. A client that knows
    better names the group itself: then its own list decides, and with it only the source. Secrets make no
    difference: a scrubbed message and stack have the same fingerprint as they had before.
    """
    if client_fingerprint:
        return _digest("client", source, *client_fingerprint)
    message, stack = scrub(message), scrub(stack or "")
    kind = kind or _kind_of(message, stack)
    return _digest("error", source, kind, _without_variables(message, kind), *_own_frames(stack))


def _digest(*parts: str) -> str:
    # JSON, and ASCII at that: no two lists of parts run together, and no lone surrogate breaks the encoding.
    return f"{_VERSION}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"


def _kind_of(message: str, stack: str) -> str:
    """The error's type: Python names it behind the last frame, V8 before the first, others in the message."""
    lines = [line[:_LINE] for line in stack.splitlines()]
    last = max((index for index, line in enumerate(lines) if _PYTHON_FRAME.match(line)), default=-1)
    behind = lines[last + 1 :] if last >= 0 else []
    for line in (*behind, *lines[:1], message[:_LINE].partition("\n")[0]):
        found = _TYPE_NAME.match(_UNCAUGHT.sub("", line, count=1))
        if found:
            return found[0]
    return ""


def _without_variables(message: str, kind: str) -> str:
    message = _UNCAUGHT.sub("", message, count=1)
    if kind and message.startswith(kind):
        message = message[len(kind) :].lstrip(": ")
    for pattern, placeholder in _VARIABLE:
        message = pattern.sub(placeholder, message)
    return message.strip()[:_MESSAGE]


def _own_frames(stack: str) -> list[str]:
    """Up to five frames of our own code, the innermost first; where there is none of ours, of any code."""
    lines = [line[:_LINE] for line in stack.splitlines()]
    frames = [frame for line in reversed(lines[-_STACK_LINES:]) if (frame := _python_frame(line))]
    if not frames:
        frames = [frame for line in lines[:_STACK_LINES] if (frame := _script_frame(line))]
    own = [frame for frame, is_own in frames if is_own] or [frame for frame, _ in frames]
    # However deep it went down before it broke, a recursion is one frame.
    return [frame for index, frame in enumerate(own) if own[index - 1 : index] != [frame]][:_OWN_FRAMES]


def _python_frame(line: str) -> tuple[str, bool] | None:
    """`  File "/var/task/functions/health/handler.py", line 12, in answer`, and whether that is our code."""
    found = _PYTHON_FRAME.match(line)
    if not found:
        return None
    folders = found["path"].replace("\\", "/").split("/")
    foreign = _FOREIGN_PYTHON.search(found["path"])
    if not foreign or foreign["folder"] in _OWN_PACKAGES:
        for index, folder in enumerate(folders):
            if folder in _OWN_PACKAGES:
                return f"{'/'.join(folders[index:])}:{found['function']}", True
    return f"{folders[-1]}:{found['function']}", False


def _script_frame(line: str) -> tuple[str, bool] | None:
    """A frame of V8, `at pay (https://host/app.js:1:2)`, or of others, `pay@https://host/app.js:1:2`."""
    line = line.strip()
    if line.startswith("at "):
        function, bracket, place = line[3:].removesuffix(")").partition(" (")
        function, place = (function, place) if bracket else ("", function)
    else:
        function, _, place = line.partition("@")
        if not _PLACE.search(place):
            return None
    function = (
        function.removeprefix("async ").removeprefix("async*").removeprefix("new ").partition(" [as ")[0]
    )
    function = function.rstrip("/<").rpartition(".")[2]
    return f"{_script_path(place)}:{_without_digits(function)}", not _FOREIGN_SCRIPT.search(place)


def _script_path(place: str) -> str:
    path = place.rstrip("0123456789:").partition("?")[0].partition("#")[0]
    path = path.partition("://")[2].partition("/")[2] if "://" in path else path
    return _without_digits(_BUILD_FOLDER.sub("/#", _BUILD_HASH.sub("", f"/{path}")))


def _without_digits(name: str) -> str:
    return re.sub(r"\d+", "#", name)
