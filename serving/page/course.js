// What a timeline shows: its band, its segments, the bars of a moment, and a sentence about it all.

import { bdi, h, percent, sentence } from "./dom.js";
import { band, following, listed, save, shares } from "./timeline.js";

/**
 * The timeline of a video of that name: elements to put under the video and beside it, and
 * `moved(time)`. `seek(time)` is called when somebody chooses a time.
 */
export function course(timeline, name, seek) {
  const strip = band({
    segments: timeline.segments,
    seconds: timeline.seconds,
    step: timeline.window_seconds / 4,
    name,
    seek,
  });
  const rows = following(timeline);
  const problem = timeline.problem && h("p", { class: "caution" }, sentence(timeline.problem));
  return {
    under: [strip.element, listed(timeline.segments, strip.choose), ...(problem ? [problem] : [])],
    beside: [h("h4", {}, "At this moment"), rows.element],
    moved(time) {
      strip.moved(time);
      rows.moved(time);
    },
  };
}

/** What a video shows most, as the children of a line. */
export function most(timeline) {
  const [[label, share], ...others] = shares(timeline);
  if (!others.length) return [h("strong", {}, bdi(label))];
  return [
    h("span", { class: "faint" }, "Most often "),
    h("strong", {}, bdi(label)),
    h("span", { class: "share" }, ` ${percent(share)} of the time`),
  ];
}

export const saveButton = (name, timeline) =>
  h("button", { type: "button", onclick: () => save(name, timeline) }, "Timeline as CSV");
