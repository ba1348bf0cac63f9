"""The losses as a package without the experiments: installed as `aploss`, or copied under another name."""

import json
import shutil
import subprocess
import sys
import zipfile

import pytest

from src import losses
from src.utils import paths

FOLDER = paths.ROOT / "src" / "losses"
# Run where neither the checkout nor the current folder can be imported from. Imports torch and torchvision once, and
# forks for each package: its process prints the modules imported by the package beyond those of torch and torchvision,
# and the loss and update of the three-line example.
EXAMPLES = """
import json, os, sys
import torch, torchvision
before = set(sys.modules)
for folder, name in json.loads(sys.argv[1]):
    if os.fork():
        if os.wait()[1]:
            sys.exit(f"the example has failed with {name}")
        continue
    sys.path.insert(0, folder)
    package = __import__(name)
    logits, targets = torch.tensor([0.0, 1.0, -1.0], requires_grad=True), torch.tensor([1, 0, -1])
    loss = package.ap_loss(logits, targets)
    loss.backward()
    focal = package.focal_loss(logits, targets)
    imported = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
    print(json.dumps([imported, loss.item(), logits.grad.tolist(), package.__file__, sorted(package.__all__)]))
    sys.exit()
"""


def run_examples(packages):
    """Run the example with packages of these names in these folders, each in a process without this checkout.

    Returns:
        By package, what each imports beyond torch and torchvision.
    """
    words = json.dumps([[str(folder), package] for package, folder in packages.items()])
    process = subprocess.run(
        [sys.executable, "-I", "-c", EXAMPLES, words], cwd="/", capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr
    others = {}
    for line, (package, folder) in zip(process.stdout.splitlines(), packages.items(), strict=True):
        imported, loss, update, file, names = json.loads(line)
        assert file == str(folder / package / "__init__.py")
        assert names == sorted(losses.__all__)
        # f(1) = 1 with δ = 1, so that L = 1 / (1 + 1).
        assert loss == 0.5 and update == [-0.5, 0.5, 0]
        of_torch = {package, "torch", "torchvision", *sys.stdlib_module_names}
        others[package] = [name for name in imported if name not in of_torch]
    return others


@pytest.mark.slow
def test_the_wheel_and_a_copy_under_another_name_work_outside_the_checkout_with_torch_and_torchvision_alone(tmp_path):
    checkout = tmp_path / "checkout"
    copy = checkout / "src" / "losses"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    before = sorted(copy.rglob("*"))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
        + ["--wheel-dir", str(tmp_path / "wheels"), str(copy)],
        check=True,
        timeout=300,
    )
    assert sorted(copy.rglob("*")) == before  # a build leaves nothing where a run's code is copied from
    (wheel,) = (tmp_path / "wheels").iterdir()
    assert wheel.name.startswith("aploss-") and wheel.name.endswith("-py3-none-any.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    modules = {file.name for file in FOLDER.glob("*.py")}
    assert {file.name for file in (site / "aploss").iterdir()} == modules | {"py.typed"}
    (metadata,) = site.glob("aploss-*.dist-info/METADATA")
    requirements = [line for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist")]
    assert requirements == ["Requires-Dist: torch>=2.11", "Requires-Dist: torchvision>=0.26"]
    borrowed = tmp_path / "another" / "borrowed"
    shutil.copytree(FOLDER, borrowed, ignore=shutil.ignore_patterns("__pycache__"))
    assert run_examples({"aploss": site, "borrowed": borrowed.parent}) == {"aploss": [], "borrowed": []}


def test_the_package_carries_the_projects_licence():
    assert (FOLDER / "LICENSE").read_text() == (paths.ROOT / "LICENSE").read_text()
