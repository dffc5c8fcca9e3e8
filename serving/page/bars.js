// Labels with their probabilities as bars.

import { paint } from "./colours.js";
import { bdi, h, percent } from "./dom.js";

/** Bars; `show(guesses, shown)` takes [label, probability] and the label that counts. */
export function bars() {
  const list = h("ul", { class: "bars", "aria-label": "Probabilities" });
  let rows = [];

  function show(guesses, shown) {
    if (rows.length !== guesses.length) {
      rows = guesses.map(row);
      list.replaceChildren(...rows.map(({ element }) => element));
    }
    guesses.forEach(([label, probability], place) => {
      const { element, name, fill, number } = rows[place];
      if (name.textContent !== label) {
        name.textContent = label;
        paint(element, label);
      }
      element.classList.toggle("shown", label === shown);
      fill.style.width = `${100 * probability}%`;
      number.textContent = percent(probability);
    });
  }
  return { element: list, show };
}

function row() {
  const name = bdi("");
  const fill = h("span", { class: "fill" });
  const number = h("span", { class: "share" });
  const bar = h("span", { class: "bar", "aria-hidden": "true" }, fill);
  return { element: h("li", {}, h("span", { class: "label" }, name), bar, number), name, fill, number };
}

/** The `most` likeliest of a mapping of labels to probabilities, the likeliest first. */
export function likeliest(probabilities, most) {
  return Object.entries(probabilities)
    .sort(([, one], [, other]) => other - one)
    .slice(0, most);
}
