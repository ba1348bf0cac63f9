"""Programs that are forked behave as those of a fresh interpreter."""

import os
import signal
import subprocess

import pytest

from tests.support.programs import run_python, start_python

pytestmark = pytest.mark.slow

FACTS = """
import json, os, sys
print(json.dumps([sys.argv, os.getcwd(), dict(os.environ), sys.stdin.read(), __name__, os.isatty(1)]))
print("to stderr", file=sys.stderr)
"""
EXITS = {
    "pass": 0,
    "raise SystemExit(7)": 7,
    "raise SystemExit('a message')": 1,
    "raise ValueError('a message')": 1,
    "import os; os._exit(9)": 9,
    "import atexit; atexit.register(print, 'at exit'); raise SystemExit(3)": 3,
    "import threading; threading.Timer(0.1, print, ['from a thread']).start()": 0,
    "raise KeyboardInterrupt": -signal.SIGINT,
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": -signal.SIGKILL,
}


@pytest.mark.parametrize("code", EXITS)
def test_exit_codes_and_messages_are_those_of_a_fresh_interpreter(code):
    forked, fresh = (run_python(["-c", code], fresh=fresh) for fresh in (False, True))
    assert forked.returncode == fresh.returncode == EXITS[code]
    assert forked.stdout == fresh.stdout and forked.stderr.splitlines()[-1:] == fresh.stderr.splitlines()[-1:]


def test_arguments_folder_environment_and_streams_are_the_callers(tmp_path):
    options = {"environment": {"PATH": os.environ["PATH"], "ONE": "1"}, "folder": tmp_path, "input": "some input"}
    forked, fresh = (run_python(["-c", FACTS, "a", 1], fresh=fresh, **options) for fresh in (False, True))
    assert forked.stdout == fresh.stdout.replace(', "LC_CTYPE": "C.UTF-8"', "")
    assert forked.stderr == fresh.stderr == "to stderr\n"


def test_a_module_of_the_project_is_the_main_module_and_starts_without_warnings():
    done = run_python(["-m", "src.status", "--help"])
    assert done.returncode == 0 and done.stdout.startswith("usage: python -m src.status") and not done.stderr


def test_one_program_leaves_nothing_to_the_next():
    assert run_python(["-c", "import os, json; json.left = 1; os.environ['LEFT'] = '1'"]).returncode == 0
    code = "import os, json; raise SystemExit('LEFT' in os.environ or hasattr(json, 'left'))"
    assert run_python(["-c", code]).returncode == 0


def test_a_program_can_be_awaited_stopped_and_killed():
    process = start_python(["-c", "import time; print('begun', flush=True); time.sleep(600)"])
    assert process.stdout.readline() == "begun\n" and process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == -signal.SIGTERM
    process.send_signal(signal.SIGTERM)  # which reaches nobody


def test_processes_that_load_images_can_be_forked_and_spawned():
    code = """
import multiprocessing, torch
from torch.utils.data import DataLoader
if __name__ == "__main__":
    assert torch.get_num_threads() == 1
    for method in ("fork", "spawn"):
        loader = DataLoader(range(8), batch_size=4, num_workers=1, multiprocessing_context=method)
        assert [batch.sum().item() for batch in loader] == [6, 22]
"""
    done = run_python(["-c", code])
    assert done.returncode == 0, done.stderr
