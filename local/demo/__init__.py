"""The demo: a show is sold out through the real functions while everything that can go wrong does."""
