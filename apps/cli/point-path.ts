/** `POINT:PATH`, as people write it. */

export interface PointPath {
  readonly name: string;
  /** Empty when there is none. */
  readonly path: string;
}

const ID = /^([0-9a-f]{32})(?::(.*))?$/s;
const TIME = String.raw`\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d)?)?`;
/** The item may hold colons (`HOST:PATH` does), and the path may hold `@`. */
const ITEM_AT_TIME = new RegExp(`^(.+?@(?:latest|${TIME}))(?::(.*))?$`, 's');
const ID_PREFIX = /^([0-9a-f]{4,31})(?::(.*))?$/s;

export function splitPointPath(text: string): PointPath {
  for (const form of [ID, ITEM_AT_TIME, ID_PREFIX]) {
    const [, name, path = ''] = form.exec(text) ?? [];
    if (name !== undefined) return { name, path };
  }
  // No point is named like this; who looks for it says so.
  return { name: text, path: '' };
}
