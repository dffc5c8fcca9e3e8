"""The tables between the stages, the names in them, and the clip store."""
