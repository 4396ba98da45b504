"""Foreshock's processes as a test starts, kills and restarts them: one server, or all of docker-compose.yml by hand."""
