/**
 * The parts of a read that have not come yet. A server sends them in any order; a byte that comes
 * twice would hide another one that never came ("Structured reply types", content chunks).
 */
export class MissingParts {
  #gaps: readonly { readonly start: number; readonly end: number }[];

  constructor(length: number) {
    this.#gaps = length > 0 ? [{ start: 0, end: length }] : [];
  }

  get isEmpty(): boolean {
    return this.#gaps.length === 0;
  }

  /** Notes that a part has come; false when some of it came before or lies outside. */
  take(start: number, length: number): boolean {
    const end = start + length;
    const index = this.#gaps.findIndex((gap) => gap.start <= start && end <= gap.end);
    const gap = this.#gaps[index];
    if (!gap || length <= 0) return false;
    const rest = [
      { start: gap.start, end: start },
      { start: end, end: gap.end },
    ].filter((each) => each.start < each.end);
    this.#gaps = this.#gaps.toSpliced(index, 1, ...rest);
    return true;
  }
}
