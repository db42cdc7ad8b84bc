/** A guest that a site runs: its power, its shell, and what is done to it from outside. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { systemClock } from '@coffer/base';
import type {
  Domain,
  DomainState,
  LibvirtConnection,
} from '@coffer/workloads/libvirt/connection.ts';
import { parseDomain } from '@coffer/workloads/libvirt/domain/domain.ts';
import { eventually } from './eventually.ts';
import {
  consolePath,
  defineGuest,
  type GuestOptions,
  type LibvirtSite,
  waitForAgent,
} from './libvirt-site.ts';
import type { MiniGuest } from './mini-guest.ts';

const AGENT_TIMEOUT_SECONDS = 60;
const POLL_MS = 50;

export interface GuestDisk {
  /** As the guest has it: `vda`. */
  readonly target: string;
  /** Of the image that is written to now. */
  readonly path: string;
  readonly format: string;
}

export class SiteGuest {
  readonly site: LibvirtSite;
  #connection: LibvirtConnection;
  #domain: Domain;

  private constructor(site: LibvirtSite, connection: LibvirtConnection, domain: Domain) {
    this.site = site;
    this.#connection = connection;
    this.#domain = domain;
  }

  static async define(
    site: LibvirtSite,
    guest: MiniGuest,
    options: GuestOptions,
  ): Promise<SiteGuest> {
    await defineGuest(site, guest, options);
    return await SiteGuest.find(site, options.name);
  }

  /** One that the site knows. */
  static async find(site: LibvirtSite, name: string): Promise<SiteGuest> {
    const connection = await site.open();
    return new SiteGuest(site, connection, await connection.domainByName(name));
  }

  get connection(): LibvirtConnection {
    return this.#connection;
  }

  get domain(): Domain {
    return this.#domain;
  }

  get name(): string {
    return this.#domain.name;
  }

  /** Needed when the daemon was restarted, or the machine has another name. */
  async reconnect(): Promise<void> {
    await this.#connection.close();
    this.#connection = await this.site.open();
    this.#domain = await this.#connection.domainByUuid(this.#domain.uuid);
  }

  /** Resolves when the agent answers. */
  async start(): Promise<void> {
    this.#domain = await this.#connection.create(this.#domain);
    await this.waitForAgent();
  }

  async waitForAgent(): Promise<void> {
    await waitForAgent(this.#connection, this.#domain);
  }

  async state(): Promise<DomainState['state']> {
    return (await this.#connection.state(this.#domain)).state;
  }

  async suspend(): Promise<void> {
    await this.#connection.suspend(this.#domain);
  }

  async resume(): Promise<void> {
    await this.#connection.resume(this.#domain);
  }

  /** Cuts its power. */
  async destroy(): Promise<void> {
    await this.#connection.destroy(this.#domain);
  }

  /** As a user of the guest does it. Resolves when it is off. */
  async shutDown(): Promise<void> {
    await this.#connection.shutdown(this.#domain, { agent: true });
    await this.waitUntilOff();
  }

  async waitUntilOff(): Promise<void> {
    await eventually(`${this.name} is off`, async () => (await this.state()) === 'shutoff');
  }

  /** Ends QEMU as a crash would. */
  async killQemu(): Promise<void> {
    process.kill(this.site.pidOf(this.name), 'SIGKILL');
    await this.waitUntilOff();
  }

  /** What a command of the shell prints in the guest; it has to end well. */
  async run(command: string): Promise<string> {
    const started = await this.agent<{ pid: number }>('guest-exec', {
      path: '/bin/sh',
      arg: ['-c', command],
      'capture-output': true,
    });
    for (;;) {
      type Status = {
        exited: boolean;
        exitcode?: number;
        'out-data'?: string;
        'err-data'?: string;
      };
      const status = await this.agent<Status>('guest-exec-status', { pid: started.pid });
      if (status.exited) {
        const said = Buffer.from(status['err-data'] ?? '', 'base64').toString();
        assert.equal(status.exitcode, 0, `${command}: ${said}`);
        return Buffer.from(status['out-data'] ?? '', 'base64').toString();
      }
      await systemClock.sleep(POLL_MS);
    }
  }

  /** Starts a command of the shell in the guest. It may be the end of the guest, or of its agent. */
  async begin(command: string): Promise<void> {
    await this.agent('guest-exec', { path: '/bin/sh', arg: ['-c', command] });
  }

  /** A command of the agent. */
  async agent<T>(execute: string, args: Readonly<Record<string, unknown>> = {}): Promise<T> {
    const question = JSON.stringify({ execute, arguments: args });
    const timeout = AGENT_TIMEOUT_SECONDS;
    const answer = await this.#connection.agentCommand(this.#domain, question, timeout);
    return (JSON.parse(answer) as { return: T }).return;
  }

  /** A command of QEMU's monitor. */
  async monitor<T>(execute: string, args: Readonly<Record<string, unknown>> = {}): Promise<T> {
    const question = JSON.stringify({ execute, arguments: args });
    const answer = await this.#connection.monitorCommand(this.#domain, question);
    return (JSON.parse(answer) as { return: T }).return;
  }

  /** What `virsh` prints, for a command of this site. */
  async virsh(...words: readonly string[]): Promise<string> {
    const { stdout } = await promisify(execFile)('virsh', ['-q', '-c', this.site.uri, ...words]);
    return stdout;
  }

  async disks(): Promise<GuestDisk[]> {
    const { disks } = parseDomain(await this.#connection.xml(this.#domain));
    return disks.map(({ target, source, format }) => {
      assert.equal(source.kind, 'file');
      return { target, path: source.path, format };
    });
  }

  /** What it wrote to its console. */
  console(): string {
    return readFileSync(consolePath(this.site, this.name), 'utf8');
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }
}
