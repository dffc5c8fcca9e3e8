"""What people said about the service's answers.

`python -m flows.feedback` says how many answers were marked as wrong. With `--review` it makes a
folder of the corrected answers whose video was kept, for a person to look at. With
`--accept FOLDER` it copies those that the person keeps into a folder of labelled videos. Nothing is
trained on unseen.
"""

import argparse
from pathlib import Path

from flows import review
from kinoflow import config
from kinoflow.monitor import feedback
from kinoflow.workspace import Workspace, run


def summary(workspace: Workspace, params: config.Params) -> str:
    """How many of the newest answers were marked as wrong, and how many videos can be reviewed."""
    state = feedback.folder(workspace.root, params.serving.state)
    rate = feedback.error_rate(state, params.monitor.answers)
    if rate is None:
        return f"feedback: the service in {state} has answered nothing yet"
    found = feedback.corrections(state)
    kept = sum(correction.footage is not None for correction in found)
    limit = f"the limit is {params.monitor.max_error:.0%}"
    return f"feedback: {rate}; {limit}\n{len(found)} corrections in all, {kept} with their video"


def main(workspace: Workspace) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m flows.feedback",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--review", action="store_true", help="make the folder for review")
    what.add_argument(
        "--accept", type=Path, metavar="FOLDER", help="copy what the reviewer keeps there"
    )
    arguments = parser.parse_args()
    params = config.load(workspace.params)
    if arguments.review:
        count = review.offer(workspace, params)
        print(
            f"feedback: {count} videos to review in {workspace.review}: look at index.html, write "
            f"yes into the column keep of {review.REVIEW}, then run "
            "`python -m flows.feedback --accept FOLDER`"
        )
    elif arguments.accept:
        folder = arguments.accept.expanduser()
        added = review.accept(workspace, folder)
        print(
            f"feedback: {len(added)} videos added to {folder}; a retraining takes them if "
            f"params.yaml has dataset.source: folder and dataset.path: {folder}"
        )
    else:
        print(summary(workspace, params))


if __name__ == "__main__":
    run(main)
