"""The console: one page over this function's routes, for administrators who would rather look than ask."""

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

PAGE = Path(__file__).with_name("console.html")


@cache
def console() -> tuple[str, dict[str, str]]:
    """The page, and headers under which a browser runs what stands in it and nothing else.

    Its script and style are named by their digests (https://www.w3.org/TR/CSP3/#grammardef-hash-source). There is nothing
    secret in it: what it shows, it asks for with its administrator's token.
    """
    page = PAGE.read_text()
    policy = (
        f"default-src 'none'; script-src {_digest(page, 'script')}; style-src {_digest(page, 'style')}; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
    return page, {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-cache",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def _digest(page: str, tag: str) -> str:
    (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
