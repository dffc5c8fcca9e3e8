"""Explanations of a model's answer: where in a clip, and when, it found its evidence.

`kinoflow.explain.methods.explain` explains the answer of a bundle to a clip; docs/explaining.md
says which method suits which architecture.
"""
