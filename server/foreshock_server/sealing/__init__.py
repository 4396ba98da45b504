"""Acknowledged blocks -> counted in their series, then sealed into segments and rollups, by a stage of the worker."""
