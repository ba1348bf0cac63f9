import json
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from src.runs.wandb_log import BLOCK, HEADER
from src.runs.wandb_upload import MARKER
from tests.runs.test_wandb_log import read
from tests.support.programs import own_environment, run_python, start_python
from tests.support.wandb_server import OWNER, wandb_server

pytestmark = pytest.mark.slow

LOG = """
import signal, sys
from pathlib import Path
import numpy, wandb
from src.runs.tracking import Tracker

directory, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
config = {"loss": {"name": "ap", "delta": 1.0}, "begun_at": first}
with Tracker(directory, "the name", config, mode="offline", project="proj", entity=None) as tracker:
    for tracker.step in range(first + 1, last + 1):
        tracker.log({"loss": 1 / tracker.step, "begun_at": first, "none": float("nan")})
        if tracker.step % 4 == 0:
            tracker.log({"AP": tracker.step})
    tracker.log({"image": wandb.Image(numpy.full((8, 8, 3), first % 256, numpy.uint8))})
    if sys.argv[4:] == ["wait"]:
        signal.pause()
(directory / "summary.json").write_text('{"metrics": {}}')
"""


def start(directory, first, last, *how):
    """Start a process that logs the steps after `first` to `last`, with the image at the last."""
    directory.mkdir(parents=True, exist_ok=True)
    return start_python(["-c", LOG, directory, first, last, *how])


def finish(process):
    """Wait for the end of a process, which must succeed."""
    output = process.communicate(timeout=60)
    assert process.returncode == 0, output


def kill(process, directory):
    """Kill a process that waits, as soon as all that it has logged is in its file."""
    deadline = time.monotonic() + 60
    while not any("image" in row for file in logs(directory) for row in rows_of(file)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()


def logs(directory):
    return sorted(directory.glob("wandb/offline-run-*/*.wandb"))


def rows_of(file):
    histories = [record.history for record in read(file) if record.HasField("history")]
    return [{item.nested_key[0]: json.loads(item.value_json) for item in history.item} for history in histories]


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Folders of outputs: a whole run and one that was killed and resumed; the killed one; one with a cut log."""
    directory = tmp_path_factory.mktemp("logged")
    outputs = directory / "finished"
    whole = start(outputs / "whole", 0, 300)
    kill(start(outputs / "resumed", 0, 20, "wait"), outputs / "resumed")
    shutil.copytree(outputs, directory / "killed", ignore=shutil.ignore_patterns("whole"), symlinks=True)
    finish(whole)
    finish(start(outputs / "resumed", 16, 30))
    shutil.copytree(outputs, directory / "cut", ignore=shutil.ignore_patterns("whole"), symlinks=True)
    first = logs(directory / "cut/resumed")[0]
    first.write_bytes(first.read_bytes()[:-700])
    empty = directory / "cut/resumed/wandb/offline-run-20200101_000000-resumed/run-resumed.wandb"
    empty.parent.mkdir()
    empty.write_bytes(HEADER)
    return directory


@pytest.fixture
def outputs(logged, tmp_path):
    return Path(shutil.copytree(logged, tmp_path / "outputs", symlinks=True))


@pytest.fixture
def server():
    with wandb_server() as server:
        yield server


def run(arguments, url, key="0" * 40, *, fresh=False, **variables):
    """Run a Python program that uses the W&B server at an address, as a user with this key."""
    environment = own_environment() | {"HOME": "/dev/null", "WANDB_BASE_URL": url, "WANDB_API_KEY": key} | variables
    return run_python(arguments, environment=environment, fresh=fresh)


def sync(outputs, url, *arguments, key="0" * 40, program=("-m", "src.sync"), fresh=False, **variables):
    """Run `python -m src.sync`; return what it leaves, in `lines` what it prints of each run."""
    done = run([*program, "--outputs", outputs, *arguments], url, key, fresh=fresh, **variables)
    assert "Traceback" not in done.stderr, done.stderr
    done.lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    return done


def check(run, files, begun, steps):
    """Check that a run is finished and has each step once: those of each file after the step at which it began."""
    rows = {}
    for file, first in zip(files, begun, strict=True):
        rows = {step: row for step, row in rows.items() if step <= first}
        for row in rows_of(file):
            rows.setdefault(row["global_step"], {}).update(row)
    assert list(rows) == list(range(1, steps + 1))
    assert [row["_step"] for row in run.history] == [row["global_step"] for row in run.history] == list(rows)
    for key in ("loss", "AP", "begun_at", "_timestamp"):
        assert [row.get(key) for row in run.history] == [row.get(key) for row in rows.values()]
    times = [row["_runtime"] for row in run.history]
    assert times == sorted(times)

    assert run.exit_code == 0
    assert run.name == "the name"
    assert run.config["loss"]["value"] == {"name": "ap", "delta": 1}
    assert run.config["begun_at"]["value"] == begun[-1]
    assert run.summary["loss"] == rows[steps]["loss"] and run.summary["AP"] == steps // 4 * 4
    assert len(run.lines["wandb-events.jsonl"]) >= len(files)
    images = [image for file in files for image in file.parent.glob("files/media/images/*")]
    assert len(images) == len(files)
    for image in images:
        assert run.files[f"media/images/{image.name}"] == image.read_bytes()
    assert run.history[-1]["image"]["path"] in run.files


def test_runs_arrive_whole_and_once(outputs, server):
    misleading = {"WANDB_MODE": "offline", "WANDB_RESUME": "allow", "WANDB_RUN_ID": "other", "WANDB_SILENT": "true"}
    done = sync(outputs / "finished", server.url, fresh=True, **misleading)
    assert done.returncode == 0, done.stdout
    assert done.lines == {name: f"uploaded to {server.url}/{OWNER}/proj/runs/{name}" for name in ("resumed", "whole")}
    whole, resumed = logs(outputs / "finished/whole"), logs(outputs / "finished/resumed")
    assert whole[0].stat().st_size > 2 * BLOCK
    check(server.runs[f"{OWNER}/proj/whole"], whole, [0], 300)
    check(server.runs[f"{OWNER}/proj/resumed"], resumed, [0, 16], 30)

    cut = logs(outputs / "cut/resumed")
    assert 16 < len(rows_of(cut[1])) < len(rows_of(resumed[0]))
    sync(outputs / "cut", server.url, "--project", "cut", "--entity", "team")
    check(server.runs["team/cut/resumed"], cut[1:], [0, 16], 30)


def test_unchanged_runs_are_uploaded_once_and_changed_ones_replaced(outputs, server):
    directory = outputs / "killed/resumed"
    done = sync(outputs / "killed", server.url)
    assert done.returncode == 0 and "not finished" in done.lines["resumed"] and not server.runs
    assert sync(outputs / "killed", server.url, "--all", "resumed").returncode == 0
    run = server.runs[f"{OWNER}/proj/resumed"]
    assert run.exit_code == 1 and [row["global_step"] for row in run.history] == list(range(1, 21))
    marker = json.loads((directory / MARKER).read_text())
    assert (marker["project"], marker["entity"]) == ("proj", OWNER)
    assert marker["segments"] == {file.parent.name: file.stat().st_size for file in logs(directory)}

    run.lines["wandb-history.jsonl"].append('{"kept": true}')
    done = sync(outputs / "killed", server.url, "--all")
    assert done.returncode == 0 and "unchanged" in done.lines["resumed"]
    assert run.history[-1] == {"kept": True}
    (directory / "summary.json").write_text('{"metrics": {}}')
    assert "uploaded to" in sync(outputs / "killed", server.url).lines["resumed"]
    assert run.exit_code == 0 and len(run.history) == 20

    finish(start(directory, 8, 12))
    assert "uploaded" in sync(outputs / "killed", server.url).lines["resumed"]
    check(run, logs(directory), [0, 8], 12)


def test_an_unreadable_log_is_named_and_the_others_go_on(outputs, server):
    damaged = logs(outputs / "finished/resumed")[0]
    log = bytearray(damaged.read_bytes())
    log[500] ^= 1
    damaged.write_bytes(log)
    done = sync(outputs / "finished", server.url)
    assert done.returncode == 1
    assert done.lines["resumed"].startswith(f"error: {damaged} is damaged")
    assert set(server.runs) == {f"{OWNER}/proj/whole"}

    (empty,) = logs(outputs / "killed/resumed")
    empty.write_bytes(HEADER)
    done = sync(outputs / "killed", server.url, "--all")
    assert done.returncode == 1
    assert done.lines["resumed"] == f"error: no log of it can be read: {empty}"


@pytest.mark.parametrize("refused", ["upsertBucket", "file_stream", "createRunFiles", "storage"])
def test_a_refused_upload_is_an_error(outputs, server, refused):
    server.refused = refused
    done = sync(outputs / "finished", server.url, "resumed")
    assert done.returncode == 1
    assert done.lines["resumed"].startswith("error: not all has arrived: ")
    assert not (outputs / "finished/resumed" / MARKER).exists()


@pytest.mark.parametrize(
    ("refused", "requests", "kind"),
    [("upsertBucket", "POST", "GRAPHQL"), ("file_stream", "POST", "FILE_STREAM"), ("storage", "PUT", "FILE_TRANSFER")],
)
def test_a_server_that_fails_again_and_again_is_an_error_soon(outputs, server, refused, requests, kind):
    server.refused, server.status = refused, 503  # W&B tries again after this, unlike after a refusal
    waits = {f"WANDB_X_{kind}_RETRY_WAIT_{end}_SECONDS": "1" for end in ("MIN", "MAX")}
    done = sync(outputs / "finished", server.url, "resumed", **waits)
    assert done.returncode == 1
    assert done.lines["resumed"].startswith("error: not all has arrived: ") and len(done.stdout.splitlines()) == 1
    assert f" {requests} {server.url}" in done.lines["resumed"]
    assert "giving up after 6 attempt" in done.lines["resumed"]
    assert not (outputs / "finished/resumed" / MARKER).exists()


def test_a_run_that_is_not_there_and_a_missing_key_are_errors(outputs, server):
    done = sync(outputs / "finished", server.url, "absent", "whole")
    assert done.returncode == 1 and done.stderr.startswith("error: no run absent")
    done = sync(outputs / "finished", server.url, key="")
    assert done.returncode == 1 and "wandb login" in done.stderr and "WANDB_API_KEY" in done.stderr
    done = sync(outputs / "finished", server.url.removeprefix("http://"))
    assert done.returncode == 1 and "error: W&B cannot use the environment variable WANDB_BASE_URL: " in done.stderr


def test_a_server_that_does_not_answer_is_an_error_soon(outputs):
    """The process must end then, which it does not always while W&B's service is still trying."""
    code = "import sys; from src import sync; assert 'torch' not in sys.modules; sync.main()"
    limits = {f"WANDB_X_GRAPHQL_{name}_SECONDS": "1" for name in ("TIMEOUT", "RETRY_WAIT_MAX")}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port, why in [(9, "refused"), (silent.getsockname()[1], "deadline exceeded")]:
            done = sync(outputs / "finished", f"http://127.0.0.1:{port}", program=("-c", code), fresh=True, **limits)
            assert done.returncode == 1 and f"127.0.0.1:{port}" in done.stderr
            assert "W&B cannot be reached" in done.stderr and "giving up after 3 attempt" in done.stderr
            assert why in done.stderr


def test_wandb_sync_alone_repeats_and_loses_rows(outputs, server):
    def upload(files):
        assert run(["-m", "wandb", "sync", *files], server.url, WANDB_DIR=str(outputs)).returncode == 0
        return [row for run in server.runs.values() for row in run.history if "loss" in row]

    rows = upload(logs(outputs / "finished/resumed"))
    assert [row["global_step"] for row in rows] == [*range(1, 21), *range(17, 31)]
    server.runs.clear()
    assert {row["begun_at"] for row in upload(logs(outputs / "cut/resumed")[1:])} == {0}
    server.runs.clear()
    assert upload(logs(outputs / "cut/resumed")) == []
