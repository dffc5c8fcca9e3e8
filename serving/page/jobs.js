// Long videos: the service works on them while the page asks how far it is. The page keeps the ids
// of what it waits for, so that loading it again loses nothing.

import { ask, askPatiently, form, Refused } from "./api.js";
import { pause, percent } from "./dom.js";
import { keep, rows } from "./storage.js";

const NAME = "kinoflow.jobs";
const FIRST_PAUSE_MS = 300;
const LONGEST_PAUSE_MS = 2000;

const tab = () => sessionStorage;

/** The jobs that this tab sent and has not shown yet: [{id, name}]. */
export const pending = () => rows(tab, NAME);

const forget = ({ id }) =>
  keep(tab, NAME, pending().filter((job) => job.id !== id));

/** Send a video as a job, and give the job. */
export async function submit(file, options) {
  const { response } = await ask("POST", "jobs", { body: form(file), ...options });
  const job = JSON.parse(await response.text());
  keep(tab, NAME, [...pending(), { id: job.id, name: file.name }]);
  return job;
}

/**
 * Wait until a job has ended, and give its timeline; `working(text, share)` is called meanwhile.
 * Whether it has done what it should or not, it is not waited for again.
 */
export async function finished(job, signal, working) {
  try {
    const timeline = await ended(job, signal, working);
    forget(job);
    return timeline;
  } catch (error) {
    if (error instanceof Refused) forget(job);
    throw error;
  }
}

async function ended(job, signal, working) {
  const path = `jobs/${encodeURIComponent(job.id)}`;
  for (let wait = FIRST_PAUSE_MS; ; wait = Math.min(1.3 * wait, LONGEST_PAUSE_MS)) {
    await pause(wait, signal);
    const now = await askPatiently("GET", path, signal);
    if (now.state === "queued") working("The service has longer videos before this one", null);
    else working(`The timeline is being made: ${percent(now.progress)}`, now.progress);
    if (now.state === "done") return now.result;
    if (now.state === "failed") throw new Refused(422, now.error ?? "the service could not do it");
    if (now.state === "cancelled") throw new Refused(410, "somebody cancelled it");
  }
}

/** Have the service give a job up. */
export async function cancel(job) {
  forget(job);
  try {
    await askPatiently("DELETE", `jobs/${encodeURIComponent(job.id)}`);
  } catch (error) {
    if (!(error instanceof Refused)) throw error; // it has ended, or is gone
  }
}
