"""What the paper claims of its experiments, and whether the runs bear it out."""

from analysis.artefacts.artefact import UNDECIDED, Claim, Missing
from analysis.claims.accuracy import ACCURACY
from analysis.claims.costs import COSTS
from analysis.claims.optimisation import OPTIMISATION
from analysis.claims.rules import Statement
from analysis.reading.runs import Runs
from analysis.reading.settings import Setting, settings

STATEMENTS: list[Statement] = [*ACCURACY, *OPTIMISATION, *COSTS]


def judge(runs: Runs) -> list[Claim]:
    """Each claim with a verdict in each setting whose runs say anything of it, and what would decide it."""
    known = settings(runs.counting)
    return [_claim(statement, known) for statement in STATEMENTS]


def _claim(statement: Statement, known: list[Setting]) -> Claim:
    found = [(setting, verdict) for setting in known if (verdict := statement.judge(setting))]
    missing = [_missing(statement, setting) for setting, verdict in found if verdict.outcome == UNDECIDED]
    if not found:
        there = [setting for setting in known if setting.overrides == statement.overrides]
        setting = there[0] if there else Setting(tuple(statement.overrides.split()))
        missing = [_missing(statement, setting)]
    verdicts = [verdict for _, verdict in found]
    return Claim(statement.name, statement.text, statement.where, statement.artefact, verdicts, missing)


def _missing(statement: Statement, setting: Setting) -> Missing:
    """What would decide a claim: its runs, of one seed more than there are."""
    if statement.lacking:
        return Missing(statement.lacking, None)
    # A seed more, if more of them can decide; what is there of a sweep is not made again.
    seeds = setting.seeds or list(range(statement.seeds))
    if setting.seeds and statement.seeds > 1:
        seeds = [*seeds, max(seeds) + 1]
    return Missing("its runs, or further seeds", setting.command(statement.artefact, seeds))
