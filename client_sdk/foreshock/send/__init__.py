"""The spool in, acknowledged blocks out: one courier, behind a thread or behind `foreshock sync`."""
