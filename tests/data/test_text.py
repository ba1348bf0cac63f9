"""Reading files that have faults."""

import weakref
from pathlib import Path

import pytest

from src.data.records import DataError
from src.data.text import read_each


def test_what_files_with_faults_hold_is_not_kept():
    kept = weakref.WeakSet()
    most = 0

    class Content:
        pass

    def read(path):
        nonlocal most
        content = Content()
        kept.add(content)
        most = max(most, len(kept))
        raise DataError(f"{path}: wrong")

    with pytest.raises(DataError, match=r"^0: wrong\. There are faults in 9 more of the 10 files: 1, 2, .*9 in all"):
        read_each(read, [Path(str(number)) for number in range(10)], "files")
    assert most <= 2
