"""`trackio_server.py PORT`: Trackio's own dashboard over the data in TRACKIO_DIR, on loopback, until it is ended."""

import importlib
import sys

importlib.import_module("trackio").show(
    open_browser=False, block_thread=True, host="127.0.0.1", server_port=int(sys.argv[1])
)
