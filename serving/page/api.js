// Requests to the service. Addresses are relative, so that the page works below a proxy's path too.

import { byId, pause } from "./dom.js";
import { askForKey, key } from "./key.js";

/** The service said no; the message is a sentence for people. */
export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

/** There was no answer. */
export class Broken extends Error {}

const LONGEST_WAIT_S = 60;

/**
 * Ask, and give the answer as a Blob with its headers. A service that is busy is asked again after
 * the time that it names, and one that demands a key once there is one.
 *
 * options: body, signal (AbortSignal), sent(share of the body), waiting(seconds until the next try)
 */
export async function ask(method, path, options = {}) {
  for (let tries = 1; ; tries += 1) {
    const used = key();
    const request = await exchange(method, path, used, options);
    if (request.status >= 200 && request.status < 300) return request;
    const text = await reason(request);
    if (request.status === 401) {
      if (used === key()) await askForKey(text);
    } else if ([429, 503].includes(request.status) && request.getResponseHeader("Retry-After")) {
      const named = Number(request.getResponseHeader("Retry-After")) || 1;
      // those who wait for the same service should not all come back at once
      const seconds = Math.min(named * (1 + Math.random() / 2) * Math.sqrt(tries), LONGEST_WAIT_S);
      options.waiting?.(seconds, text);
      await pause(1000 * Math.max(named, seconds), options.signal);
    } else {
      throw new Refused(request.status, text);
    }
  }
}

export async function askJson(method, path, options) {
  return JSON.parse(await (await ask(method, path, options)).response.text());
}

/** GET and DELETE as often as it takes while the connection is broken; the page says so. */
export async function askPatiently(method, path, signal) {
  for (let tries = 0; ; tries += 1) {
    try {
      const answer = await askJson(method, path, { signal });
      connection(path, null);
      return answer;
    } catch (error) {
      if (!(error instanceof Broken)) {
        connection(path, null);
        throw error;
      }
      await retryIn(path, tries, signal);
    }
  }
}

/** Say that the connection is broken, and wait; longer after each try. */
export async function retryIn(who, tries, signal) {
  const seconds = Math.min(2 ** tries, 8);
  connection(who, `There is no connection to the service: trying again in ${seconds} s.`);
  try {
    await pause(1000 * seconds, signal);
  } catch (error) {
    connection(who, null);
    throw error;
  }
}

const broken = new Map();

/** What the page says about the connection that someone uses; null: that it works. */
export function connection(who, text) {
  if (text) broken.set(who, text);
  else broken.delete(who);
  const shown = byId("connection");
  shown.hidden = !broken.size;
  shown.textContent = [...broken.values()].at(-1) ?? "";
}

/** A form with a video and other fields. */
export function form(file, fields = {}) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  data.append("video", file);
  return data;
}

// XMLHttpRequest instead of fetch: only it tells how much of an upload is sent
function exchange(method, path, used, { body, sent, signal }) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const request = new XMLHttpRequest();
    request.open(method, path);
    request.responseType = "blob";
    if (used) request.setRequestHeader("Authorization", `Bearer ${used}`);
    if (body && !(body instanceof FormData)) {
      request.setRequestHeader("Content-Type", "application/json");
    }
    if (sent) {
      request.upload.onprogress = (event) => {
        if (event.lengthComputable) sent(event.loaded / event.total);
      };
    }
    request.onload = () => resolve(request);
    request.onerror = () => reject(new Broken("There is no connection to the service"));
    request.onabort = () => reject(signal?.reason);
    signal?.addEventListener("abort", () => request.abort());
    request.send(body);
  });
}

async function reason(request) {
  try {
    const { error } = JSON.parse(await request.response.text());
    if (typeof error === "string" && error) return error;
  } catch {
    // a proxy's own page, say
  }
  return `The service failed (status ${request.status}): try again later, or see its log`;
}
