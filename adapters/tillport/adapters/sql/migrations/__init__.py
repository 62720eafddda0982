"""Alembic migrations of Tillport's tables, shipped in the wheel. `tillport.adapters.sql.migrate` runs them."""
