"""Tables for a terminal: aligned, with units, and the numbers of the evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from gapkit import Evaluation
from gapkit.cli.report import columns, counted, evaluation_table, plain
from gapkit.model.evaluation import Comparison


def comparison(*errors: float) -> Comparison:
    return Comparison(np.zeros(len(errors)), np.array(errors))


def test_table() -> None:
    a = Evaluation(2, 64, energy=comparison(0.001, -0.003), forces=comparison(0.3, 0.4), stress=comparison(12.5))
    b = Evaluation(1, 3, energy=comparison(0.0105))
    total = Evaluation(3, 67, a.energy, a.forces, a.stress, by_group={"bulk": a, "a long name": b})
    assert evaluation_table(total).splitlines() == [
        "                               energy (meV/atom)     forces (eV/Å)      stress (GPa)",
        "config_type  frames  atoms         MAE      RMSE       MAE    RMSE       MAE    RMSE",
        "------------------------------------------------------------------------------------",
        "bulk              2     64       2.000     2.236    0.3500  0.3536    12.500  12.500",
        "a long name       1      3      10.500    10.500         -       -         -       -",
        "------------------------------------------------------------------------------------",
        "total             3     67       2.000     2.236    0.3500  0.3536    12.500  12.500",
    ]


def test_of_very_many_config_types_the_worst_are_shown() -> None:
    def table(n: int) -> list[str]:
        parts = {f"frame {k:03}": Evaluation(1, 2, forces=comparison(0.001 * ((7 * k) % n))) for k in range(n)}
        return evaluation_table(Evaluation(n, 2 * n, forces=comparison(0.1), by_group=parts)).splitlines()

    assert len(table(40)) == 40 + 5
    lines = table(97)
    assert len(lines) == 20 + 6
    assert lines[-1] == "77 more config_types have smaller errors of forces; gapkit evaluate --json lists all"
    shown = [line.split()[1] for line in lines[3:23]]
    assert shown == sorted(shown)
    assert {(7 * int(k)) % 97 for k in shown} == set(range(77, 97))


@pytest.mark.parametrize("kind", ["energy", "forces", "stress"])
def test_headings_stand_over_their_columns(kind: str) -> None:
    """Whatever the width of the numbers, and of the heading."""
    for size in (1e-3, 1.0, 1e6):
        part = Evaluation(1, 1, **{kind: comparison(size)})
        lines = evaluation_table(Evaluation(1, 1, **{kind: comparison(size)}, by_group={"g": part})).splitlines()
        assert len(lines[0]) == len(lines[1]) == len(lines[2]) == len(lines[-1])
        assert kind in lines[0]
        assert lines[0].index(kind) >= lines[1].index("atoms") + len("atoms")


def test_small_helpers() -> None:
    assert columns([("a", "b", "c"), ("long", "1", "23")], left=2) == ["a     b   c", "long  1  23"]
    assert [counted(n, "frame") for n in (0, 1, 2)] == ["0 frames", "1 frame", "2 frames"]
    assert plain({"function": "poly", "r0": 5.0, "d": None}) == "(function poly, r0 5)"
    assert plain(["Si", "O"]) == "Si O"
