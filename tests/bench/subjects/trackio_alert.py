"""`trackio_alert.py trackio FOLDER …`: by turns calls Trackio's own alert() with a webhook; answers the time of the call."""

import sys
import time
from typing import Any

from loggers import Trackio
from pipe import serve

logger = Trackio(sys.argv[2], "")


def handle(request: dict[str, Any]) -> Any:
    """{"do": "open"} · {"do": "alert", "name", "url"} -> seconds of the epoch, and time enough for its thread to send."""
    if request["do"] == "open":
        logger.open("alerts")
        return True
    sent = time.time()
    logger.trackio.alert(title=f"trackio {request['name']}", text="loss is NaN", webhook_url=request["url"])
    time.sleep(0.5)
    return sent


serve(handle)
