"""A run -> Parquet files and back; a whole database -> another one."""
