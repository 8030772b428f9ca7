"""`make openapi` writes docs/openapi.json; `python -m scripts.openapi check` says whether it is what the code says."""

import json
import sys

from local.paths import ROOT
from scripts.openapi.document import document

FILE = ROOT / "docs" / "openapi.json"


def main(act: str) -> int:
    """Returns the exit status."""
    text = json.dumps(document(), indent=1, ensure_ascii=False) + "\n"
    if act == "write":
        FILE.write_text(text)
        return 0
    if FILE.exists() and FILE.read_text() == text:
        return 0
    print("docs/openapi.json is not what the code says: make openapi")
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
