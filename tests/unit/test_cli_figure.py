"""The parity figure: what is drawn, where it is written, and that it is the same every time."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib import rcParams

from gapkit import ConfigError, Evaluation
from gapkit._drawing import check_format, render
from gapkit.cli.figure import COLOURS, OTHERS, parity_figure
from gapkit.model.evaluation import Comparison
from gapkit.typing import KINDS


def evaluation(sizes: dict[str, int], kinds: tuple[str, ...] = KINDS, seed: int = 0) -> Evaluation:
    rng, parts = np.random.default_rng(seed), {}
    for group, n in sizes.items():
        values = {kind: rng.normal(size=n) for kind in kinds}
        made = {kind: Comparison(v, v + rng.normal(scale=0.1, size=n)) for kind, v in values.items()}
        parts[group] = Evaluation(n, n, **made)
    merged = {}
    for kind in kinds:
        own = [part.comparison(kind) for part in parts.values()]
        merged[kind] = Comparison(*(np.concatenate([getattr(c, s) for c in own]) for s in ("true_n", "predicted_n")))
    return Evaluation(sum(sizes.values()), sum(sizes.values()), by_group=parts, **merged)


@pytest.mark.parametrize("kinds", [KINDS, ("energy", "forces"), ("forces",)])
def test_panels(kinds: tuple[str, ...]) -> None:
    whole = evaluation({"a": 20, "b": 5}, kinds)
    figure = parity_figure(whole, "m.gap on t.xyz")
    above, below = figure.axes[: len(kinds)], figure.axes[len(kinds) :]
    assert figure.get_suptitle() == "m.gap on t.xyz: 25 frames, 25 atoms"
    for kind, parity, error in zip(kinds, above, below, strict=True):
        values = whole.comparison(kind)
        scale, unit = {"energy": (1e3, "meV/atom"), "forces": (1.0, "eV/Å"), "stress": (1.0, "GPa")}[kind]
        drawn = parity.collections[0].get_offsets()
        rows = np.column_stack([values.true_n, values.predicted_n])
        assert np.array_equal(drawn[np.argsort(drawn[:, 0])], rows[np.argsort(rows[:, 0])])
        assert np.allclose(error.collections[0].get_offsets()[:, 1], scale * (drawn[:, 1] - drawn[:, 0]))
        assert parity.get_xlim() == parity.get_ylim()
        assert parity.get_box_aspect() == 1.0
        assert unit in error.get_ylabel()
        assert parity.get_ylabel().split("(")[1] == error.get_xlabel().split("(")[1]
        mae, rmse = parity.texts[0].get_text().splitlines()
        assert mae == f"MAE {scale * values.mae:#.3g}".rstrip(".") + f" {unit}"
        assert rmse.startswith(f"RMSE {scale * values.rmse:#.3g}".rstrip("."))


def test_every_colour_is_its_group() -> None:
    whole = evaluation({"small": 4, "large": 30}, ("energy",))
    points = parity_figure(whole).axes[0].collections[0]
    colour_of = {tuple(row): tuple(c[:3]) for row, c in zip(points.get_offsets(), points.get_facecolor(), strict=True)}
    for group, expected in {"large": COLOURS[0], "small": COLOURS[1]}.items():
        c = whole.by_group[group].energy
        rgb = tuple(int(expected[k : k + 2], 16) / 255 for k in (1, 3, 5))
        assert {colour_of[row] for row in zip(c.true_n, c.predicted_n, strict=True)} == {rgb}


def test_small_groups_are_not_hidden() -> None:
    """Among the topmost points are as many of the small group as of the large one."""
    points = parity_figure(evaluation({"small": 100, "large": 10_000}, ("forces",))).axes[0].collections[0]
    small = np.isclose(points.get_facecolor()[:, 0], int(COLOURS[1][1:3], 16) / 255)
    assert small[:9_500].sum() == 0
    assert 0.35 < small[-200:].mean() < 0.65


def test_legend_lies_outside_the_panels() -> None:
    names = {f"a_rather_long_group_name_{k}": 20 - k for k in range(12)}
    figure = parity_figure(evaluation(names))
    render(figure, Path("x.png"))  # draws, so that the layout is known
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == [*list(names)[: len(COLOURS) - 1], "4 others"]
    assert OTHERS not in COLOURS
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert all(not box.overlaps(axes.get_tightbbox()) for axes in figure.axes)
    assert not parity_figure(evaluation({"default": 3})).legends


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_files(suffix: str) -> None:
    settings = dict(rcParams)
    content = render(parity_figure(evaluation({"a": 20}, ("energy",))), Path(f"p.{suffix}"))
    assert content.startswith({"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix])
    assert content == render(parity_figure(evaluation({"a": 20}, ("energy",))), Path(f"p.{suffix.upper()}"))
    assert dict(rcParams) == settings
    if suffix == "png":
        height, width, _ = matplotlib.image.imread(io.BytesIO(content)).shape
        assert width == round(200 * (0.4 + 4.5))
        assert height > 1000


def test_unknown_format() -> None:
    check_format(Path("p.PNG"))
    with pytest.raises(ConfigError, match="did you mean 'png'"):
        check_format(Path("p.pngg"))
    with pytest.raises(ConfigError, match="valid names are pdf, png, svg"):
        check_format(Path("figure"))


def test_degenerate_values() -> None:
    """One perfect value, and forces that are zero but for rounding, have finite axes."""
    one = Comparison(np.array([-5.4]), np.array([-5.4]))
    noise = Comparison(np.zeros(3), np.array([1e-15, 0.0, -1e-14]))
    figure = parity_figure(Evaluation(1, 1, one, noise, by_group={"a": Evaluation(1, 1, one, noise)}))
    for axes in figure.axes:
        assert np.ptp(axes.get_xlim()) >= 1e-4
        assert np.ptp(axes.get_ylim()) >= 1e-4
    assert render(figure, Path("p.png"))
