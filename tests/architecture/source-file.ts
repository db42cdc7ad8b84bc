// Reads a TypeScript file far enough to know what it imports and which code is not comment or text.

export interface SourceFile {
  /** Relative to the root of the checkout, with forward slashes. */
  path: string;
  text: string;
}

export interface Import {
  specifier: string;
  line: number;
}

const COMMENT_OR_STRING =
  /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g;

const IMPORT =
  /\b(?:import|export)\b[^;'"`]*?\bfrom\s*['"]([^'"\n]+)['"]|\bimport\s*\(?\s*['"]([^'"\n]+)['"]/g;

/** Tests, fuzzers and what they share: they may do what shipped code may not. */
export function isTesting(path: string): boolean {
  return /\.(test|fuzz|bench)\.ts$/.test(path) || /(^|\/)(testing|tests|bench)\//.test(path);
}

/** `packages/disk/vhd/codec.ts` is in `packages/disk`. */
export function workspaceOf(path: string): string {
  return path.split('/').slice(0, 2).join('/');
}

export function importsOf(file: SourceFile): Import[] {
  const code = withoutComments(file.text);
  return [...code.matchAll(IMPORT)].map((match) => ({
    specifier: match[1] ?? match[2] ?? '',
    line: lineAt(code, match.index + match[0].length),
  }));
}

/** Each line's code, with comments and plain strings blanked; templates stay, as they hold code. */
export function codeLines(file: SourceFile): string[] {
  return withoutComments(file.text)
    .replaceAll(COMMENT_OR_STRING, (part) => (part.startsWith('`') ? part : "''"))
    .split('\n');
}

function withoutComments(text: string): string {
  return text.replaceAll(COMMENT_OR_STRING, (part) =>
    part.startsWith('/') ? part.replaceAll(/[^\n]/g, ' ') : part,
  );
}

function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length;
}
