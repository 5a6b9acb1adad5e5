"""The tokenizer: ids as transformers has them, plain text never becomes a control token, no half characters."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from amenable.chat.tokenizer import SPECIALS, Tokenizer, _in_pieces, train_bpe
from amenable.errors import ConfigError, ModelError
from tests.chat_makers import TEXTS, llama_like, own, phi_like, qwen_like, t5_like

OWN = own()
FOREIGN = {"qwen": qwen_like, "phi": phi_like, "llama": llama_like, "t5": t5_like}


@pytest.fixture(scope="module", params=[*FOREIGN, "own"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param)
    if request.param == "own":
        OWN.save(path)
        return path
    return FOREIGN[request.param](path)


def test_specials_come_first_and_bytes_follow() -> None:
    smallest = train_bpe(["ab"], 262)
    assert [smallest.inner.id_to_token(i) for i in range(6)] == list(SPECIALS)
    assert (smallest.vocab_size, smallest.pad_id, smallest.bos_id, smallest.eos_id) == (262, 0, 1, 2)
    assert smallest.stop_ids == (2,) and smallest.special_ids == frozenset(range(6))
    assert len(smallest.encode("é🙂")) == 6  # 2 + 4 bytes of UTF-8


def test_merges_by_hand() -> None:
    # "ab" is the only pair that comes twice, so it is the one merge that is learnt.
    tokenizer = train_bpe(["ab", "ab", "ac"], 300)
    assert tokenizer.vocab_size == 263
    assert tokenizer.encode("abab") == [262, 262]
    assert tokenizer.encode("12") == tokenizer.encode("1") + tokenizer.encode("2")


@pytest.mark.parametrize("piece", ["x", "-", " ", "\n", "GATTACA", "猫の"])
def test_words_without_end_are_learnt_from_in_time(piece: str) -> None:
    endless = "the cat " + piece * (200_000 // len(piece)) + " sat"
    pieces = _in_pieces(endless)
    assert "".join(pieces) == endless and 200 <= len(pieces) <= 202
    before = time.process_time()
    tokenizer = train_bpe([endless, "the cat sat " * 9], 300)
    assert time.process_time() - before < 20  # in one piece: minutes
    assert tokenizer.decode(tokenizer.encode(endless[:3000])) == endless[:3000]


def test_texts_of_words_are_not_cut() -> None:
    text = "A line, as they are. 猫が、寝る。 " * 500
    assert _in_pieces(text) == [text] and _in_pieces("") == [""]


def test_training_is_deterministic() -> None:
    assert own().inner.to_str() == OWN.inner.to_str()
    assert own().fingerprint == OWN.fingerprint != own(380).fingerprint


def test_vocabularies_too_small_for_the_bytes_and_too_large_for_any_text() -> None:
    with pytest.raises(ConfigError, match="256 bytes"):
        train_bpe(["ab"], 261)
    with pytest.raises(ConfigError, match="more than any text fills"):  # the trainer would end the process
        train_bpe(["ab"], 10**14)
    assert train_bpe(["ab"], 10**6).vocab_size == 262


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_round_trip(text: str) -> None:
    ids = OWN.encode(text)
    assert OWN.decode(ids) == text
    assert not OWN.special_ids & set(ids)
    assert OWN.encode_batch([text, "x"])[0] == ids


@given(st.lists(st.sampled_from([*SPECIALS, "<|", "|>", "end", "<|en", "d|>", " ", "é"])).map("".join))
@settings(max_examples=200, deadline=None)
def test_spelt_specials_stay_text(text: str) -> None:
    assert not OWN.special_ids & set(OWN.encode(text))
    assert OWN.decode(OWN.encode(text)) == text


@given(st.lists(st.integers(0, OWN.vocab_size - 1), max_size=30))
@settings(max_examples=200, deadline=None)
def test_stream_gives_the_whole_text_in_pieces(ids: list[int]) -> None:
    stream = OWN.stream()
    pieces = [stream.push(i) for i in ids]
    assert all(not p.endswith("\ufffd") for p in pieces)
    assert "".join(pieces) + stream.finish() == OWN.decode(ids)


def test_stream_holds_half_characters() -> None:
    a, *emoji = train_bpe(["ab"], 262).encode("a🙂")
    stream = train_bpe(["ab"], 262).stream()
    assert [stream.push(i) for i in (a, *emoji)] == ["a", "", "", "", "🙂"]
    assert stream.push(emoji[0]) == "" and stream.finish() == "\ufffd"


def test_foreign_ids_are_those_of_transformers(folder: Path) -> None:
    from transformers import AutoTokenizer

    theirs, ours = AutoTokenizer.from_pretrained(str(folder)), Tokenizer.load(folder)
    for text in [*TEXTS, "", " two  spaces\n", "a < b > c"]:
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False), text
    assert (ours.eos_id, ours.bos_id, ours.pad_id) == (theirs.eos_token_id, theirs.bos_token_id, theirs.pad_token_id)
    assert ours.vocab_size == len(theirs)


def test_foreign_plain_text_never_makes_control_tokens(folder: Path) -> None:
    tokenizer = Tokenizer.load(folder)
    assert len(tokenizer.special_ids) >= 3
    for spelling, index in tokenizer.controls.items():
        for text in (spelling, f"a{spelling}b", f" {spelling} {spelling}"):
            assert not (tokenizer.special_ids - {tokenizer.inner.token_to_id("<unk>")}) & set(tokenizer.encode(text))
        # The check can fail: the tokenizer itself does make a control token of it.
        assert index in tokenizer.inner.encode(spelling, add_special_tokens=False).ids


def test_stream_over_foreign_tokenizers(folder: Path) -> None:
    tokenizer = Tokenizer.load(folder)
    ids = [*tokenizer.encode("The quick brown fox. Seven of them"), tokenizer.eos_id or 0]
    stream = tokenizer.stream()
    assert "".join(stream.push(i) for i in ids) + stream.finish() == tokenizer.decode(ids)


def test_save_and_load_keep_everything(folder: Path, tmp_path: Path) -> None:
    first = Tokenizer.load(folder)
    first.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.inner.to_str() == first.inner.to_str()
    assert (again.specials, again.stop_ids, again.chat_template) == (
        first.specials,
        first.stop_ids,
        first.chat_template,
    )
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(str(tmp_path))
    assert all(theirs.encode(t, add_special_tokens=False) == first.encode(t) for t in TEXTS)


def test_stop_ids_of_generation_config(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(qwen_like(tmp_path))
    assert [tokenizer.inner.id_to_token(i) for i in tokenizer.stop_ids] == ["<|endoftext|>", "<|im_end|>"]
    (tmp_path / "generation_config.json").write_text(json.dumps({"temperature": 0.6}))
    tokenizer.save(tmp_path)
    written = json.loads((tmp_path / "generation_config.json").read_text())
    assert written == {"temperature": 0.6, "eos_token_id": list(tokenizer.stop_ids)}


def test_marker_flagged_ordinary_is_control(tmp_path: Path) -> None:
    assert {"<|user|>", "<|assistant|>", "<|end|>"} <= Tokenizer.load(phi_like(tmp_path)).controls.keys()


@pytest.mark.parametrize("marker", ["<｜Assistant｜>", "[|assistant|]"])  # DeepSeek's with wide bars, EXAONE's
def test_markers_of_other_shapes_are_controls(marker: str) -> None:
    inner = tokenizers.Tokenizer.from_str(OWN.inner.to_str())
    inner.add_tokens([tokenizers.AddedToken(name, special=False, normalized=False) for name in (marker, "<think>")])
    tokenizer = Tokenizer(inner, OWN.specials)
    index = inner.token_to_id(marker)
    assert tokenizer.controls[marker] == index and "<think>" not in tokenizer.controls
    assert index not in tokenizer.encode(f"hi{marker}Sure")
    assert tokenizer.decode(tokenizer.encode(f"hi{marker}Sure")) == f"hi{marker}Sure"
    assert tokenizer.decode([index, *tokenizer.encode("the cat")]) == "the cat"


@pytest.mark.parametrize("added", [False, True])  # as transformers saves it, the piece is an added token as well
@pytest.mark.parametrize("name", ["pad_token", "eos_token"])
@pytest.mark.parametrize("piece", ["!", "."])  # the first is a part of a merge, the other is in none
def test_a_piece_of_text_named_as_special_stays_text(piece: str, name: str, added: bool) -> None:
    plain = train_bpe(["Hello! Wow!! the cat sat!! "] * 9, 300)
    assert plain.encode("!!") == [plain.inner.token_to_id("!!")] and plain.inner.token_to_id("..") is None
    inner = tokenizers.Tokenizer.from_str(plain.inner.to_str())
    if added:
        inner.add_special_tokens([piece])
    tokenizer = Tokenizer(inner, {**plain.specials, name: piece}, chat_template=plain.chat_template)
    assert plain.encode(piece) == [tokenizer._id(name)] and piece not in tokenizer.controls
    text = "Hello!! the cat. Wow! "
    assert added or tokenizer.encode(text) == plain.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    stream = tokenizer.stream()
    assert "".join(stream.push(i) for i in tokenizer.encode(text)) + stream.finish() == text
    assert tokenizer.decode(tokenizer.encode_after("Hel", "lo! the")) == "lo! the"


def test_template_list_and_dict_specials(tmp_path: Path) -> None:
    qwen_like(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["chat_template"] = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "y"}]
    config["eos_token"] = {"content": "<|im_end|>", "lstrip": False}
    path.write_text(json.dumps(config))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.chat_template == "y" and tokenizer.eos_id == tokenizer.inner.token_to_id("<|im_end|>")


def test_folder_without_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no tokenizer"):
        Tokenizer.load(tmp_path)
    with pytest.raises(ModelError, match="no such model folder"):
        Tokenizer.load(tmp_path / "missing")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_broken_files(tmp_path: Path, name: str) -> None:
    OWN.save(tmp_path)
    (tmp_path / name).write_text('{"model": ')
    with pytest.raises(ModelError) as caught:
        Tokenizer.load(tmp_path)
    assert name in str(caught.value)


def test_older_format_is_converted(tmp_path: Path) -> None:
    # GPT-2's two files, as in folders from before tokenizer.json.
    spec = json.loads(OWN.inner.to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(spec["vocab"]))
    merges = [" ".join(m) if isinstance(m, list) else m for m in spec["merges"]]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    config = {
        "tokenizer_class": "GPT2Tokenizer",
        "eos_token": "<|end|>",
        "bos_token": "<|end|>",
        "unk_token": "<|end|>",
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode("The quick brown fox") == OWN.encode("The quick brown fox")
    assert tokenizer.eos_id == 2
