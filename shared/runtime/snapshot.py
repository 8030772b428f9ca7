"""What no execution environment may share with another that starts from the same SnapStart snapshot.

A connection's other end knows one peer, not many; secrets, keys and the times they were fetched at are as old as the
snapshot; and "random" pauses would all be the same ones. Nothing of ours does any of that while it is imported, which
is all that a snapshot holds; what somebody adds one day is dropped here.
"""

import os
import random
import sys

OURS = frozenset({"functions", "payments", "database", "stripe_gateway", "runtime"})


def forget_around_snapshots() -> None:
    """Have `forget` called before a snapshot is taken and after one is restored. Without SnapStart it does nothing.

    https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
    """
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        return
    from snapshot_restore_py import (  # noqa: PLC0415 - the managed runtime's own: no layer carries it
        register_after_restore,
        register_before_snapshot,
    )

    register_before_snapshot(forget)
    register_after_restore(forget)


def forget() -> None:
    """Drop whatever our modules cached - connections, clients, settings with their secrets, keys - and reseed chance."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in OURS:
            for value in vars(module).values():
                if callable(clear := getattr(value, "cache_clear", None)):
                    clear()
    random.seed()
