"""What the server knows, for notebooks: runs, columns, figures, alerts."""
