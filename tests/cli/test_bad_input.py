"""Bad input, a case a line: the exit code (1 failed, 2 bad command line) and the words that a person needs.

`raw` is a small good log (conftest.py): each case breaks one thing in it, or in the command. What stands on stderr
must name the place, what was found and what to do; a traceback never does.
"""
# ruff: noqa: E501 (a case a line)

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

PREPARE = "prepare raw/schema.toml raw dataset"
HEAD = "uid,item,t,y,z\n"
GOOD = "u1,i1,1,1,0\n"
TEN = "".join(f"u1,i1,{t},1,0\n" for t in range(2, 12))


def refused(run, command: str, code: int, said: tuple[str, ...]) -> None:
    """The command ends with the code, an empty report, and all those words in one sentence on stderr."""
    ran = run(*command.split())
    assert ran.code == code, ran.err
    assert ran.out == ""
    last = ran.err.strip().splitlines()[-1]
    assert last.startswith("error: " if code == 1 else "Error: ")
    for words in said:
        assert words in last, last


# --- command lines: exit 2 ----------------------------------------------------------------------------

COMMANDS = {
    "an unknown verb": ("prepair", ["No such command 'prepair'", "prepare"]),
    "no schema": ("prepare", ["Missing argument 'SCHEMA|aliccp'"]),
    "no folder for the dataset": ("prepare raw/schema.toml raw", ["Missing argument 'DATASET'"]),
    "one argument too many": ("describe dataset dataset2", ["unexpected extra argument", "(dataset2)"]),
    "an unknown option": (f"{PREPARE} --max-bda 0.5", ["No such option: --max-bda", "--max-bad"]),
    "an option without its value": (f"{PREPARE} --max-bad", ["'--max-bad' requires an argument"]),
    "a share above 1": (f"{PREPARE} --max-bad 2", ["'--max-bad'", "less than or equal to 1"]),
    "a share that is no number": (f"{PREPARE} --max-bad lots", ["'--max-bad'", "should be a valid number"]),
    "an unknown way with orphans": (f"{PREPARE} --on-orphan ignore", ["'ignore' is not one of 'keep', 'drop', 'error'"]),
    "an unknown recipe": ("prepare kuairnd raw dataset", ["a schema file, the name of a recipe, or aliccp", "'kuairnd'", "Did you mean 'kuairand'?"]),
    "a folder in place of the schema": ("prepare raw raw dataset", ["SCHEMA must be a schema file", "'raw' is a folder"]),
    "an option of aliccp with a schema": (f"{PREPARE} --min-count 3", ["--min-count, --validation and --history are for aliccp"]),
    "history of aliccp with a schema": (f"{PREPARE} --history uid", ["--history are for aliccp: a schema file has its own values"]),
    "another option of aliccp with a schema": (f"{PREPARE} --validation 0.2", ["a schema file has its own values"]),
    "too few training impressions for aliccp": ("prepare aliccp raw dataset --min-count 0", ["'--min-count'", "greater than or equal to 1"]),
    "an unknown method": ("train ESM dataset -o run", ["'ESM'", "Did you mean 'ESMM'?"]),
    "a method's unknown parameter": ("train AMAN(rte=0.5) dataset -o run", ["rte", "Did you mean 'rate'?"]),
    "a method's impossible parameter": ("train AMAN(rate=2) dataset -o run", ["rate", "2"]),
    "no folder for the run": ("train ESMM dataset", ["Missing option '-o' / '--out'"]),
    "a negative seed": ("train ESMM dataset -o run --seed -1", ["'--seed'", "greater than or equal to 0"]),
    "a setting without a value": ("config ESMM --set training.epochs", ["a setting must have the form a.b=c, however: 'training.epochs'"]),
    "a setting too deep": ("config ESMM --set training.epochs=" + "[" * 10**5, ["nested 50 deep at most"]),
    "a method too deep": ("config AMAN(rate=" + "(" * 10**5, ["a method must be written NAME or NAME(parameter=value)"]),
    "an unknown setting": ("config ESMM --set training.epoch=3", ["every key must be known, however: 'training.epoch'", "Did you mean 'epochs'?"]),
    "a setting of another kind": ("train ESMM dataset -o run --set training.epochs=many", ["'training.epochs' must be valid, however: 'many'"]),
    "a setting out of its range": ("compare dataset -o report --set network.embedding_size=0", ["'network.embedding_size' must be valid, however: 0", "greater than or equal to 1"]),
    "no seeds": ("compare dataset -o report --seeds 0", ["--seeds must be at least 1"]),
    "seeds that are no numbers": ("compare dataset -o report --seeds one", ["--seeds must be a number of seeds", "'one'"]),
    "a method between commas is missing": ("compare dataset -o report --methods BASE,,ESMM", ["--methods must be names separated by commas", "'BASE,,ESMM'"]),
    "an unknown method to compare": ("compare dataset -o report --methods BASE,EMS", ["'EMS'"]),
    "an unknown part": ("evaluate run dataset --part all", ["'all' is not one of 'train', 'validation', 'test'"]),
    "a log without an impression": ("simulate log --impressions 0", ["impressions must be a whole number, at least 1", "0"]),
    "a rate above 1": ("simulate log --click-rate 1.5", ["click_rate must be above 0 and below 1", "1.5"]),
    "a folder that holds something": ("simulate raw", ["the folder to write to must be new or empty", "log.csv"]),
}  # fmt: skip


@pytest.mark.parametrize(("command", "said"), COMMANDS.values(), ids=COMMANDS.keys())
def test_a_bad_command_line(run, raw, command, said):
    refused(run, command, 2, said)
    assert sorted(p.name for p in raw.parent.iterdir()) == ["raw"]


def test_training_into_a_folder_of_something_else_trains_nothing(run, dataset, tmp_path):
    """The folder is refused before hours go into the reference CTR network."""
    (tmp_path / "notes.txt").write_text("mine")
    came = run("train", "ESMM", dataset.path, "-o", tmp_path, "-q")
    assert came.code == 1
    assert "a run's folder must be new, empty or hold a run, however: it holds notes.txt" in came.err
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


# --- schemas: exit 1 ----------------------------------------------------------------------------------

SCHEMAS = {
    "a key with a typing error": ('files = ["log*"]', 'file = ["log*"]', ["raw/schema.toml: every key must be known, however: 'impressions.file'", "Did you mean 'files'?"]),
    "TOML with an open bracket": ('files = ["log*"]', 'files = ["log*"', ["raw/schema.toml: the file must be valid TOML", "at line 3"]),
    "an unknown kind": ('kind = "number"', 'kind = "float"', ["'tables.user.fields.age.kind' must be valid, however: 'float'", "'id', 'ids' or 'number'"]),
    "a schema nested too deep": ('["log*"]', "[" * 60 + "]" * 60, ["raw/schema.toml: tables and lists may be nested 50 deep at most"]),
    "a bucket only": ("buckets = 3", "buckets = 1", ["'tables.user.fields.age.buckets' must be valid, however: 1"]),
    "no label": (', conversion = "z"', "", ["'conversion' in [impressions.labels] must be given"]),
    "a role that is no field": ('user = "uid"', 'user = "user_id"', ["names for roles.user, however: no column 'user_id'"]),
    "no fields at all": ("item = {}\n[roles]\nuser = \"uid\"\nitem = \"item\"\n", "[tables.user.none]\n", ["every key must be known, however: 'tables.user.none'"]),
    "a field that is in two tables": ("item = {}", "item = {}\nage = {}", ["field 'age' is in two tables", 'from = "age"']),
    "a field with the name of a column of the dataset": ("item = {}", "item = {}\nclick = {}", ["field 'click' of the impressions has the name of a column that `prepare` writes", 'from = "click"']),
    "a share of all": ("[roles]", "[split]\ntrain = 1.0\n[roles]", ["'split' must be valid", "a share between 0 and 1 in train"]),
    "a pattern that matches nothing": ('"log*"', '"clicks*.csv"', ["raw: a file must match 'clicks*.csv', however: none does; the folder holds log.csv, schema.toml, users.csv"]),
    "a column that is not there": ('order = "t"', 'order = "time"', ["log.csv: the file must have the column that the schema's [impressions] names for order", "no column 'time'; it has uid, item, t, y, z", "Correct the schema"]),
    "a side column that is not there": ("age = {", "height = {", ["users.csv: the file must have", "[tables.user] names for fields.height", "it has uid, age, likes, how"]),
    "files that no one has for test": ("[roles]", "[split]\nby = 'file'\ntrain = ['log*']\ntest = ['test*']\n[roles]", ["the test part is empty (train 18, validation 2, test 0)", "they list the file patterns for each part"]),
    "values that no row has": ("[roles]", "[split]\nby = 'column'\ncolumn = 'item'\ntrain = ['a']\ntest = ['b']\n[roles]", ["none of 20 rows can be used: 20 other_part"]),
    "a file outside the log": ('"log*"', '"../../etc/passwd"', ["raw: the files that a schema names must be inside the folder of the raw log", "'../../etc/passwd' names /", "--allow-outside"]),
    "an absolute path outside the log": ('"users.csv"', '"/etc/passwd"', ["'/etc/passwd' names /etc/passwd", "--allow-outside"]),
    "a folder of files": ('"log*"', '"/"', ["'/' names /"]),
    "an address that leads nowhere": ('"log*"', '"gopher://x/log*"', ["gopher://x/log*: the address must be reachable"]),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), SCHEMAS.values(), ids=SCHEMAS.keys())
def test_a_bad_schema(run, raw, old, new, said):
    path = raw / "schema.toml"
    assert path.read_text().count(old) == 1
    path.write_text(path.read_text().replace(old, new))
    refused(run, PREPARE, 1, said)
    assert sorted(p.name for p in raw.parent.iterdir()) == ["raw"]  # nothing half-made


# --- logs: exit 1 -------------------------------------------------------------------------------------

LOGS: dict[str, tuple[dict[str, str | bytes], list[str]]] = {
    "an empty file": ({"log.csv": ""}, ["log.csv: a CSV file must begin with a line of column names, however: the file is empty"]),
    "a header only": ({"log.csv": HEAD}, ["a log must hold impressions, however: none of 0 rows can be used"]),
    "another delimiter": ({"log.csv": (HEAD + GOOD).replace(",", ";")}, ["log.csv: the file must have the column", "it has uid;item;t;y;z", 'delimiter = "..."']),
    "UTF-16": ({"log.csv": (HEAD + GOOD).encode("utf-16")}, ["log.csv: a CSV file must be text in UTF-8", "Convert it"]),
    "old line ends": ({"log.csv": (HEAD + GOOD).replace("\n", "\r")}, ["log.csv: the lines of a CSV file must end in LF or CR LF", "Convert them"]),
    "a column in one of two files": ({"log_2.csv": "uid,item,t,y\nu1,i1,99,0\n"}, ["log_2.csv: the file must have the column", "for conversion", "no column 'z'; it has uid, item, t, y"]),
    "a column that occurs twice": ({"log.csv": "uid,item,t,y,z,y\n"}, ["log.csv: each column of a file must have a different name, however: 'y' occurs twice"]),
    "lines of another length": ({"log.csv": HEAD + GOOD + "u1,i1,2\n" + TEN}, ["at most 0.1 % of the rows of table 'impressions' may be bad", "1 of 12", "1 unparsable_line", "First: log.csv, line 3: u1,i1,2", "--max-bad 0.09"]),
    "an open quote": ({"log.csv": HEAD + GOOD + 'u1,"i1,2,1,0\n' + TEN}, ["1 of 12", "1 unparsable_line", 'log.csv, line 3: u1,"i1,2,1,0']),
    "a blank line": ({"log.csv": HEAD + GOOD + "\n" + TEN}, ["1 of 12", "1 unparsable_line", "First: log.csv, line 3"]),
    "bytes that are no text": ({"log.csv": (HEAD + GOOD).encode() + b"u1,\xff\xfe,2,1,0\n" + TEN.encode()}, ["1 unparsable_line", "log.csv, line 3: u1,\\\\xff\\\\xfe,2,1,0"]),
    "a label of 2": ({"log.csv": HEAD + GOOD + "u1,i1,2,2,0\n" + TEN}, ["1 bad_label (a label is neither 0 nor 1)", "log.csv, line 3: y = '2' in: y=2 z=0 t=2 uid=u1 item=i1"]),
    "an empty label": ({"log.csv": HEAD + GOOD + "u1,i1,2,1,\n" + TEN}, ["1 bad_label", "log.csv, line 3: z = '' in: y=1 z= t=2"]),
    "a time that is none": ({"log.csv": HEAD + GOOD + "u1,i1,noon,1,0\n" + TEN}, ["1 bad_order (the time cannot be read or is missing)", "log.csv, line 3: t = 'noon' in: y=1 z=0 t=noon"]),
    "not one time": ({"log.csv": HEAD + "u1,i1,noon,1,0\n" * 5}, ["log.csv, line 2: the times of 't' must be numbers or ISO 8601", "however: 'noon'"]),
    "one time only": ({"log.csv": HEAD + GOOD * 9}, ["[split]: each part must hold impressions, however: the train part is empty", "Is the time column constant?"]),
    "two rows": ({"log.csv": HEAD + GOOD + "u1,i1,2,0,0\n"}, ["the train part is empty (train 0, validation 1, test 1)"]),
    "a file that is not gzip": ({"log.csv.gz": HEAD + GOOD}, ["log.csv.gz: the file must be readable"]),
    "a gzip file cut short": ({"log.csv.gz": gzip.compress((HEAD + GOOD * 999).encode())[:-20]}, ["log.csv.gz: the file must be readable"]),
    "a zip archive": ({"log.csv": b"PK\x03\x04\x14"}, ["log.csv: a CSV file must be plain text, however: it is a zip archive. Unpack it"]),
    "a name with an escape character": ({"log\x1b[31m.csv": "uid\n"}, ["log\\x1b[31m.csv: the file must have the column"]),
    "a value with an escape character": ({"log.csv": HEAD + "u1,i\x1b[31m,1,7,0\n" * 9}, ["9 bad_label", "item=i\\x1b[31m"]),
    "a Parquet file that is none": ({"log.parquet": HEAD + GOOD}, ["log.parquet: the file must be readable"]),
    "a missing side table": ({"users.csv": b"\0"}, ["users.csv: the file must have the column that the schema's [tables.user] names for key"]),
    "a key that stands twice": ({"users.csv": "uid,age,likes,how\nu1,1,a,1\nu1,2,a,1\n"}, ["rows of table 'user' may be bad", "1 duplicate_key", "users.csv, line 3: uid = 'u1' in: uid=u1 age=2"]),
    "a side row without a key": ({"users.csv": "uid,age,likes,how\n,1,a,1\n"}, ["1 bad_key", "users.csv, line 2: uid = '' in: uid= age=1"]),
    "a number field with text": ({"users.csv": "uid,age,likes,how\nu1,old,a,1\n"}, ["1 bad_value (the value of a number field is not a number)", "users.csv, line 2: age = 'old' in: uid=u1 age=old"]),
    "a weight of NaN": ({"users.csv": "uid,age,likes,how\nu1,1,a|b,1|nan\n"}, ["1 bad_weight (a weight is NaN, infinite or negative)", "users.csv, line 2", "how=1|nan"]),
    "a negative weight": ({"users.csv": "uid,age,likes,how\nu1,1,a|b,1|-1\n"}, ["1 bad_weight", "how=1|-1"]),
    "an infinite weight": ({"users.csv": "uid,age,likes,how\nu1,1,a|b,1|1e999\n"}, ["1 bad_weight", "how=1|1e999"]),
    "more ids than weights": ({"users.csv": "uid,age,likes,how\nu1,1,a|b,1\n"}, ["1 wrong_feature_count", "users.csv, line 2: likes = 'a|b', how = '1' in: uid=u1 age=1 likes=a|b how=1"]),
}  # fmt: skip


@pytest.mark.parametrize(("files", "said"), LOGS.values(), ids=LOGS.keys())
def test_a_bad_log(run, raw, files, said):
    for name, content in files.items():
        (raw / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(run, PREPARE, 1, said)
    assert sorted(p.name for p in raw.parent.iterdir()) == ["raw"]  # nothing half-made


def test_a_conversion_without_a_click_where_it_must_not_be(run, raw):
    (raw / "log.csv").write_text(HEAD + GOOD + "u1,i1,2,0,1\n" + TEN)
    refused(
        run,
        f"{PREPARE} --on-orphan error",
        1,
        ("log.csv, line 3: a conversion needs a click", "--on-orphan keep", "--on-orphan drop"),
    )
    assert run(*PREPARE.split()).code == 0


def test_lists_where_one_id_must_be(run, raw):
    (raw / "log.csv").unlink()
    table = {"uid": ["u1"], "item": [["i1", "i2"]], "t": [1], "y": [1], "z": [0]}
    import pyarrow as pa

    pq.write_table(pa.table(table), raw / "log.parquet")
    refused(
        run,
        PREPARE,
        1,
        (
            "log.parquet: the column for fields.item must hold one value per row",
            "column 'item' holds List(String)",
            'kind = "ids" reads lists',
        ),
    )


# --- files and folders: exit 1 ------------------------------------------------------------------------

PLACES = {
    "no schema file": ("prepare none.toml raw dataset", ["none.toml: the file must be readable, however: No such file or directory"]),
    "no raw folder": ("prepare raw/schema.toml rwa dataset", ["rwa: the raw log must be a folder, however: there is no such folder"]),
    "no raw folder of Ali-CCP": ("prepare aliccp rwa dataset", ["rwa: RAW must be the folder of the raw log, however: there is no such folder"]),
    "another folder for Ali-CCP": ("prepare aliccp raw dataset", ["raw Ali-CCP must hold sample_skeleton_train.csv and common_features_train.csv", "log.csv, schema.toml, users.csv"]),
    "a dataset's folder that holds something": ("prepare raw/schema.toml raw raw", ["raw: the dataset's folder must be new or empty", "it is not a dataset, and holds log.csv, schema.toml, users.csv", "Name another"]),
    "something else to replace": ("prepare raw/schema.toml raw raw --force", ["it is not a dataset", "Name another"]),
    "a file in place of the dataset's folder": ("prepare raw/schema.toml raw raw/log.csv", ["raw/log.csv: the dataset's folder must be new or empty, however: it is a file"]),
    "a file to replace": ("prepare raw/schema.toml raw raw/log.csv --force", ["raw/log.csv", "it is a file"]),
    "a folder inside a file": ("prepare raw/schema.toml raw raw/log.csv/dataset", ["raw/log.csv/dataset: the dataset's folder must be new or empty, however: raw/log.csv is a file"]),
    "no dataset": ("describe dataset", ["dataset: a dataset must be a folder, however: there is no such folder", "`entirespace prepare` makes one"]),
    "a folder that is no dataset": ("describe raw", ["raw: a dataset must hold manifest.json, which is written last, however: there is none", "`entirespace prepare` makes a dataset from raw logs"]),
    "no dataset to train on": ("train BASE dataset -o run", ["dataset: a dataset must be a folder"]),
    "no dataset to compare on": ("compare dataset -o report", ["dataset: a dataset must be a folder"]),
    "a file in place of the raw folder": ("prepare raw/schema.toml raw/log.csv dataset", ["raw/log.csv: the raw log must be a folder, however: it is a file"]),
    "a file in place of Ali-CCP's folder": ("prepare aliccp raw/log.csv dataset", ["raw/log.csv: RAW must be the folder of the raw log, however: it is a file"]),
    "a file in place of a dataset": ("describe raw/log.csv", ["raw/log.csv: a dataset must be a folder, however: it is a file"]),
    "a file in place of a run": ("score raw/log.csv raw/log.csv -o out.csv", ["raw/log.csv: a run must be a folder, however: it is a file"]),
    "no run": ("score run raw/log.csv -o out.csv", ["run: a run must be a folder, however: there is no such folder"]),
    "a file in place of a layout": (f"{PREPARE} --encoders raw/log.csv", ["raw/log.csv: a layout must be a folder, however: it is a file"]),
    "a folder in place of the configuration": ("config ESMM --config raw", ["raw: the file must be a TOML file, however: it is a folder"]),
    "no configuration": ("config ESMM --config none.toml", ["none.toml: the file must be readable"]),
}  # fmt: skip


@pytest.mark.parametrize(("command", "said"), PLACES.values(), ids=PLACES.keys())
def test_a_bad_place(run, raw, command, said):
    before = sorted(p.relative_to(raw.parent) for p in raw.parent.rglob("*"))
    refused(run, command, 1, said)
    assert sorted(p.relative_to(raw.parent) for p in raw.parent.rglob("*")) == before


def test_files_outside_the_log_can_be_allowed(run, raw):
    (raw / "log.csv").rename("log.csv")
    schema = raw / "schema.toml"
    schema.write_text(schema.read_text().replace('"log*"', '"../log.csv"'))
    refused(run, PREPARE, 1, ["'../log.csv' names /"])
    assert run(*PREPARE.split(), "--allow-outside").code == 0


CONFIGS = {
    "an unknown key": ("[training]\nepoch = 3", ["c.toml: every key must be known, however: 'training.epoch'", "Did you mean 'epochs'?"]),
    "a value of another kind": ("[network]\nhidden = 80", ["c.toml: 'network.hidden' must be valid, however: 80 (input should be a list)"]),
    "a value out of its range": ("[optimizer]\nlearning_rate = -1", ["c.toml: 'optimizer.learning_rate' must be valid, however: -1 (input should be greater than 0)"]),
    "no TOML": ("[training\nepochs = 3", ["c.toml: the file must be valid TOML", "at line 1"]),
    "lists too deep": ("a = " + "[" * 10**5, ["c.toml: tables and lists may be nested 50 deep at most"]),
    "a method that is no table": ('method = "ESMM"', ["c.toml: [method] must be a table, however: 'ESMM'"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("verb", ["config ESMM", "train ESMM dataset -o run", "compare dataset -o report"])
def test_a_bad_configuration(run, raw, verb, text, said):
    Path("c.toml").write_text(text)
    refused(run, f"{verb} --config c.toml", 1, said)


# --- a dataset that was damaged: exit 1 -----------------------------------------------------------------


def test_a_damaged_dataset(run, raw):
    assert run(*PREPARE.split()).code == 0
    refused(
        run,
        PREPARE,
        1,
        ("dataset: the dataset's folder must be new or empty, however: it holds a dataset", "--force replaces it"),
    )
    path = Path("dataset/impressions/test-00000.parquet")
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes([data[100] ^ 4]) + data[101:])
    damaged = (
        "dataset/impressions/test-00000.parquet: a dataset's files must be as `prepare` wrote them",
        "Prepare the dataset again",
    )
    refused(run, "describe dataset --verify", 1, (*damaged, "its SHA-256 is not the one in the manifest"))
    path.write_bytes(data[:-1])
    refused(run, "describe dataset", 1, (*damaged, "bytes, not"))
    path.unlink()
    refused(run, "train BASE dataset -o run", 1, (*damaged, "the file is missing"))
    manifest = Path("dataset/manifest.json")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": "entirespace-dataset/9"}))
    refused(
        run,
        "describe dataset",
        1,
        ("a dataset's format must be entirespace-dataset/2, however: entirespace-dataset/9",),
    )


def test_a_disk_that_is_full(run, raw, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    refused(run, PREPARE, 1, ("the disk: No space left on device",))
    assert sorted(p.name for p in raw.parent.iterdir()) == ["raw"]


# --- as processes of their own --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["prepare", "raw/schema.toml", "raw", "dataset", "--max-bad", "2"], 2, "Invalid value for '--max-bad'"),
        (["prepare", "raw/none.toml", "raw", "dataset"], 1, "error: raw/none.toml: the file must be readable"),
    ],
)
def test_a_process_ends_with_its_code_and_without_a_traceback(raw, arguments, code, said):
    done = subprocess.run([sys.executable, "-c", MAIN, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


MAIN = "from entirespace.cli import main; main()"
WAITS = f"""
import time
from entirespace.logs.star import LogSource
LogSource.impressions = lambda self: (print("there", flush=True), time.sleep(60))[:0]
{MAIN}
"""


def test_control_c_leaves_nothing_and_says_so(raw):
    command = [sys.executable, "-c", WAITS, *PREPARE.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "there\n"
        os.kill(process.pid, signal.SIGINT)
        told = process.stderr.read()
        assert process.wait() == 130
    assert "interrupted: no partial output is left" in told
    assert "Traceback" not in told
    assert sorted(p.name for p in raw.parent.iterdir()) == ["raw"]


def test_there_are_many_cases():
    assert sum(map(len, (COMMANDS, SCHEMAS, LOGS, PLACES, CONFIGS))) >= 90
