"""A sale through the real functions: who takes part in it, and what everybody knows of it when it is over."""
