from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kinoflow import clips, files
from kinoflow.console import UserError
from kinoflow.params import Params
from kinoflow.video import ClipSpec, sample
from stages import extract
from tests.media import footage, moving_square, write_video

SPEC = ClipSpec(4, 16, 24)


def catalog_of(data: Path) -> pd.DataFrame:
    videos = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.avi"))
    return pd.DataFrame(
        {"video": videos, "md5": [files.md5(data / video) for video in videos], "readable": True}
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return footage(tmp_path / "data", groups=2)


@pytest.fixture
def run(tmp_path: Path, data: Path, defaults: Params):
    def extract_all(spec: ClipSpec = SPEC, table: pd.DataFrame | None = None) -> int:
        table = catalog_of(data) if table is None else table
        store, record = tmp_path / "clips", tmp_path / "clips.csv"
        compute = defaults.compute.model_copy(update={"videos_per_task": 2})
        return extract.extract(table, data, store, record, spec, compute)

    return extract_all


def test_the_store_holds_what_sampling_gives(run, tmp_path: Path, data: Path) -> None:
    assert run() == 8
    for video in catalog_of(data)["video"]:
        stored = np.load(clips.clip_path(tmp_path / "clips", video))
        np.testing.assert_array_equal(stored, sample(data / video, SPEC))
    table = clips.read_table(tmp_path / "clips.csv")
    assert list(table["video"]) == list(catalog_of(data)["video"])
    assert set(table["spec"]) == {clips.describe(SPEC)}


def test_only_new_and_changed_videos_are_decoded(run, tmp_path: Path, data: Path) -> None:
    run()
    assert run() == 0
    for number in range(10):
        write_video(data / "A" / f"new{number}.avi", moving_square(6, seed=number))
    assert run() == 10
    write_video(data / "A" / "new3.avi", moving_square(6, seed=99))
    assert run() == 1
    np.testing.assert_array_equal(
        np.load(tmp_path / "clips" / "A" / "new3.avi.npy"), sample(data / "A" / "new3.avi", SPEC)
    )


def test_another_spec_decodes_all_again(run) -> None:
    run()
    assert run(ClipSpec(4, 16, 32)) == 8


def test_clips_of_removed_videos_go(run, tmp_path: Path, data: Path) -> None:
    run()
    (data / "A" / "v_A_g01_c01.avi").unlink()
    assert run() == 0
    assert not (tmp_path / "clips" / "A" / "v_A_g01_c01.avi.npy").exists()
    assert len(clips.read_table(tmp_path / "clips.csv")) == 7


def test_a_lost_clip_is_made_again(run, tmp_path: Path) -> None:
    run()
    (tmp_path / "clips" / "A" / "v_A_g01_c01.avi.npy").unlink()
    assert run() == 1


def test_after_a_kill_only_the_unrecorded_are_repeated(run, tmp_path: Path) -> None:
    run()
    record = tmp_path / "clips.csv"
    clips.write_table(clips.read_table(record).iloc[:5], record)
    half = tmp_path / "clips" / "A" / ".partial-1-x.npy"
    half.write_bytes(b"half a clip")
    assert run() == 3
    assert not half.exists()


def test_what_was_done_before_a_failure_is_kept(run, tmp_path: Path, data: Path) -> None:
    table = catalog_of(data)
    (data / "B" / "v_B_g02_c02.avi").write_bytes(b"spoilt meanwhile")
    with pytest.raises(UserError, match=r"1 videos no longer decode.*v_B_g02_c02\.avi"):
        run(table=table)
    assert len(clips.read_table(tmp_path / "clips.csv")) == 7
    write_video(data / "B" / "v_B_g02_c02.avi", moving_square(6))
    assert run() == 1


def test_a_running_dask_cluster_gives_the_same_bytes(
    run, tmp_path: Path, data: Path, defaults: Params
) -> None:
    from distributed import LocalCluster

    run()
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, processes=False
    ) as cluster:
        compute = defaults.compute.model_copy(update={"dask_address": cluster.scheduler_address})
        store, record = tmp_path / "clips2", tmp_path / "clips2.csv"
        table = catalog_of(data)
        assert extract.extract(table, data, store, record, SPEC, compute) == 8
    assert files.folder_md5(tmp_path / "clips") == files.folder_md5(tmp_path / "clips2")


def test_a_scheduler_that_does_not_answer_is_named(
    tmp_path: Path, data: Path, defaults: Params
) -> None:
    compute = defaults.compute.model_copy(update={"dask_address": "tcp://127.0.0.1:9"})
    with pytest.raises(UserError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        extract.extract(
            catalog_of(data), data, tmp_path / "clips", tmp_path / "c.csv", SPEC, compute
        )
