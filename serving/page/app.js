// The page: where videos come in, and what becomes of them.

import { askPatiently } from "./api.js";
import { camera } from "./camera.js";
import { byId, say } from "./dom.js";
import { showHistory } from "./history.js";
import { pending } from "./jobs.js";
import { showModel } from "./model.js";
import { jobCard } from "./resumed.js";
import { turns } from "./turns.js";
import { videoCard } from "./video.js";

const inTurn = turns(2);
const model = askPatiently("GET", "model");

function add(files) {
  for (const file of files) byId("answers").prepend(videoCard(file, inTurn, model));
  if (files.length > 1) say(`${files.length} videos are sent, two at a time.`);
}

byId("choose").addEventListener("click", () => byId("files").click());
byId("files").addEventListener("change", (event) => {
  add([...event.target.files]);
  // so that the same file can be chosen again
  event.target.value = "";
});

const carries = (event) => event.dataTransfer?.types.includes("Files");
let depth = 0; // dragging enters children, too
const over = (more) => {
  depth = Math.max(0, depth + more);
  byId("drop").classList.toggle("over", depth > 0);
};
addEventListener("dragenter", (event) => carries(event) && over(1));
addEventListener("dragleave", (event) => carries(event) && over(-1));
// anywhere on the page: a file beside the field would otherwise replace the page
addEventListener("dragover", (event) => carries(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!carries(event)) return;
  event.preventDefault();
  over(-depth);
  const items = [...event.dataTransfer.items].filter(
    (item) => item.kind === "file" && !item.webkitGetAsEntry?.()?.isDirectory,
  );
  if (items.length) add(items.map((item) => item.getAsFile()));
  else say("Folders cannot be dropped here: choose the videos in them.");
});

byId("use-camera").addEventListener("click", (event) => {
  const button = event.currentTarget;
  button.disabled = true;
  camera(() => {
    button.disabled = false;
    button.focus();
  });
});

showHistory();
byId("answers").prepend(...pending().map(jobCard).reverse());
model.then(showModel, (error) => {
  byId("model").textContent = `The model card could not be read: ${error.message}.`;
});
