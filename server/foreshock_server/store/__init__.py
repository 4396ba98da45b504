"""Shared reads and writes: runs, series, blocks, alerts, outbox. Takes a session, never commits, never reads a clock."""
