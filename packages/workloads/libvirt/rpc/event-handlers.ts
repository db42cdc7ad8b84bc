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

  of<E extends EventName>(name: E): Set<Handler<E>> {
    return this.#handlers[name];
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
    for (const handler of this.of(name)) queueMicrotask(() => handler(event));
  }
}
