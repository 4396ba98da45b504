"""What is stored -> what people read: runs, series, columns as JSON or Arrow, live updates."""
