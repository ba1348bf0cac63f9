"""What the paper claims about its experiments, and whether the runs support it."""

from collections.abc import Collection

from analysis.artefacts.artefact import UNDECIDED, Claim, Missing
from analysis.claims.accuracy import ACCURACY
from analysis.claims.benchmarks import BENCHMARKS
from analysis.claims.costs import COSTS
from analysis.claims.optimisation import OPTIMISATION
from analysis.claims.rules import Statement
from analysis.reading.runs import Runs
from analysis.reading.settings import Setting, settings

STATEMENTS: list[Statement] = [*ACCURACY, *BENCHMARKS, *OPTIMISATION, *COSTS]


def judge_claims(runs: Runs) -> list[Claim]:
    """Return each claim with a verdict for each setting whose runs show anything about it, and what would decide it."""
    known = settings(runs.counting)
    return [_claim(statement, known) for statement in STATEMENTS]


def _claim(statement: Statement, known: list[Setting]) -> Claim:
    verdicts = [(setting, statement.verdict(setting)) for setting in known if statement.is_about(setting)]
    decided = [(setting, verdict) for setting, verdict in verdicts if verdict is not None]
    undecided = [(setting, verdict) for setting, verdict in decided if verdict.outcome == UNDECIDED]
    missing = [_missing(statement, setting, verdict.run_ids) for setting, verdict in undecided if verdict.is_open]
    if not decided:
        existing = [setting for setting in known if setting.words == statement.words]
        missing = [_missing(statement, existing[0] if existing else Setting(statement.words))]
    return Claim(
        name=statement.name,
        text=statement.text,
        where=statement.where,
        artefact=statement.artefact,
        verdicts=[verdict for _, verdict in decided],
        missing=missing,
        about=[setting.overrides for setting in known if statement.is_about(setting)],
    )


def _missing(statement: Statement, setting: Setting, run_ids: Collection[str] = ()) -> Missing:
    """Return what could decide a claim: its runs, with one more seed than they have if it is decided by a test.

    Args:
        run_ids: of its runs; without any it takes those seeds that the setting has.
    """
    of_claim = sorted({run.config["seed"] for run in setting.runs if run.run_id in run_ids})
    seeds = of_claim or setting.seeds
    wanted = max(statement.seeds, len(of_claim) + (statement.seeds > 1))
    while len(seeds) < wanted:
        seeds = [*seeds, max(seeds, default=-1) + 1]
    what = "its runs, or further seeds" if run_ids and statement.seeds > 1 else "its runs"
    return Missing(what, setting.command(statement.artefact, seeds))
