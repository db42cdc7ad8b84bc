/** A machine on trial: what its guest and its screen tell. It ends with the connection. */
import { type Clock, isCofferError, type RunContext } from '@coffer/base';
import type { Picture, VmTrial } from '../../vm-host.ts';
import { GuestAgent } from '../agent/guest-agent.ts';
import type { Domain, LibvirtConnection } from '../connection.ts';
import { childrenOf, find } from '../domain/xml.ts';
import { parseDomainXml } from '../domain/domain-xml.ts';
import { parseDomain } from '../domain/domain.ts';
import { pictureOf } from './screenshot.ts';

export interface TrialOptions {
  readonly connection: LibvirtConnection;
  readonly domain: Domain;
  /** As it was started. */
  readonly xml: string;
  readonly clock: Clock;
}

export class LibvirtTrial implements VmTrial {
  readonly hasAgent: boolean;
  readonly hasScreen: boolean;
  readonly #connection: LibvirtConnection;
  readonly #domain: Domain;
  readonly #agent: GuestAgent;

  constructor({ connection, domain, xml, clock }: TrialOptions) {
    this.#connection = connection;
    this.#domain = domain;
    this.#agent = new GuestAgent(connection, domain, clock);
    this.hasAgent = parseDomain(xml).guestAgent !== undefined;
    const devices = find(parseDomainXml(xml).root, 'devices');
    this.hasScreen = childrenOf(devices, 'video').length > 0;
  }

  async isRunning(): Promise<boolean> {
    try {
      return (await this.#connection.state(this.#domain)).state === 'running';
    } catch (error) {
      // It is not kept when it stops.
      if (isCofferError(error, 'vm-not-found')) return false;
      throw error;
    }
  }

  async isAnswering(): Promise<boolean> {
    try {
      await this.#agent.ping();
      return true;
    } catch (error) {
      if (isCofferError(error)) return false;
      throw error;
    }
  }

  async run(
    { signal }: RunContext,
    command: string,
    timeoutMs: number,
  ): ReturnType<VmTrial['run']> {
    return await this.#agent.run(['/bin/sh', '-c', command], timeoutMs, signal);
  }

  async screen(): Promise<Picture> {
    return pictureOf(await this.#connection.screenshot(this.#domain));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#connection.destroy(this.#domain);
    } catch (error) {
      // It has stopped by itself.
      if (!isCofferError(error)) throw error;
    }
  }
}
