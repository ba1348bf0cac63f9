"""The history of a run's state: its attempts, each with the versions of code and packages that it used."""

import importlib.metadata
import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.runs.provenance import code_digest, code_version
from src.utils.errors import UserError

logger = logging.getLogger(__name__)

PACKAGES = ["torch", "torchvision", "hydra-core", "pycocotools", "wandb", "numpy", "pillow"]
Attempt = dict[str, Any]


def describe_attempt(number: int) -> Attempt:
    """Return a description of the attempt that this process makes: its number, versions and host."""
    return {
        "attempt": number,
        "code": code_digest(),
        **code_version(),
        "python": platform.python_version(),
        "versions": package_versions(),
        "host": platform.node(),
    }


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that affect a run's results, or how they are logged."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


@dataclass
class Lineage:
    """The attempts that have led to the present state of a run, from the first step on.

    Args:
        directory: the run's folder, whose name is the run's id.
        attempts: the last one is this process's; see :func:`describe_attempt`.
        data: the fingerprint of the run's data; None if it has none.
    """

    directory: Path
    attempts: list[Attempt] = field(default_factory=list)
    data: str | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"run_id": self.directory.name, "data": self.data, "attempts": self.attempts}

    def continue_from(self, kept: Mapping[str, Any] | None, file: Path, step: int) -> None:
        """Continue from a checkpoint: its attempts come before this one. A change of versions is logged.

        Args:
            kept: as :meth:`to_plain` returned it; None for a checkpoint of an earlier version.
            file: the checkpoint.
            step: at which it was saved.

        Raises:
            UserError: the checkpoint is another run's, or belongs to other data.
        """
        if kept is None:
            self.attempts = [{**self.attempts[-1], "from_step": step}]
            return
        remedy = "Delete it to start this run anew"
        if kept["run_id"] != self.directory.name:
            raise UserError(f"{file} is of run {kept['run_id']}, not of {self.directory.name}. {remedy}")
        if None not in (kept["data"], self.data) and kept["data"] != self.data:
            raise UserError(f"{file} was trained on other data than this run's are now. {remedy}")
        earlier, this = list(kept["attempts"]), self.attempts[-1]
        if earlier:
            number = max(this["attempt"], earlier[-1]["attempt"] + 1)
            this = {**this, "attempt": number, "from_step": step}
            changes = version_changes(earlier[-1], this)
            if changes:
                logger.warning("%s resumes at step %d with other %s", self.directory, step, ", ".join(changes))
        self.attempts = [*earlier, this]


def version_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs between the versions of two attempts, in words."""
    changes = []
    if before.get("code") != after.get("code"):
        changes.append(f"code ({_code(before)} → {_code(after)})")
    if before.get("python") != after.get("python"):
        changes.append(f"Python ({before.get('python')} → {after.get('python')})")
    old, new = before.get("versions") or {}, after.get("versions") or {}
    return changes + [f"{name} ({old.get(name)} → {new.get(name)})" for name in new if old.get(name) != new[name]]


def lineage_changes(attempts: Any) -> list[str]:
    """Return all changes of versions between the attempts at a run, in words; none if they are not known."""
    if not isinstance(attempts, list) or not all(isinstance(attempt, dict) for attempt in attempts):
        return []
    pairs = zip(attempts, attempts[1:], strict=False)
    return [
        f"from step {after.get('from_step')}: {', '.join(changes)}"
        for before, after in pairs
        if (changes := version_changes(before, after))
    ]


def _code(attempt: Mapping[str, Any]) -> str:
    """Return an attempt's commit, and the digest of its files if these differ from the commit or there is none."""
    commit, digest = attempt.get("git_commit"), attempt.get("code")
    if not commit:
        return str(digest)
    return f"{commit[:10]}, edited: {digest}" if attempt.get("git_dirty") else commit[:10]
