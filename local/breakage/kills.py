"""Kill -9 of whatever the cloud consists of, and deaths at the moments that the code itself names."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from local.own_cloud import OwnCloud
from local.paths import ROOT

AT_WORK = 0.9  # of the kills of an execution environment, so many wait for one that is at work
# Nobody comes past these in every siege: a person who replays, who finds an event that had failed, who reports an error.
NOT_IN_EVERY_SALE = ("replay.", "reconcile.events-claimed", "outbox.after-issue")
SOON_S = 0.5
PATIENCE_S = 5.0
LOOKS_AGAIN_S = 0.02


def named_kill_points() -> list[str]:
    """Every kill point that the functions' code names."""
    sources = [*Path(ROOT, "functions").rglob("*.py"), *Path(ROOT, "shared").rglob("*.py")]
    return sorted(
        {name for source in sources for name in re.findall(r'kill_point\("([^"]+)"\)', source.read_text())}
    )


def kill_points() -> list[str]:
    """Those of them that a siege is sure to come past."""
    return [name for name in named_kill_points() if not name.startswith(NOT_IN_EVERY_SALE)]


@dataclass(frozen=True)
class Traps:
    """The file that the functions look into at their kill points: KILL_POINT_FILE."""

    file: Path

    def set(self, points: Iterable[str]) -> None:
        """Whoever comes past one of these points first takes all of them away and dies."""
        unfinished = self.file.with_suffix(".unfinished")
        unfinished.write_text("\n".join(points))
        unfinished.replace(self.file)

    def sprung(self) -> list[str]:
        """The points where somebody has died since the last time."""
        taken = list(self.file.parent.glob(f"{self.file.name}.*.*"))
        for file in taken:
            file.unlink()
        return [file.name.removeprefix(f"{self.file.name}.") for file in taken]

    def remove(self) -> None:
        """Nobody dies any more."""
        self.file.unlink(missing_ok=True)


@dataclass
class Kills:
    """`counts` has each kill by what was killed."""

    cloud: OwnCloud
    random: Random
    counts: Counter[str] = field(default_factory=Counter[str])

    async def environment(self) -> None:
        """One execution environment: most often one that is at work, if there is such a one soon."""
        waits_until = time.monotonic() + (SOON_S if self.random.random() < AT_WORK else 0)
        gives_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < gives_up_at:
            environments = {name: pid for name, pid in self.cloud.processes().items() if "#" in name}
            at_work = [name for name, pid in environments.items() if _runs(pid)]
            wanted = at_work or list(environments)
            is_time = at_work or time.monotonic() >= waits_until
            if wanted and is_time and self.cloud.kill(self.random.choice(wanted)):
                self.counts["environments at work" if at_work else "environments at rest"] += 1
                return
            await asyncio.sleep(LOOKS_AGAIN_S)

    def service(self, name: str) -> None:
        """`postgres` or `stripe_emulator`; the cloud starts it again."""
        self.counts[name] += self.cloud.kill(name)

    async def everything(self) -> None:
        """The whole cloud at one moment; then it is started again on what it left behind."""
        self.cloud.kill_all()
        self.counts["whole cloud"] += 1
        await self.cloud.ready()

    @property
    def environments(self) -> int:
        """Execution environments that were killed, other than with the whole cloud."""
        return sum(count for what, count in self.counts.items() if what.startswith(("environments", "at ")))


def _runs(pid: int) -> bool:
    """Whether a process is not stopped: an execution environment is, between two events."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in b"RSD"
    except OSError:
        return False
