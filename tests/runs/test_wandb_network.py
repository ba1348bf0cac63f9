"""Without a network, a run that is to be logged online is refused at once."""

import socket
import time

import pytest

from src.runs import wandb_network
from src.utils.errors import UserError
from tests.support.wandb_server import wandb_server


def test_a_server_that_answers_will_do_though_it_did_not_for_the_run_before(monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError):
        wandb_network.check_server("online")
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        wandb_network.check_server("online")


def test_without_a_server_offline_is_named(monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    for mode in ("offline", "disabled"):
        wandb_network.check_server(mode)
    with pytest.raises(
        UserError, match="http://127.0.0.1:9 cannot be reached from here .*wandb.mode=offline .*src.sync"
    ):
        wandb_network.check_server("online")


def test_a_server_that_is_silent_is_given_up(monkeypatch):
    monkeypatch.setattr(wandb_network, "WITHIN_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(UserError, match="wandb.mode=offline"):
            wandb_network.check_server("online")
        assert time.monotonic() - start < 5
