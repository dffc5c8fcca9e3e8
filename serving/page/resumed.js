// A long video that was sent before the page was loaded again: its timeline, without the video.

import { card } from "./card.js";
import { course, most, saveButton } from "./course.js";
import { h, say } from "./dom.js";
import { cancel, finished } from "./jobs.js";
import { states } from "./states.js";

/** A card for a job, {id, name}. */
export function jobCard(job) {
  const closing = new AbortController();
  const state = states(job.name);
  const answerLine = h("p", { class: "answer" });
  const under = h("div");
  const beside = h("div");
  const tools = h("p", { class: "row tools" });
  const element = card(job.name, close, answerLine, state.element, under, beside, tools);

  async function run() {
    state.clear();
    state.working("It was sent before the page was loaded again", null, stop);
    try {
      const timeline = await finished(job, closing.signal, (text, share) =>
        state.working(text, share, stop),
      );
      state.clear();
      show(timeline);
    } catch (error) {
      if (closing.signal.aborted) return;
      state.failed(error, run);
    }
  }

  function show(timeline) {
    const shown = course(timeline, job.name, (time) => shown.moved(time));
    answerLine.replaceChildren(...most(timeline));
    under.replaceChildren(
      ...shown.under,
      h("p", { class: "note" }, "To play it with its timeline, choose the video again."),
    );
    beside.replaceChildren(...shown.beside);
    tools.replaceChildren(saveButton(job.name, timeline));
    say(`${job.name}: ${answerLine.textContent}`);
  }

  function stop() {
    closing.abort();
    state.ended("The timeline was cancelled.");
    cancel(job).catch(() => {});
  }

  function close() {
    if (!closing.signal.aborted && !tools.hasChildNodes()) stop();
  }

  run();
  return element;
}
