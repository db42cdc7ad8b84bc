/** Who wants to know of which event. */
import { type EventName, EVENTS, type LibvirtEvents } from './events.ts';
import { XdrReader } from './xdr-codec.ts';

export type Handler<E extends EventName> = (event: LibvirtEvents[E]) => void;

export class EventHandlers {
  readonly #handlers: { readonly [E in EventName]: Set<Handler<E>> } = {
    lifecycle: new Set(),
    jobCompleted: new Set(),
    ioError: new Set(),
    agentLifecycle: new Set(),
    blockJob2: new Set(),
  };
  readonly #registrations = new Map<EventName, Promise<unknown>>();

  /** Adds a handler, registering the kind of event where that was not done. Returns how to remove it. */
  async add<E extends EventName>(
    name: E,
    handler: Handler<E>,
    register: () => Promise<unknown>,
  ): Promise<() => void> {
    const handlers: Set<Handler<E>> = this.#handlers[name];
    handlers.add(handler);
    try {
      await this.#registerOnce(name, register);
    } catch (error) {
      handlers.delete(handler);
      throw error;
    }
    return () => void handlers.delete(handler);
  }

  /** Decodes a message and tells who asked. Fails with `libvirt-failed` when it cannot be decoded. */
  dispatch(procedure: number, payload: Buffer): void {
    for (const name of Object.keys(EVENTS) as EventName[]) {
      if (EVENTS[name].procedure === procedure) this.#tell(name, payload);
    }
  }

  #tell<E extends EventName>(name: E, payload: Buffer): void {
    const reader = new XdrReader(payload, `event ${name}`);
    const event = EVENTS[name].decode(reader);
    reader.end();
    // What a handler throws is no fault of the connection.
    for (const handler of this.#handlers[name]) queueMicrotask(() => handler(event));
  }

  /** Libvirt sends an event in one message, for all handlers. */
  async #registerOnce(name: EventName, register: () => Promise<unknown>): Promise<void> {
    const registration = this.#registrations.get(name) ?? register();
    this.#registrations.set(name, registration);
    try {
      await registration;
    } catch (error) {
      this.#registrations.delete(name);
      throw error;
    }
  }
}
