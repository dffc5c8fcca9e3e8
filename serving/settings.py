"""What params.yaml said about serving when the Bento was packed."""

from dataclasses import dataclass
from pathlib import Path

from kinoflow.system import files

# of the Bento's code: serving.json and bundle/ lie there, beside serving/ and kinoflow/
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """The section `serving` of params.yaml, as far as the running service needs it."""

    top_k: int = 3
    max_upload_mb: float = 200
    timeout_s: float = 60
    max_concurrency: int = 8
    memory_mb: int = 2048
    decoders: int = 0  # 0: as many as there are cores and memory for


def load(path: Path = ROOT / "serving.json") -> Settings:
    """Read serving.json; outside a Bento there is none, and the defaults hold."""
    return Settings(**files.read_json(path)) if path.exists() else Settings()


# BentoML's decorators want their values at import
SETTINGS = load()
