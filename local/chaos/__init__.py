"""Chaos: a sale that goes on while everything below it is killed and every connection is cut."""
