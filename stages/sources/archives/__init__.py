"""Archives that are not trusted: read within limits, and unpacked wholly or not at all."""
