"""Start a .bento file, and compare its answers with those that evaluation recorded."""

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from kinoflow.system.errors import UserError
from kinoflow.system.supervisor import run_supervised
from stages.package_build import tail

# the answers are float32, and evaluation may have computed them elsewhere
_TOLERANCE = 1e-5
_START_WITHIN_S = 180.0
_ANSWER_WITHIN_S = 600.0


def check(bento: Path, answers: pd.DataFrame, data: Path, *, count: int) -> float:
    """Start a .bento file and send it test videos, which it must answer as evaluation did.

    Args:
        bento: the file.
        answers: what evaluation recorded of the model, as in predictions.csv.
        data: the folder that the paths of its videos are relative to.
        count: how many of the videos to send, spread evenly over the table.

    Returns the largest difference between two probabilities. Raises UserError if it is above
    1e-5, or if the Bento does not start or does not answer.
    """
    rows = np.unique(np.linspace(0, len(answers) - 1, count).round().astype(int))
    worst = 0.0
    with served(bento) as url:
        for _, row in answers.iloc[rows].iterrows():
            answer = pd.Series(_ask(url, data / row["video"])).add_prefix("p_")
            # compared before they are aligned, which would hide a class that only one of them has
            if list(answer.index) != [name for name in row.index if name.startswith("p_")]:
                raise UserError(
                    "the model has other classes than evaluation: run the stage evaluate again"
                )
            difference = float((answer - row[answer.index].astype(float)).abs().max(skipna=False))
            if not difference <= _TOLERANCE:  # true for NaN as well
                raise UserError(
                    f"the Bento answers {row['video']} differently from evaluation: a "
                    f"probability is off by {difference:.2g}, so the Bento was deleted; run the "
                    "stages evaluate and package again"
                )
            worst = max(worst, difference)
    return worst


@contextlib.contextmanager
def served(bento: Path, *options: str) -> Iterator[str]:
    """Serve a .bento file to this machine only; yield the URL once it is ready.

    Args:
        bento: the file.
        *options: further ones of `python -m serving`; without any, no keys are demanded.

    Raises UserError with the last lines that it printed if it does not start.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="kinoflow-check-") as folder:
        command = [
            *(sys.executable, "-m", "serving", "--bento", str(bento), "--port", str(port)),
            # not where the user's own service keeps its state
            *("--state", str(Path(folder) / "state"), "--no-watch"),
            *(options or ("--without-keys",)),
        ]
        log = Path(folder) / "log"
        with (
            log.open("w") as output,
            run_supervised(command, stdout=output, stderr=subprocess.STDOUT) as server,
        ):
            _wait_until_ready(url, server, log)
            yield url


def _wait_until_ready(url: str, server: "subprocess.Popen[str]", log: Path) -> None:
    import httpx

    deadline = time.monotonic() + _START_WITHIN_S
    while server.poll() is None and time.monotonic() < deadline:
        # a server that is still loading accepts the connection and does not answer
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=1, trust_env=False).is_success:
                return
        time.sleep(0.1)
    said = tail(log.read_text(encoding="utf-8", errors="replace"))
    raise UserError(f"the Bento does not start; it said last: {said}")


def _ask(url: str, video: Path) -> dict[str, float]:
    """Send a video; return the probability of each label."""
    import httpx

    with video.open("rb") as file:
        # trust_env=False, so that no proxy of the environment is asked
        answer = httpx.post(
            f"{url}/predict",
            files={"video": (video.name, file)},
            timeout=_ANSWER_WITHIN_S,
            trust_env=False,
        )
    if not answer.is_success:
        raise UserError(f"the Bento refuses {video} with {answer.status_code}: {answer.text}")
    probabilities: dict[str, float] = answer.json()["probabilities"]
    return probabilities
