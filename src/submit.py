"""Write the file for an evaluation server from a finished run, without training.

python -m src.submit ID                                                      the run's own test split
python -m src.submit ID dataset.test=2012_test                               PASCAL VOC's server
python -m src.submit ID dataset.test=test-dev2017 test.scales=[400,500,600]  COCO's, at several scales

The detector is that of the run's last checkpoint. VOC's file is a .tar.gz with results/VOC2012/Main/comp4_det_test_
<class>.txt, COCO's a .zip with a JSON file; both are named after the run, and written into its folder. The split may
lack annotations: a VOC list of images without XML files, or COCO's image_info_test-dev2017.json. If it has them, the
file is read back and its AP is printed. Nothing is sent to a server.
"""

import argparse
import logging
from pathlib import Path

from src.launch.cli import exit_on_wrong_configuration
from src.runs.state import check_outputs
from src.utils.errors import UserError


def submit(directory: Path, changes: list[str], folder: Path | None) -> Path:
    """Write the server's file of a finished run, print what it contains, and return its path.

    Args:
        directory: the run's folder.
        changes: test options that replace the run's own, such as "dataset.test=2012_test".
        folder: to write into; None for the run's.

    Raises:
        UserError: the run has not finished or takes all classes as one, its data cannot be read, or the file cannot be
            written.
    """
    # What needs torch is imported only here: it takes seconds, which --help can do without.
    from src.data.server_splits import read_server_split
    from src.evaluation.coco_metrics import COCO_METRICS, evaluate_detections
    from src.evaluation.server_files import read_server_file, server_file, write_server_file
    from src.training.retest import detect_on, read_finished_run

    run = read_finished_run(directory, changes)
    dataset = run.config.dataset
    if dataset.classes_as_one:  # an RPN's run
        raise UserError(f"{directory} has dataset.classes_as_one=true: its detections have no classes to submit")
    split = read_server_split(dataset.format, dataset.root, split=dataset.test, classes=run.classes)
    folder, name = folder or directory, directory.resolve().name
    server_file(folder, split, classes=run.classes, name=name)
    path = write_server_file(folder, split, detect_on(run, split.records), classes=run.classes, name=name)
    written = read_server_file(path, split, run.classes)
    print(f"{path}: {sum(len(one.scores) for one in written)} detections on {len(split.records)} images")
    if not split.annotated:
        print(f"The images of {dataset.test} have no annotations here, so no AP is computed: the server does that")
    elif not any(len(record.training_objects()[0]) for record in split.records):
        print(f"Every object of {dataset.test} is difficult or a crowd, or there is none, so there is no AP")
    else:
        metrics = evaluate_detections(
            split.records, written, run.classes, max_detections=run.config.model.max_detections
        )
        headline = [*COCO_METRICS[:3], "VOC07_AP50", "VOC12_AP50"]
        print("As read back from it: " + ", ".join(f"{key} {metrics[key]:.2f}" for key in headline))
    return path


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m src.submit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="id of a finished run, or its folder")
    parser.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="test options that replace the run's own")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of all runs (default: outputs)")
    parser.add_argument("--folder", type=Path, help="folder to write to (default: the run's)")
    options = parser.parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    directory = options.outputs / options.run
    if not directory.is_dir() and Path(options.run).is_dir():
        directory = Path(options.run)
    try:
        with exit_on_wrong_configuration():
            check_outputs(options.outputs)
            submit(directory, options.changes, options.folder)
    except KeyboardInterrupt:
        raise SystemExit("stopped") from None  # the path of a file that was written is on the terminal already


if __name__ == "__main__":
    main()
