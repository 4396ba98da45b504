"""Settings -> the application: the only place that knows all the features."""

from foreshock_server.app.factory import create_app

__all__ = ["create_app"]
