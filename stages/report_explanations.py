"""The parts of the page about single clips: errors, and what the winner looks at."""

from typing import Any

import pandas as pd

from stages.report_inputs import Inputs


def explanations(inputs: Inputs) -> tuple[dict[str, Any] | None, dict[str, pd.DataFrame]]:
    """What the sections show, and their numbers; nothing if the stage explain left nothing."""
    return None, {}
