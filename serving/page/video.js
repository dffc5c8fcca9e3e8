// A video on the page: sent, answered, played with its timeline, explained and corrected.

import { ask, form, Refused } from "./api.js";
import { bars, likeliest } from "./bars.js";
import { card } from "./card.js";
import { course, most, saveButton } from "./course.js";
import { bdi, h, percent, say } from "./dom.js";
import { explanation } from "./explanation.js";
import { feedback } from "./feedback.js";
import { remember } from "./history.js";
import { cancel, finished, submit } from "./jobs.js";
import { duration, player } from "./player.js";
import { repainting } from "./repainting.js";
import { states } from "./states.js";
import { band, shares } from "./timeline.js";

const MOST_BARS = 5;
// refusals of /predict that a job may still do: too much for a request, or it took too long
const TOO_LONG = [413, 504];

/**
 * A card for a file. `inTurn` bounds how many are sent at a time; `model` is a promise of the model
 * card, which may fail.
 */
export function videoCard(file, inTurn, model) {
  const closing = new AbortController();
  const followers = [];
  const moved = (time) => followers.forEach((follower) => follower(time));
  const playing = player(file, inTurn, moved);

  const answerLine = h("p", { class: "answer" });
  const state = states(file.name);
  const under = h("div");
  const beside = h("div");
  const tools = h("p", { class: "row tools" });
  const extra = h("div", { class: "extra" });
  const element = card(
    file.name,
    close,
    h(
      "div",
      { class: "columns" },
      h("div", { class: "seen" }, playing.element, under),
      h("div", { class: "said" }, answerLine, state.element, beside, tools),
    ),
    extra,
  );
  let job = null;

  function failed(error, again) {
    state.failed(error, again);
    // what can be neither answered nor played is not worth a black box
    playing.playable.then((can) => element.classList.toggle("plain", !can && !answerLine.textContent));
  }

  const sending = (signal, stop) => ({
    signal,
    sent: (share) =>
      share < 1 ? state.working("Sending", share, stop) : state.working("The model looks at it", null, stop),
    waiting: (seconds) =>
      state.working(`The service is busy: trying again in ${Math.ceil(seconds)} s`, null, stop),
  });

  async function run() {
    element.classList.remove("plain");
    state.clear();
    state.working("Waiting for its turn");
    try {
      const answer = await inTurn(() => predict(), closing.signal);
      state.clear();
      if (answer && !answer.hint) show(answer, answer.timeline);
      else await asJob(answer);
      await playing.prepare(closing.signal);
    } catch (error) {
      if (!closing.signal.aborted) failed(error, run);
    }
  }

  /** The answer of /predict; null for a video that is too long for a request. */
  async function predict() {
    try {
      const { response } = await ask("POST", "predict", {
        body: form(file),
        ...sending(closing.signal),
      });
      return JSON.parse(await response.text());
    } catch (error) {
      if (error instanceof Refused && TOO_LONG.includes(error.status)) return null;
      throw error;
    }
  }

  async function asJob(answer) {
    if (answer) show(answer, null);
    const stopping = new AbortController();
    const signal = AbortSignal.any([closing.signal, stopping.signal]);
    const stop = () => stopping.abort();
    state.clear();
    state.working("It is long: waiting to be sent for a timeline", null, stop);
    try {
      job = await inTurn(() => submit(file, sending(signal, stop)), signal);
      // playing it must not wait for the timeline
      playing.prepare(closing.signal).catch(() => {});
      const timeline = await finished(job, signal, (text, share) => state.working(text, share, stop));
      state.clear();
      show(answer, timeline);
    } catch (error) {
      if (closing.signal.aborted) throw error;
      if (!stopping.signal.aborted) {
        failed(error, () => asJob(answer));
        return;
      }
      state.ended("The timeline was cancelled.");
      if (job) await cancel(job);
    } finally {
      if (!closing.signal.aborted) job = null;
    }
  }

  function show(answer, timeline) {
    const told = timeline ? ofTimeline(timeline, answer) : ofAnswer(answer);
    answerLine.replaceChildren(...told);
    say(`${file.name}: ${answerLine.textContent}`);
    followers.length = 0;
    if (timeline) showTimeline(timeline);
    else showWhole(answer);
    moved(playing.video.currentTime);
    tools.replaceChildren(
      ...(answer ? [explainButton(answer), repaintButton, wrongButton(answer)] : []),
      ...(timeline ? [saveButton(file.name, timeline)] : []),
    );
    if (answer) note(answer);
  }

  const noted = new Set();
  function note(answer) {
    if (noted.has(answer.id)) return;
    noted.add(answer.id);
    const { id, label, confidence, seconds } = answer;
    remember({ id, name: file.name, label, confidence, seconds, bento: answer.model.bento });
  }

  function ofAnswer({ label, confidence }) {
    return [h("strong", {}, bdi(label)), h("span", { class: "share" }, ` ${percent(confidence)}`)];
  }

  function ofTimeline(timeline, answer) {
    const alone = shares(timeline).length === 1;
    return alone && answer?.label === timeline.segments[0].label ? ofAnswer(answer) : most(timeline);
  }

  function showTimeline(timeline) {
    const shown = course(timeline, file.name, playing.seek);
    followers.push(shown.moved);
    under.replaceChildren(...shown.under);
    beside.replaceChildren(...shown.beside);
  }

  /** The answer for a whole video; for a short one with a band, once it is known how long it is. */
  function showWhole(answer) {
    const rows = bars();
    rows.show(likeliest(answer.probabilities, MOST_BARS), answer.label);
    beside.replaceChildren(rows.element);
    under.replaceChildren();
    if (answer.hint) return; // it is not one action
    const draw = () => {
      const seconds = answer.seconds ?? duration(playing.video);
      if (!seconds) return;
      const { label, confidence: probability } = answer;
      const segments = [{ start: 0, end: seconds, label, probability }];
      const strip = band({ segments, seconds, step: seconds / 20, name: file.name, seek: playing.seek });
      followers.splice(0, followers.length, strip.moved);
      under.replaceChildren(strip.element);
      strip.moved(playing.video.currentTime);
    };
    draw();
    playing.video.addEventListener("loadedmetadata", () => {
      if (followers.length === 0) draw();
    });
  }

  const explained = explanation(file, closing.signal);
  function explainButton(answer) {
    return h(
      "button",
      {
        type: "button",
        onclick: () => {
          if (!explained.element.isConnected) extra.append(explained.element);
          explained.explain(answer.label, Object.keys(answer.probabilities));
        },
      },
      "Explain",
    );
  }

  let repainted = null;
  const repaintButton = h("button", { type: "button", hidden: true }, "Repaint");
  model.then(
    ({ style }) => {
      if (style == null) return; // there is no network for it in the Bento
      repainted = repainting(file, style, playing, closing.signal);
      repaintButton.addEventListener("click", () => {
        if (!repainted.element.isConnected) extra.append(repainted.element);
        repainted.repaint();
      });
      repaintButton.hidden = false;
    },
    () => {}, // the page says so where the card would be
  );

  function wrongButton(answer) {
    const button = h("button", { type: "button", class: "wrong", "aria-expanded": "false" }, "Wrong?");
    button.addEventListener("click", async () => {
      button.disabled = true;
      button.setAttribute("aria-expanded", "true");
      const card = await model.catch(() => null);
      const shown = feedback(answer, file, card, (sent) => {
        button.setAttribute("aria-expanded", "false");
        if (sent) return;
        shown.element.remove();
        button.disabled = false;
        button.focus();
      });
      extra.prepend(shown.element);
      shown.focus();
    });
    return button;
  }

  function close() {
    closing.abort();
    if (job) cancel(job).catch(() => {});
    playing.close();
    explained.close();
    repainted?.close();
  }

  run();
  return element;
}
