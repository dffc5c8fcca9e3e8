// This browser's answers: names and labels, no footage.

import { csv } from "./csv.js";
import { bdi, byId, download, h, percent } from "./dom.js";
import { keep, rows } from "./storage.js";

const NAME = "kinoflow.history";
const MOST = 200;

const browser = () => localStorage;
const read = () => rows(browser, NAME);

function write(found) {
  keep(browser, NAME, found);
  show(found);
}

/** Remember an answer; `row` has id, name, label, confidence, and seconds and bento if known. */
export function remember(row) {
  write([{ ...row, time: Date.now() }, ...read()].slice(0, MOST));
}

/** Remember what somebody said the right label is. */
export function corrected(id, label) {
  write(read().map((row) => (row.id === id ? { ...row, right: label } : row)));
}

function save() {
  const head = ["time", "video", "label", "confidence", "right_label", "seconds", "bento", "id"];
  const lines = read().map((row) => [
    new Date(row.time).toISOString(),
    ...[row.name, row.label, row.confidence, row.right, row.seconds, row.bento, row.id],
  ]);
  download("kinoflow-answers.csv", csv([head, ...lines]), "text/csv");
}

function show(found) {
  const section = byId("history");
  section.hidden = !found.length;
  const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const heading = (text, kind) => h("th", { scope: "col", class: kind }, text);
  section.replaceChildren(
    h("h2", { id: "history-title" }, "Earlier answers"),
    h("p", { class: "faint" }, "Only this browser keeps them: names and answers, no footage."),
    h(
      "p",
      { class: "row" },
      h("button", { type: "button", onclick: save }, "Download as CSV"),
      h("button", { type: "button", onclick: () => write([]) }, "Forget them"),
    ),
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "Table of earlier answers" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h("tr", {}, heading("Video"), heading("Answer"), heading("Confidence", "number"), heading("When")),
        ),
        h("tbody", {}, ...found.map((row) => line(row, when))),
      ),
    ),
  );
}

function line(row, when) {
  const right = row.right == null ? null : h("small", {}, "rather ", bdi(row.right));
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, bdi(row.name)),
    h("td", {}, bdi(row.label), right),
    h("td", { class: "number" }, percent(row.confidence)),
    h("td", { class: "when" }, when.format(row.time)),
  );
}

export function showHistory() {
  show(read());
  // another tab has answers too
  addEventListener("storage", (event) => {
    if (event.key === NAME || event.key === null) show(read());
  });
}
