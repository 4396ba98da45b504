"""The revisions of the database's schema, as files that Alembic reads."""
