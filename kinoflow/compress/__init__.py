"""A trained model in other forms: for other runtimes, and with smaller weights.

A form is a folder that answers as its bundle does, on a machine that has neither kinoflow nor, but
for the format `keras`, TensorFlow. `kinoflow.compress.exporting` makes one, `forms` loads it.
"""
