"""Stands for a layer's package."""


def describe() -> str:
    """A word that only the layer knows."""
    return "from the layer"
