/**
 * Patterns that find names, in the style of gitignore: a pattern without a slash is compared with
 * the name alone, one with a slash with the whole path; a slash at the end means folders only.
 */
import { CofferError } from '@coffer/base';

/** Tells whether the pattern means this path (relative to the root, without a leading slash). */
export type PathPattern = (path: string, isFolder: boolean) => boolean;

/** Fails with `usage` for a pattern that is none. */
export function compilePattern(pattern: string): PathPattern {
  const foldersOnly = pattern.endsWith('/');
  const body = foldersOnly ? pattern.slice(0, -1) : pattern;
  const isPath = body.includes('/');
  const expression = toExpression(body.startsWith('/') ? body.slice(1) : body, pattern);
  return (path, isFolder) => {
    if (foldersOnly && !isFolder) return false;
    return expression.test(isPath ? path : path.slice(path.lastIndexOf('/') + 1));
  };
}

/** One piece of a pattern, and what it is as a regular expression. */
const PIECES: readonly (readonly [RegExp, (piece: string) => string])[] = [
  [/^\*\*\//, () => '(?:.*/)?'],
  [/^\*+/, (stars) => (stars.length > 1 ? '.*' : '[^/]*')],
  [/^\?/, () => '[^/]'],
  [/^\[[!^]?\]?[^\]]*\]/, toClass],
  [/^\\./s, (escaped) => RegExp.escape(escaped.slice(1))],
  [/^[^*?[\\]+|^./s, (text) => RegExp.escape(text)],
];

function toExpression(body: string, pattern: string): RegExp {
  if (body === '') throw new CofferError('usage', { pattern, reason: 'it is empty' });
  let source = '';
  for (let rest = body; rest !== '';) {
    for (const [piece, translate] of PIECES) {
      const found = piece.exec(rest)?.[0];
      if (found === undefined) continue;
      source += translate(found);
      rest = rest.slice(found.length);
      break;
    }
  }
  try {
    return new RegExp(`^${source}$`, 's');
  } catch (error) {
    throw new CofferError('usage', { pattern, reason: 'a range in it is impossible' }, error);
  }
}

/** A set of characters; backslashes and brackets in it are ordinary. */
function toClass(set: string): string {
  const isNegated = set[1] === '!' || set[1] === '^';
  const members = set.slice(isNegated ? 2 : 1, -1).replaceAll(/[\\[\]^]/g, String.raw`\$&`);
  return isNegated ? `(?!/)[^${members}]` : `(?!/)[${members}]`;
}
