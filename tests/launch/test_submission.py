"""Commands that submit runs of one folder wait for each other."""

import threading

from src.launch.submission import alone
from src.runs.run_lock import acquire


def test_a_command_waits_until_another_has_submitted(tmp_path, capsys):
    entered, leave = threading.Event(), threading.Event()

    def submit():
        with alone(tmp_path):
            entered.set()
            leave.wait(60)

    with alone(tmp_path):
        other = threading.Thread(target=submit)
        other.start()
        assert not entered.wait(1.5)
    assert entered.wait(60) and acquire(tmp_path / ".submitting") is None
    assert f"waiting for another command that submits runs of {tmp_path}" in capsys.readouterr().err
    leave.set()
    other.join()
    acquire(tmp_path / ".submitting").release()
