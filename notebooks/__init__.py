"""Notebooks that go through the pipeline by hand."""
