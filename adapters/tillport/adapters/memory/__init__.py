"""Everything that Tillport needs, in this process's memory: for tests, for trying things out, and as the reference."""
