// The inspector: a session's recurrent state over the steps that were seen, and all that can be done with it.
import { action, age, byId, download, fill, h } from "./dom.js";
import * as changes from "./changes.js";
import { showGates } from "./gates.js";
import { drawnState, Seen } from "./seen.js";
import { showExample } from "./snippets.js";
import { showStrips } from "./strips.js";

const EVERY_MS = 400;
const SURE_MS = 5000; // until a click on "Delete" is forgotten

let isShown = false;
let session = "";
let compared = "";
let earlier = ""; // a step that was seen
let seen = new Seen();
/** @type {any} */
let live = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/** The session that is shown; "": none. */
export const selected = () => session;

/**
 * Poll while the view is shown.
 * @param {boolean} shown
 */
export function follow(shown) {
  isShown = shown;
  clearTimeout(timer);
  if (shown) watch();
}

/**
 * Remember the state that a session has now, and show the session when the view is opened.
 * @param {string} name
 */
export async function observe(name) {
  if (name !== session) open(name);
  live = await changes.read(name);
  seen.add(live);
}

/**
 * @param {string} name
 * @param {import("./snippets.js").Example} [made] what has made the session
 */
export function open(name, made) {
  session = name;
  compared = earlier = "";
  seen = new Seen();
  live = null;
  clearTimeout(timer);
  build();
  if (made) showExample(byId("session-snippets"), made);
  if (isShown) history.replaceState(null, "", `#sessions/${encodeURIComponent(name)}`);
  watch();
}

/** Look at the state again and again; what is not there, such as a server that was killed, is tried again. */
async function watch() {
  if (!isShown || !session) return;
  const name = session;
  try {
    const reply = await changes.read(name);
    if (name !== session) return;
    live = reply;
    seen.add(reply);
    await render();
  } catch (error) {
    if (name === session) byId("watching").textContent = `${/** @type {Error} */ (error).message}; trying again`;
  }
  clearTimeout(timer);
  timer = setTimeout(watch, EVERY_MS);
}

/**
 * @param {string} id
 * @param {string} label
 * @param {any} [attributes]
 */
const field = (id, label, attributes = {}) => h("label", {}, `${label} `, h("input", { id, ...attributes }));

/**
 * A button whose request is shown in every form.
 * @param {string} id
 * @param {string} text
 * @param {() => Promise<import("./snippets.js").Example | void>} run
 */
const button = (id, text, run) =>
  h("button", { id, type: "button", onclick: action(async () => {
    const made = await run();
    if (made && byId("session-snippets")) showExample(byId("session-snippets"), made);
  }) }, text);

/** The parts of the inspector, once for each session. */
function build() {
  const bar = (/** @type {any[]} */ ...parts) => h("div", { className: "bar" }, ...parts);
  const numbers = { type: "number", min: 0 };
  fill(byId("inspector"),
    h("h3", { id: "selected" }, session),
    h("p", { id: "watching", className: "hint", role: "status" }),
    h("dl", { id: "facts" }),
    bar(h("label", {}, "Order of units ", h("select", { id: "order", onchange: render }, h("option", {}, "as in the graph"), h("option", {}, "by activity"))),
      field("compare", "Difference from session", { placeholder: "none", spellcheck: false, onchange: action(compare) }),
      h("label", {}, "or from step ", h("select", { id: "earlier", onchange: action(async () => {
        earlier = byId("earlier").value;
        await render();
      }) }))),
    h("div", { id: "strips" }),
    h("div", { id: "session-gates" }),
    bar(field("fork-name", "Fork to", { value: `${session}-fork`.slice(-128), spellcheck: false }), button("fork", "Fork", fork)),
    bar(field("keep", "Keep the last", { ...numbers, value: 32 }), button("history", "Keep states", () => changes.keep(session, Number(byId("keep").value))),
      h("label", {}, "Rewind to step ", h("select", { id: "rewind-step" })), button("rewind", "Rewind", () => changes.rewind(live, Number(byId("rewind-step").value)))),
    bar(h("label", {}, "Tensor ", h("select", { id: "edit-tensor" })), field("edit-unit", "unit", { ...numbers, value: 0 }),
      field("edit-value", "value", { inputMode: "decimal", value: "0", size: 22 }),
      button("edit", "Set the value", () => changes.setValue(session, byId("edit-tensor").value, Number(byId("edit-unit").value), byId("edit-value").value))),
    bar(button("export", "Export", exportSession), button("delete", "Delete", remove)),
    h("h4", {}, "The same request elsewhere"),
    h("div", { id: "session-snippets" }, h("p", { className: "hint" }, "Fork, rewind or change the session: the request is shown here.")));
}

async function render() {
  if (!live) return;
  byId("watching").textContent = "";
  const facts = { model: `${live.model} version ${live.version}`, step: live.step, created: new Date(live.created).toLocaleString(),
    idle: age(live.idle_s), "expires in": age(live.expires_in_s), state: `${live.state_bytes} bytes`, rewinds: live.rewinds };
  fill(byId("facts"), ...Object.entries(facts).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, `${value}`)]));
  const kept = (live.history?.checkpoints ?? []).map(String);
  options(byId("rewind-step"), kept);
  byId("rewind").disabled = !kept.length;
  options(byId("edit-tensor"), [...seen.tensors.keys()]);
  options(byId("earlier"), ["none", ...seen.steps.map(String)]);
  const base = await baseOf();
  showStrips(byId("strips"), [...seen.tensors].map(([name, columns]) => ({
    name, id: `strip-${name}`, steps: seen.steps, columns, base: base && base.get(name),
    total: seen.exact.get(name)?.length, byActivity: byId("order").value === "by activity",
    exact: (/** @type {number} */ unit) => seen.exact.get(name)?.[unit],
    choose: (/** @type {number} */ unit) => {
      byId("edit-tensor").value = name;
      byId("edit-unit").value = unit;
      byId("edit-value").value = `${seen.exact.get(name)?.[unit] ?? ""}`;
    },
  })));
  showGates(byId("session-gates"), session, byId("order").value === "by activity", "session-");
}

async function compare() {
  compared = byId("compare").value.trim();
  await render();
}

/** What is subtracted from each state: that of another session, or of an earlier step; null: nothing. */
async function baseOf() {
  const base = compared ? drawnState(await changes.read(compared)) : earlier === "" ? null : seen.at(Number(earlier));
  const differs = base && [...seen.tensors].find(([name, columns]) => base.get(name)?.length !== columns[0].length);
  if (differs) throw new Error(`${compared} has no tensor ${differs[0]} of ${differs[1][0].length} units: the two cannot be compared`);
  return base;
}

/**
 * Keep what the user has chosen.
 * @param {HTMLSelectElement} select
 * @param {string[]} texts
 */
function options(select, texts) {
  if ([...select.options].map((each) => each.text).join() === texts.join()) return;
  const chosen = select.value;
  fill(select, ...texts.map((text) => h("option", {}, text)));
  if (texts.includes(chosen)) select.value = chosen;
}

async function fork() {
  const to = byId("fork-name").value.trim();
  const made = await changes.fork(session, to);
  open(to);
  return made;
}

async function exportSession() {
  const { blob, name, example } = await changes.exportSession(session);
  download(blob, name);
  return example;
}

/** The first click asks, the second deletes. */
async function remove() {
  const pressed = byId("delete");
  if (pressed.textContent === "Delete") {
    pressed.textContent = "Delete it for good";
    setTimeout(() => (pressed.textContent = "Delete"), SURE_MS);
    return;
  }
  const made = await changes.remove(session);
  session = "";
  history.replaceState(null, "", "#sessions");
  fill(byId("inspector"), h("p", {}, "Deleted. Choose a session to see its state."), h("div", { id: "session-snippets" }));
  return made;
}
