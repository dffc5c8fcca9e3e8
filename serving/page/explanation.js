// Where and when the model found its evidence: a film that the service draws.

import { ask, form } from "./api.js";
import { bdi, h, say, sentence } from "./dom.js";

const METHODS = {
  gradcam: "Grad-CAM",
  rollout: "attention rollout",
  occlusion: "occlusion",
  integrated_gradients: "integrated gradients",
  gradients: "gradients",
  shap: "expected gradients (SHAP)",
};

/** A place for the explanation of a file; `explain(label, labels)` fills it. */
export function explanation(file, signal) {
  const element = h("div", { class: "explanation", "aria-busy": "false" });
  let url = null;
  let current = null;

  async function explain(label, labels) {
    current?.abort();
    const stop = new AbortController();
    current = stop;
    const text = h("p", { class: "state" }, "The service looks for the evidence.");
    element.setAttribute("aria-busy", "true");
    element.replaceChildren(
      text,
      h("progress", { "aria-label": "Explaining" }),
      h("button", { type: "button", onclick: () => stop.abort() }, "Cancel"),
    );
    try {
      const request = await ask("POST", "explain", {
        body: form(file, label == null ? {} : { label }),
        signal: AbortSignal.any([signal, stop.signal]),
        waiting: (seconds) => {
          text.textContent = `The service is busy: trying again in ${Math.ceil(seconds)} s.`;
        },
      });
      show(request, label, labels);
    } catch (error) {
      if (current !== stop) return;
      const failed = `There is no explanation: ${error.message}`;
      element.replaceChildren(
        ...(stop.signal.aborted ? [] : [h("p", { class: "error" }, sentence(failed))]),
      );
      if (!stop.signal.aborted) say(sentence(failed));
    } finally {
      if (current === stop) element.setAttribute("aria-busy", "false");
    }
  }

  function show(request, asked, labels) {
    const label = decoded(request.getResponseHeader("X-Kinoflow-Label")) ?? asked ?? "";
    const method = decoded(request.getResponseHeader("X-Kinoflow-Method"));
    if (url) URL.revokeObjectURL(url);
    url = URL.createObjectURL(request.response);
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const choice = h(
      "select",
      { onchange: () => explain(choice.value, labels) },
      ...labels.map((each) => h("option", { value: each, selected: each === label }, each)),
    );
    const film = h("video", {
      playsinline: true,
      loop: true,
      autoplay: !calm,
      "aria-label": `Evidence for ${label}`,
      src: url,
    });
    film.muted = true;
    // the browser's own controls would lie over the parts of time
    const turn = h("button", { type: "button", onclick: () => (film.paused ? film.play() : film.pause()) });
    const name = () => (turn.textContent = film.paused ? "Play" : "Pause");
    film.onplay = name;
    film.onpause = name;
    name();
    element.replaceChildren(
      h("h4", {}, "Evidence for ", bdi(label)),
      film,
      h(
        "p",
        {},
        "Yellow places count much for ",
        bdi(label),
        ", blue ones little",
        method ? ` (${METHODS[method] ?? method})` : "",
        ". Below, orange parts of time speak for it, and blue ones against it.",
      ),
      h("p", { class: "row" }, turn, h("label", { class: "row" }, "Explain another label ", choice)),
    );
    say(`The evidence for ${label} is shown.`);
    element.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
  }

  const close = () => url && URL.revokeObjectURL(url);
  return { element, explain, close };
}

function decoded(header) {
  try {
    return header && decodeURIComponent(header);
  } catch {
    return header;
  }
}
