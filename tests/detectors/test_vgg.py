"""SSD's backbone with torchvision's weights and Caffe's."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, max_pool2d
from torchvision.models.vgg import cfgs, make_layers

from src.data.transforms import IMAGENET, training_transform
from src.detectors.detector import build_detector
from src.detectors.vgg import CAFFE, VGG16, build_vgg
from src.utils.errors import UserError
from tests.detectors.test_ssd import OPTIONS


def tensor_of(*shape, steps):
    """Return a tensor that is small on disk, each of whose values is that of another position in a short storage."""
    length = 1 + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
    return torch.sin(torch.arange(length).float()).as_strided(shape, steps) / 100


@pytest.fixture(scope="module")
def published():
    """A state dict with the names and shapes of torchvision's vgg16."""
    torch.manual_seed(1)
    state = {f"features.{name}": value for name, value in make_layers(cfgs["D"]).state_dict().items()}
    for layer, (outputs, inputs) in {0: (4096, 512 * 49), 3: (4096, 4096), 6: (1000, 4096)}.items():
        state[f"classifier.{layer}.weight"] = tensor_of(outputs, inputs, steps=(1, 7))
        state[f"classifier.{layer}.bias"] = tensor_of(outputs, steps=(1,))
    return state


@pytest.fixture(scope="module")
def imagenet_file(published, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    torch.save(published, path)
    return str(path)


@pytest.fixture(scope="module")
def caffe_file(published, tmp_path_factory):
    """A file as torchvision's IMAGENET1K_FEATURES is: NaN in place of a classifier."""
    state = {
        name: torch.full((1,), math.nan).expand(value.shape) if name.startswith("classifier") else value
        for name, value in published.items()
    }
    path = tmp_path_factory.mktemp("weights") / "vgg16_features.pth"
    torch.save(state, path)
    return str(path)


@pytest.fixture(scope="module")
def pretrained(imagenet_file):
    return build_vgg(imagenet_file, "imagenet", 64).eval()


@pytest.mark.slow
def test_the_layers_are_torchvisions(published, pretrained):
    reference = make_layers(cfgs["D"]).eval()
    reference.load_state_dict({k.removeprefix("features."): v for k, v in published.items() if k.startswith("f")})
    image = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        conv4_3, conv7 = pretrained(image)
        torch.testing.assert_close(conv4_3, reference[:23](image))
        x = max_pool2d(reference[:30](image), 3, stride=1, padding=1)
        x = conv2d(x, pretrained.conv6[0].weight, pretrained.conv6[0].bias, padding=6, dilation=6).relu()
        torch.testing.assert_close(conv7, conv2d(x, pretrained.conv7[0].weight, pretrained.conv7[0].bias).relu())
    assert conv4_3.shape == (1, 512, 4, 8) and conv7.shape == (1, 1024, 2, 4)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in pretrained.modules())


@pytest.mark.slow
def test_the_classifier_becomes_conv6_and_conv7(published, pretrained):
    fc6, fc7 = published["classifier.0.weight"], published["classifier.3.weight"]
    conv6, conv7 = pretrained.conv6[0], pretrained.conv7[0]
    assert conv6.weight.shape == (1024, 512, 3, 3) and conv6.dilation == (6, 6) and conv7.weight.shape[2:] == (1, 1)
    # Output 4 · 5, channel 3, row 3 · 1 and column 3 · 2 of 7 × 7.
    assert conv6.weight[5, 3, 1, 2] == fc6[20, 3 * 49 + 3 * 7 + 6]
    assert conv7.weight[5, 7, 0, 0] == fc7[20, 28]
    assert conv6.bias[5] == published["classifier.0.bias"][20]


@pytest.mark.slow
def test_caffes_weights_have_no_classifier_and_other_pixels(caffe_file):
    network = build_vgg(caffe_file, "caffe", 64)
    assert all(p.isfinite().all() and p.requires_grad for p in network.parameters())
    detector = build_detector(OPTIONS | {"normalisation": "caffe"}, 512)
    assert detector.normalisation == CAFFE
    # As Caffe's weights want them: from 0 to 255, minus the mean, which also surrounds an expanded image.
    transform = training_transform(32, "ssd", CAFFE)
    assert transform.transforms[1].fill == [123, 117, 104]
    pixels = transform.transforms[-1](torch.ones(3, 2, 2))
    torch.testing.assert_close(pixels[:, 0, 0], 255 * (1 - torch.tensor(CAFFE.mean)))
    assert build_detector(OPTIONS, 512).normalisation == IMAGENET


@pytest.mark.slow
def test_weights_with_other_pixels_than_theirs_are_refused(imagenet_file, caffe_file):
    with pytest.raises(UserError, match=r"other pixels than model.normalisation=caffe .*take .*normalisation=imagenet"):
        build_vgg(imagenet_file, "caffe", 64)
    with pytest.raises(UserError, match=r"take model.normalisation=caffe"):
        build_vgg(caffe_file, "imagenet", 64)


@pytest.mark.slow
def test_features_alone_are_taken(published, tmp_path):
    torch.save({k: v for k, v in published.items() if k.startswith("features")}, tmp_path / "features.pth")
    network = build_vgg(str(tmp_path / "features.pth"), "imagenet", 64)
    assert torch.equal(network.convolutions()[3].weight, published["features.7.weight"])


@pytest.mark.slow
def test_errors_of_weights_name_the_key(published, tmp_path):
    with pytest.raises(UserError, match="model.weights=nowhere.pth: no such file"):
        build_vgg("nowhere.pth", "imagenet", 64)
    with pytest.raises(UserError, match="model.channels=16: VGG-16 with weights has 64; take model.weights=null"):
        build_vgg("imagenet", "imagenet", 16)
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other.pth is not a state dict of torchvision's vgg16: .*1 layers"):
        build_vgg(str(tmp_path / "other.pth"), "imagenet", 64)


@pytest.mark.parametrize(
    ("normalisation", "file"),
    [("imagenet", "vgg16-397923af.pth"), ("caffe", "vgg16_features-amdegroot-88682ab5.pth")],
)
def test_the_published_weights_are_those_of_the_normalisation(normalisation, file, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / file).write_bytes(b"half of a download")
    with pytest.raises(UserError, match=f"{file} cannot be loaded .*{checkpoints}"):
        build_vgg("imagenet", normalisation, 64)


def test_random_weights_have_batch_norms_and_any_width():
    network = build_vgg(None, "imagenet", 4)
    assert network.out_channels == (32, 64) and sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == 15
    with torch.no_grad():
        assert [tuple(x.shape) for x in VGG16(2)(torch.zeros(1, 3, 32, 64))] == [(1, 16, 4, 8), (1, 32, 2, 4)]
