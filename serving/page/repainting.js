// A video repainted by the service, beside the video itself.

import { bdi, clock, h, say } from "./dom.js";
import { calm, film, filmMaker, turnButton } from "./film.js";

const STEPS = 40; // of the arrow keys, from one end of a film to the other

/**
 * A place for a file, repainted in a style; `repaint()` fills it. `playing` is the file's player,
 * which knows whether the browser can play it.
 */
export function repainting(file, style, playing, signal) {
  const element = h("div", { class: "repainting" });
  const films = filmMaker(file, element, signal);

  const repaint = () =>
    films.make({
      path: "style",
      fields: {},
      doing: `The service repaints it in the style ${style}.`,
      name: "Repainting",
      missing: "It was not repainted",
      show,
    });

  function show(url) {
    const after = film(url, `${file.name}, repainted`);
    const before = film(playing.video.src, `${file.name}, as it was sent`);
    const moment = h("input", {
      type: "range",
      min: 0,
      max: 1,
      value: 0,
      "aria-label": "Moment",
      oninput: () => {
        after.pause();
        after.currentTime = moment.value;
      },
    });
    const original = h("figure", {}, before, h("figcaption", {}, "As it was sent"));
    // without pictures of its own, an empty box would stand beside the repainted ones
    original.hidden = true;
    before.onloadedmetadata = () => {
      original.hidden = !before.videoWidth;
      follow();
    };

    /** Have the original show the moment that is repainted; while both play, small gaps are left. */
    function follow() {
      const apart = Math.abs(before.currentTime - after.currentTime);
      if (apart > (after.paused ? 0 : 0.15)) before.currentTime = after.currentTime;
    }
    function told() {
      if (document.activeElement !== moment || !after.paused) moment.value = after.currentTime;
      moment.setAttribute("aria-valuetext", clock(after.currentTime, true));
      follow();
    }
    after.onloadedmetadata = () => {
      moment.max = after.duration;
      moment.step = after.duration / STEPS;
    };
    for (const event of ["timeupdate", "seeked"]) after.addEventListener(event, told);
    after.addEventListener("play", () => {
      follow();
      before.play().catch(() => {}); // it may not be playable, or end earlier
    });
    after.addEventListener("pause", () => before.pause());
    after.addEventListener("ended", () => {
      after.currentTime = 0;
      after.play();
    });

    const save = () => {
      const name = file.name.replace(/\.[^.]*$/, "");
      h("a", { href: url, download: `${name}.${style}.mp4` }).click();
    };
    element.replaceChildren(
      h("h4", {}, "In the style ", bdi(style)),
      h(
        "div",
        { class: "pair" },
        original,
        h("figure", {}, after, h("figcaption", {}, "Repainted")),
      ),
      h(
        "p",
        { class: "row" },
        turnButton(after),
        moment,
        h("button", { type: "button", onclick: save }, "Download the film"),
      ),
    );
    say(`${file.name} is shown repainted.`);
    if (!calm()) after.play().catch(() => {});
  }

  return { element, repaint, close: films.close };
}
