// A band of coloured segments with a playhead: a slider for mouse, finger and keyboard.

import { bars } from "./bars.js";
import { paint } from "./colours.js";
import { csv } from "./csv.js";
import { bdi, clock, download, h, percent } from "./dom.js";

const MOST_BARS = 6;

/**
 * A band for segments [{start, end, label, probability}] of a video that lasts `seconds`.
 *
 * `seek(time)` is called when somebody chooses a time; `moved(time)` moves the playhead. An arrow
 * key moves by `step` seconds.
 */
export function band({ segments, seconds, step, name, seek }) {
  const tenths = seconds < 60;
  const head = h("span", { class: "playhead" });
  const slider = h(
    "div",
    {
      class: "band",
      role: "slider",
      tabindex: 0,
      "aria-label": `Timeline of ${name}`,
      "aria-orientation": "horizontal",
      "aria-valuemin": 0,
      "aria-valuemax": seconds.toFixed(2),
    },
    ...segments.map((segment) => piece(segment, seconds)),
    head,
  );
  const time = h("span", { class: "time" });
  const label = h("span", { class: "label" });
  const element = h("div", { class: "timeline" }, slider, h("p", { class: "now" }, time, label));
  let at = 0;

  const here = () => Math.max(0, segments.findLastIndex(({ start }) => start <= at + 1e-6));

  function moved(to) {
    at = Math.min(Math.max(to, 0), seconds);
    const segment = segments[here()];
    head.style.left = `${(100 * at) / seconds}%`;
    time.textContent = `${clock(at, tenths)} / ${clock(seconds, tenths)}`;
    if (label.textContent !== segment.label) label.replaceChildren(bdi(segment.label));
    slider.setAttribute("aria-valuenow", at.toFixed(2));
    slider.setAttribute("aria-valuetext", `${clock(at, tenths)}, ${segment.label}`);
  }

  function choose(to) {
    moved(to);
    seek(at);
  }

  const toPointer = (event) => {
    const { left, width } = slider.getBoundingClientRect();
    choose((seconds * (event.clientX - left)) / width);
  };
  slider.addEventListener("pointerdown", (event) => {
    slider.setPointerCapture(event.pointerId);
    toPointer(event);
  });
  slider.addEventListener("pointermove", (event) => {
    if (slider.hasPointerCapture(event.pointerId)) toPointer(event);
  });
  const keys = {
    ArrowLeft: () => at - step,
    ArrowDown: () => at - step,
    ArrowRight: () => at + step,
    ArrowUp: () => at + step,
    // to the start of this segment, and from there to the one before
    PageDown: () => segments[at - segments[here()].start > step / 2 ? here() : Math.max(0, here() - 1)].start,
    PageUp: () => segments[here() + 1]?.start ?? seconds,
    Home: () => 0,
    End: () => seconds,
  };
  slider.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    choose(keys[event.key]());
  });
  moved(0);
  return { element, moved, choose };
}

function piece({ start, end, label, probability }, seconds) {
  const element = h(
    "span",
    { class: "segment", "aria-hidden": "true", title: `${label}, ${percent(probability)}` },
    bdi(label),
  );
  element.style.left = `${(100 * start) / seconds}%`;
  element.style.width = `${(100 * (end - start)) / seconds}%`;
  return paint(element, label);
}

/** A list of the segments, each a button that seeks. */
export function listed(segments, choose) {
  const tenths = segments.at(-1).end < 60;
  const button = ({ start, end, label, probability }) =>
    h(
      "li",
      {},
      paint(
        h(
          "button",
          { type: "button", onclick: () => choose(start) },
          h("span", { class: "swatch", "aria-hidden": "true" }),
          h("span", { class: "time" }, `${clock(start, tenths)}–${clock(end, tenths)} `),
          bdi(label),
          h("span", { class: "share" }, ` ${percent(probability)}`),
        ),
        label,
      ),
    );
  const count = segments.length === 1 ? "1 segment" : `${segments.length} segments`;
  return h(
    "details",
    { class: "segments" },
    h("summary", {}, count),
    h("ol", {}, ...segments.map(button)),
  );
}

/** Bars that show the moment of a timeline at a time. */
export function following({ labels, moments }) {
  const { element, show } = bars();
  const peaks = labels.map((label, place) => [
    place,
    moments.reduce((most, { probabilities }) => Math.max(most, probabilities[place]), 0),
  ]);
  // the same rows at all times: only the bars move
  const kept = peaks
    .sort(([, one], [, other]) => other - one)
    .slice(0, MOST_BARS)
    .map(([place]) => place);
  let last = -1;

  function moved(time) {
    const place = at(moments, time);
    if (place === last) return;
    last = place;
    const { label, probabilities } = moments[place];
    const named = labels.indexOf(label);
    const rows = kept.includes(named) ? kept : [...kept.slice(0, -1), named];
    show(rows.map((row) => [labels[row], probabilities[row]]), label);
  }
  moved(0);
  return { element, moved };
}

/** The place of the last moment that begins by `time`: moments are in order, and may be many. */
function at(moments, time) {
  let low = 0;
  let high = moments.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (moments[middle].start <= time + 1e-6) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Save a timeline as `kinoflow predict --timeline -o moments.csv` writes it. */
export function save(name, { labels, moments }) {
  const head = ["start", "end", "label", "probability", ...labels.map((label) => `p_${label}`)];
  const rows = moments.map(({ start, end, label, probabilities }) => [
    ...[start, end, label, probabilities[labels.indexOf(label)]],
    ...probabilities,
  ]);
  download(`${name.replace(/\.[^.]+$/, "") || "video"}-timeline.csv`, csv([head, ...rows]), "text/csv");
}

/** What a timeline shows, the longest first: [label, share of the time]. */
export function shares({ segments, seconds }) {
  const sums = new Map();
  for (const { start, end, label } of segments) {
    sums.set(label, (sums.get(label) ?? 0) + (end - start) / seconds);
  }
  return [...sums].sort(([, one], [, other]) => other - one);
}
