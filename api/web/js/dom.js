// Makes elements and finds them. Texts become text nodes, never markup, so nothing that is shown can run.

export const byId = (id) => document.getElementById(id);

/** An element; properties beginning with "on" are listeners, null and false leave an attribute out. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if ((value ?? false) !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** One of a group of radio buttons. */
export function choice(group, value, words, isChosen, choose) {
  const radio = h("input", { type: "radio", name: group, value, onchange: () => choose(value) });
  radio.checked = isChosen;
  return h("label", { class: "choice" }, radio, h("span", {}, words));
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, properties = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** One of the symbols in index.html, for the eye only. */
export function icon(name) {
  return svg("svg", { class: `icon icon-${name}`, "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

/** Change a text only if it is another one: a live region would else read it out again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Words of which some are meant for a terminal, between backticks: those as code. */
export function setCoded(element, text) {
  if (element.dataset.text === text) return;
  element.dataset.text = text;
  element.replaceChildren(...coded(text));
}

export const coded = (text) => text.split("`").map((part, place) => (place % 2 ? h("code", {}, part) : part));

export function setBar(bar, percent) {
  bar.setAttribute("aria-valuenow", Math.round(percent));
  bar.firstElementChild.style.width = `${percent}%`;
}

/** Say something to those who use a screen reader. */
export function announce(text) {
  byId("announcer").append(h("p", {}, text));
  while (byId("announcer").children.length > 3) byId("announcer").firstElementChild.remove();
}

const LONG = 500; // characters, from which a text scrolls within its box

/** What lets the keyboard scroll a long text; shorter ones need no stop on the way of the Tab key. */
export const scrolling = (text, label) => (text.length > LONG ? { tabindex: "0", role: "group", "aria-label": label } : {});

export const calmly = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
