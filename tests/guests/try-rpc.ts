import { LibvirtSite, writeRootDisk, defineGuest, waitForAgent } from './libvirt-site.ts';
import { buildMiniGuest, writeBootableDisk } from './mini-guest.ts';
import { mkdirSync } from 'node:fs';
import { execFileSync } from 'node:child_process';
const t0 = performance.now(); const t = (s: string) => console.log(Math.round(performance.now()-t0), s);
const sites = [await LibvirtSite.start(), await LibvirtSite.start()]; t('started');
const site = sites[0]!;
mkdirSync(site.folder+'/guest');
const guest = buildMiniGuest(site.folder + '/guest');
const small = site.makeFolder('small');
execFileSync('mount', ['-t','tmpfs','-o','size=4m,mode=777','t',small]);
try {
  const disks = site.makeFolder('disks');
  writeBootableDisk(guest, disks+'/b.raw', 128); t('bootable');
  execFileSync('qemu-img', ['convert','-O','qcow2',disks+'/b.raw',disks+'/b.qcow2']);
  const other = sites[1]!;
  const od = other.makeFolder('disks');
  writeRootDisk(guest, od+'/a.qcow2', { format: 'qcow2', sizeMiB: 64 });
  const d = await defineGuest(site, guest, { name: 'mini', disks: [{ path: disks+'/b.qcow2', format: 'qcow2' }], boot: 'disk' });
  const d2 = await defineGuest(other, guest, { name: 'mini', disks: [{ path: od+'/a.qcow2', format: 'qcow2' }] });
  const [c, c2] = [await site.open(), await other.open()];
  const r = await c.create(d); const r2 = await c2.create(d2);
  await Promise.all([waitForAgent(c, r).then(() => t('grub agent')), waitForAgent(c2, r2).then(() => t('second agent'))]);
  await c.on('ioError', (e) => t(JSON.stringify(e)));
  await c.on('lifecycle', (e) => t(JSON.stringify(e)));
  await c.on('jobCompleted', (e) => { t('job'); console.log(e.values); });
  await c.backupBegin(r, `<domainbackup mode='pull'><server transport='unix' socket='${disks}/nbd'/><disks><disk name='vda' backup='yes' type='file'><driver type='qcow2'/><scratch file='${small}/scratch'/></disk></disks></domainbackup>`);
  await c.agentCommand(r, JSON.stringify({execute:'guest-exec', arguments:{path:'/bin/sh', arg:['-c','dd if=/dev/urandom of=/x bs=1M count=60; sync; cat /sbin/busybox /bin/* > /y; sync']}}), 5);
  // overwrite allocated blocks
  for (let i=0;i<40;i++) { const s = await c.state(r); if (s.state==='paused') { console.log(s); break; } await new Promise((f)=>setTimeout(f,250));
    if (i===8) await c.agentCommand(r, JSON.stringify({execute:'guest-exec', arguments:{path:'/bin/sh', arg:['-c','dd if=/dev/urandom of=/boot/vmlinuz bs=1M count=8 conv=notrunc; sync']}}), 5).catch((e)=>console.log(e)); }
  await c.abortJob(r); await new Promise((f)=>setTimeout(f,300));
  await c.resume(r); console.log(await c.state(r));
  if (process.argv[2] === 'die') { execFileSync('umount', ['-l', small]); process.kill(process.pid, 'SIGKILL'); }
} catch (e) { console.log(e); } finally { for (const s of sites) await s.close(); execFileSync('umount', ['-l', small]); t('closed'); }
