import json

import pytest

from src.launch.status_text import describe_run, describe_sweeps
from src.runs.run_lock import acquire


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


@pytest.mark.parametrize("content", [b"command: \xff", b"command: {", b"command: 1", b"1", b""])
def test_a_run_whose_configuration_is_damaged_is_shown_without_a_command(content, tmp_path):
    (tmp_path / "0123456789").mkdir()
    (tmp_path / "0123456789/config.yaml").write_bytes(content)
    acquire(tmp_path / "0123456789").release()
    text = describe_run("0123456789", tmp_path, sweeps=[])
    assert "0123456789  interrupted" in text and "  command " not in text
    assert "Other runs that have not finished" not in describe_sweeps([], tmp_path, others_too=True)
