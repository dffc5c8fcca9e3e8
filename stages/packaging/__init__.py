"""The steps of `stages.package`: assemble what a Bento is built from, build it, check it."""
