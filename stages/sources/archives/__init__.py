"""Archives from untrusted places: read within limits, and unpacked wholly or not at all."""
