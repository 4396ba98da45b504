"""Incidents and silences over HTTP, the page behind the link in a message, and what time alone brings."""
