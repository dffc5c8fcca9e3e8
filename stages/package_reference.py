"""Measure the clips that monitoring compares the service's answers with."""

from pathlib import Path

from kinoflow.compress import forms
from kinoflow.data import tables
from kinoflow.data.clips import ClipStore
from kinoflow.monitor import reference
from kinoflow.monitor.answers import HeldOut
from kinoflow.monitor.reference import Clip
from kinoflow.workspace import Workspace

_SIDES = ("val", "test")


def make(workspace: Workspace, folder: Path) -> HeldOut:
    """What a model answers to the clips of val and test that it was not trained on.

    The model is the bundle or the form in `folder`.

    With folds no clip is held out but those of val: the models of the folds, and not this one, were
    tested on the others.
    """
    model = forms.load_any(folder)
    sides = [side for side in _SIDES if side not in model.description.trained_on]
    split = tables.read(workspace.split, tables.SPLIT)
    known = tables.read(workspace.catalog, tables.CATALOG)[["video", "label"]]
    rows = split[split["split"].isin(sides)].merge(known.drop_duplicates("video"), on="video")
    store = ClipStore(workspace.clips)
    columns = [rows.sort_values("video")[name].tolist() for name in ("video", "label", "group")]
    videos = {workspace.data / video: video for video in columns[0]}
    clips = [Clip(workspace.data / video, *about) for video, *about in zip(*columns, strict=True)]
    return reference.make(model, clips, lambda clip: store.read(videos[clip.video]))
