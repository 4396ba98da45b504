"""Our numbers beside those of other people's packages."""
