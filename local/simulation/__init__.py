"""Simulation: random interleavings of everything that can happen, made by a seed alone, and what holds afterwards."""
