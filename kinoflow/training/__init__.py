"""Fitting a model to clips: batches, augmentation, checkpoints."""
