"""Image files: what is read, as what, and the one clear error for everything that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from bench.core.errors import BenchError
from bench.data.images import as_optical, as_sar, image_size, read_image, write_image
from bench.data.reading import PairReading


def noise(*shape: int, dtype: type[np.generic] = np.uint8) -> np.ndarray:
    top = 256 if dtype == np.uint8 else 65536
    return np.random.default_rng(3).integers(0, top, shape).astype(dtype)


def one_line(error: pytest.ExceptionInfo[BenchError], path: Path) -> str:
    text = str(error.value)
    assert "\n" not in text and str(path) in text
    return text


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("shape", [(5, 9), (5, 9, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossless_formats_return_the_pixels(tmp_path: Path, suffix: str, shape: tuple[int, ...], dtype: type) -> None:
    array, path = noise(*shape, dtype=dtype), tmp_path / f"a.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, array, photometric="rgb" if len(shape) == 3 else "minisblack")
    elif dtype == np.uint16 and len(shape) == 3:
        import cv2

        cv2.imwrite(str(path), array[:, :, ::-1])
    else:
        Image.fromarray(array).save(path)
    read = read_image(path)
    assert read.dtype == dtype and np.array_equal(read, array)
    assert image_size(path) == (5, 9)


@pytest.mark.parametrize("shape", [(5, 9), (5, 9, 3)])
def test_bmp(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array, path = noise(*shape), tmp_path / "a.bmp"
    Image.fromarray(array).save(path)
    assert np.array_equal(read_image(path), array) and image_size(path) == (5, 9)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BenchError, match="truncated or damaged") as error:
        read_image(path)
    one_line(error, path)


def test_bmp_of_a_grey_palette(tmp_path: Path) -> None:
    grey, path = noise(5, 9), tmp_path / "a.bmp"
    image = Image.fromarray(255 - grey).convert("P")
    image.putpalette([255 - level for level in range(256) for _ in range(3)])
    image.save(path)
    assert np.array_equal(as_sar(read_image(path), path), grey)


def test_sixteen_bit_grey_and_alpha_png(tmp_path: Path) -> None:
    import cv2

    path = tmp_path / "a.png"
    grey = noise(6, 6, dtype=np.uint16)
    rgba = np.dstack([noise(6, 6, 3, dtype=np.uint16), np.full((6, 6), 65535, np.uint16)])
    cv2.imwrite(str(path), rgba[:, :, [2, 1, 0, 3]])
    assert np.array_equal(read_image(path), rgba[:, :, :3])
    Image.fromarray(grey).save(path)
    assert np.array_equal(read_image(path), grey)


def test_float_tiff_and_wide_types(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for dtype in (np.float16, np.float32, np.float64):
        tifffile.imwrite(path, np.linspace(-3, 3, 20).reshape(4, 5).astype(dtype))
        read = read_image(path)
        assert read.dtype == np.float32 and read.shape == (4, 5)
    tifffile.imwrite(path, np.full((4, 5), 1234, np.int16))
    assert read_image(path).dtype == np.uint16
    tifffile.imwrite(path, noise(4, 5, dtype=np.uint16), byteorder=">")
    assert np.array_equal(read_image(path), noise(4, 5, dtype=np.uint16))
    assert read_image(path).dtype.isnative


def test_planar_tiff_has_its_channels_last(tmp_path: Path) -> None:
    path, array = tmp_path / "a.tif", noise(3, 7, 9)
    tifffile.imwrite(path, array, photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_image(path), np.moveaxis(array, 0, 2))
    assert image_size(path) == (7, 9)


def test_compressed_tiff_is_read_without_further_packages(tmp_path: Path) -> None:
    path, array = tmp_path / "a.tif", noise(8, 9)
    Image.fromarray(array).save(path, compression="tiff_lzw")
    assert np.array_equal(read_image(path), array)


def test_jpeg_and_palette(tmp_path: Path) -> None:
    Image.fromarray(noise(8, 8)).save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").shape == (8, 8)
    assert image_size(tmp_path / "a.jpg") == (8, 8)
    Image.fromarray(noise(8, 8) // 64 * 64).convert("P").save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png").shape == (8, 8, 3)


def test_the_content_decides_the_format(tmp_path: Path) -> None:
    array = noise(4, 4)
    Image.fromarray(array).save(tmp_path / "really_png.jpg", format="PNG")
    assert np.array_equal(read_image(tmp_path / "really_png.jpg"), array)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_truncated_file(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"cut.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, noise(64, 64))
    else:
        Image.fromarray(noise(64, 64)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BenchError, match="truncated or damaged") as error:
        read_image(path)
    one_line(error, path)


def test_text_file_named_png(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("this is no image\n")
    for read in (read_image, image_size):
        with pytest.raises(BenchError, match="is not an image") as error:
            read(path)
        one_line(error, path)


def test_missing_and_empty_file(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="cannot read"):
        read_image(tmp_path / "nowhere.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(BenchError, match="empty file"):
        read_image(tmp_path / "empty.png")
    (tmp_path / "stub.tif").write_bytes(b"II*\x00\x00\x00")
    for read in (read_image, image_size):
        with pytest.raises(BenchError, match="stub.tif"):
            read(tmp_path / "stub.tif")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_float_tiff(tmp_path: Path, value: float) -> None:
    array = np.ones((4, 5), np.float32)
    array[1, 2] = value
    path = tmp_path / "nan.tif"
    tifffile.imwrite(path, array)
    with pytest.raises(BenchError, match="1 values that are NaN or infinite") as error:
        read_image(path)
    one_line(error, path)


def test_float64_overflow_is_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "big.tif"
    tifffile.imwrite(path, np.full((3, 3), 1e300))
    with pytest.raises(BenchError, match="infinite"):
        read_image(path)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.ones((4, 4), np.complex64), "complex"),
        (np.full((4, 4), -1, np.int16), "int16"),
        (np.full((4, 4), 70000, np.uint32), "uint32"),
        (np.ones((6, 4, 4), np.uint8), "axes|channels"),
    ],
)
def test_unsupported_tiff(tmp_path: Path, array: np.ndarray, text: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, photometric="minisblack")
    with pytest.raises(BenchError, match=text) as error:
        read_image(path)
    one_line(error, path)


def test_alpha_must_be_opaque(tmp_path: Path) -> None:
    rgba = np.dstack([noise(4, 4, 3), np.full((4, 4), 255, np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), rgba[:, :, :3])
    rgba[0, 0, 3] = 254
    Image.fromarray(rgba).save(tmp_path / "a.png")
    with pytest.raises(BenchError, match="opaque alpha"):
        read_image(tmp_path / "a.png")
    Image.fromarray(np.dstack([noise(4, 4), np.full((4, 4), 255, np.uint8)])).save(tmp_path / "la.png")
    assert np.array_equal(read_image(tmp_path / "la.png"), noise(4, 4))


def test_unsupported_pixel_modes(tmp_path: Path) -> None:
    Image.new("1", (4, 4)).save(tmp_path / "bits.png")
    Image.new("CMYK", (4, 4)).save(tmp_path / "cmyk.jpg")
    for name in ("bits.png", "cmyk.jpg"):
        with pytest.raises(BenchError, match="pixel mode"):
            read_image(tmp_path / name)


def test_sar_channels_must_be_equal(tmp_path: Path) -> None:
    grey, path = noise(4, 5), tmp_path / "sar.png"
    assert as_sar(grey, path) is grey
    assert np.array_equal(as_sar(np.dstack([grey] * 3), path), grey)
    with pytest.raises(BenchError, match="unequal channels") as error:
        as_sar(noise(4, 5, 3), path)
    for dtype in (np.uint8, np.uint16, np.float32):
        composite = (noise(4, 5, 3).astype(np.float64) * (1 if dtype is np.uint8 else 200)).astype(dtype)
        weighted = composite.astype(np.float64) @ [0.299, 0.587, 0.114]
        luminance = as_sar(composite, path, "luminance")
        assert luminance.dtype == dtype and np.abs(luminance - weighted).max() <= (0.5 if dtype != np.float32 else 0.01)
        assert np.array_equal(as_sar(composite, path, "first"), composite[:, :, 0])
        for channels in ("luminance", "first", "refuse"):
            assert np.array_equal(as_sar(np.dstack([composite[:, :, 1]] * 3), path, channels), composite[:, :, 1])
    one_line(error, path)


def test_optical_grey_is_replicated(tmp_path: Path) -> None:
    grey, path = noise(4, 5), tmp_path / "opt.png"
    assert np.array_equal(as_optical(grey, path), np.dstack([grey] * 3))
    with pytest.raises(BenchError, match="1 or 3 channels"):
        as_optical(noise(4, 5, 2), path)


def test_pair_of_unequal_size_names_both_files(tmp_path: Path) -> None:
    optical, sar = write_image(tmp_path / "o", noise(8, 8, 3)), write_image(tmp_path / "s", noise(8, 9))
    with pytest.raises(BenchError, match="8 x 8 px.*8 x 9 px") as error:
        PairReading().pair(optical, sar)
    assert str(optical) in str(error.value)
    one_line(error, sar)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_writing_is_lossless(tmp_path: Path, dtype: type, channels: int) -> None:
    array: np.ndarray = noise(6, 7, dtype=np.uint16).astype(dtype)
    array = array if channels == 1 else np.dstack([array, array // 2, array])
    path = write_image(tmp_path / "x.1", array)
    assert path.name.startswith("x.1.")
    read = read_image(path)
    assert read.dtype == dtype and np.array_equal(read, array)
