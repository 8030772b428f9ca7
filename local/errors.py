"""Why the cloud does not come up."""


class CannotStart(Exception):
    """The cloud, or a part of it, cannot be started like this; the message is the one line that says why."""
