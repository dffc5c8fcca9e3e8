import zipfile
from pathlib import Path
from typing import Any

import pytest

from kinoflow import bundle
from kinoflow.bundle import Description
from kinoflow.models import build
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.training import export
from kinoflow.video.spec import ClipSpec

CLIP = ClipSpec(4, 16, 16)
OPTIONS = {"filters": [4], "pools": [2]}
DESCRIPTION = Description(
    name="voting",
    labels=("A", "B"),
    clip=CLIP,
    frames=2,
    views=3,
    candidate={"model": "frame_voting", "options": OPTIONS},
    seed=7,
    data="5f",
    versions={"keras": "3"},
    metrics={"epoch": 2, "val_loss": 0.25},
)


def save(folder: Path) -> Path:
    model = build("frame_voting", stored_clip=CLIP, model_clip=CLIP, classes=2, options=OPTIONS)
    export.save(folder, model, DESCRIPTION, "epoch\n1\n")
    return folder


def test_a_bundle_is_read_as_it_was_written(tmp_path: Path) -> None:
    read = bundle.load(save(tmp_path / "m"))
    assert read.description == DESCRIPTION
    assert read.labels == ("A", "B")
    assert read.clip == CLIP
    assert (tmp_path / "m" / bundle.HISTORY).read_text() == "epoch\n1\n"


# keys that the first version did not write
LATER = ("flip", "weights", "temperature", "trained_on", "refit", "seconds")


def test_the_keys_of_bundle_json_stay_as_they_are(tmp_path: Path) -> None:
    # bundles that are served were written by earlier versions
    written = files.read_json(save(tmp_path / "m") / bundle.DESCRIPTION)
    assert list(written) == [
        *("name", "labels", "clip", "frames", "views", "candidate", "seed", "data"),
        *("versions", "metrics", "flip", "weights", "temperature", "trained_on", "refit"),
        "seconds",
    ]
    assert written["clip"] == {
        **{"frames": 4, "height": 16, "width": 16},
        **{"sampling": "uniform", "padding": "repeat"},
    }
    assert '"epoch": 2,' in (tmp_path / "m" / bundle.DESCRIPTION).read_text()


def test_a_bundle_of_earlier_versions_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "m") / bundle.DESCRIPTION
    written = files.read_json(path)
    files.write_json(path, {k: v for k, v in written.items() if k not in LATER})
    assert bundle.load(tmp_path / "m").description == DESCRIPTION


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lables": []}, "bundle.json: unknown key lables: did you mean labels?"),
        ({"views": "many"}, "bundle.json: views: .*got 'many'"),
        ({"clip": {"frames": 4}}, "bundle.json: clip.height: "),
    ],
)
def test_a_description_of_another_kind_is_named(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "m") / bundle.DESCRIPTION
    files.write_json(path, files.read_json(path) | change)
    with pytest.raises(UserError, match=says):
        bundle.load(tmp_path / "m")


def test_a_folder_without_a_bundle_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no trained model: train one with `make repro`"):
        bundle.load(tmp_path)


def test_a_model_is_saved_without_its_date_and_addresses(tmp_path: Path) -> None:
    path = save(tmp_path / "m") / bundle.MODEL
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == sorted(archive.namelist())
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert "date_saved" not in archive.read("metadata.json").decode()


def test_shared_objects_are_numbered_in_the_order_in_which_they_appear() -> None:
    config = '[{"shared_object_id": 140}, {"shared_object_id": 99}, {"shared_object_id": 140}]'
    numbered = '[{"shared_object_id": 1}, {"shared_object_id": 2}, {"shared_object_id": 1}]'
    assert export.renumbered(config) == numbered
