"""The page: files that the server hands out as they are. Nothing is built, nothing vendored; see web/README.md."""
