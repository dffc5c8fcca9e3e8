// Lists that the browser keeps, in localStorage or in the sessionStorage of a tab.

/** The rows under a name: objects with an id. */
export function rows(storage, name) {
  try {
    const found = JSON.parse(storage().getItem(name) ?? "[]");
    return Array.isArray(found) ? found.filter((row) => row && typeof row.id === "string") : [];
  } catch {
    return []; // nobody else's writing, and no forbidden storage, stops the page
  }
}

/** Keep rows under a name; `storage` is a function, since a browser may forbid even to name it. */
export function keep(storage, name, found) {
  try {
    if (found.length) storage().setItem(name, JSON.stringify(found));
    else storage().removeItem(name);
  } catch {
    // forbidden or full: the page works without
  }
}
