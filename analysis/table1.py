"""Table 1: batch size, δ of the piecewise step function, and interpolation, each around the paper's setting."""

from pathlib import Path

import pandas as pd

from analysis.runs import Run

PAPER = Path(__file__).parent / "paper" / "table1.csv"
METRICS = ["AP", "AP50", "AP75"]
STANDARD = {"batch_size": 8, "delta": 1.0, "interpolated": True}
# Table 1 is about these; logs from before there was a choice do not name them.
ALWAYS = {"loss.name": "ap", "method.name": "error_driven", "step": "piecewise"}
# What may differ between runs of one table: what it varies, what is averaged over, and what cannot change numbers.
FREE = {
    *STANDARD, *ALWAYS, "seed", "run_id", "outputs", "device", "workers", "images_logged", "schedule.evaluate_every",
    "dataset.root", "dataset.format", "data.root", "checkpoint_minutes", "retry", "processes",
}  # fmt: skip
FREE_GROUPS = ("environment.", "wandb.", "_wandb.")


def build(runs: list[Run]) -> dict[str, pd.DataFrame]:
    """Table 1 for each setting in which there are finished runs with AP-loss.

    Returns:
        For each setting, by a name that tells it, a row for each of the paper's with its numbers and ours: the mean
        over seeds of the last evaluation, NaN where there is no run, and the number of seeds.
    """
    chosen = [
        run
        for run in runs
        if run.finished and "loss.name" in run.config and (ALWAYS | run.config).items() >= ALWAYS.items()
    ]
    settings = []
    for run in chosen:
        if _fixed(run) not in settings:
            settings.append(_fixed(run))
    groups = [[run for run in chosen if _fixed(run) == setting] for setting in settings]
    tables = {}
    for name, group in sorted(zip(_names(settings), groups, strict=True)):
        tables[name] = _table(group)
        root = group[0].config.get("dataset.root") if group[0].config.get("dataset.format") != "shapes" else None
        tables[name].attrs["overrides"] = name.replace(", ", " ") + (f" dataset.root={root}" if root else "")
    return tables


def _table(runs: list[Run]) -> pd.DataFrame:
    rows = []
    for row in pd.read_csv(PAPER).to_dict("records"):
        value = {"Yes": True, "No": False}.get(row["value"], row["value"])
        wanted = STANDARD | {row["block"]: value if isinstance(value, bool) else float(value)}
        ours = [run for run in runs if all(run.config[key] == wanted[key] for key in wanted)]
        means = {metric: pd.Series([run.last(metric) for run in ours], dtype=float).mean() for metric in METRICS}
        paper = {f"paper {metric}": row[metric] for metric in METRICS}
        rows.append({"block": row["block"], "value": row["value"], **means, "seeds": len(ours), **paper})
    return pd.DataFrame(rows)


def _fixed(run: Run) -> dict[str, str]:
    """What must be the same in all runs of one table."""
    config = {"ranking": "global"} | run.config  # not named by logs from before there was a choice
    return {k: repr(v) for k, v in config.items() if k not in FREE and not k.startswith(FREE_GROUPS)}


def _names(settings: list[dict[str, str]]) -> list[str]:
    """Each setting's recipe, followed by what distinguishes it from others of that recipe."""
    names = []
    for setting in settings:
        rivals = [other for other in settings if other["recipe"] == setting["recipe"]]
        keys = sorted(key for key in setting if any(other.get(key) != setting[key] for other in rivals))
        names.append(", ".join(f"{key}={setting[key].strip(QUOTES)}" for key in ["recipe", *keys]))
    return names


QUOTES = "'"
TITLES = {"batch_size": "Batch Size", "delta": "δ", "interpolated": "Interpolated"}


def to_text(tables: dict[str, pd.DataFrame]) -> str:
    """The tables as Markdown, with missing cells shown as such and the command that fills them."""
    if not tables:
        tables = {"recipe=mini": _table([])}
    lines = ["# Table 1: ablations of AP-loss", ""]
    for name, table in tables.items():
        lines += [f"## {name}", ""]
        for block, rows in table.groupby("block", sort=False):
            lines += [_row([TITLES[block], *METRICS, "seeds", *(f"paper {m}" for m in METRICS)]), _row(["---"] * 8)]
            for row in rows.to_dict("records"):
                ours = [f"{row[m]:.1f}" if row["seeds"] else "missing" for m in METRICS]
                paper = [row[f"paper {m}"] for m in METRICS]
                lines.append(_row([row["value"], *ours, row["seeds"] or "–", *paper]))
            missing = [str(row["value"]) for row in rows.to_dict("records") if not row["seeds"]]
            if missing:
                values = ",".join({"Yes": "true", "No": "false"}.get(value, value) for value in missing)
                overrides = table.attrs.get("overrides", name)
                lines += ["", f"Missing: `python -m src.run -m {overrides} loss=ap {block}={values}`"]
            lines.append("")
    lines.append(
        "AP in percent on the test split of each setting's data. The paper's numbers are those of RetinaNet with "
        "ResNet-50 on VOC2007 test, so only the differences between rows compare."
    )
    return "\n".join(lines)


def _row(cells: list) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
