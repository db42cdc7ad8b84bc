import type { Subject } from '@coffer/base';
import { textOfBytes } from '@coffer/base/path-text.ts';

/**
 * A path from where a walk began. Each knows its own name and the path above it: in a deep tree, all
 * paths joined would take memory by the square of its depth.
 */
export class RelativePath {
  /** Where the walk began. */
  static readonly ROOT = new RelativePath(undefined, Buffer.alloc(0));

  readonly above: RelativePath | undefined;
  readonly name: Buffer;
  /** 0 where the walk began. */
  readonly depth: number;

  private constructor(above: RelativePath | undefined, name: Buffer) {
    this.above = above;
    this.name = name;
    this.depth = above ? above.depth + 1 : 0;
  }

  at(name: Buffer): RelativePath {
    return new RelativePath(this, name);
  }

  /** Joined by slashes; empty where the walk began. */
  get bytes(): Buffer {
    return joined(this);
  }

  /** As findings name it. */
  get subject(): Subject {
    return { kind: 'path', name: textOfBytes(this.bytes) };
  }

  /** The same bytes as text (latin1), which maps and sets can look up. */
  get key(): string {
    return this.bytes.toString('latin1');
  }
}

const SLASH = 0x2f;

function joined(path: RelativePath): Buffer {
  const names: Buffer[] = [];
  for (let at = path; at.above; at = at.above) names.push(at.name);
  const sizeBytes = names.reduce((sum, { length }) => sum + length + 1, 0);
  const bytes = Buffer.alloc(sizeBytes, SLASH);
  let end = sizeBytes;
  for (const name of names) {
    end -= name.length + 1;
    name.copy(bytes, end + 1);
  }
  return bytes.subarray(1);
}
