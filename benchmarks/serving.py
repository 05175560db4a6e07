"""The server against onnxruntime alone, and against a plain FastAPI server of the same run in torch.

200 candidates per request (--candidates), 23 fields. Each is measured for --seconds: scored candidates per second, and
the median and the 99th percentile of a request's time. The clients run on the same machine; their share of its cores is
printed. `python benchmarks/serving.py`
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl

REQUEST = {"uid": 50_000, "city": 300, "device": 40, "age": None, "gender": 3, "hour": 24, "tab": 12, "app": 5,
           "weekday": 7, "os": 9, "income": None, "segment": 500}  # fmt: skip
ITEM = {"vid": 20_000, "shop": 3000, "brand": 900, "category": 200, "leaf": 2000, "price": None, "length": None,
        "color": 30, "quality": None, "origin": 60, "tags": 400}  # fmt: skip


def log(n: int, seed: int = 0) -> pl.DataFrame:
    """n impressions of 23 fields."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for name, ids in {**REQUEST, **ITEM}.items():
        if ids is None:
            columns[name] = rng.lognormal(2, 1, n).round(2)
        elif name == "tags":
            columns[name] = [[f"t{i}" for i in rng.zipf(1.3, k) % ids] for k in rng.integers(0, 5, n)]
        else:
            columns[name] = [f"{name[0]}{i}" for i in rng.zipf(1.2, n) % ids]
    click = rng.random(n) < 0.2
    return pl.DataFrame(columns).with_columns(
        t=np.arange(n), click=click.astype(int), conversion=(click & (rng.random(n) < 0.2)).astype(int)
    )


def make(folder: Path) -> None:
    """A run and its bundle."""
    import entirespace as es

    kinds = {
        name: "number" if ids is None else "ids" if name == "tags" else "id" for name, ids in (REQUEST | ITEM).items()
    }
    data = es.from_frame(
        log(60_000), click="click", conversion="conversion", order="t", fields=kinds, request=list(REQUEST),
        user="uid", item="vid", out=folder / "data",
    )  # fmt: skip
    from entirespace.config import Config

    config = Config.model_validate({"training": {"epochs": 1, "threads": 1, "batch_size": 4096}})
    es.fit(es.ESMM(), data.train, seed=0, config=config, out=folder / "run").export(
        folder / "bundle", request=list(REQUEST)
    )


def bodies(count: int, candidates: int) -> list[bytes]:
    """Requests as JSON."""
    found = []
    for i in range(count):
        rows = log(candidates, seed=100 + i).to_dicts()
        user = {"uid": rows[0]["uid"]}
        context = {name: rows[0][name] for name in REQUEST if name != "uid"}
        listed = [{"id": row["vid"], **{name: row[name] for name in ITEM if name != "vid"}} for row in rows]
        found.append(json.dumps({"user": user, "context": context, "candidates": listed}).encode())
    return found


def ask(port: int, sent: list[bytes], seconds: float, out: Any) -> None:
    """A client process: one request after the other. It sends (times of requests, seconds of processor)."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    times, i = [], 0
    end = time.perf_counter() + seconds
    cpu = time.process_time()
    while time.perf_counter() < end:
        start = time.perf_counter()
        connection.request("POST", "/v1/rank", sent[i % len(sent)], {"content-type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        times.append(time.perf_counter() - start)
        assert answer.status == 200, content
        i += 1
    out.put((times, time.process_time() - cpu))


def alone(folder: Path, sent: list[bytes], seconds: float, out: Any) -> None:
    """A process that scores encoded requests with onnxruntime, and does nothing else."""
    from entirespace.serving.bundle import Bundle
    from entirespace.serving.ranker import Ranker

    ranker = Ranker(Bundle.open(folder))
    arrays = [ranker.arrays(ranker.form.read(json.loads(body))) for body in sent]
    program = ranker.bundle.program
    times, i = [], 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        program.run(arrays[i % len(arrays)])
        times.append(time.perf_counter() - start)
        i += 1
    out.put((times, 0.0))


def together(
    target: Any, arguments: tuple[Any, ...], processes: int, seconds: float, candidates: int
) -> dict[str, float]:
    """Some processes at once: candidates per second, and times in milliseconds."""
    spawn = multiprocessing.get_context("spawn")
    out = spawn.Queue()
    running = [spawn.Process(target=target, args=(*arguments, seconds, out)) for _ in range(processes)]
    for process in running:
        process.start()
    found = [out.get() for _ in running]
    for process in running:
        process.join()
    times = sorted(t for some, _ in found for t in some)
    return {
        "per_second": sum(candidates * len(some) / sum(some) for some, _ in found),
        "p50": 1000 * statistics.median(times),
        "p99": 1000 * times[int(0.99 * len(times))],
        "client": sum(cpu for _, cpu in found) / seconds,
    }


NAIVE = """
import os
import polars as pl, torch
torch.set_num_threads(1)
from typing import Any
from fastapi import FastAPI
from pydantic import BaseModel
import entirespace as es
run = es.load(os.environ["RUN"])
app = FastAPI()
class Asked(BaseModel):
    user: dict[str, Any]
    context: dict[str, Any]
    candidates: list[dict[str, Any]]
@app.post("/v1/rank")
def rank(asked: Asked):
    rows = pl.DataFrame([{**asked.user, **asked.context, "vid": c["id"], **c} for c in asked.candidates])
    p = run.predict(rows)
    return [{"id": c["id"], "pctr": float(a), "pcvr": float(b), "pctcvr": float(d)}
            for c, a, b, d in zip(asked.candidates, p.pctr, p.pcvr, p.pctcvr)]
"""


def started(words: list[str], port: int, folder: Path, sent: bytes) -> subprocess.Popen[bytes]:
    """A server that answers."""
    environment = {
        **os.environ,
        "RUN": str(folder / "run"),
        "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}",
    }
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(300):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("POST", "/v1/rank", sent, {"content-type": "application/json"})
            if connection.getresponse().status == 200:
                return process
        except OSError:
            pass
        time.sleep(0.2)
    process.kill()
    raise SystemExit(f"no server at {port}")


def encoding(folder: Path, sent: list[bytes]) -> dict[str, float]:
    """Milliseconds of the steps of one request, in one process that does nothing else."""
    import msgspec

    from entirespace.kernels.threads import use_threads
    from entirespace.serving.bundle import Bundle
    from entirespace.serving.ranker import Ranker

    use_threads(1)
    ranker = Ranker(Bundle.open(folder))
    steps: dict[str, list[float]] = {"JSON": [], "checks": [], "rows": [], "program": []}
    for body in sent * 20:
        a = time.perf_counter()
        value = msgspec.json.decode(body)
        b = time.perf_counter()
        request = ranker.form.read(value)
        c = time.perf_counter()
        arrays = ranker.arrays(request)
        d = time.perf_counter()
        ranker.bundle.program.run(arrays)
        e = time.perf_counter()
        for name, t in zip(steps, (b - a, c - b, d - c, e - d), strict=True):
            steps[name].append(1000 * t)
    return {name: statistics.median(times[len(sent) :]) for name, times in steps.items()}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--candidates", type=int, default=200)
    options.add_argument("--seconds", type=float, default=8)
    options.add_argument("--clients", type=int, default=2)
    options.add_argument("--folder", type=Path, help="where the run and its bundle are, or will be")
    chosen = options.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "bundle" / "manifest.json").is_file():
        make(folder)
    sent = bodies(40, chosen.candidates)
    (folder / "naive_server.py").write_text(NAIVE)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores; {chosen.candidates} candidates")
    print("ms of one request, one process:", {k: round(v, 2) for k, v in encoding(folder / "bundle", sent).items()})
    rows = {"onnxruntime alone": together(alone, (folder / "bundle", sent), 2, chosen.seconds, chosen.candidates)}
    python, two = [sys.executable, "-m"], ["--workers", "2", "--port"]
    servers = {
        "entirespace serve": [*python, "entirespace", "serve", str(folder / "bundle"), *two, "18431"],
        "FastAPI and torch": [*python, "uvicorn", "naive_server:app", *two, "18432"],
    }
    for port, (name, words) in zip((18431, 18432), servers.items(), strict=True):
        process = started(words, port, folder, sent[0])
        try:
            together(ask, (port, sent), chosen.clients, 2, chosen.candidates)
            rows[name] = together(ask, (port, sent), chosen.clients, chosen.seconds, chosen.candidates)
        finally:
            process.terminate()
            process.wait()
    best = rows["onnxruntime alone"]["per_second"]
    for name, row in rows.items():
        print(
            f"{name:20} {row['per_second']:9,.0f} candidates/s ({100 * row['per_second'] / best:5.1f} %), "
            f"p50 {row['p50']:6.2f} ms, p99 {row['p99']:7.2f} ms, clients use {row['client']:.2f} cores"
        )


if __name__ == "__main__":
    main()
