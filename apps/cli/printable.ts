/** Names and messages may hold anything; terminals obey what they are shown. */

/** Control characters in names must not drive the terminal, nor reverse what is read. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- that is what is looked for
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '\uFFFD');
}
