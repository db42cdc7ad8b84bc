/** `POINT`, `POINT:PATH`, `POINT/DISK` and `POINT/DISK/VOLUME:PATH`, as people write them. */

export interface PointPath {
  readonly name: string;
  /** Undefined when none is named. */
  readonly disk: string | undefined;
  readonly volume: string | undefined;
  /** Empty when there is none. */
  readonly path: string;
}

const TIME = String.raw`\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d)?)?`;
/** The item may hold colons (`HOST:PATH` does) and slashes, and the path may hold `@`. */
const NAMES = ['[0-9a-f]{32}', `.+?@(?:latest|${TIME})`, '[0-9a-f]{4,31}'];
const FORMS = NAMES.map(
  (name) => new RegExp(`^(${name})(?:/([^/:]+)(?:/([^/:]+))?)?(?::(.*))?$`, 's'),
);

export function splitPointPath(text: string): PointPath {
  for (const form of FORMS) {
    const [, name, disk, volume, path = ''] = form.exec(text) ?? [];
    if (name !== undefined) return { name, disk, volume, path };
  }
  // No point is named like this; who looks for it says so.
  return { name: text, disk: undefined, volume: undefined, path: '' };
}
