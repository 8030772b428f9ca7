"""Lambda on this machine: one process an execution environment, running the runtime client that AWS itself runs."""
