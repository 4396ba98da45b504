"""The release, in a place of its own so that whoever reports it need not import the package's front."""

__version__ = "0.1.0"
