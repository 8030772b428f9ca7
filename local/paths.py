"""Where the repository's files are."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# As PYTHONPATH has it: where the functions find their packages.
PACKAGES = os.pathsep.join(
    str(ROOT / folder) for folder in (".", "shared", "layers/postgres", "layers/stripe")
)
