/** Which key presses are commands, and which belong to what is in focus. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { commandOf } from "../src/parts/keys";

/** An element within others, by the tags and roles that a selector may name. */
const within = (...names: string[]) => ({ closest: (selector: string) => (selector.split(", ").some((part) => names.includes(part.replace(/:not\(.*\)/, ""))) ? {} : null) });
const press = (key: string, more: object = {}) => ({ key, target: within("body"), defaultPrevented: false, isComposing: false, altKey: false, ctrlKey: false, metaKey: false, ...more }) as unknown as KeyboardEvent;

test("keys have names: letters small, Ctrl and Cmd alike", () => {
  assert.equal(commandOf(press("M"), true), "m");
  assert.equal(commandOf(press("3"), true), "3");
  assert.equal(commandOf(press("ArrowLeft"), true), "ArrowLeft");
  assert.equal(commandOf(press("z", { ctrlKey: true }), true), "Mod+z");
  assert.equal(commandOf(press("Z", { metaKey: true }), true), "Mod+z");
});

test("single keys can be switched off; those with Ctrl stay", () => {
  assert.equal(commandOf(press("m"), false), null);
  assert.equal(commandOf(press("Enter", { ctrlKey: true }), false), "Mod+Enter");
});

test("while a text is being typed only Ctrl Enter is a command", () => {
  const typing = { target: within("textarea") };
  assert.equal(commandOf(press("m", typing), true), null);
  assert.equal(commandOf(press("z", { ...typing, ctrlKey: true }), true), null); // the text's own undo
  assert.equal(commandOf(press("Enter", { ...typing, ctrlKey: true }), true), "Mod+Enter");
  assert.equal(commandOf(press("a", { isComposing: true }), true), null);
});

test("buttons, links, tabs and sliders keep their own keys", () => {
  assert.equal(commandOf(press("Enter", { target: within("button") }), true), null);
  assert.equal(commandOf(press(" ", { target: within("a") }), true), null);
  assert.equal(commandOf(press("m", { target: within("button") }), true), "m");
  assert.equal(commandOf(press("ArrowLeft", { target: within("[role=tab]") }), true), null);
  assert.equal(commandOf(press("ArrowLeft", { target: within("[role=slider]") }), true), null);
});

test("what somebody else took, and Alt, is left alone", () => {
  assert.equal(commandOf(press("m", { defaultPrevented: true }), true), null);
  assert.equal(commandOf(press("m", { altKey: true }), true), null);
  assert.equal(commandOf(press("m", { target: {} }), true), "m"); // the document itself has no `closest`
});
