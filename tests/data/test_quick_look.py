"""A quick look at a folder."""

import os
import time
from itertools import pairwise

from src.data.quick_look import look_at


def test_a_look_changes_with_any_file_and_with_nothing_else(tmp_path):
    def look():
        return look_at(tmp_path / "set", tmp_path / "set/outputs")

    file = tmp_path / "set/images/a.jpg"
    file.parent.mkdir(parents=True)
    file.write_text("a")
    (tmp_path / "set/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/images/loop").symlink_to(tmp_path / "set")
    looks = [look()]
    times = file.stat()
    changes = [
        lambda: file.write_text("b"),
        lambda: (file.write_text("c"), os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))),  # as `cp -p` does
        lambda: (tmp_path / "set/images/b.jpg").write_text("b"),
        lambda: (tmp_path / "set/images/b.jpg").rename(tmp_path / "set/images/c.jpg"),
        lambda: (tmp_path / "set/images/c.jpg").unlink(),
        lambda: (tmp_path / "elsewhere").mkdir(),
        lambda: (tmp_path / "elsewhere/d.xml").write_text("d"),
    ]
    for change in changes:
        time.sleep(0.01)  # file systems' clocks tick
        change()
        looks.append(look())
    assert all(before != after for before, after in pairwise(looks))
    assert looks[2] == looks[5]  # nothing differs from before b.jpg came
    (tmp_path / "set/outputs").mkdir()
    for name in ("outputs/log", ".hidden"):
        (tmp_path / "set" / name).write_text("x")
    assert look() == looks[-1]
