"""Every verb keeps files that are not its own: in the output folder, beside it, and while it works."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import entirespace as es
from entirespace.dataset.dataset import Dataset
from entirespace.errors import DataError, RunError
from entirespace.runs.record import link_run

MAIN = "from entirespace.cli import main; main()"
PREPARE = "prepare raw/schema.toml raw"
QUICK = ["--set", "training.epochs=1", "--set", "network.embedding_size=2", "--set", "network.tower.hidden=[4]", "-q"]


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden ones too."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def kept(run, command: str, *said: str) -> None:
    """The command fails, says why, and changes no file."""
    before = content(Path())
    ran = run(*command.split())
    assert ran.code in (1, 2), ran.out
    for words in said:
        assert words in ran.err
    assert content(Path()) == before


# --- prepare --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["thesis.tex", ".git/config", "tables/mine.parquet", "notes/today.txt"])
def test_prepare_replaces_no_dataset_with_a_foreign_file_in_it(run, raw, name):
    assert run(*PREPARE.split(), "dataset").code == 0
    path = Path("dataset", name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    for force in ("", " --force"):
        kept(run, f"{PREPARE} dataset{force}", "dataset: the dataset's folder must be new or empty", name)
    path.unlink()
    if path.parent.name in (".git", "notes"):
        path.parent.rmdir()
    assert run(*PREPARE.split(), "dataset", "--force").code == 0


def test_prepare_replaces_no_folder_that_it_reads_from(run, raw):
    """The raw log, the schema and the encoders; also if their names are those of a dataset's own files."""
    assert run(*PREPARE.split(), "dataset").code == 0
    kept(run, f"{PREPARE} dataset --force --encoders dataset", "dataset is in it, and is read")
    kept(
        run, "prepare raw/schema.toml dataset/impressions dataset --force", "dataset/impressions is in it, and is read"
    )
    Path("dataset/quarantine.csv").write_bytes(Path("raw/schema.toml").read_bytes())
    kept(run, "prepare dataset/quarantine.csv raw dataset --force", "dataset/quarantine.csv is in it, and is read")
    for name in ("schema.toml", "log.csv", "users.csv"):
        Path("dataset", name).write_bytes(Path("raw", name).read_bytes())
    kept(run, "prepare dataset/schema.toml dataset dataset --force", "holds log.csv, schema.toml, users.csv")


@pytest.mark.parametrize("table", ["impressions", "tables.user", "truth", "conversions"])
@pytest.mark.parametrize("by", ["path", "link"])
def test_prepare_replaces_no_folder_that_holds_a_file_of_the_log(run, raw, table, by):
    """A file of the log is outside RAW, or RAW links to it, and has the name of a file of the dataset."""
    assert run(*PREPARE.split(), "dataset").code == 0
    there = "dataset/impressions/train-00000.parquet"
    name = "../" + there
    if by == "link":
        name = "linked.parquet"
        Path("raw", name).symlink_to(Path(there).resolve())
    schema = Path("raw/schema.toml").read_text()
    if table == "impressions":
        schema = schema.replace('["log*"]', f'["log*", "{name}"]')
    elif table == "tables.user":
        schema = schema.replace('["users.csv"]', f'["{name}"]')
    elif table == "truth":
        schema += f'[truth]\nfiles = ["{name}"]\n'
    else:
        schema = schema.replace(', conversion = "z"', "") + f'[conversions]\nfiles = ["{name}"]\nkey = "uid"\n'
    Path("raw/schema.toml").write_text(schema)
    kept(run, f"{PREPARE} dataset --force --allow-outside", "dataset: ", "is in it, and is read")


def test_a_manifest_of_something_else_is_no_dataset(run, raw):
    Path("site").mkdir()
    for text in (
        '{"name": "my app", "files": {"icon.png": {}}}',
        "[]",
        "{",
        '{"format": "entirespace-dataset/2", "files": {}}',
    ):
        Path("site/manifest.json").write_text(text)
        kept(run, f"{PREPARE} site --force", "it is not a dataset, and holds manifest.json")


def test_a_dataset_with_a_damaged_file_can_be_replaced(run, raw):
    assert run(*PREPARE.split(), "dataset").code == 0
    Path("dataset/layout.json").write_text("damaged")
    Path("dataset/impressions/test-00000.parquet").unlink()
    assert run(*PREPARE.split(), "dataset", "--force").code == 0
    Dataset("dataset").verify()


def test_prepare_into_the_working_folder_and_through_a_link(run, raw, monkeypatch):
    Path("here").mkdir()
    Path("link").symlink_to("here")
    inode = Path("here").stat().st_ino
    monkeypatch.chdir("here")
    assert run("prepare", "../raw/schema.toml", "../raw", ".").code == 0
    digest = Dataset(".").digest
    assert run("prepare", "../raw/schema.toml", "../raw", ".", "--force").code == 0
    monkeypatch.chdir("..")
    kept(run, f"{PREPARE} link", "link: the dataset's folder must be new or empty, however: it holds a dataset")
    assert run(*PREPARE.split(), "link", "--force").code == 0
    assert Path("link").is_symlink()
    assert Path("here").stat().st_ino == inode
    assert Dataset("here").digest == digest
    assert sorted(os.listdir("here")) == ["impressions", "layout.json", "manifest.json", "tables", "vocabulary"]
    Path("nowhere").symlink_to("gone")
    kept(
        run,
        f"{PREPARE} nowhere",
        "nowhere: the dataset's folder must",
        "nowhere is a link to gone, which does not exist",
    )


APPEARS = f"""
import os, sys
from pathlib import Path
from entirespace.dataset import prepare as module
writer = module.Writer.write
def write(self, *arguments):
    writer(self, *arguments)
    Path("dataset").mkdir(exist_ok=True)
    Path("dataset/thesis.tex").write_text("mine")
module.Writer.write = write
{MAIN}
"""


@pytest.mark.parametrize("there", [False, True])
def test_a_file_that_appears_while_a_dataset_is_prepared_is_kept(run, raw, there):
    if there:
        assert run(*PREPARE.split(), "dataset").code == 0
    before = content(Path())
    command = [sys.executable, "-c", APPEARS, *PREPARE.split(), "dataset", *(["--force"] if there else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "dataset: the output folder must not change while its content is made" in done.stderr
    assert "Traceback" not in done.stderr
    assert content(Path()) == {**before, "dataset/thesis.tex": b"mine"}


KILLED = """
import os, signal, sys
from pathlib import Path
rename, count, last = Path.rename, 0, int(sys.argv.pop(1))
def dying(self, target):
    global count
    if ".partial" not in self.suffix:
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.rename = dying
from entirespace.cli import main; main()
"""


@pytest.mark.parametrize("moves", [1, 3, 6, 8])
def test_a_prepare_killed_while_it_moves_files_blocks_nothing(run, raw, moves):
    """The dataset has five entries: the old ones are moved away, then the new ones are moved up."""
    assert run(*PREPARE.split(), "dataset").code == 0
    before = content(Path())
    done = subprocess.run([sys.executable, "-c", KILLED, str(moves), *PREPARE.split(), "dataset", "--force"])
    assert done.returncode == -signal.SIGKILL
    assert content(Path()) != before
    ran = run(*PREPARE.split(), "dataset")
    assert "it holds a dataset. --force replaces it" in ran.err
    assert content(Path()) == before, "the old dataset is back"
    assert run(*PREPARE.split(), "dataset", "--force").code == 0


def test_from_frame_keeps_a_foreign_file(tmp_path):
    import polars as pl

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    frame = pl.DataFrame({"a": [1, 2], "y": [1, 0], "z": [0, 0]})
    with pytest.raises(DataError, match="it is not a dataset, and holds mine"):
        es.from_frame(frame, click="y", conversion="z", out=tmp_path / "out", force=True)
    assert content(tmp_path) == {"out/mine": b"mine"}


# --- train, tune, compare -------------------------------------------------------------------------------

VERBS = {"train ESMM": "run", "tune ESMM --trials 1": "study", "compare --methods BASE --seeds 1": "report"}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "name",
    [
        *("metrics.jsonl", "tensorboard/mine", "tensorboard/events.out.tfevents.1", "layout.json", "mlflow.json"),
        *(
            "vocabulary/uid.parquet",
            "trials/mine",
            "best.toml",
            "report.md",
            "report.html",
            "reference/mine",
            "runs/mine",
        ),
    ],
)
def test_a_folder_with_files_of_our_names_that_are_not_ours(run, dataset, tmp_path, monkeypatch, verb, name):
    monkeypatch.chdir(tmp_path)
    path = Path("out", name)
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    first, *options = verb.split()
    positional = [o for o in options[:1] if not o.startswith("-")]
    command = [first, *positional, str(dataset.path), *options[len(positional) :], "-o", "out", "-q"]
    kept(run, " ".join(command), f"out: a {VERBS[verb]}'s folder must be new, empty or hold a {VERBS[verb]}", name)


@pytest.mark.parametrize(
    ("verb", "name"), [("train ESMM", "run.json"), ("tune ESMM", "study.json"), ("compare", "report.json")]
)
@pytest.mark.parametrize("text", ["{}", "mine", '{"format": "mine/1"}', "[]"])
def test_a_folder_whose_record_is_not_ours(run, dataset, tmp_path, monkeypatch, verb, name, text):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    Path("out", name).write_text(text)
    kept(run, f"{verb} {dataset.path} -o out -q", name)


@pytest.mark.parametrize("verb", ["train ESMM", "tune ESMM", "compare"])
def test_a_file_or_a_link_to_nothing_in_place_of_the_folder(run, dataset, tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    Path("link").symlink_to("gone")
    kept(run, f"{verb} {dataset.path} -o file -q", "file: a ", "it is a file")
    kept(run, f"{verb} {dataset.path} -o file/out -q", "file is a file")
    kept(run, f"{verb} {dataset.path} -o link -q", "link is a link to gone, which does not exist")


@pytest.fixture(scope="module")
def trained(dataset, quick, reference, tmp_path_factory):
    """A run of ESMM with the run of its reference CTR network."""
    return es.fit(es.ESMM(), dataset.train, config=quick, reference=reference, out=tmp_path_factory.mktemp("t") / "run")


def test_an_output_contains_nothing_that_is_read(run, dataset, trained, tmp_path, monkeypatch):
    """The dataset, the run to start from, the reference and the configuration; also in a folder that the verb began."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained.folder, "run")
    shutil.copytree(dataset.path, "run/data")
    shutil.copytree(trained.folder, "run/earlier")
    Path("run/x.toml").write_text("")
    for command in (
        "train ESMM run/data -o run",
        f"train ESMM {dataset.path} -o run --from run",
        f"train ESMM {dataset.path} -o run --from run/earlier",
        f"train ESMM {dataset.path} -o run --reference run/earlier/reference",
        f"train ESMM {dataset.path} -o run --config run/x.toml",
    ):
        kept(run, command + " -q", "is in")
    Path("study").mkdir()
    Path("study/study.json").write_text("{}")
    Path("study/x.toml").write_text("optimizer.learning_rate = { low = 1e-4, high = 1e-2 }")
    shutil.copytree(dataset.path, "study/data")
    kept(run, f"tune ESMM {dataset.path} -o study --space study/x.toml -q", "is in")
    kept(run, "tune ESMM study/data -o study -q", "is in")
    shutil.copytree(dataset.path, "report/data")
    kept(run, "compare report/data -o report -q", "is in")


def test_score_replaces_no_file_of_a_reference_elsewhere(run, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained.folder / "reference", "ctr")
    Path("rows.csv").write_text("a\n1\n")
    command = f"score {trained.folder} rows.csv --reference ctr -o ctr/run.json --out-format jsonl --force -q"
    kept(run, command, "it is also read")


HOLDS = """
import sys, signal
from pathlib import Path
from entirespace.training.learner import Learner
def step(self, batch):
    print("training", flush=True)
    signal.pause()
Learner.step = step
"""


@pytest.mark.parametrize("verb", ["train ESMM", "tune BASE", "compare --methods BASE --seeds 1 --jobs 1"])
def test_a_second_process_is_refused_and_a_killed_one_blocks_nothing(run, dataset, tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    first, *options = verb.split()
    options = [*options[:1], str(dataset.path), *options[1:]] if first != "compare" else [str(dataset.path), *options]
    if first == "tune":
        options += ["--trials", "1", "--objective", "cvr_log_loss"]
    command = [first, *options, "-o", "out", *QUICK]
    with subprocess.Popen([sys.executable, "-c", HOLDS + MAIN, *command], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        kept(run, " ".join(command), "out", "one process at a time may write to a place")
        process.kill()
    assert process.returncode == -signal.SIGKILL
    ran = run(*command)
    assert ran.code == 0, ran.err
    assert not list(Path("out").rglob("*.lock"))


def test_training_killed_before_its_first_checkpoint_begins_again(run, dataset, tmp_path, monkeypatch):
    """Also with another configuration. A file of the user in it stays."""
    monkeypatch.chdir(tmp_path)
    code = f"import os; from entirespace.training.learner import Learner; Learner.step = lambda *_: os._exit(9); {MAIN}"
    command = ["train", "CTR", str(dataset.path), "-o", "run", *QUICK]
    assert subprocess.run([sys.executable, "-c", code, *command]).returncode == 9
    Path("run/notes.txt").write_text("mine")
    assert run("evaluate", "run", dataset.path).code == 1
    ran = run(*command, "--set", "optimizer.learning_rate=0.01")
    assert ran.code == 0, ran.err
    assert Path("run/notes.txt").read_text() == "mine"


def test_a_linked_reference_is_replaced_but_not_its_neighbours_or_what_it_is_a_link_to(reference, tmp_path):
    link_run(reference.folder, tmp_path / "run")
    (tmp_path / "run" / "step-3.safetensors").write_text("old")
    link_run(reference.folder, tmp_path / "run")
    assert not (tmp_path / "run" / "step-3.safetensors").exists()
    (tmp_path / "run" / "step-notes.safetensors").write_text("mine")
    (tmp_path / "link").symlink_to("run")
    before = content(tmp_path)
    with pytest.raises(RunError, match=r"run: the folder .* must be new.*it holds step-notes\.safetensors"):
        link_run(reference.folder, tmp_path / "run")
    with pytest.raises(RunError, match="it is a link to another folder"):
        link_run(reference.folder, tmp_path / "link")
    assert content(tmp_path) == before


def test_a_study_removes_the_runs_of_its_trials_and_nothing_else(run, dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["tune", "BASE", dataset.path, "-o", "study", "--trials", "1", "--objective", "cvr_log_loss", *QUICK]
    assert run(*command).code == 0
    Path("study/trials/mine").mkdir(parents=True)
    for name in ("study/notes.txt", "study/trials/notes.txt", "study/trials/mine/notes.txt"):
        Path(name).write_text("mine")
    command[command.index("1")] = "2"
    assert run(*command).code == 0
    assert sorted(str(p) for p in Path("study").rglob("notes.txt")) == [
        "study/notes.txt", "study/trials/mine/notes.txt", "study/trials/notes.txt",
    ]  # fmt: skip
    assert not list(Path("study/trials").rglob("run.json"))


# --- permissions ----------------------------------------------------------------------------------------


MASKS = (0o022, 0o027)


def test_all_files_follow_the_umask(tmp_path):
    """Weights too: safetensors alone would write them for their owner only."""
    small = "--set training.epochs=1 --set network.embedding_size=2 --set network.tower.hidden=[4] -q"
    commands = [
        "simulate log --impressions 3000 --click-rate 0.5 --conversion-rate 0.5 -q",
        "prepare log/schema.toml log dataset -q",
        f"train UNBIAS dataset -o run {small}",
        f"compare dataset -o report --methods BASE --seeds 1 {small}",
        "evaluate run dataset --negatives-kept 0.5 --save -q",
        "score run log/impressions-00000.parquet --side common=log/common.parquet -o scored.parquet -q",
    ]
    code = f"""
import os, shlex, sys
from entirespace.cli import main
for mask in {MASKS}:
    os.umask(mask)
    os.mkdir(oct(mask))
    os.chdir(oct(mask))
    for command in {commands!r}:
        sys.argv = ["entirespace", *shlex.split(command)]
        try:
            main()
        except SystemExit as stop:
            assert not stop.code, command
    os.chdir("..")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for mask in MASKS:
        folder = tmp_path / oct(mask)
        assert list(folder.rglob("*.safetensors"))
        wrong = {
            str(path.relative_to(folder)): oct(stat.S_IMODE(path.stat().st_mode))
            for path in folder.rglob("*")
            if stat.S_IMODE(path.stat().st_mode) != (0o777 if path.is_dir() else 0o666) & ~mask
        }
        assert not wrong
