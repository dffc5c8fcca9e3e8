// Where and when the model found its evidence: a film that the service draws.

import { bdi, h, say } from "./dom.js";
import { calm, film, filmMaker, turnButton } from "./film.js";

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
  const element = h("div", { class: "explanation" });
  const films = filmMaker(file, element, signal);

  const explain = (label, labels) =>
    films.make({
      path: "explain",
      fields: label == null ? {} : { label },
      doing: "The service looks for the evidence.",
      name: "Explaining",
      missing: "There is no explanation",
      show: (url, request) => show(url, request, label, labels),
    });

  function show(url, request, asked, labels) {
    const label = decoded(request.getResponseHeader("X-Kinoflow-Label")) ?? asked ?? "";
    const method = decoded(request.getResponseHeader("X-Kinoflow-Method"));
    const choice = h(
      "select",
      { onchange: () => explain(choice.value, labels) },
      ...labels.map((each) => h("option", { value: each, selected: each === label }, each)),
    );
    // the browser's own controls would lie over the parts of time
    const shown = film(url, `Evidence for ${label}`);
    shown.loop = true;
    shown.autoplay = !calm();
    element.replaceChildren(
      h("h4", {}, "Evidence for ", bdi(label)),
      shown,
      h(
        "p",
        {},
        "Yellow places count much for ",
        bdi(label),
        ", blue ones little",
        method ? ` (${METHODS[method] ?? method})` : "",
        ". Below, orange parts of time speak for it, and blue ones against it.",
      ),
      h(
        "p",
        { class: "row" },
        turnButton(shown),
        h("label", { class: "row" }, "Explain another label ", choice),
      ),
    );
    say(`The evidence for ${label} is shown.`);
  }

  return { element, explain, close: films.close };
}

function decoded(header) {
  try {
    return header && decodeURIComponent(header);
  } catch {
    return header;
  }
}
