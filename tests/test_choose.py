"""Which form of the winner is packaged, and settings that cannot be meant."""

from pathlib import Path
from typing import Any

import pytest

from kinoflow.compress import settings
from kinoflow.compress.settings import Compress
from kinoflow.config import Params
from kinoflow.reports.records import Choice
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from stages.choose import Option, choose
from stages.select import select, shrinking
from tests.documents import candidate, scores

FORMS: dict[str, Any] = {"a": {"format": "openvino"}}


def option(name: str = "original", ms: float = 10, mb: float = 4, lost: float = 0) -> Option:
    """A form that is `lost` less accurate, give or take a point."""
    exact = name == "original"
    return Option(name, ms, mb, -lost, 0 if exact else -lost - 0.01)


def chosen(defaults: Params, *options: Option, wanted: str = "fastest", **limits: float) -> Choice:
    section = Compress.model_validate({"enabled": True, "choose": wanted, "forms": FORMS})
    return choose("lrcn", [*options], section, defaults.selection.model_copy(update=limits))


def test_the_fastest_form_that_loses_little_is_packaged(defaults: Params) -> None:
    found = chosen(
        defaults,
        option(),
        option("half", ms=4, mb=2),
        option("fast", ms=3, mb=3),
        option("worse", ms=1, mb=1, lost=0.04),
    )
    assert found.form == "fast"
    assert "fast is the fastest, with 3.0 ms a clip and 3.00 MB" in found.reason
    assert "worse may be 5.0 points less accurate on validation clips, over 2.0" in found.reason


def test_the_smallest_can_be_preferred(defaults: Params) -> None:
    options = option(), option("half", ms=4, mb=2), option("fast", ms=3, mb=3)
    assert chosen(defaults, *options, wanted="smallest").form == "half"


def test_times_that_are_level_do_not_decide(defaults: Params) -> None:
    options = option(), option("exact", ms=3.1), option("int8", ms=3.0, lost=0.005)
    assert chosen(defaults, *options).form == "exact"


def test_the_original_stays_if_no_form_is_better_and_allowed(defaults: Params) -> None:
    found = chosen(defaults, option(), option("slow", ms=20), option("worse", ms=1, lost=0.04))
    assert found.form is None
    assert found.candidate == "lrcn"


def test_a_form_keeps_limits_that_the_original_breaks(defaults: Params) -> None:
    options = option(), option("fast", ms=4)
    assert chosen(defaults, *options, max_latency_ms=5).form == "fast"
    with pytest.raises(UserError) as refused:
        chosen(defaults, *options, max_latency_ms=3)
    assert str(refused.value) == (
        "no form of lrcn keeps the limits: original takes 10 ms a clip, over 3; "
        "fast takes 4 ms a clip, over 3"
    )


def test_limits_do_not_refuse_candidates_whose_forms_may_keep_them(defaults: Params) -> None:
    limited = defaults.selection.model_copy(update={"max_latency_ms": 20.0})
    reports = {
        "slow": candidate(val=scores(0.9), parameters=10, latency_ms=50.0),
        "fast": candidate(val=scores(0.8), parameters=10, latency_ms=10.0),
    }
    assert select(reports, limited).winner == "fast"
    assert select(reports, limited, {"slow"}).winner == "slow"


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ({"enabled": True, "forms": FORMS}, {"frame_voting", "lrcn"}),
        ({"enabled": True, "forms": FORMS, "candidates": ["lrcn"]}, {"lrcn"}),
        ({"enabled": False, "forms": FORMS}, set()),
        ({"enabled": True, "forms": FORMS, "choose": "none"}, set()),
    ],
)
def test_whose_forms_may_be_packaged(
    defaults: Params, section: dict[str, Any], names: set[str]
) -> None:
    kept = {name: defaults.candidates[name] for name in ("frame_voting", "lrcn")}
    params = defaults.model_copy(update={"compress": section, "candidates": kept})
    assert {*shrinking(params, Workspace())} == names


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"enabled": True}, "compress: it is enabled and forms is empty: name at least one"),
        (
            {"forms": {"a": {"format": "openvine"}}},
            "compress.forms.a.format: no format 'openvine'; there are keras, openvino, onnx, "
            "litert: did you mean openvino?",
        ),
        (
            {"forms": {"a": {"format": "litert", "precision": "bfloat16"}}},
            "compress.forms.a: litert has no precision bfloat16; there are float32, float16, int8",
        ),
        (
            {"forms": {"original": {"format": "onnx"}}},
            "compress: no form can be called original: the bundle itself is",
        ),
        (
            {"forms": {"a": {"format": "onnx", "prune": 0.5, "sparsity": 0.5}}},
            "compress.forms.a: prune and sparsity exclude each other: make two forms",
        ),
        ({"margin": 2}, "compress.margin: Input should be less than 1, got 2"),
    ],
)
def test_mistakes_in_the_section_are_told_in_a_line(section: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as refused:
        settings.of(section, Path("params.yaml"))
    assert line in str(refused.value)
