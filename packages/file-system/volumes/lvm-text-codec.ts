/**
 * The text in which LVM2 keeps its metadata: `key = value` and `section { ... }`, values are
 * integers, strings and lists of them; `#` begins a comment (lvm2, `lib/config`).
 */
import { CofferError } from '@coffer/base';

export type LvmValue = number | string | readonly LvmValue[];

export interface LvmSection {
  readonly values: ReadonlyMap<string, LvmValue>;
  readonly sections: ReadonlyMap<string, LvmSection>;
}

const DEPTH_MAX = 8;
const KEY = /^[A-Za-z0-9_.+-]+$/;
const TOKEN = /\s*(?:#[^\n]*\n\s*)*("[^"\\]*(?:\\[\s\S][^"\\]*)*"|[{}[\],=]|[A-Za-z0-9_.+-]+)/y;

/** Fails with `file-system-damaged` when the text does not keep to the grammar. */
export function parseLvmText(text: string): LvmSection {
  const tokens = new Tokens(text);
  return parseSection(tokens, 0);
}

/** The value, which has to be a number that counts something. */
export function lvmNumber({ values }: LvmSection, key: string): number {
  const value = values.get(key);
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw damaged(`${key} is no number`, 0);
}

export function lvmText({ values }: LvmSection, key: string): string {
  const value = values.get(key);
  if (typeof value === 'string') return value;
  throw damaged(`${key} is no text`, 0);
}

export function lvmList({ values }: LvmSection, key: string): readonly LvmValue[] {
  const value = values.get(key);
  return Array.isArray(value) ? (value as readonly LvmValue[]) : [];
}

/** The section of that name, or an empty one. */
export function lvmSection({ sections }: LvmSection, name: string): LvmSection {
  return sections.get(name) ?? { values: new Map(), sections: new Map() };
}

function parseSection(tokens: Tokens, depth: number): LvmSection {
  if (depth > DEPTH_MAX) throw damaged('sections too deep', tokens.offset);
  const values = new Map<string, LvmValue>();
  const sections = new Map<string, LvmSection>();
  // The text ends the outermost section, and a brace all others.
  const end = depth === 0 ? undefined : '}';
  for (let key = tokens.next(); key !== end; key = tokens.next()) {
    if (key === undefined || !KEY.test(key)) throw damaged('a key is missing', tokens.offset);
    const operator = tokens.next();
    if (operator === '{') sections.set(key, parseSection(tokens, depth + 1));
    else if (operator === '=') values.set(key, parseValue(tokens));
    else throw damaged('neither a value nor a section', tokens.offset);
  }
  return { values, sections };
}

function parseValue(tokens: Tokens): LvmValue {
  const token = tokens.next();
  if (token !== '[') return scalar(token, tokens.offset);
  const list: LvmValue[] = [];
  for (let item = tokens.next(); item !== ']'; item = tokens.next()) {
    if (item !== ',') list.push(scalar(item, tokens.offset));
  }
  return list;
}

function scalar(token: string | undefined, offset: number): number | string {
  if (token?.startsWith('"')) return token.slice(1, -1).replaceAll(/\\([\s\S])/g, '$1');
  if (token !== undefined && /^-?[0-9.]+$/.test(token)) return Number(token);
  throw damaged('a value is missing', offset);
}

class Tokens {
  readonly #text: string;
  offset = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Undefined at the end of the text. */
  next(): string | undefined {
    TOKEN.lastIndex = this.offset;
    const match = TOKEN.exec(this.#text);
    if (match) {
      this.offset = TOKEN.lastIndex;
      return match[1];
    }
    if (/[^\s\0]/.test(withoutComments(this.#text.slice(this.offset)))) {
      throw damaged('unknown characters', this.offset);
    }
    this.offset = this.#text.length;
    return undefined;
  }
}

function withoutComments(text: string): string {
  return text.replaceAll(/#[^\n]*/g, '');
}

function damaged(reason: string, offset: number): CofferError {
  return new CofferError('file-system-damaged', { structure: 'lvm2 metadata', reason, offset });
}
