"""Proposition 1: AP-loss against step, with three methods that minimise it, for a linear model on separable data."""

from functools import partial
from typing import Any

import pandas as pd

from analysis.artefacts.artefact import Absent, Artefact, Cell, Measured, Missing, Panel, Section, Table
from analysis.artefacts.curves import line_of
from analysis.artefacts.statistics import Estimate
from analysis.artefacts.style import Axes, label
from analysis.reading.runs import Runs
from analysis.reading.settings import METHOD_TITLES, PAPER_METHODS

TITLE = "Proposition 1: a linear model on separable data"
CAPTION = (
    "AP-loss of a linear model that learns to rank separable points (Section 3.3.1). (a) Fifteen points in the plane "
    "on which the smoothed AP has a local optimum: the error-driven update does not descend steadily, but reaches "
    "AP-loss 0. (b) Share of random problems with AP-loss 0: solid with the best tuning of each method, dashed with "
    "others."
)
COMMAND = "python -m src.linear -m sweeps=proposition1"
# The figure's random problems, which differ in their seeds, and its limit on steps.
STEPS = 200
RANDOM = {"dimensions": 10, "positives": 10, "negatives": 100, "margin": 0.1, "start_scale": 10.0}


def build(runs: Runs) -> Artefact:
    """Build the figure, and a table of how many problems each method solved in how many steps."""
    frame = descents(runs)
    existing = set(zip(frame.problem, frame.method, strict=True))
    absent = [
        f"{problem.replace('_', ' ')}, {METHOD_TITLES[method]}"
        for problem in ("local_optimum", "random")
        for method in PAPER_METHODS
        if (problem, method) not in existing
    ]
    missing = [Missing("; ".join(absent), COMMAND)] if absent else []
    panels = [_local_optimum(frame), _random(frame)] if len(frame) else []
    section = Section("", [_table(frame)] if len(frame) else [], panels, missing, list(frame.run_id))
    return Artefact("proposition1", TITLE, CAPTION, [section])


def descents(runs: Runs) -> pd.DataFrame:
    """Return one row for each run of the figure.

    Returns:
        Columns run_id, problem, seed, method; tuning, the method's options as text; history, a Series of the AP-loss
        by step; and steps_to_zero, NaN if it never was exactly 0.
    """
    rows = []
    for run in runs.counting:
        config = run.config
        if "problem.name" not in config or config.get("steps") != STEPS:
            continue
        problem = config["problem.name"]
        if problem == "random" and any(config[f"problem.{key}"] != value for key, value in RANDOM.items()):
            continue
        history = run.series("ap_loss")
        zero = history.index[history == 0]
        rows.append(
            {
                "run_id": run.run_id,
                "problem": problem,
                "seed": config["problem.seed"] if problem == "random" else 0,
                "method": config["method.name"],
                "tuning": _tuning(config),
                "history": history,
                "steps_to_zero": float(zero[0]) if len(zero) else float("nan"),
            }
        )
    columns = ["run_id", "problem", "seed", "method", "tuning", "history", "steps_to_zero"]
    return pd.DataFrame(rows, columns=columns).sort_values(["method", "tuning", "seed"], ignore_index=True)


def _tuning(config: dict[str, Any]) -> str:
    step = config["method.step"] if config["method.name"] == "error_driven" else None
    options = [] if step in (None, "heaviside") else [step]
    if options or config["method.name"] == "approximate_gradient":
        options.append(f"δ = {config['method.delta']:g}")
    return ", ".join([*options, f"learning rate {config['method.learning_rate']:g}"])


def shares(frame: pd.DataFrame) -> pd.DataFrame:
    """Return how many of the random problems each tuning solved, the best of a method first.

    Returns:
        Columns method, tuning, problems, solved, and median, the steps to zero of those solved.
    """
    groups = frame[frame.problem == "random"].groupby(["method", "tuning"])["steps_to_zero"]
    counts = groups.agg(problems="size", solved="count", median="median").reset_index()
    order = counts.assign(share=counts.solved / counts.problems)
    order = order.sort_values(["method", "share", "median"], ascending=[True, False, True])
    return order.drop(columns="share").reset_index(drop=True)


def _table(frame: pd.DataFrame) -> Table:
    single = [(row.method, row.tuning) for row in frame[frame.problem == "local_optimum"].itertuples()]
    rows = [_row(frame, "local_optimum", *group) for group in single]
    rows += [_row(frame, "random", row.method, row.tuning) for row in shares(frame).itertuples()]
    columns = [
        ("", "Problem"),
        ("", "Method"),
        ("", "Tuning"),
        ("ours", "problems"),
        ("ours", "with AP-loss 0"),
        ("ours", "median of steps"),
    ]
    return Table("steps", "Problems solved", columns, rows)


def _row(frame: pd.DataFrame, problem: str, method: str, tuning: str) -> list[Cell]:
    runs = _with_tuning(frame, problem, method, tuning)
    steps, ids = runs.steps_to_zero.dropna(), tuple(runs.run_id)

    def count(value: float) -> Measured:
        return Measured(Estimate(value, float("nan"), len(runs)), ids, digits=0, plain=True)

    median = count(steps.median()) if len(steps) else Absent("–")
    return [problem.replace("_", " "), METHOD_TITLES[method], tuning, count(len(runs)), count(len(steps)), median]


def _with_tuning(frame: pd.DataFrame, problem: str, method: str, tuning: str) -> pd.DataFrame:
    return frame[(frame.problem == problem) & (frame.method == method) & (frame.tuning == tuning)]


def _local_optimum(frame: pd.DataFrame) -> Panel:
    parts = [
        pd.DataFrame({"method": row.method, "tuning": row.tuning, "step": row.history.index, "ap_loss": row.history})
        for row in frame[frame.problem == "local_optimum"].itertuples()
    ]
    empty = pd.DataFrame(columns=["method", "tuning", "step", "ap_loss"])
    data = pd.concat(parts, ignore_index=True) if parts else empty
    last = data.groupby(["method", "tuning"], sort=False).ap_loss.last().map("{:.3f}".format)
    ends = {method: list(dict.fromkeys(of_method)) for method, of_method in last.groupby("method")}
    words = ", ".join(f"{METHOD_TITLES[m]} {' or '.join(ends[m])}" for m in METHOD_TITLES if m in ends)
    alt = f"AP-loss against step. At the end: {words}."
    return Panel("local-optimum", "(a) the local optimum", partial(_draw_local_optimum, data), data, alt)


def _draw_local_optimum(data: pd.DataFrame, ax: Axes) -> None:
    for method in METHOD_TITLES:
        look = {"color": line_of(method)["color"], "linewidth": 1.6}
        titles = [METHOD_TITLES[method]]
        for _, curve in data[data.method == method].groupby("tuning", sort=False):
            ax.plot(curve.step, curve.ap_loss, drawstyle="steps-post", label=titles.pop() if titles else None, **look)
            if curve.ap_loss.iloc[-1] == 0:
                ax.plot(curve.step.tail(1), [0], "o", color=look["color"], markersize=4, clip_on=False)
    _step_axis(ax)
    ax.set_ylim(bottom=-0.02)
    label(ax, "step", "AP-loss")
    ax.legend()


def _random(frame: pd.DataFrame) -> Panel:
    counts, rows = shares(frame), []
    for method in METHOD_TITLES:
        for rank, row in enumerate(counts[counts.method == method].itertuples()):
            runs = _with_tuning(frame, "random", method, row.tuning)
            solved = [float((runs.steps_to_zero <= step).mean()) for step in range(STEPS + 1)]
            rows += [
                {"method": method, "tuning": row.tuning, "best": rank == 0, "step": step, "share": share}
                for step, share in enumerate(solved)
            ]
    data = pd.DataFrame(rows, columns=["method", "tuning", "best", "step", "share"])
    best = counts.groupby("method").first()
    words = [f"{METHOD_TITLES[m]} {best.solved[m]} of {best.problems[m]}" for m in METHOD_TITLES if m in best.index]
    alt = "Share of the random problems with AP-loss 0 against step. With the best tuning: " + ", ".join(words) + "."
    return Panel("random", "(b) random problems", partial(_draw_random, data), data, alt)


def _draw_random(data: pd.DataFrame, ax: Axes) -> None:
    for (method, _), curve in data.groupby(["method", "tuning"], sort=False):
        # The best tuning is the method's line; the others only show how much it matters.
        best = bool(curve.best.iloc[0])
        look = {"linewidth": 1.6} if best else {"linewidth": 0.9, "alpha": 0.6, "linestyle": (0, (4, 2))}
        title = METHOD_TITLES[method] if best else None
        ax.step(curve.step, curve.share, where="post", color=line_of(method)["color"], label=title, **look)
    _step_axis(ax)
    ax.set_ylim(-0.03, 1.03)
    label(ax, "step", "share with AP-loss 0")
    ax.legend(loc="upper left", handlelength=1.0, handletextpad=0.4, borderaxespad=0.2)


def _step_axis(ax: Axes) -> None:
    ax.set_xscale("symlog", linthresh=1, linscale=0.4)
    ax.set_xlim(0, STEPS)
    ax.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
