"""The stages of `make style`, on small films, and what they are made of."""

from pathlib import Path, PurePath

import cv2
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from kinoflow import config
from kinoflow.config import Params
from kinoflow.data import tables
from kinoflow.style import settings
from kinoflow.style.cyclegan.store import SOURCES, Store
from kinoflow.style.settings import DOMAINS, Style
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from stages import dependencies, style_domains, style_frames
from stages.sources import looks, synthetic
from stages.sources.synthetic import SyntheticVideo
from tests.conftest import ROOT, RunStage

PIPELINE = YAML(typ="safe").load(ROOT / "style" / "dvc.yaml")["stages"]
FILMS = {"classes": 2, "groups": 5, "clips_per_group": 1, "width": 48, "height": 36}
TINY = {
    "filters": 2, "blocks": 1, "halvings": 1, "discriminator_filters": 2, "patch": 16, "epochs": 1,
    "steps": 2, "batch_size": 2, "crop": 16, "pool": 2, "temporal": 1.0,
}  # fmt: skip


def write_params(folder: Path, style: dict | None = None, synthetic_films: dict = FILMS) -> Params:
    values = YAML(typ="safe").load(ROOT / "params.yaml")
    values["dataset"]["synthetic"] = synthetic_films
    values["style"] |= {"height": 32, "width": 32, "moments": 2, "run": 4} | (style or {})
    values["style"]["cyclegan"] = TINY
    YAML().dump(values, folder / "params.yaml")
    return config.load(folder / "params.yaml")


def listed(folder: Path, style: dict | None = None) -> pd.DataFrame:
    params = write_params(folder, style)
    workspace = Workspace(folder)
    return style_domains.domains(workspace, params, style_of(params))


def style_of(params: Params) -> Style:
    return settings.of(params.style, Path("params.yaml"))


def film(seed: int = 7) -> SyntheticVideo:
    return SyntheticVideo(seed, 0, 1, 1, 80, 60)


def test_the_section_in_params_is_valid(defaults: Params) -> None:
    assert style_of(defaults).paired


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_lists_the_code_that_it_imports(stage: str) -> None:
    code = [each for each in PIPELINE[stage]["deps"] if dependencies.is_code(each)]
    assert code == dependencies.code(stage, ROOT), "run `make deps`"


# === Looks ===


def test_the_main_pipeline_waits_for_no_stage_of_style() -> None:
    main = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].values()
    needed = {PurePath(each) for entry in main for each in entry.get("do", entry)["deps"]}
    made = {
        PurePath(each if isinstance(each, str) else next(iter(each)))
        for entry in PIPELINE.values()
        for kind in ("outs", "plots", "metrics")
        for each in entry.get(kind, ())
    }
    assert made
    # a folder that is needed is needed with all that any stage puts into it
    for out in made:
        assert not needed & {out, *out.parents}
        assert not [each for each in needed if out in each.parents]


def test_looks_are_of_the_same_world() -> None:
    drawn = looks.render(film(), looks.LOOKS)
    assert np.array_equal(drawn["plain"], synthetic.render(film()))
    shapes = {each.shape for each in drawn.values()}
    assert shapes == {drawn["plain"].shape}
    assert drawn["night"].mean() < drawn["plain"].mean() < drawn["pencil"].mean()
    # lines of the drawing lie where colours meet
    grey = cv2.cvtColor(drawn["plain"][9], cv2.COLOR_RGB2GRAY)
    meeting = cv2.dilate(cv2.Canny(grey, 60, 160), np.ones((5, 5), np.uint8)) > 0
    dark = drawn["pencil"][9].mean(axis=-1) < 120
    assert dark.any()
    assert meeting[dark].mean() > 0.8


def test_a_drawing_shows_neither_light_nor_grain() -> None:
    first, second = list(synthetic.exposures(film()))[:2]
    lit = synthetic.Exposure(first.world, 2 * first.light, second.grain)
    assert np.array_equal(looks.pencil(first), looks.pencil(lit))
    assert not np.array_equal(looks.plain(first), looks.plain(lit))
    assert looks.night(lit).mean() > looks.night(first).mean()


# === Which videos and pictures, on which side ===


def test_no_recording_is_on_two_sides_and_none_is_trained_on_in_both_looks(tmp_path: Path) -> None:
    table = listed(tmp_path)
    assert (table.groupby("group")["split"].nunique() == 1).all()
    training = table[table["split"] == "train"]
    a, b = (set(training.loc[training["domain"] == name, "group"]) for name in DOMAINS)
    assert a
    assert b
    assert not a & b
    for side in ("val", "test"):
        rows = table[table["split"] == side]
        held = [list(rows.loc[rows["domain"] == name, "source"]) for name in DOMAINS]
        assert held[0] == held[1]
        assert held[0]


def pictures_in(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture = np.full((40, 50, 3), 20 * number, np.uint8)
        cv2.imwrite(str(folder / name), picture)


def test_two_folders_of_pictures_and_videos_are_two_domains(tmp_path: Path) -> None:
    pictures_in(tmp_path / "a", [f"day{day}/{n}.png" for day in range(4) for n in range(2)])
    pictures_in(tmp_path / "b", ["1.jpg", "2.jpg", ".hidden.jpg"])
    (tmp_path / "b" / "notes.txt").write_text("no picture")
    synthetic.write(film(), tmp_path / "b" / "v_Night_g01_c01.avi")
    table = listed(tmp_path, {"a": {"folder": "a"}, "b": {"folder": "b"}})
    a, b = (table[table["domain"] == name] for name in DOMAINS)
    assert (a.groupby("group")["split"].nunique() == 1).all()
    assert set(a["group"]) == {"day0", "day1", "day2", "day3"}
    assert len(a) == 8
    assert set(b["group"]) == {"1", "2", "v_Night_g01"}
    assert set(b["split"]) == {"train", "val", "test"}


def test_the_frames_of_folders_are_taken(tmp_path: Path) -> None:
    pictures_in(tmp_path / "a", [f"{n}.png" for n in range(4)])
    for number in range(4):
        (tmp_path / "b").mkdir(exist_ok=True)
        synthetic.write(film(number), tmp_path / "b" / f"{number}.avi")
    folders = {"a": {"folder": "a"}, "b": {"folder": "b"}}
    table, params = listed(tmp_path, folders), config.load(tmp_path / "params.yaml")
    out = tmp_path / "frames"
    out.mkdir()
    style_frames.take(table, params, style_of(params), out)
    store = Store(out)
    still, moving = (store.moments(name).pairs for name in DOMAINS)
    assert still.shape == (2, 2, 32, 32, 3)
    assert moving.shape == (4, 2, 32, 32, 3)
    assert np.array_equal(still[:, 0], still[:, 1])
    assert not np.array_equal(moving[:, 0], moving[:, 1])
    assert store.runs("b", "test").frames.shape == (1, 4, 32, 32, 3)


def test_a_picture_that_cannot_be_read_is_told_in_a_line(tmp_path: Path) -> None:
    pictures_in(tmp_path / "a", [f"{n}.png" for n in range(3)])
    pictures_in(tmp_path / "b", [f"{n}.png" for n in range(3)])
    (tmp_path / "a" / "1.png").write_bytes(b"no picture")
    table = listed(tmp_path, {"a": {"folder": "a"}, "b": {"folder": "b"}})
    params = config.load(tmp_path / "params.yaml")
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="1.png"):
        style_frames.take(table, params, style_of(params), tmp_path / "out")


def cataloged(folder: Path) -> None:
    """A catalog and a split of day and night recordings."""
    names = [f"{time}/{n}.avi" for time in ("day", "night") for n in range(6)]
    row: dict[str, object] = dict.fromkeys(tables.CATALOG.columns, "")
    row |= {"frames": 9, "fps": 25.0, "seconds": 1.0, "width": 8, "height": 8, "bytes": 9}
    sides = ["train", "train", "train", "train", "val", "test"] * 2
    table = pd.DataFrame(
        [row | {"video": each, "label": "Walk", "group": each, "readable": True} for each in names]
    )
    table.loc[1, "readable"] = False
    tables.write(table, folder / "work" / "catalog.csv", tables.CATALOG)
    split = pd.DataFrame({"video": names, "split": sides, "group": names})
    tables.write(split.drop(index=1), folder / "work" / "split.csv", tables.SPLIT)


def test_two_filters_on_the_catalog_are_two_domains(tmp_path: Path) -> None:
    cataloged(tmp_path)
    filters = {"a": {"where": {"video": "day/*", "label": ["Run", "Walk"]}},
               "b": {"where": {"video": "night/*"}}}  # fmt: skip
    table = listed(tmp_path, filters)
    assert [*table["domain"]].count("a") == 5  # one is not readable
    assert [*table["domain"]].count("b") == 6
    held = table[table["split"] == "test"]
    assert [Path(source).name for source in held["source"]] == ["5.avi", "5.avi"]


@pytest.mark.parametrize(
    ("style", "told"),
    [
        ({"a": {"where": {"camera": "A"}}}, "no column 'camera'; there are video, label"),
        ({"a": {"where": {"label": "Swim"}}}, "lets no video of the catalog through"),
        ({"a": {"folder": "nowhere"}}, "nowhere is no folder"),
        ({"a": {"folder": "empty"}}, "holds no videos and no pictures"),
        ({"a": {"folder": "two"}}, "a domain takes at least three, and has 2"),
    ],
)
def test_a_domain_that_cannot_be_is_told_in_a_line(style: dict, told: str, tmp_path: Path) -> None:
    cataloged(tmp_path)
    (tmp_path / "empty").mkdir()
    pictures_in(tmp_path / "two", ["1.png", "2.png"])
    with pytest.raises(UserError, match=told):
        listed(tmp_path, style)


# === All stages ===


def test_make_style_from_films_to_scores(tmp_path: Path, run_stage: RunStage) -> None:
    params = write_params(tmp_path)
    for stage in ("style_domains", *PIPELINE):
        done = run_stage(tmp_path, stage)
        assert done.returncode == 0, done.stderr
    sources = tables.read(tmp_path / "work" / "style" / "sources.csv", SOURCES)
    for name in ("frames", "temporal"):
        held = {path.name for path in (Workspace(tmp_path).style_models / name).iterdir()}
        assert held == {"a_to_b.keras", "b_to_a.keras", "cyclegan.json", "history.csv"}
    out = tmp_path / "reports" / "style" / "cyclegan"
    metrics = files.read_json(out / "metrics.json")
    assert metrics["paired"]
    tested = sources.loc[sources["split"] == "test", "group"].nunique()
    for direction in ("a_to_b", "b_to_a"):
        scores = metrics[direction]
        assert scores["recordings"] == tested
        assert {"identity", "colour_transfer", "frames", "temporal"} <= scores.keys()
        # a look is not the other, and what is unchanged flickers as the camera does
        assert scores["identity"]["similarity"] < 0.95
        assert 0 < scores["identity"]["warping_error"] < 0.05
        for name in ("frames", "temporal"):
            assert scores[name]["low"] <= scores[name]["similarity"] <= scores[name]["high"]
            better = max(scores[each]["similarity"] for each in ("identity", "colour_transfer"))
            ahead = scores[name]["similarity"] - better
            assert scores[name]["ahead"] == pytest.approx(ahead, abs=2e-4)
            assert scores[name]["round_trip"] > 0
        assert (out / f"{direction}.png").is_file()
    ways = {path.stem.rpartition(".")[2] for path in out.glob("*.mp4")}
    assert ways == {"before", "colour transfer", "cyclegan", "cyclegan with temporal loss", "truth"}
    timing = files.read_json(out / "timing.json")
    assert timing["frames_per_second"] > 0
    assert all(timing["train_seconds"][name] > 0 for name in ("frames", "temporal"))
    # the truth of a frame is the same frame in the other look
    store, films = Store(tmp_path / "work" / "style" / "frames"), style_films(params)
    runs = store.runs("b", "test")
    whole = looks.render(films[runs.sources[0]], ["pencil"])["pencil"]
    first = cv2.resize(whole[runs.starts[0]], (32, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(first.astype(int) - runs.frames[0, 0]).max() <= 1
    assert store.runs("a", "test").sources == runs.sources
    again = run_stage(tmp_path, "style_train")
    assert "frames kept, temporal kept" in again.stdout
    kept = files.read_json(tmp_path / "work" / "style" / "timing.json")
    assert kept["train_seconds"] == timing["train_seconds"]


def style_films(params: Params) -> dict[str, SyntheticVideo]:
    return {each.name: each for each in synthetic.videos_of(params.dataset, params.seed)}
