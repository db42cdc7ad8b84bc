/** `POINT:PATH`, as people write it. */

/** The item of a point may hold colons, and so may the time after `@`. */
export function splitPointPath(text: string): { readonly name: string; readonly path: string } {
  const at = text.lastIndexOf('@');
  const tail = text.slice(at + 1);
  const time =
    at < 0 ? '' : (/^\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d)?)?/.exec(tail)?.[0] ?? '');
  const colon = text.indexOf(':', at + 1 + trimColon(time).length);
  if (colon < 0) return { name: text, path: '' };
  return { name: text.slice(0, colon), path: text.slice(colon + 1) };
}

/** A colon that ends what looks like a time begins the path. */
function trimColon(time: string): string {
  return time.endsWith(':') ? time.slice(0, -1) : time;
}
