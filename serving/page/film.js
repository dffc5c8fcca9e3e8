// A film that the service makes of a video: asked for, waited for, cancelled and shown.

import { ask, form } from "./api.js";
import { h, say, sentence } from "./dom.js";

/**
 * Have the service make films of a file, one at a time; each replaces what `element` holds.
 *
 * options of `make`:
 * path, fields: the request; doing: a sentence while it waits; name: of that waiting, for screen
 * readers; missing: how the sentence about a failure begins; show(url, request): fills `element`
 */
export function filmMaker(file, element, signal) {
  let url = null;
  let current = null;
  element.setAttribute("aria-busy", "false");

  async function make({ path, fields, doing, name, missing, show }) {
    current?.abort();
    const stop = new AbortController();
    current = stop;
    const text = h("p", { class: "state" }, doing);
    element.setAttribute("aria-busy", "true");
    element.replaceChildren(
      text,
      h("progress", { "aria-label": name }),
      h("button", { type: "button", onclick: () => stop.abort() }, "Cancel"),
    );
    try {
      const request = await ask("POST", path, {
        body: form(file, fields),
        signal: AbortSignal.any([signal, stop.signal]),
        waiting: (seconds) => {
          text.textContent = `The service is busy: trying again in ${Math.ceil(seconds)} s.`;
        },
      });
      if (url) URL.revokeObjectURL(url);
      url = URL.createObjectURL(request.response);
      show(url, request);
      element.scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
    } catch (error) {
      if (current !== stop) return;
      const failed = sentence(`${missing}: ${error.message}`);
      element.replaceChildren(...(stop.signal.aborted ? [] : [h("p", { class: "error" }, failed)]));
      if (!stop.signal.aborted) say(failed);
    } finally {
      if (current === stop) element.setAttribute("aria-busy", "false");
    }
  }

  const close = () => url && URL.revokeObjectURL(url);
  return { make, close };
}

/** Whether the reader wants nothing to move by itself. */
export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** A film without the browser's own controls, and without sound. */
export function film(url, name) {
  const element = h("video", { playsinline: true, "aria-label": name, src: url });
  element.muted = true;
  return element;
}

/** A button that plays and pauses a film. */
export function turnButton(shown) {
  const turn = h("button", {
    type: "button",
    onclick: () => (shown.paused ? shown.play() : shown.pause()),
  });
  const name = () => (turn.textContent = shown.paused ? "Play" : "Pause");
  shown.addEventListener("play", name);
  shown.addEventListener("pause", name);
  name();
  return turn;
}
