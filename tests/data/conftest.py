import os
from pathlib import Path

import pytest

from tests.data.voc_folder import add_image, add_list, object_xml


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """The folder of the cache, empty at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    return Path(os.environ["XDG_CACHE_HOME"], "ap-loss")


@pytest.fixture
def small_set(tmp_path, cache):
    """A data set of three training images and one test image."""
    for name in ("a", "b", "c", "d"):
        add_image(tmp_path / "set", name, object_xml("cat"), object_xml("dog", (1, 1, 50, 50)))
    add_list(tmp_path / "set", "train", "a", "b", "c")
    add_list(tmp_path / "set", "test", "d")
    return tmp_path / "set"
