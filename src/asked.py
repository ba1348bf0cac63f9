"""Which runs sweeps have asked for, noted in the folder of outputs so that nothing is composed twice to know it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from src.files import read_json, write_json

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Asked:
    """What the arguments of `python -m <program> -m` ask for."""

    program: str  # src.run or src.linear
    arguments: list[str]
    runs: dict[str, str]  # the name of each run's folder, and the overrides that make it
    made: bool  # whether somebody has asked for the runs themselves, or only how far they are
    version: str  # of the configuration files and the schema

    @property
    def command(self) -> str:
        """The command line that makes the runs."""
        return " ".join(["python -m", self.program, "-m", *self.arguments])


def write_asked(asked: Asked, outputs: Path) -> None:
    """Notes what has been asked for in a folder of outputs."""
    file = _file(outputs, asked.program, asked.arguments)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, asdict(asked))


def read_asked(program: str, arguments: list[str], outputs: Path) -> Asked | None:
    """What is known of these arguments, perhaps from other configuration files; None if nothing."""
    known = read_json(_file(outputs, program, arguments))
    return None if known is None else Asked(**known)


def sweeps_made(outputs: Path) -> list[Asked]:
    """All sweeps whose runs have been asked for with their outputs in this folder."""
    known = [Asked(**read_json(file)) for file in sorted((outputs / ".sweeps").glob("*.json"))]
    return [asked for asked in known if asked.made]


def present_version() -> str:
    """Of all that decides which runs some arguments ask for."""
    files = [*ROOT.glob("conf/**/*.yaml"), *ROOT.glob("sweeps/*.yaml"), *ROOT.glob("src/*config.py")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:10]


def _file(outputs: Path, program: str, arguments: list[str]) -> Path:
    digest = hashlib.sha256(json.dumps([program, *arguments]).encode()).hexdigest()[:10]
    return outputs / ".sweeps" / f"{digest}.json"
