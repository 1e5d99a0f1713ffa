"""Energies against a smooth function of the structure: single ones that are off, and sets of two reference methods."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Final, NamedTuple

import numpy as np

from gapkit.datasets.energies import is_alone
from gapkit.datasets.finding import Finding
from gapkit.datasets.robust import deviations, typical
from gapkit.datasets.smooth import LeftOut, Smooth
from gapkit.datasets.table import Table
from gapkit.typing import FloatArray

LEAST: Final = 20
"""Structures that make a smooth function."""
_BLOCK: Final = 1000  # structures of one function; more are dealt out to several
_GROSS: Final = 5.0  # eV/atom from the median of a composition, wrong without any model unless bonds are strained
_FAR: Final = 20.0  # σ of an energy that is off; 8 to 15 occur in sound sets, since σ is too small for liquids
_LONELY: Final = 2.0  # distance to the third neighbour, over its median
_OFF: Final = 0.02  # eV/atom of a single energy that is worth a word
_STEP: Final = 0.005  # eV/atom between two methods that is worth a word
_GROUP_STEP: Final = 0.03  # the same of a whole config_type, which is apart in structure too
_CERTAIN: Final = 12.0  # its standard errors; up to 7 occur in sound sets
_FALLS: Final = 3.0  # factor by which the residuals fall when the step is taken out
_GROUP_FALLS: Final = 0.7  # share of the residuals that the step of a group must leave at most
_CLEAR: Final = 4.0  # σ of a prediction in a step between methods, above which it tells on which side a frame is
_LEAST_MINOR: Final = 3


class _Step(NamedTuple):
    """Structures clearly above and below a step, its height, typical residuals before and after it was taken out."""

    high: list[int]
    low: list[int]
    height: float
    before: float
    after: float
    group: str = ""


def energies_against_structure(table: Table) -> Iterator[Finding]:
    """Gross outliers, then two methods or, where there is one, single energies that are off."""
    which = [
        s
        for s, frame in enumerate(table.frames)
        if frame.energy is not None and s not in table.suspect and not is_alone(frame)
    ]
    far = _far(table, which)
    gross = {s: off for s, (off, strained) in far.items() if not strained}
    if gross:
        worst = max(gross, key=lambda s: gross[s])
        what = f"Energies per atom are up to {gross[worst]:.3g} eV from the median of their composition"
        fix = "compute them again or leave them out; total energies are needed, in eV"
        table.suspect.update(gross)
        yield table.finding("energy-outlier", "error", gross, what, fix)
    which = [s for s in which if s not in far]
    if len(which) < LEAST:
        return
    n_blocks = -(-len(which) // _BLOCK)
    odd: dict[int, float] = {}
    steps: list[_Step] = []
    for block in (which[k::n_blocks] for k in range(n_blocks)):
        once = _without_copies(table, block)
        if len(once) < LEAST:
            continue
        smooth = Smooth(table.fingerprints.mean_sf[once], _shares(table, once))
        found = _two_methods(table, smooth, once)
        if found is not None:
            steps.append(found)
        else:
            odd |= _odd(table, smooth, once)
    if steps:
        yield _mixed(table, steps)
    if odd:
        worst = max(odd, key=lambda s: abs(odd[s]))
        what = f"Energies do not fit those of similar structures: up to {1e3 * abs(odd[worst]):.0f} meV/atom off"
        what += f" ({table.members[worst].place}: {1e3 * odd[worst]:+.0f})"
        fix = "compute them again (electronic steps, k-points, spin state) or leave them out"
        table.suspect.update(odd)
        yield table.finding("energy-outlier", "warning", odd, what, fix)


def _far(table: Table, which: list[int]) -> dict[int, tuple[float, bool]]:
    """Distance of energies from the median of their composition, where it is beyond all physics but that of bonds which
    were pressed or torn, and whether these were."""
    found: dict[int, tuple[float, bool]] = {}
    own = set(which)
    for _, members in table.by(lambda member: member.formula).items():
        some = [s for s in members if s in own]
        if len(some) < 5:
            continue
        energy_s = table.energy_s[some]
        off_s = np.abs(energy_s - np.median(energy_s))
        far_s = (off_s > _GROSS) & (deviations(energy_s, 0.05) > 20.0)
        far, near = ([s for s, yes in zip(some, side, strict=True) if yes] for side in (far_s, ~far_s))
        strained = table.strained(far, near)
        found |= {s: (float(off), s in strained) for s, off in zip(far, off_s[far_s], strict=True)}
    return found


def _shares(table: Table, block: list[int]) -> FloatArray:
    elements = sorted({int(z) for s in block for z in np.unique(table.frames[s].numbers_e)})
    return np.array([[float(np.mean(table.frames[s].numbers_e == z)) for z in elements] for s in block])


def _two_methods(table: Table, smooth: Smooth, block: list[int]) -> _Step | None:
    """A constant step between two sets of structures that are alike, or between a config_type and the others."""
    energy_s = table.energy_s[block]
    plain = smooth.leave_one_out(energy_s)
    before = typical(plain.residual_s)
    high_s, step, fit = _settled(smooth, energy_s, _halves(plain.residual_s), plain)
    after = typical(fit.residual_s)
    clear_s = _CLEAR * fit.std_s < step
    high, low = (
        [s for s, yes in zip(block, side, strict=True) if yes]
        for side in ((high_s > 0.0) & clear_s, (high_s == 0.0) & clear_s)
    )
    falls = step > _STEP and step > 6.0 * after and before > _FALLS * after
    if falls and min(len(high), len(low)) >= _LEAST_MINOR:
        return _Step(high, low, step, before, after)
    return _group_apart(table, smooth, block, plain)


def _group_apart(table: Table, smooth: Smooth, block: list[int], plain: LeftOut) -> _Step | None:
    """The config_type whose energies fit the others best after a step, if the step is beyond doubt."""
    energy_s = table.energy_s[block]
    groups = np.array([table.frames[s].group for s in block])
    names, first, count = np.unique(groups, return_index=True, return_counts=True)
    rarest = [str(names[k]) for k in np.lexsort((-first, count))]
    if len(rarest) <= 2:
        rarest.pop()  # one step tells two groups apart, and the smaller one is named
    best: tuple[float, str, float, LeftOut] | None = None
    for group in rarest:
        high_s, fit, step, error = (groups == group).astype(float), plain, 0.0, 0.0
        if high_s.sum() < _LEAST_MINOR:
            continue
        for _ in range(3):  # length and noise follow
            step, error = smooth.step(energy_s, high_s, fit)
            fit = smooth.leave_one_out(energy_s - step * high_s)
        gain = fit.density - plain.density
        falls = typical(fit.residual_s) < _GROUP_FALLS * typical(plain.residual_s)
        if falls and abs(step) > max(_GROUP_STEP, _CERTAIN * error) and gain > 0.05 * len(block):
            best = max(best or (0.0, "", 0.0, fit), (gain, group, step, fit), key=lambda entry: entry[0])
    if best is None:
        return None
    members = [s for s in table.groups[best[1]] if np.isfinite(table.energy_s[s])]
    return _Step(members, [], best[2], typical(plain.residual_s), typical(best[3].residual_s), best[1])


def _halves(residual_s: FloatArray) -> FloatArray:
    """1 for the upper of the two clusters that leave the least variance, else 0."""
    order = np.argsort(residual_s, kind="stable")
    x, n = residual_s[order], len(residual_s)
    count = np.arange(1, n)
    sums, squares = np.cumsum(x)[:-1], np.cumsum(x**2)[:-1]
    within = squares - sums**2 / count
    within += (np.sum(x**2) - squares) - (np.sum(x) - sums) ** 2 / (n - count)
    high_s = np.zeros(n)
    high_s[order[int(within.argmin()) + 1 :]] = 1.0
    return high_s


def _settled(
    smooth: Smooth, energy_s: FloatArray, high_s: FloatArray, fit: LeftOut
) -> tuple[FloatArray, float, LeftOut]:
    """Clusters that no structure would leave: fit without the step, and change sides where that leaves less."""
    step = 0.0
    for _ in range(12):
        step = smooth.step(energy_s, high_s, fit)[0]
        if step < 0.0:
            high_s, step = 1.0 - high_s, -step
        fit = smooth.leave_one_out(energy_s - step * high_s)
        other_s = np.abs(fit.residual_s + np.where(high_s > 0.0, step, -step))
        changed = other_s < np.abs(fit.residual_s)
        if not changed.any():
            break
        high_s = np.where(changed, 1.0 - high_s, high_s)
    return high_s, step, fit


def _mixed(table: Table, steps: list[_Step]) -> Finding:
    """One finding of all blocks; the side with fewer frames is named."""
    high, low = ([s for step in steps for s in side(step)] for side in (attrgetter("high"), attrgetter("low")))
    height, before, after = (float(np.median(x)) for x in zip(*(s[2:5] for s in steps), strict=True))
    which, group = high, steps[0].group
    if group:
        what = f"All energies of {group} lie about {1e3 * height:+.0f} meV/atom off those of other groups "
        what += "at like structures"
    else:
        if len(high) > len(low):
            which, height = low, -height
        others = len(high) + len(low) - len(which)
        what = (
            f"Two reference methods: these {len(which)} energies lie {1e3 * height:+.0f} meV/atom off {others} others"
        )
        unclear = int(np.isfinite(table.energy_s).sum()) - len(high) - len(low)
        what += f" ({unclear} more are copies or cannot be told apart)" if unclear else ""
    what += f"; without that step, leave-one-out residuals fall from {1e3 * before:.2g} to {1e3 * after:.2g} meV/atom"
    fix = "compute all frames with one functional, basis set and pseudopotential, or fit one of the sets"
    table.suspect.update(which)
    return table.finding("two-methods", "error", which, what, fix)


def _without_copies(table: Table, block: list[int]) -> list[int]:
    """One of each set of copies: residuals of the others are zero, and would pass for the noise of all."""
    x_sf = table.fingerprints.mean_sf[block]
    square_s = np.square(x_sf).sum(axis=1)
    near = square_s[:, None] + square_s - 2.0 * x_sf @ x_sf.T < 1e-10
    return [s for k, s in enumerate(block) if not near[k, :k].any()]


def _odd(table: Table, smooth: Smooth, block: list[int]) -> dict[int, float]:
    """Energies that are off, the worst one first: it is replaced by its prediction, which clears its neighbours."""
    energy_s, found = table.energy_s[block].copy(), dict[int, float]()
    usual_s = smooth.third_s < _LONELY * np.median(smooth.third_s)  # σ of structures apart from all others is no σ
    for _ in range(max(3, len(block) // 20)):
        fit = smooth.leave_one_out(energy_s)
        size_s = np.abs(fit.residual_s)
        score_s = np.where(usual_s & (size_s > _OFF) & (size_s > 8.0 * typical(size_s)), size_s / fit.std_s, 0.0)
        worst = int(score_s.argmax())
        if score_s[worst] < _FAR:
            break
        found[block[worst]] = found.get(block[worst], 0.0) + float(fit.residual_s[worst])
        energy_s[worst] -= fit.residual_s[worst]
    return found
