// Models, and the last minutes of the server's own metrics: no Prometheus is needed.
import { byId, fill, h, short, showProblem } from "./dom.js";
import { call, check, Problem, send } from "./api.js";
import { drawLines, legend } from "./draw.js";

const EVERY_MS = 2000;
const MAX_SAMPLES = 300;
const REQUESTS = "cellgate_request_duration_seconds";

/** @typedef {{labels: Record<string, string>, value: number}} Sample */
/** @typedef {Map<string, Sample[]>} Metrics by name */

/** @type {Metrics | null} */
let before = null;
let beforeAt = 0;
/** @type {Record<string, (number | null)[]>} */
const history = {};
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let isShown = false;

/**
 * Poll from the first time on, so that the charts have no holes.
 * @param {boolean} shown
 */
export function follow(shown) {
  isShown = shown;
  if (timer === undefined) sample();
  else if (shown) render();
}

async function sample() {
  try {
    const now = parse(await (await check(await send("GET", "metrics"))).text());
    const at = performance.now();
    if (before) add(now, before, (at - beforeAt) / 1000);
    [before, beforeAt] = [now, at];
    if (isShown) await render();
  } catch (error) {
    for (const values of Object.values(history)) values.push(null); // the header says that it is not reachable
    if (isShown && error instanceof Problem) showProblem(`The server's figures: ${error.message}`);
  }
  timer = setTimeout(sample, EVERY_MS);
}

/**
 * Prometheus' text format.
 * @param {string} text
 * @returns {Metrics}
 */
export function parse(text) {
  /** @type {Metrics} */
  const found = new Map();
  for (const line of text.split("\n")) {
    const match = /^(\w+)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]));
    found.set(match[1], [...(found.get(match[1]) ?? []), { labels, value: Number(match[3]) }]);
  }
  return found;
}

/**
 * @param {Metrics} metrics
 * @param {string} name
 * @param {(labels: Record<string, string>) => boolean} [has]
 */
function total(metrics, name, has = () => true) {
  return (metrics.get(name) ?? []).filter((each) => has(each.labels)).reduce((sum, each) => sum + each.value, 0);
}

const isPredict = (/** @type {Record<string, string>} */ labels) => labels.model !== "";

/**
 * @param {Metrics} now
 * @param {Metrics} old
 * @param {number} seconds
 */
function add(now, old, seconds) {
  const rate = (/** @type {string} */ name) => Math.max(0, (total(now, name, isPredict) - total(old, name, isPredict)) / seconds);
  put("requests/s", rate(`${REQUESTS}_count`));
  const counts = new Map();
  for (const { labels, value } of now.get(`${REQUESTS}_bucket`) ?? []) {
    if (isPredict(labels)) counts.set(labels.le, (counts.get(labels.le) ?? 0) + value);
  }
  for (const { labels, value } of old.get(`${REQUESTS}_bucket`) ?? []) {
    if (isPredict(labels)) counts.set(labels.le, (counts.get(labels.le) ?? 0) - value);
  }
  put("p50, ms", quantile(counts, 0.5));
  put("p99, ms", quantile(counts, 0.99));
  put("waiting sequences", total(now, "cellgate_queue_depth"));
  put("live sessions", total(now, "cellgate_sessions"));
}

/**
 * The upper edge of the bucket that holds the quantile, in milliseconds.
 * @param {Map<string, number>} counts
 * @param {number} share
 */
function quantile(counts, share) {
  const edges = [...counts].map(([edge, count]) => /** @type {[number, number]} */ ([edge === "+Inf" ? Infinity : Number(edge), count])).sort((a, b) => a[0] - b[0]);
  const all = edges.at(-1)?.[1] ?? 0;
  const found = all > 0 ? edges.find(([, count]) => count >= share * all) : undefined;
  return found && Number.isFinite(found[0]) ? found[0] * 1000 : null;
}

/**
 * @param {string} name
 * @param {number | null} value
 */
function put(name, value) {
  history[name] = [...(history[name] ?? []), value].slice(-MAX_SAMPLES);
}

async function render() {
  const { models } = await call("GET", "models");
  const head = ["model", "version", "state", "answers", "sequences/call", "padding", "waiting", "provider"];
  const rows = models.map((/** @type {any} */ each) => [each.name, each.version, each.retiring ? "retiring" : each.default ? "default" : "loaded",
    each.exact === true ? "exact" : `± ${each.max_difference}`, short(each.batching.sequences_per_call),
    `${(100 * each.batching.padding).toFixed(0)} %`, `${each.batching.waiting}`, each.provider.replace("ExecutionProvider", "")]);
  fill(byId("models"), h("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Models" }, h("table", {},
    h("thead", {}, h("tr", {}, ...head.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, ...rows.map((/** @type {string[]} */ row) => h("tr", {}, ...row.map((cell) => h("td", {}, cell))))))));
  const figures = byId("figures");
  const groups = [["requests/s"], ["p50, ms", "p99, ms"], ["waiting sequences"], ["live sessions"]].filter(([name]) => history[name]);
  if (figures.children.length !== groups.length) {
    fill(figures, ...groups.map((names) => h("div", {}, h("h3", {}, names.join(" · ")), h("canvas", { role: "img" }), h("div", {}))));
  }
  groups.forEach((names, number) => {
    const [, canvas, key] = figures.children[number].children;
    const lines = names.map((name) => ({ label: name, values: history[name] }));
    drawLines(/** @type {HTMLCanvasElement} */ (canvas), lines, { height: 130, from: 0, ends: [`${Math.round((lines[0].values.length * EVERY_MS) / 1000)} s ago`, "now"] });
    const now = names.map((name) => `${name}: ${short(/** @type {number} */ (history[name].at(-1)))}`);
    /** @type {any} */ (canvas).ariaLabel = now.join(", ");
    fill(key, legend(now));
  });
}
