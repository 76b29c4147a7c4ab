// The page: which view is shown, the key, and whether the server is there.
import { byId, showProblem } from "./dom.js";
import { key, Problem, send, setKey } from "./api.js";
import * as playground from "./playground.js";
import * as server from "./server.js";
import * as sessions from "./sessions.js";

const VIEWS = ["playground", "sessions", "server"];
const CHECK_EVERY_MS = 2000;

function show() {
  const [name, session = ""] = location.hash.slice(1).split("/");
  const shown = VIEWS.includes(name) ? name : "playground";
  for (const name of VIEWS) byId(name).hidden = name !== shown;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${shown}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  sessions.follow(shown === "sessions", decodeURIComponent(session));
  server.follow(shown === "server");
}

async function check() {
  let text = "server not reachable; trying again";
  try {
    const response = await send("GET", "health/ready");
    text = response.ok ? "server ready" : `server not ready: ${(await response.json()).status ?? response.status}`;
  } catch {
    // it is down: that is what the text says
  }
  if (byId("status").textContent !== text) byId("status").textContent = text;
  setTimeout(check, CHECK_EVERY_MS);
}

async function load() {
  try {
    showProblem("");
    await playground.load();
    show();
  } catch (error) {
    const isKey = error instanceof Problem && error.status === 401;
    showProblem(isKey ? "This server needs an API key: enter it above." : /** @type {Error} */ (error).message);
    if (isKey) byId("key").focus();
  }
}

byId("key").value = key();
byId("key").addEventListener("change", () => {
  setKey(byId("key").value.trim());
  load();
});
addEventListener("hashchange", show);
playground.start();
sessions.start();
load();
check();
