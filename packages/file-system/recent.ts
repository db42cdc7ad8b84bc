/** The last things that were loaded, so that the next use finds them. Failures are not kept. */
export class Recent<Key, Value> {
  readonly #countMax: number;
  /** In the order of use: a map keeps the order of insertion. */
  readonly #values = new Map<Key, Promise<Value>>();

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  async get(key: Key, load: () => Promise<Value>): Promise<Value> {
    const value = this.#values.get(key) ?? load();
    this.#values.delete(key);
    this.#values.set(key, value);
    if (this.#values.size > this.#countMax) this.#values.delete(this.#values.keys().next().value!);
    try {
      return await value;
    } catch (error) {
      if (this.#values.get(key) === value) this.#values.delete(key);
      throw error;
    }
  }
}
