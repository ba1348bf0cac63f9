"""What the paper claims about its experiments, and whether the runs support it."""

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
    missing = [_missing(statement, setting) for setting, verdict in decided if verdict.outcome == UNDECIDED]
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


def _missing(statement: Statement, setting: Setting) -> Missing:
    """Return what would decide a claim: its runs, with one more seed than there are."""
    # One more seed, if more of them can decide; runs of the sweep that exist are not made again.
    seeds = setting.seeds or list(range(statement.seeds))
    if setting.seeds and statement.seeds > 1:
        seeds = [*seeds, max(seeds) + 1]
    return Missing("its runs, or further seeds", setting.command(statement.artefact, seeds))
