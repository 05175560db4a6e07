"""Every code block and command of the documents runs, as it stands.

Each document runs from top to bottom in a folder of its own, which holds what the documents assume: the user's log RAW
with schema.toml, the dataset data/mine and the run runs/esmm, if the document does not make them itself.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import documents
import pytest
import torch
from documents import DOCUMENTS, ROOT, Block, Cannot, blocks, run

from entirespace.kernels.threads import threads, use_threads

PREPARE = ["entirespace", "prepare", "schema.toml", "RAW", "data/mine"]
TRAIN = ["entirespace", "train", "ESMM", "data/mine", "-o", "runs/esmm"]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """RAW, schema.toml, data/mine and runs/esmm: a small simulated log in place of the reader's own."""
    from entirespace.simulation.simulate import simulate

    folder = tmp_path_factory.mktemp("given")
    simulate(
        folder / "RAW", impressions=2400, users=120, items=120, click_rate=0.5, conversion_rate=0.5, history=2, seed=7
    )
    schema = (folder / "RAW" / "schema.toml").read_text()
    schema = schema.replace('scenario = { kind = "ids" }', 'tab = { kind = "ids", from = "scenario" }')
    assert "tab" in schema
    (folder / "schema.toml").write_text(schema)
    for words in (PREPARE, TRAIN):
        documents._command(words, folder, "given")
    return folder


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch):
    """Blocks are run beside other tests, and their logs are too small for several threads, and for 10,000 rows."""
    monkeypatch.setattr("entirespace.export.gate.ROWS", 300)
    before = torch.get_num_threads(), threads()
    torch.set_num_threads(1)
    use_threads(1)
    yield
    torch.set_num_threads(before[0])
    use_threads(before[1])


@pytest.mark.timeout(300)  # half a minute, but a busy machine is no error
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_block_runs(name: str, given: Path, tmp_path: Path) -> None:
    text = (ROOT / name).read_text()
    found = list(blocks(text, name))
    makes = {" ".join(words) for b in found if b.language in documents.COMMANDS for words in documents.commands(b.text)}
    shutil.copytree(given / "RAW", tmp_path / "RAW")
    shutil.copy(given / "schema.toml", tmp_path)
    for words, folder in ((PREPARE, "data/mine"), (TRAIN, "runs/esmm")):
        if " ".join(words) not in makes:
            shutil.copytree(given / folder, tmp_path / folder)
    for block in found:
        if block.not_run is None:
            try:
                run(block, tmp_path)
            except Cannot as why:
                pytest.fail(f"{block.place}: {why}: mend it, or put <!-- not run: WHY --> before it")


def test_a_block_that_cannot_run_must_say_why(tmp_path: Path) -> None:
    for language, text in (("sh", "make demo"), ("ruby", "puts 1"), ("", "a picture")):
        with pytest.raises(Cannot):
            run(Block("x.md:1", language, text), tmp_path)


@pytest.mark.parametrize(
    ("language", "text", "says"),
    [
        ("python", "import entirespace as es\nes.no_such_name", "no_such_name"),
        ("", "entirespace describe nothing", "nothing"),
        ("sh", "entirespace train ESMM data/mine -o RUN --no-such-option", "no-such-option"),
    ],
)
def test_a_block_that_fails_names_its_place(language: str, text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"x\.md:1") as error:
        run(Block("x.md:1", language, text), tmp_path)
    assert says in str(error.value)


@pytest.mark.parametrize("text", ["[network]\nno_such_key = 1\n", "[impressions]\nno_such_key = 1\n"])
def test_a_configuration_or_schema_with_an_unknown_key_fails(text: str, tmp_path: Path) -> None:
    from entirespace import EntirespaceError

    with pytest.raises(EntirespaceError, match="no_such_key"):
        run(Block("x.md:1", "toml", text), tmp_path)


def test_an_open_block_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"x\.md:1: the block must end"):
        list(blocks("```sh\nmake demo\n", "x.md"))


def test_links_between_documents_lead_somewhere() -> None:
    for name in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", (ROOT / name).read_text()):
            if "://" not in target:
                assert (ROOT / name).parent.joinpath(target).exists(), f"{name} links to {target}"


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def test_the_architecture_lists_the_rooms_in_the_order_of_the_import_layers() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers")
    table = ARCHITECTURE.partition("| room |")[2].partition("\n\n")[0]
    rows = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines()[2:]]
    assert [set(row) for row in rows] == [set(re.findall(r"\w+", layer)) for layer in reversed(layers)]
    picture = ARCHITECTURE.partition("```mermaid")[2].partition("```")[0]
    missing = {room for row in rows for room in row if room != "_version" and not re.search(rf"\b{room}\b", picture)}
    assert not missing


def test_the_files_that_the_architecture_names_are_there() -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", ARCHITECTURE))
    assert len(named) > 20
    for path in named:
        assert any(root.joinpath(path).exists() for root in (ROOT / "src" / "entirespace", ROOT)), path
