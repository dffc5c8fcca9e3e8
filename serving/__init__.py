"""The service that a Bento holds, and the command that serves a Bento: `python -m serving`."""
