"""The transactional helpers: one connection, one way to run a unit of work, one module a table group."""
