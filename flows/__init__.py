"""The Prefect flows around the pipeline. They reach its stages through processes alone."""

from kinoflow import console

# Prefect would report its own import, so this cannot wait for a `main`
console.quiet()
