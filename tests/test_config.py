"""Settings: what is accepted, what is refused and in which words, and that nothing is lost on the way to TOML."""

from __future__ import annotations

import math
import tempfile
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from amenable.config.settings import apply_overrides, describe, dump_toml, load_toml, parse, undocumented
from amenable.config.toml import to_toml
from amenable.errors import ConfigError
from amenable.stages.catalog import STAGES, find
from amenable.types import Record

Positive = Annotated[float, Meta(gt=0)]


class Optimizer(Record, frozen=True):
    learning_rate: Annotated[float, Meta(gt=0, le=1, description="peak step size")] = 3e-4
    critic_rate: Annotated[Positive | None, Meta(description="of the critic")] = None


class Train(Record, frozen=True):
    steps: Annotated[int, Meta(ge=0, description="optimisation steps")] = 10
    schedule: Annotated[Literal["linear", "cosine"], Meta(description="course")] = "cosine"
    optimizer: Optimizer = Optimizer()


class Source(Record, frozen=True):
    path: Annotated[str, Meta(description="file or name")]
    weight: Annotated[float, Meta(gt=0, description="share of the mixture")] = 1.0


class Config(Record, frozen=True, kw_only=True):
    model: Annotated[str, Meta(description="folder or name of the model")]
    files: Annotated[tuple[str, ...], Meta(description="data")] = ()
    mixture: Annotated[tuple[Source, ...], Meta(description="weighted data")] = ()
    extra: Annotated[dict[str, Source], Meta(description="further data by name")] = {}
    train: Train = Train(steps=500, optimizer=Optimizer(critic_rate=0.5))
    also: Annotated[Source | None, Meta(description="one more")] = None
    fast: Annotated[bool, Meta(description="be quick")] = False


def refused(mapping: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(Config, mapping, where="recipe.toml")
    assert "recipe.toml" in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_a_partial_section_keeps_the_defaults_of_its_stage() -> None:
    config = parse(Config, {"model": "base", "train": {"schedule": "linear"}}, where="x")
    assert config.train == Train(steps=500, schedule="linear", optimizer=Optimizer(critic_rate=0.5))


def test_an_integer_is_taken_for_a_number_and_a_list_for_a_tuple() -> None:
    config = parse(Config, {"model": "b", "files": ["a"], "mixture": [{"path": "p", "weight": 2}]}, where="x")
    assert config.files == ("a",)
    assert config.mixture == (Source(path="p", weight=2.0),)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"modle": "b"}, ["'modle'", "did you mean model?"]),
        ({"model": "b", "learning_rate": 1}, ["'learning_rate'", "did you mean train.optimizer.learning_rate?"]),
        ({"model": "b", "train": {"stps": 1}}, ["'train.stps'", "did you mean train.steps?"]),
        ({"model": "b", "trian": {"steps": 1}}, ["'trian'", "did you mean train?"]),
        ({"model": "b", "train": {"path": 1}}, ["'train.path'", "mixture[].path"]),
        (
            {"model": "b", "mixture": [{"path": "p"}, {"path": "p", "wieght": 1}]},
            ["'mixture[1].wieght'", "mixture[].weight"],
        ),
        ({"model": "b", "extra": {"mine": {"pth": "p"}}}, ["'extra.mine.pth'", "path"]),
        ({"zzz": 1, "qqq": 2}, ["'zzz', nor 'qqq'", "--settings"]),
    ],
)
def test_an_unknown_key_names_the_nearest(mapping: dict[str, Any], words: list[str]) -> None:
    message = refused(mapping)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({}, ["model must be given", "folder or name of the model"]),
        ({"model": 3}, ["model is 3", "give text", "model='\"3\"'"]),
        ({"model": "b", "train": {"steps": -1}}, ["train.steps is -1", "integer, at least 0"]),
        ({"model": "b", "train": {"steps": 1.5}}, ["train.steps is 1.5", "integer"]),
        ({"model": "b", "train": {"steps": True}}, ["train.steps is true", "integer"]),
        ({"model": "b", "train": 3}, ["train"]),
        ({"model": "b", "train": {"schedule": "cos"}}, ['train.schedule is "cos"', '"cosine", "linear"']),
        ({"model": "b", "files": 3}, ["files is 3", "give list of text"]),
        ({"model": "b", "files": "[a,b]"}, ['files is "[a,b]"', "between single quotes: 'files="]),
        ({"model": "b", "files": '["a"'}, ["between single quotes: 'files="]),
        ({"model": "b", "mixture": "a.txt"}, ['mixture is "a.txt"', "give list of (section with path, weight)"]),
        ({"model": "b", "also": {"weight": 2}}, ["also.path must be given"]),
        ({"model": "b", "fast": "yes"}, ['fast is "yes"', "true or false"]),
        ({"model": "b", "mixture": [{"path": "p", "weight": 0}]}, ["mixture[0].weight is 0", "above 0"]),
        ({"model": "b", "mixture": [{"weight": 1}]}, ["mixture[0].path must be given", "file or name"]),
        ({"model": "b", "train": {"optimizer": {"learning_rate": math.nan}}}, ["train.optimizer.learning_rate is nan"]),
        (
            {"model": "b", "train": {"optimizer": {"learning_rate": 10**400}}},
            ["learning_rate is a whole number", "1e20"],
        ),
        ({"model": "b", "train": {"optimizer": {"learning_rate": 2}}}, ["learning_rate is 2", "at most 1"]),
    ],
)
def test_a_wrong_value_says_what_was_given_and_what_is_expected(mapping: dict[str, Any], words: list[str]) -> None:
    message = refused(mapping)
    for word in words:
        assert word in message


class Whole(Record, frozen=True):
    source: Source


def test_a_section_that_is_missing_names_what_it_must_hold() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Whole, {}, where="recipe.toml")
    assert "the setting source.path must be given" in str(caught.value)
    assert "set source.path: file or name" in str(caught.value)


def test_one_text_stands_for_a_list_of_it_with_brackets_too() -> None:
    assert parse(Config, {"model": "b", "files": "[MASK] sleeps."}, where="x").files == ("[MASK] sleeps.",)


def test_overrides_are_read_as_toml_and_else_as_text() -> None:
    before = {"train": {"steps": 1}}
    after = apply_overrides(
        before,
        [
            "train.steps=7",
            "a.b.c=0.5",
            "model=run:sft-1@20",
            'files=["x","y"]',
            "when=2026-01-02",
            "on=true",
            "s=a=b",
            "e=",
        ],
    )
    assert after == {
        "train": {"steps": 7},
        "a": {"b": {"c": 0.5}},
        "model": "run:sft-1@20",
        "files": ["x", "y"],
        "when": "2026-01-02",
        "on": True,
        "s": "a=b",
        "e": "",
    }
    assert before == {"train": {"steps": 1}}


def test_an_override_cannot_smuggle_in_a_second_key() -> None:
    assert apply_overrides({}, ["a=1\nb=2"]) == {"a": "1\nb=2"}


@pytest.mark.parametrize("pair", ["steps", "=3", "a..b=1", "a b=1"])
def test_a_malformed_override_is_refused(pair: str) -> None:
    with pytest.raises(ConfigError, match="is not a setting"):
        apply_overrides({}, [pair])


def test_an_override_below_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="model is a value, not a section"):
        apply_overrides({"model": "b"}, ["model.name=x"])


def test_a_syntax_error_names_its_line(tmp_path: Any) -> None:
    (tmp_path / "r.toml").write_text('model = "b"\n[train\nsteps = 1\n')
    with pytest.raises(ConfigError, match=r"r\.toml:2"):
        load_toml(tmp_path / "r.toml")


def test_a_missing_file_names_the_nearest(tmp_path: Any) -> None:
    (tmp_path / "reviews.toml").write_text("")
    with pytest.raises(ConfigError, match=r"did you mean .*reviews\.toml"):
        load_toml(tmp_path / "review.toml")


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Any) -> None:
    (tmp_path / "r.toml").write_bytes(b'model = "\xff"')
    with pytest.raises(ConfigError, match="byte 9"):
        load_toml(tmp_path / "r.toml")


def test_describe_shows_the_defaults_that_really_hold() -> None:
    settings = {setting.name: setting for setting in describe(Config)}
    assert settings["train.steps"].default == "500"
    assert settings["train.optimizer.critic_rate"].default == "0.5"
    assert settings["train.optimizer.critic_rate"].type == "number, above 0 or none"
    assert settings["model"].required and settings["mixture[].path"].required
    assert settings["train.schedule"].type == 'one of "cosine", "linear"'
    assert undocumented(Config) == []


def test_a_section_that_may_be_absent_has_nothing_required() -> None:
    settings = {setting.name: setting for setting in describe(Config)}
    assert (settings["also.path"].default, settings["also.weight"].default) == ("none", "1.0")
    assert settings["also.path"].description == "file or name; must be given where also is"


def test_one_text_stands_for_a_list_of_one() -> None:
    assert parse(Config, {"model": "b", "files": "a.txt"}, where="x").files == ("a.txt",)


@pytest.mark.parametrize("word", ["none", "null"])
def test_a_word_says_none(word: str) -> None:
    config = parse(Config, {"model": word, "train": {"optimizer": {"critic_rate": word}}}, where="x")
    assert config.train.optimizer.critic_rate is None
    assert config.model == word


def test_further_settings_are_named_too() -> None:
    with pytest.raises(ConfigError, match=r"did you mean algorithm\.beta"):
        parse(Config, {"model": "b", "beta": 1}, where="x", further=["algorithm.beta"])


def test_undocumented_finds_a_bare_field() -> None:
    class Bare(Record, frozen=True):
        x: int = 1
        train: Train = Train()

    assert undocumented(Bare) == ["x"]


@pytest.mark.parametrize(
    "config",
    [
        Config(model="b"),
        Config(model='quote " and \n and \x7f and é', files=("a", "b" * 200), mixture=(Source(path="p", weight=0.1),)),
        Config(model="b", train=Train(optimizer=Optimizer(critic_rate=None, learning_rate=1e-9))),
        Config(model="b", extra={"a key with spaces": Source(path="p")}, fast=True),
    ],
)
def test_dump_and_parse_give_the_same_config_back(config: Config) -> None:
    assert parse(Config, tomllib.loads(dump_toml(config)), where="x") == config


def test_a_none_that_is_not_the_default_is_written_as_a_word() -> None:
    assert 'critic_rate = "none"' in dump_toml(Config(model="b", train=Train(optimizer=Optimizer())))


def plain_values() -> st.SearchStrategy[Any]:
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    leaf = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | text
    return st.dictionaries(
        text, st.recursive(leaf, lambda x: st.lists(x, max_size=3) | st.dictionaries(text, x, max_size=3))
    )


@given(plain_values())
def test_what_is_written_as_toml_reads_back_equal(mapping: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(mapping)) == mapping


# Whatever stands in a recipe, the answer is a Config or a ConfigError


def any_values() -> st.SearchStrategy[Any]:
    """What TOML can say, dates and nan included."""
    leaf = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=6)
        | st.sampled_from(["none", "null", "linear", "1"])
        | st.dates()
        | st.datetimes()
    )
    keys = st.sampled_from(
        ["path", "weight", "steps", "optimizer", "learning_rate", "critic_rate", "x", "", "a.b", "é"]
    )
    return st.recursive(leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4))


FIELDS = [*Config.__struct_fields__, "modle", "", "train.steps"]


@given(st.dictionaries(st.sampled_from(FIELDS), any_values(), max_size=6))
def test_any_mapping_is_accepted_or_refused_in_words(mapping: dict[str, Any]) -> None:
    try:
        config = parse(Config, mapping, where="r.toml")
    except ConfigError as error:
        assert error.what and "r.toml" in str(error)
    else:
        assert parse(Config, tomllib.loads(dump_toml(config)), where="again") == config


@given(st.lists(st.sampled_from(FIELDS).flatmap(lambda name: st.text(max_size=12).map(lambda text: f"{name}={text}"))))
def test_any_overrides_are_accepted_or_refused_in_words(overrides: list[str]) -> None:
    try:
        parse(Config, apply_overrides({}, overrides), where="command line")
    except ConfigError as error:
        assert error.what


@given(st.binary(max_size=60) | st.text(alphabet="ab=[]{}\"\n.#1 -'", max_size=60).map(str.encode))
def test_any_file_is_read_or_refused_in_words(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.toml"
        path.write_bytes(content)
        try:
            parse(Config, load_toml(path), where=str(path))
        except ConfigError as error:
            assert error.what


def test_deep_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(".".join(["a"] * 3000) + " = 1\n")
    with pytest.raises(ConfigError, match="nested too deep"):
        load_toml(tmp_path / "r.toml")
    with pytest.raises(ConfigError, match="nested too deep"):
        apply_overrides({}, [".".join(["a"] * 3000) + "=1"])
    with pytest.raises(ConfigError, match="nested too deep"):
        apply_overrides({}, ["model=" + "[" * 5000])


def test_names_stand_where_they_stand_in_the_recipe() -> None:
    for wrong, words in (
        ({"stps": 1}, r"there is no setting 'algorithm\.stps'(.|\n)*did you mean algorithm\.steps\?"),
        ({"steps": -1}, r"algorithm\.steps is -1"),
        ({"optimizer": 3}, r"algorithm\.optimizer is 3(.|\n)*it is a section: set algorithm\.optimizer\.learning_rate"),
    ):
        with pytest.raises(ConfigError, match=words):
            parse(Train, wrong, where="r.toml", prefix="algorithm.")


def test_no_default_is_shown_over_several_lines() -> None:
    """As that of a long list: a table of settings has one line for each."""
    shown = [setting.default for stage in STAGES for setting in describe(find(stage)[0])]
    assert shown and not [default for default in shown if default and "\n" in default]
