"""One list of checks of a whole service, over HTTP and with the SDK, wherever it runs and whatever it is made of."""
