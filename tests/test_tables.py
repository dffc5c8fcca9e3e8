import ast
import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kinoflow.config import Params
from kinoflow.data import clips, tables
from kinoflow.data.clips import ClipStore
from kinoflow.data.tables import Schema
from kinoflow.reports import metrics
from kinoflow.workspace import Workspace
from stages import catalog as stage
from stages import duplicates, leaks, split
from tests.conftest import ROOT

# what pandas, a CSV reader or a spreadsheet might take for something else than text
HOSTILE = (
    *("NA", "None", "nan", "NaN", "null", "NULL", "n/a", "N/A", "#N/A", "<NA>", "-nan", ""),
    *("True", "false", "1e3", "007", "-0", "0x1f", "1_000", "inf", "2024-01-01", "1,5", "1.0"),
    *('"', '""', 'a"b', "'a'", "a,b", ",", ";", "a\\b", " a", "a ", "#a", "=1+1", "@a", "\ufeffa"),
    *("a\rb", "a\nb", "a\r\nb", "a\tb", "\u2028", "é", "e\u0301", "👍🏽"),
    *("%s", "{x}", "p_", "Unnamed: 0"),
)  # fmt: skip

SCHEMAS = {name: value for name, value in vars(tables).items() if isinstance(value, Schema)}


def column(kind: str, rows: int, rng: random.Random) -> pd.Series:
    """Values of a type, the odd ones of it above all."""
    odd = {
        "str": HOSTILE,
        "bool": (True, False),
        "int64": (0, -1, 2**62),
        "Int64": (0, pd.NA, 2**62),
        "float64": (0.1, 1 / 3, 1e-30, np.nan, np.inf, 123456789.123456789),
        "Float64": (0.1, 1 / 3, 1e-30, pd.NA),
    }[kind]
    return pd.Series([rng.choice(odd) for _ in range(rows)], dtype=kind)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_table_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    schema, rng = SCHEMAS[name], random.Random(name)
    kinds = dict(schema.columns)
    if schema.others:
        # as predictions has a column per class, but for what no header can hold
        kinds |= {f"p_{text}": schema.others for text in HOSTILE if "\r" not in text}
    for rows in (0, 1, 200):
        table = pd.DataFrame({key: column(kind, rows, rng) for key, kind in kinds.items()})
        tables.write(table, tmp_path / "table.csv", schema)
        back = tables.read(tmp_path / "table.csv", schema)
        if schema.float_format:
            floats = [key for key, kind in kinds.items() if kind == "float64"]
            fixed = re.fullmatch(r"%\.(\d)f", schema.float_format)
            digits = int(fixed[1]) if fixed else None
            np.testing.assert_allclose(
                back[floats], table[floats].round(digits) if digits else table[floats], rtol=1e-8
            )
            back, table = back.drop(columns=floats), table.drop(columns=floats)
        pd.testing.assert_frame_equal(back, table)
    assert tables.empty(schema).dtypes.to_dict() == dict(
        tables.read(tmp_path / "table.csv", schema)[[*schema.columns]].dtypes
    )


def test_probabilities_come_back_to_the_last_bit(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).dirichlet([0.05] * 3, 500).astype(np.float32)
    table = pd.DataFrame(drawn, columns=["p_NA", "p_1e3", "p_null"])
    table = pd.DataFrame({"video": "v", "label": "NA", "predicted": "1e3"}, table.index).join(table)
    tables.write(table, tmp_path / "p.csv", tables.PREDICTIONS)
    back = tables.read(tmp_path / "p.csv", tables.PREDICTIONS)
    np.testing.assert_array_equal(back[table.columns[3:]].to_numpy(np.float32), drawn)


def from_labels(
    folder: Path, groups: tuple[str, ...], labels: tuple[str, ...], defaults: Params
) -> None:
    """The tables of a work tree in the current folder, from a labels.csv, made by the stages."""
    (Workspace(folder).data).mkdir(parents=True)
    rows = [
        (f"{number}-{take}.avi", labels[number % len(labels)], group)
        for number, group in enumerate(groups)
        for take in range(2)
    ]
    for video, *_ in rows:
        (Workspace(folder).data / video).touch()
    written = pd.DataFrame(rows, columns=["video", "label", "group"])
    (Workspace(folder).labels).write_text(tables.text(written.assign(split=""), tables.LABELS))
    table = stage.labelled(Workspace(folder).data).assign(readable=True)
    table = table.assign(frames=9, fps=25.0, seconds=1.0, width=8, height=8, codec="", bytes=1)
    table = table.assign(md5=table["video"], problem="").astype(tables.CATALOG.columns)
    tables.write(table, Workspace(folder).catalog, tables.CATALOG)
    same = [(*rows[0][::2], *rows[-1][::2], 0.95, False)]
    columns = list(tables.DUPLICATES.columns)
    tables.write(
        pd.DataFrame(same, columns=columns), Workspace(folder).duplicates, tables.DUPLICATES
    )
    params = defaults.split.model_copy(update={"near_duplicates": "warn"})
    divided = split.divide(
        tables.read(Workspace(folder).catalog, tables.CATALOG), params, 7, Workspace(folder).data
    )
    tables.write(divided, Workspace(folder).split, tables.SPLIT)


def test_groups_called_na_or_null_count_like_any_others(
    defaults: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # in the order of the alphabet, as the intervals are drawn
    hostile = ("007", "1e3", "NA", "NULL", "None", "True", "nan", "null")
    results = {}
    for kind, groups in {"hostile": hostile, "ordinary": tuple("ABCDEFGH")}.items():
        from_labels(tmp_path / kind, groups, ("NA", "null"), defaults)
        monkeypatch.chdir(tmp_path / kind)
        table = clips.split_table(Workspace())
        assert set(table["group"]) == set(groups)
        assert set(table["label"]) == {"NA", "null"}
        hits = table["video"].str[0].astype(int).to_numpy() > 2
        found = leaks.judge(tables.read(Workspace().duplicates, tables.DUPLICATES), table)
        tables.write(found, Workspace().leaks, tables.LEAKS)
        again = tables.read(Workspace().leaks, tables.LEAKS)
        assert again[["group", "other_group"]].to_numpy().tolist() == [[groups[0], groups[-1]]]
        results[kind] = metrics.bootstrap_interval(hits, table["group"].to_numpy(), 2000, 7)
    assert results["hostile"] == results["ordinary"]
    assert results["hostile"][0] < 0.5 < results["hostile"][1]


def test_a_clip_without_a_group_is_an_error_and_not_left_out() -> None:
    groups = np.array(["a", None, "b"], dtype=object)
    with pytest.raises(ValueError, match="1 of 3 clips have no group"):
        metrics.bootstrap_interval(np.array([True, False, True]), groups, 10, 0)


def test_no_duplicates_is_a_table_too(defaults: Params, tmp_path: Path) -> None:
    table = tables.empty(tables.CATALOG)
    tables.write(
        duplicates.find(table, ClipStore(tmp_path), defaults.duplicates),
        tmp_path / "d.csv",
        tables.DUPLICATES,
    )
    assert len(tables.read(tmp_path / "d.csv", tables.DUPLICATES)) == 0


def test_all_reading_and_writing_of_csv_goes_through_tables() -> None:
    readers = {"read_csv", "read_table", "genfromtxt", "loadtxt", "fromtxt"}
    writers = {"to_csv", "savetxt", "tofile"}

    def uses(path: Path) -> Iterator[str]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in readers | writers:
                yield node.attr
            elif isinstance(node, ast.Import):
                yield from (name.name for name in node.names if name.name == "csv")
            elif isinstance(node, ast.ImportFrom) and node.module == "csv":
                yield "csv"

    code = ("kinoflow", "stages", "serving", "flows", "benchmarks")
    modules = [path for folder in code for path in sorted((ROOT / folder).rglob("*.py"))]
    found = {path.relative_to(ROOT).as_posix(): {*uses(path)} for path in modules}
    assert {name: used for name, used in found.items() if used} == {
        "kinoflow/data/tables.py": {"csv", "read_csv", "to_csv"},
        # tables for people's spreadsheets, whose cells must be no formulas
        "flows/review.py": {"csv"},
    }, "take tables.read and tables.write, with a Schema"
    assert len(modules) > 50
