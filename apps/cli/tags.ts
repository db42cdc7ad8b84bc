/** Tags of points: `KEY=VALUE`. */
import { CofferError } from '@coffer/base/errors.ts';

/** Fails with `usage`. */
export function parseTags(tags: readonly string[]): Record<string, string> {
  const parsed: Record<string, string> = {};
  for (const tag of tags) {
    const equals = tag.indexOf('=');
    if (equals <= 0) throw new CofferError('usage', { tag, expected: 'KEY=VALUE' });
    parsed[tag.slice(0, equals)] = tag.slice(equals + 1);
  }
  return parsed;
}
