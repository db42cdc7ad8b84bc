/** Names and messages may hold anything; terminals obey what they are shown. */

/** Control characters in names must not drive the terminal, nor reverse what is read. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- that is what is looked for
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '\uFFFD');
}

/** Characters of a path that are shown whole. */
const PATH_SHOWN_MAX = 1000;
/** Of a longer one, so many at each end. */
const END_SHOWN = 400;

/** A path in a message: folders in one another may make it longer than anybody reads. */
export function shownPath(path: string): string {
  if (path.length <= PATH_SHOWN_MAX) return printable(path);
  const [start, end] = [path.slice(0, END_SHOWN), path.slice(-END_SHOWN)];
  // A character of two code units may have been cut.
  return printable(`${start}…${end}`.toWellFormed());
}
