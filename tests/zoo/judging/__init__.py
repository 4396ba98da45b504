"""Trains a pair with the SDK, lets the server's rules and their rivals look at what was stored, and counts."""
