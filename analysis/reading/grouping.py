"""Groups runs by what they have in common, as far as their logs state it: identity, command and `by_loss`."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from analysis.reading.runs import Run
from src.config.command import key_of
from src.config.registry import LOSSES

# Keys, or groups of keys, of the identity in which the runs of one group may differ. OPTIONS are not among them if the
# command gives them: they are not the usual ones. Those of attacks are: an attack belongs to its detector.
VARIED = {
    *("loss", "method", "step", "delta", "interpolated", "batch_size", "seed"),
    *("attack", "proposals", "rpn_epochs", "snapshot"),
}
OPTIONS = ("loss.", "method.")  # what the keys of options of a choice begin with
BOX_LOSS_WEIGHT = "schedule.box_loss_weight"  # 0 is an ablation, any other value is not
RANKING = "ranking"
FINGERPRINT = "data.fingerprint"
ABSENT = object()


@dataclass(frozen=True, eq=False)
class RunFacts:
    """What a run's log states about the group that the run belongs to."""

    run: Run
    loss: str
    identity: dict[str, Any]
    fixed: dict[str, Any]  # what the group has in common; a dict stands for the values that the recipe has by loss
    words: tuple[str, ...]  # of the run's command, without what VARIED names
    processes: int  # that the command starts


@dataclass(eq=False)
class Group:
    """Runs with the same `fixed`, and others that differ from them only in how their values were given."""

    own: list[RunFacts]
    joined: list[RunFacts] = field(default_factory=list)

    @property
    def fixed(self) -> dict[str, Any]:
        """What its runs have in common."""
        return self.own[0].fixed

    @property
    def words(self) -> tuple[str, ...]:
        """The fewest words that make its runs."""
        return min((facts.words for facts in self.own), key=lambda words: (len(words), words))


def group_runs(runs: Iterable[Run]) -> list[Group]:
    """Group the runs of detectors by what they have in common; other runs are left out.

    A run whose values were given by hand joins the group in which they are the recipe's, if there is exactly one. A run
    whose loss ranks nothing also joins each group that differs only in how anchors are ranked.
    """
    by_fixed: dict[Any, Group] = {}
    for run in runs:
        facts = facts_of(run)
        if facts is not None:
            by_fixed.setdefault(_hashable(facts.fixed), Group([])).own.append(facts)
    groups = list(by_fixed.values())
    matches, lasting = {}, groups
    for _ in range(2):  # only a group that keeps a run can be joined, and only such ones make a match ambiguous
        matches = {id(facts): _only_match(facts, lasting) for group in groups for facts in group.own}
        lasting = [group for group in groups if any(matches[id(facts)] is None for facts in group.own)]
    result = {id(group): Group([]) for group in groups}
    for group in groups:
        for facts in group.own:
            match = matches[id(facts)]
            if match in lasting:
                result[id(match)].joined.append(facts)
            else:
                result[id(group)].own.append(facts)
    grouped = [group for group in result.values() if group.own]
    for group in grouped:
        group.joined += _without_ranking(group, grouped)
    return grouped


def facts_of(run: Run) -> RunFacts | None:
    """Return what a run's log states about its group; None if it trained no detector or does not state it."""
    config = run.config
    identity = {key.removeprefix("identity."): value for key, value in config.items() if key.startswith("identity.")}
    loss = identity.get("loss.name")
    if loss not in LOSSES or "command.canonical" not in config:
        return None
    has_box_loss = identity.get(BOX_LOSS_WEIGHT) != 0
    words, processes = _words_of(config["command.canonical"], has_box_loss)
    fixed = {key: value for key, value in identity.items() if not _is_varied(key)}
    options = {key for key in map(key_of, words) if key.startswith(OPTIONS) and key in identity}
    fixed |= {key: identity[key] for key in options}
    if not has_box_loss:
        del fixed[BOX_LOSS_WEIGHT]
    for key, table in _tables(config).items():
        if table.get(loss, identity.get(key)) == identity.get(key):
            fixed[key] = table
    return RunFacts(run, loss, identity, fixed | {FINGERPRINT: config.get(FINGERPRINT)}, words, processes)


def differing_keys(groups: list[Group]) -> set[str]:
    """Return the keys in which these groups differ from each other."""
    keys = {key for group in groups for key in group.fixed}
    return {key for key in keys if len({_hashable(group.fixed.get(key, ABSENT)) for group in groups}) > 1}


def words_of_attack(command: str) -> list[str]:
    """Return the options that a command gives its attack: ["attack.images=24"]."""
    keys = {word: key_of(word) for word in shlex.split(command)}
    return [word for word, key in keys.items() if key.startswith("attack.") and key != "attack.name"]


def _is_varied(key: str) -> bool:
    return key.partition(".")[0] in VARIED


def _words_of(command: str, has_box_loss: bool) -> tuple[tuple[str, ...], int]:
    """Return the overrides of a command that its group has in common, and how many processes it starts."""
    parts = shlex.split(command)
    start = parts.index("-m") + 2
    processes = int(parts[parts.index("--nproc-per-node") + 1]) if "--nproc-per-node" in parts else 1
    kept = []
    for word in parts[start:]:
        key = key_of(word)
        is_option = key.startswith(OPTIONS) and not key.endswith(".name")
        if is_option or not (_is_varied(key) or (key == BOX_LOSS_WEIGHT and not has_box_loss)):
            kept.append(word)
    return tuple(kept), processes


def _tables(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return by key the values that the run's recipe has for each loss."""
    tables: dict[str, dict[str, Any]] = {}
    for name, value in config.items():
        if name.startswith("by_loss."):
            key, _, loss = name.removeprefix("by_loss.").rpartition(".")
            tables.setdefault(key, {})[loss] = value
    return tables


def _only_match(facts: RunFacts, groups: list[Group]) -> Group | None:
    """Return the only group in which the run's values are the usual ones; None if there is none, or there are more."""
    matches = [group for group in groups if _differs_in_wording_alone(facts, group)]
    # A group without box loss is itself part of one with it.
    matches = [group for group in matches if BOX_LOSS_WEIGHT in group.fixed] or matches
    return matches[0] if len(matches) == 1 else None


def _differs_in_wording_alone(facts: RunFacts, group: Group) -> bool:
    """Return whether a run is not of a group, but has its values, given by hand where the group has the usual ones."""
    keys = facts.fixed.keys() | group.fixed.keys()
    pairs = {key: (facts.fixed.get(key, ABSENT), group.fixed.get(key, ABSENT)) for key in keys}
    differences = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    return bool(differences) and all(_is_usual(key, facts, group) for key in differences)


def _is_usual(key: str, facts: RunFacts, group: Group) -> bool:
    value, usual = facts.fixed.get(key, ABSENT), group.fixed.get(key, ABSENT)
    if isinstance(usual, dict):
        return usual.get(facts.loss, ABSENT) == value
    if key == BOX_LOSS_WEIGHT:
        return value is ABSENT and not any(key_of(word) == key for word in group.words)
    if key.startswith(OPTIONS) and usual is ABSENT:
        return any(other.loss == facts.loss and other.identity.get(key, ABSENT) == value for other in group.own)
    return False


def _without_ranking(group: Group, groups: list[Group]) -> list[RunFacts]:
    """Return the runs of other groups that belong to this one too, as their loss uses no ranking."""
    if RANKING not in group.fixed:
        return []
    rest = {key: value for key, value in group.fixed.items() if key != RANKING}
    others = [other for other in groups if other.fixed == rest]
    runs = [facts for other in others for facts in (*other.own, *other.joined)]
    return [facts for facts in runs if facts.loss in LOSSES and not LOSSES[facts.loss].ranks]


def _hashable(value: Any) -> Any:
    """Return the same for what is equal: a server gives 1 for 1.0, and keys in any order."""
    if isinstance(value, dict):
        return frozenset((key, _hashable(inner)) for key, inner in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
