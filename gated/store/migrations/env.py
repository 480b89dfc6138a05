"""Run by Alembic within `gated.store.migrate.upgrade`, which hands over a connection in a transaction."""

from alembic import context

from gated.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters most things only by rebuilding the table
)
with context.begin_transaction():
    context.run_migrations()
