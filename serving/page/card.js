// A card of the page: a video's name, what there is about it, and a button to remove it.

import { bdi, byId, h, say } from "./dom.js";

let count = 0;

/** A card for a video of that name; `closed` is called when somebody removes it. */
export function card(name, closed, ...children) {
  count += 1;
  const title = `video-${count}`;
  const element = h(
    "article",
    { class: "card", "aria-labelledby": title },
    h(
      "header",
      {},
      h("h3", { id: title }, bdi(name)),
      h(
        "button",
        { type: "button", class: "quiet", "aria-label": `Remove ${name}`, onclick: remove },
        "Remove",
      ),
    ),
    ...children,
  );

  function remove() {
    closed();
    const next = element.nextElementSibling ?? element.previousElementSibling;
    element.remove();
    (next?.querySelector("button.quiet") ?? byId("choose")).focus();
    say(`${name} is removed.`);
  }
  return element;
}
