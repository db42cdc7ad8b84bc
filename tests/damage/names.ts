/** Which objects there are: the table of FORMAT.md, section 1. */
import { readFileSync } from 'node:fs';
import { assert } from '@coffer/base';

const FORMAT = new URL('../../packages/repository/FORMAT.md', import.meta.url);

export interface ObjectKind {
  /** As the table says it. */
  readonly name: string;
  readonly pattern: RegExp;
}

/** Every kind of object that the table names. */
export function objectKinds(): ObjectKind[] {
  const [, section = ''] = /^## 1\. Names of objects$(.*?)^## 2\./ms.exec(text()) ?? [];
  const rows = Array.from(section.matchAll(/^\| (`.*?) \|/gm), ([, cell = '']) => cell);
  assert(rows.length > 0, 'section 1 has a table');
  return rows.flatMap(namesIn).map((name) => ({ name, pattern: patternOf(name) }));
}

function text(): string {
  return readFileSync(FORMAT, 'utf8');
}

/** Of several in one row, those that begin with a dash end as the first one does not. */
function namesIn(cell: string): string[] {
  const [first = '', ...others] = Array.from(cell.matchAll(/`([^`]+)`/g), ([, name = '']) => name);
  const stem = first.slice(0, first.lastIndexOf('-'));
  return [first, ...others.map((name) => (name.startsWith('-') ? stem + name : name))];
}

/** What stands for the words in brackets. */
const WORDS: readonly [RegExp, string][] = [
  [/<(\d+) hex>/g, '[0-9a-f]{$1}'],
  [/<(\d+) digits>/g, '\\d{$1}'],
  [/<generation>/g, '\\d{8,15}'],
  [/<holder>|…/g, '.+'],
];

function patternOf(name: string): RegExp {
  const pattern = WORDS.reduce((text, [word, regex]) => text.replace(word, regex), name);
  assert(!pattern.includes('<'), `the words in ${name} are known`);
  return new RegExp(`^${pattern}$`);
}
