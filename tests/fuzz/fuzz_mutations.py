"""Mutations of files by a seeded generator: of bytes, and of JSON, YAML, XML and CSV by their structure, so that most
cases get past the parser.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

Mutate = Callable[[Random, bytes], bytes]

# values that something is likely not to expect
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3.5, -0.0, 1e308, -1e308, 5e-324, 2**31, 2**63, 2**64, -(2**63), 10**400, "", " ", "0", "1.0", "nan",
    "inf", "-inf", "x" * 300, "é", "\ud800", "\x00", "a\nb", "../../x", "/abs/x", "..", "a|b", "<b>", "=1+1", [], {}, [[]], [None], {"": 0},
    {"a": {"b": []}}, [1, "a", None], ["a"] * 50, float("nan"), float("inf"), "ship", "finished", "failed", "matching", "detection",
)  # fmt: skip
ODD_YAML = (
    "", "null", "~", "yes", "on", "no", "010", "0o17", "0x1F", "1:30", "1_000", ".inf", "-.inf", ".nan", "1e400", "-1", "0", "1.5", "[]", "{}",
    "[null]", "{a: 1}", "[[[[]]]]", "!!python/object/apply:os.system [echo]", "!!binary aGk=", "!!set {a}", "!!timestamp 2001-12-14", "&x [*x]",
    "&x {a: *x}", "*unknown", "<<: {a: 1}", "'", '"', '"\\ud800"', '"\\0"', "|", "%", "@", "`", "a: b: c", "x" * 300, "../..", "/x", "? a",
    "12345678901234567890123", "2026-11-28", "{toy: null}", "[0, 0]", "[1, 1.0]", "- 1", "#", "a #b", "\t", "{<<: 1}", "é", "a/b", "a--b",
)  # fmt: skip


def of_bytes(rng: Random, whole: bytes) -> bytes:
    """Return bytes after some accidents."""
    out = bytearray(whole)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, much = rng.randrange(len(out) + 1), rng.choice((1, 1, 2, 4, 8, 64))
        kind = rng.randrange(10)
        if kind == 0:
            del out[at:]
        elif kind == 1:
            del out[at : at + much]
        elif kind == 2:
            out[at:at] = out[at : at + much]
        elif kind == 3:
            out[at : at + much] = bytes(len(out[at : at + much]))
        elif kind == 4:
            out[at : at + much] = rng.randbytes(len(out[at : at + much]))
        elif kind == 5:
            number = rng.choice((0, 1, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1))
            out[at : at + 4] = number.to_bytes(4, rng.choice(("little", "big")))
        elif kind == 6 and rng.random() < 0.2:
            out[:] = rng.choice(
                (b"", b"\x00", b"{}", b"[]", b"null", rng.randbytes(100), b"\xff\xfe" + bytes(out[:50]))
            )
        else:  # most often, and most likely near the head, where the structure is
            place = min(int(rng.expovariate(1 / 60)), len(out) - 1) if rng.random() < 0.5 else at
            if 0 <= place < len(out):
                out[place] ^= 1 << rng.randrange(8)
    return bytes(out)


def of_json(rng: Random, whole: bytes) -> bytes:
    """Return JSON with some of its values, keys or elements changed."""
    if rng.random() < 0.15:
        return of_bytes(rng, whole)
    value = [json.loads(whole)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change(rng, value)
    text = json.dumps(value[0])
    if rng.random() < 0.02:
        deep = rng.choice((50, 5000, 200_000))
        text = text.replace(": ", ": " + "[" * deep, 1).replace(",", "]" * deep + ",", 1)
    return (text.replace("Infinity", "1e999") if rng.random() < 0.5 else text).encode()


def _change(rng: Random, value: list[Any]) -> None:
    where = list(_places(value))
    holder, key = rng.choice(where)
    kind = rng.randrange(8)
    if kind == 0 and isinstance(holder, dict):
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice((key.upper(), key[:-1], key + "s", "", "x", "__class__", "\ud800"))] = holder.pop(key)
    elif kind == 2 and isinstance(holder, list) and holder is not value:
        holder.insert(holder.index(holder[key]), copy.deepcopy(holder[key]))
    elif kind == 3 and isinstance(holder, list) and holder is not value:
        del holder[key]
    elif kind == 4:  # a value from elsewhere
        other, name = rng.choice(where)
        if name in other if isinstance(other, dict) else name < len(other):
            holder[key] = copy.deepcopy(other[name])
    elif kind == 5 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = rng.choice(
            (-holder[key], holder[key] + 1, holder[key] * 1e6, str(holder[key]), float(holder[key]))
        )
    elif kind == 6:
        holder[key] = [holder[key]] if rng.random() < 0.7 else {"a": holder[key]}
    else:
        holder[key] = copy.deepcopy(rng.choice(ODD))


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return (holder, key or index) of every value in it, those near the top more often."""
    out: list[tuple[Any, Any]] = []
    level = [value]
    while level:
        here = [
            (holder, key) for holder in level for key in (holder if isinstance(holder, dict) else range(len(holder)))
        ]
        out += here[:400]
        level = [each for holder, key in here[:400] if isinstance(each := holder[key], dict | list)]
    return out


def of_yaml(rng: Random, whole: bytes) -> bytes:
    """Return YAML with scalars, keys or lines changed."""
    if rng.random() < 0.1:
        return of_bytes(rng, whole)
    lines = whole.decode().split("\n")
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        kind = rng.randrange(9)
        if kind == 0:
            del lines[at]
            lines = lines or [""]
        elif kind == 1:
            lines.insert(at, lines[at])
        elif kind == 2:
            lines[at] = " " * rng.choice((1, 2, 4)) + lines[at]
        elif kind == 3:
            lines[at] = lines[at].lstrip()
        elif kind == 4:
            lines[at] = re.sub(
                r"\w+(?=:)",
                lambda found: rng.choice((found[0][:-1], found[0] + "s", "null", "1", "<<")),
                lines[at],
                count=1,
            )
        elif kind == 5 and rng.random() < 0.2:
            deep = rng.choice((20, 3000))
            lines[at] = re.sub(r":.*", ": " + "[" * deep + "]" * deep, lines[at])
        else:  # a scalar of the line, in a flow or alone
            spots = list(re.finditer(r"(?<=[:,\[{] )[^,\[\]{}:]+(?=[,\]}]|$)", lines[at])) or list(
                re.finditer(r"[\w.]+", lines[at])
            )
            if spots:
                spot = rng.choice(spots)
                lines[at] = lines[at][: spot.start()] + rng.choice(ODD_YAML) + lines[at][spot.end() :]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


ODD_TEXT = (
    "", " ", "0", "-1", "1e308", "nan", "inf", "1.0", "1,5", "0x10", "１", "ship", "Ship", "yes", "true", "2", "99999999999999999999", "../x", "x" * 5000,
    "&lt;", "&x;", "<a/>", "<![CDATA[1]]>", "\x01", "é", "1 2", "-0", "+1", "1_0",
)  # fmt: skip


def of_xml(rng: Random, whole: bytes) -> bytes:
    """Return XML with texts, elements or names of elements changed."""
    if rng.random() < 0.15:
        return of_bytes(rng, whole)
    text = whole.decode()
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kind = rng.randrange(6)
        elements = list(re.finditer(r"<(\w+)>([^<]*)</\1>", text))
        if not elements:
            return text.encode()
        one = rng.choice(elements)
        if kind == 0:
            text = text[: one.start()] + text[one.end() :]
        elif kind == 1:
            text = text[: one.end()] + one[0] + text[one.end() :]
        elif kind == 2:
            name = rng.choice((one[1].upper(), one[1][:-1] or "x", one[1] + "s", "a:b", "xmin"))
            text = text[: one.start()] + f"<{name}>{one[2]}</{name}>" + text[one.end() :]
        elif kind == 3 and rng.random() < 0.3:
            head = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "' + "y" * 50 + '"><!ENTITY z "&x;&x;">]>'
            text = rng.choice((head, '<?xml version="1.0" encoding="x"?>', "\ufeff", "<a>" * 2000)) + text
        else:
            text = text[: one.start(2)] + rng.choice(ODD_TEXT) + text[one.end(2) :]
    return text.encode()


def of_csv(rng: Random, whole: bytes) -> bytes:
    """Return a table with cells, rows, columns or its form changed."""
    if rng.random() < 0.15:
        return of_bytes(rng, whole)
    rows = list(csv.reader(io.StringIO(whole.decode())))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(rows))
        column = rng.randrange(max(1, len(rows[at])))
        kind = rng.randrange(8)
        if kind == 0 and len(rows) > 1:
            del rows[at]
        elif kind == 1:
            rows.insert(at, list(rows[at]))
        elif kind == 2:
            rows = [row[:column] + row[column + 1 :] for row in rows]
        elif kind == 3:
            rows[0] = [rng.choice((name.upper(), f" {name}", name, name + "s", "")) for name in rows[0]]
        elif kind == 4:
            rows[at] = rows[at][:column]
        elif kind == 5:
            rng.shuffle(rows)
        elif rows[at]:
            rows[at][min(column, len(rows[at]) - 1)] = rng.choice(ODD_TEXT)
    out = io.StringIO()
    csv.writer(out, delimiter=rng.choice(",,,,,,;\t")).writerows(rows)
    return out.getvalue().encode(rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16")))
