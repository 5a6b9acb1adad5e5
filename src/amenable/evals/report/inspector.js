"use strict";
// The token inspector: draws the traces that stand as JSON in this page. All text goes in as text nodes, never as HTML.
(() => {
  const NAMES = {
    logprobs: "Log-prob, policy", ref_logprobs: "Log-prob, reference", kl: "KL",
    values: "Value", rewards: "Reward", advantages: "Advantage",
  };
  const traces = JSON.parse(document.getElementById("traces").textContent);
  const box = document.getElementById("inspect");
  if (!box || !traces.length) return;
  const $ = (id) => document.getElementById(id);
  const make = (tag, text, kind) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  const show = (x, digits = 3) => (x === null ? "–" : x.toFixed(digits).replace("-", "−"));
  const control = (token) => /^<\|.*\|>$/.test(token);
  const world = (i) => trace.columns.logprobs[i] === null; // a token that the policy did not draw
  // A new line behind a line's end, and before what an environment says, so that a board stands in rows.
  const breaks = (i) => trace.tokens[i].includes("\n") || (control(trace.tokens[i]) && world(i) && i + 1 < trace.tokens.length && world(i + 1) && !control(trace.tokens[i + 1]));
  const visible = (token) => (token === "" ? "∅" : token.trim() === "" ? token.replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/ /g, "␣") : token.replace(/\n/g, "⏎"));

  let trace = traces[0], column = "advantages", pinned = 0;

  // Share of the full colour, -1 to 1. Log-probs run one way from 0; the others stand on both sides of it.
  const extent = (name) => Math.max(1e-9, ...trace.columns[name].filter((x) => x !== null).map(Math.abs));
  const strength = (x, name) => (x === null ? 0 : Math.max(-1, Math.min(1, x / extent(name))));
  const paint = (s) => `color-mix(in srgb, var(${s < 0 ? "--down" : "--up"}) ${Math.round(58 * Math.abs(s))}%, var(--card))`;

  function showTrace(index) {
    trace = traces[index];
    const names = Object.keys(NAMES).filter((name) => trace.columns[name]);
    if (!names.includes(column)) column = "kl";
    $("pick-column").replaceChildren(...names.map((name) => {
      const option = make("option", NAMES[name]);
      option.value = name;
      option.selected = name === column;
      return option;
    }));
    $("trace-prompt").textContent = trace.prompt;
    $("tokens").replaceChildren(...trace.tokens.flatMap((token, i) => {
      const chip = make("button", visible(token), world(i) ? "tok world" : "tok");
      chip.type = "button";
      chip.tabIndex = -1;
      chip.addEventListener("click", () => { pin(i); });
      chip.addEventListener("focus", () => { pin(i); });
      chip.addEventListener("pointerenter", () => { read(i); });
      return breaks(i) ? [chip, document.createElement("br")] : [chip];
    }));
    $("bars").replaceChildren(...trace.tokens.map((_, i) => {
      const slot = make("span");
      slot.append(make("i"));
      slot.addEventListener("pointerenter", () => { read(i); });
      slot.addEventListener("click", () => { pin(i); });
      return slot;
    }));
    const head = make("tr");
    for (const name of ["Step", "Token", ...names.map((n) => NAMES[n])]) {
      const cell = make("th", name, name === "Token" ? "" : "num");
      cell.scope = "col";
      head.append(cell);
    }
    const rows = trace.tokens.map((token, i) => {
      const row = make("tr");
      row.append(make("td", String(i + 1), "num"), make("td", visible(token)));
      for (const name of names) row.append(make("td", show(trace.columns[name][i]), "num"));
      return row;
    });
    const [thead, tbody] = [make("thead"), make("tbody")];
    thead.append(head);
    tbody.append(...rows);
    $("token-table").replaceChildren(thead, tbody);
    pin(0);
    colour();
  }

  const chips = () => [...$("tokens").querySelectorAll(".tok")];

  function colour() {
    const numbers = trace.columns[column], most = extent(column);
    const oneSided = column === "logprobs" || column === "ref_logprobs";
    chips().forEach((chip, i) => {
      chip.style.background = paint(strength(numbers[i], column));
      chip.setAttribute("aria-label", `${visible(trace.tokens[i])}, ${NAMES[column]} ${show(numbers[i])}`);
    });
    [...$("bars").children].forEach((slot, i) => {
      const bar = slot.firstChild, s = strength(numbers[i], column);
      const full = oneSided ? 100 : 50;
      bar.className = s < 0 ? "down" : "";
      bar.style.height = `${full * Math.abs(s)}%`;
      bar.style.top = oneSided ? "0" : s < 0 ? "50%" : "auto";
      bar.style.bottom = !oneSided && s >= 0 ? "50%" : "auto";
    });
    $("bars-name").textContent = `${NAMES[column]} by step, ${oneSided ? "0 at the top" : "0 in the middle"}`;
    $("scale-low").textContent = show(-most, 2);
    $("scale-high").textContent = oneSided ? "0" : `+${show(most, 2)}`;
    $("scale-bar").style.background = `linear-gradient(to right, ${paint(-1)}, ${paint(0)}${oneSided ? "" : `, ${paint(1)}`})`;
    read(pinned);
  }

  function pin(i) {
    pinned = i;
    chips().forEach((chip, k) => { chip.tabIndex = k === i ? 0 : -1; });
    read(i);
  }

  function read(i) {
    const mark = (elements) => elements.forEach((e, k) => e.classList.toggle("here", k === i));
    mark(chips());
    mark([...$("bars").children]);
    mark([...$("token-table").querySelectorAll("tbody tr")]);
    const before = trace.prompt + "\n" + trace.tokens.slice(0, i).join("");
    const context = make("p");
    context.append(make("span", `Step ${i + 1} of ${trace.tokens.length}. State`, "tag"),
      make("span", (before.length > 90 ? "…" : "") + before.slice(-90), "context"));
    const action = make("p");
    action.append(make("span", world(i) ? "Said by the environment" : "Action: the token drawn", "tag"), make("span", visible(trace.tokens[i]), "action"));
    const list = make("dl"), sums = make("dl", undefined, "sums");
    const row = (to, name, text, chosen) => to.append(make("dt", name, chosen ? "chosen" : ""), make("dd", text));
    for (const [name, numbers] of Object.entries(trace.columns)) row(list, NAMES[name], show(numbers[i]), name === column);
    for (const [name, word] of [["kl", "KL so far"], ["rewards", "Reward so far"]]) {
      if (trace.columns[name]) row(sums, word, show(trace.columns[name].slice(0, i + 1).reduce((a, b) => a + (b ?? 0), 0)));
    }
    if (trace.score !== null) row(sums, "Score of the response", show(trace.score));
    row(sums, "Ended", trace.finished ? "by itself" : "at the token limit");
    $("readout").replaceChildren(context, action, list, sums);
    $("step-back").disabled = pinned === 0;
    $("step-on").disabled = pinned === trace.tokens.length - 1;
  }

  function go(i) {
    const chip = chips()[Math.max(0, Math.min(trace.tokens.length - 1, i))];
    chip.focus({ preventScroll: false });
  }

  $("tokens").addEventListener("pointerleave", () => read(pinned));
  $("bars").addEventListener("pointerleave", () => read(pinned));
  $("tokens").addEventListener("keydown", (event) => {
    const to = { ArrowRight: pinned + 1, ArrowLeft: pinned - 1, Home: 0, End: trace.tokens.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(to);
  });
  const step = (by) => pin(Math.max(0, Math.min(trace.tokens.length - 1, pinned + by)));
  $("step-back").addEventListener("click", () => step(-1));
  $("step-on").addEventListener("click", () => step(1));
  $("pick-column").addEventListener("change", (event) => { column = event.target.value; colour(); });
  $("pick-trace").append(...traces.map((t, i) => {
    const option = make("option", t.title);
    option.value = String(i);
    return option;
  }));
  $("pick-trace").addEventListener("change", (event) => showTrace(Number(event.target.value)));
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
  box.hidden = false;
  showTrace(0);
})();
