"""What a checkpoint restores, and which weights other runs take from it."""

import pytest
import torch
from torch import nn

from src.runs.lineage import Lineage
from src.training.checkpoint import load_checkpoint, load_weights, save_checkpoint
from src.utils.errors import UserError


def save(directory, network):
    directory.mkdir()
    lineage = Lineage(directory, [{"attempt": 1}], "fingerprint")
    save_checkpoint(directory / "checkpoint.pt", {"model": network}, {"step": 1}, lineage)


def test_a_run_goes_on_with_the_random_numbers_that_followed(tmp_path):
    network, lineage = nn.Linear(2, 1), Lineage(tmp_path / "run", [{"attempt": 2}], "fingerprint")
    save(tmp_path / "run", network)
    expected = torch.rand(4)
    assert load_checkpoint(tmp_path / "run" / "checkpoint.pt", {"model": network}, lineage) == {"step": 1}
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("content", [nn.Linear(2, 1).state_dict(), [1], {"progress": {"step": 1}}])
def test_a_file_that_is_no_checkpoint_is_refused_by_name(content, tmp_path):
    file = tmp_path / "checkpoint.pt"
    torch.save(content, file)
    with pytest.raises(UserError, match=r"checkpoint\.pt belongs to another model.*Delete it"):
        load_checkpoint(file, {"model": nn.Linear(2, 1)}, Lineage(tmp_path, [{"attempt": 1}]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], r"checkpoint\.pt cannot be read .*: delete"),
        ({"model": {}, "lineage": 1}, r"checkpoint\.pt cannot be read .*: delete"),
        ({"model": [1]}, r"checkpoint\.pt is of another network"),
        ({"model": {}}, r"checkpoint\.pt is of another network"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused_by_name(content, message, tmp_path):
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match=message):
        load_weights(tmp_path, nn.Linear(2, 1))


def test_weights_of_other_data_another_network_or_another_run_are_refused(tmp_path):
    network, other = nn.Linear(2, 1), nn.Linear(2, 1)
    save(tmp_path / "run", network)
    for data in ("fingerprint", None):
        nn.init.zeros_(other.weight)
        load_weights(tmp_path / "run", other, data)
        assert torch.equal(other.weight, network.weight)
    with pytest.raises(UserError, match=r"checkpoint\.pt was trained on other data than this run's: delete"):
        load_weights(tmp_path / "run", other, "another")
    with pytest.raises(UserError, match=r"checkpoint\.pt is of another network"):
        load_weights(tmp_path / "run", nn.Linear(3, 1))
    with pytest.raises(UserError, match=r"^\S*checkpoint\.pt is of another network.{,400}…$"):  # . is no line end
        load_weights(tmp_path / "run", nn.Sequential(*(nn.Linear(1, 1) for _ in range(99))))
    (tmp_path / "run").rename(tmp_path / "renamed")
    with pytest.raises(UserError, match=r"checkpoint\.pt is of run run: delete"):
        load_weights(tmp_path / "renamed", other)
