"""Side tables on the server give the fields of a key by the identity of ids, in several processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from exported import small_log

from entirespace.errors import DataError
from entirespace.serving.bundle import Bundle
from entirespace.serving.lookup import SideTables
from entirespace.serving.redis_tables import RedisTables


@pytest.fixture(scope="module")
def bundle(exported) -> Bundle:
    return Bundle.open(exported[1])


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, table in small_log()[1].items():
        found[name] = tmp_path / f"{name}.parquet"
        table.write_parquet(found[name])
    return found


def test_rows_are_found_by_the_identity_of_ids(bundle, files, tmp_path):
    sides, tables = SideTables(bundle, files, tmp_path / "sides"), small_log()[1]
    assert sides.tables == {"user", "item"}
    found = sides.fields("user", ["u7", "nobody", "u0", "u7", ""])
    want = tables["user"].join(pl.DataFrame({"uid": ["u7", "u0"]}), on="uid").sort("uid", descending=True)
    for name in ("age", "city", "liked", "liked_weights"):
        one, other = want[name].to_list()
        assert found[name].to_list() == [one, None, other, one, None]
    items = tables["item"].with_columns(pl.col("vid").cast(pl.Float64))
    items.write_parquet(files["item"])
    again = SideTables(bundle, {"item": files["item"]}, tmp_path / "sides")
    assert again.fields("item", ["7", "29", "007"])["shop"].to_list() == [items["shop"][7], items["shop"][29], None]
    assert again.fields("item", [])["shop"].len() == 0


def test_the_first_row_of_a_key_counts_and_a_changed_file_is_read_again(bundle, files, tmp_path):
    user = small_log()[1]["user"]
    pl.concat([user, user.with_columns(city=pl.lit("Oslo"))]).write_parquet(files["user"])
    sides = SideTables(bundle, {"user": files["user"]}, tmp_path / "sides")
    assert sides.fields("user", ["u3"])["city"].to_list() == [user["city"][3]]
    user.with_columns(city=pl.lit("Oslo")).write_parquet(files["user"])
    sides = SideTables(bundle, {"user": files["user"]}, tmp_path / "sides")
    assert sides.fields("user", ["u3"])["city"].to_list() == ["Oslo"]
    user[:0].write_parquet(files["user"])
    sides = SideTables(bundle, {"user": files["user"]}, tmp_path / "sides")
    assert sides.fields("user", ["u3"])["city"].to_list() == [None]


def test_what_is_wrong_is_named(bundle, files, tmp_path):
    with pytest.raises(DataError, match="'usr'; it has user, item"):
        SideTables(bundle, {"usr": files["user"]}, tmp_path / "sides")
    small_log()[1]["user"].drop("city").write_parquet(files["user"])
    with pytest.raises(DataError, match="city"):
        SideTables(bundle, {"user": files["user"]}, tmp_path / "sides")
    files["user"].write_text("uid,city\n")
    with pytest.raises(DataError, match=r"Parquet.*user\.parquet|user\.parquet.*Parquet"):
        SideTables(bundle, {"user": files["user"]}, tmp_path / "sides")
    with pytest.raises(DataError, match="No such file"):
        SideTables(bundle, {"user": tmp_path / "none"}, tmp_path / "sides")
    small_log()[1]["item"].with_columns(vid=pl.lit(2.0**60)).write_parquet(files["item"])
    with pytest.raises(DataError, match="row 1: a key must be an id that is exact"):
        SideTables(bundle, {"item": files["item"]}, tmp_path / "sides")


@pytest.fixture
def redis_server(tmp_path):
    """The address of a Redis server of its own."""
    pytest.importorskip("redis", reason="redis is absent: pip install redis")
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is absent: apt install redis-server")
    socket = tmp_path / "redis.sock"
    arguments = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            if socket.exists() or server.poll() is not None:
                break
            time.sleep(0.05)
        if not socket.exists():
            pytest.skip("redis-server does not start")
        yield f"unix://{socket}"
    finally:
        server.kill()
        server.wait()


def test_redis_gives_the_same_rows(bundle, files, tmp_path, redis_server):
    here, there = SideTables(bundle, files, tmp_path / "sides"), RedisTables(bundle, redis_server)
    assert there.tables == here.tables
    assert [there.load(name, file) for name, file in files.items()] == [40, 30]
    for table, keys in {"user": ["u7", "nobody", "u0", "u7", ""], "item": ["7", "999", "29"]}.items():
        found, want = there.fields(table, keys), here.fields(table, keys)
        assert found.columns == want.columns
        assert found.to_dicts() == want.to_dicts()
        assert there.fields(table, keys[1:2]).null_count().row(0) == (1,) * len(want.columns)
    assert len(there.fields("user", [])) == 0


def test_a_redis_server_that_does_not_answer_is_named(bundle):
    pytest.importorskip("redis", reason="redis is absent: pip install redis")
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1/0: the Redis server must answer") as raised:
        RedisTables(bundle, "redis://me:secret@127.0.0.1:1/0")
    assert "secret" not in str(raised.value)
    with pytest.raises(DataError, match="'usr'; it has user, item"):
        RedisTables(bundle, "redis://127.0.0.1:1/0", ["usr"])


def test_several_processes_may_start_at_once(bundle, files, tmp_path):
    code = (
        "import sys; from pathlib import Path; from entirespace.serving.bundle import Bundle\n"
        "from entirespace.serving.lookup import SideTables\n"
        "sides = SideTables(Bundle.open(sys.argv[1]), {'user': sys.argv[2]}, Path(sys.argv[3]))\n"
        "print(sides.fields('user', ['u5'])['city'][0])\n"
        "assert 'torch' not in sys.modules\n"
    )
    arguments = [sys.executable, "-c", code, str(bundle.folder), str(files["user"]), str(tmp_path / "sides")]
    started = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate(timeout=60)[0].strip() for one in started]
    assert said == [small_log()[1]["user"]["city"][5]] * 2
