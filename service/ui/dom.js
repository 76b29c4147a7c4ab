// Small helpers for building the page. They know nothing of the server.

/**
 * An element with attributes, listeners (`onclick`) and children.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") /** @type {any} */ (element)[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/**
 * The element of an id.
 * @param {string} id
 * @returns {any}
 */
export const byId = (id) => document.getElementById(id);

/**
 * @param {Element} parent
 * @param {...(Node | string)} children
 */
export const fill = (parent, ...children) => parent.replaceChildren(...children);

/** @param {number} value */
export const short = (value) => (value === null ? "–" : Number.isInteger(value) ? String(value) : value.toPrecision(4));

/** @param {number} seconds */
export function age(seconds) {
  if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

/**
 * Run an action of the user; its error is shown, and the button waits.
 * @param {() => Promise<void>} action
 */
export function action(action) {
  return async (/** @type {Event} */ event) => {
    const button = /** @type {any} */ (event.currentTarget);
    if (button?.tagName === "BUTTON") button.disabled = true;
    try {
      showProblem("");
      await action();
    } catch (error) {
      showProblem(/** @type {Error} */ (error).message);
    } finally {
      if (button?.tagName === "BUTTON") button.disabled = false;
    }
  };
}

/** @param {string} message */
export function showProblem(message) {
  byId("problem").hidden = !message;
  byId("problem").textContent = message;
}

/**
 * A button that copies a text.
 * @param {() => string} text
 */
export function copyButton(text) {
  const button = h("button", {
    type: "button",
    onclick: async () => {
      await navigator.clipboard.writeText(text());
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    },
  }, "Copy");
  return button;
}

/**
 * Offer bytes as a file.
 * @param {Blob} blob
 * @param {string} name
 */
export function download(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
