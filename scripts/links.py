"""Finds links in the repository's Markdown that lead to a file, or a heading, that is not there."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub and GitLab derive from a document's headings."""
    headings = HEADING.findall(FENCE.sub("", text))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(document: Path) -> list[str]:
    """Return a document's links that lead nowhere in this repository; other sites are not asked."""
    text = document.read_text()
    found: list[str] = []
    for target in LINK.findall(FENCE.sub("", text)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file.read_text())):
            found.append(f"{document.relative_to(ROOT)}: {target} leads nowhere")
    return found


def main() -> int:
    """Print what leads nowhere; 1 if anything does."""
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    problems = [problem for document in sorted(documents) for problem in broken(document)]
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
