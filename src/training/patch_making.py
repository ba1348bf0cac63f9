"""Make an adversarial patch against a finished detector, as a run of its own."""

import time
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

from PIL import Image
from torch import Tensor
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from src.config.registry import LOSSES
from src.robustness.adversarial_patch import PatchMaker, PatchOptions, make_patch
from src.robustness.attacked_detector import AttackedDetector
from src.runs.kept_rows import KeptRows
from src.training.checkpoint import load_on_all, save_checkpoint
from src.training.run_log import RunLog
from src.training.tester import Tester
from src.utils.distributed import World
from src.utils.errors import UserError
from src.utils.files import write_atomically
from src.utils.progress import progress_bar
from src.utils.signals import Interrupted

FILE = "patch.png"


def make_and_log_patch(tester: Tester, log: RunLog) -> dict[str, float]:
    """Make a patch on the training images, from the last checkpoint if there is one, and log the loss of each step.

    With several processes, each makes the same patch.
    """
    config, world, tracker = tester.config, tester.world, log.tracker
    attacked = AttackedDetector(tester.detector, tester.network, LOSSES[config.loss.name].background_output)
    options = PatchOptions(**{field.name: config.attack[field.name] for field in fields(PatchOptions)})
    maker = PatchMaker(attacked, options, seed=config.seed)
    checkpoint = log.directory / "checkpoint.pt"
    progress = load_on_all(world, checkpoint, {"maker": maker}, log.lineage) or {"rows": []}
    tracker.resume(maker.steps, KeptRows.from_plain(progress["rows"]), log.lineage)

    def save() -> None:
        if world.is_main:
            kept = {"step": maker.steps, "rows": tracker.rows.to_plain()}
            tester.guard.write(partial(save_checkpoint, checkpoint, {"maker": maker}, kept, log.lineage))

    saved = time.monotonic()
    batches = replace(tester.data, world=World()).training_batches
    left = range(maker.steps, config.attack.steps)
    with progress_bar(left, "adversarial patch", done=maker.steps, shown=world.is_main) as bar:
        for loss in make_patch(maker, batches, config.attack.steps):
            tracker.step = maker.steps
            tester.guard.note_step()
            try:
                tracker.log({"patch_loss": loss})
                tester.guard.check_stop()
            except Interrupted:
                save()
                raise
            if time.monotonic() - saved > 60 * config.checkpoint_minutes:
                save()
                saved = time.monotonic()
            bar.update()
    save()
    if world.is_main:
        file = log.directory / FILE
        write_atomically(file, lambda temporary: to_pil_image(maker.patch).save(temporary, format="PNG"))
        tracker.log_image("patch", file)
    return {"patch_loss": maker.loss}


def read_patch(directory: Path) -> Tensor:
    """Return the patch, uint8 [3, S, S], that a finished run has made.

    Raises:
        UserError: it is not there, or is damaged.
    """
    file = directory / FILE
    try:
        with Image.open(file) as image:
            return pil_to_tensor(image.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise UserError(
            f"{file} cannot be read ({error}): delete {directory}, and the same command makes the patch again"
        ) from None
