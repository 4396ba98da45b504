"""Blocks on disk between the recorder and the sender: bounded, checksummed, readable after any kill."""
