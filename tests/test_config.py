"""Configuration: TOML there and back, settings over it, and errors that say where and what instead."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from entirespace.config import (
    Config,
    MLPTowerConfig,
    MLPTrunkConfig,
    Model,
    NetworkConfig,
    NoTrunkConfig,
    OptimizerConfig,
    TrainingConfig,
    digest,
    dump,
    load,
    nearest,
    parse,
)
from entirespace.errors import ConfigError
from entirespace.toml import read_toml


def test_the_defaults_are_the_papers():
    config = Config()
    assert config.network.embedding_size == 18
    assert config.network.tower.hidden == (360, 200, 80)
    assert config.network.trunk.kind == "none"
    optimizer = config.optimizer
    assert (optimizer.beta1, optimizer.beta2, optimizer.epsilon, optimizer.lazy) == (0.9, 0.999, 1e-8, False)
    assert optimizer.weight_decay == 0


def test_a_decay_that_changes_the_sign_of_weights_is_refused():
    with pytest.raises(ConfigError, match="weight_decay must be below 1 / learning_rate"):
        parse(Config, {"optimizer": {"learning_rate": 0.1, "weight_decay": 10}}, "the test")


def test_a_dump_is_read_back_as_it_was(tmp_path):
    config = Config(
        network=NetworkConfig(
            embedding_size=4, tower=MLPTowerConfig(hidden=(8,)), trunk=MLPTrunkConfig(), embedding_std=0.5
        ),
        optimizer=OptimizerConfig(learning_rate=3e-4, lazy=True),
        training=TrainingConfig(batch_size=7, threads=3, device="cuda"),
    )
    method = {"name": "AMAN", "rate": 0.5}
    for expected in (config, Config()):
        path = tmp_path / "config.toml"
        path.write_text(dump(expected, method))
        assert load(path) == (expected, method)


def test_a_dump_has_a_help_text_above_each_value():
    text = dump(Config())
    lines = text.splitlines()
    assert lines[lines.index("embedding_size = 18") - 1] == "# D: the length of an embedding row (paper: 18)."
    assert "# threads = " in lines
    assert tomllib.loads(text)["network"]["tower"] == {"kind": "mlp", "hidden": [360, 200, 80]}
    for section in (NetworkConfig, MLPTowerConfig, NoTrunkConfig, OptimizerConfig, TrainingConfig):
        for name, field in section.model_fields.items():
            assert field.description, name
            assert f"# {field.description}" in lines


def test_settings_go_over_the_file(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[training]\nepochs = 3\nbatch_size = 9\n[method]\nrate = 0.1\nname = "AMAN"\n')
    settings = [
        "training.epochs=5",
        "network.hidden=[8, 4]",
        " training.device = cuda",
        "method.rate=0.5",
        "optimizer.lazy=true",
    ]
    config, method = load(path, settings)
    assert (config.training.epochs, config.training.batch_size, config.training.device) == (5, 9, "cuda")
    assert config.network.tower.hidden == (8, 4)
    assert config.optimizer.lazy is True
    assert method == {"name": "AMAN", "rate": 0.5}


def test_hidden_is_short_for_the_towers_hidden(tmp_path):
    path = tmp_path / "config.toml"
    for text in (
        "[network]\nhidden = [8]",
        "[network.tower]\nhidden = [8]",
        "network = {hidden=[8], tower={hidden=[8]}}",
    ):
        path.write_text(text)
        assert load(path)[0] == Config(network=NetworkConfig(tower=MLPTowerConfig(hidden=(8,))))
        for setting in ("network.hidden=[4]", "network.tower.hidden=[4]"):  # over either form
            assert load(path, [setting])[0].network.tower.hidden == (4,)
    both = ["network.hidden=[4]", "network.tower.hidden=[5]"]
    with pytest.raises(ConfigError, match=r"short for tower\.hidden: give one of them"):
        load(settings=both)
    path.write_text("network = {hidden = [8], tower = {hidden = [9]}}")
    with pytest.raises(ConfigError, match=r"short for tower\.hidden: give one of them"):
        load(path)


def test_a_kind_of_trunk(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text('[network.trunk]\nkind = "mlp"\nhidden = [8]\n')
    assert load(path)[0].network.trunk == MLPTrunkConfig(hidden=(8,))
    assert load(path, ["network.trunk.kind=none"])[0].network.trunk == NoTrunkConfig()
    assert load(path, ["network.trunk.hidden=[4]"])[0].network.trunk == MLPTrunkConfig(hidden=(4,))
    assert load(settings=["network.trunk.kind=mlp"])[0].network.trunk == MLPTrunkConfig()


def test_nothing_given_is_the_default():
    assert load() == (Config(), {})


def test_a_config_does_not_change():
    with pytest.raises(ValueError, match="frozen"):
        Config().network.embedding_size = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[training]\nepoch = 3",
            "every key must be known, however: 'training.epoch'. Did you mean 'epochs'?",
        ),
        ("[trainng]\nepochs = 3", "every key must be known, however: 'trainng'. Did you mean 'training'?"),
        ("[training]\nzzz = 3", "'training.zzz'. Known: batch_size, block, calibrate, checkpoint_minutes"),
        ("epochs = 3", "every key must be known, however: 'epochs'"),
        ("[training]\nepochs = 0", "'training.epochs' must be valid, however: 0 (input should be greater"),
        (
            "[training]\nepochs = 'many'",
            "'training.epochs' must be valid, however: 'many' (input should be a",
        ),
        ("[training]\nepochs = 1.5", "'training.epochs' must be valid, however: 1.5"),
        ("training = 3", "'training' must be valid, however: 3 (input should be a table)"),
        ("[network]\nhidden = 80", "'network.hidden' must be valid, however: 80 (input should be a list)"),
        ("[network]\nhidden = [80, 'x']", "'network.hidden.1' must be valid, however: 'x'"),
        (
            "[network.tower]\nhidden = [0]",
            "'network.tower.hidden.0' must be valid, however: 0 (input should be greater",
        ),
        (
            "[network.tower]\nhiden = [8]",
            "every key must be known, however: 'network.tower.hiden'. Did you mean 'hidden'?",
        ),
        ("[network.tower]\nkind = 'x'", "'network.tower.kind' must be valid, however: 'x' (input should be 'mlp')"),
        (
            "[network.trunk]\nkind = 'x'",
            "'network.trunk.kind' must be valid, however: 'x' (input should be 'none' or 'mlp')",
        ),
        ("[network]\ntrunk = 3", "'network.trunk' must be valid, however: 3 (input should be a table)"),
        (
            "[training]\ndevice = 'tpu'",
            "'training.device' must be valid, however: 'tpu' (input should be 'cpu'",
        ),
        ("[optimizer]\nlearning_rate = nan", "'optimizer.learning_rate' must be valid, however: nan"),
        ("[optimizer]\nlearning_rate = inf", "'optimizer.learning_rate' must be valid, however: inf"),
        ("[training\n", "must be valid TOML, however: Expected ']'"),
        ("[training]\nepochs = 3\nepochs = 4\n", "at line 3, column"),
        ("method = 'ESMM'", "[method] must be a table, however: 'ESMM'"),
    ],
)
def test_a_broken_file_is_named_with_the_place_and_what_to_do(tmp_path, text, said):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert said in str(raised.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: the file must be readable, however: No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="must be a TOML file, however: it is a folder"):
        read_toml(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"b = 1\na = '\xe4'")
    with pytest.raises(ConfigError, match=r"latin\.toml, line 2: the file must be TOML in UTF-8, however: .*0xe4"):
        read_toml(tmp_path / "latin.toml")


DEEP = 10**5


NESTED = [
    "a = " + "[" * DEEP,
    "a = " + "[" * DEEP + "]" * DEEP,
    "a = " + "[" * 60 + "]" * 60,
    ".".join("a" * 60) + " = 1",
    "a." * DEEP + "b = 1",
    "[" + "a." * DEEP + "b]",
    "'a' . \"b.c\"." * DEEP + "b = 1",
    "a = { " + "a." * DEEP + "b = 1 }",
]


@pytest.mark.parametrize("text", NESTED, ids=range(len(NESTED)))
def test_a_deeply_nested_file_is_refused(tmp_path, text):
    (tmp_path / "deep.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"deep\.toml: tables and lists may be nested 50 deep at most"):
        read_toml(tmp_path / "deep.toml")


SETTINGS = ["training.epochs=" + "[" * DEEP, "a." * DEEP + "b=1", "a=" + "[" * 60 + "]" * 60, f"a={{{'a.' * DEEP}b=1}}"]


@pytest.mark.parametrize("setting", SETTINGS, ids=range(len(SETTINGS)))
def test_a_deeply_nested_setting_is_refused(setting):
    with pytest.raises(ConfigError, match="nested 50 deep at most") as raised:
        load(None, [setting])
    assert len(str(raised.value)) < 300


def test_a_number_too_long_for_python_is_no_toml(tmp_path):
    (tmp_path / "long.toml").write_text("a = " + "1" * 5000)
    with pytest.raises(ConfigError, match=r"long\.toml: the file must be valid TOML"):
        read_toml(tmp_path / "long.toml")
    with pytest.raises(ConfigError, match=r"'training\.epochs' must be valid"):
        load(None, ["training.epochs=" + "1" * 5000])


def test_a_byte_order_mark_before_toml_is_skipped(tmp_path):
    (tmp_path / "bom.toml").write_bytes(b"\xef\xbb\xbfa = 1\n")
    assert read_toml(tmp_path / "bom.toml") == {"a": 1}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.epochs", "--set: a setting must have the form a.b=c, however: 'training.epochs'"),
        ("=3", "--set: a setting must have the form a.b=c, however: '=3'"),
        ("training.epochs=", "--set: 'training.epochs' must be valid, however: ''"),
        (
            "training.epoch=3",
            "--set: every key must be known, however: 'training.epoch'. Did you mean 'epochs'?",
        ),
        ("training.epochs.x=3", "--set: 'training.epochs' must be valid"),
        ("training=3", "--set: 'training' must be valid, however: 3"),
    ],
)
def test_a_bad_setting(setting, said):
    with pytest.raises(ConfigError) as raised:
        load(settings=[setting])
    assert str(raised.value).startswith(said)


def test_a_setting_under_a_value():
    with pytest.raises(ConfigError, match=r"must name a value inside a table, however: 'training\.epochs\.x=3'"):
        load(settings=["training.epochs=1", "training.epochs.x=3"])


def test_a_bad_setting_over_a_file_names_both(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[training]\nepochs = 3\n")
    with pytest.raises(ConfigError, match=r"config\.toml with --set: every key"):
        load(path, ["training.epoch=3"])


# parse: which of several errors is told, and where it says it is


class Form(Model):
    source: str = Field(alias="from")
    levels: tuple[int, ...] = ()


class Inner(Model):
    kind: Literal["x", "y"] = "x"
    hash: int | None = None


class Outer(Model):
    label: str | Form
    inner: dict[str, Inner] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        # the typing error is told, not that the right key is missing
        ({"labl": "a"}, "every key must be known, however: 'labl'. Did you mean 'label'?"),
        ({}, "'label' must be given, however: it is missing."),
        ({"label": {"frm": "a"}}, "'label.frm'. Did you mean 'from'?"),
        ({"label": {"levels": []}}, "'label.from' must be given"),
        # no names of forms (str, Form) in the place, and what each form wants
        (
            {"label": 3},
            "'label' must be valid, however: 3 (input should be a valid string, or input should be a table)",
        ),
        ({"label": {"from": "a", "levels": [1, "x"]}}, "'label.levels.1' must be valid, however: 'x'"),
        ({"label": "a", "inner": {"hash": {"knd": "x"}}}, "'inner.hash.knd'. Did you mean 'kind'?"),
        ({"label": "a", "inner": {"b": {"kind": "z"}}}, "'inner.b.kind' must be valid, however: 'z'"),
        ({"label": "a", "inner": {"b": {"kind": "z" * 200}}}, "zzz... (input should be 'x' or 'y')"),
    ],
)
def test_the_place_of_what_is_wrong(data, said):
    with pytest.raises(ConfigError) as raised:
        parse(Outer, data, "file.toml")
    assert said in str(raised.value)


def test_nearest():
    assert nearest("epoch", ["epochs", "patience"]) == "Did you mean 'epochs'?"
    assert nearest("qqq", ("b", "a")) == "Known: a, b"


# digest: the name of a run in the cache


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), PLAIN, max_size=5), st.randoms())
def test_a_digest_does_not_hang_on_the_order_of_keys(value, random):
    items = list(value.items())
    random.shuffle(items)
    assert digest(dict(items)) == digest(value)
    assert digest({**value, "one more": 1}) != digest({**value, "one more": 2})


def test_a_digest_is_the_same_in_every_process():
    known = "cf640ce9447541b53eecd97ed831b571f4a2b83f653c3488066ec561727b3817"  # sha256sum of the line below
    assert digest({"b": None, "a": [1, 0.1]}) == known  # {"a": [1, 0.1], "b": null}


def test_importing_the_package_and_its_configuration_does_not_import_torch():
    code = "import sys, entirespace, entirespace.config, entirespace.cli; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
