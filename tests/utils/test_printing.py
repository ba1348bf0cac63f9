"""Printing to a program that does not read to the end, and in any encoding."""

import os
import subprocess
import sys

from src.utils import paths


def test_who_stops_reading_causes_no_error():
    code = "from src.utils.printing import print_while_read; print_while_read('x\\n' * 10**6); print('more')"
    command = f'{sys.executable} -c "{code}" | head -n 1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], cwd=paths.ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "")


def test_what_an_encoding_lacks_becomes_question_marks():
    code = "from src.utils.printing import print_while_read; print_while_read('1 × – δ')"
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=paths.ROOT, env=environment, capture_output=True)
    assert (done.stdout.decode("latin-1"), done.stderr) == ("1 × ? ?\n", b"")
