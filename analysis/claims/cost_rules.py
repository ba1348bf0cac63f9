"""The rules for times and memory, which are bounds rather than tests and compare runs of one machine alone."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from analysis.artefacts.artefact import Verdict
from analysis.artefacts.machines import on_one_machine
from analysis.artefacts.table_cells import Metric, values_of
from analysis.claims.rules import Rule, RunGroup, decide
from analysis.reading.settings import Setting
from src.utils.text import counted


def in_each_run(*, what: str, metric: Metric, group: RunGroup, bound: float, contrary: float) -> Rule:
    """Return the rule whether a metric is at most a bound in each run; contradicted if above `contrary` in each.

    For times and memory, of which one run has a thousand steps. Runs on different machines may well disagree.
    """

    def verdict(setting: Setting) -> Verdict | None:
        values = values_of(group.runs(setting), metric)
        return bounded(setting, what, values, bound=bound, contrary=contrary) if values else None

    return verdict


def bounded(setting: Setting, what: str, values: Mapping[str, float], *, bound: float, contrary: float) -> Verdict:
    """Return the verdict whether each run's value is at most a bound; if they disagree, no further run decides it.

    Args:
        values: by the runs' ids, at least one.
    """
    numbers = f"{what} {', '.join(f'{value:.2f}' for value in values.values())}; at most {bound:g} supports the claim."
    test = f"A bound in each of {counted(len(values), 'run')}, no test; above {contrary:g} contradicts the claim."
    supported, contradicted = max(values.values()) <= bound, min(values.values()) > contrary
    return decide(setting, supported, contradicted, numbers=numbers, test=test, run_ids=[values], is_open=False)


def by_batch_size(
    *,
    what: str,
    metric: Metric,
    groups: Mapping[int, RunGroup],
    fit: Callable[[np.ndarray, np.ndarray], float],
    bound: float,
    contrary: float,
) -> Rule:
    """Return the rule whether what is fitted to a metric over batch sizes is at most a bound.

    Above `contrary` it is contradicted. It looks at the machine with runs of most batch sizes, and of these with most
    runs, as times and memory of different machines do not compare. Fewer than three batch sizes decide nothing.
    """

    def verdict(setting: Setting) -> Verdict | None:
        by_size = {size: groups[size].runs(setting) for size in sorted(groups)}
        on_best, _ = on_one_machine(by_size.values())
        values = {size: values_of(runs, metric) for size, runs in zip(by_size, on_best, strict=True)}
        if not any(values.values()):
            return None
        lacks_sizes = not all(by_size.values())
        means = {size: float(np.mean(list(of_runs.values()))) for size, of_runs in values.items() if of_runs}
        texts = {size: f"{mean:,.0f}" if mean >= 100 else f"{mean:.3g}" for size, mean in means.items()}
        numbers = ", ".join(f"{text} at batch size {size}" for size, text in texts.items())
        if len(means) < 3:
            supported, contradicted, numbers = False, False, f"{numbers}."
            test = "It takes three batch sizes on one machine."
        else:
            fitted = fit(np.array(list(means)), np.array(list(means.values())))
            supported, contradicted = fitted <= bound, fitted > contrary
            numbers = f"{numbers}: {what} {fitted:.2f}; at most {bound:g} supports the claim."
            test = f"A fit to means over runs on one machine, no test; above {contrary:g} contradicts the claim."
        ids = values.values()
        return decide(setting, supported, contradicted, numbers=numbers, test=test, run_ids=ids, is_open=lacks_sizes)

    return verdict


def groups_on_one_machine(groups: Sequence[RunGroup]) -> list[RunGroup]:
    """Return the groups with only those of their runs that :func:`on_one_machine` leaves them."""

    def at(index: int) -> RunGroup:
        return RunGroup(groups[index].name, lambda setting: on_one_machine(g.runs(setting) for g in groups)[0][index])

    return [at(index) for index in range(len(groups))]


def exponent(sizes: np.ndarray, values: np.ndarray) -> float:
    """Return k of values ∝ sizesᵏ, by least squares on logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def residual(sizes: np.ndarray, values: np.ndarray) -> float:
    """Return the share of the variance that a line leaves unexplained, 1 − R²."""
    if np.ptp(values) == 0:
        return 0.0
    line = np.polyval(np.polyfit(sizes, values, 1), sizes)
    return float(((values - line) ** 2).sum() / ((values - values.mean()) ** 2).sum())
