"""VOC XML: known answers, damaged and hostile files."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from ship_files import write_voc

from bench.core.errors import BenchError
from bench.data.ships import voc
from bench.data.ships.voc import parse_voc


def test_a_file_as_labelimg_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "1.xml"
    path.write_text("""<?xml version="1.0" encoding="utf-8"?>
<annotation verified="yes">
  <folder>AIR</folder><filename> SARShip-1.0-1.tiff </filename><path>D:\\data\\SARShip-1.0-1.tiff</path>
  <size><width>3000</width><height>2000</height><depth>1</depth></size>
  <object><name>ship</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>
    <bndbox><xmin>979</xmin><ymin>199</ymin><xmax>1015</xmax><ymax>235</ymax></bndbox></object>
  <object><name>Ship &amp; tug</name><difficult>1</difficult>
    <bndbox><ymax>9.5</ymax><xmax> 8.25 </xmax><ymin>2</ymin><xmin>1</xmin></bndbox></object>
</annotation>""")
    found = parse_voc(path)
    assert found.filename == "SARShip-1.0-1.tiff" and found.size == (2000, 3000)
    assert found.boxes.tolist() == [[979, 199, 1015, 235], [1, 2, 8.25, 9.5]] and found.boxes.dtype == np.float64
    assert found.names == ("ship", "Ship & tug") and found.difficult.tolist() == [False, True]
    assert parse_voc(path, one_based=True).boxes.tolist() == [[978, 198, 1015, 235], [0, 1, 8.25, 9.5]]


def test_known_elements_match_whatever_their_case(tmp_path: Path) -> None:
    """SAR-Ship-Dataset writes <Difficult>; passed over, a ship to be ignored counts."""
    path = tmp_path / "1.xml"
    write_voc(path, [[1, 2, 3, 4], [5, 6, 7, 8]], (20, 30), difficult=[0, 1])
    quiet, text = parse_voc(path), path.read_text()
    for change in (str.upper, lambda tag: tag.replace("difficult", "Difficult"), str.title):
        parts = re.split(r"(?<=[</])(\w+)(?=>)", text)  # every second one is a tag
        path.write_text("".join(change(part) if i % 2 else part for i, part in enumerate(parts)))
        loud = parse_voc(path)
        assert loud.difficult.tolist() == [False, True] and np.array_equal(loud.boxes, quiet.boxes)
        assert (loud.names, loud.size, loud.filename) == (quiet.names, quiet.size, quiet.filename)


def test_a_scene_without_ships_and_without_size(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<annotation><size><width>0</width><height>0</height></size></annotation>")
    found = parse_voc(tmp_path / "a.xml")
    assert found.boxes.shape == (0, 4) and found.difficult.shape == (0,) and found.names == ()
    assert found.size is None and found.filename is None


def test_other_encodings(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="UTF-16"?><annotation><filename>\u8239.tiff</filename></annotation>'
    (tmp_path / "a.xml").write_bytes(text.encode("utf-16"))
    assert parse_voc(tmp_path / "a.xml").filename == "\u8239.tiff"
    (tmp_path / "b.xml").write_bytes(b'<?xml version="1.0" encoding="no-such-code"?><annotation/>')
    with pytest.raises(BenchError, match="encoding"):
        parse_voc(tmp_path / "b.xml")


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
HOSTILE = {
    "billion laughs": f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><annotation><filename>&l9;</filename></annotation>',
    "external entity": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>',
    "parameter entity": '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x.dtd"> %x;]><annotation/>',
    "external DTD": '<!DOCTYPE annotation SYSTEM "http://127.0.0.1:1/x.dtd"><annotation/>',
    "quadratic": f'<!DOCTYPE a [<!ENTITY a "{"a" * 50_000}">]><annotation>{"&a;" * 50_000}</annotation>',
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_are_refused_before_anything_is_expanded(tmp_path: Path, kind: str, encoding: str) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(HOSTILE[kind].encode(encoding))
    started = time.perf_counter()
    with pytest.raises(BenchError, match="declares a document type .*refused") as error:
        parse_voc(path)
    assert time.perf_counter() - started < 1 and "\n" not in str(error.value) and "root:" not in str(error.value)


def test_size_is_bounded_and_depth_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.xml"
    path.write_text("<annotation>" + "<a>" * 100_000)
    with pytest.raises(BenchError, match="is no well-formed XML"):
        parse_voc(path)
    path.write_text("<annotation>" + "<a>" * 100_000 + "</a>" * 100_000 + "</annotation>")
    assert parse_voc(path).names == ()
    monkeypatch.setattr(voc, "MAX_BYTES", 1 << 20)
    path.write_text("<annotation>" + " " * (1 << 20) + "</annotation>")
    with pytest.raises(BenchError, match="larger than 1 MiB"):
        parse_voc(path)


def box(inner: str) -> str:
    return f"<annotation><object><name>ship</name><bndbox>{inner}</bndbox></object></annotation>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no well-formed XML"),
        ("<annotation><object>", "no well-formed XML"),
        ("<annotation>&x;</annotation>", "no well-formed XML"),
        ("<html/>", "its root is <html>, expected <annotation>"),
        ("<annotation><objects><object/></objects></annotation>", "schema of AIR-SARShip-2.0"),
        ("<annotation><object><name>ship</name></object></annotation>", "object 1 has 0 <bndbox>"),
        (box("<x0>1</x0><y0>2</y0>"), "object 1 has the box .* expected numbers in xmin, ymin, xmax, ymax"),
        (box("<xmin>a</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax>"), "object 1 has the box"),
        (box("<xmin>nan</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax>"), "which is not finite"),
        (box("<xmin>1</xmin><ymin>2</ymin><xmax>1e999</xmax><ymax>4</ymax>"), "which is not finite"),
        ("<annotation><object><bndbox/></object></annotation>", "object 1 has"),
        (
            box("<xmin>1</xmin>").replace("<name>", "<dificult>1</dificult><name>"),
            "<object> has 'dificult'.*'difficult'",
        ),
        (box("").replace("<name>", "<difficult>1</difficult><Difficult>0</Difficult><name>"), "<object> has both"),
        (box("").replace("object>", "objct>"), "<annotation> has 'objct', which is not known; is 'object' meant"),
        (box("").replace("object>", "thing>"), "has 1 <bndbox> that are in no <object>"),
        (
            "<annotation><size><width>3k</width><height>1</height></size></annotation>",
            "size 1 x 3k is no pair of whole numbers",
        ),
    ],
)
def test_bad_files_end_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.xml"
    path.write_text(text)
    with pytest.raises(BenchError, match=message) as error:
        parse_voc(path)
    assert "bad.xml" in str(error.value) and "\n" not in str(error.value)


def test_bad_flags_names_and_files(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    write_voc(path, [[1, 2, 3, 4]], difficult=[2])
    with pytest.raises(BenchError, match="object 1 has difficult = '2'; expected 0 or 1"):
        parse_voc(path)
    write_voc(path, [[1, 2, 3, 4]], name=" ")
    with pytest.raises(BenchError, match="object 1 has no <name>"):
        parse_voc(path)
    with pytest.raises(BenchError, match="cannot read"):
        parse_voc(tmp_path / "none.xml")
    path.write_bytes(bytes(range(256)))
    with pytest.raises(BenchError, match="a.xml"):
        parse_voc(path)
