"""Run by Alembic, which gives its configuration; the connection comes from `agent.store.migrate`."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    include_object=context.config.attributes["include_object"],
)
with context.begin_transaction():
    context.run_migrations()
