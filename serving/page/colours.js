// A hue for each label, the same everywhere on the page; the page's style makes colours of it.

const HUES = [212, 28, 150, 325, 262, 52, 184, 2, 95, 295];
const given = new Map();

/** Give an element the colour of a label. */
export function paint(element, label) {
  if (!given.has(label)) {
    const place = given.size;
    given.set(label, HUES[place] ?? Math.round(place * 137.5) % 360);
  }
  element.style.setProperty("--hue", given.get(label));
  return element;
}
