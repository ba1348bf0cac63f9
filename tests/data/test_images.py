"""Reading one image rightly."""

import numpy as np
import pytest
from PIL import Image

from src.data.images import TO_STORED, examine_image, read_header, read_image
from src.data.records import DataError, make_record
from src.data.voc import read_voc
from tests.data.damage.images import png
from tests.data.voc_folder import add_image, object_xml

NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def record_of(path, size=(30, 20)):
    return make_record("a", path, size, boxes=[], labels=[])


def pixels(path, size=(30, 20)):
    return read_image(record_of(path, size)).permute(1, 2, 0).numpy()


@pytest.fixture
def save(tmp_path):
    def save(image, name="a.png", **options):
        if not isinstance(image, Image.Image):
            image = Image.fromarray(image)
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return save


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_says_unless_its_annotation_has_the_stored_size(save, name, orientation):
    upright = Image.fromarray(NOISE)
    stored = upright.transpose(TO_STORED[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(stored, name, exif=exif, **({"lossless": True} if name == "a.webp" else {}))
    assert np.array_equal(pixels(path), NOISE)
    header = read_header(path)
    assert (header.stored, header.upright, header.orientation) == (stored.size, upright.size, orientation)
    if orientation >= 5:
        assert np.array_equal(pixels(path, stored.size), np.asarray(stored))


@pytest.mark.parametrize("size", ["<size><width>100</width><height>80</height></size>", ""])
@pytest.mark.parametrize("orientation", [3, 6])
def test_boxes_drawn_on_the_upright_photograph_hold_their_object(tmp_path, orientation, size):
    add_image(tmp_path, "a", object_xml(box=(11, 21, 30, 40)), size=size)
    upright = Image.new("L", (100, 80))
    upright.paste(200, (10, 20, 30, 40))
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright.transpose(TO_STORED[orientation]).save(tmp_path / "JPEGImages" / "a.jpg", exif=exif)
    [record] = read_voc(tmp_path, "all")
    x1, y1, x2, y2 = record.boxes[0].int().tolist()
    image = read_image(record).float()
    assert abs(image[:, y1:y2, x1:x2].mean() - 200) < 3 and abs(image.mean() - 10) < 1


def test_an_orientation_that_does_not_exist_is_upright(save):
    exif = Image.Exif()
    exif[0x0112] = 9
    assert np.array_equal(pixels(save(NOISE, exif=exif)), NOISE)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_greys_of_16_bits_are_scaled_not_clipped(save, name):
    grey = np.linspace(0, 65535, 600).round().astype(np.uint16).reshape(20, 30)
    expected = np.round(grey / 257).astype(np.uint8)
    assert np.array_equal(pixels(save(grey, name)), np.repeat(expected[..., None], 3, axis=2))


def test_greys_of_16_bits_are_scaled_in_big_endian_and_32_bit_files(save):
    grey = np.arange(600, dtype=np.int32).reshape(20, 30) * 109
    expected = np.round(grey / 257).astype(np.uint8)
    assert np.array_equal(pixels(save(grey, "a.tif"))[..., 0], expected)
    big_endian = Image.frombytes("I;16B", (30, 20), grey.astype(">u2").tobytes())
    assert np.array_equal(pixels(save(big_endian, "b.tif"))[..., 0], expected)


@pytest.mark.parametrize("values", [-1, 65536])
def test_integers_beyond_16_bits_are_refused(save, values):
    path = save(np.full((20, 30), values, np.int32), "a.tif")
    with pytest.raises(DataError, match=rf"a\.tif has pixel values from {values} to {values}.*convert it to 8 or 16"):
        read_image(record_of(path))


def test_floating_point_images_are_refused(save):
    with pytest.raises(DataError, match=r"a\.tif has floating-point pixels.*convert it"):
        read_image(record_of(save(np.zeros((20, 30), np.float32), "a.tif")))


def test_a_grey_image_of_16_bits_that_uses_few_of_them_is_named(save):
    dark = save(np.full((20, 30), 4095, np.uint16))
    assert "grey values up to 4095 of 65535" in examine_image(record_of(dark))[0]
    assert not examine_image(record_of(save(np.full((20, 30), 4096, np.uint16))))


@pytest.mark.parametrize(("value", "is_dark"), [(4095, True), (4096, False)])
def test_an_image_in_colours_of_16_bits_that_uses_few_of_them_is_named(tmp_path, value, is_dark):
    path = tmp_path / "a.png"
    path.write_bytes(png(np.full((20, 30, 3), value, ">u2").tobytes(), 30, 16, colour_type=2))
    assert pixels(path).max() == value >> 8
    assert ["almost black" in line for line in examine_image(record_of(path))] == [True] * is_dark


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_become_white(save, mode):
    image = Image.fromarray(NOISE).convert(mode)
    alpha = np.zeros((20, 30), np.uint8)
    alpha[:, 10:20], alpha[:, 20:] = 128, 255
    image.putalpha(Image.fromarray(alpha))
    read = pixels(save(image)).astype(int)
    opaque = np.asarray(Image.fromarray(NOISE).convert("L" if mode == "LA" else "RGB").convert("RGB")).astype(int)
    assert (read[:, :10] == 255).all()
    assert np.abs(read[:, 10:20] - (opaque[:, 10:20] + 255) / 2).max() <= 1.5
    assert np.array_equal(read[:, 20:], opaque[:, 20:])


def test_palettes_are_looked_up_and_their_transparency_becomes_white(save):
    image = Image.new("P", (30, 20), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(0, (0, 0, 15, 20))
    assert pixels(save(image))[0, [0, 29]].tolist() == [[10, 20, 30], [200, 100, 50]]
    for name in ("b.png", "b.gif"):
        assert pixels(save(image, name, transparency=0))[0, [0, 29]].tolist() == [[255] * 3, [200, 100, 50]]


def test_a_transparent_colour_becomes_white(save):
    image = Image.new("RGB", (30, 20), (1, 2, 3))
    image.paste((9, 9, 9), (0, 0, 15, 20))
    assert pixels(save(image, transparency=(1, 2, 3)))[0, [0, 29]].tolist() == [[9] * 3, [255] * 3]


def test_an_image_that_is_transparent_everywhere_is_named(save):
    assert "is transparent everywhere" in examine_image(record_of(save(Image.new("RGBA", (30, 20)))))[0]


@pytest.mark.parametrize(
    ("mode", "name"), [("CMYK", "a.jpg"), ("CMYK", "a.tif"), ("YCbCr", "a.jpg"), ("YCbCr", "a.tif")]
)
def test_other_colour_spaces_become_rgb(save, mode, name):
    image = Image.new("RGB", (30, 20), (200, 100, 50)).convert(mode)
    assert np.abs(pixels(save(image, name)).astype(int) - (200, 100, 50)).max() <= 3


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.pbm"])
def test_black_and_white_become_0_and_255(save, name):
    image = Image.new("1", (30, 20))
    image.paste(1, (0, 0, 15, 20))
    assert pixels(save(image, name))[0, [0, 29]].tolist() == [[255] * 3, [0] * 3]


def test_of_several_frames_the_first_is_read_and_the_others_named(save):
    frames = [Image.new("L", (30, 20), grey) for grey in (50, 150)]
    for name in ("a.gif", "a.tif", "a.webp", "a.png"):
        options = {"lossless": True} if name == "a.webp" else {}
        path = save(frames[0], name, save_all=True, append_images=frames[1:], **options)
        assert np.abs(pixels(path).astype(int) - 50).max() <= 1
        assert examine_image(record_of(path)) == ["holds 2 frames or pages, of which the first is used"]


def test_a_wrong_suffix_does_not_matter(save):
    assert np.array_equal(pixels(save(NOISE, "a.jpg", format="PNG")), NOISE)


def test_images_of_many_pixels_are_refused_with_what_to_do(save, monkeypatch):
    path = save(NOISE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)  # warns above 400 and refuses above 800
    assert np.array_equal(pixels(path), NOISE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    for look in (read_header, lambda path: examine_image(record_of(path))):
        with pytest.raises(DataError, match=r"a\.png has more than .* million pixels; cut it into tiles"):
            look(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp", "a.tif", "a.gif", "a.ppm", "a.jp2"])
def test_truncated_files_are_named(save, name):
    path = save(NOISE, name)
    examine_image(record_of(path))
    whole = path.read_bytes()
    for length in (len(whole) // 2, 12, 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=rf"{name} cannot be read as an image.*; replace it"):
            examine_image(record_of(path))


def test_a_changed_byte_in_a_png_file_is_found(save):
    path = save(NOISE)
    data = bytearray(path.read_bytes())
    data[-25] ^= 1  # in the checksum of the pixels
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        examine_image(record_of(path))


@pytest.mark.parametrize(("content", "problem"), [(b"", "it is empty"), (b"<html>not here</html>", "it is no image")])
def test_files_that_are_no_images_are_named(tmp_path, content, problem):
    (tmp_path / "a.jpg").write_bytes(content)
    for look in (read_header, lambda path: read_image(record_of(path))):
        with pytest.raises(DataError, match=rf"a\.jpg cannot be read as an image \({problem}.*replace it"):
            look(tmp_path / "a.jpg")


def test_missing_files_and_folders_are_named(tmp_path):
    (tmp_path / "b.jpg").mkdir()
    for name in ("a.jpg", "b.jpg"):
        with pytest.raises(DataError, match=f"{name} cannot be read as an image"):
            examine_image(record_of(tmp_path / name))


def test_another_size_than_the_annotations_is_named(save):
    with pytest.raises(DataError, match="a.png has 30×20 pixels, but its annotation gives 31×20.*correct the size"):
        read_image(record_of(save(NOISE), size=(31, 20)))
