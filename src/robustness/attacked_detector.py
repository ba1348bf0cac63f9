"""A finished detector as an attack sees it: a function of its input pixels through which gradients flow."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou, clip_boxes_to_image
from torchvision.transforms.v2.functional import normalize

from src import losses
from src.data.transforms import pad_image
from src.detectors.detections import Detections
from src.detectors.detector import Detector
from src.detectors.postprocess import ImageOutputs
from src.detectors.targets import BOX_CODER

IOU = 0.5  # from which on a predicted box is on an object


@dataclass(frozen=True)
class AttackedDetector:
    """A detector, its trained network, and whether the first output of an anchor is the background's.

    The network is put into evaluation mode, and its weights no longer require gradients.
    """

    detector: Detector
    network: nn.Module
    background_output: bool = False
    _anchors: dict[tuple[int, int], list[Tensor]] = field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        self.network.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits [B, A, outputs] and box offsets [B, A, 4] of images, as in a test.

        Args:
            images: float [B, 3, H, W] in grey levels from 0 to 255, resized as in a test, without padding.
        """
        normalisation = self.detector.normalisation
        inputs = pad_image(normalize(images / 255, list(normalisation.mean), list(normalisation.std)))
        logits, offsets = self.network(inputs.contiguous(memory_format=torch.channels_last))
        return logits.float(), offsets.float()

    def anchors(self, size: tuple[int, int]) -> list[Tensor]:
        """Return the anchors of each level for images of (height, width) before their padding."""
        if size not in self._anchors:
            height, width = pad_image(torch.empty(1, *size, device="meta")).shape[-2:]
            self._anchors[size] = self.detector.anchors(height, width, self.device)
        return self._anchors[size]

    def detections(self, logits: Tensor, offsets: Tensor, size: tuple[int, int]) -> Detections:
        """Return the detections on one image, in pixels of the network's input.

        Args:
            logits: [A, outputs] of the image.
            offsets: [A, 4] of the image.
            size: (height, width) of the image before its padding.
        """
        scores = losses.softmax_scores(logits) if self.background_output else logits.sigmoid()
        return self.detector.detect(ImageOutputs(0, size, scores, offsets, self.anchors(size)))

    def anchors_on(self, boxes: Tensor, offsets: Tensor, size: tuple[int, int]) -> Tensor:
        """Return which anchors' predicted boxes have an IoU of at least 0.5 with each box, bool [N, A].

        Args:
            boxes: [N, 4] in pixels of the network's input.
            offsets: [A, 4] of an image.
            size: (height, width) of the image before its padding.
        """
        predicted = BOX_CODER.decode_single(offsets.detach(), torch.cat(self.anchors(size)))
        return box_iou(boxes.to(predicted), clip_boxes_to_image(predicted, size)) >= IOU

    def log_odds(self, logits: Tensor) -> Tensor:
        """Return log(p / (1 − p)) [n, K] of the scores p of n anchors, from their logits [n, outputs]."""
        if not self.background_output:
            return logits
        count, outputs = logits.shape
        itself = torch.eye(outputs, dtype=torch.bool, device=logits.device)
        others = logits[:, None].expand(count, outputs, outputs).masked_fill(itself, -torch.inf).logsumexp(-1)
        return (logits - others)[:, 1:]
