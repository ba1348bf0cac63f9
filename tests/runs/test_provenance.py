"""The commit that a run notes, and whether what decides its numbers was edited."""

import subprocess

import pytest

from src.runs.provenance import code_version
from src.utils import paths


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository in the place of this one, with one commit."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src/run.py").write_text("a = 1\n")
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def test_data_and_files_beside_the_code_are_no_edit_of_it(checkout):
    assert len(code_version()["git_commit"]) == 40 and code_version()["git_dirty"] is False
    (checkout / "VOCdevkit").mkdir()
    (checkout / "VOCdevkit/a.jpg").touch()
    (checkout / "slurm").mkdir()
    (checkout / "slurm/mine.yaml").touch()
    assert code_version()["git_dirty"] is False
    (checkout / "src/new.py").touch()
    assert code_version()["git_dirty"] is True


def test_the_commit_of_a_repository_around_is_not_the_codes(checkout, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", checkout / "src")
    assert code_version() == {"git_commit": None, "git_dirty": None}
    monkeypatch.setattr(paths, "ROOT", checkout)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert code_version() == {"git_commit": None, "git_dirty": None}
