"""Which runs belong together: those that differ in nothing but the keys that the paper's ablations vary.

Everything is read from what each run logs about itself: its identity, the command that makes it, and `by_loss`, the
values that its recipe has for each loss.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from analysis.reading.grouping import Group, differing_keys, group_runs, words_of_attack
from analysis.reading.needed import needed_by, without_needed
from analysis.reading.runs import Run
from src.config.command import command_line
from src.config.needs import RUN_ID
from src.config.registry import DETECTORS, LOSS_OPTIONS, LOSSES, METHODS, used_options
from src.utils.quoting import shell_quoted

LOSS_TITLES = {name: loss.title for name, loss in LOSSES.items() if loss.trains}
DETECTOR_TITLES = {name: detector.title for name, detector in DETECTORS.items()}
DATA_TITLES = {"voc": "PASCAL VOC", "coco": "COCO", "bccd": "BCCD"}
METHOD_TITLES = {name: method.title for name, method in METHODS.items()}
# Those of the paper: only they are in sweeps/ and in its claims, not a user's own.
PAPER_LOSSES = ("ohem", "focal", "auc", "ap")
PAPER_METHODS = ("error_driven", "structured_hinge", "approximate_gradient")
# What the paper's experiments vary, at its usual values; `None` is none at all.
STANDARD: dict[str, Any] = {
    "loss": "ap",
    "method": "error_driven",
    "step": "piecewise",
    "delta": 1.0,
    "interpolated": True,
    "batch_size": 8,
    "box_loss": True,
    "attack": None,
    "proposals": None,
    "rpn_epochs": None,  # of the RPN that chooses proposals
    "snapshot": None,
}


def ablation_values(config: dict[str, Any]) -> dict[str, Any]:
    """Return what a run's configuration has for the keys of STANDARD, as far as its loss uses them."""
    proposals = None if config.get("proposals") == "all" else config.get("proposals")
    return _used(
        {
            "loss": config["loss.name"],
            "method": config.get("method.name", "error_driven"),
            "step": config.get("step", "piecewise"),
            "delta": float(config.get("delta", 1.0)),
            "interpolated": config.get("interpolated", True),
            "batch_size": int(config["batch_size"]),
            "box_loss": config.get("schedule.box_loss_weight") != 0,
            "attack": _attack(config),
            "proposals": proposals,
            "rpn_epochs": None if proposals is None else config.get("rpn_epochs"),
            "snapshot": _snapshot(config),
        }
    )


def _attack(config: dict[str, Any]) -> str | None:
    """Return an attack's name and the options that the command gives it: "deepfool attack.images=24"; None without."""
    name = config.get("attack.name", "none")
    return None if name == "none" else " ".join([name, *words_of_attack(config.get("command.canonical", ""))])


def _attack_options(config: dict[str, Any]) -> frozenset[tuple[str, str]]:
    """Return an attack's name and all of its options, whether the command gives them or not."""
    options = {key: value for key, value in config.items() if key.startswith("identity.attack.")}
    return frozenset((key, repr(value)) for key, value in ({"name": config.get("attack.name")} | options).items())


def _snapshot(config: dict[str, Any]) -> str | None:
    """Return how a run's snapshot differs from it, None without; of ids, which differ by seed, that it is one."""
    text = config.get("snapshot")
    return "by its id" if text is not None and RUN_ID.fullmatch(text) else text


def is_whole_training(run: Run) -> bool:
    """Return whether a run trained for whole epochs, and not for so many steps to measure time and memory."""
    return run.config.get("schedule.steps") is None


def _used(values: dict[str, Any]) -> dict[str, Any]:
    """Return those of the values that count with the loss and the method that they choose."""
    config = {"loss": {"name": values["loss"]}, "method": {"name": values["method"]}, "step": values["step"]}
    used = used_options(config) if values["loss"] in LOSSES and values["method"] in METHODS else []
    return {key: value for key, value in values.items() if key in used or key not in LOSS_OPTIONS}


@dataclass(frozen=True)
class Setting:
    """Runs that differ in nothing but seeds and the keys of STANDARD."""

    words: tuple[str, ...]  # the overrides that its runs have in common: ("recipe=mini", "schedule.epochs=3")
    config: dict[str, Any] = field(default_factory=dict)  # of one of its runs
    runs: list[Run] = field(default_factory=list)
    difference: str = ""  # from another setting with the same words: "data.fingerprint=…"
    processes: int = 1  # that train each run together, if that changes its numbers

    @property
    def overrides(self) -> str:
        """The words as a shell takes them, by which tables and figures name the setting."""
        words = " ".join(map(shell_quoted, self.words))
        return f"{words} # {self.difference}" if self.difference else words

    @property
    def seeds(self) -> list[int]:
        """The seeds of its runs, but for those that others of them need: a patch is made with another seed."""
        needed = needed_by(self.runs)
        return sorted({run.config["seed"] for run in self.runs if run.run_id not in needed})

    def select(self, **changes: Any) -> list[Run]:
        """Return the runs that differ from STANDARD in these values alone, in the order of their seeds."""
        return list(self._by_values.get(frozenset(_used(STANDARD | changes).items()), []))

    @property
    def losses(self) -> dict[str, str]:
        """The titles of the paper's losses, and of a user's own that a run has."""
        used = {run.config["loss.name"] for run in self.runs}
        return {loss: title for loss, title in LOSS_TITLES.items() if loss in PAPER_LOSSES or loss in used}

    def by_loss(self) -> dict[str, list[Run]]:
        """Return the runs of each of `losses` that otherwise have the values of STANDARD."""
        return {loss: self.select(loss=loss) for loss in self.losses}

    def attacks(self, name: str) -> list[str]:
        """Return an attack of this name with each choice of options that any run has, that of most runs first."""
        values = [self._values[run.run_id]["attack"] for run in self.runs]
        counts = Counter(value for value in values if value is not None and value.split()[0] == name)
        return sorted(counts, key=lambda value: (-counts[value], value)) or [name]

    @cached_property
    def _by_values(self) -> dict[frozenset[tuple[str, Any]], list[Run]]:
        """The runs by their :attr:`_values`."""
        by_values: dict[frozenset[tuple[str, Any]], list[Run]] = {}
        for run in sorted(self.runs, key=lambda run: run.config["seed"]):
            by_values.setdefault(frozenset(self._values[run.run_id].items()), []).append(run)
        return by_values

    @cached_property
    def _values(self) -> dict[str, dict[str, Any]]:
        """The :func:`ablation_values` of each run by its id; of the same attack the name with the fewest words.

        Commands may give an option its usual value, or write it in another way.
        """
        values = {run.run_id: ablation_values(run.config) for run in self.runs}
        names: dict[frozenset[tuple[str, str]], list[str]] = {}
        attacked = [run for run in self.runs if values[run.run_id]["attack"] is not None]
        for run in attacked:
            names.setdefault(_attack_options(run.config), []).append(values[run.run_id]["attack"])
        for run in attacked:
            same = names[_attack_options(run.config)]
            values[run.run_id]["attack"] = min(same, key=lambda name: (len(name), name))
        return values

    def command(self, sweep: str, seeds: Iterable[int] = ()) -> str:
        """Return the command that makes the runs of a file of sweeps/ in this setting; those that exist are skipped."""
        return self.command_of_words([f"sweeps={sweep}"], seeds)

    def command_of_words(self, words: Iterable[str], seeds: Iterable[int]) -> str:
        """Return the command that makes the runs of these words and of each seed in this setting."""
        listed = ",".join(map(str, sorted(seeds)))
        all_words = [*words, *self.words, *([f"seed={listed}"] if listed else [])]
        return command_line("src.run", all_words, ["-m"], self.processes)

    def is_made_by(self, words: Iterable[str]) -> bool:
        """Return whether these words make its runs, wherever the data are; a recipe's literal form is the recipe."""

        def compared(words: Iterable[str]) -> set[str]:
            kept = (word for word in words if not word.startswith("dataset.root="))
            return {word.removesuffix("_paper") if word.startswith("recipe=") else word for word in kept}

        return compared(self.words) == compared(words)

    @property
    def detector(self) -> str:
        """ "retinanet" or "ssd"."""
        return self.config.get("model.name", "retinanet")

    @property
    def detector_title(self) -> str:
        """The detector as papers write it; of one that is not registered here, its name."""
        return DETECTOR_TITLES.get(self.detector, self.detector)

    @property
    def data(self) -> str:
        """The name of its data set."""
        return self.config.get("dataset.name", "")

    @property
    def data_title(self) -> str:
        """The data set as papers write it; of a user's own, its name."""
        return DATA_TITLES.get(self.data, self.data)


def settings(runs: Iterable[Run]) -> list[Setting]:
    """Return the settings that these runs have, that with most seeds first, and of several that with most runs.

    Runs that trained no detector are left out. So are groups of runs that exist only because others need them, as
    snapshots and RPNs do: each is needed, directly or not, by a run that belongs elsewhere. A run whose loss ranks
    nothing belongs to every setting that differs only in how anchors are ranked.
    """
    runs = list(runs)
    order = {id(run): number for number, run in enumerate(runs)}
    groups = without_needed(group_runs(runs))
    result = []
    for group in groups:
        members = [facts.run for facts in (*group.own, *group.joined)]
        members.sort(key=lambda run: order[id(run)])
        difference = _difference(group, [other for other in groups if other.words == group.words])
        result.append(Setting(group.words, group.own[0].run.config, members, difference, group.own[0].processes))
    return sorted(result, key=lambda setting: (-len(setting.seeds), -len(setting.runs), setting.overrides))


def _difference(group: Group, alike: list[Group]) -> str:
    """Return in what a group differs from those with the same words: "data.fingerprint=…"; "" if it is the only one."""
    return ", ".join(f"{key}={_in_order(group.fixed.get(key))}" for key in sorted(differing_keys(alike)))


def _in_order(value: Any) -> Any:
    """Return a value whose text is the same wherever it was read: a server gives the keys of a dict in any order."""
    return dict(sorted(value.items())) if isinstance(value, dict) else value


def command_of(run: Run) -> str:
    """Return the command that makes this run again; empty for a run that is not this project's.

    On a CPU it sets the number of threads, as sums in another order have other last digits.
    """
    command = run.config.get("command.canonical", "")
    threads, device = (run.config.get(f"environment.{key}") for key in ("threads", "device"))
    return f"OMP_NUM_THREADS={threads} {command}" if command and threads and str(device).endswith("CPU") else command
