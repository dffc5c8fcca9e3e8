"""The settings and the model card that were packed into the Bento, and the folder of its files."""

from pathlib import Path

from kinoflow.reports.card import Card
from kinoflow.reports.records import ServiceSettings
from kinoflow.system.errors import UserError

# the folder `src` of the Bento: serving.json and bundle/ lie there, beside serving/ and kinoflow/
ROOT = Path(__file__).resolve().parent.parent
# the network for POST /style; not every Bento has one
STYLE = ROOT / "style.keras"


def load(path: Path = ROOT / "serving.json") -> ServiceSettings:
    """Read serving.json. Raises UserError outside a Bento, where there is none."""
    try:
        return ServiceSettings.read(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing: the service runs from a Bento, `make serve`") from None


def card(path: Path = ROOT / "card.json") -> Card:
    """Read card.json. Raises UserError for a damaged one, and FileNotFoundError outside a Bento."""
    return Card.read(path)
