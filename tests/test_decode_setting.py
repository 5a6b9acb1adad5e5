"""`decode` of sample, evaluate and chat: which weights the compiled decoder gets, and what comes of it."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from amenable.cli.main import cli
from amenable.config.folder import WorkspaceFolder
from amenable.errors import ConfigError
from amenable.models.decoder import Decoder
from amenable.models.native.decode import why_not
from amenable.types import Sampling
from amenable.workspace import Workspace
from tests.rollout_makers import decoder
from tests.stage_makers import Toys, start, toys, workspace

__all__ = ["toys", "workspace"]
WAYS = {"auto": ["float32"], "plain": [], "compiled": ["float32"], "int8": ["int8"]}
pytestmark = pytest.mark.skipif(why_not(decoder()) is not None, reason=f"not compiled here: {why_not(decoder())}")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kind of weights of each compiled decoder that is made."""
    made: list[str] = []
    real = Decoder.compiled

    def compiled(self: Decoder, weights: Any) -> Any:
        made.append(weights)
        return real(self, weights)

    monkeypatch.setattr(Decoder, "compiled", compiled)
    return made


def sample(toys: Toys, workspace: WorkspaceFolder, way: str) -> list[dict[str, Any]]:
    settings = {"model": str(toys.sft), "prompts": ["Is the hat red?"], "decode": way, "sampling": {"max_tokens": 6}}
    found: list[dict[str, Any]] = start("sample", settings, workspace).details["responses"]
    return found


@pytest.mark.parametrize("way", WAYS)
def test_sample_generates_as_told(way: str, toys: Toys, workspace: WorkspaceFolder, compiled: list[str]) -> None:
    assert len(sample(toys, workspace, way)) == 1 and compiled == WAYS[way]


def test_sample_in_int8_has_other_logprobs(toys: Toys, workspace: WorkspaceFolder) -> None:
    found = {way: sample(toys, workspace, way)[0] for way in WAYS}
    assert found["auto"] == found["compiled"]
    assert found["plain"]["response"] == found["auto"]["response"]
    assert found["plain"]["logprob"] == pytest.approx(found["auto"]["logprob"], abs=2e-4)  # logged to four digits
    assert found["int8"]["logprob"] != found["auto"]["logprob"]


@pytest.mark.parametrize("way", ["plain", "int8"])
def test_evaluate_generates_as_told(way: str, toys: Toys, workspace: WorkspaceFolder, compiled: list[str]) -> None:
    settings: dict[str, Any] = {"models": [f"a={toys.sft}", f"b={toys.base}@raw"], "data": toys.data["prompts"]}
    settings |= {"decode": way, "limit": 3, "showcase": [], "sampling": {"max_tokens": 4}}
    start("evaluate", settings, workspace)
    assert set(compiled) == set(WAYS[way])


@pytest.mark.parametrize("way", WAYS)
def test_chat_generates_as_told(way: str, toys: Toys, compiled: list[str]) -> None:
    done = CliRunner().invoke(
        cli, ["chat", str(toys.sft), f"--decode={way}", "--max-tokens=3"], input="Is the hat red?\n/quit\n"
    )
    assert done.exit_code == 0 and compiled == WAYS[way], done.output


def test_the_python_face_generates_as_told(toys: Toys, workspace: WorkspaceFolder, compiled: list[str]) -> None:
    talk = Workspace(workspace.root).chat(toys.sft, sampling=Sampling(max_tokens=3), decode="int8")
    assert talk.say("Is the hat red?") is not None and compiled == ["int8"]


def test_what_cannot_be_compiled_is_refused(
    toys: Toys, workspace: WorkspaceFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Decoder, "why_not_compiled", lambda self: "of a whim")
    with pytest.raises(ConfigError, match="of a whim"):
        sample(toys, workspace, "compiled")
