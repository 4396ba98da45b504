"""Rows in, blocks out: host work finished, frames numbered, packed as the wire contract says."""
