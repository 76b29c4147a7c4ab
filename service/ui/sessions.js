// The inspector: a session's recurrent state over the steps that were seen, and all that can be done with it.
import { action, byId, download, fill, h, short } from "./dom.js";
import { call, check, Problem, send, sessionPath } from "./api.js";
import { drawHeat } from "./draw.js";

const PAGE = 50;
const LIST_EVERY_MS = 1500;
const STATE_EVERY_MS = 400;
const MAX_COLUMNS = 400; // steps that are kept of a session
const MAX_UNITS = 512; // of a tensor that are drawn

/** @typedef {{steps: number[], tensors: Map<string, number[][]>}} Seen */

let isShown = false;
let page = 1;
let selected = "";
let compared = "";
let earlier = ""; // a step that was seen
/** @type {Seen} */
let seen = nothing();
/** @type {any} */
let info = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let listTimer;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let stateTimer;

/** @returns {Seen} */
function nothing() {
  return { steps: [], tensors: new Map() };
}

/**
 * Poll while the view is shown.
 * @param {boolean} shown
 */
export function follow(shown) {
  isShown = shown;
  clearTimeout(listTimer);
  clearTimeout(stateTimer);
  if (shown) {
    list();
    watch();
  }
}

async function list() {
  try {
    /** @type {any[]} */
    const found = [];
    let after = "";
    for (let number = 0; number < page && after !== null; number++) {
      const reply = await call("GET", `sessions?limit=${PAGE}&after=${encodeURIComponent(after)}`);
      found.push(...reply.sessions);
      after = reply.next;
    }
    byId("more").hidden = after === null;
    show(found);
  } catch (error) {
    if (error instanceof Problem) fill(byId("list"), h("p", {}, error.message));
  }
  if (isShown) listTimer = setTimeout(list, LIST_EVERY_MS);
}

/** @param {any[]} sessions */
function show(sessions) {
  const focused = document.activeElement?.getAttribute("data-session");
  const rows = sessions.map((each) =>
    h("tr", { ariaSelected: String(each.session === selected) },
      h("td", {}, h("button", { type: "button", "data-session": each.session, onclick: () => each.session !== selected && select(each.session) }, each.session)),
      h("td", {}, `${each.model} ${each.version}`), h("td", {}, `${each.step}`), h("td", {}, age(each.idle_s))),
  );
  const head = ["session", "model", "step", "idle"].map((name) => h("th", { scope: "col" }, name));
  fill(byId("list"), sessions.length
    ? h("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "List of sessions" }, h("table", { role: "grid", ariaLabel: "Sessions" }, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)))
    : h("p", {}, "There are no sessions. Send one from the playground."));
  if (focused) /** @type {any} */ (byId("list").querySelector(`[data-session="${CSS.escape(focused)}"]`))?.focus();
}

/** @param {number} seconds */
function age(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

/**
 * Remember the state that a session has now, and show the session when the view is opened.
 * @param {string} session
 */
export async function observe(session) {
  if (session !== selected) select(session);
  info = await call("GET", `${sessionPath(session)}?state=true`);
  add(info);
}

/** @param {string} session */
function select(session) {
  selected = session;
  compared = earlier = "";
  seen = nothing();
  info = null;
  clearTimeout(stateTimer);
  build();
  watch();
}

/** Look at the state again and again; what is not there, such as a server that was killed, is tried again. */
async function watch() {
  if (!isShown || !selected) return;
  const session = selected;
  try {
    const reply = await call("GET", `${sessionPath(session)}?state=true`);
    if (session !== selected) return;
    info = reply;
    add(reply);
    await render();
  } catch (error) {
    if (session === selected) byId("watching").textContent = `${/** @type {Error} */ (error).message}; trying again`;
  }
  clearTimeout(stateTimer);
  stateTimer = setTimeout(watch, STATE_EVERY_MS);
}

/** @param {any} reply */
function add(reply) {
  const last = seen.steps.at(-1);
  if (last !== undefined && reply.step < last) seen = nothing(); // rewound
  const isNew = reply.step !== last;
  for (const [name, values] of Object.entries(reply.state)) {
    const column = flat(values).slice(0, MAX_UNITS);
    const columns = seen.tensors.get(name) ?? [];
    if (isNew) columns.push(column);
    else columns[columns.length - 1] = column; // edited
    seen.tensors.set(name, columns.slice(-MAX_COLUMNS));
  }
  if (isNew) seen.steps = [...seen.steps, reply.step].slice(-MAX_COLUMNS);
}

/**
 * @param {any} values
 * @returns {number[]}
 */
const flat = (values) => [values].flat(Infinity).map((value) => (typeof value === "number" ? value : 0));

/** The parts of the inspector, once for each session. */
function build() {
  const field = (/** @type {string} */ id, /** @type {string} */ label, /** @type {any} */ attributes = {}) =>
    h("label", {}, `${label} `, h("input", { id, ...attributes }));
  const button = (/** @type {string} */ id, /** @type {string} */ text, /** @type {() => Promise<void>} */ run) =>
    h("button", { id, type: "button", onclick: action(run) }, text);
  fill(byId("inspector"),
    h("h3", { id: "selected" }, selected),
    h("p", { id: "watching", className: "hint", role: "status" }),
    h("dl", { id: "facts" }),
    h("div", { className: "bar" },
      h("label", {}, "Order of units ", h("select", { id: "order", onchange: render }, h("option", {}, "as in the graph"), h("option", {}, "by activity"))),
      field("compare", "Difference from session", { placeholder: "none", onchange: (/** @type {any} */ event) => {
        compared = event.target.value.trim();
        action(render)(event);
      } }),
      h("label", {}, "from step ", h("select", { id: "earlier", onchange: () => {
        earlier = byId("earlier").value;
        return render();
      } }))),
    h("div", { id: "strips" }),
    h("div", { className: "bar" }, field("fork-name", "Fork to", { value: `${selected}-fork` }), button("fork", "Fork", fork)),
    h("div", { className: "bar" }, field("keep", "Keep the last", { type: "number", min: 0, max: 64, value: 32 }), button("history", "Keep states", keep),
      h("label", {}, "Rewind to step ", h("select", { id: "rewind-step" })), button("rewind", "Rewind", rewind)),
    h("div", { className: "bar" },
      h("label", {}, "Tensor ", h("select", { id: "edit-tensor" })), field("edit-unit", "unit", { type: "number", min: 0, value: 0 }),
      field("edit-value", "value", { type: "number", step: "any", value: 0 }), button("edit", "Set the value", edit)),
    h("div", { className: "bar" }, button("export", "Export", exportSession), button("delete", "Delete", remove)));
}

async function render() {
  if (!info) return;
  byId("watching").textContent = "";
  const facts = { model: `${info.model} version ${info.version}`, step: info.step, created: info.created, idle: age(info.idle_s),
    "expires in": age(info.expires_in_s), "state": `${info.state_bytes} bytes`, rewinds: info.rewinds };
  fill(byId("facts"), ...Object.entries(facts).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, `${value}`)]));
  options(byId("rewind-step"), (info.history?.checkpoints ?? []).map(String));
  options(byId("edit-tensor"), [...seen.tensors.keys()]);
  options(byId("earlier"), ["none", ...seen.steps.map(String)]);
  const other = compared ? (await call("GET", `${sessionPath(compared)}?state=true`)).state : seenAt(Number(earlier));
  const names = [...seen.tensors.keys()];
  const strips = byId("strips");
  if (strips.children.length !== names.length) {
    fill(strips, ...names.map((name) => h("div", {}, h("h4", {}), h("canvas", { role: "img", id: `strip-${name}` }), h("p", { className: "hint" }, "\u00a0"))));
  }
  names.forEach((name, number) => strip(strips.children[number], name, seen.tensors.get(name) ?? [], other?.[name]));
}

/**
 * The state at a step that was seen; null if none is chosen.
 * @param {number} step
 */
function seenAt(step) {
  const at = seen.steps.indexOf(step);
  return earlier === "" || at < 0 ? null : Object.fromEntries([...seen.tensors].map(([name, columns]) => [name, columns[at]]));
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

/**
 * @param {Element} part
 * @param {string} name
 * @param {number[][]} columns
 * @param {any} other
 */
function strip(part, name, columns, other) {
  const [title, canvas, hint] = /** @type {any[]} */ ([...part.children]);
  const base = other === undefined || other === null ? null : flat(other);
  const shown = base ? columns.map((column) => column.map((value, unit) => value - (base[unit] ?? 0))) : columns;
  const order = [...columns[0].keys()];
  if (byId("order").value === "by activity") {
    const activity = order.map((unit) => spread(shown.map((column) => column[unit])));
    order.sort((a, b) => activity[b] - activity[a]);
  }
  title.textContent = `${base ? `difference of ${name}` : name}: ${order.length} units, ${columns.length === 1 ? "1 state" : `${columns.length} states`} since step ${seen.steps[0]}`;
  const { cell, step, scale } = drawHeat(canvas, shown, order);
  canvas.ariaLabel = `${title.textContent}; largest value ${short(scale)}`;
  const at = (/** @type {MouseEvent} */ event) => {
    const unit = order[Math.min(order.length - 1, Math.floor(event.offsetY / cell))];
    return { unit, column: Math.min(shown.length - 1, Math.floor(event.offsetX / step)) };
  };
  canvas.onmousemove = (/** @type {MouseEvent} */ event) => {
    const { unit, column } = at(event);
    hint.textContent = `step ${seen.steps[column]}, unit ${unit}: ${short(shown[column][unit])}`;
  };
  canvas.onclick = (/** @type {MouseEvent} */ event) => {
    const { unit } = at(event);
    byId("edit-tensor").value = name;
    byId("edit-unit").value = unit;
    byId("edit-value").value = columns[columns.length - 1][unit];
  };
}

/** @param {number[]} values */
function spread(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.length > 1 ? values.reduce((sum, value) => sum + (value - mean) ** 2, 0) : Math.abs(mean);
}

async function fork() {
  await call("POST", `${sessionPath(selected)}/fork`, { to: byId("fork-name").value.trim() });
  select(byId("fork-name").value.trim());
}

async function keep() {
  await call("PATCH", sessionPath(selected), { history: { last: Number(byId("keep").value) } });
}

async function rewind() {
  await call("POST", `${sessionPath(selected)}/rewind`, { step: Number(byId("rewind-step").value), at: info.step, rewinds: info.rewinds });
}

/** The whole state is written again, if the session is still where it was read. */
async function edit() {
  const now = await call("GET", `${sessionPath(selected)}?state=true`);
  const name = byId("edit-tensor").value;
  const unit = Number(byId("edit-unit").value);
  let place = 0;
  /**
   * @param {any} values
   * @returns {any}
   */
  const replaced = (values) => {
    if (Array.isArray(values)) return values.map(replaced);
    return place++ === unit ? Number(byId("edit-value").value) : values;
  };
  const state = { ...now.state, [name]: replaced(now.state[name]) };
  if (unit >= place) throw new Error(`${name} has ${place} units, from 0`);
  const { model, version, step, rewinds } = now;
  await call("PUT", sessionPath(selected), { model, version, step, state, at: step, rewinds });
}

async function exportSession() {
  const response = await check(await send("GET", `${sessionPath(selected)}/export`));
  download(await response.blob(), `${selected}.cellgate`);
}

async function importSession() {
  const [file] = byId("import").files;
  if (!file) return;
  const name = file.name.replace(/\.cellgate$/, "");
  await check(await send("PUT", `${sessionPath(name)}/import`, file, { "content-type": "application/octet-stream" }));
  byId("import").value = "";
  select(name);
}

async function remove() {
  await call("DELETE", sessionPath(selected));
  selected = "";
  fill(byId("inspector"), h("p", {}, "Deleted. Choose a session to see its state."));
}

/** Connect the controls. */
export function start() {
  byId("more").addEventListener("click", () => {
    page += 1;
    clearTimeout(listTimer);
    list();
  });
  byId("import").addEventListener("change", action(importSession));
}
