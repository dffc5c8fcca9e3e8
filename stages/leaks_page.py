"""The page that the stage `leaks` writes."""

from collections.abc import Sequence

import pandas as pd

from kinoflow.reports import page

Strips = tuple[bytes, bytes]  # JPEG files: frames of the one video and of the other


def render(
    found: pd.DataFrame, numbers: dict[str, float], strips: Sequence[Strips], random_splits: int
) -> str:
    """The page as HTML.

    Args:
        found: near-duplicates with their verdicts, as `stages.leaks.judge` gives them.
        numbers: the accuracies of the cheap model, as `stages.leaks.score_cheap_model` gives them.
        strips: frames of the first pairs in `found`; only these pairs are shown.
        random_splits: how many random splits the model was fitted to.
    """
    pairs = found.head(len(strips)).to_dict("records")
    return page.render(
        "leaks.html",
        points=100 * (numbers["random"] - numbers["grouped"]),
        splits=[
            ("this one", f"{numbers['grouped']:.3f}", ""),
            (
                f"random, mean of {random_splits}",
                f"{numbers['random']:.3f}",
                f"{numbers['random_lowest']:.3f} to {numbers['random_highest']:.3f}",
            ),
            ("always the commonest class", f"{numbers['chance']:.3f}", ""),
        ],
        total=len(found),
        leaking=int((found["verdict"] == "leaks").sum()),
        pairs=[{**pair, "strips": shown} for pair, shown in zip(pairs, strips, strict=True)],
    )
