// Tables as CSV (RFC 4180), for spreadsheets too.

/**
 * Rows as CSV. Texts that a spreadsheet would take for a formula get an apostrophe in front, since
 * a video's name may come from anybody.
 */
export function csv(rows) {
  // the mark at the start tells Excel that it is UTF-8
  return `\ufeff${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

function cell(value) {
  if (value == null) return "";
  if (typeof value === "number") return String(value);
  const text = /^\s*[=+\-@\t\r＝＋－＠]/.test(value) ? `'${value}` : value;
  return /[",\r\n']/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
