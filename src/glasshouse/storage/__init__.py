"""PostgreSQL, object stores and durable files."""
