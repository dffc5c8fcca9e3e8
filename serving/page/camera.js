// The camera: JPEG frames over a websocket, one at a time, and the answers over the picture.

import { connection, retryIn } from "./api.js";
import { bars } from "./bars.js";
import { bdi, byId, h, percent, say, sentence } from "./dom.js";
import { askForKey, key } from "./key.js";

const WIDTH = 320; // pixels of a frame that is sent
const QUALITY = 0.8;
const LEAST_MS = 40; // between frames
const SILENCE_MS = 20_000; // after which a connection counts as broken
const MOST_BARS = 4;
const WHO = "live";

const FORBIDDEN = 1008;
const NEW_MODEL = 1012;
const FULL = 1013;

/** Show the camera and its answers in its section, until somebody stops it. */
export async function camera(stopped) {
  const section = byId("camera");
  const video = h("video", { playsinline: true, "aria-label": "The camera's picture" });
  video.muted = true;
  const label = h("p", { class: "answer" }, "Connecting…");
  const rows = bars();
  const latency = h("p", { class: "faint" });
  const problem = h("p", { class: "error", role: "alert", hidden: true });
  const stopping = new AbortController();
  const stop = () => {
    stopping.abort();
    section.hidden = true;
    section.replaceChildren();
    stopped();
  };
  section.replaceChildren(
    h(
      "header",
      {},
      h("h2", { id: "camera-title" }, "The camera"),
      h("button", { type: "button", onclick: stop }, "Stop"),
    ),
    problem,
    h(
      "div",
      { class: "live" },
      video,
      h("div", { class: "over" }, label, rows.element),
    ),
    latency,
    h("p", { class: "faint" }, "Pictures are sent to this service for its answers, and are not kept."),
  );
  section.hidden = false;
  const tell = (text) => {
    problem.hidden = !text;
    problem.textContent = text ?? "";
  };

  let stream;
  try {
    stream = await pictures();
  } catch (error) {
    tell(error.message);
    section.querySelector(".live").hidden = true;
    return;
  }
  stopping.signal.addEventListener("abort", () => {
    stream.getTracks().forEach((track) => track.stop());
    connection(WHO, null);
  });
  if (stopping.signal.aborted) return;
  stream.getVideoTracks()[0].addEventListener("ended", () => tell("The camera was taken away."));
  video.srcObject = stream;
  await video.play();

  const times = [];
  let last = null;
  function answered(answer, milliseconds) {
    if (answer.error) {
      tell(sentence(answer.error));
      return;
    }
    tell(null);
    times.push(milliseconds);
    if (times.length > 20) times.shift();
    const median = times.toSorted((one, other) => one - other)[times.length >> 1];
    latency.textContent = `From a picture to its answer: ${Math.round(median)} ms.`;
    if (answer.label == null) {
      label.textContent = "Watching…";
      return;
    }
    rows.show(answer.top.slice(0, MOST_BARS).map((one) => [one.label, one.confidence]), answer.label);
    label.replaceChildren(
      h("strong", {}, bdi(answer.label)),
      h("span", { class: "share" }, ` ${percent(answer.probability)}`),
    );
    if (answer.label !== last) say(answer.label);
    last = answer.label;
  }

  for (let tries = 0; !stopping.signal.aborted; ) {
    const { ready, code, said } = await converse(video, answered, stopping.signal);
    if (stopping.signal.aborted) return;
    if (ready) tries = 0;
    try {
      if (code === FORBIDDEN) await askForKey(said ?? "This service asks for a key");
      else if (code === NEW_MODEL) await retryIn(WHO, 0, stopping.signal);
      else {
        tell(code === FULL ? sentence(said ?? "too many cameras are connected") : null);
        await retryIn(WHO, tries, stopping.signal);
      }
    } catch {
      return; // stopped meanwhile
    }
    tries += 1;
  }
}

/** The camera's stream. Throws an Error that says what is wrong. */
async function pictures() {
  if (!navigator.mediaDevices) {
    throw new Error("Browsers open the camera only for pages over https, or from this very machine.");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: 640 }, facingMode: "environment" },
      audio: false,
    });
  } catch (error) {
    const why = {
      NotAllowedError: "The camera is forbidden: allow it for this page, and use it again.",
      NotFoundError: "This device has no camera.",
      NotReadableError: "Another program uses the camera: close that, and use it again.",
    };
    throw new Error(why[error.name] ?? sentence(`The camera cannot be used: ${error.message}`));
  }
}

/** Send frames until the connection ends; gives how it ended. */
function converse(video, answered, signal) {
  const address = new URL("live", document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const canvas = h("canvas");
  const picture = canvas.getContext("2d");
  const socket = new WebSocket(address);
  let ready = false;
  let said = null;
  let sent = 0;
  let timer = 0;
  let silence = 0;

  const expect = () => {
    clearTimeout(silence);
    silence = setTimeout(() => socket.close(), SILENCE_MS);
  };
  function send() {
    if (socket.readyState !== WebSocket.OPEN) return;
    canvas.width = Math.min(WIDTH, video.videoWidth);
    canvas.height = Math.round((canvas.width * video.videoHeight) / video.videoWidth);
    picture.drawImage(video, 0, 0, canvas.width, canvas.height);
    canvas.toBlob(
      (frame) => {
        if (socket.readyState !== WebSocket.OPEN) return;
        sent = performance.now();
        socket.send(frame);
        expect();
      },
      "image/jpeg",
      QUALITY,
    );
  }

  return new Promise((resolve) => {
    const abort = () => socket.close();
    signal.addEventListener("abort", abort);
    expect();
    socket.onopen = () => socket.send(JSON.stringify({ key: key() }));
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (!ready) {
        if (message.error) said = message.error;
        else {
          ready = true;
          connection(WHO, null);
          send();
        }
        return;
      }
      const took = performance.now() - sent;
      answered(message, took);
      timer = setTimeout(send, Math.max(0, LEAST_MS - took));
    };
    socket.onclose = ({ code }) => {
      clearTimeout(timer);
      clearTimeout(silence);
      signal.removeEventListener("abort", abort);
      resolve({ ready, code, said });
    };
  });
}
