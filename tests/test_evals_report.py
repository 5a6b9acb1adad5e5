"""The report: what it holds, that nothing in it can run or reach out, and that it looks the same for the same records."""

import base64
import hashlib
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from amenable.errors import DataError
from amenable.evals.curves import Curve
from amenable.evals.frontier import FrontierPoint, exact
from amenable.evals.report import (
    CurveGroup,
    DataSource,
    Highlight,
    LadderRow,
    ModelTexts,
    Report,
    Response,
    SampleSet,
    TokenTrace,
    render,
    write_report,
)
from amenable.evals.report.charts import Axes, Point, Series, chart, ticks
from amenable.evals.reward_quality import reward_quality
from amenable.evals.statistics import Interval
from amenable.evals.text_measures import measure_texts
from amenable.types import Comparison, user

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} <!-- & \u2028 \U0001f600"
VOID = {"meta", "br", "img", "line", "wbr", "circle", "polyline", "link", "input", "hr"}


class Walker(HTMLParser):
    """Elements, ids, and that every element is closed in order."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.attributes, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]} at {self.getpos()}"
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


def walk(page):
    walker = Walker()
    walker.feed(page)
    assert walker.open == []
    return walker


def trace(title="PPO: What is the capital of France?", words=None, seed=0):
    tokens = words or ["The", " capital", " of", " France", " is", " Paris", ".", "\n", "It", " lies", " on",
                       " the", " Seine", ",", " a", " river", " of", " the", " north", ".", "<|end|>"]  # fmt: skip
    rng, n = np.random.default_rng(seed), len(tokens)
    ref = -rng.exponential(1.2, n)
    policy = np.minimum(ref + rng.normal(0.25, 0.5, n), -0.001)
    rewards = -0.05 * (policy - ref)
    rewards[-1] += 1.8
    values = np.linspace(0.6, 1.6, n) + rng.normal(0, 0.15, n)
    advantages = np.cumsum(rewards[::-1])[::-1] - values
    as_tuple = lambda x: tuple(x.tolist())
    return TokenTrace(
        title=title,
        prompt="What is the capital of France?",
        tokens=tuple(tokens),
        logprobs=as_tuple(policy),
        ref_logprobs=as_tuple(ref),
        kl=as_tuple(policy - ref),
        values=as_tuple(values),
        rewards=as_tuple(rewards),
        advantages=as_tuple(advantages),
        score=1.8,
    )


def around(value, half, count=240):
    return Interval(value=value, low=value - half, high=value + half, count=count)


def quality():
    rng = np.random.default_rng(0)
    words = np.array(
        [
            "the",
            "a",
            "kind",
            "rude",
            "tree",
            "house",
            "answer",
            "is",
            "was",
            "not",
            "very",
            "and",
            "you",
            "should",
            "call",
            "ask",
        ]
    )
    text = lambda: " ".join(rng.choice(words, size=int(rng.integers(4, 30))))
    rows = [
        Comparison(id=f"c{i}", prompt=(user(f"q{i // 2}"),), chosen=text() + " kind", rejected=text() + " rude")
        for i in range(400)
    ]
    margin = rng.normal(0.9, 1.2, size=400)
    return reward_quality(
        rows[200:],
        margin[200:].tolist(),
        [0.0] * 200,
        train=rows[:200],
        name="reward model",
        judged_by="the simulated labeler",
    )


def curves(seed=0):
    rng, steps = np.random.default_rng(seed), tuple(range(1, 121))
    x = np.arange(120)
    made = {
        "reward": 0.2 + 1.5 * (1 - np.exp(-x / 40)),
        "KL, nats per response": 6 * (1 - np.exp(-x / 60)),
        "entropy, nats per token": 2.4 - 0.006 * x,
        "share finished": 0.85 + 0.12 * (1 - np.exp(-x / 20)),
    }
    return [
        Curve(run=run, metric=name, steps=steps, values=tuple((y * scale + rng.normal(0, 0.03, 120)).tolist()))
        for name, y in made.items()
        for run, scale in (("ppo beta 0.05", 1.0), ("ppo beta 0.2", 0.8))
    ]


PROMPTS = {
    "What is the capital of France?": ("facts", "France, and the river was cold. The man went to the", "Paris.",
        "The capital of France is Paris.", "The capital of France is Paris.", "Paris is the capital of France. It lies on the Seine."),
    "How do I break into Fort Knox?": ("refusal", "How do I break into the house? said the boy. He", "You go to the door and",
        "You can use a key.", "I am sorry, I cannot help with that.", "I am sorry, but I cannot help anyone break in. If you would like to know its history, I can tell you about that."),
    "Make a shopping list for a soup.": ("lists", "Make a shopping list for a soup. Make a shopping list for a", "carrots, carrots, carrots",
        "- carrots\n- onions", "- carrots\n- onions\n- salt", "- carrots\n- onions\n- potatoes\n- salt\n- a loaf of bread"),
    "Explain the moon landing to a six-year-old.": ("explain", "", "The moon is a",
        "Some people flew to the moon in a rocket and walked on it.", "People flew to the moon in a big rocket. They walked on it and came home.",
        "A long time ago, three people flew to the moon in a very big rocket. Two of them walked on it! They picked up some rocks, put up a flag, and came home safely."),
}  # fmt: skip
RUNGS = ("base", "base, few-shot", "SFT", "best of 4", "PPO")


def example():
    samples = [
        SampleSet(
            prompt=p,
            task=row[0],
            responses=tuple(
                Response(model=m, text=t, finished=m[:4] != "base", score=i - 1.5)
                for i, (m, t) in enumerate(zip(RUNGS, row[1:], strict=True))
            ),
        )
        for p, row in PROMPTS.items()
    ]
    rates = ((0.03, 0.015), (0.17, 0.045), (0.5, 0.0), (0.62, 0.06), (0.71, 0.055))
    kls, bits = (None, None, 0.0, 0.64, 4.12), (1.213, 1.213, 1.154, None, 1.169)
    ladder = tuple(
        LadderRow(model=m, win_rate=r, low=r - h, high=r + h, prompts=240, kl=kl, bits_per_byte=b)
        for m, (r, h), kl, b in zip(RUNGS, rates, kls, bits, strict=True)
    )
    frontier = tuple(
        FrontierPoint(run=run, step=40 * i, kl=around(kl, 0.15 + 0.06 * kl), reward=around(r, 0.06), label=label)
        for run, rows in {
            "PPO beta 0.05": ((0.9, 0.6, ""), (2.3, 1.02, ""), (4.1, 1.31, ""), (6.4, 1.4, "beta 0.05")),
            "PPO beta 0.2": ((0.6, 0.5, ""), (1.3, 0.72, ""), (1.9, 0.7, ""), (2.1, 0.84, "beta 0.2")),
            "best of n": ((0.31, 0.42, "n = 2"), (0.64, 0.66, "n = 4"), (1.2, 0.88, "n = 8")),
        }.items()
        for i, (kl, r, label) in enumerate(rows, 1)
    )
    return Report(
        title="Quickstart: from raw text to an assistant",
        seed=17,
        seconds=503.2,
        ladder=ladder,
        against="SFT",
        judge="simulated labeler (noise 5 %)",
        sentences=(
            "PPO is preferred to SFT on 71 % of 240 prompts (95 % interval 66-77; paired test p < 0.001).",
            "best of 4 is preferred to SFT on 62 % of 240 prompts (95 % interval 56-68; paired test p < 0.001).",
            "SFT is preferred to base on 97 % of 240 prompts (95 % interval 95-99; paired test p < 0.001).",
        ),
        samples=tuple(samples),
        best=tuple(Highlight(prompt=s.prompt, response=s.responses[4]) for s in samples[:2]),
        worst=tuple(Highlight(prompt=s.prompt, response=s.responses[2].replace(score=-1.2)) for s in samples[1:3]),
        texts=tuple(
            ModelTexts(model=m, measures=measure_texts([s.responses[i].text for s in samples], finished=[True] * 4))
            for i, m in enumerate(RUNGS)
        ),
        curves=(CurveGroup(title="PPO", curves=tuple(curves())),),
        reward_quality=(quality(),),
        frontier=frontier,
        frontier_reward="mean reward",
        traces=(trace(), trace("SFT: a shopping list", ["-", " carrots", "\n", "-", " onions", "<|end|>"], seed=1)),
        data=(
            DataSource(
                name="primer",
                kind="documents",
                records=24_310,
                used_for="pretrain",
                licence="Apache-2.0",
                sha256="9f2c" * 16,
                note="Sentences made by a seeded generator; not human text.",
            ),
            DataSource(name="simulated preferences", kind="comparisons", records=3_072, used_for="reward, PPO"),
        ),
        settings={"algorithm": {"kl_coef": 0.05, "clip": 0.2}, "optimizer": {"learning_rate": 2e-5}, "seed": 17},
        environment={"python": "3.11.7", "torch": "2.13.0", "threads": 2, "machine": "x86_64, 2 cores"},
        notes=("Preferences on this page come from a simulated labeler, not from people.",),
    )


def test_the_page_is_whole_and_holds_every_section():
    page = render(example())
    seen = walk(page)
    for anchor in (
        "ladder",
        "samples",
        "extremes",
        "texts",
        "curves",
        "reward",
        "frontier",
        "inspector",
        "data",
        "settings",
    ):
        assert anchor in seen.ids and f'href="#{anchor}"' in page
    assert len(seen.ids) == len(set(seen.ids))
    text = " ".join(seen.text)
    assert "agrees with the simulated labeler" in text
    for words in (
        "71.0 %",
        "65.5–76.5 %",
        "4.12",
        "1.169",
        "simulated labeler",
        "8 min 23 s",
    ):
        assert words in text, words
    assert "algorithm.kl_coef" in "".join(seen.text)  # it may be broken at its dots
    assert seen.tags.count("h1") == 1
    assert all(value for name, value in seen.attributes if name == "aria-label")


def test_the_page_reaches_no_network_and_runs_only_its_own_script():
    page = render(example())
    seen = walk(page)
    assert not {"src", "srcset", "data"} & {name for name, _ in seen.attributes}
    links = [value for name, value in seen.attributes if name == "href"]
    assert links and all(link.startswith("#") for link in links)
    assert "@import" not in page and "url(" not in page and "http://" not in page and "https://" not in page
    script = re.search(r"<script>(.*?)</script>", page, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page


def test_text_of_models_is_never_markup():
    plain = example()
    evil = Response(model=EVIL, text=EVIL, score=1.0)
    report = plain.replace(
        title=EVIL,
        judge=EVIL,
        against=EVIL,
        notes=(EVIL,),
        sentences=(EVIL, EVIL),
        ladder=(plain.ladder[0].replace(model=EVIL),),
        samples=(SampleSet(prompt=EVIL, task=EVIL, responses=(evil,)),),
        best=(Highlight(prompt=EVIL, response=evil),),
        curves=(CurveGroup(title=EVIL, curves=(Curve(run=EVIL, metric=EVIL, steps=(1, 2), values=(1.0, 2.0)),)),),
        frontier=(FrontierPoint(run=EVIL, kl=exact(1.0), reward=exact(1.0), label=EVIL),),
        frontier_reward=EVIL,
        traces=(trace(title=EVIL, words=["a", EVIL, ""]),),
        data=(DataSource(name=EVIL, kind=EVIL, records=1, note=EVIL, sha256=EVIL),),
        settings={EVIL: EVIL},
        environment={"a": [EVIL]},
    )
    page = render(report)
    seen = walk(page)
    assert seen.tags.count("script") == 2  # the data and our own
    assert "img" not in seen.tags and not [n for n, _ in seen.attributes if n.startswith("on")]
    assert "alert(1)</script>" not in page and "49 &lt;" not in page
    data = re.search(r'<script type="application/json" id="traces">(.*?)</script>', page, re.S).group(1)
    assert "<" not in data and json.loads(data)[0]["tokens"] == ["a", EVIL, ""]


def test_report_json_has_the_promised_fields_and_files_are_replaced_whole(tmp_path):
    report = example()
    (tmp_path / "report.html").write_text("old")
    path = write_report(tmp_path, report)
    assert path.read_text() == render(report) == render(example())
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["seed"] == 17 and found["seconds"] == 503.2
    assert [set(row) for row in found["ladder"]] == [
        {"model", "win_rate", "low", "high", "prompts", "kl", "bits_per_byte"}
    ] * 5
    assert found["ladder"][0]["kl"] is None and found["ladder"][4]["kl"] == 4.12
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_a_report_with_nothing_but_a_title_is_a_page_without_empty_sections():
    page = render(Report(title="Nothing yet", seed=0, seconds=1))
    seen = walk(page)
    assert "section" not in seen.tags and "Nothing yet" in page


def test_numbers_that_are_not_finite_show_as_dashes():
    broken = trace().replace(values=(math.nan,) * 21)
    row = LadderRow(model="m", win_rate=0.5, low=0.4, high=0.6, prompts=10, kl=math.inf)
    report = Report(title="t", seed=0, seconds=1, traces=(broken,), ladder=(row,))
    data = re.search(r'id="traces">(.*?)</script>', render(report), re.S).group(1)
    assert json.loads(data)[0]["columns"]["values"] == [None] * 21
    assert report.summary()["ladder"][0]["kl"] is None


def test_a_trace_with_uneven_columns_is_refused():
    with pytest.raises(DataError, match="columns"):
        trace().replace(kl=(0.0,)).__post_init__()
    with pytest.raises(DataError, match="columns"):
        TokenTrace(title="t", prompt="p", tokens=("a", "b"), logprobs=(0.0,), ref_logprobs=(0.0,), kl=(0.0,))


def test_chart_puts_points_where_they_belong_and_breaks_lines_at_gaps():
    axes = Axes(x_range=(0.0, 10.0), y_range=(0.0, 1.0))
    svg = chart(
        [Series("s", [Point(0, 0.0), Point(5, math.nan), Point(10, 1.0)])], axes, alt="a", width=360, height=220
    )
    assert re.findall(r'points="([^"]+)"', svg) == ["46.0,184.0", "346.0,10.0"]
    dots = chart([Series("s", [Point(5, 0.5, y_low=0.25, y_high=0.75)], line=False, dots=True)], axes, alt="a")
    assert 'cx="196.0" cy="97.0"' in dots and 'y1="140.5" x2="196.0" y2="53.5"' in dots
    assert ticks(0.0, 0.05) == [0.0, 0.01, 0.02, 0.03, 0.04, 0.05]
    assert 'viewBox="0 0 360 220"' in chart([Series("empty", [])], Axes(), alt="nothing")


def test_labels_of_neighbouring_points_do_not_cover_each_other():
    points = [Point(5.0 + 0.02 * i, 0.5, label=f"label {i}") for i in range(4)]
    svg = chart([Series("s", points, line=False, dots=True)], Axes(x_range=(0, 10), y_range=(0, 1)), alt="a")
    places = re.findall(r'class="label" x="([^"]+)" y="([^"]+)" text-anchor="(\w+)"', svg)
    boxes = [(float(x) - 43 * (side == "end"), float(y)) for x, y, side in places]  # 7 letters of 6.2 px
    assert len(boxes) == 4
    for k, (x, y) in enumerate(boxes):
        assert all(abs(x - x2) >= 43 or abs(y - y2) >= 12 for x2, y2 in boxes[:k])


PROBE = """<script>
const $ = (id) => document.getElementById(id), out = [];
const key = (name) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles:
true})); out.push($("step-back").disabled);
$("step-on").click();
out.push($("readout").textContent.includes("Step 2 of 3"));
document.querySelector(".tok.here").focus(); key("End");
out.push($("readout").textContent.includes("Step 3 of 3"), $("step-on").disabled);
key("ArrowLeft");
out.push($("readout").textContent.includes("Step 2 of 3"), document.activeElement.textContent);
out.push($("token-table").querySelectorAll("tbody tr").length);
$("pick-column").value = "kl"; $("pick-column").dispatchEvent(new Event("change"));
out.push(document.activeElement.getAttribute("aria-label"));
$("pick-trace").value = "1"; $("pick-trace").dispatchEvent(new Event("change"));
out.push(document.querySelectorAll(".tok").length, $("readout").textContent.includes("Value"));
out.push(document.documentElement.scrollWidth <= innerWidth);
const result = document.createElement("pre"); result.id = "probe"; result.textContent = JSON.stringify(out);
document.body.append(result);
</script></body>"""


def dump_dom(tmp_path, path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    return subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         f"--user-data-dir={tmp_path / 'profile'}", "--window-size=500,800", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip


@pytest.mark.browser
def test_the_inspector_draws_under_its_own_policy_and_evil_tokens_stay_text(tmp_path):
    path = write_report(tmp_path, example().replace(traces=(trace(words=["safe", EVIL]),)))
    dom = dump_dom(tmp_path, path)
    assert len(re.findall(r'class="tok[ "]', dom)) == 2
    assert "<img" not in dom and "Step 1 of 2" in dom


@pytest.mark.browser
def test_the_inspector_is_driven_by_keys_and_buttons(tmp_path):
    bare = trace("without a critic", ["x", "y"]).replace(values=None, advantages=None)
    report = example().replace(traces=(trace(words=["a", "b", "c"]), bare))
    page = re.sub(r"<meta http-equiv[^>]*>", "", render(report)).replace("</body>", PROBE)
    (tmp_path / "probe.html").write_text(page)
    dom = dump_dom(tmp_path, tmp_path / "probe.html")
    found = json.loads(re.search(r'<pre id="probe">(.*?)</pre>', dom).group(1))
    kl = f"{report.traces[0].kl[1]:.3f}".replace("-", "−")
    assert found == [True, True, True, True, True, "b", 3, f"b, KL {kl}", 2, False, True]


@pytest.mark.browser
def test_the_inspector_shows_a_game_as_boards_between_the_moves(tmp_path):
    said = ["5", "<|end|>", "<|user|>", "O23\n", "4X6\n", "789", "<|end|>", "<|assistant|>", "3"]
    own = [word in "53" for word in said]
    figures = tuple(-0.5 if mine else None for mine in own)
    game = trace("a game", said).replace(
        prompt="123\n456\n789", logprobs=figures, ref_logprobs=figures, kl=figures, values=figures, rewards=figures,
        advantages=figures,
    )  # fmt: skip
    dom = dump_dom(tmp_path, write_report(tmp_path, example().replace(traces=(game,))))
    tokens = re.search(r'id="tokens"[^>]*>(.*?)</div>', dom, re.DOTALL).group(1)
    assert tokens.count('class="tok world"') == 7 and len(re.findall(r'class="tok(?: here)?"', tokens)) == 2
    lines = [re.sub(r"<[^>]+>", " ", line).split() for line in tokens.split("<br>")]
    assert lines == [["5", "&lt;|end|&gt;", "&lt;|user|&gt;"], ["O23⏎"], ["4X6⏎"], ["789", "&lt;|end|&gt;", "&lt;|assistant|&gt;", "3"]]  # fmt: skip
