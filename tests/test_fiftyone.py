"""The dataset that FiftyOne loads, as its JSON files have it."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from kinoflow import cli
from kinoflow.data import tables
from kinoflow.export.fiftyone import export
from kinoflow.reports.records import Timing
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from tests import documents
from tests.conftest import params_text

# what labels and names of videos may hold
RUN, WALK = 'run & "jump" <b>', "ليمشي"
VIDEOS = {"a/1.avi": RUN, "a/2.avi": WALK, "b/3 <i>.avi": RUN, "b/broken.avi": WALK}
CLIPS = "file,video,why,label,predicted,method,s1,s2,s3,s4,s5,s6,s7,s8\n"


def catalog() -> pd.DataFrame:
    """The videos, of 10 frames each; the last one cannot be read."""
    readable = [True, True, True, False]
    table = pd.DataFrame({"video": VIDEOS.keys(), "label": VIDEOS.values(), "readable": readable})
    table["group"] = table["video"].str[0]
    table["problem"] = ""
    for name, value in (("frames", 10), ("width", 64), ("height", 48), ("fps", 25), ("seconds", 1)):
        table[name] = pd.Series([value] * 3 + [pd.NA])
    return table.assign(codec="mpeg4", bytes=1000, md5="0").astype(tables.CATALOG.columns)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A work tree with one evaluated candidate, tested on one video; another is in no list."""
    made = Workspace(tmp_path)
    params = YAML(typ="safe").load(params_text())
    params["candidates"] = {"lr-cn": {"model": "lrcn"}, "later": {"model": "lrcn"}}
    YAML().dump(params, made.params)
    tables.write(catalog(), made.catalog, tables.CATALOG)
    sides = {"video": ["a/1.avi", "b/3 <i>.avi"], "split": ["train", "test"], "group": ["a", "b"]}
    tables.write(pd.DataFrame(sides), made.split, tables.SPLIT)
    answer = {"video": ["b/3 <i>.avi"], "label": [RUN], "predicted": [WALK]}
    answers = pd.DataFrame(answer | {f"p_{RUN}": [0.25], f"p_{WALK}": [0.75]})
    report = made.report("lr-cn")
    tables.write(answers, report / "predictions.csv", tables.PREDICTIONS)
    documents.metrics().write(report / "metrics.json")
    Timing(latency_ms=3.25, train_seconds=60).write(report / "timing.json")
    return made


def samples(folder: Path) -> dict[str, dict[str, Any]]:
    written = files.read_json(folder / "samples.json")["samples"]
    return {Path(sample["filepath"]).name: sample for sample in written}


def test_every_readable_video_is_a_sample_with_what_is_known_of_it(workspace: Workspace) -> None:
    folder = workspace.root / "dataset"
    found = export(workspace, folder)
    assert (found.videos, found.candidates, found.explained) == (3, ("lr-cn",), 0)
    written = samples(folder)
    assert written.keys() == {"1.avi", "2.avi", "3 <i>.avi"}

    tested = written["3 <i>.avi"]
    assert Path(tested["filepath"]) == (workspace.data / "b" / "3 <i>.avi").absolute()
    assert (tested["tags"], tested["split"], tested["recording"]) == (["test"], "test", "b")
    assert tested["ground_truth"] == {"_cls": "Classification", "label": RUN}
    said = tested["predicted_lr-cn"]
    assert (said["_cls"], said["label"], said["confidence"]) == ("Classification", WALK, 0.75)
    info = files.read_json(folder / "metadata.json")["info"]
    assert dict(zip(info["default_classes"], said["probabilities"], strict=True)) == {
        RUN: 0.25,
        WALK: 0.75,
    }
    assert said["logits"] == pytest.approx([-1.38629, -0.28768], abs=1e-5)
    assert tested["metadata"] == {
        "_cls": "VideoMetadata",
        "size_bytes": 1000,
        "mime_type": "video/x-msvideo",
        "frame_width": 64,
        "frame_height": 48,
        "frame_rate": 25.0,
        "total_frame_count": 10,
        "duration": 1.0,
        "encoding_str": "mpeg4",
    }
    assert written["1.avi"]["tags"] == ["train"]
    assert written["2.avi"]["tags"] == []
    assert not any("predicted_lr-cn" in written[name] for name in ("1.avi", "2.avi"))
    # FiftyOne reads the labels of a video's frames from a file of its own
    for sample in written.values():
        assert files.read_json(folder / sample["frames"]) == {"frames": {}}


def test_explanations_are_overlays_and_values_of_segments(workspace: Workspace) -> None:
    row = f"e.mp4,b/3 <i>.avi,error,{WALK},{WALK},gradcam,0.5,-0.25,0,1,0,0,0,2\n"
    files.write_text(workspace.explanations / "clips.csv", CLIPS + row)
    folder = workspace.root / "dataset"
    assert export(workspace, folder).explained == 1
    sample = samples(folder)["3 <i>.avi"]
    overlay = (workspace.explanations / "e.mp4").absolute()
    assert Path(sample["explanation_path"]) == overlay
    assert (sample["explanation_method"], sample["explained_because"]) == ("gradcam", "error")
    segments = sample["explanation"]["detections"]
    assert [one["support"] for one in segments] == [
        *([1, 1], [2, 2], [3, 3], [4, 5], [6, 6], [7, 7], [8, 8], [9, 10])
    ]
    assert [one["value"] for one in segments] == [0.5, -0.25, 0, 1, 0, 0, 0, 2]
    shown = files.read_json(folder / "metadata.json")["info"]["app_config"]["media_fields"]
    assert shown == ["filepath", "explanation_path"]


def test_an_export_replaces_an_earlier_one_and_nothing_else(workspace: Workspace) -> None:
    folder = workspace.root / "dataset"
    export(workspace, folder)
    export(workspace, folder)
    (folder / "mine.txt").touch()
    with pytest.raises(UserError, match=r"dataset holds other files, such as mine\.txt: choose"):
        export(workspace, folder)
    with pytest.raises(UserError, match="params.yaml is a file: choose"):
        export(workspace, workspace.params)


def test_the_command_says_what_it_wrote_and_what_it_lacks(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call() -> object:
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code

    monkeypatch.chdir(workspace.root)
    monkeypatch.setattr(sys, "argv", ["kinoflow", "export", "fiftyone", "-o", "out"])
    assert call() == 0
    assert capsys.readouterr().out == "out: 3 videos, predictions of lr-cn, 0 explanations\n"
    workspace.split.unlink()
    assert call() == 2
    assert capsys.readouterr().err == "error: there is nothing to export yet: run `make repro`\n"
