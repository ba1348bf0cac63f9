"""Proposition 1: AP-loss against step, of three ways to descend it, for a linear model on separable data."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.runs import Run
from analysis.style import COLOURS, TITLES, label, make_figure

COMMAND = "python -m src.linear -m sweeps=proposition1"
# The random problems and the limit on steps of the figure; the seed is what differs between the problems.
STEPS = 200
RANDOM = {"dimensions": 10, "positives": 10, "negatives": 100, "margin": 0.1, "start_scale": 10.0}


def build(runs: list[Run]) -> pd.DataFrame:
    """One row for each finished run of the figure.

    Returns:
        Columns problem, seed, method; tuning, which tells method and knobs, as text; history, a Series of the AP-loss
        by step; and steps_to_zero, NaN if it did not come to be exactly 0.
    """
    rows = []
    for run in runs:
        config = run.config
        if not run.finished or "problem.name" not in config or config["steps"] != STEPS:
            continue
        problem = config["problem.name"]
        if problem == "random" and any(config[f"problem.{key}"] != value for key, value in RANDOM.items()):
            continue
        history = run.history.set_index("global_step")["ap_loss"]
        zero = history.index[history == 0]
        rows.append({
            "problem": problem, "seed": config["problem.seed"] if problem == "random" else 0,
            "method": config["method.name"], "tuning": _tuning(config), "history": history,
            "steps_to_zero": float(zero[0]) if len(zero) else float("nan"),
        })  # fmt: skip
    columns = ["problem", "seed", "method", "tuning", "history", "steps_to_zero"]
    return pd.DataFrame(rows, columns=columns).sort_values(["method", "tuning", "seed"], ignore_index=True)


def _tuning(config: dict) -> str:
    step = config["method.step"] if config["method.name"] == "error_driven" else None
    knobs = [] if step in (None, "heaviside") else [step]
    if knobs or config["method.name"] == "approximate_gradient":
        knobs.append(f"δ = {config['method.delta']:g}")
    return ", ".join([*knobs, f"learning rate {config['method.learning_rate']:g}"])


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """For each tuning how many of the random problems it solved, the best of a method first.

    Returns:
        Columns method, tuning, problems, solved, and median, the steps to zero of those solved.
    """
    random = table[table.problem == "random"]
    groups = random.groupby(["method", "tuning"])["steps_to_zero"]
    counts = groups.agg(problems="size", solved="count", median="median").reset_index()
    order = counts.assign(share=counts.solved / counts.problems)
    order = order.sort_values(["method", "share", "median"], ascending=[True, False, True])
    return order.drop(columns="share").reset_index(drop=True)


def draw(table: pd.DataFrame) -> Figure:
    """(a) AP-loss on `local_optimum`, a line each tuning; (b) share of random problems with AP-loss 0, by tuning."""
    figure, (left, right) = make_figure(2, height=2.7)
    counts = shares(table)
    for method, colour in COLOURS.items():
        for run in table[(table.problem == "local_optimum") & (table.method == method)].itertuples():
            left.plot(run.history, color=colour, linewidth=1.6, drawstyle="steps-post")
            if run.history.iloc[-1] == 0:
                left.plot(run.history.tail(1), "o", color=colour, markersize=4, clip_on=False)
        for place, row in enumerate(counts[counts.method == method].itertuples()):
            mine = table[(table.problem == "random") & (table.method == method) & (table.tuning == row.tuning)]
            solved = [(mine.steps_to_zero <= step).mean() for step in range(STEPS + 1)]
            # The best tuning is the method's line; the others are there to be seen, not to be read.
            style = {"linewidth": 1.6} if place == 0 else {"linewidth": 0.9, "alpha": 0.6, "linestyle": (0, (4, 2))}
            right.step(range(STEPS + 1), solved, where="post", color=colour, **style)
    for ax, problem in ((left, "local_optimum"), (right, "random")):
        ax.set_xscale("symlog", linthresh=1, linscale=0.4)
        ax.set_xlim(0, STEPS)
        ax.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        _say_what_is_missing(ax, [m for m in COLOURS if not ((table.problem == problem) & (table.method == m)).any()])
    left.set_ylim(bottom=-0.02)
    right.set_ylim(-0.03, 1.03)
    label(left, "step", "AP-loss", "(a) the local optimum")
    label(right, "step", "share with AP-loss 0", "(b) random problems")
    handles = [left.plot([], color=colour, label=TITLES[method])[0] for method, colour in COLOURS.items()]
    handles += left.plot([], color="0.4", linewidth=0.9, linestyle=(0, (4, 2)), label="in other settings")
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _say_what_is_missing(ax: Axes, methods: list[str]) -> None:
    if methods:
        text = "missing: " + ", ".join(TITLES[method] for method in methods) + f"\n{COMMAND}"
        ax.text(0.5, 0.5, text, transform=ax.transAxes, fontsize=6, ha="center", va="center")


def to_text(table: pd.DataFrame) -> str:
    """The figure's numbers as Markdown, with what is missing and the command that makes it."""
    lines = ["# Proposition 1", "", "| problem | method | tuning | AP-loss 0 | steps |", "|---|---|---|---|---|"]
    for row in table[table.problem == "local_optimum"].itertuples():
        reached = row.steps_to_zero == row.steps_to_zero
        outcome = f"yes | {row.steps_to_zero:.0f}" if reached else f"no, {row.history.iloc[-1]:.4f} | –"
        lines.append(f"| local_optimum | {row.method} | {row.tuning} | {outcome} |")
    for row in shares(table).itertuples():
        steps = f"{row.median:g} (median)" if row.solved else "–"
        lines.append(f"| random | {row.method} | {row.tuning} | {row.solved} of {row.problems} | {steps} |")
    there = set(zip(table.problem, table.method, strict=True))
    missing = [f"{p} {m}" for p in ("local_optimum", "random") for m in COLOURS if (p, m) not in there]
    if missing:
        lines += ["", f"Missing: {', '.join(missing)}: `{COMMAND}`"]
    return "\n".join(lines)
