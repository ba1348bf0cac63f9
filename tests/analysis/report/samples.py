"""Small artefacts, claims and runs, from which the tests write every format."""

import math
from dataclasses import replace
from functools import partial

import pandas as pd

from analysis.artefacts.artefact import (
    CONTRADICTED,
    SUPPORTED,
    UNDECIDED,
    Absent,
    Artefact,
    Claim,
    Measured,
    Missing,
    Panel,
    Published,
    Section,
    Table,
    Verdict,
)
from analysis.artefacts.statistics import Estimate
from analysis.artefacts.style import COLOURS, label
from analysis.report.contents import ReportContents

TWO_SEEDS = Measured(Estimate(29.04, 0.46, 2), ("run-a", "run-b"), best=True)
ONE_SEED = Measured(Estimate(26.0, math.nan, 1), ("run-c",))
LEAD = Measured(Estimate(-3.04, 0.9, 2), ("run-a", "run-b", "run-c"), signed=True)
COUNT = Measured(Estimate(7.0, math.nan, 1), ("run-a",), digits=0, plain=True)
RUNS = {
    "run-a": ("seed=0", "finished"),
    "run-b": ("seed=1", "finished"),
    "run-c": ("delta=4", "finished"),
    "run-d": ("seed=3", "failed"),
}
# Characters that some format or shell reads as markup.
ODD = (
    "\\ { } # $ % & _ ~ ^ < > | \" ' ` [x] ± − × ≤ † – … é ß Ð α Δ Α ο λ Λ ϑ ϛ 数 \t 😀 Lagrange’s -- a---b '' ,, << ?`"
)
ODD_NAME = r"$\frac$ $x_ {y} 100% & <b> Ж 数"  # short enough for a figure's axis
# A command as Hydra and a shell take it, with class names that are markup in Markdown, HTML and CSV.
ODD_COMMAND = (
    "python -m src.run 'dataset.classes=[a|b,`c,``d``,<b>,&amp;,\"e\",(f),_g_,*h*,$i$,~~j~~,\\k,100%,Ж 数]' "
    "dataset.root='two  spaces/$HOME' name=`"
)


def sample_table(name="ablation", title="δ & 100% of_it"):
    columns = [("", "δ"), ("ours", "AP"), ("ours", "AP75"), ("paper", "AP"), ("AP from 1", "ours"), ("AP from 1", "n")]
    rows = [
        ["1 <b>", TWO_SEEDS, Absent(), Published(53.1, "Table 1", best=True), "–", COUNT],
        ["a|b_c", ONE_SEED, ONE_SEED, Published(50.25, "Table 1"), LEAD, COUNT],
    ]
    return Table(name, title, columns, rows, ["A note of $5."])


def draw_curve(data, ax, name="y"):
    ax.plot(data.x, data.y, color=COLOURS["ap"], label=name)
    label(ax, "x", name)
    ax.legend()


def sample_panel(name="curve", ys=(1.0, 3.0)):
    data = pd.DataFrame({"x": range(len(ys)), "y": ys})
    return Panel(name, "(a) a curve", partial(draw_curve, data), data, f"y <rises> to {ys[-1]}")


def sample_artefact(**changes):
    """An artefact of one section, with changes to that section."""
    section = Section(
        "recipe=mini",
        [sample_table()],
        [sample_panel()],
        [Missing("δ = 2", "python -m src.run delta=2")],
        ["run-a", "run-b", "run-c"],
        ["Measured here."],
    )
    return Artefact("table1", "Table 1: <ablation>", "What is *shown*.", [replace(section, **changes)])


def odd_artefact():
    """An artefact of which every text that a user's data or options may change has odd characters."""
    panel = replace(sample_panel(), title=ODD_NAME, alt=ODD)
    panel = replace(panel, draw=partial(draw_curve, panel.data, name=ODD_NAME))
    table = replace(sample_table(title=ODD), columns=[("", "δ"), *[("", 3 * ODD[:20])] * 5])
    artefact = sample_artefact(
        setting=ODD, tables=[table], panels=[panel], missing=[Missing(ODD, ODD_COMMAND)], notes=[ODD]
    )
    return replace(artefact, not_shown=(ODD,))


def sample_claims():
    verdicts = [
        Verdict("recipe=mini", SUPPORTED, "AP 29.1 ± 0.4 > 26.0", "Welch's t-test, p = 0.03", ["run-a", "run-c"]),
        Verdict("recipe=voc", CONTRADICTED, "AP 1.0", "", []),
    ]
    return [
        Claim("delta", "δ = 1 is <best>", "Table 1", "table1", verdicts, []),
        Claim("other", "Nothing tests this", "Table 2", "table2", [], [Missing("all", "python -m src.run")]),
        Claim("third", "One seed", "Table 1", "table1", [Verdict("recipe=mini", UNDECIDED, "", "", ["run-a"])], []),
    ]


def odd_claims():
    """A claim about a setting with odd characters, and with a missing run that an odd command makes."""
    verdicts = [Verdict(ODD, SUPPORTED, ODD, ODD, ["run-a"])]
    return [
        Claim(
            "odd",
            ODD,
            "Table 1",
            "table1",
            verdicts,
            [Missing(ODD, ODD_COMMAND)],
        )
    ]


def sample_contents(artefacts=None, **changes):
    """A report of these artefacts, with three runs that count and one that does not."""
    # Imported here, as these load Hydra and torch, which a test does without that unpickles what this module draws.
    from analysis.reading.runs import Runs
    from tests.analysis.logged import config_of, rows_of, run_of

    runs = Runs(
        [run_of(config_of(word) | {"run_id": name}, rows_of(30.0), state) for name, (word, state) in RUNS.items()],
        ["outputs/<x>.wandb holds no run; left out"],
    )
    commands = {name: f"python -m src.run name={name} x='a|b'" for name in RUNS}
    contents = ReportContents(artefacts or [sample_artefact()], sample_claims(), runs, commands)
    return replace(contents, **changes)


def odd_contents():
    """A report in which every text of the user's is odd."""
    return sample_contents([odd_artefact()], claims=odd_claims(), commands=dict.fromkeys(RUNS, ODD_COMMAND))
