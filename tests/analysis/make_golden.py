"""Make the small logs of tests/analysis/golden as the project logs runs: python -m tests.analysis.make_golden

The numbers are round, so that tables of them can be computed by hand; see test_golden.py.
"""

import shutil
import tempfile
from pathlib import Path

from src.runs.wandb_log import read_log, write_log
from tests.analysis.logged import config_of, log_runs

GOLDEN = Path(__file__).parent / "golden"
KEPT = {"header", "run", "config", "history", "exit"}  # the others describe the machine


def evaluations(first: tuple[float, ...], last: tuple[float, ...]) -> list:
    names = ("AP", "AP50", "AP75")
    rows = [(step, {"loss": 1 / step, "epoch": (step - 1) // 2}) for step in (1, 2, 3, 4)]
    return [*rows[:2], (2, dict(zip(names, first, strict=True))), *rows[2:], (4, dict(zip(names, last, strict=True)))]


def make(outputs: Path) -> None:
    """Log the runs: AP-loss and focal loss with two seeds each, one of them resumed, and others."""
    log_runs(
        outputs,
        [
            (config_of(), evaluations((10.0, 20.0, 5.0), (30.0, 60.0, 20.0))),
            (config_of("seed=1"), evaluations((14.0, 24.0, 6.0), (99.0, 99.0, 99.0))),
            (config_of("delta=0.5"), evaluations((8.0, 18.0, 4.0), (29.0, 58.0, 19.0))),
            (config_of("delta=0.5", "seed=1"), evaluations((8.0, 18.0, 4.0), (27.0, 54.0, 18.0))),
            (config_of("delta=4"), evaluations((6.0, 16.0, 3.0), (25.0, 50.0, 17.0))),
            (config_of("loss=focal"), evaluations((9.0, 19.0, 4.0), (31.0, 63.0, 21.0))),
            (config_of("loss=focal", "seed=1"), evaluations((9.0, 19.0, 4.0), (29.0, 61.0, 19.0))),
            (config_of("delta=0.25"), evaluations((99.0, 99.0, 99.0), (99.0, 99.0, 99.0))),
            (config_of("delta=2"), evaluations((99.0, 99.0, 99.0), (99.0, 99.0, 99.0))),
        ],
    )
    # Killed after the last evaluation of its first part, and resumed from the checkpoint after step 2.
    log_runs(outputs, [(config_of("seed=1"), evaluations((14.0, 24.0, 6.0), (32.0, 64.0, 21.0))[2:])])


def main() -> None:
    resumed, cut, failed = (config_of(*words)["run_id"] for words in (["seed=1"], ["delta=0.25"], ["delta=2"]))
    shutil.rmtree(GOLDEN, ignore_errors=True)
    with tempfile.TemporaryDirectory() as temporary:
        make(Path(temporary))
        for file in sorted(Path(temporary).glob("*/wandb/offline-run-*/*.wandb")):
            run_id, records = file.parents[2].name, list(read_log(file, print))
            first = sorted(file.parents[1].glob("offline-run-*"))[0] == file.parent
            kept = [record for record in records if record.WhichOneof("record_type") in KEPT]
            for record in kept:
                if record.HasField("run"):
                    record.run.ClearField("host")
                if record.HasField("exit") and run_id == failed:
                    record.exit.exit_code = 1
            if run_id == cut or (run_id == resumed and first):
                kept = [record for record in kept if not record.HasField("exit")]
            folder = GOLDEN / run_id / "wandb" / f"offline-run-{'1' if first else '2'}"
            folder.mkdir(parents=True)
            write_log(folder / file.name, kept)


if __name__ == "__main__":
    main()
