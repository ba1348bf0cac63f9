"""Hashes of images' files. Each file is read whole once, and then only when it has changed.

What was read is noted in a cache for each data set, with size and times of each file. In the same pass the images are
decoded, so that a broken one is reported before training begins.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from src.data.images import examine_image
from src.data.messages import first_names
from src.data.quick_look import stamp
from src.data.records import DataError, ImageRecord
from src.utils.errors import UserError
from src.utils.files import write_atomically
from src.utils.paths import cache_folder
from src.utils.progress import refresh_interval

logger = logging.getLogger(__name__)

VERSION = 2  # of the cache; raise it when more of an image is checked
UNUSED_S = 7 * 86400.0  # seconds without use after which the cache of a folder that is gone is deleted
STAMP = 5  # the first values of an entry, by which an unchanged image is recognised
Entry = list[Any]  # size and two times of the file, width and height in its annotation, hash, and what is odd


def hash_images(
    records: Sequence[ImageRecord], root: str | Path, *, workers: int, check_stop: Callable[[], None] = lambda: None
) -> dict[Path, str]:
    """Return 32 hexadecimal digits for the bytes of each image's file, and warn of odd images.

    Args:
        records: of the images.
        root: the data set's folder.
        workers: how many threads read; at least one does.
        check_stop: called after each image; what it raises ends the pass, and the next pass continues from there.

    Raises:
        DataError: images cannot be decoded, or disagree with their annotations; the message names them.
    """
    cache = _Cache(Path(root).expanduser().absolute())
    by_path = {record.path: record for record in records}
    entries = {path: entry for path, record in by_path.items() if (entry := cache.entry_of(record))}
    to_read = [record for path, record in by_path.items() if path not in entries]
    problems = _read_all(to_read, cache, entries, workers=workers, check_stop=check_stop)
    if problems:
        first, *others = problems
        also = f". There are faults in {len(others)} more of the {len(by_path)} images: {first_names(others)}"
        raise DataError(f"{problems[first]}{also if others else ''}")
    _warn({path: entries[path][-1] for path in by_path})
    return {path: entries[path][STAMP] for path in by_path}


def _read_all(
    records: list[ImageRecord],
    cache: "_Cache",
    entries: dict[Path, Entry],
    *,
    workers: int,
    check_stop: Callable[[], None],
) -> dict[str, DataError]:
    """Add the entries of images to the cache and to `entries`, and return what is wrong with others, by image id."""
    if not records:
        cache.keep()
        return {}
    problems = {}
    pool = ThreadPoolExecutor(max(workers, 1))
    # Small data sets are done before a bar would appear.
    bar = tqdm(desc="reading images", unit="image", total=len(records), delay=3, mininterval=refresh_interval())
    try:
        for record, entry in zip(records, pool.map(_read, records), strict=True):
            if isinstance(entry, DataError):
                problems[str(record.image_id)] = entry
            else:
                cache.add(record, entry)
                entries[record.path] = entry
            bar.update()
            check_stop()
    finally:
        pool.shutdown(cancel_futures=True)
        bar.close()
        cache.save()
    return problems


def _warn(oddities: dict[Path, list[str]]) -> None:
    """Warn of what is odd about images, with one line for each kind."""
    kinds: dict[str, list[tuple[Path, str]]] = {}
    for path, lines in oddities.items():
        for line in lines:
            kinds.setdefault(re.sub(r"\d+", "", line), []).append((path, line))
    for (path, line), *others in kinds.values():
        names = first_names([other.name for other, _ in others])
        logger.warning("%s %s%s", path, line, f"; likewise {len(others)} more images: {names}" if others else "")


def _read(record: ImageRecord) -> Entry | DataError:
    """Decode an image and hash its file; return its entry in the cache, or what is wrong with it."""
    try:
        before = stamp(record.path)
        oddities = examine_image(record)
        with open(record.path, "rb") as file:
            content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except DataError as error:
        return error
    except OSError as error:
        return DataError(f"{record.path} cannot be read: {error.strerror or error}")
    return [*before, record.width, record.height, content, oddities]


class _Cache:
    """What is known about the files of one data set. It saves time and may be deleted.

    Args:
        root: the data set's folder, an absolute path.
    """

    def __init__(self, root: Path):
        self.root = root
        name = hashlib.blake2b(os.fsencode(root), digest_size=8).hexdigest()
        self.file = cache_folder() / "ap-loss" / f"images-{name}.json"
        self.known = self._load()
        self.added: dict[str, Entry] = {}

    def entry_of(self, record: ImageRecord) -> Entry | None:
        """Return the entry of an image that has not changed since it was read, and whose annotated size is the same."""
        entry = self.known.get(self._name(record))
        try:
            current = [*stamp(record.path), record.width, record.height]
        except OSError:
            return None
        return entry if isinstance(entry, list) and entry[:STAMP] == current else None

    def add(self, record: ImageRecord, entry: Entry) -> None:
        """Note an image that has been read."""
        self.added[self._name(record)] = entry

    def keep(self) -> None:
        """Note that the cache has been used, which keeps it from being deleted."""
        # It may belong to another user, or be deleted by another process just now.
        with contextlib.suppress(OSError):
            os.utime(self.file)

    def save(self) -> None:
        """Write what was added, together with what other processes have written meanwhile."""
        if not self.added:
            return
        head = json.dumps({"version": VERSION, "root": str(self.root)})
        body = json.dumps({**self._load(logging.DEBUG), **self.added}, separators=(",", ":"))
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.file, lambda file: file.write_text(f"{head}\n{body}\n"))
            _delete_unused(self.file.parent)
        except (OSError, UserError) as error:
            logger.warning("%s. All images will be read again next time", error)

    def _name(self, record: ImageRecord) -> str:
        return os.path.relpath(record.path, self.root)

    def _load(self, level: int = logging.WARNING) -> dict[str, Entry]:
        try:
            head, body = self.file.read_text().splitlines()
            content = json.loads(body)
            if json.loads(head)["version"] == VERSION and isinstance(content, dict):
                return content
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, LookupError) as error:
            logger.log(level, "%s cannot be read (%s); all images are read again", self.file, error)
        return {}


def _delete_unused(folder: Path) -> None:
    """Delete the caches of folders that are gone, such as those that clusters provide for one job."""
    for file in folder.glob("images-*.json"):
        try:
            if time.time() - file.stat().st_mtime > UNUSED_S:
                with open(file) as stream:
                    root = json.loads(stream.readline())["root"]
                if not Path(root).exists():
                    file.unlink()
        except (OSError, ValueError, TypeError, LookupError):
            continue  # another process was first, or it is not a cache of this version
