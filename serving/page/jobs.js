// Long videos: the service works on them while the page asks how far it is.

import { ask, askPatiently, form, Refused } from "./api.js";
import { pause } from "./dom.js";

const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 2000;

/** Send a video as a job, and give the job. */
export async function submit(file, options) {
  const { response } = await ask("POST", "jobs", { body: form(file), ...options });
  return JSON.parse(await response.text());
}

/** Wait until a job has ended, and give its timeline; `progress(share, state)` is called meanwhile. */
export async function finished(job, signal, progress) {
  const path = `jobs/${encodeURIComponent(job.id)}`;
  for (let wait = FIRST_PAUSE_MS; ; wait = Math.min(1.3 * wait, LONGEST_PAUSE_MS)) {
    await pause(wait, signal);
    const now = await askPatiently("GET", path, signal);
    progress(now.progress, now.state);
    if (now.state === "done") return now.result;
    if (now.state === "failed") throw new Refused(422, now.error ?? "the service could not do it");
    if (now.state === "cancelled") throw new Refused(410, "somebody cancelled it");
  }
}

/** Have the service give a job up. */
export async function cancel(job) {
  try {
    await askPatiently("DELETE", `jobs/${encodeURIComponent(job.id)}`);
  } catch (error) {
    if (!(error instanceof Refused)) throw error; // it has ended, or is gone
  }
}
