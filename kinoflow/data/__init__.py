"""The tables between the stages, and the store of sampled clips."""
