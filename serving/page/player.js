// A video that plays: the file itself or, where the browser cannot play it, a copy of the service.

import { ask, form } from "./api.js";
import { h, sentence } from "./dom.js";

/**
 * A player of a file; `moved(time)` is called as it plays, and after each seek. `inTurn` bounds how
 * many files are sent at a time.
 */
export function player(file, inTurn, moved) {
  const video = h("video", {
    controls: true,
    playsinline: true,
    preload: "auto",
    "aria-label": file.name,
  });
  const note = h("p", { class: "note", hidden: true });
  const element = h("div", { class: "player empty" }, video, note);
  const urls = [URL.createObjectURL(file)];
  let frame = 0;

  const tell = (text) => {
    note.hidden = !text;
    note.textContent = text ?? "";
  };
  // smooth while it plays: `timeupdate` comes four times a second
  const follow = () => {
    moved(video.currentTime);
    if (!video.paused && !video.ended) frame = requestAnimationFrame(follow);
  };
  video.addEventListener("play", follow);
  for (const event of ["timeupdate", "seeking", "seeked", "pause"]) {
    video.addEventListener(event, () => moved(video.currentTime));
  }
  const playable = loaded(video, urls[0]).then((can) => {
    if (can) element.classList.remove("empty");
    else tell("This browser cannot play this format.");
    return can;
  });

  let preparing = null;

  /** Whether it can be played, after asking the service for a copy if need be. */
  function prepare(signal) {
    preparing ??= copy(signal).then((can) => {
      if (!can) preparing = null; // to be asked again
      return can;
    });
    return preparing;
  }

  async function copy(signal) {
    if (await playable) return true;
    tell("This browser cannot play this format: the service makes a copy that it can play.");
    try {
      const options = {
        body: form(file),
        signal,
        waiting: (seconds) => tell(`The copy to play has to wait: ${Math.ceil(seconds)} s.`),
      };
      const { response } = await inTurn(() => ask("POST", "preview", options), signal);
      urls.push(URL.createObjectURL(response));
      if (!(await loaded(video, urls[1]))) throw new Error("the browser cannot play the copy");
    } catch (error) {
      if (signal.aborted) throw error;
      tell(sentence(`This video cannot be played here: ${error.message}`));
      return false;
    }
    element.classList.remove("empty");
    tell(null);
    return true;
  }

  function seek(time) {
    if (video.readyState) video.currentTime = time;
    else moved(time);
  }

  function close() {
    cancelAnimationFrame(frame);
    video.pause();
    video.removeAttribute("src");
    urls.forEach((url) => URL.revokeObjectURL(url));
  }
  return { element, video, playable, prepare, seek, close };
}

/** Load it, and say whether there are pictures to play. */
function loaded(video, url) {
  return new Promise((resolve) => {
    video.onloadedmetadata = () => resolve(video.videoWidth > 0);
    video.onerror = () => resolve(false);
    video.src = url;
  });
}

/** How long a loaded video lasts in seconds; null if the browser does not know. */
export function duration(video) {
  return Number.isFinite(video.duration) && video.duration > 0 ? video.duration : null;
}
