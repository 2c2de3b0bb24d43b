"""Promises 9 and 10 on the running server: what is served is what was approved, and no file given to it kills or stalls it.

Mutants of the formats themselves are in tests/engine/formats; they run at full size with `make torture` too.
"""

import gzip
import io
import random
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.tabular.artifact import dump
from tests.engine.tabular.tables import trained
from tests.torture.calling import Answer, Caller
from tests.torture.installation import Installation
from tests.torture.storms import Storm, times, together

pytestmark = pytest.mark.torture
NewStorm = Callable[..., Storm]
ROW = {"size": 100.0, "rooms": 3, "town": "Ulm", "garden": True, "sold_at": "2020-05-01T00:00:00Z"}
MEGABYTE = 1024 * 1024
FORM = {"Content-Type": "multipart/form-data; boundary=storm"}

PATHS = """
from mlops.database.reading import reading
from registry.models import ModelVersion
with acting(system(given["shop"])), reading():
    said = {one.version: one.artifact_path for one in ModelVersion.objects.filter(model_name=given["name"])}
"""


def form(content: bytes, *, filename: str = "model.json", **fields: str) -> bytes:
    """A multipart body with one file."""
    head = '--storm\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    parts = [head.format(key, "").encode() + value.encode() + b"\r\n" for key, value in fields.items()]
    return b"".join(parts) + head.format("file", f'; filename="{filename}"').encode() + content + b"\r\n--storm--\r\n"


def corrupt(content: bytes, chance: random.Random, other: bytes) -> bytes | None:
    """The content changed somehow; None for a file that is gone."""
    spot = chance.randrange(len(content))
    ways: list[Callable[[], bytes | None]] = [
        lambda: content[:spot] + bytes([content[spot] ^ (1 << chance.randrange(8))]) + content[spot + 1 :],
        lambda: content[:spot],
        lambda: content + b"\n",
        lambda: content[:spot] + content[spot + 1 :],
        lambda: other,
        lambda: b"",
        lambda: content[:spot] + chance.randbytes(min(40, len(content) - spot)) + content[spot + 40 :],
        lambda: None,
        lambda: content[::-1],
    ]
    found = chance.choice(ways)()
    return found if found != content else content + b" "


def predict(caller: Caller, version: str) -> Answer:
    return caller.try_once("POST", "/v1/predict", body={"model_name": "houses", "version": version, "instances": [ROW]})


def test_a_corrupted_artifact_is_refused_and_the_former_version_serves_on(installation: Installation, storm: NewStorm) -> None:
    raging = storm("9 · corrupted artifacts")
    shop = installation.shop("Corrupted")
    installation.up("web")
    caller = installation.caller(shop.keys["ml_manager"], seconds=60)
    assert caller.post("/api/v1/models", {"name": "houses", "task": "regression"}).status == 201
    for algorithm in ("lightgbm", "catboost"):
        content = dump(trained("regression", algorithm).model)
        answer = caller.try_once("POST", "/api/v1/models/houses/versions", body=form(content), headers=FORM)
        assert answer.status == 201, answer
    former = predict(caller, "v1")
    assert former.status == 200, former
    paths = installation.ask(PATHS, shop=shop.id, name="houses")
    file = installation.folder / "artifacts" / paths["v2"]
    whole, other = file.read_bytes(), (installation.folder / "artifacts" / paths["v1"]).read_bytes()
    count = times(1_000, least=20)
    for seed in range(count):
        _replace(file, corrupt(whole, random.Random(seed), other))
        answer = predict(caller, "v2")
        raging.count("corruptions")
        refused = answer.status == 409 and answer.code in ("artifact_digest_mismatch", "artifact_missing")
        raging.expect(refused, f"served although corrupted: seed {seed}, {answer}")
        if seed % max(count // 20, 1) == 0:
            still = predict(caller, "v1")
            raging.count("answers of the former version")
            raging.expect(still.content == former.content, f"the former version does not serve on: {still}")
    _replace(file, whole)
    raging.expect(predict(caller, "v2").status == 200, "not served: although whole again")
    raging.assert_kept(corruptions=count, **{"answers of the former version": 10})


def _replace(file: Path, content: bytes | None) -> None:
    file.unlink(missing_ok=True)
    if content is not None:
        file.write_bytes(content)


def parquet_bomb() -> bytes:
    """Some kilobytes that decode to two gigabytes."""
    found = io.BytesIO()
    column = pa.array(["x" * 2000]).dictionary_encode()
    rows = 1_000_000
    table = pa.table(
        {
            "date": pa.array(["2026-01-01"] * rows).dictionary_encode(),
            "text": pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), column.dictionary),
        }
    )
    pq.write_table(table, found, compression="zstd")
    return found.getvalue()


def deep_json(depth: int) -> bytes:
    return b'{"trees": ' + b"[" * depth + b"]" * depth + b"}"


def zip_bomb() -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"{number}.csv", b"\x00" * (50 * MEGABYTE))
    return found.getvalue()


def bombs() -> dict[str, tuple[str, bytes, str]]:
    """Name: where it is sent, what, and the file's name."""
    wide = ",".join(f"c{number}" for number in range(200_000)).encode() + b"\n" + b",".join([b"1"] * 200_000) + b"\n"
    data = {
        "parquet that decodes to gigabytes": (parquet_bomb(), "a.parquet"),
        "zip bomb": (zip_bomb(), "a.zip"),
        "gzip bomb": (gzip.compress(b"a,b\n" + b"1,2\n" * (25 * MEGABYTE)), "a.csv.gz"),
        "200,000 columns": (wide, "a.csv"),
        "one line of 60 MB": (b"x" * (60 * MEGABYTE), "a.csv"),
        "an open quote": (b'date,item,units\n2026-01-01,"a' + b"\n1,2" * (5 * MEGABYTE), "a.csv"),
        "cut parquet": (parquet_bomb()[:-200], "a.parquet"),
    }
    models = {
        "deep JSON": (deep_json(2_000_000), "model.json"),
        "LightGBM that promises trees": (
            b"tree\nversion=v4\nnum_class=1\nmax_feature_idx=2147483647\nfeature_names=a\ntree_sizes=9999999999\n\nTree=0\nnum_leaves=2147483647\n",
            "m.txt",
        ),
        "ONNX of bytes": (b"\x08\x09\x12\x04" + b"\xff" * MEGABYTE, "m.onnx"),
        "pickle": (b"cos\nsystem\n(S'touch /tmp/ty-pwned'\ntR.", "m.pkl"),
        "skops zip bomb": (zip_bomb(), "m.skops"),
        "UBJSON of a huge count": (b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner[$l#L\x7f\xff\xff\xff\xff\xff\xff\xff", "m.ubj"),
        "CatBoost of nothing": (b"CBM1" + b"\xff\xff\xff\x7f" + b"\x00" * 1000, "m.cbm"),
    }
    sent = {name: ("/api/v1/datasets", *one) for name, one in data.items()}
    sent |= {f"{name} as a split": ("/v1/splits", *one) for name, one in data.items()}
    return sent | {name: ("/api/v1/models/bombed/versions", *one) for name, one in models.items()}


def test_no_file_kills_stalls_or_fills_the_server(installation: Installation, storm: NewStorm) -> None:
    raging = storm("10 · bombs at the door")
    shop = installation.shop("Bombed")
    installation.up("web", "jobs", "relay")
    caller, other = (installation.caller(shop.keys["admin"], seconds=300) for _ in range(2))
    assert caller.post("/api/v1/models", {"name": "bombed"}).status == 201
    before = {one.pid for one in installation.processes("web")}
    for name, (path, content, filename) in bombs().items():
        fields = {} if "versions" in path else {"name": f"b{time.monotonic_ns()}"}
        if path == "/v1/splits":
            fields |= {"strategy": "random", "target": "text", "task": "classification"}
        over: list[Answer] = []
        answer, slowest, most = _thrown(installation, caller, other, path, form(content, filename=filename, **fields), over)
        raging.count("bombs")
        raging.note(
            f"{name}: {answer.status} {answer.code} after {answer.seconds:.1f} s; web up to {most / MEGABYTE:.0f} MB, "
            f"others at most {slowest * 1000:.0f} ms"
        )
        raging.expect(answer.status not in (0, 500, 502, 503, 504), f"{answer.status}: {name} {answer}")
        raging.expect(
            answer.status >= 400 or "zip" in name or answer.status == 202 or answer.status == 201, f"{answer.status}: {name} {answer}"
        )
        raging.expect(most < 900 * MEGABYTE, f"the web process grew to {most / MEGABYTE:.0f} MB: {name}")
        raging.expect(slowest < 3, f"others waited {slowest:.1f} s: {name}")
        if "versions" in path:
            raging.expect(answer.status == 400, f"let in: {name} {answer}")
    raging.expect({one.pid for one in installation.processes("web")} == before, "a web process died: ")
    raging.expect(not Path("/tmp/ty-pwned").exists(), "a file ran code: ")
    raging.expect(not installation.tracebacks("web"), f"a traceback: {installation.tracebacks('web')[:1]}")
    raging.assert_kept(bombs=len(bombs()))


def _thrown(
    installation: Installation, caller: Caller, other: Caller, path: str, body: bytes, over: list[Answer]
) -> tuple[Answer, float, int]:
    """The answer, the slowest answer to somebody else meanwhile, and the most memory that the web's own processes took."""

    caller.close()  # the server ends a connection that was idle for ten seconds, as it does one whose headers come slowly

    def throw() -> Answer:
        over.append(caller.try_once("POST", path, body=body, headers=FORM))
        return over[0]

    def watch() -> tuple[float, int]:
        slowest, most = 0.0, 0
        while not over:
            slowest = max(slowest, other.try_once("GET", "/api/v1/me").seconds)
            most = max([most, *_sizes(installation)])
            time.sleep(0.05)
        return slowest, most

    found: list[Any] = together([throw, watch])
    return found[0], *found[1]


def _sizes(installation: Installation) -> list[int]:
    sizes = []
    for one in installation.processes("web")[:2]:  # the server and its worker; children that read files have limits of their own
        try:
            sizes.append(one.memory_info().rss)
        except psutil.NoSuchProcess:
            continue
    return sizes
