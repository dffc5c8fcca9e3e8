"""Style transfer for pictures and video: docs/style.md.

Pictures are float32 RGB in [0, 1] within this package, and uint8 where they are read and written.
Everything is Keras 3 (`keras.ops`), so it runs on TensorFlow, JAX and torch.
"""
