// Lines and heat strips on canvases, in the page's colours, sharp on any screen.

/** @typedef {{label: string, values: (number | null)[], dashed?: boolean}} Line */
/** @typedef {{label: string, low: (number | null)[], high: (number | null)[]}} Band */

export const COLOURS = 9; // --c0 … --c8 of style.css

/** @param {string} name */
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * @param {HTMLCanvasElement} canvas
 * @param {number} height
 */
function prepare(canvas, height) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth || 600;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.scale(ratio, ratio);
  pen.font = "12px system-ui, sans-serif";
  return { pen, width };
}

/** @param {(number | null)[]} values */
const known = (values) => /** @type {number[]} */ (values.filter((value) => value !== null && Number.isFinite(value)));

/**
 * A number with three digits, as short as can be.
 * @param {number} value
 */
const written = (value) => {
  const size = Math.abs(value);
  return size && (size >= 1e6 || size < 1e-4) ? value.toExponential(1) : value.toLocaleString("en", { maximumSignificantDigits: 3, useGrouping: false });
};

/**
 * Lines, and bands between two lines, over steps.
 * @param {HTMLCanvasElement} canvas
 * @param {Line[]} lines
 * @param {{bands?: Band[], ends?: string[], height?: number, from?: number, to?: number}} options
 */
export function drawLines(canvas, lines, { bands = [], ends = ["", ""], height = 180, from, to } = {}) {
  const { pen, width } = prepare(canvas, height);
  const all = known([...lines.flatMap((line) => line.values), ...bands.flatMap((band) => [...band.low, ...band.high])]);
  const low = from ?? Math.min(...all, 0);
  const top = to ?? Math.max(...all, low);
  const high = top > low ? top : low + 1;
  const count = Math.max(2, ...lines.map((line) => line.values.length));
  const marks = [low, (low + high) / 2, high];
  const left = Math.max(52, ...marks.map((mark) => pen.measureText(written(mark)).width + 12));
  const box = { left, right: width - 8, top: 8, bottom: height - 20 };
  const x = (/** @type {number} */ at) => box.left + ((box.right - box.left) * at) / (count - 1);
  const y = (/** @type {number} */ value) => box.bottom - ((box.bottom - box.top) * (value - low)) / (high - low || 1);
  pen.fillStyle = css("--soft");
  pen.textAlign = "right";
  for (const value of marks) pen.fillText(written(value), box.left - 6, y(value) + 4);
  pen.fillText(ends[1], box.right, height - 5);
  pen.textAlign = "left";
  pen.fillText(ends[0], box.left, height - 5);
  bands.forEach((band, number) => {
    pen.fillStyle = css(`--c${number % COLOURS}`);
    pen.globalAlpha = 0.2;
    pen.beginPath();
    band.high.forEach((value, at) => value !== null && pen.lineTo(x(at), y(value)));
    band.low.map((value, at) => /** @type {const} */ ([value, at])).reverse()
      .forEach(([value, at]) => value !== null && pen.lineTo(x(at), y(value)));
    pen.fill();
    pen.globalAlpha = 1;
  });
  lines.forEach((line, number) => {
    pen.strokeStyle = pen.fillStyle = css(`--c${number % COLOURS}`);
    pen.lineWidth = 1.8;
    pen.setLineDash(line.dashed ? [5, 4] : []);
    pen.beginPath();
    let isDown = false;
    line.values.forEach((value, at) => {
      if (value === null || !Number.isFinite(value)) isDown = false;
      else if (isDown) pen.lineTo(x(at), y(value));
      else {
        pen.moveTo(x(at), y(value));
        pen.fillRect(x(at) - 1.5, y(value) - 1.5, 3, 3);
        isDown = true;
      }
    });
    pen.stroke();
  });
  return { x, y, low, high, count, box };
}

/**
 * Units × steps as colours: blue below zero, orange above it. Returns the height of one unit.
 * @param {HTMLCanvasElement} canvas
 * @param {number[][]} columns one for each step
 * @param {number[]} order of the units
 */
export function drawHeat(canvas, columns, order) {
  const units = order.length;
  const cell = Math.max(2, Math.min(14, Math.floor(420 / units)));
  const { pen, width } = prepare(canvas, units * cell);
  const scale = Math.max(0, ...columns.map((column) => Math.max(...column.map(Math.abs))));
  const step = Math.min(24, width / columns.length);
  columns.forEach((column, at) => {
    order.forEach((unit, row) => {
      const value = scale ? column[unit] / scale : 0;
      const strength = Math.round(100 * Math.sqrt(Math.abs(value)));
      pen.fillStyle = `color-mix(in srgb, ${value < 0 ? "#2f8fd0" : "#e07b16"} ${strength}%, ${css("--panel")})`;
      pen.fillRect(at * step, row * cell, Math.ceil(step), cell);
    });
  });
  return { cell, step, scale };
}

/**
 * A list of what the lines mean.
 * @param {string[]} labels
 * @param {(item: HTMLElement, number: number) => void} [decorate]
 */
export function legend(labels, decorate) {
  const list = document.createElement("ul");
  list.className = "legend";
  labels.forEach((label, number) => {
    const item = document.createElement("li");
    const mark = document.createElement("span");
    mark.textContent = "■ ";
    mark.style.color = `var(--c${number % COLOURS})`;
    item.append(mark, label);
    decorate?.(item, number);
    list.append(item);
  });
  return list;
}
