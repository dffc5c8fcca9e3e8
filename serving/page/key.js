// The key of a service that demands one: kept until the tab is closed.

import { byId, say, sentence } from "./dom.js";

const NAME = "kinoflow.key";
const NEEDED = "This service asks for a key: get one from whoever runs it.";
let memory = null;
let asked = null;

export function key() {
  try {
    return sessionStorage.getItem(NAME) ?? memory;
  } catch {
    return memory; // storage is forbidden
  }
}

/**
 * Ask for a key and wait for it; those who ask at the same time share the answer. `why` is what the
 * service says against the key that there is.
 */
export function askForKey(why) {
  asked ??= new Promise((resolve) => {
    const form = byId("key");
    const text = key() == null ? NEEDED : sentence(why);
    byId("key-why").textContent = text;
    form.hidden = false;
    byId("key-value").focus();
    say(text);
    form.onsubmit = (event) => {
      event.preventDefault();
      memory = byId("key-value").value.trim();
      byId("key-value").value = "";
      form.hidden = true;
      try {
        sessionStorage.setItem(NAME, memory);
      } catch {
        // it holds for this page then
      }
      asked = null;
      resolve();
    };
  });
  return asked;
}
