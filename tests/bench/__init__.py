"""Ours and the rivals, in turn, on one machine: `python -m tests.bench [AREA …]` writes build/bench/<area>.json. See README.md."""
