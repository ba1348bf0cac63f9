import json

import pytest

from src.launch.status_text import describe_run


@pytest.mark.parametrize(
    ("overrides", "program", "command"),
    [
        (["loss=ap", "dataset.root='my data'"], "src.run", """python -m src.run loss=ap 'dataset.root="my data"'"""),
        (["problem={seed: 1, margin: 0.5}"], "src.linear", "python -m src.linear 'problem={seed: 1, margin: 0.5}'"),
        (
            "loss=ap problem={seed: 1} +a.b=c d slurm=gpu",
            None,
            "python -m src.run loss=ap 'problem={seed: 1}' '+a.b=c d'",
        ),
    ],
    ids=["list", "list of src.linear", "text of version 0.1"],
)
def test_a_submitted_run_has_a_command_that_a_shell_accepts(overrides, program, command, tmp_path):
    note = {"job": "12_3", "overrides": overrides, "time": 0, "code": "a/copy", "log": "a/log"}
    if program is not None:
        note["program"] = program
    (tmp_path / "0123456789").mkdir()
    (tmp_path / "0123456789/submitted.json").write_text(json.dumps(note))
    assert f"  command     {command}" in describe_run("0123456789", tmp_path, sweeps=[]).splitlines()
