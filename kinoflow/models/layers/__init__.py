"""What several models share: layers of our own, and functions that stack layers.

Models import the modules themselves, so that each depends on no more of them than it uses.
"""
