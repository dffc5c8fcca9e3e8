"""What a run has found, in the formats of other tools."""
