"""What the parts share: each is a program with the same options that leaves its result as JSON."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from src.costs.table import Table


@dataclass(frozen=True)
class PartOptions:
    """The command line of a part."""

    device: str  # "cuda" or "cpu"
    quick: bool  # small sizes, to see that everything works
    folder: Path  # for files that the part needs while it runs


@dataclass
class PartResult:
    """What a part has measured.

    Attributes:
        tables: for people.
        values: the same numbers for programs, as JSON.
        failures: what is wrong, a sentence each; empty where all is right.
    """

    tables: list[Table]
    values: dict[str, Any]
    failures: list[str] = field(default_factory=list)


def run_part(measure: Callable[[PartOptions], PartResult]) -> None:
    """Run a part with this process's options, and write its result to the file that they name."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, required=True, help="for files that are needed meanwhile")
    parser.add_argument("--json", type=Path, required=True, help="file for the result")
    options = parser.parse_args()
    result = measure(PartOptions(options.device, options.quick, options.folder))
    options.json.write_text(json.dumps(asdict(result), indent=2, ensure_ascii=False) + "\n")
    for table in result.tables:
        print(f"\n{table.markdown()}")
    for failure in result.failures:
        print(f"failed: {failure}")
