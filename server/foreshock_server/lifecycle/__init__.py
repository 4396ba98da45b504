"""Runs and projects -> deleted, kept for so long, cleaned up behind."""
