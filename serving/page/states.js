// What is being done for a video, or why it could not be done.

import { Broken, Refused } from "./api.js";
import { h, say, sentence } from "./dom.js";

/** The states of a video of that name, in an element. */
export function states(name) {
  const element = h("div", { class: "states" });

  const clear = () => element.replaceChildren();

  /** Show what is being done; `share` of it, or null for nobody knows. */
  function working(text, share = null, stop = null) {
    let [line, bar] = element.children;
    if (bar?.tagName !== "PROGRESS") {
      line = h("p", { class: "state" });
      bar = h("progress", { max: 1 });
      element.replaceChildren(line, bar);
      if (stop) element.append(h("button", { type: "button", onclick: stop }, "Cancel"));
    }
    line.textContent = text;
    bar.setAttribute("aria-label", text);
    if (share == null) bar.removeAttribute("value");
    else bar.value = share;
  }

  function failed(error, again) {
    const text = sentence(error.message);
    const more = error instanceof Broken ? " Is it running? Try again when it is." : "";
    say(`${name}: ${text}${more}`);
    element.replaceChildren(
      h("p", { class: "error" }, text + more),
      // a refusal of this very video would come again
      ...(error instanceof Refused && error.status < 429
        ? []
        : [h("button", { type: "button", onclick: again }, "Try again")]),
    );
  }

  function ended(text) {
    element.replaceChildren(h("p", { class: "state" }, text));
    say(text);
  }
  return { element, clear, working, failed, ended };
}
