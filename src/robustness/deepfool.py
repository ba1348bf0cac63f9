"""DeepFool (Moosavi-Dezfooli et al., 2016) for detectors: the smallest change of an image after which objects are lost.

The paper does not say how it generalises the method. Here each detected object is classified by the best-scored of the
detections on it. DeepFool repeatedly moves the image to the nearest boundary of this classifier in a linear
approximation: to where no detection of the object's class is left, or to where one of another class scores higher.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from src.detectors.detections import Detections
from src.robustness.attacked_detector import IOU, AttackedDetector

PIXELS_AT_ONCE = 1_000_000  # in a batch of perturbed copies of an image
LEAST_MARGIN = 1e-5  # in logits: makes a step across a boundary longer than rounding errors


@dataclass(frozen=True)
class Perturbation:
    """The change of an image after which the detector has lost some of its objects.

    `image` is the changed image, float32 [3, H, W] in grey levels from 0 to 255, as the network gets it; None if
    DeepFool has failed, and the norms are then NaN. The norms are those of the change, over 3HW values.
    """

    objects: tuple[int, ...]  # that are lost, of the image's ground truth
    margin: float  # smallest margin on the clean image: log-odds of the best-scored detection minus the threshold's
    iterations: int
    image: Tensor | None
    l2: float  # grey levels
    rms: float  # grey levels: l2 / √(3HW)
    relative: float  # l2 over the norm of the clean image


@dataclass(frozen=True)
class DeepFoolResult:
    """The result of DeepFool on one image, in which the detector detects n objects."""

    size: tuple[int, int]  # (height, width) of the network's input, without padding
    objects: list[Perturbation]  # n, each of which loses one of the objects
    everything: Perturbation | None  # loses all of them; None if n = 0

    @property
    def smallest(self) -> Perturbation | None:
        """The perturbation of smallest norm that loses an object; None if there is none."""
        return min((one for one in self.objects if one.image is not None), key=lambda one: one.l2, default=None)


def deepfool(
    attacked: AttackedDetector,
    image: Tensor,
    objects: tuple[Tensor, Tensor],
    *,
    threshold: float,
    iterations: int = 50,
    overshoot: float = 0.02,
) -> DeepFoolResult:
    """Return for each detected object the smallest change after which it is lost, and one that loses all of them.

    An object is detected if the best-scored detection whose IoU with it is at least 0.5 has its class and a score of at
    least `threshold`, and lost otherwise.

    Args:
        attacked: the detector.
        image: float32 [3, H, W] in grey levels from 0 to 255, resized for the network, on its device.
        objects: boxes [N, 4] in pixels of that image, and labels int64 [N].
        threshold: of scores, in (0, 1). Losses calibrate scores differently, so each model should have its own.
        iterations: the maximum number of linear approximations.
        overshoot: the fraction by which a change is longer than it would have to be if the detector were linear.

    Raises:
        ValueError: the threshold is out of its range.
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold={threshold}: expected a score in (0, 1)")
    scene = _Scene(attacked, image, *objects, threshold)
    detected = scene.detected(image, range(len(scene.boxes)))
    sets = [[index] for index in detected]
    if len(detected) > 1:
        sets.append(detected)
    found = _search(scene, sets, iterations=iterations, overshoot=overshoot)
    return DeepFoolResult((image.shape[1], image.shape[2]), found[: len(detected)], found[-1] if found else None)


def norms(change: Tensor, image: Tensor) -> dict[str, float]:
    """Return the norms of a change of an image, see `Perturbation`."""
    l2, of_image = (values.double().norm().item() for values in (change, image))
    return {"l2": l2, "rms": l2 / math.sqrt(change.numel()), "relative": l2 / of_image if of_image else math.nan}


def is_lost(detections: Detections, box: Tensor, label: int, threshold: float) -> bool:
    """Return whether an object is lost, see `deepfool`; box [4] and detections in the same pixels."""
    on_object = box_iou(detections.boxes, box.to(detections.boxes)[None]).squeeze(1) >= IOU
    best = (on_object & (detections.scores >= threshold)).nonzero()[:1]  # detections are sorted by score
    return len(best) == 0 or int(detections.labels[best]) != label


def least_step(gradients: Tensor, margins: Tensor) -> Tensor:
    """Return the smallest step [D] that lowers linear functions with gradients [n, D] by at least the margins [n].

    It is −Σ_j λ_j g_j with λ ≥ 0, found from its n × n dual problem by coordinate ascent.
    """
    products = (gradients @ gradients.T).double().cpu().numpy()
    needed = margins.double().cpu().numpy()
    weights = np.zeros(len(needed))
    for _ in range(1000 if len(needed) > 1 else 1):
        before = weights.copy()
        for j in range(len(needed)):
            weights[j] = max(weights[j] + (needed[j] - products[j] @ weights) / products[j, j], 0.0)
        if np.abs(weights - before).max() <= 1e-9 * weights.max():
            break
    return -(torch.from_numpy(weights).to(gradients) @ gradients)


@dataclass(frozen=True)
class _Boundary:
    """A linear approximation of where an object's class changes: `gradient` · change = −`margin`."""

    gradient: Tensor  # [3HW], 0 for pixels that cannot change any further
    margin: Tensor  # scalar, of logits
    margin_to_none: float  # to the boundary beyond which the object is not detected

    @property
    def distance(self) -> float:
        return (self.margin / self.gradient.norm()).item()


@dataclass(frozen=True)
class _Scene:
    """An image with its objects, and the detector that is to lose them."""

    attacked: AttackedDetector
    image: Tensor  # float32 [3, H, W] in grey levels
    boxes: Tensor  # [N, 4]
    labels: Tensor  # int64 [N]
    threshold: float

    @torch.no_grad()
    def detected(self, image: Tensor, objects: Iterable[int]) -> list[int]:
        """Return which of these objects are detected when the network gets this image alone."""
        logits, offsets = self.attacked.outputs(image[None])
        detections = self._detections(logits[0], offsets[0])
        return [index for index in objects if not self._is_lost(detections, index)]

    @torch.enable_grad()
    def boundaries(self, rows: Sequence[tuple[Tensor, int]]) -> list[_Boundary | None]:
        """Return for each pair of an image and an object the nearest boundary; None if the object is lost."""
        images = torch.stack([image for image, _ in rows]).requires_grad_()
        logits, offsets = self.attacked.outputs(images)
        margins: list[list[Tensor]] = []
        for row, (_, index) in enumerate(rows):
            lost = self._is_lost(self._detections(logits[row].detach(), offsets[row].detach()), index)
            margins.append([] if lost else self._margins(logits[row], offsets[row], index))
        # In evaluation mode images of a batch do not interact, so the gradient of the sum contains each margin's own.
        candidates: list[list[_Boundary]] = [[] for _ in rows]
        for kind in range(2):
            of_kind = {row: of_row[kind] for row, of_row in enumerate(margins) if kind < len(of_row)}
            if of_kind:
                (gradients,) = torch.autograd.grad(torch.stack(list(of_kind.values())).sum(), images, retain_graph=True)
                for row, margin in of_kind.items():
                    gradient = self._free(images[row].detach(), gradients[row]).flatten()
                    candidates[row].append(_Boundary(gradient, margin.detach(), margins[row][0].item()))
        return [min(of_row, key=lambda one: one.distance, default=None) for of_row in candidates]

    def _detections(self, logits: Tensor, offsets: Tensor) -> Detections:
        return self.attacked.detections(logits, offsets, (self.image.shape[1], self.image.shape[2]))

    def _is_lost(self, detections: Detections, index: int) -> bool:
        return is_lost(detections, self.boxes[index], int(self.labels[index]), self.threshold)

    def _margins(self, logits: Tensor, offsets: Tensor, index: int) -> list[Tensor]:
        """Return the margins of a detected object: to the threshold, and to the best score of another class.

        The second is left out if it is negative, because then only NMS keeps the other class from being best.

        Args:
            logits: [A, outputs].
            offsets: [A, 4].
            index: of the object.
        """
        size = self.image.shape[1], self.image.shape[2]
        (on_object,) = self.attacked.anchors_on(self.boxes[index][None], offsets, size)
        best = self.attacked.log_odds(logits[on_object]).amax(0)  # [K]
        label = int(self.labels[index])
        margins = [best[label] - math.log(self.threshold / (1 - self.threshold))]
        others = torch.cat([best[:label], best[label + 1 :]])
        if len(others) and others.max() < best[label]:
            margins.append(best[label] - others.max())
        return margins

    @staticmethod
    def _free(image: Tensor, gradient: Tensor) -> Tensor:
        """Return a gradient with zeros where a step against it would leave the range of grey levels."""
        return gradient.masked_fill(((image <= 0) & (gradient > 0)) | ((image >= 255) & (gradient < 0)), 0)


@dataclass
class _Search:
    """The search for the least change after which some objects are lost."""

    objects: list[int]
    change: Tensor  # [3, H, W], the sum of the steps so far
    candidate: Tensor  # [3, H, W], the image after the change and the overshoot
    margin: float = math.nan
    iterations: int = 0
    state: str = "active"  # then "found" or "failed"

    def left(self, scene: _Scene) -> list[int]:
        """Return the objects that may still be detected; one pass saves the gradients of those already lost."""
        return scene.detected(self.candidate, self.objects) if len(self.objects) > 1 else self.objects


def _search(scene: _Scene, sets: list[list[int]], *, iterations: int, overshoot: float) -> list[Perturbation]:
    """Return a perturbation for each set of objects. All searches run at the same time, in batches."""
    searches = [_Search(objects, torch.zeros_like(scene.image), scene.image) for objects in sets]
    at_once = max(PIXELS_AT_ONCE // scene.image[0].numel(), 1)
    for iteration in range(iterations + 1):
        active = [search for search in searches if search.state == "active"]
        pairs = [(search, index) for search in active for index in search.left(scene)]
        rows = [(search.candidate, index) for search, index in pairs]
        of_rows = [one for i in range(0, len(rows), at_once) for one in scene.boundaries(rows[i : i + at_once])]
        for search in active:
            of_search = (one for (owner, _), one in zip(pairs, of_rows, strict=True) if owner is search)
            boundaries = [one for one in of_search if one is not None]
            if iteration == 0:
                search.margin = min((one.margin_to_none for one in boundaries), default=math.nan)
            if not boundaries and not scene.detected(search.candidate, search.objects):
                search.state = "found"
            elif iteration == iterations or not all(math.isfinite(one.distance) for one in boundaries):
                search.state = "failed"
            else:
                _advance(search, boundaries, scene.image, overshoot)
    return [_result(search, scene.image) for search in searches]


def _advance(search: _Search, boundaries: list[_Boundary], image: Tensor, overshoot: float) -> None:
    """Add the smallest step that reaches these boundaries.

    Without boundaries, the objects are lost in a batch but not when the image is alone: the change is made longer.
    """
    if boundaries:
        margins = torch.stack([one.margin for one in boundaries]).clamp(min=LEAST_MARGIN)
        step = least_step(torch.stack([one.gradient for one in boundaries]), margins)
        search.change = search.change + step.reshape(image.shape)
    else:
        search.change = search.change * (1 + overshoot)
    search.candidate = (image + (1 + overshoot) * search.change).clamp(0, 255)
    search.iterations += 1


def _result(search: _Search, image: Tensor) -> Perturbation:
    found = search.state == "found"
    measures = norms(search.candidate - image, image) if found else dict.fromkeys(("l2", "rms", "relative"), math.nan)
    return Perturbation(
        tuple(search.objects), search.margin, search.iterations, search.candidate if found else None, **measures
    )
