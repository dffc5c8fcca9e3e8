// The model card: what the model is, how good it is, and where it comes from.

import { bdi, byId, h, percent } from "./dom.js";

const MOST_NAMED = 8;
const SIDES = { train: "training", val: "validation", test: "test" };

/** Show on the page which model answers, with a button that opens its card. */
export function showModel(card) {
  const dialog = h(
    "dialog",
    { "aria-labelledby": "card-title", onclick: (event) => event.target === dialog && dialog.close() },
    h(
      "div",
      { class: "sheet" },
      h(
        "header",
        {},
        h("h2", { id: "card-title" }, "Model ", bdi(card.candidate)),
        h("button", { type: "button", onclick: () => dialog.close() }, "Close"),
      ),
      ...scores(card),
      h("h3", {}, "What it knows"),
      h("ul", { class: "labels" }, ...card.labels.map((label) => h("li", {}, bdi(label)))),
      h("h3", {}, "What it sees of a video"),
      h("p", {}, seen(card)),
      h("h3", {}, "Where it comes from"),
      facts(card),
    ),
  );
  document.body.append(dialog);
  byId("model").replaceChildren(
    "The model ",
    bdi(card.candidate),
    ...known(card.labels),
    h("br"),
    h("button", { type: "button", class: "link", onclick: () => dialog.showModal() }, "Model card"),
    " · ",
    h("a", { href: "docs.json" }, "Interface (OpenAPI)"),
  );
}

/** A few of the labels, in a sentence. */
function known(labels) {
  const classes = labels.length === 1 ? "1 action" : `${labels.length} actions`;
  const most = labels.length > MOST_NAMED + 2 ? MOST_NAMED : labels.length;
  const more = most < labels.length ? ` and ${labels.length - most} more` : "";
  const named = labels.slice(0, most).flatMap((label, place) => [place ? ", " : "", bdi(label)]);
  return [` knows ${classes}: `, ...named, `${more}.`];
}

function scores(card) {
  const sides = ["val", "test"].filter((side) => card[side]);
  if (!sides.length) return [];
  const title = (text, kind) => h("th", { scope: "col", class: kind }, text);
  const number = (text) => h("td", { class: "number" }, text);
  const rows = sides.map((side) => {
    const { accuracy, accuracy_low, accuracy_high, top5, f1, ece } = card[side];
    return h(
      "tr",
      {},
      h("th", { scope: "row" }, SIDES[side]),
      h(
        "td",
        { class: "number" },
        percent(accuracy),
        h("small", {}, `${percent(accuracy_low)} to ${percent(accuracy_high)}`),
      ),
      number(percent(top5)),
      number(f1.toFixed(2)),
      number(ece.toFixed(2)),
    );
  });
  const folds = card.folds ? ` Means over ${card.folds} folds.` : "";
  return [
    h("h3", {}, "How good it is"),
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "Scores" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            title("Videos for"),
            ...["Accuracy", "Top 5", "F1", "Calibration error"].map((text) => title(text, "number")),
          ),
        ),
        h("tbody", {}, ...rows),
      ),
    ),
    h("p", { class: "faint" }, `Below the accuracy is its 95% interval.${folds}`),
    ...(card.form ? [h("p", {}, served(card))] : []),
  ];
}

/** What is served in place of the model that the table is about. */
function served({ format, precision, form_test: test }) {
  const found = test
    ? `, which was right for ${percent(test.accuracy)} of the test videos itself (${percent(test.accuracy_low)} to ${percent(test.accuracy_high)})`
    : "";
  return `The table is about the model as it was trained. Served is its form for ${format}, ${precision}${found}.`;
}

function seen({ clip, clip_seconds: seconds, temperature }) {
  const length = seconds ? ` Its training videos last ${Number(seconds.toPrecision(3))} s at the median.` : "";
  const warm = temperature === 1 ? "" : ` Its probabilities are calibrated (temperature ${temperature.toPrecision(3)}).`;
  return `${clip.frames} frames of ${clip.width} × ${clip.height} pixels, sampling “${clip.sampling}”.${length}${warm}`;
}

function facts(card) {
  const changed = card.changed ? ", with files that differ from it" : "";
  const versions = Object.entries(card.versions).map(([name, version]) => `${name} ${version}`);
  const rows = {
    "Git commit": card.commit ? `${card.commit}${changed}` : "none",
    "Data (MD5)": card.data || "unknown",
    "Trained on": card.trained_on.map((side) => SIDES[side] ?? side).join(", "),
    Seed: String(card.seed),
    Bento: card.bento,
    ...(card.form ? { Form: `${card.form} (${card.format}, ${card.precision})` } : {}),
    Device: card.device,
    Libraries: versions.join(", "),
  };
  const pairs = Object.entries(rows).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
  return h("dl", { class: "facts" }, ...pairs);
}
