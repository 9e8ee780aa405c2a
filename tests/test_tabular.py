"""CSV as spreadsheets write it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from newsletter.errors import InputError
from newsletter.tabular import BadRecord, Record, guarded, open_sheet

FIELDS = {"email": ("e mail", "correo"), "name": ("nombre",)}


def read(path: Path, content: bytes, fields=FIELDS, required=("email",)) -> list[Record | BadRecord]:
    path.write_bytes(content)
    return list(open_sheet(path, fields, required).records())


def cells(path: Path, content: bytes) -> list[dict[str, str]]:
    found = read(path, content)
    assert all(isinstance(record, Record) for record in found), found
    return [record.cells for record in found]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "readers.csv"


def test_nine_ways_to_write_one_table(material: Path) -> None:
    """The same table under nine choices of delimiter and quote reads the same."""
    files = sorted((material / "csv").glob("detect_csv_*"))
    assert len(files) == 9
    for path in files:
        (record,) = open_sheet(path, FIELDS, ("email",)).records()
        assert record == Record(2, {"name": "example", "email": "info@example.com"}), path.name


def test_spectrum(material: Path) -> None:
    """The csv-spectrum files read as their authors expect."""
    for path in sorted((material / "csv/spectrum").glob("*.csv")):
        expected = json.loads((material / "csv/spectrum_expected" / f"{path.stem}.json").read_text("utf-8"))
        expected = [expected] if isinstance(expected, dict) else expected
        if path.stem == "location_coordinates":
            # The collection's own two files differ in the telephone number.
            expected[0]["Contact Phone Number"] = "2095257564"
        names = dict.fromkeys(expected[0], ())
        found = list(open_sheet(path, names, tuple(names)).records())
        assert [r.cells for r in found if any(r.cells.values())] == [
            {k: v.strip() for k, v in row.items()} for row in expected if any(row.values())
        ], path.name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "iso8859_15", "cp850", "mac_roman"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings(file: Path, encoding: str, end: str) -> None:
    """Accents survive in every encoding that spreadsheets of our readers write, under every line end."""
    names = ("María Peña", "Aïssatou Diédhiou", "José Ñandú", "Françoise Lefèvre")
    lines = ["correo;nombre", *(f"r{n}@example.org;{name}" for n, name in enumerate(names))]
    found = cells(file, (end.join(lines) + end).encode(encoding))
    assert [row["name"] for row in found] == list(names)


def test_headers_are_matched_loosely(file: Path) -> None:
    """Case, accents, punctuation and spaces of headers do not matter; what means nothing is named."""
    file.write_text(" E-Mail ,NOMBRE,Shoe size\na@example.org,Ana,38\n", "utf-8")
    sheet = open_sheet(file, FIELDS, ("email",))
    assert sheet.fields == {"email": " E-Mail ", "name": "NOMBRE"}
    assert sheet.ignored == ("Shoe size",)


def test_a_bad_byte_in_a_header(file: Path) -> None:
    """A header with a byte that does not fit is shown with the sign for it, whether it means something or not."""
    file.write_bytes("correoñ,naïveté,".encode() + b"shoe\xffsize,name\xff\n")
    with pytest.raises(InputError, match="shoe\ufffdsize, name\ufffd"):
        open_sheet(file, FIELDS, ("email",))
    sheet = open_sheet(file, FIELDS, ("name",))
    assert (sheet.fields, sheet.ignored[-1]) == ({"name": "name\ufffd"}, "shoe\ufffdsize")


def test_excel_says_its_delimiter(file: Path) -> None:
    """Excel's `sep=;` line is obeyed and is no row."""
    assert cells(file, b"sep=;\r\nemail;name\r\na@example.org;Ana, Lda.\r\n") == [
        {"email": "a@example.org", "name": "Ana, Lda."}
    ]


def test_unclosed_quote_costs_one_row(file: Path) -> None:
    """A quote that is never closed costs its own row, which is named with its line, and no other."""
    found = read(file, b'email,name\na@example.org,Ana\nb@example.org,"Ben\nc@example.org,Cleo\nd@example.org,Dan\n')
    assert [r.cells["name"] if isinstance(r, Record) else (r.line, r.reason) for r in found] == [
        "Ana",
        (3, "A quote is opened and never closed."),
        "Cleo",
        "Dan",
    ]


def test_bad_byte_far_in(file: Path) -> None:
    """A byte that is not UTF-8 in a file that else is, far behind what was sampled, costs its own row only."""
    rows = [f"r{n}@example.org,Name {n}".encode() for n in range(12_000)]
    rows[10_998:11_000] = ["r10998@example.org,Peña".encode(), "r10999@example.org,Aïda".encode()]
    rows[11_000] = b"r11000@example.org,Mar\xeda"
    found = read(file, b"email,name\n" + b"\n".join(rows))
    bad = [r for r in found if isinstance(r, BadRecord)]
    assert [(r.line, r.column) for r in bad] == [(11_002, "name")]
    assert len(found) == 12_000


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-16-le", "utf-16-be"])
def test_first_accent_far_in(file: Path, encoding: str) -> None:
    """A file is read in its encoding, also if its first accent comes far behind the sample, or no mark says it."""
    rows = ["email,name", *(f"r{n}@example.org,Name {n}" for n in range(12_000)), "z@example.org,María Peña"]
    assert cells(file, "\n".join(rows).encode(encoding))[-1]["name"] == "María Peña"


@pytest.mark.parametrize("tail", [b"A", b",\x00\xd8A\x00\n\x00", b",\x00\xdc\n\x00"])
def test_broken_utf_16(file: Path, tail: bytes) -> None:
    """UTF-16 that breaks off or is not well-formed costs its own row."""
    found = read(file, "\ufeffemail,name\na@example.org,Ana\nb@example.org".encode("utf-16-le") + tail)
    assert [isinstance(record, Record) for record in found] == [True, False]
    assert found[1].reason == "The cell is not utf-16 text."


def test_cells_that_cannot_be(file: Path) -> None:
    """A cell beyond a million characters is called too large, and one with a NUL is named as such."""
    lines = (b"email,name", b'a@example.org,"' + b"x" * 1_000_001 + b'"', b"b@example.org,B\0n", b"c@example.org,Cleo")
    padding = b"p@example.org,P\n" * 15_000
    *_, large, nil, good = read(file, lines[0] + b"\n" + padding + b"\n".join(lines[1:]))
    assert large == BadRecord(15_002, "", "A cell is too large: it has more than 1,000,000 characters.")
    assert nil == BadRecord(15_003, "name", "The cell holds a NUL character.")
    assert isinstance(good, Record)


def test_too_many_cells(file: Path) -> None:
    """A row with more cells than the header has is refused, with its line; one with fewer is read."""
    found = read(file, b"email,name\na@example.org,Ana,x\nb@example.org\n")
    assert found == [
        BadRecord(2, "", "The row has 3 cells, the header 2."),
        Record(3, {"email": "b@example.org", "name": ""}),
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "readers.csv is empty."),
        (b"\n \n", "readers.csv is empty."),
        (b"PK\x03\x04\x00\x00", "not a text file"),
        (b"name,age\nAna,3\n", "no column for email"),
        (b"email,E-mail\na,b\n", "both mean email"),
        (b"just some words", "no column for email"),
    ],
)
def test_unusable_files(file: Path, content: bytes, sentence: str) -> None:
    """A file that cannot be used gets a sentence that says why."""
    with pytest.raises(InputError, match=sentence):
        read(file, content)


texts = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp", "Co", "Cn")), max_size=30).map(str.strip)
values = texts.filter(lambda t: not t.startswith(("'", '"')) and guarded(t) == t)
tables = st.lists(st.tuples(texts.map(lambda t: f"x{t}x"), values), min_size=1, max_size=8)


@given(rows=tables, delimiter=st.sampled_from(",;\t|"), end=st.sampled_from(("\n", "\r\n")))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(file: Path, rows: list[tuple[str, str]], delimiter: str, end: str) -> None:
    """Whatever a spreadsheet quotes properly comes back, cell by cell."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("email", "name"), *rows])
    assert cells(file, out.getvalue().encode()) == [{"email": email, "name": name} for email, name in rows]


@given(content=st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes(file: Path, content: bytes) -> None:
    """Any bytes after a header are rows, bad rows, or a sentence; never anything else."""
    try:
        read(file, b"email,name\n" + content)
    except InputError:
        return


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "'=1"])
def test_formulas(file: Path, cell: str) -> None:
    """What a spreadsheet would run is written with an apostrophe, and read without it."""
    assert cells(file, f'email,name\na@example.org,"{guarded(cell)}"\n'.encode())[0]["name"] == cell.removeprefix("'")
