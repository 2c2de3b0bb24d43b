"""How a text file is written: compression, encoding, delimiter, header. Found from the bytes, never from the name."""

import codecs
import csv
import io
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import polars as pl

from engine.frames.limits import ReadLimits
from engine.frames.problems import Findings, refuse
from engine.frames.values import read_dates

DELIMITERS = (",", ";", "\t", "|")
CHUNK = 1 << 20
SNIFFED_BYTES = 256 << 10
SNIFFED_RECORDS = 50

BOMS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
# Formats people send by mistake: what to tell them.
FOREIGN = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook: save the sheet as CSV, or unpack the archive"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV"),
    (b"%PDF", "a PDF document"),
    (b"\x80\x04", "a Python pickle, which can run code and is never read"),
    (b"\x80\x05", "a Python pickle, which can run code and is never read"),
    (b"SQLite format 3", "an SQLite database: export the table as CSV"),
    (b"\x89HDF", "an HDF5 file: export the table as CSV or Parquet"),
    (b"ARROW1", "an Arrow file: save it as Parquet"),
    (b"BZh", "compressed with bzip2: use gzip"),
    (b"\xfd7zXZ", "compressed with xz: use gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: use gzip"),
)


@dataclass(frozen=True)
class Dialect:
    encoding: str
    delimiter: str
    compressed: bool
    header: tuple[str, ...]
    skip: int
    """Records before the first row of data: the header, and a `sep=;` line where there is one."""
    text: bytes | None
    """The whole file as UTF-8 where it had to be unpacked or re-encoded; None: read the file itself."""


def read_dialect(path: Path, *, limits: ReadLimits, findings: Findings, named: Collection[str] = ()) -> Dialect:
    """Check the whole text once and tell how to read it. Raises FrameError where it cannot be read as text.

    A first line that has all columns `named` is a header, whatever it looks like.
    """
    dialect, rewritten = find_dialect(path, limits=limits, findings=findings, named=named)
    if not rewritten:
        return dialect
    text = b"".join(text_chunks(path, dialect, max_bytes=limits.max_text_bytes))
    return replace(dialect, text=text if b"\n" in text else text.replace(b"\r", b"\n"))


def find_dialect(path: Path, *, limits: ReadLimits, findings: Findings, named: Collection[str] = ()) -> tuple[Dialect, bool]:
    """As `read_dialect`, without holding the text; and whether `text_chunks` must rewrite it before a reader of UTF-8 can take it."""
    with path.open("rb") as stream:
        head = stream.read(16)
        for magic, told in FOREIGN:
            if head.startswith(magic):
                raise refuse("unknown_format", f"The file is {told}.")
    compressed = head.startswith(b"\x1f\x8b")
    encoding, rewritten = _find_encoding(path, compressed=compressed, limits=limits, findings=findings)
    found = Dialect(encoding, ",", compressed, (), 1, None)
    if rewritten:
        first = bytearray()
        for piece in text_chunks(path, found, max_bytes=max(limits.max_text_bytes, CHUNK * 4)):
            first += piece
            if len(first) >= SNIFFED_BYTES:
                break
        sample = bytes(first[:SNIFFED_BYTES])
    else:
        sample = _first_bytes(path)
    delimiter, (header, *below), skip = _find_header(sample if b"\n" in sample else sample.replace(b"\r", b"\n"))
    _check_header(header, below, named=named, limits=limits, findings=findings)
    return replace(found, delimiter=delimiter, header=tuple(header), skip=skip), rewritten


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(SNIFFED_BYTES)


def chunks(stream: BinaryIO, *, compressed: bool, max_bytes: int) -> Iterator[bytes]:
    """The stream's bytes, unpacked as they come. Raises FrameError as soon as more than `max_bytes` have come out."""
    total = 0
    for piece in _unpacked(stream) if compressed else iter(lambda: stream.read(CHUNK), b""):
        total += len(piece)
        if total > max_bytes:
            raise refuse("too_large", f"The text is larger than the {max_bytes >> 20} MB allowed.")
        yield piece


def _unpacked(stream: BinaryIO) -> Iterator[bytes]:
    """Gzip members one after another, at most CHUNK bytes at a time, so that a bomb is noticed while it goes off."""
    unpacker = zlib.decompressobj(wbits=31)
    unfinished = False
    while raw := stream.read(CHUNK):
        pending, more = raw, True
        while pending or more:
            try:
                piece = unpacker.decompress(pending, CHUNK)
            except zlib.error as error:
                raise refuse("damaged_gzip", "The gzip data is damaged; compress the file again.") from error
            pending, more, unfinished = unpacker.unconsumed_tail, len(piece) == CHUNK, True
            if unpacker.eof:  # files concatenated into one, as gzip allows
                pending, more, unfinished = unpacker.unused_data, False, False
                unpacker = zlib.decompressobj(wbits=31)
            yield piece
    if unfinished:
        raise refuse("damaged_gzip", "The gzip data ends too early; the file was cut off.")


def _find_encoding(path: Path, *, compressed: bool, limits: ReadLimits, findings: Findings) -> tuple[str, bool]:
    """The encoding, and whether the text must be rewritten to be read. Looks at every byte, so no later row surprises."""
    max_bytes = limits.max_text_bytes if compressed else limits.max_file_bytes
    decoder = codecs.getincrementaldecoder("utf-8")()
    utf8, quotes, newlines, returns, seen = True, 0, 0, 0, 0
    with path.open("rb") as stream:
        for chunk in chunks(stream, compressed=compressed, max_bytes=max_bytes):
            if not seen:
                bom = next((name for mark, name in BOMS if chunk.startswith(mark)), None)
                if bom == "utf-32":
                    raise refuse("unknown_encoding", "The file is UTF-32; save it as UTF-8.")
                if bom == "utf-16":
                    return "utf-16", True
            seen += len(chunk)
            if b"\0" in chunk:
                raise refuse("binary_file", "The file holds NUL bytes: it is no text (or UTF-16 without its mark); save it as UTF-8 CSV.")
            quotes, newlines, returns = quotes + chunk.count(b'"'), newlines + chunk.count(b"\n"), returns + chunk.count(b"\r")
            if utf8:
                utf8 = _feed(decoder, chunk, final=False)
    if not seen:
        raise refuse("empty_file", "The file is empty.")
    if quotes % 2:
        findings.error("unbalanced_quotes", 'A quotation mark (") is opened and never closed; rows after it would be swallowed.')
    old_mac = returns > 0 and newlines == 0
    if utf8 and _feed(decoder, b"", final=True):
        return "utf-8", compressed or old_mac
    _check_mixture(path, compressed=compressed, max_bytes=max_bytes)
    findings.warn("not_utf8", "The file is not UTF-8; it was read as Windows-1252 (Latin-1). Check names with accents.")
    return "cp1252", True


def _feed(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool) -> bool:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True


def _check_mixture(path: Path, *, compressed: bool, max_bytes: int) -> None:
    """Refuse a file in which some lines are UTF-8 and others are not: any single reading of it garbles names."""
    valid = invalid = 0
    examples: list[str] = []
    rest, number = b"", 0
    with path.open("rb") as stream:
        for chunk in chunks(stream, compressed=compressed, max_bytes=max_bytes):
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()[-CHUNK:]
            for line in lines:
                number += 1
                if line.isascii():
                    continue
                try:
                    line.decode("utf-8")
                    valid += 1
                except UnicodeDecodeError:
                    invalid += 1
                    examples.append(f"line {number}: {line[:60].decode('cp1252', 'replace')}") if len(examples) < 3 else None
    if valid and invalid:
        told = f"{valid} lines are UTF-8 and {invalid} are not; save the whole file in one encoding (UTF-8)."
        raise refuse("mixed_encodings", told, examples=examples)


def text_chunks(path: Path, dialect: Dialect, *, max_bytes: int) -> Iterator[bytes]:
    """The file as UTF-8, unpacked and re-encoded as it comes. Raises FrameError beyond `max_bytes`, or where it is not what it says."""
    decoder = codecs.getincrementaldecoder(dialect.encoding)(errors="replace" if dialect.encoding == "cp1252" else "strict")
    total = 0
    with path.open("rb") as stream:
        try:
            for chunk in chain(chunks(stream, compressed=dialect.compressed, max_bytes=max_bytes), [None]):
                piece = decoder.decode(b"", True).encode() if chunk is None else decoder.decode(chunk).encode()
                total += len(piece)
                if total > max_bytes:
                    raise refuse("too_large", f"The text is larger than the {max_bytes >> 20} MB allowed.")
                if b"\0" in piece:
                    raise refuse("binary_file", "The file holds NUL characters: it is no text.")
                if piece:
                    yield piece
        except UnicodeError as error:
            raise refuse("unknown_encoding", f"The file says it is {dialect.encoding.upper()} but is not; save it as UTF-8.") from error


def _find_header(sample: bytes) -> tuple[str, list[list[str]], int]:
    """The delimiter, the header with the first records below it, and how many records to skip."""
    text = sample.decode("utf-8-sig", "ignore")
    first, _, rest = text.partition("\n")
    told = first.strip().lower()
    if told.startswith("sep=") and len(told) == 5 and told[4] in DELIMITERS:
        return told[4], _records(rest, told[4]), 2
    best = max(DELIMITERS, key=lambda delimiter: _fitness(_records(text, delimiter)))
    return best, _records(text, best), 1


def _records(text: str, delimiter: str) -> list[list[str]]:
    """The first records of the sample; the last one may be cut by the sample's end and is left off where others stand before it."""
    records: list[list[str]] = []
    try:
        for record in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            records.append(record)
            if len(records) > SNIFFED_RECORDS:
                break
    except csv.Error:  # a field beyond the module's limit: what came before it is enough to judge by
        pass
    return (records[:-1] if len(records) > 2 else records) or [[]]


def _fitness(records: list[list[str]]) -> tuple[float, int]:
    """Share of records as long as the header, then the number of fields; one field only is no delimiter at all."""
    width = len(records[0])
    filled = [record for record in records if record]
    if width < 2 or not filled:
        return (0.0, width)
    return (sum(len(record) == width for record in filled) / len(filled), width)


def _check_header(header: list[str], below: list[list[str]], *, named: Collection[str], limits: ReadLimits, findings: Findings) -> None:
    if len(header) > limits.max_columns:
        raise refuse("too_many_columns", f"The file has {len(header)} columns; {limits.max_columns} are allowed.")
    if len(header) < 2:
        raise refuse("one_column", "Only one column was found; separate columns with comma, semicolon or tab.", examples=header)
    names = [name.strip() for name in header]
    twice = sorted({name for name in names if name and names.count(name) > 1})[:20] if len(set(names)) < len(names) else []
    if twice:
        findings.error("duplicate_columns", f"Columns appear twice in the header: {', '.join(twice)[:200]}.", examples=twice)
    numeric = sum(_is_number(name) for name in names)
    told = bool(named) and set(named) <= set(names)
    if numeric * 2 > len(names) and not told and not _heads_days(names, below):
        findings.error("no_header", "The first line looks like data; the file needs a line with column names first.", examples=names)


def _heads_days(names: list[str], below: list[list[str]]) -> bool:
    """Whether the line names numbered things by day: a word, then whole numbers that differ, above lines that begin with a date."""
    numbered = [name for name in names if _is_number(name)]
    if not all(name.isdecimal() for name in numbered) or len(set(numbered)) < len(numbered):
        return False
    first = pl.Series([record[0] for record in below if record], dtype=pl.String)
    return not _is_number(names[0]) and not read_dates(pl.Series(names[:1])).parsed and read_dates(first).complete


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def bad_records(dialect: Dialect, path: Path, *, limit: int = 5, max_lines: int = 2_000_000) -> list[str]:
    """Rows with another number of fields than the header, for an error's examples. Reads at most `max_lines` lines."""
    stream: io.TextIOBase
    if dialect.text is not None:
        stream = io.TextIOWrapper(io.BytesIO(dialect.text), encoding="utf-8", newline="")
    else:
        stream = path.open(encoding="utf-8", newline="")
    found: list[str] = []
    with stream:
        try:
            for number, record in enumerate(csv.reader(stream, delimiter=dialect.delimiter), start=1):
                if number > dialect.skip and record and len(record) > len(dialect.header):
                    found.append(f"row {number}: {len(record)} fields instead of {len(dialect.header)}")
                if len(found) == limit or number > max_lines:
                    break
        except csv.Error as error:
            found.append(str(error))
    return found
