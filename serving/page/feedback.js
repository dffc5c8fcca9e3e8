// This answer was wrong: it should be another.

import { ask, form } from "./api.js";
import { bdi, h, percent, say, sentence } from "./dom.js";
import { corrected } from "./history.js";

let count = 0;

/** A form for the right label of an answer; `card` is the model's, `done()` closes the form. */
export function feedback(answer, file, card, done) {
  count += 1;
  const id = `right-${count}`;
  const input = h("input", {
    id,
    list: `${id}-labels`,
    maxlength: 200,
    required: true,
    autocomplete: "off",
    dir: "auto",
  });
  const labels = Object.keys(answer.probabilities).filter((label) => label !== answer.label);
  const keep = h("input", { type: "checkbox" });
  const problem = h("p", { class: "error", role: "alert", hidden: true });
  const send = h("button", { class: "main" }, "Send");

  async function submit(event) {
    event.preventDefault();
    const said = { answer: answer.id, label: input.value.trim() };
    if (!said.label) return;
    send.disabled = true;
    problem.hidden = true;
    try {
      await ask("POST", "feedback", { body: keep.checked ? form(file, said) : JSON.stringify(said) });
    } catch (error) {
      problem.textContent = sentence(`It was not kept: ${error.message}`);
      problem.hidden = false;
      send.disabled = false;
      return;
    }
    corrected(answer.id, said.label);
    element.replaceChildren(h("p", {}, "Thank you. It is noted as ", bdi(said.label), "."));
    say(`Thank you. It is noted as ${said.label}.`);
    done(true);
  }

  const element = h(
    "form",
    { class: "feedback", onsubmit: submit },
    h("p", {}, "The answer was ", bdi(answer.label), `, ${percent(answer.confidence)}.`),
    h("label", { for: id }, "What does the video show?"),
    h(
      "span",
      { class: "row" },
      input,
      send,
      h("button", { type: "button", onclick: () => done(false) }, "Cancel"),
    ),
    h(
      "datalist",
      { id: `${id}-labels` },
      ...labels.map((label) => h("option", { value: label })),
    ),
    card?.keep_footage
      ? h("label", { class: "check" }, keep, " The service may keep the video to learn from it")
      : null,
    problem,
  );
  return { element, focus: () => input.focus() };
}
