// The list of live sessions: one is chosen for the inspector, or read from a file.
import { action, age, byId, fill, h } from "./dom.js";
import { call, Problem, sessionPath } from "./api.js";
import * as inspector from "./inspector.js";
import { importSession, importing, nameOf } from "./changes.js";

const PAGE = 50;
const EVERY_MS = 1500;

let isShown = false;
let page = 1;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

/**
 * Poll while the view is shown.
 * @param {boolean} shown
 * @param {string} session of the address; "": the one that was chosen
 */
export function follow(shown, session = "") {
  isShown = shown;
  if (shown && session && session !== inspector.selected()) inspector.open(session);
  inspector.follow(shown);
  again();
}

/** List at once, not at the next turn. */
function again() {
  clearTimeout(timer);
  if (isShown) list();
}

/**
 * A name before all those that begin with a prefix, and after the ones that are less.
 * @param {string} prefix
 */
const before = (prefix) =>
  prefix && `${prefix.slice(0, -1)}${String.fromCharCode(prefix.charCodeAt(prefix.length - 1) - 1)}~`;

async function list() {
  const prefix = byId("find").value.trim();
  try {
    /** @type {any[]} */
    const found = [];
    let after = before(prefix);
    for (let number = 0; number < page && after !== null; number++) {
      const reply = await call("GET", `sessions?limit=${PAGE}&after=${encodeURIComponent(after)}`);
      const named = reply.sessions.filter((/** @type {any} */ each) => each.session.startsWith(prefix));
      found.push(...named);
      after = named.length < reply.sessions.length ? null : reply.next;
    }
    byId("more").hidden = after === null;
    show(found, prefix);
  } catch (error) {
    if (error instanceof Problem) fill(byId("list"), h("p", {}, error.message));
  }
  clearTimeout(timer);
  if (isShown) timer = setTimeout(list, EVERY_MS);
}

/**
 * @param {any[]} sessions
 * @param {string} prefix
 */
function show(sessions, prefix) {
  const focused = document.activeElement?.getAttribute("data-session");
  const rows = sessions.map((each) =>
    h("tr", { ariaSelected: String(each.session === inspector.selected()) },
      h("td", {}, h("button", { type: "button", "data-session": each.session, onclick: () => choose(each.session) }, each.session)),
      h("td", {}, `${each.model} ${each.version}`), h("td", {}, `${each.step}`),
      h("td", {}, age((Date.now() - Date.parse(each.created)) / 1000)), h("td", {}, age(each.idle_s))),
  );
  const head = ["session", "model", "step", "age", "idle"].map((name) => h("th", { scope: "col" }, name));
  const nothing = prefix ? `No session begins with "${prefix}".` : "There are no sessions. Send one from the playground.";
  fill(byId("list"), sessions.length
    ? h("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "List of sessions" }, h("table", { role: "grid", ariaLabel: "Sessions" }, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)))
    : h("p", {}, nothing));
  if (focused) /** @type {any} */ (byId("list").querySelector(`[data-session="${CSS.escape(focused)}"]`))?.focus();
}

/** @param {string} session */
function choose(session) {
  if (session !== inspector.selected()) inspector.open(session);
  again();
}

/** Import the chosen file; if its session is live, ask first. */
async function readFile() {
  const [file] = byId("import").files;
  if (!file) return;
  const name = byId("import-name").value.trim() || nameOf(file.name);
  fill(byId("replace"));
  try {
    await importSession(name, file, null);
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== "session_exists") throw error;
    return askToReplace(name, file);
  }
  imported(name);
}

/**
 * @param {string} name
 * @param {File} file
 */
async function askToReplace(name, file) {
  const live = await call("GET", sessionPath(name));
  const replace = action(async () => {
    await importSession(name, file, live);
    imported(name);
  });
  fill(byId("replace"), `The session ${name} is live, at step ${live.step}. `,
    h("button", { type: "button", id: "replace-live", onclick: replace }, "Replace it"), " ",
    h("button", { type: "button", onclick: () => imported("") }, "Keep it"));
  byId("replace-live").focus();
}

/** @param {string} name of the session that was imported; "": none was */
function imported(name) {
  fill(byId("replace"));
  byId("import").value = byId("import-name").value = "";
  if (!name) return;
  inspector.open(name, importing(name));
  again();
}

/** Connect the controls. */
export function start() {
  byId("more").addEventListener("click", () => {
    page += 1;
    again();
  });
  byId("find").addEventListener("input", () => {
    page = 1;
    again();
  });
  byId("import").addEventListener("change", action(readFile));
}
