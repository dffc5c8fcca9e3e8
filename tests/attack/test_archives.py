"""Archives as an attacker or a bad disk would have them."""

from collections.abc import Callable
from pathlib import Path

from tests import bombs

Count = Callable[[int, int], int]

_MEMORY = 24  # megabytes: the bounds in the code, and what decompressors take


def test_bombs_of_every_kind_are_refused_for_little_memory(tmp_path: Path, count: Count) -> None:
    size = count(24, 2000)
    made = bombs.write_all(tmp_path / "in", size)
    outcomes = dict(zip(made, bombs.costs([*made.values()], tmp_path / "out"), strict=True))
    for name, cost in outcomes.items():
        packed = made[name].stat().st_size
        print(
            f"{name}: {packed / 1e3:,.1f} KB for {size} MiB, {cost.memory:.1f} MB of memory, "
            f"{cost.seconds:.2f} s, {cost.said}"
        )
    assert [name for name, cost in outcomes.items() if not cost.said.startswith("refused: ")] == []
    assert [name for name, cost in outcomes.items() if cost.memory > _MEMORY] == []
    assert list((tmp_path / "out").iterdir()) == []
