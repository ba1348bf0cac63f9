"""What a table or figure of the paper consists of, in whatever format it is written."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pandas as pd

from analysis.artefacts.statistics import Estimate
from analysis.artefacts.style import Axes


@dataclass(frozen=True)
class Measured:
    """A number of ours: a mean over seeds, and the runs that it comes from."""

    estimate: Estimate
    run_ids: tuple[str, ...]
    digits: int = 1
    signed: bool = False  # written with its sign, as differences are
    best: bool = False  # of its column, to be set in bold
    plain: bool = False  # a count or a median, which has neither interval nor seeds


@dataclass(frozen=True)
class Published:
    """A number of the paper."""

    value: float
    where: str  # "Table 1"
    digits: int = 1
    signed: bool = False
    best: bool = False


@dataclass(frozen=True)
class Absent:
    """A number that does not exist: no run counts, or none has it."""

    why: str = "missing"


Cell = str | Measured | Published | Absent


@dataclass(frozen=True)
class Table:
    """A table: the first column names the rows; the groups of the others tell ours from the paper's."""

    name: str  # of its files, after the artefact's: "batch_size"
    title: str
    columns: list[tuple[str, str]]  # (group, name), neighbours of one group under one heading; "" is no group
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Panel:
    """One panel of a figure, a column wide."""

    name: str  # of its data's file, below that of the artefact
    title: str
    draw: Callable[[Axes], None]  # uses nothing but `data`
    data: pd.DataFrame  # tidy; all that is drawn
    alt: str  # what can be seen, in words
    image: tuple[str, str] | None = None  # the run, and its key, of the logged image that it shows


@dataclass(frozen=True)
class Missing:
    """A result that no run has yet, and the command that makes it."""

    what: str
    command: str


@dataclass(frozen=True)
class Section:
    """An artefact in one setting."""

    setting: str  # the words of its command line, "" for an artefact without runs
    tables: list[Table] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)  # of all runs that it shows
    notes: list[str] = field(default_factory=list)
    compares: bool = True  # whether at least two of what it sets side by side have runs

    @property
    def is_lone(self) -> bool:
        """Whether it shows runs but compares nothing."""
        return bool(self.run_ids) and not self.compares


@dataclass(frozen=True)
class Artefact:
    """A table or figure of the paper, with a section for each setting; those with most seeds come first."""

    name: str  # "table1"
    title: str  # "Table 1: …"
    caption: str
    sections: list[Section]
    panels_per_row: int = 2  # of its figures
    not_shown: tuple[str, ...] = ()  # the settings of sections that are left out, as they compare nothing

    def without_lone_sections(self) -> "Artefact":
        """Return it without the sections that compare nothing, if another one shows runs."""
        lone, others = ([s for s in self.sections if s.is_lone == is_lone] for is_lone in (True, False))
        if not any(section.run_ids for section in others):
            return self
        return replace(self, sections=others, not_shown=tuple(section.setting for section in lone))


SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "not enough evidence"


@dataclass(frozen=True)
class Verdict:
    """What the runs of one setting show about a claim."""

    setting: str  # the words of its command line
    outcome: str  # SUPPORTED, CONTRADICTED or UNDECIDED
    numbers: str  # those that decide it, in a sentence: "AP 29.1 ± 0.4 with δ = 1, 26.0 ± 0.9 with δ = 0.25; …"
    test: str  # the test used, and what it gave: "Welch's t-test, one-sided, p = 0.03"
    run_ids: list[str]
    is_open: bool = True  # whether more runs could decide it, if it is UNDECIDED


@dataclass(frozen=True)
class Claim:
    """Something that the paper claims about its experiments."""

    name: str  # "delta-1-is-best"
    text: str  # the claim, in a sentence
    where: str  # in the paper: "Section 4.2.1, Table 1"
    artefact: str  # the one that shows it: "table1"
    verdicts: list[Verdict]  # one for each setting that has any of its runs
    missing: list[Missing]  # what would decide it
    about: list[str] = field(default_factory=list)  # the settings that it is about, whether they have runs or not
