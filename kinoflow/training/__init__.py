"""Fit a model to clips: batches, augmentation, checkpoints."""
